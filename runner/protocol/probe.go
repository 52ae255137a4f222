package protocol

import (
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"chaosrunner/builtins/spec"
)

// A script's look at a database, on its way from the worker to the agent.
const (
	CallSQL   = "sql"   // worker to supervisor: SQL → SQLReply
	CallQuery = "query" // supervisor to agent: Query → Queried
	CallCheck = "check" // supervisor to worker: Check → Checked

	CallPromQL = "promql" // worker to supervisor: PromQL → Figure
	CallLogs   = "logs"   // worker to supervisor: Logs → Logged; supervisor to agent: Tail → Logged
)

// PromQL asks the run's own source for a number now.
type PromQL struct {
	Query string   `json:"query"`
	Pos   spec.Pos `json:"pos,omitempty"`
}

// Logs asks for what containers have said of late.
type Logs struct {
	Targets  []string      `json:"targets"`
	Since    time.Duration `json:"since"` // how long ago it begins
	Contains string        `json:"contains,omitempty"`
	Pos      spec.Pos      `json:"pos,omitempty"`
}

// Tail asks for what one container has said.
type Tail struct {
	Container string        `json:"container"` // id
	Since     time.Duration `json:"since"`
	Contains  string        `json:"contains,omitempty"`
	MaxLines  int           `json:"max_lines"`
	MaxBytes  int           `json:"max_bytes"`
}

// Logged answers Logs and Tail: the last lines, oldest first.
type Logged struct {
	Lines     []string `json:"lines"`
	Truncated bool     `json:"truncated,omitempty"` // there were more before
}

// SQL is one statement of the script.
type SQL struct {
	DSN     string          `json:"dsn"`
	Query   string          `json:"query"`
	Args    json.RawMessage `json:"args,omitempty"` // a list of scalars, and of lists of them
	Timeout time.Duration   `json:"timeout"`
	Write   bool            `json:"write,omitempty"`
	Pos     spec.Pos        `json:"pos,omitempty"`
}

// Words is the statement for people: on one line, without the password.
func (s SQL) Words() string {
	verb := "read"
	if s.Write {
		verb = "write"
	}
	return verb + " " + Masked(s.DSN) + ": " + strings.Join(strings.Fields(s.Query), " ")
}

// Masked is a DSN without its password.
func Masked(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		return "a DSN that is no URL"
	}
	return u.Redacted()
}

// SQLReply answers SQL. Without an answer there is an Error and no row.
type SQLReply struct {
	Columns   []string            `json:"columns"`
	Rows      [][]json.RawMessage `json:"rows"`
	Truncated bool                `json:"truncated,omitempty"` // there were more
	Seconds   float64             `json:"seconds"`
	Error     string              `json:"error,omitempty"`
}

// Query is SQL next to a container, or to an address as the agent reaches it.
type Query struct {
	SQL
	Container string `json:"container,omitempty"` // id; empty: the DSN's host is an address
	MaxRows   int    `json:"max_rows"`
	MaxBytes  int    `json:"max_bytes"`
}

// Check asks a worker for the number of an invariant.
type Check struct {
	Module string          `json:"module"`
	Func   string          `json:"func"`
	Args   json.RawMessage `json:"args,omitempty"` // a list; none: it takes none
	Any    bool            `json:"any,omitempty"`  // any value that is JSON will do: it is for another function
}

// Checked answers Check. Value is a number or null, or with Any what it is.
type Checked struct {
	Value json.RawMessage `json:"value,omitempty"`
	Ended
}
