package main

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

type provider struct {
	*httptest.Server
	path string
}

func newProvider(t *testing.T) *provider {
	path := filepath.Join(t.TempDir(), "charges.jsonl")
	server := httptest.NewServer(routes(open(t, path), slog.New(slog.DiscardHandler)))
	t.Cleanup(server.Close)
	return &provider{server, path}
}

func open(t *testing.T, path string) *Ledger {
	l, err := OpenLedger(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func (p *provider) charge(t *testing.T, key, body string) (code int, c Charge) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL+"/charges", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return 0, c
	}
	defer resp.Body.Close()
	_ = json.NewDecoder(resp.Body).Decode(&c)
	return resp.StatusCode, c
}

func (p *provider) statement(t *testing.T, query string) (s Statement) {
	resp, err := http.Get(p.URL + "/charges" + query)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestChargesAreCounted(t *testing.T) {
	p := newProvider(t)
	for range 3 {
		if code, c := p.charge(t, "", `{"amount_cents":250,"reference":"tea"}`); code != http.StatusCreated || c.AmountCents != 250 {
			t.Fatalf("got %d, %v", code, c)
		}
	}
	s := p.statement(t, "?limit=2")
	if s.Count != 3 || s.AmountCents != 750 || len(s.Charges) != 2 || s.Charges[0].ID != "ch_3" {
		t.Errorf("got %+v", s)
	}
}

func TestBadChargesTakeNothing(t *testing.T) {
	p := newProvider(t)
	for _, body := range []string{`{"amount_cents":0}`, `{"amount_cents":-1}`, `{"amount_cents":10000001}`, `{}`, `tea`, `{"amount":1}`} {
		if code, _ := p.charge(t, "", body); code != http.StatusBadRequest {
			t.Errorf("%s: got %d, want 400", body, code)
		}
	}
	if code, _ := p.charge(t, strings.Repeat("k", 256), `{"amount_cents":1}`); code != http.StatusBadRequest {
		t.Errorf("long key: got %d, want 400", code)
	}
	if s := p.statement(t, ""); s.Count != 0 {
		t.Errorf("got %+v, want nothing charged", s)
	}
}

// All ask at once, so that a check made before the work and not under the lock would let two through.
func TestOneKeyIsChargedOnce(t *testing.T) {
	p := newProvider(t)
	var wg sync.WaitGroup
	codes := make(chan int, 20)
	for range cap(codes) {
		wg.Go(func() {
			code, c := p.charge(t, "order-1", `{"amount_cents":250,"reference":"tea"}`)
			if c.ID != "ch_1" {
				t.Errorf("got charge %q, want ch_1", c.ID)
			}
			codes <- code
		})
	}
	wg.Wait()
	close(codes)
	created := 0
	for code := range codes {
		if code == http.StatusCreated {
			created++
		}
	}
	if s := p.statement(t, ""); created != 1 || s.Count != 1 || s.AmountCents != 250 {
		t.Errorf("created %d, statement %+v; want one charge", created, s)
	}
	if code, _ := p.charge(t, "order-1", `{"amount_cents":999,"reference":"tea"}`); code != http.StatusUnprocessableEntity {
		t.Errorf("another amount under the key: got %d, want 422", code)
	}
	if code, _ := p.charge(t, "order-2", `{"amount_cents":250,"reference":"tea"}`); code != http.StatusCreated {
		t.Errorf("another key: got %d, want 201", code)
	}
}

func TestLedgerOutlivesTheProcess(t *testing.T) {
	p := newProvider(t)
	p.charge(t, "a", `{"amount_cents":100}`)
	p.charge(t, "", `{"amount_cents":200}`)

	l := open(t, p.path)
	if count, amount := l.Total(); count != 2 || amount != 300 {
		t.Errorf("got %d, %d, want 2, 300", count, amount)
	}
	if c, replayed, err := l.Charge(100, "", "a"); err != nil || !replayed || c.ID != "ch_1" {
		t.Errorf("old key: got %v, replayed %v, %v", c, replayed, err)
	}
}

// A kill can tear the last line at any byte. The charges before it stay, and the next one is readable.
func TestTornLastLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "whole.jsonl")
	l := open(t, path)
	for _, amount := range []int64{100, 200} {
		if _, _, err := l.Charge(amount, "tea", ""); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first := strings.IndexByte(string(whole), '\n') + 1
	for cut := first; cut < len(whole); cut++ {
		torn := filepath.Join(t.TempDir(), "torn.jsonl")
		if err := os.WriteFile(torn, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		l := open(t, torn)
		if _, _, err := l.Charge(7, "", ""); err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(torn); err != nil || text[len(text)-1] != '\n' {
			t.Fatalf("cut at %d: rests of the torn line are still in the file: %q, %v", cut, text, err)
		}
		if count, amount := open(t, torn).Total(); count != 2 || amount != 107 {
			t.Fatalf("cut at %d: got %d, %d, want 2, 107", cut, count, amount)
		}
	}
}

func (p *provider) void(t *testing.T, key string) (code int, v Void) {
	resp, err := http.Post(p.URL+"/voids", "application/json", strings.NewReader(`{"key":"`+key+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_ = json.NewDecoder(resp.Body).Decode(&v)
	return resp.StatusCode, v
}

func TestVoidGivesMoneyBackOnce(t *testing.T) {
	p := newProvider(t)
	p.charge(t, "a", `{"amount_cents":100}`)
	p.charge(t, "b", `{"amount_cents":200}`)
	for i, want := range []int{http.StatusCreated, http.StatusOK} {
		if code, v := p.void(t, "b"); code != want || v.Charge != "ch_2" {
			t.Errorf("void %d: got %d, %+v, want %d for ch_2", i+1, code, v, want)
		}
	}
	if code, _ := p.charge(t, "b", `{"amount_cents":200}`); code != http.StatusUnprocessableEntity {
		t.Errorf("charged again under a voided key: got %d, want 422", code)
	}
	if code, _ := p.void(t, ""); code != http.StatusBadRequest {
		t.Errorf("no key: got %d, want 400", code)
	}
	// The caller's charge was lost on its way, and comes after its void.
	if code, v := p.void(t, "late"); code != http.StatusCreated || v.Charge != "" {
		t.Errorf("void before the charge: got %d, %+v", code, v)
	}
	if code, _ := p.charge(t, "late", `{"amount_cents":400}`); code != http.StatusUnprocessableEntity {
		t.Errorf("late charge: got %d, want 422", code)
	}

	check := func(s Statement) {
		t.Helper()
		if s.Sum != (Sum{2, 300}) || s.Voided != (Sum{1, 200}) || s.Kept != (Sum{1, 100}) || !s.Charges[0].Voided || s.Charges[1].Voided {
			t.Errorf("got %+v", s)
		}
	}
	check(p.statement(t, ""))
	check(open(t, p.path).Statement(10, 0))
	if s := p.statement(t, "?after=1"); s.Sum != (Sum{1, 200}) || s.Kept != (Sum{}) || len(s.Charges) != 1 {
		t.Errorf("after the first: got %+v", s)
	}
	if s := p.statement(t, "?limit=0&ids"); !slices.Equal(s.KeptIDs, []string{"ch_1"}) || len(s.Charges) != 0 {
		t.Errorf("ids: got %+v", s)
	}
	if s := p.statement(t, "?ids&after=1"); s.KeptIDs == nil || len(s.KeptIDs) != 0 {
		t.Errorf("ids after the first: got %+v", s)
	}
	if s := p.statement(t, "?after=9"); s.Sum != (Sum{}) || len(s.Charges) != 0 {
		t.Errorf("after more than there are: got %+v", s)
	}
}

func TestSpoiltLedgerIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spoilt.jsonl")
	if err := os.WriteFile(path, []byte("{\"id\":\"ch_1\"}\nnonsense\n{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLedger(path); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("got %v, want line 2 refused", err)
	}
}

// /dev/full refuses every write, as a full disk does.
func TestChargeThatCannotBeWrittenIsNotTaken(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full here:", err)
	}
	l := &Ledger{file: full, byKey: map[string]int{}, voids: map[string]Void{}}
	defer l.Close()
	if _, _, err := l.Charge(1, "", ""); err == nil {
		t.Error("got no error")
	}
	if _, _, err := l.Void("a"); err == nil {
		t.Error("void: got no error")
	}
	if _, replayed, err := l.Void("a"); err == nil || replayed {
		t.Error("a void that failed was remembered")
	}
	if count, amount := l.Total(); count != 0 || amount != 0 {
		t.Errorf("got %d, %d, want nothing charged", count, amount)
	}
}
