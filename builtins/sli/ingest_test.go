package sli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/encoding/protowire"
)

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func reader(lines string) io.Reader { return strings.NewReader(lines + "\n") }

// everything is a registry with each kind of metric in it.
func everything(t testing.TB) []*dto.MetricFamily {
	t.Helper()
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "c_total", Help: `a "help"`}, []string{"code"})
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "g", Help: "g"})
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "h_seconds", Help: "h", Buckets: []float64{0.5, 1}, NativeHistogramBucketFactor: 1.1})
	s := prometheus.NewSummary(prometheus.SummaryOpts{Name: "s_seconds", Help: "s", Objectives: map[float64]float64{0.5: 0.01}})
	reg.MustRegister(c, g, h, s)
	c.WithLabelValues("2\"00\n").Add(3)
	g.Set(-1.5)
	h.Observe(0.7)
	h.Observe(7)
	s.Observe(2)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

func encode(t testing.TB, families []*dto.MetricFamily, format expfmt.Format) []byte {
	t.Helper()
	var b bytes.Buffer
	enc := expfmt.NewEncoder(&b, format)
	for _, f := range families {
		if err := enc.Encode(f); err != nil {
			t.Fatal(err)
		}
	}
	if c, ok := enc.(expfmt.Closer); ok {
		_ = c.Close()
	}
	return b.Bytes()
}

// The same metrics give the same series in all three formats.
func TestIngestFormats(t *testing.T) {
	for _, format := range []expfmt.FormatType{expfmt.TypeTextPlain, expfmt.TypeOpenMetrics, expfmt.TypeProtoDelim} {
		f := expfmt.NewFormat(format)
		t.Run(string(f), func(t *testing.T) {
			st := NewStore(Limits{})
			n, err := st.Ingest("api", t0, string(f), bytes.NewReader(encode(t, everything(t), f)), map[string]string{"instance": "api"})
			if err != nil || n != 10 {
				t.Fatalf("got %d samples and %v, want 10", n, err)
			}
			for query, want := range map[string]float64{
				`c_total{code="2\"00\n",instance="api"}`: 3,
				`g`:                                      -1.5,
				`h_seconds_bucket{le="0.5"}`:             0,
				`h_seconds_bucket{le="1.0"}`:             1,
				`h_seconds_bucket{le="1"}`:               1,
				`h_seconds_bucket{le="+Inf"}`:            2,
				`h_seconds_sum`:                          7.7,
				`h_seconds_count`:                        2,
				`s_seconds{quantile="0.5"}`:              2,
				`s_seconds_count`:                        1,
				`runner_scrape_up{source="api"}`:         1,
			} {
				v := over(st).Value(ctx, promqlOf(query), Window{t0, t0})
				if !v.OK || !near(v.V, want) {
					t.Errorf("%s: got %+v, want %v", query, v, want)
				}
			}
		})
	}
}

func TestIngestOpenMetricsDetails(t *testing.T) {
	st := NewStore(Limits{})
	body := "# TYPE req counter\n# UNIT req requests\n# HELP req \\\"q\\\"\n" +
		"req_total{path=\"a } # {b\"} 5 " + fmt.Sprintf("%.3f", float64(after(-3).UnixMilli())/1000) + " # {trace_id=\"x y\"} 0.5 1.0\n" +
		"# TYPE build info\nbuild_info{v=\"1\"} 1\n# EOF\n"
	if _, err := st.Ingest("api", t0, "application/openmetrics-text; version=1.0.0; charset=utf-8", strings.NewReader(body), nil); err != nil {
		t.Fatal(err)
	}
	v := st.find(mustSelect(t, `req_total{path="a } # {b"}`))
	if len(v) != 1 || v[0].last != after(-3).UnixMilli() {
		t.Errorf("got %+v, want one series with the exposed time", v)
	}
}

