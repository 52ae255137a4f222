package notation

import (
	"fmt"
	"strings"
	"testing"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// one is a notation under test: how it is unpacked and shown.
type one struct {
	name   string
	unpack func(starlark.Value) (string, error)
}

func of[T any, P interface {
	*T
	starlark.Unpacker
}](name string) one {
	return one{name, func(v starlark.Value) (string, error) {
		var x T
		err := P(&x).Unpack(v)
		return fmt.Sprintf("%v", x), err
	}}
}

var all = []one{
	of[Duration]("duration"), of[Size]("size"), of[Percent]("percent"), of[Bandwidth]("bandwidth"), of[Arrivals]("arrivals"),
	of[Targets]("targets"), of[Signal]("signal"), of[Statuses]("statuses"), of[Quantile]("quantile"), of[Name]("name"),
	of[Sentence]("sentence"), of[URL]("url"), of[Method]("method"), of[Headers]("headers"), of[Endpoints]("endpoints"), of[Count]("count"),
	of[Share]("part"), of[Span]("span"), of[Port]("port"), of[Peers]("peers"),
	{"objective", func(v starlark.Value) (string, error) {
		var o Objective
		err := o.Unpack(v)
		return fmt.Sprint(o.Value, o.Unit), err
	}},
}

func named(name string) one {
	for _, n := range all {
		if n.name == name {
			return n
		}
	}
	panic(name)
}

// value is written as Starlark writes it.
func value(t testing.TB, text string) starlark.Value {
	v, err := starlark.EvalOptions(new(syntax.FileOptions), new(starlark.Thread), "", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestTaken(t *testing.T) {
	for _, c := range [][3]string{
		{"duration", `"400ms"`, "400000000"}, {"duration", `"1m30s"`, "90000000000"}, {"duration", `"1.5s"`, "1500000000"}, {"duration", `"24h"`, "86400000000000"},
		{"size", `"256MiB"`, "268435456"}, {"size", `"10MB"`, "10000000"}, {"size", `"1.5KiB"`, "1536"}, {"size", `"1B"`, "1"},
		{"percent", `"80%"`, "0.8"}, {"percent", "0.25", "0.25"}, {"percent", "1.0", "1"}, {"percent", `"0.5%"`, "0.005"},
		{"bandwidth", `"100kbit"`, "100000"}, {"bandwidth", `"1.5Mbit"`, "1500000"}, {"bandwidth", `"1gbit"`, "1000000000"},
		{"arrivals", `"40/s"`, "40"}, {"arrivals", `"600/m"`, "10"}, {"arrivals", `"90/min"`, "1.5"}, {"arrivals", `"3600/h"`, "1"}, {"arrivals", `"0.5/s"`, "0.5"},
		{"targets", `"catalog"`, "[catalog]"}, {"targets", `["a#2", "chunk*", "label:k=v"]`, "[a#2 chunk* label:k=v]"}, {"targets", `("a", "b")`, "[a b]"}, {"targets", `["netns:blue", "netns:/run/x", "pid:12"]`, "[netns:blue netns:/run/x pid:12]"},
		{"targets", `"label:com.docker.compose.service=api gateway"`, "[label:com.docker.compose.service=api gateway]"},
		{"signal", `"SIGTERM"`, "SIGTERM"}, {"signal", `"term"`, "SIGTERM"},
		{"statuses", "200", "[200]"}, {"statuses", "[404, 200, 200]", "[200 404]"}, {"statuses", `["200", 201][1]`, "[201]"},
		{"quantile", `"p99"`, "0.99"}, {"quantile", `"p99.9"`, "0.999"}, {"quantile", "0.5", "0.5"},
		{"name", `"p99 latency (api)"`, "p99 latency (api)"}, {"sentence", `"  one\n  line "`, "one line"},
		{"url", `"http://localhost:8080/a?b=c"`, "http://localhost:8080/a?b=c"}, {"url", `"https://[::1]/"`, "https://[::1]/"},
		{"method", `"post"`, "POST"}, {"headers", `{"A": "b"}`, "map[A:b]"}, {"headers", "{}", "map[]"},
		{"endpoints", `"api:8080/metrics"`, "[api:8080/metrics]"}, {"endpoints", `["a#2:1/", "http://x/y"]`, "[a#2:1/ http://x/y]"},
		{"count", "1", "1"}, {"count", "10000", "10000"},
		{"part", `"0%"`, "0"}, {"part", "0.0", "0"}, {"part", `"100%"`, "1"}, {"part", `"2.5%"`, "0.025"}, {"span", `"0s"`, "0"}, {"span", `"0ms"`, "0"}, {"span", `"5ms"`, "5000000"},
		{"port", "1", "1"}, {"port", "65535", "65535"}, {"peers", `"api"`, "[api]"}, {"peers", `["10.0.0.0/8", "fd00::1", "chunk*", "label:k=v"]`, "[10.0.0.0/8 fd00::1 chunk* label:k=v]"},
		{"objective", "0.99", "0.99 0"}, {"objective", "3", "3 0"}, {"objective", "-1.5", "-1.5 0"}, {"objective", `"99.5%"`, "0.995 1"}, {"objective", `"500ms"`, "0.5 2"}, {"objective", `"0s"`, "0 2"},
	} {
		got, err := named(c[0]).unpack(value(t, c[1]))
		if err != nil || got != c[2] {
			t.Errorf("%s %s: got %s, %v, want %s", c[0], c[1], got, err, c[2])
		}
	}
	var classes Statuses
	if err := classes.Unpack(value(t, `["2xx", "4xx"]`)); err != nil || len(classes) != 200 || classes[0] != 200 || classes[199] != 499 {
		t.Errorf("got %v, %v", classes, err)
	}
}

func TestRefused(t *testing.T) {
	for _, c := range [][3]string{
		{"duration", "30", `got int 30, want a duration such as "30s" or "400ms": write the unit, "30s" for seconds`},
		{"duration", "0.5", `write the unit, "0.5s" for seconds`}, {"duration", "True", "got bool True, want a duration"}, {"duration", "None", "got None, want a duration"},
		{"duration", `"30"`, `want a duration with its unit, such as "30s" or "30ms"`}, {"duration", `"soon"`, `got "soon", want a duration such as "30s", "400ms" or "1m30s"`},
		{"duration", `"0s"`, "greater than 0"}, {"duration", `"-1s"`, "greater than 0"}, {"duration", `"24h1ns"`, "at most 24h"}, {"duration", `"9999999h"`, "want"}, {"duration", `"1e3s"`, "want"},
		{"size", `"256"`, "units: B, kB"}, {"size", `"256mib"`, "units"}, {"size", `"0B"`, "from 1B"}, {"size", `"99999TiB"`, "to 8192TiB"}, {"size", `"-1B"`, "want"}, {"size", "256", "got int 256, want a size"}, {"size", `"0x10B"`, "want"},
		{"percent", "1", `got int 1, want "1%" or a float: is 1 so many per cent, or so many times all?`}, {"percent", "80", `want "80%" or a float`}, {"percent", `"101%"`, "at most 100%"}, {"percent", `"0%"`, "more than 0%"},
		{"percent", "0.0", "more than 0%"}, {"percent", "-0.1", "more than 0%"}, {"percent", `float("nan")`, "more than 0%"}, {"percent", `float("inf")`, "at most"}, {"percent", `"80"`, "want a share"}, {"percent", `"%"`, "want a share"}, {"percent", `"1e1%"`, "want a share"},
		{"bandwidth", `"100kbps"`, "units: bit, kbit"}, {"bandwidth", `"100"`, "units"}, {"bandwidth", `"0bit"`, "from 1bit"}, {"bandwidth", "100", "got int 100"},
		{"arrivals", "40", `write "40/s" for so many a second`}, {"arrivals", `"40"`, "want a rate"}, {"arrivals", `"40 / s"`, "want a rate"}, {"arrivals", `"/s"`, "want a rate"}, {"arrivals", `"0/s"`, `from "1/h"`}, {"arrivals", `"100001/s"`, `to "100000/s"`}, {"arrivals", `"1/d"`, "want a rate"},
		{"targets", "[]", "the list is empty"}, {"targets", "3", "got int 3, want a target"}, {"targets", `["a", None]`, "got None, want a target"}, {"targets", `["a", "a"]`, "each target once"}, {"targets", `{"a": 1}`, "got dict"},
		{"targets", `""`, "want a target"}, {"targets", `"a b"`, "want a target"}, {"targets", `"a\n"`, "want a target"}, {"targets", `"\u202eb"`, "want a target"}, {"targets", `"a#0"`, "replica's number"}, {"targets", `"a#x"`, "replica's number"}, {"targets", `"a#"`, "replica's number"},
		{"targets", `"#1"`, "name"}, {"targets", `"-a"`, "name"}, {"targets", `"a/b"`, "name"}, {"targets", `"a:80"`, "name"}, {"targets", `"label:k"`, "label"}, {"targets", `"pid:0"`, "of the host"}, {"targets", `"netns:a/b"`, "of the host"}, {"targets", `"label:=v"`, "label"}, {"targets", `"a" * 201`, "want a target"}, {"targets", `["a%d" % i for i in range(201)]`, "at most 200"},
		{"signal", "9", "got int 9"}, {"signal", `"SIGSTOP"`, "pause()"}, {"signal", `"SIGFOO"`, "one of SIGABRT"}, {"signal", `""`, "one of"},
		{"statuses", "99", "want a status"}, {"statuses", "600", "want a status"}, {"statuses", "200.0", "want a status"}, {"statuses", `"200"`, "want a status"}, {"statuses", `"0xx"`, "want a status"}, {"statuses", "[]", "this has 0"}, {"statuses", "1 << 70", "got int 1180591620717411303424, want a status"},
		{"quantile", "99", "want a quantile"}, {"quantile", `"99"`, "want a quantile"}, {"quantile", `"p"`, "want a quantile"}, {"quantile", `"p0"`, "between"}, {"quantile", `"p100"`, "between"}, {"quantile", "1.0", "between"}, {"quantile", `float("nan")`, "between"},
		{"name", `""`, "1 to 80"}, {"name", `" a"`, "1 to 80"}, {"name", `"a" * 81`, "1 to 80"}, {"name", `"a\tb"`, "1 to 80"}, {"name", `"a|b"`, "without the signs"}, {"name", `"<a>` + "`" + `"`, "without the signs"}, {"name", "3", "got int 3"},
		{"sentence", `" "`, "says something"}, {"sentence", `"x" * 501`, "at most 500 bytes: this text has 501"}, {"sentence", `"\x00"`, "control"}, {"sentence", "None", "got None"},
		{"url", `"localhost:8080"`, "want a URL"}, {"url", `"ftp://x/"`, "begins with http"}, {"url", `"http:///x"`, "names a host"}, {"url", `"http://a:b@x/"`, `got "http://…@x", want a URL without user`}, {"url", `"http://x/#y"`, "without #"}, {"url", `"http://x/\n"`, "want a URL"}, {"url", `"http://x/ y"`, "want a URL"}, {"url", `"http://x/" + "a" * 2000`, "want a URL"}, {"url", `"http://x:y/"`, "want a URL"},
		{"method", `"FETCH"`, "one of GET"}, {"method", "1", "one of GET"},
		{"headers", `[("a", "b")]`, "got list"}, {"headers", `{"a": 1}`, "got int 1"}, {"headers", `{1: "a"}`, "got int 1"}, {"headers", `{"a b": "c"}`, "header's name"}, {"headers", `{"a": "b\r\nc: d"}`, "control"}, {"headers", `{"": "c"}`, "header's name"}, {"headers", `{str(i): "" for i in range(51)}`, "this has 51"},
		{"endpoints", `"api"`, "port and path"}, {"endpoints", `"api:80"`, "port and path"}, {"endpoints", `"api:0/m"`, "port and path"}, {"endpoints", `"*:80/m"`, "port and path"}, {"endpoints", `[]`, "port and path"}, {"endpoints", `["a:1/", "a:1/"]`, "each endpoint once"}, {"endpoints", `"api:80/m m"`, "port and path"},
		{"count", "0", "from 1"}, {"count", "10001", "to 10000"}, {"count", "True", "got bool True"}, {"count", "1.0", "got float 1.0"}, {"count", "1 << 64", "from 1"},
		{"part", "1", "is 1 so many per cent"}, {"part", `"100.1%"`, "0% to 100%"}, {"part", "-0.1", "0% to 100%"}, {"part", `float("nan")`, "0% to 100%"}, {"part", `"5"`, "want a share"}, {"part", "None", "got None"},
		{"span", `"0"`, "want a duration"}, {"span", `"-1ms"`, "greater than 0"}, {"span", "0", "write the unit"}, {"port", "0", "from 1 to 65535"}, {"port", "65536", "from 1 to 65535"}, {"port", `"80"`, "want a port"}, {"port", "1 << 70", "want a port"},
		{"peers", "[]", "the list is empty"}, {"peers", `"10.0.0.0/33"`, "an address or a network"}, {"peers", `"fd00::/129"`, "an address or a network"}, {"peers", `"fd00:::1"`, "an address or a network"}, {"peers", `["a", "a"]`, "each peer once"}, {"peers", `""`, "want a target"}, {"peers", "7", "got int 7"},
		{"objective", "None", "got None"}, {"objective", `"fast"`, "want a number"}, {"objective", `float("nan")`, "finite"}, {"objective", `float("-inf")`, "finite"}, {"objective", `"-1s"`, "want a number"}, {"objective", "(1 << 500) * (1 << 500) * (1 << 500)", "within reason"}, {"objective", "True", "got bool True"},
	} {
		got, err := named(c[0]).unpack(value(t, c[1]))
		if err == nil {
			t.Errorf("%s %s: got %s, want %q", c[0], c[1], got, c[2])
		} else if !strings.Contains(err.Error(), c[2]) || !strings.HasPrefix(err.Error(), "got ") {
			t.Errorf("%s %s: got %q, want %q", c[0], c[1], err, c[2])
		}
	}
}

func TestObjectiveUnits(t *testing.T) {
	for _, c := range []struct{ text, share, seconds string }{
		{"0.99", "0.99", "0.99"}, {`"99%"`, "0.99", "!want seconds"}, {`"500ms"`, "!want a share", "0.5"}, {"1", "!is 1 so many per cent", "1"},
		{"0", "0", "!want seconds"}, {"99", "!is 99 so many per cent", "99"}, {"1.5", "!want a share in 0..1", "1.5"}, {"-0.5", "!want a share", "!want seconds"}, {"1e9", "!want a share", "!want seconds"},
	} {
		var o Objective
		if err := o.Unpack(value(t, c.text)); err != nil {
			t.Fatal(err)
		}
		for unit, f := range map[string]func() (float64, error){c.share: o.Share, c.seconds: o.Seconds} {
			x, err := f()
			want, refused := strings.CutPrefix(unit, "!")
			if refused != (err != nil) || err != nil && !strings.Contains(err.Error(), want) || err == nil && fmt.Sprint(x) != want {
				t.Errorf("%s: got %v, %v, want %s", c.text, x, err, unit)
			}
		}
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain ünï 日本 👍":           "plain ünï 日本 👍",
		"\x1b[31m\a\b\x7f\u0085":   `\x1b[31m\a\b\x7f\u0085`,
		"a\nb\rc\td":               `a\nb\rc\td`,
		"\u202eab\u2066c\u200bd":   `\u202eab\u2066c\u200bd`,
		"\u2028\u2029\ufeff":       `\u2028\u2029\ufeff`,
		"\xff\xfe ok \xc3":         `\xff\xfe ok \xc3`,
		"\ufffd":                   "\ufffd",
		"it's \"quoted\" `so` \\n": "it's \"quoted\" `so` \\n",
	} {
		if got := Clean(in, 100); got != want {
			t.Errorf("Clean(%q) = %s, want %s", in, got, want)
		}
	}
	if got := Clean(strings.Repeat("é", 50), 10); got != "ééééé… (90 bytes more)" {
		t.Errorf("got %s", got)
	}
}

// Whatever is unpacked, a notation takes it or says what it got; what it takes
// it takes again.
func FuzzNotations(f *testing.F) {
	for _, s := range []string{"", "30s", "256MiB", "80%", "40/s", "catalog#2", "label:k=v", "p99", "SIGTERM", "http://x/y", "api:8080/m", "1e9999", "\xff", "9" + strings.Repeat("9", 400)} {
		f.Add(s, 0.5, int64(1))
	}
	f.Fuzz(func(t *testing.T, s string, x float64, i int64) {
		for _, n := range all {
			for _, v := range []starlark.Value{
				starlark.String(s), starlark.Float(x), starlark.MakeInt64(i), starlark.NewList([]starlark.Value{starlark.String(s), starlark.MakeInt64(i)}), starlark.Bytes(s),
			} {
				got, err := n.unpack(v)
				if err != nil {
					if m := err.Error(); !strings.HasPrefix(m, "got ") || len(m) > 700 || strings.ContainsAny(m, "\x00\x1b\n\r") {
						t.Errorf("%s of %v: bad error %q", n.name, v, m)
					}
					continue
				}
				if again, err := n.unpack(v); err != nil || again != got {
					t.Errorf("%s of %v: got %s, then %s, %v", n.name, v, got, again, err)
				}
				if strings.Contains(got, "NaN") || strings.Contains(got, "Inf") {
					t.Errorf("%s of %v: got %s", n.name, v, got)
				}
			}
		}
		c := Clean(s, 50)
		if Clean(c, 1000) != c {
			t.Errorf("Clean(%q) is not clean: %q", s, c)
		}
	})
}
