package uml

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A node is a test and what it has printed by itself.
type node struct {
	name     string
	action   string // "pass", "fail", "skip"; empty if it never ended
	output   strings.Builder
	children []*node
}

func (n *node) at(path string) *node {
	if path == "" {
		return n
	}
	first, rest, _ := strings.Cut(path, "/")
	for _, c := range n.children {
		if c.name == first {
			return c.at(rest)
		}
	}
	c := &node{name: first}
	n.children = append(n.children, c)
	return c.at(rest)
}

// Replay shows the tests of a binary that has run elsewhere as tests of t: what
// failed fails, what never ended fails, and what was skipped fails in CI.
func Replay(t *testing.T, job Job, result Result) {
	t.Run(job.Name, func(t *testing.T) {
		root, err := parse(result.Output)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range root.children {
			c.replay(t)
		}
		if result.Status != "exit 0" {
			t.Errorf("%s: got status %q, want exit 0\n%s", job.Name, result.Status, &root.output)
		}
		if len(root.children) == 0 {
			t.Errorf("%s has run no test; its output:\n%s", job.Name, result.Output)
		}
	})
}

func (n *node) replay(t *testing.T) {
	t.Run(n.name, func(t *testing.T) {
		for _, c := range n.children {
			c.replay(t)
		}
		if n.output.Len() > 0 {
			t.Logf("in the guest:\n%s", &n.output)
		}
		switch n.action {
		case "pass":
		case "skip":
			if os.Getenv("CI") == "true" {
				t.Fatal("skipped in the guest, and CI must run it")
			}
			t.Skip("skipped in the guest")
		case "fail":
			t.Fail()
		case "":
			if len(n.children) > 0 && n.output.Len() == 0 { // a part of a name with a slash in it
				return
			}
			t.Error("began in the guest and never ended")
		}
	})
}

// parse reads what a test binary prints with -test.v=test2json.
func parse(output []byte) (*node, error) {
	cmd := exec.Command("go", "tool", "test2json")
	cmd.Stdin = bytes.NewReader(output)
	events, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("uml: test2json: %w", err)
	}
	root := &node{}
	for d := json.NewDecoder(bytes.NewReader(events)); ; {
		var e struct{ Action, Test, Output string }
		if err := d.Decode(&e); err == io.EOF {
			return root, nil
		} else if err != nil {
			return nil, fmt.Errorf("uml: test2json: %w", err)
		}
		n := root.at(e.Test)
		switch e.Action {
		case "output":
			n.output.WriteString(e.Output)
		case "pass", "fail", "skip":
			n.action = e.Action
		}
	}
}
