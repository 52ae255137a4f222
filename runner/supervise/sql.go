package supervise

import (
	"context"
	"errors"
	"net/url"
	"time"

	"chaosrunner/builtins/notation"
	"chaosrunner/runner/journal"
	"chaosrunner/runner/protocol"
)

const (
	maxRows     = 10_000  // of an answer that a script gets
	maxRowBytes = 1 << 20 // of these, as JSON
)

// sql is a look of the script into a database of a declared place, made by the
// agent: this process may have no way there.
func (r *run) sql(ctx context.Context, in protocol.SQL) (protocol.SQLReply, error) {
	reply, err := r.askSQL(ctx, in)
	if err == nil && r.live.Load() {
		r.journal.Record(journal.SQL{
			Pos: in.Pos, DSN: protocol.Masked(in.DSN), Query: in.Query, Write: in.Write,
			Rows: len(reply.Rows), Truncated: reply.Truncated, Seconds: reply.Seconds, Error: reply.Error,
		})
	}
	return reply, err
}

// askSQL is a look that nobody reads of.
func (r *run) askSQL(ctx context.Context, in protocol.SQL) (protocol.SQLReply, error) {
	var err error
	if in.DSN, err = r.secrets.Load().dsn(in.DSN); err != nil {
		return protocol.SQLReply{}, err
	}
	u, err := notation.ParseDSN(in.DSN)
	if err != nil {
		return protocol.SQLReply{}, protocol.Errorf(protocol.CodeBad, "sql: dsn: %v", err)
	}
	if !r.declared(u) {
		return protocol.SQLReply{}, protocol.Errorf(protocol.CodeRefused,
			"sql: %s is no declared place; want the host of a traffic, probe, metrics or prometheus declaration, or a target of the blast radius", u.Hostname())
	}
	query := protocol.Query{SQL: in, MaxRows: maxRows, MaxBytes: maxRowBytes}
	var reply protocol.SQLReply
	if query.Container, err = r.container(ctx, u, in.Write); err == nil {
		err = r.present().call(ctx, in.Timeout+5*time.Second, protocol.CallQuery, query, &reply)
	}
	if refused := protocol.CodeOf(err); refused == protocol.CodeRefused || refused == protocol.CodeBad {
		return protocol.SQLReply{}, err
	}
	if err != nil { // the database's container is away, say: an answer, as a refused connection is
		reply = protocol.SQLReply{Error: err.Error()}
	}
	return reply, nil
}

// container is that which a DSN's host names; none if it is an address. Only
// what the blast radius names may be written to.
func (r *run) container(ctx context.Context, u *url.URL, write bool) (string, error) {
	if isPlain(u.Hostname()) {
		if write {
			return "", protocol.Errorf(protocol.CodeRefused, "sql: write: got the address %s, want a target of the blast radius", u.Hostname())
		}
		return "", nil
	}
	t, err := r.one(ctx, u.Hostname())
	switch {
	case err != nil:
		return "", errors.New("sql: " + err.Error())
	case write && !r.radius[t.ID]:
		return "", protocol.Errorf(protocol.CodeRefused, "sql: write: %s is outside the blast radius", t.Name)
	}
	return t.ID, nil
}
