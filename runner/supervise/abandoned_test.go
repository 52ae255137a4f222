package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"chaosrunner/runner/protocol"
)

// A puppet is an agent that answers its hello as it is told, or ends on it.
type puppet struct {
	net.Conn
	done chan struct{}
	once sync.Once
}

func newPuppet(hello func() (any, error)) *puppet {
	ours, theirs := net.Pipe()
	p := &puppet{Conn: ours, done: make(chan struct{})}
	go func() {
		_ = protocol.NewPeer(theirs, theirs, answers(func(call string) (any, error) {
			if call != protocol.CallHello {
				return nil, nil
			}
			reply, err := hello()
			if errors.Is(err, io.ErrUnexpectedEOF) { // it dies
				_ = theirs.Close()
			}
			return reply, err
		})).Run(context.Background())
		_ = p.Kill()
	}()
	return p
}

type answers func(call string) (any, error)

func (f answers) Handle(_ context.Context, call string, _ json.RawMessage) (any, error) {
	return f(call)
}
func (answers) Event(string, json.RawMessage) {}

func (p *puppet) Kill() error {
	p.once.Do(func() { _ = p.Close(); close(p.done) })
	return nil
}
func (p *puppet) Done() <-chan struct{} { return p.done }
func (*puppet) LastWords() string       { return "" }

// A recover whose agent dies starts another, and another, and then says so; one
// whose agent refuses has its answer.
func TestRecoverStartsAnother(t *testing.T) {
	died := func() (any, error) { return nil, io.ErrUnexpectedEOF }
	for name, c := range map[string]struct {
		hellos []func() (any, error)
		want   string
	}{
		"one dies": {[]func() (any, error){died, func() (any, error) {
			return protocol.Welcome{Recovered: []protocol.Abandoned{{Run: "r1"}}}, nil
		}}, ""},
		"all die": {[]func() (any, error){died, died, died}, "it died"},
		"one refuses": {[]func() (any, error){func() (any, error) {
			return nil, protocol.Errorf(protocol.CodeBusy, "another run has it")
		}}, "another run has it"},
	} {
		t.Run(name, func(t *testing.T) {
			n := 0
			got, err := Recover(t.Context(), Options{Agent: func(context.Context) (Process, error) {
				n++
				if n > len(c.hellos) {
					return nil, errors.New("one agent too many")
				}
				return newPuppet(c.hellos[n-1]), nil
			}})
			if n != len(c.hellos) || (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%d agents, %v", n, err)
			}
			if c.want == "" && (len(got) != 1 || got[0].Run != "r1") {
				t.Errorf("got %+v", got)
			}
		})
	}
}