// Everything that cannot be read whole is an error that says where and what,
// adds nothing, and ends the source's series.
func TestIngestGarbage(t *testing.T) {
	huge := protowire.AppendVarint(nil, 1<<40)
	for name, c := range map[string]struct{ contentType, body, want string }{
		"value":          {"", "a 1\nb one\n", `line 2: expected float as value, got "one"`},
		"labels":         {"", "a 1\n\nb{x=y} 1\n", `line 3: expected '"'`},
		"binary":         {"", "\x00\xff\xfe", "line 1"},
		"cut short":      {"", "a 1\nb 2", "line 2: unexpected end"},
		"twice":          {"", "a 1\nb 1\na 2\n", `series {__name__="a", instance="api"} is exposed twice`},
		"labels galore":  {"", "a 1\nb{" + strings.Repeat(`l="=",`, 65) + "} 1\n", "line 2: got more than 64 labels"},
		"html":           {"text/html; charset=utf-8", "<html>", "got content type text/html, want text/plain"},
		"bad type":       {"a b;;c", "a 1\n", "content type"},
		"om without EOF": {"application/openmetrics-text", "a 1\n", "line 1: want # EOF"},
		"om after EOF":   {"application/openmetrics-text", "# EOF\na 1\n", "line 2: got data after # EOF"},
		"om timestamp":   {"application/openmetrics-text", "# TYPE a gauge\na 1 yesterday\n# EOF\n", `line 2: got timestamp "yesterday"`},
		"om value":       {"application/openmetrics-text", "# TYPE a gauge\na x 1\n# EOF\n", `line 2: expected float`},
		"om type":        {"application/openmetrics-text", "# TYPE a b\n# EOF\n", `line 1: got metric type "b"`},
		"om comment":     {"application/openmetrics-text", "# hello\n# EOF\n", `line 1`},
		"om 2.0":         {"application/openmetrics-text; version=2.0.0", "# EOF\n", `got OpenMetrics 2.0.0, want 1.0.0`},
		"proto length":   {"application/vnd.google.protobuf", string(huge) + "xx", "message 1: got a length of 1099511627776, but only 2 bytes are left"},
		"proto garbage":  {"application/vnd.google.protobuf", "\x02\xff\xff", "message 1"},
		"proto encoding": {"application/vnd.google.protobuf; encoding=text", "", "want delimited"},
		"too much":       {"", strings.Repeat("a_very_long_name 1\n", 1<<10), "got more than 4096 bytes"},
		"never-ending":   {"", "", "got more than 4096 bytes"},
		"broken off":     {"", "", "reading: connection reset"},
	} {
		t.Run(name, func(t *testing.T) {
			st := NewStore(Limits{Body: 4096})
			scrape(t, st, "api", after(0), "a 7", "b 7")
			series, _ := st.Stats()
			var body io.Reader = strings.NewReader(c.body)
			switch name {
			case "never-ending":
				body = &zeros{}
			case "broken off":
				body = io.MultiReader(strings.NewReader("a 1\n"), failing{errors.New("connection reset")})
			}
			n, err := st.Ingest("api", after(1), c.contentType, body, map[string]string{"instance": "api"})
			if err == nil || !strings.Contains(err.Error(), c.want) || n != 0 {
				t.Fatalf("got %d, %v; want an error with %q", n, err, c.want)
			}
			if now, _ := st.Stats(); now != series {
				t.Errorf("got %d series, want the %d from before", now, series)
			}
			wantNone(t, over(st).Value(ctx, promqlOf("a"), Window{after(1), after(1)}), "scrape of api fails since 0s: ")
		})
	}
}

// zeros has no end, and fails the test of whoever seeks it.
type zeros struct{ n int }

