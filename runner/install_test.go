package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// An executable whose name has all that systemd would make something else of.
func oddRunner(t *testing.T) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), `my runner 100%n`)
	if err := os.WriteFile(exe, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return exe
}

func newInstaller(t *testing.T) (i *installer, called *[]string) {
	called = &[]string{}
	return &installer{
		exe: oddRunner(t), args: []string{"--state", `/srv/$HOME/%i`}, env: []string{`DOCKER_HOST=unix:///run/a b%$$.sock`},
		units: t.TempDir(), booted: t.TempDir(),
		ctl: func(args ...string) error {
			*called = append(*called, strings.Join(args, " "))
			return nil
		},
	}, called
}

// systemd itself says that the unit is in order.
func TestUnit(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal("no systemd-analyze to test with: install systemd")
	}
	if err != nil {
		t.Skip("no systemd-analyze to test with: install systemd")
	}
	i, _ := newInstaller(t)
	text, err := i.unit()
	if err != nil {
		t.Fatal(err)
	}
	verify := func(text string) string {
		path := filepath.Join(t.TempDir(), unitName)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(analyze, "verify", "--man=no", path).CombinedOutput()
		if err != nil {
			return string(out) + err.Error()
		}
		var ours []string // it tells of every unit it has read on the way
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "chaosrunner") {
				ours = append(ours, line)
			}
		}
		return strings.Join(ours, "")
	}
	if said := verify(text); said != "" {
		t.Errorf("systemd-analyze verify: %s\nof\n%s", said, text)
	}
	for what, broken := range map[string]string{
		"a program that is not there": strings.Replace(text, "100%%n", "100%%m", 1),
		"an unknown key":              strings.Replace(text, "RestartSec", "RestartSecs", 1),
		"a quote left open":           strings.Replace(text, `%%n"`, `%%n`, 1),
	} {
		if broken == text || verify(broken) == "" {
			t.Errorf("systemd-analyze verify does not see %s", what)
		}
	}
	for _, line := range []string{
		`ExecStart="` + strings.ReplaceAll(i.exe, "%", "%%") + `" "recover" "--state" "/srv/$$HOME/%%i"`,
		`Environment="DOCKER_HOST=unix:///run/a b%%$$.sock"`, "After=docker.service", "WantedBy=multi-user.target docker.service",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("got\n%s\nwant %s in it", text, line)
		}
	}
}

func TestInstall(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may install a unit")
	}
	i, called := newInstaller(t)
	path, err := i.install()
	if err != nil {
		t.Fatal(err)
	}
	want, _ := i.unit()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("got %s, %v", got, err)
	}
	if !slices.Equal(*called, []string{"daemon-reload", "enable " + unitName}) {
		t.Errorf("systemctl was called with %v", *called)
	}
	if files, _ := os.ReadDir(i.units); len(files) != 1 {
		t.Errorf("left %v", files)
	}
	i.ctl = func(...string) error { return errors.New("no") }
	if _, err := i.install(); err == nil {
		t.Error("what systemd says is not told")
	}

	i, called = newInstaller(t)
	i.booted = "/run/no-systemd-here"
	if _, err := i.install(); err == nil || !strings.Contains(err.Error(), "systemd does not run this host") || !strings.Contains(err.Error(), "--print") {
		t.Errorf("got %v", err)
	}
	i, _ = newInstaller(t)
	i.exe = `/srv/"runner"`
	if _, err := i.install(); err == nil || !strings.Contains(err.Error(), "move it to") {
		t.Errorf("got %v", err)
	}
	i, _ = newInstaller(t)
	i.args = []string{"--state", "a\nExecStart=/bin/rm"}
	if _, err := i.install(); err == nil || !strings.Contains(err.Error(), "control character") {
		t.Errorf("got %v", err)
	}
	if files, _ := os.ReadDir(i.units); len(files)+len(*called) != 0 {
		t.Errorf("left %v, called %v", files, *called)
	}
}

// The command shows what it would write, with its own path and the flags given.
func TestInstallPrints(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(path, "recover", "--print", "--state", "here", "--agent", "container").CombinedOutput()
	here, _ := filepath.Abs("here")
	if want := `ExecStart="` + path + `" "recover" "--agent" "container" "--state" "` + here + `"`; err != nil || !strings.Contains(string(out), want) {
		t.Errorf("got %s, %v; want %s in it", out, err, want)
	}
}
