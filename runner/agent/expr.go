package agent

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"chaosrunner/builtins/fault"
)

// Labels that Compose and the operator put on containers.
const (
	labelService = "com.docker.compose.service"
	labelProject = "com.docker.compose.project"
	labelIndex   = "com.docker.compose.container-number"
	labelOneOff  = "com.docker.compose.oneoff"
	labelAllow   = "chaos.allow"
)

// A candidate is a container as target expressions see it.
type candidate struct {
	id, name string
	labels   map[string]string
}

func (c candidate) service() string { return c.labels[labelService] }
func (c candidate) project() string { return c.labels[labelProject] }

func (c candidate) index() int {
	n, _ := strconv.Atoi(c.labels[labelIndex]) // 0 without Compose
	return n
}

// An expression names containers:
//
//	catalog      a Compose service, all replicas; else a container's name
//	catalog#2    one replica
//	chunk*       services and containers by a glob
//	label:k=v    by a label; label:k has it at all
//
// netns:NAME and pid:N are no containers; see [fault.Host].
type expression struct {
	text       string
	key, value string // of label:
	anyValue   bool
	glob       bool
	service    string
	index      int // 0: all
}

func parseExpr(text string) (expression, error) {
	e := expression{text: text, service: text}
	if fault.OnHost(text) {
		return e, fault.CheckHost(text)
	}
	if label, ok := strings.CutPrefix(text, "label:"); ok {
		var valued bool
		e.key, e.value, valued = strings.Cut(label, "=")
		e.anyValue = !valued
		if e.key == "" {
			return e, fmt.Errorf("got target %q, want label:key=value", text)
		}
		return e, nil
	}
	if strings.ContainsAny(text, "*?[") {
		e.glob = true
		if _, err := path.Match(text, ""); err != nil {
			return e, fmt.Errorf("got target %q, want a glob such as chunk*: %w", text, err)
		}
		return e, nil
	}
	if service, number, ok := strings.Cut(text, "#"); ok {
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || service == "" {
			return e, fmt.Errorf("got target %q, want service#number, counted from 1", text)
		}
		e.service, e.index = service, n
	}
	if e.service == "" {
		return e, fmt.Errorf("got an empty target, want a service, a container, a glob or label:key=value")
	}
	return e, nil
}

// byService says whether the expression means the container by its labels.
func (e expression) byService(c candidate) bool {
	switch {
	case e.key != "":
		value, has := c.labels[e.key]
		return has && (e.anyValue || value == e.value)
	case e.glob:
		ok, _ := path.Match(e.text, c.service()) // checked by parseExpr
		return ok && c.service() != ""
	}
	return c.service() != "" && c.service() == e.service && (e.index == 0 || e.index == c.index())
}

// byName says whether it means the container by its own name.
func (e expression) byName(c candidate) bool {
	if e.glob {
		ok, _ := path.Match(e.text, c.name)
		return ok
	}
	return e.key == "" && c.name == e.text
}
