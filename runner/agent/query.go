package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"chaosrunner/builtins/fault"
	"chaosrunner/builtins/notation"
	"chaosrunner/runner/protocol"
)

const (
	maxRows      = 10_000
	maxQueryTime = 2 * time.Minute
	postgresPort = 5432
)

// query asks a database. What writes is harm: to what has opted in, by leave of
// the operator, and while the epoch is open.
func (a *agent) query(ctx context.Context, in protocol.Query) (protocol.SQLReply, error) {
	if in.Write {
		if err := a.mayWrite(ctx, in); err != nil {
			return protocol.SQLReply{}, err
		}
	}
	return a.fetcher.query(ctx, in)
}

func (a *agent) mayWrite(ctx context.Context, in protocol.Query) error {
	a.mu.Lock()
	state := a.epoch
	a.mu.Unlock()
	if state != open {
		return errClosed()
	}
	if err := a.policy.WriteSQL(); err != nil {
		return protocol.Errorf(protocol.CodeRefused, "sql: write: %v", err)
	}
	return a.finder.permit(ctx, "sql", fault.Target{ID: in.Container})
}

// query sends one statement to a PostgreSQL next to a container, through its
// door like a fetch, or to an address as it is reached from here.
//
//	connect ─▶ BEGIN READ ONLY ─▶ the statement, one, with its arguments apart ─▶ ROLLBACK
//
// The session is read-only too, so that a statement that ends the transaction
// has won nothing.
func (f *fetcher) query(ctx context.Context, in protocol.Query) (protocol.SQLReply, error) {
	var none protocol.SQLReply
	switch {
	case in.Timeout <= 0 || in.Timeout > maxQueryTime:
		return none, protocol.Errorf(protocol.CodeBad, "agent: sql: got timeout %v, want at most %v", in.Timeout, maxQueryTime)
	case in.MaxRows <= 0 || in.MaxRows > maxRows || in.MaxBytes <= 0 || in.MaxBytes > maxBody:
		return none, protocol.Errorf(protocol.CodeBad, "agent: sql: got bounds of %d rows and %d bytes, want at most %d and %d", in.MaxRows, in.MaxBytes, maxRows, maxBody)
	}
	args, err := queryArgs(in.Args)
	if err != nil {
		return none, protocol.Errorf(protocol.CodeBad, "agent: sql: args: %v", err)
	}
	select {
	case f.busy <- struct{}{}:
		defer func() { <-f.busy }()
	default:
		return none, protocol.Errorf(protocol.CodeBusy, "agent: sql: %d requests are under way already", maxFetches)
	}
	ctx, cancel := context.WithTimeout(ctx, in.Timeout)
	defer cancel()
	began := time.Now()
	reply, err := f.ask(ctx, in, args)
	reply.Seconds = time.Since(began).Seconds()
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("no answer within %v", in.Timeout)
		}
		return protocol.SQLReply{Seconds: reply.Seconds, Error: "sql: " + plainSQL(err)}, nil
	}
	return reply, nil
}

func (f *fetcher) ask(ctx context.Context, in protocol.Query, args [][]byte) (protocol.SQLReply, error) {
	config, err := f.config(ctx, in)
	if err != nil {
		return protocol.SQLReply{}, err
	}
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return protocol.SQLReply{}, err
	}
	// Not in order: what a statement still has to say is of no interest, and the
	// server ends the transaction when the connection is gone.
	defer conn.Conn().Close() //nolint:errcheck // nothing is lost by it
	begin, end := "BEGIN READ ONLY", "ROLLBACK"
	if in.Write {
		begin, end = "BEGIN READ WRITE", "COMMIT"
	}
	if _, err := conn.Exec(ctx, begin).ReadAll(); err != nil {
		return protocol.SQLReply{}, err
	}
	reply, err := readRows(conn.ExecParams(ctx, in.Query, args, nil, nil, nil), in)
	if err != nil || reply.Truncated && !in.Write {
		return reply, err
	}
	if reply.Truncated {
		return protocol.SQLReply{}, fmt.Errorf("the statement returned more than %d rows, and was taken back", in.MaxRows)
	}
	_, err = conn.Exec(ctx, end).ReadAll()
	return reply, err
}

