package sli

import (
	"bytes"
	"errors"
	"fmt"
	"mime"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// exposed is one sample of an exposition, its metadata apart.
type exposed struct {
	name   string
	labels map[string]string
	t      int64 // Unix ms
	v      float64
}

// family is a metric's metadata, kept for the OpenMetrics output.
type family struct {
	kind model.MetricType
	help string
}

type exposition struct {
	samples  []exposed
	families map[string]family
}

// parse reads one exposition; samples without a timestamp get t (Unix ms).
// A panic of a parser is an error, like any other garbage.
func parse(body []byte, contentType string, t int64) (out exposition, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("parser gave up: %v", r)
		}
	}()
	out.families = map[string]family{}
	media, params := "text/plain", map[string]string{}
	if contentType != "" {
		if media, params, err = mime.ParseMediaType(contentType); err != nil {
			return out, fmt.Errorf("got content type %q: %w", contentType, err)
		}
	}
	switch media {
	case "text/plain":
		err = out.text(body, t)
	case "application/openmetrics-text":
		if v := params["version"]; v != "" && v != expfmt.OpenMetricsVersion_1_0_0 && v != expfmt.OpenMetricsVersion_0_0_1 {
			return out, fmt.Errorf("got OpenMetrics %s, want 1.0.0", v)
		}
		err = out.openMetrics(body, t)
	case "application/vnd.google.protobuf":
		if e := params["encoding"]; e != "" && e != "delimited" {
			return out, fmt.Errorf("got protobuf encoding %q, want delimited", e)
		}
		err = out.protobuf(body, t)
	default:
		err = fmt.Errorf("got content type %s, want text/plain, application/openmetrics-text or application/vnd.google.protobuf: is this a metrics path?", media)
	}
	return out, err
}

// maxLabels bounds the labels of one series. expfmt looks through all of a
// line's labels again for each of them: 50 kB of labels cost it 2 s, 4 MB hours.
const maxLabels = 64

func (e *exposition) text(body []byte, t int64) error {
	n := 0
	for line := range bytes.Lines(body) {
		if n++; line[0] != '#' && labelsIn(line) > maxLabels {
			return fmt.Errorf("line %d: got more than %d labels", n, maxLabels)
		}
	}
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(bytes.NewReader(body))
	var pe expfmt.ParseError
	if errors.As(err, &pe) {
		return fmt.Errorf("line %d: %s", pe.Line, pe.Msg)
	}
	if err != nil {
		return err
	}
	for _, f := range families {
		if err := e.flatten(f, t); err != nil {
			return err
		}
	}
	return nil
}

// labelsIn counts the equals signs outside quotes.
func labelsIn(line []byte) (n int) {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == '=' && !quoted:
			n++
		}
	}
	return n
}

// protobuf reads length-delimited families. expfmt's own decoder allocates
// whatever length a message claims, which a hostile body turns into a fatal
// out-of-memory; here a length beyond the body is an error.
func (e *exposition) protobuf(body []byte, t int64) error {
	for n := 1; len(body) > 0; n++ {
		size, k := protowire.ConsumeVarint(body)
		if k < 0 {
			return fmt.Errorf("message %d: %w", n, protowire.ParseError(k))
		}
		if body = body[k:]; size > uint64(len(body)) {
			return fmt.Errorf("message %d: got a length of %d, but only %d bytes are left", n, size, len(body))
		}
		f := &dto.MetricFamily{}
		if err := proto.Unmarshal(body[:size], f); err != nil {
			return fmt.Errorf("message %d: %w", n, err)
		}
		if err := e.flatten(f, t); err != nil {
			return fmt.Errorf("message %d: %w", n, err)
		}
		body = body[size:]
	}
	return nil
}

// flatten turns a family into classic series: x_bucket, x_sum, x_count for a
// histogram, one series a quantile for a summary. A native histogram keeps its
// classic part.
func (e *exposition) flatten(f *dto.MetricFamily, t int64) error {
	samples, err := expfmt.ExtractSamples(&expfmt.DecodeOptions{Timestamp: model.Time(t)}, f)
	if err != nil {
		return err
	}
	e.families[f.GetName()] = family{kinds[f.GetType()], f.GetHelp()}
	for _, s := range samples {
		lbls := make(map[string]string, len(s.Metric))
		for k, v := range s.Metric {
			if !model.UTF8Validation.IsValidLabelName(string(k)) || !v.IsValid() {
				return fmt.Errorf("metric %q: invalid label %q=%q", f.GetName(), k, v)
			}
			lbls[string(k)] = string(v)
		}
		name := lbls[model.MetricNameLabel]
		if !model.UTF8Validation.IsValidMetricName(name) {
			return fmt.Errorf("invalid metric name %q", name)
		}
		e.samples = append(e.samples, exposed{name, lbls, int64(s.Timestamp), float64(s.Value)})
	}
	return nil
}

var kinds = map[dto.MetricType]model.MetricType{
	dto.MetricType_COUNTER:         model.MetricTypeCounter,
	dto.MetricType_GAUGE:           model.MetricTypeGauge,
	dto.MetricType_SUMMARY:         model.MetricTypeSummary,
	dto.MetricType_UNTYPED:         model.MetricTypeUnknown,
	dto.MetricType_HISTOGRAM:       model.MetricTypeHistogram,
	dto.MetricType_GAUGE_HISTOGRAM: model.MetricTypeGaugeHistogram,
}
