package agent

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"chaosrunner/runner/agent/enginetest"
	"chaosrunner/runner/policy"
	"chaosrunner/runner/protocol"
)

const testDSN = "postgres://shop:s%40cret@db:5432/shop"

// postgres is a real one of its own; it has no network.
func postgres(t *testing.T) *enginetest.Container {
	t.Helper()
	return enginetest.Run(t, enginetest.Options{Image: "shop-postgres", Tmpfs: map[string]string{"/var/lib/postgresql/data": ""}, Env: []string{"POSTGRES_USER=shop", "POSTGRES_PASSWORD=s@cret", "POSTGRES_DB=shop"}})
}

func sqlOf(k *enginetest.Container, query string, args ...any) protocol.Query {
	in := protocol.Query{Container: k.ID, MaxRows: 100, MaxBytes: 1 << 20}
	in.DSN, in.Query, in.Timeout = testDSN, query, 20*time.Second
	if len(args) > 0 {
		in.Args, _ = json.Marshal(args) // of scalars and lists
	}
	return in
}

func (c *child) sql(in protocol.Query) protocol.SQLReply {
	c.t.Helper()
	var got protocol.SQLReply
	if err := c.call(protocol.CallQuery, in, &got); err != nil {
		c.t.Fatal(err)
	}
	return got
}

func rowsOf(r protocol.SQLReply) string {
	raw, _ := json.Marshal(r.Rows) // of JSON
	return string(raw)
}

