package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// unitName is our systemd unit.
const unitName = "chaosrunner-recover.service"

// An installer has systemd run `runner recover` after every start of the host
// and of its engine, so that a reboot ends with what it was before the run.
type installer struct {
	exe    string   // this program
	args   []string // of recover
	env    []string // that say which engine is meant: NAME=VALUE
	units  string   // folder of the administrator's units
	booted string   // folder that is there while systemd runs the host
	ctl    func(args ...string) error
}

func (f *flags) installer() (*installer, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	i := &installer{exe: exe, units: "/etc/systemd/system", booted: "/run/systemd/system", ctl: systemctl}
	for _, flag := range []struct{ name, value string }{
		{"--agent", f.agent}, {"--state", f.state}, {"--volume", f.volume}, {"--agent-socket", f.socket}, {"--policy", f.policy},
	} {
		if flag.value == "" || flag.name == "--agent" && flag.value == "auto" {
			continue
		}
		if flag.name == "--state" || flag.name == "--policy" { // a unit has another folder
			if flag.value, err = filepath.Abs(flag.value); err != nil {
				return nil, err
			}
		}
		i.args = append(i.args, flag.name, flag.value)
	}
	for _, name := range []string{"DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION"} {
		if value := os.Getenv(name); value != "" {
			i.env = append(i.env, name+"="+value)
		}
	}
	return i, nil
}

// unit is the unit's text. The engine need not be there: it is waited for if it
// is to be started, and asked again later if it does not answer.
func (i *installer) unit() (string, error) {
	if strings.ContainsAny(i.exe, "\"'\\*?[") {
		return "", fmt.Errorf("recover --install: systemd runs no program of the name %s: move it to one such as /usr/local/bin/runner", i.exe)
	}
	var b strings.Builder
	b.WriteString(`# Written by runner recover --install.
[Unit]
Description=Undo what chaos experiments have left behind
Wants=docker.service
After=docker.service network-online.target local-fs.target
StartLimitIntervalSec=0

[Service]
Type=oneshot
`)
	for _, v := range i.env {
		text, err := quote(v)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "Environment=%s\n", strings.ReplaceAll(text, "$$", "$"))
	}
	b.WriteString("ExecStart=")
	for n, word := range append([]string{i.exe, "recover"}, i.args...) {
		text, err := quote(word)
		if err != nil {
			return "", err
		}
		if n > 0 {
			b.WriteString(" ")
		}
		b.WriteString(text)
	}
	b.WriteString(`
TimeoutStartSec=15min
Restart=on-failure
RestartSec=30s
# Something is stuck, or cannot be done: the journal says what, and how to mend it.
RestartPreventExitStatus=6

[Install]
WantedBy=multi-user.target docker.service
`)
	return b.String(), nil
}

// quote makes a word one of systemd's, which knows specifiers and variables.
func quote(word string) (string, error) {
	if strings.ContainsFunc(word, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", fmt.Errorf("recover --install: got %q, want no control character: a unit cannot say it", word)
	}
	word = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`, `$`, `$$`).Replace(word)
	return `"` + word + `"`, nil
}

// install writes the unit and has systemd know it.
func (i *installer) install() (path string, err error) {
	if _, err := os.Stat(i.booted); err != nil {
		return "", fmt.Errorf("recover --install: systemd does not run this host (%s is not there): "+
			"have whatever starts it run `%s recover` once the engine is up; --print shows the unit", i.booted, i.exe)
	}
	if os.Getuid() != 0 {
		return "", errors.New("recover --install: want root, to write to " + i.units + "; --print shows the unit")
	}
	text, err := i.unit()
	if err != nil {
		return "", err
	}
	path = filepath.Join(i.units, unitName)
	// Beside it first: half a unit is worse than none.
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		return "", fmt.Errorf("recover --install: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return "", fmt.Errorf("recover --install: %w", err)
	}
	if err := i.ctl("daemon-reload"); err != nil {
		return path, err
	}
	return path, i.ctl("enable", unitName)
}

func systemctl(args ...string) error {
	out, err := exec.Command("systemctl", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("recover --install: systemctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// installUnit is `runner recover --install`, and with print only shows the unit.
func (f *flags) installUnit(print bool) error {
	i, err := f.installer()
	if err != nil {
		return err
	}
	if print {
		text, err := i.unit()
		fmt.Print(text)
		return err
	}
	path, err := i.install()
	if err != nil {
		return err
	}
	fmt.Printf("%s is written and enabled: after a reboot `runner recover` undoes what runs have left\n"+
		"take it away with: systemctl disable %s && rm %s\n", path, unitName, path)
	return nil
}
