package sli

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
)

// openMetrics reads the OpenMetrics 1.0 text format. expfmt's text parser
// knows neither its exemplars, nor its timestamps in seconds, nor its types;
// so each line is rewritten into one that the text parser knows (an untyped
// sample with a timestamp in milliseconds, or an empty line, which keeps the
// line numbers of errors right) and the metadata is read here.
func (e *exposition) openMetrics(body []byte, t int64) error {
	plain := bytes.NewBuffer(make([]byte, 0, len(body)+1))
	families, ended := map[string]family{}, false
	n := 0
	for line := range bytes.Lines(body) {
		n++
		line := strings.TrimSuffix(string(line), "\n")
		var out string
		var err error
		switch {
		case ended:
			err = errors.New("got data after # EOF")
		case line == "# EOF":
			ended = true
		case strings.HasPrefix(line, "#"):
			err = metadata(line, families)
		case line != "":
			out, err = plainSample(line)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		plain.WriteString(out)
		plain.WriteByte('\n')
	}
	if !ended {
		return fmt.Errorf("line %d: want # EOF at the end: the body is cut short", n)
	}
	if err := e.text(plain.Bytes(), t); err != nil {
		return err
	}
	e.families = families
	return nil
}

var openMetricsKinds = map[string]model.MetricType{
	"counter": model.MetricTypeCounter, "gauge": model.MetricTypeGauge,
	"histogram": model.MetricTypeHistogram, "gaugehistogram": model.MetricTypeGaugeHistogram,
	"summary": model.MetricTypeSummary, "info": model.MetricTypeInfo,
	"stateset": model.MetricTypeStateset, "unknown": model.MetricTypeUnknown,
}

// metadata reads "# TYPE name type", "# HELP name text" and "# UNIT name unit".
func metadata(line string, into map[string]family) error {
	hash, rest, _ := strings.Cut(line, " ")
	keyword, rest, found := strings.Cut(rest, " ")
	if hash != "#" || !found {
		return fmt.Errorf("got %q, want # TYPE, # HELP, # UNIT or # EOF", oneLine(line))
	}
	name, rest := metricName(rest)
	f := into[name]
	switch keyword {
	case "TYPE":
		kind, ok := openMetricsKinds[rest]
		if !ok {
			return fmt.Errorf("got metric type %q, want one that OpenMetrics 1.0 knows", oneLine(rest))
		}
		f.kind = kind
		into[name] = f
	case "HELP":
		f.help = unescape.Replace(rest)
		into[name] = f
	case "UNIT":
	default:
		return fmt.Errorf("got %q, want # TYPE, # HELP, # UNIT or # EOF", oneLine(line))
	}
	return nil
}

// metricName cuts a name, in quotes or not, off the front.
func metricName(s string) (name, rest string) {
	if quoted, err := strconv.QuotedPrefix(s); err == nil && strings.HasPrefix(s, `"`) {
		return unescape.Replace(quoted[1 : len(quoted)-1]), strings.TrimPrefix(s[len(quoted):], " ")
	}
	name, rest, _ = strings.Cut(s, " ")
	return name, rest
}

var unescape = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\"`, `"`)

// plainSample drops a sample's exemplar and turns its timestamp into milliseconds.
func plainSample(line string) (string, error) {
	end := seriesEnd(line)
	series, rest := line[:end], line[end:]
	rest, _, _ = strings.Cut(rest, " # ")
	fields := strings.Fields(rest)
	switch len(fields) {
	case 1:
		return series + " " + fields[0], nil
	case 2:
		sec, err := strconv.ParseFloat(fields[1], 64)
		if ms := math.Round(sec * 1000); err == nil && math.Abs(ms) < 1<<53 {
			return fmt.Sprintf("%s %s %d", series, fields[0], int64(ms)), nil
		}
		return "", fmt.Errorf("got timestamp %q, want seconds", oneLine(fields[1]))
	}
	return "", fmt.Errorf("got %d fields after the series, want a value and perhaps a timestamp", len(fields))
}

// seriesEnd is where the name and labels of a sample end.
func seriesEnd(line string) int {
	quoted, braces := false, 0
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{':
			braces++
		case c == '}':
			return i + 1
		case c == ' ' && braces == 0:
			return i
		}
	}
	return len(line)
}