func TestQuery(t *testing.T) {
	t.Parallel()
	k := postgres(t)
	c := start(t, hello(t.TempDir()), "PGPASSWORD=s@cret") // the operator's, not the script's
	until := time.Now().Add(time.Minute)
	for c.sql(sqlOf(k, "SELECT 1")).Error != "" { // it makes its cluster first
		if time.Now().After(until) {
			t.Fatal(c.sql(sqlOf(k, "SELECT 1")).Error)
		}
		time.Sleep(100 * time.Millisecond)
	}

	t.Run("values", func(t *testing.T) {
		got := c.sql(sqlOf(k, `SELECT 1::int2 AS small, 9007199254740993, sum(x), 2.50::numeric, 0.1::float8, 'NaN'::float8, '-Infinity'::float4, 'NaN'::numeric,
			true, NULL, 'a"b', '{"a": 1}'::json, ARRAY[1, 2], '2026-01-02 03:04:05Z'::timestamptz AT TIME ZONE 'UTC' FROM generate_series(1, 4) x`))
		if want := `[[1,9007199254740993,10,2.50,0.1,null,null,null,true,null,"a\"b","{\"a\": 1}","{1,2}","2026-01-02 03:04:05"]]`; got.Error != "" || rowsOf(got) != want {
			t.Errorf("got %s (%s)\nwant %s", rowsOf(got), got.Error, want)
		}
		if len(got.Columns) != 14 || got.Columns[0] != "small" || got.Seconds <= 0 || got.Truncated {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("arguments", func(t *testing.T) {
		nasty := `a"b\c,{}'; DROP TABLE x`
		got := c.sql(sqlOf(k, `SELECT $1::int + 1, $2 || '!', $3::bool, $4::text IS NULL, $5::float8, (SELECT count(*) FROM unnest($6::text[]) u WHERE u IS NULL OR u = $2), $7 = ANY($8::int[])`,
			3, nasty, true, nil, 2.5, []any{nasty, nil, "c"}, 2, []any{1, 2}))
		if want := fmt.Sprintf(`[[4,%q,true,true,2.5,2,true]]`, nasty+"!"); got.Error != "" || rowsOf(got) != want {
			t.Errorf("got %s (%s)\nwant %s", rowsOf(got), got.Error, want)
		}
		if got := c.sql(sqlOf(k, `SELECT $1::int`, "x")); !strings.Contains(got.Error, "invalid input syntax") {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("writes", func(t *testing.T) {
		for _, query := range []string{
			"CREATE TABLE t (n int)", "SELECT 1; CREATE TABLE t (n int)", "COMMIT; CREATE TABLE t (n int)",
			"DO $$ BEGIN COMMIT; CREATE TABLE t (n int); END $$", "SELECT nextval('s')", "SELECT set_config('transaction_read_only', 'off', false)",
			"COMMIT AND CHAIN",
		} {
			c.sql(sqlOf(k, query))
		}
		if got := c.sql(sqlOf(k, "CREATE TABLE t (n int)")); !strings.Contains(got.Error, "read-only transaction (SQLSTATE 25006): ask for it with write = True") {
			t.Errorf("got %+v", got)
		}
		if got := c.sql(sqlOf(k, "SELECT count(*) FROM pg_class WHERE relname = 't'")); rowsOf(got) != "[[0]]" {
			t.Errorf("a table was made: %s", rowsOf(got))
		}
		in := sqlOf(k, "CREATE TABLE t (n int)")
		in.Write = true
		wantCode(t, c.call(protocol.CallQuery, in, nil), protocol.CodeRefused, "sql: write: no policy allows to send SQL that writes: write `write_sql: true`")
	})
	t.Run("writes by leave", func(t *testing.T) {
		h := hello(t.TempDir())
		h.Run, h.Shared, h.Policy = "write", true, &policy.File{Path: "p.yaml", Text: "write_sql: true\n"}
		c := start(t, h)
		write := sqlOf(k, "CREATE TABLE w AS SELECT generate_series(1, 3) n")
		write.Write = true
		if got := c.sql(write); got.Error != "" {
			t.Fatal(got.Error)
		}
		write.Query = "UPDATE w SET n = n + 1 RETURNING n"
		if got := c.sql(write); rowsOf(got) != "[[2],[3],[4]]" {
			t.Errorf("got %s, %s", rowsOf(got), got.Error)
		}
		write.MaxRows = 2
		if got := c.sql(write); !strings.Contains(got.Error, "more than 2 rows, and was taken back") {
			t.Errorf("got %+v", got)
		}
		if got := c.sql(sqlOf(k, "SELECT sum(n) FROM w")); rowsOf(got) != "[[9]]" {
			t.Errorf("got %s: what was not answered whole was kept", rowsOf(got))
		}
		closed := enginetest.Run(t, enginetest.Options{Closed: true})
		write.Container = closed.ID
		wantCode(t, c.call(protocol.CallQuery, write, nil), protocol.CodeRefused, "has not opted in")
		if err := c.call(protocol.CallUndoAll, protocol.UndoAll{Reason: "test"}, nil); err != nil {
			t.Fatal(err)
		}
		write.Container = k.ID
		wantCode(t, c.call(protocol.CallQuery, write, nil), protocol.CodeClosed, "epoch is over")
		if got := c.sql(sqlOf(k, "SELECT 1")); got.Error != "" {
			t.Errorf("a look after the epoch: %s", got.Error)
		}
	})
	t.Run("a million rows", func(t *testing.T) {
		got := c.sql(sqlOf(k, "SELECT x FROM generate_series(1, 1000000) x"))
		if got.Error != "" || !got.Truncated || len(got.Rows) != 100 || got.Columns[0] != "x" {
			t.Errorf("got %d rows, truncated %t, %s", len(got.Rows), got.Truncated, got.Error)
		}
		got = c.sql(sqlOf(k, "SELECT repeat('x', 300000) FROM generate_series(1, 10)"))
		if got.Error != "" || !got.Truncated || len(got.Rows) != 3 {
			t.Errorf("wide: got %d rows, truncated %t, %s", len(got.Rows), got.Truncated, got.Error)
		}
		if got := c.sql(sqlOf(k, "SELECT x FROM generate_series(1, 100) x")); got.Truncated || len(got.Rows) != 100 {
			t.Errorf("just as many: got %d rows, truncated %t", len(got.Rows), got.Truncated)
		}
		if got := c.sql(sqlOf(k, "SELECT WHERE false")); got.Error != "" || rowsOf(got) != "[]" {
			t.Errorf("none: got %s, %s", rowsOf(got), got.Error)
		}
	})
	t.Run("hangs", func(t *testing.T) {
		in := sqlOf(k, "SELECT pg_sleep(600)")
		in.Timeout = time.Second
		if got := c.sql(in); !strings.Contains(got.Error, "no answer within 1s") && !strings.Contains(got.Error, "statement timeout") {
			t.Errorf("got %+v", got)
		}
		left := "[[1]]"
		for until := time.Now().Add(30 * time.Second); left != "[[0]]"; time.Sleep(100 * time.Millisecond) {
			left = rowsOf(c.sql(sqlOf(k, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)' AND state = 'active'")))
			if time.Now().After(until) {
				t.Fatalf("the statement goes on in the database: %s", left)
			}
		}
	})
	t.Run("wrong DSN", func(t *testing.T) {
		for dsn, want := range map[string]string{
			"postgres://shop:wrong@db:5432/shop":                    `password authentication failed for user "shop"`,
			"postgres://shop@db:5432/shop":                          `password`,
			"postgres://nobody:x@db:5432/shop":                      `password authentication failed for user "nobody"`,
			"postgres://shop:s%40cret@db:5432/nothing":              `database "nothing" does not exist`,
			"postgres://shop:s%40cret@db:9/shop":                    `cannot connect: `,
			"postgres://shop:s%40cret@db/shop?sslmode=x":            `got sslmode=x`,
			"postgres://shop:s%40cret@db:5432/shop?sslmode=require": `TLS`,
		} {
			in := sqlOf(k, "SELECT 1")
			in.DSN = dsn
			got := c.sql(in)
			if !strings.Contains(got.Error, want) || strings.Contains(got.Error, "s@cret") || strings.Contains(got.Error, "s%40cret") || strings.Contains(got.Error, "\n") {
				t.Errorf("%s: got %q, want %s", dsn, got.Error, want)
			}
		}
	})
	t.Run("bounds", func(t *testing.T) {
		in := sqlOf(k, "SELECT 1")
		in.Timeout = time.Hour
		wantCode(t, c.call(protocol.CallQuery, in, nil), protocol.CodeBad, "timeout")
		in = sqlOf(k, "SELECT 1")
		in.MaxRows = 1 << 30
		wantCode(t, c.call(protocol.CallQuery, in, nil), protocol.CodeBad, "bounds")
	})
	k.Kill()
	if got := c.sql(sqlOf(k, "SELECT 1")); !strings.Contains(got.Error, "not running") {
		t.Errorf("dead: got %+v", got)
	}
}