func (z *zeros) Read(p []byte) (int, error) {
	if z.n += len(p); z.n > 1<<20 {
		return 0, errors.New("read far beyond the limit")
	}
	clear(p)
	return len(p), nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// A refused exposition takes back the series it would have created.
func TestIngestIsAllOrNothing(t *testing.T) {
	st := NewStore(Limits{})
	scrape(t, st, "api", after(0), "a 1")
	if _, err := st.Ingest("api", after(1), "", reader("new 1\na 1\na 1"), map[string]string{"instance": "api"}); err == nil {
		t.Fatal("got no error, want one")
	}
	if series, _ := st.Stats(); series != 2 || len(st.byName["new"]) != 0 {
		t.Errorf("got %d series, want a and runner_scrape_up", series)
	}
	scrape(t, st, "api", after(2), "new 1", "a 1")
	wantValue(t, over(st).Value(ctx, promqlOf("new"), span(2, 2)), 1)
}

func TestIngestTwoSourcesOneSeries(t *testing.T) {
	st := NewStore(Limits{})
	if _, err := st.Ingest("one", t0, "", reader("a 1"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Ingest("two", t0, "", reader("a 1"), nil); err == nil || !strings.Contains(err.Error(), "one exposes it too") {
		t.Errorf("got %v, want it to name the other source", err)
	}
}

func TestIngestLabelsOfTheSourceWin(t *testing.T) {
	st := NewStore(Limits{})
	if _, err := st.Ingest("api", t0, "", reader(`a{instance="x",exported_instance="y"} 1`), map[string]string{"instance": "api"}); err != nil {
		t.Fatal(err)
	}
	wantValue(t, over(st).Value(ctx, promqlOf(`a{instance="api",exported_instance="y",exported_exported_instance="x"}`), Window{t0, t0}), 1)
}

// An exposition's own timestamps are kept, but nothing is newer than its reading.
func TestIngestTimestamps(t *testing.T) {
	st := NewStore(Limits{})
	line := func(v int, ms int64) string { return fmt.Sprintf("a %d %d", v, ms) }
	scrape(t, st, "x", after(5), line(1, after(3).UnixMilli()))
	scrape(t, st, "x", after(6), line(1, after(3).UnixMilli())) // the same sample
	scrape(t, st, "x", after(7), line(2, after(900).UnixMilli()))
	got := st.find(mustSelect(t, "a"))[0].points(0, math.MaxInt64)
	want := []point{{after(3).UnixMilli(), 1}, {after(7).UnixMilli(), 2}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestIngestInThePast(t *testing.T) {
	st := NewStore(Limits{})
	scrape(t, st, "api", after(1), "a 1")
	if _, err := st.Ingest("api", after(1), "", reader("a 2"), nil); err == nil || !strings.Contains(err.Error(), "out of order") {
		t.Errorf("got %v, want out of order", err)
	}
}

func FuzzIngest(f *testing.F) {
	families := everything(f)
	for i, format := range []expfmt.FormatType{expfmt.TypeTextPlain, expfmt.TypeOpenMetrics, expfmt.TypeProtoDelim} {
		f.Add(uint8(i), encode(f, families, expfmt.NewFormat(format)))
	}
	f.Add(uint8(1), []byte("a{b=\"\\\"} # {\"} 1 2 # {x=\"y\"} 1\n# EOF\n"))
	f.Add(uint8(2), protowire.AppendVarint(nil, 1<<62))
	f.Add(uint8(0), []byte("{\"a b\",c=\"d\"} NaN\n"))
	types := []string{"text/plain", "application/openmetrics-text", "application/vnd.google.protobuf"}
	f.Fuzz(func(t *testing.T, kind uint8, body []byte) {
		st := NewStore(Limits{Body: 1 << 16, Series: 1000})
		n, err := st.Ingest("api", t0, types[int(kind)%len(types)], bytes.NewReader(body), map[string]string{"instance": "api"})
		if err != nil && n != 0 {
			t.Errorf("got %d samples and %v", n, err)
		}
		if series, _ := st.Stats(); err != nil && series != 1 { // runner_scrape_up
			t.Errorf("a refused body left %d series", series)
		}
		var out bytes.Buffer
		if err := st.WriteOpenMetrics(&out); err != nil {
			t.Fatal(err)
		}
		again := NewStore(Limits{Body: 1 << 24})
		if _, err := again.load(out.Bytes()); err != nil {
			t.Errorf("what was written does not read: %v\n%s", err, out.Bytes())
		}
		e := over(st)
		for _, q := range []string{`sum({__name__=~".+"})`, `count({instance="api"})`} {
			if v := e.Value(ctx, promqlOf(q), Window{t0, t0}); math.IsNaN(v.V) || math.IsInf(v.V, 0) {
				t.Errorf("%s: got %v", q, v.V)
			}
		}
	})
}
