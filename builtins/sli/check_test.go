package sli

import (
	"strings"
	"testing"

	"chaosrunner/builtins/spec"
)

func TestCheckRefuses(t *testing.T) {
	for _, c := range []struct {
		sli  spec.SLI
		want string
	}{
		{spec.SLI{}, `got kind ""`},
		{ratioOf("", "x"), "good: got nothing, want a selector"},
		{ratioOf("x", "x["), `total: got "x[", want a selector: `},
		{ratioOf("x[5m]", "x"), "want it without a range: the runner chooses the window"},
		{ratioOf("x offset 5m", "x"), "want it without offset or @"},
		{ratioOf("x @ 5", "x"), "want it without offset or @"},
		{ratioOf("x @ start()", "x"), "want it without offset or @"},
		{ratioOf("sum(x)", "x"), `got the expression "sum(x)", want only the counter's selector`},
		{ratioOf("rate(x[5m])", "x"), "without rate() or sum()"},
		{ratioOf("x + y", "x"), "got the expression"},
		{ratioOf("5", "x"), "want a selector"},
		{ratioOf("(x)", "x"), "want a selector"},
		{ratioOf(`{a=~".*"}`, "x"), "good: "},
		{spec.SLI{Kind: spec.KindQuantile, Histogram: "x_bucket", Q: 0}, "q: got 0, want a quantile between 0 and 1"},
		{spec.SLI{Kind: spec.KindQuantile, Histogram: "x_bucket", Q: 99}, "q: got 99"},
		{spec.SLI{Kind: spec.KindQuantile, Histogram: "x_seconds", Q: 0.5}, "histogram: got \"x_seconds\", want the _bucket series"},
		{spec.SLI{Kind: spec.KindQuantile, Histogram: `x_bucket{le="1"}`, Q: 0.5}, "take the matcher on le out"},
		{spec.SLI{Kind: spec.KindTrafficSuccess}, "want the name of one"},
		{spec.SLI{Kind: spec.KindProbeLatency, Of: "p"}, "q: got 0"},
		{promqlOf(" "), "query: got nothing"},
		{promqlOf("sum("), "query: 1:5: parse error"},
		{promqlOf("x[5m]"), "got a range vector, want one number"},
		{promqlOf("x[$window]"), "got a range vector"},
		{promqlOf("sum(rate(x[$windows]))"), "write the runner's window as [$window]"},
		{promqlOf(`"hello"`), "got a string"},
		{promqlOf("x > 0.9"), "got a comparison (>) at its top"},
		{promqlOf("((x <= 0.9))"), "use min = or max = (or <= bool"},
		{promqlOf("vector(1)"), "reads no series"},
	} {
		err := Check(c.sli)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want %q", c.sli, err, c.want)
		} else if s := err.Error(); s[:1] != strings.ToLower(s[:1]) {
			t.Errorf("%q does not begin in lower case", s)
		}
	}
}

func TestCheckAccepts(t *testing.T) {
	for _, s := range []spec.SLI{
		ratioOf(`x{code!~"5..",path="/a"}`, "x"),
		ratioOf(`{__name__="utf.8"}`, `{"utf.8"}`),
		{Kind: spec.KindQuantile, Histogram: `x_bucket{path="/"}`, Q: 0.99},
		promqlOf("sum(rate(x[$window])) / scalar(y)"),
		promqlOf("x > bool 1"),
		promqlOf("sum(x > 1)"),
		promqlOf("max_over_time(x[$window:1s])"),
		{Kind: spec.KindTrafficLatency, Of: "t", Q: 0.5},
		{Kind: spec.KindProbeSuccess, Of: "p"},
	} {
		if err := Check(s); err != nil {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

func FuzzCheck(f *testing.F) {
	for _, q := range []string{"sum(rate(x[$window]))", "x > 1", "(x)", "x[1h:1s]", `{"a b"}`, "x @ end()"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, q string) {
		for _, s := range []spec.SLI{promqlOf(q), ratioOf(q, q), {Kind: spec.KindQuantile, Histogram: q, Q: 0.5}} {
			if Check(s) == nil {
				over(NewStore(Limits{})).Value(ctx, s, span(0, 1))
			}
		}
	})
}
