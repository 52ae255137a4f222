package place

import (
	"io"
	"testing"
)

// The container has ended, and watch has let go of the pipe before the reader
// has seen its end: that is no error.
func TestReadAfterTheEnd(t *testing.T) {
	out, in := io.Pipe()
	a := &Attached{out: out}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := a.out.CloseWithError(io.EOF); err != nil {
		t.Fatal(err)
	}
	if said, err := io.ReadAll(a); err != nil || len(said) != 0 {
		t.Errorf("got %q, %v; want the end", said, err)
	}
}
