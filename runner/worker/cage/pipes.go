package cage

import (
	"errors"
	"os"
)

// A pipe's ends are close-on-exec: no other child holds one open.
type pipe struct{ r, w *os.File }

type pipes struct{ stdin, stdout, stderr pipe }

func openPipes() (pipes, error) {
	var p pipes
	var errs []error
	for _, one := range []*pipe{&p.stdin, &p.stdout, &p.stderr} {
		var err error
		one.r, one.w, err = os.Pipe()
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		p.closeChildEnds()
		p.closeOwnEnds()
		return pipes{}, err
	}
	return p, nil
}

// Closing a nil file is an error that changes nothing.

func (p pipes) closeChildEnds() {
	_ = p.stdin.r.Close()
	_ = p.stdout.w.Close()
	_ = p.stderr.w.Close()
}

func (p pipes) closeOwnEnds() {
	_ = p.stdin.w.Close()
	_ = p.stdout.r.Close()
	_ = p.stderr.r.Close()
}
