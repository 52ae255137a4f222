package policy

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const whole = `# what may be done to the shop
never: [postgres, "label:tier=db"]
kinds: [kill, pause]
longest: 60s
at_most: 2
hours:
  zone: Europe/Berlin
  days: [mon, tue, wed, thu, fri]
  from: "09:00"
  until: "17:00"
exec: false
write_sql: true
host_disk: False
`

func anything(string) error { return nil }

func parse(t *testing.T, text string) *Policy {
	t.Helper()
	p, err := Parse("p.yaml", []byte(text), anything)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// want checks an error: every part in it, or no error without parts.
func want(t *testing.T, err error, parts ...string) {
	t.Helper()
	if len(parts) == 0 && err != nil {
		t.Errorf("got %v, want it allowed", err)
	}
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("got %v, want %q in it", err, part)
		}
	}
}

func when(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestRules(t *testing.T) {
	p := parse(t, whole)
	noon := when(t, "2026-07-15T12:00:00+02:00") // a Wednesday
	want(t, p.Fault("kill", time.Minute, noon))
	want(t, p.Fault("stop", time.Minute, noon), "p.yaml:3", "kinds", "got stop, want only kill, pause")
	want(t, p.Fault("kill", time.Minute+1, noon), "p.yaml:4", "longest", "1m0s")
	want(t, p.Fault("stop", time.Hour, noon), "kinds", "longest") // both are told
	want(t, p.AtMost(2))
	want(t, p.AtMost(3), "p.yaml:5", "at_most", "got 3")
	want(t, p.Exec(), "p.yaml:11", "exec: false")
	want(t, p.WriteSQL())
	want(t, p.HostDisk(), "p.yaml:13", "host_disk: false")
	want(t, p.IO())
	want(t, p.RootNetns(), "no policy allows", "root_netns: true", Default, "--policy")
	never := p.Never()
	if len(never) != 2 || never[1].Expr != "label:tier=db" {
		t.Fatalf("got %+v", never)
	}
	want(t, never[1].Refuse("container db"), "p.yaml:2", "never label:tier=db", "container db")
}

func TestWithoutAPolicy(t *testing.T) {
	var p *Policy
	want(t, p.Fault("kill", time.Hour, time.Now()))
	want(t, p.AtMost(100))
	want(t, p.Exec())
	want(t, p.IO())
	want(t, p.WriteSQL(), "no policy allows to send SQL that writes", "write_sql: true")
	want(t, p.HostDisk(), "no policy")
	want(t, p.RootNetns(), "no policy")
	if len(p.Never()) != 0 || p.Counts() {
		t.Error("nothing is out of bounds, and nothing is counted")
	}
}

func TestHours(t *testing.T) {
	day := "zone: Europe/Berlin, days: [mon, tue, wed, thu, fri], from: '09:00', until: '17:00'"
	night := "zone: Europe/Berlin, days: [fri], from: '22:00', until: '04:00'"
	for _, c := range []struct {
		hours, at string
		lasts     time.Duration
		no        string
	}{
		{"{" + day + "}", "2026-07-15T09:00:00+02:00", time.Minute, ""},
		{"{" + day + "}", "2026-07-15T08:59:59+02:00", time.Minute, "it is Wed 08:59 CEST, want mon, tue, wed, thu, fri, 09:00–17:00 Europe/Berlin"},
		{"{" + day + "}", "2026-07-15T07:30:00Z", time.Minute, ""}, // half past nine there
		{"{" + day + "}", "2026-01-15T07:30:00Z", time.Minute, "it is Thu 08:30 CET"},
		{"{" + day + "}", "2026-07-15T16:59:30+02:00", 30 * time.Second, ""},
		{"{" + day + "}", "2026-07-15T16:59:30+02:00", time.Minute, "may last beyond Wed 17:00"},
		{"{" + day + "}", "2026-07-18T12:00:00+02:00", time.Minute, "it is Sat"},
		{"{" + night + "}", "2026-07-18T03:00:00+02:00", time.Hour, ""}, // it began on Friday
		{"{" + night + "}", "2026-07-18T23:00:00+02:00", time.Hour, "it is Sat 23:00"},
		{"[{" + day + "}, {" + night + "}]", "2026-07-17T23:00:00+02:00", time.Hour, ""},
		{"[{" + day + "}, {zone: Europe/Berlin, from: '17:00', until: '18:00'}]", "2026-07-15T16:59:30+02:00", time.Hour, ""},
		{"[{" + day + "}, {zone: Europe/Berlin, from: '17:30', until: '18:00'}]", "2026-07-15T16:59:30+02:00", time.Hour, "beyond Wed 17:00"},
		{"{zone: UTC}", "2026-07-15T23:59:30Z", 48 * time.Hour, ""},
		{"{zone: UTC, days: [wed]}", "2026-07-15T23:59:30Z", time.Minute, "beyond Thu 00:00"},
	} {
		err := parse(t, "hours: "+c.hours).Fault("kill", c.lasts, when(t, c.at))
		if c.no == "" {
			want(t, err)
		} else {
			want(t, err, "p.yaml:1", "hours", c.no)
		}
	}
}

// Whatever cannot be right is refused at its line: a rule that is overlooked
// binds nobody.
func TestMistakes(t *testing.T) {
	for text, no := range map[string]string{
		"":                                   "it says nothing",
		"# only words\n":                     "it says nothing",
		"longest: 60s\nlonguest: 5s\n":       `p.yaml:2: unknown rule "longuest": there are never, kinds`,
		"longest: 60s\nlongest: 5s\n":        "p.yaml:2: longest: it stands here twice",
		"longest: 60\n":                      `p.yaml:1: longest: got "60", want a duration such as 60s`,
		"longest: -1s\n":                     "longest: got",
		"longest: [60s]\n":                   "longest: got a list",
		"\nat_most: two\n":                   `p.yaml:2: at_most: got "two"`,
		"at_most: -1\n":                      "at_most: got",
		"exec: yes\n":                        `p.yaml:1: exec: got "yes", want true or false`,
		"exec:\n":                            "want true or false",
		"kinds: [kill, kil]\n":               `p.yaml:1: kinds: fault: got kind "kil", want one of`,
		"kinds: {kill: true}\n":              "kinds: got a mapping",
		"never: [web, [api]]\n":              "never: got a list",
		"never: ~\n":                         "never: got",
		"hours: {from: '09:00'}\n":           "p.yaml:1: hours: zone is missing",
		"hours: {zone: Berlin}\n":            `zone: got "Berlin"`,
		"hours: {zone: Local}\n":             `zone: got "Local"`,
		"hours: {zone: UTC, from: 9}\n":      `p.yaml:1: hours: from: got "9"`,
		"hours: {zone: UTC, until: '25:00'}": `until: got "25:00"`,
		"hours: {zone: UTC, days: [monday]}": `days: got "monday"`,
		"hours: {zone: UTC, till: '09:00'}":  `hours: unknown key "till"`,
		"hours: []":                          "empty list",
		"- longest":                          "got a list",
		"longest: 60s\n---\nexec: false\n":   "more than one document",
		"a: b: c\n":                          "p.yaml",
		"exec: &a false\nio: *a\n":           "io: got an alias",
	} {
		_, err := Parse("p.yaml", []byte(text), anything)
		if err == nil || !strings.Contains(err.Error(), no) {
			t.Errorf("%q: got %v, want %q in it", text, err, no)
		}
	}
	_, err := Parse("p.yaml", []byte("never:\n- web\n- '['\n"), func(expr string) error {
		if expr == "[" {
			return errors.New("got a bad glob")
		}
		return nil
	})
	want(t, err, "p.yaml:3: never: got a bad glob")
	_, err = Parse("p.yaml", []byte("longest: x\nat_most: y\n"), anything)
	want(t, err, "p.yaml:1", "p.yaml:2") // all of them at once
}

func TestBoth(t *testing.T) {
	strict, loose := parse(t, "kinds: [kill]\nexec: false\nhost_disk: false\nnever: a"), parse(t, "exec: true\nhost_disk: true\nwrite_sql: true\nat_most: 1\nnever: b")
	for _, p := range []*Policy{strict.And(loose), loose.And(strict), (*Policy)(nil).And(strict).And(loose)} {
		want(t, p.Exec(), "exec: false")
		want(t, p.HostDisk(), "host_disk: false")
		want(t, p.WriteSQL())
		want(t, p.Fault("stop", 1, time.Now()), "kinds")
		want(t, p.AtMost(2), "at_most")
		if len(p.Never()) != 2 || !p.Counts() {
			t.Errorf("got %v", p.Never())
		}
	}
	want(t, strict.And(nil).Exec(), "exec: false")
	for _, p := range []*Policy{Broken(errors.New("torn")), loose.And(Broken(errors.New("torn")))} {
		want(t, p.Exec(), "cannot be read", "torn")
		want(t, p.IO(), "torn")
		want(t, p.Fault("kill", 1, time.Now()), "torn")
	}
	want(t, loose.Exec()) // it is not changed by what was made of it
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "policy.yaml")
	f, err := Find(path)
	want(t, err, "policy: open "+path)
	if _, err := f.Parse(anything); err == nil {
		t.Error("an unreadable policy is none")
	}
	if err := os.WriteFile(path, []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err = Find(path)
	want(t, err)
	p, err := f.Parse(anything)
	want(t, err)
	want(t, p.Exec(), path+":11")
	if err := os.WriteFile(path, []byte(strings.Repeat("#", maxFile+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Find(path)
	want(t, err, "longer than")
	if p, err := (*File)(nil).Parse(anything); p != nil || err != nil {
		t.Errorf("got %v, %v", p, err)
	}
}

func TestLines(t *testing.T) {
	var text []string
	for _, l := range parse(t, whole).Lines() {
		text = append(text, l.Rule+": "+l.Says)
	}
	got := strings.Join(text, "\n")
	for _, part := range []string{
		"never: nothing touches postgres, label:tier=db", "kinds: only kill, pause", "longest: no fault lasts longer than 1m0s",
		"at_most: at most 2 containers", "hours: a fault begins and ends in: mon, tue, wed, thu, fri, 09:00–17:00 Europe/Berlin",
		"exec: may not run programs", "write_sql: may send SQL", "host_disk: may not fill", "io: may slow", "root_netns: may not harm",
	} {
		if !strings.Contains(got, part) {
			t.Errorf("got\n%s\nwant %q in it", got, part)
		}
	}
	if without := (*Policy)(nil).Lines(); len(without) != len(names()) {
		t.Errorf("got %d lines, want one for each of %v", len(without), names())
	}
}

func FuzzParse(f *testing.F) {
	f.Add(whole)
	f.Add("hours: {zone: UTC}")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse("p.yaml", []byte(text), anything)
		if (p == nil) == (err == nil) {
			t.Errorf("got %v, %v", p, err)
		}
		if p != nil {
			_ = p.Fault("kill", time.Hour, time.Now())
			_ = p.Lines()
		}
	})
}
