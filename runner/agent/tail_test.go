package agent

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"chaosrunner/runner/protocol"
)

func TestLastLines(t *testing.T) {
	for _, c := range []struct {
		in       string
		contains string
		want     []string
		dropped  bool
	}{
		{"", "", nil, false},
		{"one\ntwo\r\n\nthree", "", []string{"one", "two", "three"}, false},
		{"1\n2\n3\n4\n", "", []string{"2", "3", "4"}, true},
		{"axb\ny\nx\n", "x", []string{"axb", "x"}, false},
		{"12345678\n12345678\n12345678\n", "", []string{"12345678", "12345678"}, true},
		{strings.Repeat("x", 1000) + "\nend\n", "", []string{"end"}, true},
		{"\xff\n", "", []string{"\uFFFD"}, false},
	} {
		for chunk := 1; chunk < 8; chunk++ {
			l := &lastLines{contains: []byte(c.contains), lines: 3, bytes: 20}
			for part := range slices.Chunk([]byte(c.in), chunk) {
				if n, err := l.Write(part); n != len(part) || err != nil {
					t.Fatal(n, err)
				}
			}
			l.end()
			if !slices.Equal(l.kept, c.want) || l.dropped != c.dropped {
				t.Errorf("%q in chunks of %d: got %q, dropped %t, want %q, %t", c.in, chunk, l.kept, l.dropped, c.want, c.dropped)
			}
		}
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	k := postgres(t)
	c := start(t, hello(t.TempDir()))
	ask := func(since time.Duration, contains string, lines int) (got protocol.Logged) {
		t.Helper()
		in := protocol.Tail{Container: k.ID, Since: since, Contains: contains, MaxLines: lines, MaxBytes: 1 << 16}
		if err := c.call(protocol.CallLogs, in, &got); err != nil {
			t.Fatal(err)
		}
		return got
	}
	for until := time.Now().Add(time.Minute); len(ask(time.Hour, "ready to accept connections", 10).Lines) == 0; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("it never says that it is ready: %q", ask(time.Hour, "", 100).Lines)
		}
	}
	all := ask(time.Hour, "", 1000)
	if len(all.Lines) < 10 || all.Truncated {
		t.Errorf("got %+v", all)
	}
	last := ask(time.Hour, "", 2)
	if fmt.Sprint(last.Lines) != fmt.Sprint(all.Lines[len(all.Lines)-2:]) || !last.Truncated {
		t.Errorf("got %+v, want the last two of %q", last, all.Lines)
	}
	time.Sleep(1100 * time.Millisecond) // the engine's own granularity
	if none := ask(time.Second, "initdb", 10); len(none.Lines) != 0 {
		t.Errorf("of the last second: %+v", none)
	}
	wantCode(t, c.call(protocol.CallLogs, protocol.Tail{Container: k.ID}, nil), protocol.CodeBad, "bounds")
}
