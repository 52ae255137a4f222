package supervise

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"chaosrunner/builtins/notation"
	"chaosrunner/builtins/spec"
	"chaosrunner/runner/protocol"
)

const (
	minSecret = 6       // bytes: what is shorter stands in innocent words, and hiding it would spoil them
	maxSecret = 4 << 10 // bytes
)

// secrets are the values that a script names and never sees.
//
//	worker ──mark──▶ journal, plan, ledger      the mark stays
//	            └──▶ fill ──▶ the world         the value is put in where it is sent
//	worker, journal ◀── hide ◀── the world      and taken out of whatever comes back
//
// None and nil know no value: check and plan need none.
type secrets struct {
	values  map[string]string
	lacking map[string]error // why there is no value
	mask    *strings.Replacer
}

// readSecrets finds the value of each secret; from says where (see Options).
func readSecrets(names []string, from map[string]string) *secrets {
	s := &secrets{values: map[string]string{}, lacking: map[string]error{}}
	for _, name := range names {
		value, err := readSecret(cmp.Or(from[name], "env:RUNNER_SECRET_"+strings.ToUpper(name)))
		if err != nil {
			s.lacking[name] = err
			continue
		}
		s.values[name] = value
	}
	s.mask = replacer(s.values)
	return s
}

func readSecret(from string) (value string, err error) {
	if variable, ok := strings.CutPrefix(from, "env:"); ok {
		value, ok = os.LookupEnv(variable)
		if !ok {
			return "", fmt.Errorf("the environment has no %s", variable)
		}
	} else if value, err = readSecretFile(strings.TrimPrefix(from, "@")); err != nil {
		return "", err
	}
	switch {
	case len(value) < minSecret:
		return "", fmt.Errorf("got %d bytes from %s, want at least %d: fewer cannot be told from innocent text", len(value), from, minSecret)
	case len(value) > maxSecret:
		return "", fmt.Errorf("got a value from %s that is too long, want at most %d bytes", from, maxSecret)
	case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		return "", fmt.Errorf("got bytes from %s that are no text of one line", from)
	}
	return value, nil
}

func readSecretFile(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	raw, err := io.ReadAll(io.LimitReader(file, maxSecret+3))
	if err := errors.Join(err, file.Close()); err != nil {
		return "", err
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r"), nil
}

// needSecrets has a value for each secret that the script declares, or refuses.
func (r *run) needSecrets() error {
	if err := r.opt.knownSecrets(r.exp); err != nil {
		return err
	}
	if len(r.exp.Secrets) == 0 {
		return nil
	}
	names := make([]string, len(r.exp.Secrets))
	for i, d := range r.exp.Secrets {
		names[i] = d.Name
	}
	s := readSecrets(names, r.opt.Secrets)
	var refused Refusal
	for _, d := range r.exp.Secrets {
		if err := s.lacking[d.Name]; err != nil {
			refused.Errors = append(refused.Errors, protocol.ScriptError{
				Pos: d.Pos, Message: fmt.Sprintf("secret: %s: %v", d.Name, err),
				Hint: fmt.Sprintf("--secret %s=@FILE, --secret %[1]s=env:VARIABLE, or the variable RUNNER_SECRET_%s", d.Name, strings.ToUpper(d.Name)),
			})
		}
	}
	if len(refused.Errors) > 0 {
		return &refused
	}
	r.secrets.Store(s)
	return nil
}

// knownSecrets refuses each --secret that the script does not declare.
func (o Options) knownSecrets(exp spec.Experiment) error {
	var refused Refusal
	for _, name := range slices.Sorted(maps.Keys(o.Secrets)) {
		if !slices.ContainsFunc(exp.Secrets, func(d spec.Secret) bool { return d.Name == name }) {
			refused.Errors = append(refused.Errors, protocol.ScriptError{
				Pos: spec.Pos(exp.Name + ".star"), Message: fmt.Sprintf("--secret: got %q, which is no secret of the script", name),
			})
		}
	}
	if len(refused.Errors) > 0 {
		return &refused
	}
	return nil
}

// fill puts values in the place of marks, each written as the text around it
// wants it.
func (s *secrets) fill(text string, written func(string) string) (string, error) {
	var wrong error
	filled := notation.Unmark(text, func(name string) string {
		if s != nil {
			if value, ok := s.values[name]; ok {
				return written(value)
			}
			if err := s.lacking[name]; err != nil {
				wrong = protocol.Errorf(protocol.CodeRefused, "secret: %s: %v", name, err)
				return ""
			}
		}
		wrong = protocol.Errorf(protocol.CodeRefused, "secret: the script declares no %s", name)
		return ""
	})
	return filled, wrong
}

func asItIs(s string) string { return s }

// inJSON is a text as it stands between the quotes of a JSON string.
func inJSON(s string) string {
	raw, err := json.Marshal(s)
	if err != nil {
		return "" // a string always can be
	}
	return string(raw[1 : len(raw)-1])
}

// body fills a request's body; in JSON marks stand within strings.
func (s *secrets) body(text string) (string, error) {
	if json.Valid([]byte(text)) {
		return s.fill(text, inJSON)
	}
	return s.fill(text, asItIs)
}

func (s *secrets) headers(in map[string]string) (map[string]string, error) {
	out := maps.Clone(in)
	for name, text := range in {
		var err error
		if out[name], err = s.fill(text, asItIs); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// dsn fills a DSN: all of it, or its user and password, which it escapes.
func (s *secrets) dsn(text string) (string, error) {
	names := notation.Marked(text)
	if len(names) == 0 || len(names) == 1 && text == notation.Mark(names[0]) {
		return s.fill(text, asItIs)
	}
	u, err := notation.ParseDSN(text)
	if err != nil {
		return "", err
	}
	user, err := s.fill(u.User.Username(), asItIs)
	if err != nil {
		return "", err
	}
	if password, set := u.User.Password(); set {
		password, err = s.fill(password, asItIs)
		u.User = url.UserPassword(user, password)
	} else {
		u.User = url.User(user)
	}
	return u.String(), err
}

// inheritSecrets finds the values that a dead run's rollbacks need, where its
// command line or this one says; what has none is an error where it is sent.
func (r *run) inheritSecrets(dead protocol.Abandoned) {
	from := map[string]string{}
	for _, raw := range dead.Rollbacks {
		var record protocol.Rollback
		if json.Unmarshal(raw, &record) == nil { // else it is told where it is run
			maps.Copy(from, record.Secrets)
		}
	}
	maps.Copy(from, r.opt.Secrets)
	names := slices.Collect(maps.Keys(from))
	for _, d := range r.exp.Secrets {
		names = append(names, d.Name)
	}
	r.secrets.Store(readSecrets(names, from))
}
