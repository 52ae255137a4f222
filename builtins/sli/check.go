package sli

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"chaosrunner/builtins/spec"
)

// Check says what is wrong with an SLI as far as its text shows. It is cheap
// and touches nothing: a script's loading calls it.
func Check(s spec.SLI) error {
	switch s.Kind {
	case spec.KindRatio:
		for _, part := range [...]struct{ name, sel string }{{"good", s.Good}, {"total", s.Total}} {
			if _, err := selector(part.sel); err != nil {
				return fmt.Errorf("%s: %w", part.name, err)
			}
		}
		return nil
	case spec.KindQuantile:
		if err := checkQ(s.Q); err != nil {
			return err
		}
		if _, err := bucketSelector(s.Histogram); err != nil {
			return fmt.Errorf("histogram: %w", err)
		}
		return nil
	case spec.KindPromQL:
		return checkQuery(s.Query)
	case spec.KindTrafficLatency, spec.KindProbeLatency:
		if err := checkQ(s.Q); err != nil {
			return err
		}
		fallthrough
	case spec.KindTrafficSuccess, spec.KindProbeSuccess:
		if s.Of == "" {
			return fmt.Errorf("got no traffic or probe, want the name of one")
		}
		return nil
	}
	return fmt.Errorf("got kind %q, want a ratio, a quantile, a query, or a value of traffic or probe", s.Kind)
}

func checkQ(q float64) error {
	if q > 0 && q < 1 {
		return nil
	}
	return fmt.Errorf(`q: got %v, want a quantile between 0 and 1, such as 0.99 or "p99"`, q)
}

// promqlParser has promql's defaults: no experimental functions.
var promqlParser = parser.NewParser(parser.Options{})

// selector parses a plain vector selector such as http_requests_total{code=~"2.."}.
func selector(s string) ([]*labels.Matcher, error) {
	vs, err := vectorSelector(s)
	if err != nil {
		return nil, err
	}
	return vs.LabelMatchers, nil
}

func vectorSelector(s string) (*parser.VectorSelector, error) {
	if strings.TrimSpace(s) == "" {
		return nil, fmt.Errorf("got nothing, want a selector such as http_requests_total{code=~\"2..\"}")
	}
	expr, err := promqlParser.ParseExpr(s)
	if err != nil {
		return nil, fmt.Errorf("got %q, want a selector: %w", s, err)
	}
	switch e := expr.(type) {
	case *parser.VectorSelector:
		if e.OriginalOffset != 0 || e.OriginalOffsetExpr != nil || e.Timestamp != nil || e.StartOrEnd != 0 || e.Anchored || e.Smoothed {
			return nil, fmt.Errorf("got %q, want it without offset or @: the runner chooses the window", s)
		}
		return e, nil
	case *parser.MatrixSelector:
		return nil, fmt.Errorf("got %q, want it without a range: the runner chooses the window", s)
	case *parser.Call, *parser.AggregateExpr, *parser.BinaryExpr:
		return nil, fmt.Errorf("got the expression %q, want only the counter's selector: increments are counted here, without rate() or sum() (or give the whole expression as a query)", s)
	}
	return nil, fmt.Errorf("got %q, want a selector such as http_requests_total{code=~\"2..\"}", s)
}

// bucketSelector parses a selector of a classic histogram's buckets.
func bucketSelector(s string) ([]*labels.Matcher, error) {
	vs, err := vectorSelector(s)
	if err != nil {
		return nil, err
	}
	if !strings.HasSuffix(vs.Name, "_bucket") {
		return nil, fmt.Errorf("got %q, want the _bucket series of one histogram, such as request_duration_seconds_bucket", s)
	}
	for _, m := range vs.LabelMatchers {
		if m.Name == model.BucketLabel {
			return nil, fmt.Errorf("got %q, want all buckets: take the matcher on le out", s)
		}
	}
	return vs.LabelMatchers, nil
}

// windowToken is what stands for the runner's window in a query.
const windowToken = "$window"

// expand puts the window's length in; "[$window]" and "[$window:1s]" only.
func expand(query string, window time.Duration) string {
	text := model.Duration(window.Round(time.Millisecond)).String()
	return strings.NewReplacer("["+windowToken+"]", "["+text+"]", "["+windowToken+":", "["+text+":").Replace(query)
}

// usesWindow says whether the query is a figure over the runner's window
// rather than a reading of one moment.
func usesWindow(query string) bool { return expand(query, time.Hour) != query }

func checkQuery(query string) error {
	if strings.TrimSpace(query) == "" {
		return fmt.Errorf("query: got nothing, want PromQL")
	}
	expr, err := promqlParser.ParseExpr(expand(query, time.Minute))
	if err != nil {
		if strings.Contains(expand(query, time.Minute), windowToken) {
			return fmt.Errorf("query: %w: write the runner's window as [$window]", err)
		}
		return fmt.Errorf("query: %w", err)
	}
	switch expr.Type() {
	case parser.ValueTypeScalar, parser.ValueTypeVector:
	case parser.ValueTypeMatrix:
		return fmt.Errorf("query: got a range vector, want one number: wrap it, as in sum(rate(…[$window]))")
	default:
		return fmt.Errorf("query: got a %s, want a number", expr.Type())
	}
	if op, ok := comparison(expr); ok {
		return fmt.Errorf("query: got a comparison (%s) at its top, want the number alone: a comparison that is false yields no data, not 0; use min = or max = (or %s bool, for 0 and 1)", op, op)
	}
	if steps := subquerySteps(expr); steps > maxSteps {
		return fmt.Errorf("query: got subqueries of %.0f steps, want at most %d: take a shorter range or a longer step", steps, maxSteps)
	}
	if len(selectorsOf(expr)) == 0 {
		return fmt.Errorf("query: got %q, which reads no series, want one that measures something", query)
	}
	return nil
}

// comparison finds a comparison without bool at the top, inside parentheses or not.
func comparison(expr parser.Expr) (string, bool) {
	for {
		switch e := expr.(type) {
		case *parser.ParenExpr:
			expr = e.Expr
		case *parser.StepInvariantExpr:
			expr = e.Expr
		case *parser.BinaryExpr:
			return e.Op.String(), e.Op.IsComparisonOperator() && !e.ReturnBool
		default:
			return "", false
		}
	}
}

// maxSteps is how many points Prometheus itself answers with at most.
const maxSteps = 11_000

// subquerySteps is the largest number of steps that nested subqueries come to.
// The engine's sample limit does not bound them: steps without data count nothing.
func subquerySteps(expr parser.Expr) float64 {
	most := 1.0
	parser.Inspect(expr, func(n parser.Node, path []parser.Node) error {
		steps := 1.0
		for _, n := range append(slices.Clone(path), n) {
			if sq, ok := n.(*parser.SubqueryExpr); ok {
				step := sq.Step
				if step <= 0 {
					step = 200 * time.Millisecond
				}
				steps *= math.Ceil(float64(sq.Range) / float64(step))
			}
		}
		most = max(most, steps)
		return nil
	})
	return most
}

// selectorsOf lists the vector selectors an expression reads.
func selectorsOf(expr parser.Expr) []*parser.VectorSelector {
	var out []*parser.VectorSelector
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		if vs, ok := n.(*parser.VectorSelector); ok {
			out = append(out, vs)
		}
		return nil
	})
	return out
}
