package cage

import (
	"fmt"
	"strings"
	"testing"
)

func TestLastWords(t *testing.T) {
	chatter := strings.Repeat("all is well\n", 3_000)
	cause := "fatal error: out of memory\n"
	trace := strings.Repeat("\tsome/frame.go:1 +0x1\n", 1_000)
	for _, c := range []struct {
		name, text string
		check      func(got string) bool
	}{
		{"nothing", "", func(got string) bool { return got == "" }},
		{"little", "one\ntwo", func(got string) bool { return got == "one\ntwo" }},
		{"the end", chatter + "the end\n", func(got string) bool { return len(got) == maxWords && strings.HasSuffix(got, "well\nthe end\n") }},
		{"the cause", chatter + cause + trace, func(got string) bool {
			return len(got) == maxWords && strings.Index(got, cause) == maxBefore
		}},
		{"the cause, unended", chatter + "panic: x", func(got string) bool { return strings.HasSuffix(got, "well\npanic: x") && len(got) == maxBefore+8 }},
		{"one long line", strings.Repeat("panic: ", 1<<14), func(got string) bool { return len(got) == maxWords && strings.HasPrefix(got, "panic: ") }},
		{"no line begins so", strings.Repeat("x", maxLine) + cause + chatter, func(got string) bool { return !strings.Contains(got, "fatal") }},
		{"not text", "\xff\xfe\n", func(got string) bool { return got == "�\n" }},
	} {
		for _, chunk := range []int{1, 7, 4096, len(c.text) + 1} {
			var w lastWords
			for rest := c.text; rest != ""; rest = rest[min(chunk, len(rest)):] {
				if n, err := w.Write([]byte(rest[:min(chunk, len(rest))])); err != nil || n != min(chunk, len(rest)) {
					t.Fatal(n, err)
				}
			}
			if got := w.String(); !c.check(got) {
				t.Errorf("%s, in chunks of %d: got %d bytes: %.80q…", c.name, chunk, len(got), got)
			}
		}
	}
}

// However it comes, what is kept is bounded and is the same.
func FuzzLastWords(f *testing.F) {
	f.Add([]byte("a\npanic: b\n"), uint8(3))
	f.Add([]byte(strings.Repeat("x", 5000)+"\nfatal error: y"), uint8(200))
	f.Fuzz(func(t *testing.T, text []byte, chunk uint8) {
		var whole, parts lastWords
		for range 3 {
			_, _ = whole.Write(text)
			for rest := text; len(rest) > 0; {
				n := min(int(chunk)+1, len(rest))
				_, _ = parts.Write(rest[:n])
				rest = rest[n:]
			}
		}
		if a, b := whole.String(), parts.String(); a != b || len(whole.text) > maxWords {
			t.Errorf("got %d bytes at once, %d in parts:\n%.100q\n%.100q", len(a), len(b), a, b)
		}
		_ = fmt.Sprint(classify(ending{stderr: whole.String()}, 1))
		_, _ = spoken(whole.String())
	})
}
