package policy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// maxFile bounds a policy: its text travels in a hello and stands in ledgers.
const maxFile = 64 << 10

// A File is a policy's text on its way to those that are bound by it.
type File struct {
	Path       string `json:"path"`
	Text       string `json:"text,omitempty"`
	Unreadable string `json:"unreadable,omitempty"` // why there is no text
}

// Find reads the policy at path, or without a path that at [Default], if it is
// there. Nil and no error: there is none.
func Find(path string) (*File, error) {
	asked := path != ""
	if !asked {
		path = Default
	}
	f, err := os.Open(path)
	if !asked && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var text []byte
	if err == nil {
		text, err = io.ReadAll(io.LimitReader(f, maxFile+1))
		err = errors.Join(err, f.Close())
	}
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s is longer than %d bytes", path, maxFile)
	}
	if err != nil {
		err = fmt.Errorf("policy: %w", err)
		return &File{Path: path, Unreadable: err.Error()}, err
	}
	return &File{Path: path, Text: string(text)}, nil
}

// Parse reads what a File says; nil is no policy.
func (f *File) Parse(target func(string) error) (*Policy, error) {
	switch {
	case f == nil:
		return nil, nil
	case f.Unreadable != "":
		return nil, errors.New(f.Unreadable)
	}
	return Parse(f.Path, []byte(f.Text), target)
}

// Line is one rule in words.
type Line struct {
	Rule  string `json:"rule"`
	Says  string `json:"says"`
	Where string `json:"where,omitempty"` // the file and its line; empty: no file says anything of it
}

// Lines says what a policy means, rule by rule.
func (p *Policy) Lines() []Line {
	if p == nil {
		p = &Policy{}
	}
	all := []Line{
		{Rule: "never", Says: "no target is out of bounds by itself"}, {Rule: "kinds", Says: "every kind of fault"},
		{Rule: "longest", Says: "as long as the blast radius allows"}, {Rule: "at_most", Says: "as many containers as the blast radius allows"},
		{Rule: "hours", Says: "at any time"},
	}
	if len(p.never) > 0 {
		exprs := make([]string, len(p.never))
		for i, t := range p.never {
			exprs[i] = t.Expr
		}
		all[0] = Line{"never", "nothing touches " + strings.Join(exprs, ", "), p.where(p.never[0].Line)}
	}
	if p.kinds != nil {
		all[1] = Line{"kinds", p.kindsText(), p.where(p.kinds.line)}
	}
	if p.longest != nil {
		all[2] = Line{"longest", fmt.Sprintf("no fault lasts longer than %s", p.longest.value), p.where(p.longest.line)}
	}
	if p.atMost != nil {
		all[3] = Line{"at_most", fmt.Sprintf("at most %d containers are harmed at once", p.atMost.value), p.where(p.atMost.line)}
	}
	if p.hours != nil {
		texts := make([]string, len(p.hours.value))
		for i, w := range p.hours.value {
			texts[i] = w.String()
		}
		all[4] = Line{"hours", "a fault begins and ends in: " + strings.Join(texts, "; "), p.where(p.hours.line)}
	}
	for _, l := range leaves {
		r, has := p.may[l.name]
		says := "may not "
		if has && r.value || !has && l.without {
			says = "may "
		}
		all = append(all, Line{l.name, says + l.what, p.where(r.line)})
	}
	return all
}

func (p *Policy) where(line int) string {
	if line == 0 {
		return ""
	}
	return fmt.Sprintf("%s:%d", p.path, line)
}
