package builtins

import (
	"fmt"
	"strings"
)

// values are the types that builtins return, for the reference and the stub.
var values = []struct {
	name, doc string
	attrs     []string
}{
	{"traffic", "What traffic() sends. It has no truth.", []string{"success: sli", "latency(q): sli", "name: string"}},
	{"probe", "What probe() sends. It has no truth.", []string{"success: sli", "latency(q): sli", "name: string"}},
	{"sli", "A number that can be asked for over a window. It has no truth, and cannot be compared.", nil},
	{"slo", "An objective. It has no truth, and cannot be compared.", []string{"name: string"}},
	{"fault", "A fault that is in place. It is true until .undo(). A netem can be changed by .update() with the parameters that change.", []string{"undo(): None", "update(**changes): None", "targets: list of string"}},
	{"figures", "What observe() saw, indexed by objective: w[availability].", nil},
	{"figure", "One number. It has no truth.", []string{"value: float or None", "count: int"}},
	{"reply", "What http() saw. It is true for a status below 400.", []string{
		"status: int or None", "ok: bool", "body: string", "headers: dict", "seconds: float", "error: string or None",
		"json(like): what like is",
	}},
	{"rows", "What sql() saw. They are true if the database answered.", []string{
		"rows: list of lists", "value: the first row's first, or None", "columns: list of strings", "truncated: bool",
		"ok: bool", "seconds: float", "error: string or None",
	}},
}

// notations are how quantities are written, for the reference.
var notations = [][2]string{
	{"target", `"catalog" (a Compose service with all its replicas, else a container), "catalog#2", "chunk*", "label:k=v"; of the agent's host "netns:blue" and "pid:1234"; or a list of these`},
	{"duration", `"400ms", "30s", "1m30s"; at most "24h"`},
	{"share", `"80%" or 0.8; an int is refused: is 1 one per cent, or all?`},
	{"arrivals", `"40/s", "600/m"`},
	{"quantile", `"p99", "p99.9" or 0.99`},
	{"signal", `"SIGTERM" or "TERM"`},
	{"statuses", `200, "2xx", or a list of these`},
	{"size", `"256MiB", "10MB"`},
	{"bandwidth", `"100kbit", "10Mbit"`},
}

// Reference is the language as a document in Markdown, made from Table.
func Reference() string {
	var b strings.Builder
	b.WriteString("# The language of experiments\n\n")
	b.WriteString("Made from the table in `builtins/table.go` by `runner docs`; do not edit.\n\n")
	b.WriteString("An experiment is a [Starlark](https://github.com/bazelbuild/starlark/blob/master/spec.md) file. " +
		"Loading it declares; then `method()` is rehearsed, with nothing touched, and run. " +
		"There are sets, and loops and conditions at the top level; there is no `while`, no recursion, no clock, no file and no environment.\n\n")
	b.WriteString("`load(\"//lib.star\", \"checkout\")` takes names from a file of the workspace, `load(\"x.star\", …)` from one beside the loading file, " +
		"`load(\"@name//x.star\", …)` from a library (`--lib name=DIR`, or `lib/name`). A loaded file offers functions; it declares nothing at its own top level.\n")
	for _, phase := range []Phase{Declare, Act, Probe, Anywhere} {
		fmt.Fprintf(&b, "\n## %s\n", title(phase))
		for _, row := range Table {
			if row.Phase == phase {
				fmt.Fprintf(&b, "\n### %s\n\n```python\n%s%s\n```\n\n%s\n", row.Name, row.Signature, returns(row), row.Doc)
			}
		}
	}
	b.WriteString("\n## Values\n\n| type | what it is | attributes |\n| --- | --- | --- |\n")
	for _, v := range values {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", v.name, v.doc, code(v.attrs))
	}
	b.WriteString("\n## Notations\n\n| notation | written |\n| --- | --- |\n")
	for _, n := range notations {
		fmt.Fprintf(&b, "| %s | %s |\n", n[0], n[1])
	}
	return b.String()
}

func title(p Phase) string {
	return [...]string{"Declarations, at the top level", "Actions, in method()", "Probes, in method(), rollback functions and functions of an invariant", "Anywhere"}[p]
}

func returns(row Builtin) string {
	if row.Returns == "" {
		return ""
	}
	return " -> " + row.Returns
}

func code(attrs []string) string {
	quoted := make([]string, len(attrs))
	for i, a := range attrs {
		quoted[i] = "`." + a + "`"
	}
	return strings.Join(quoted, ", ")
}

// Stub is the language as a Starlark file for editors: every builtin as a
// function without a body, made from Table.
func Stub() string {
	var b strings.Builder
	b.WriteString("\"\"\"The builtins of runner, for editors. Made by `runner docs --stub`; do not edit.\"\"\"\n")
	for _, row := range Table {
		fmt.Fprintf(&b, "\ndef %s:\n    \"\"\"%s", row.Signature, wrap(row.Doc, "    ", 100))
		if row.Returns != "" {
			fmt.Fprintf(&b, "\n\n    Returns:\n      %s", row.Returns)
		}
		b.WriteString("\n    \"\"\"\n    pass\n")
	}
	return b.String()
}

// wrap breaks a paragraph into lines, all but the first with an indent.
func wrap(text, indent string, width int) string {
	var b strings.Builder
	length := len(indent) + 3
	for i, word := range strings.Fields(strings.ReplaceAll(text, `"""`, `'''`)) {
		switch {
		case i == 0:
		case length+1+len(word) > width:
			b.WriteString("\n" + indent)
			length = len(indent)
		default:
			b.WriteString(" ")
			length++
		}
		b.WriteString(word)
		length += len(word)
	}
	return b.String()
}
