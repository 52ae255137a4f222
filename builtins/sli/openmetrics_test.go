package sli

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// load reads back what WriteOpenMetrics wrote, many samples a series.
func (st *Store) load(body []byte) (map[string][]point, error) {
	exp, err := parse(body, "application/openmetrics-text", 0)
	out := map[string][]point{}
	for _, s := range exp.samples {
		key := buildLabels(s.name, s.labels, nil).String()
		out[key] = append(out[key], point{s.t, s.v})
	}
	return out, err
}

// What is written reads back as the same numbers, in the same order.
func TestOpenMetricsRoundTrip(t *testing.T) {
	st := NewStore(Limits{})
	rng := rand.New(rand.NewPCG(3, 4))
	c, h := 0, [3]int{}
	for i := range 300 {
		if i%50 == 49 {
			st.Fail("api", after(i), fmt.Errorf("down"))
			continue
		}
		c += rng.IntN(5)
		for b := range h {
			h[b] += b + rng.IntN(2)
		}
		half := fmt.Sprintf(`h_bucket{le="0.5"} %d`, h[0])
		if i%7 == 3 {
			half = "" // a bucket that is not always there keeps its times all the same
		}
		scrape(t, st, "api", after(i),
			"# HELP c_total how \\\\ many", "# TYPE c_total counter", fmt.Sprint("c_total ", c),
			"# TYPE odd counter", fmt.Sprint("odd ", c), // a counter without _total is no OpenMetrics counter
			"# TYPE g gauge", fmt.Sprint(`g{p="a\\b\"c\nd"} `, rng.NormFloat64()*1e9),
			"# TYPE inf gauge", "inf +Inf", "nan NaN",
			"# TYPE h histogram", half, fmt.Sprintf(`h_bucket{le="10"} %d`, h[0]+h[1]), fmt.Sprintf(`h_bucket{le="+Inf"} %d`, h[0]+h[1]+h[2]),
			fmt.Sprint("h_sum ", rng.Float64()), fmt.Sprint("h_count ", h[0]+h[1]+h[2]),
			`{"utf.8","la bel"="x"} 1`)
	}
	var out bytes.Buffer
	if err := st.WriteOpenMetrics(&out); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, line := range []string{
		"# HELP c how \\\\ many\n# TYPE c counter\nc_total{instance=\"api\"} ",
		"# TYPE odd unknown\nodd{", "# TYPE g gauge\n", "# TYPE h histogram\n", "# TYPE \"utf.8\" unknown\n{\"utf.8\",",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("the output has no %q", line)
		}
	}
	if !strings.HasSuffix(text, "\n# EOF\n") {
		t.Error("the output does not end with # EOF")
	}
	// One histogram point after the other, not one series after the other.
	i := strings.Index(text, "h_bucket")
	if lines := strings.SplitN(text[i:], "\n", 7); !strings.HasPrefix(lines[2], `h_bucket{instance="api",le="+Inf"}`) || !strings.HasPrefix(lines[3], "h_count") || !strings.HasPrefix(lines[5], `h_bucket{instance="api",le="0.5"}`) {
		t.Errorf("got %s", strings.Join(lines[:6], "\n"))
	}
	last := 0.0
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); strings.HasPrefix(line, "h_") {
			at, err := strconv.ParseFloat(f[2], 64)
			if err != nil || at < last {
				t.Fatalf("%q comes after %v", line, last)
			}
			last = at
		}
	}
	got, err := st.load(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, name := range sortedKeys(st.byName) {
		for _, s := range st.byName[name] {
			var want []point
			for _, p := range s.view().points(math.MinInt64, math.MaxInt64) {
				if !p.stale() {
					want = append(want, p)
				}
			}
			n++
			if fmt.Sprint(got[s.labels.String()]) != fmt.Sprint(want) {
				t.Fatalf("%s: got %d points that differ from the %d written", s.labels, len(got[s.labels.String()]), len(want))
			}
		}
	}
	if n != len(got) {
		t.Errorf("got %d series, want %d", len(got), n)
	}
}

// Each format's families keep their type on the way through.
func TestOpenMetricsTypes(t *testing.T) {
	for _, format := range []expfmt.FormatType{expfmt.TypeTextPlain, expfmt.TypeOpenMetrics, expfmt.TypeProtoDelim} {
		f, st := expfmt.NewFormat(format), NewStore(Limits{})
		if _, err := st.Ingest("api", t0, string(f), bytes.NewReader(encode(t, everything(t), f)), nil); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := st.WriteOpenMetrics(&out); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"# TYPE c counter", "# HELP c a \\\"help\\\"", "# TYPE g gauge", "# TYPE h_seconds histogram", "# TYPE s_seconds summary"} {
			if !strings.Contains(out.String(), want+"\n") {
				t.Errorf("%s: the output has no %q:\n%s", f, want, out.String())
			}
		}
	}
}

func TestOpenMetricsSourcesThatDisagree(t *testing.T) {
	st := NewStore(Limits{})
	scrape(t, st, "one", t0, "# TYPE x counter", "x 1")
	scrape(t, st, "two", t0, "# TYPE x gauge", "x 1")
	if got := st.families["x"].kind; got != model.MetricTypeUnknown {
		t.Errorf("got %s, want unknown", got)
	}
}

func TestOpenMetricsWriteError(t *testing.T) {
	st := NewStore(Limits{})
	scrape(t, st, "one", t0, "x 1")
	if err := st.WriteOpenMetrics(fullDisk{}); err == nil {
		t.Error("got no error, want one")
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, fmt.Errorf("no space left on device") }