// config leaves nothing to the environment of this process or to files of its
// user: neither a password nor a host of theirs is the script's to use.
func (f *fetcher) config(ctx context.Context, in protocol.Query) (*pgconn.Config, error) {
	u, err := notation.ParseDSN(in.DSN)
	if err != nil {
		return nil, err
	}
	port := postgresPort
	if p := u.Port(); p != "" {
		port, _ = strconv.Atoi(p) // ParseDSN has seen that it is one
	}
	host := u.Hostname()
	mode := u.Query().Get("sslmode")
	if mode == "" {
		mode = "prefer"
	}
	plain := url.URL{Scheme: "postgres", User: u.User, Host: net.JoinHostPort(host, strconv.Itoa(port)), Path: u.Path}
	plain.RawQuery = url.Values{
		"sslmode": {mode}, "passfile": {"/dev/null"}, "servicefile": {"/dev/null"}, "application_name": {"runner"},
	}.Encode()
	config, err := pgconn.ParseConfig(plain.String())
	if err != nil {
		return nil, err
	}
	config.Password, _ = u.User.Password()
	config.RuntimeParams = map[string]string{
		"application_name":  "runner",
		"statement_timeout": strconv.FormatInt(in.Timeout.Milliseconds()+1, 10), // a hanging one ends though nobody waits for it
	}
	if !in.Write {
		config.RuntimeParams["default_transaction_read_only"] = "on"
	}
	if in.Container == "" {
		return config, nil
	}
	d, err := f.door(ctx, in.Container)
	if err != nil {
		return nil, err
	}
	config.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil }
	config.DialFunc = d.dial
	return config, nil
}

// readRows takes rows in until there are too many.
func readRows(from *pgconn.ResultReader, in protocol.Query) (protocol.SQLReply, error) {
	reply := protocol.SQLReply{Columns: []string{}, Rows: [][]json.RawMessage{}}
	bytes := 0
	for from.NextRow() {
		if len(reply.Rows) == in.MaxRows {
			reply.Truncated = true
			break
		}
		types := from.FieldDescriptions()
		row := make([]json.RawMessage, len(types))
		for i, cell := range from.Values() {
			row[i] = cellJSON(types[i].DataTypeOID, cell)
			bytes += len(row[i])
		}
		if bytes > in.MaxBytes {
			reply.Truncated = true
			break
		}
		reply.Rows = append(reply.Rows, row)
	}
	for _, column := range from.FieldDescriptions() {
		reply.Columns = append(reply.Columns, column.Name)
	}
	if reply.Truncated {
		return reply, nil // the rest is not read: the connection is closed instead
	}
	_, err := from.Close()
	return reply, err
}

// The types of PostgreSQL that are not told as text.
const (
	oidBool    = 16
	oidInt8    = 20
	oidInt2    = 21
	oidInt4    = 23
	oidOID     = 26
	oidFloat4  = 700
	oidFloat8  = 701
	oidNumeric = 1700
)

// cellJSON is a cell in text format as JSON. NaN and the infinities are null:
// no such number reaches a script.
func cellJSON(oid uint32, cell []byte) json.RawMessage {
	if cell == nil {
		return json.RawMessage("null")
	}
	switch oid {
	case oidBool:
		return json.RawMessage(strconv.FormatBool(string(cell) == "t"))
	case oidInt2, oidInt4, oidInt8, oidOID, oidFloat4, oidFloat8, oidNumeric:
		if !json.Valid(cell) {
			return json.RawMessage("null")
		}
		return bytes.Clone(cell) // the reader uses its buffer again
	}
	text, err := json.Marshal(strings.ToValidUTF8(string(cell), "\uFFFD"))
	if err != nil {
		return json.RawMessage("null")
	}
	return text
}

// queryArgs are arguments in PostgreSQL's text format, whose types the server
// finds out; a list is the literal of an array.
func queryArgs(raw json.RawMessage) ([][]byte, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var all []any
	if err := d.Decode(&all); err != nil {
		return nil, err
	}
	args := make([][]byte, len(all))
	for i, v := range all {
		list, ok := v.([]any)
		if !ok {
			if v != nil {
				args[i] = []byte(argText(v))
			}
			continue
		}
		items := make([]string, len(list))
		for j, x := range list {
			items[j] = "NULL"
			if x != nil {
				items[j] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(argText(x)) + `"`
			}
		}
		args[i] = []byte("{" + strings.Join(items, ",") + "}")
	}
	return args, nil
}

func argText(v any) string {
	if b, ok := v.(bool); ok {
		return strconv.FormatBool(b)
	}
	return fmt.Sprint(v)
}

// plainSQL tells an error of the database or of the way to it, in one line and
// without what pgconn puts around it.
func plainSQL(err error) string {
	var refused *pgconn.PgError
	var connect *pgconn.ConnectError
	switch {
	case errors.As(err, &refused):
		text := refused.Message + " (SQLSTATE " + refused.Code + ")"
		if refused.Code == "25006" {
			text += ": ask for it with write = True"
		}
		return text
	case errors.As(err, &connect):
		return "cannot connect: " + oneLine(errors.Unwrap(connect))
	}
	return oneLine(err)
}

// oneLine leaves out what is said twice: a way without TLS is tried after one with.
func oneLine(err error) string {
	lines := strings.Split(err.Error(), "\n")
	return strings.Join(slices.Compact(lines), "; ")
}
