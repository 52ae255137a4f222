package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"
)

var (
	// ErrKeyReused refuses a second, different charge under a key: whoever asks for it has a bug that costs money.
	ErrKeyReused = errors.New("this Idempotency-Key was used for another amount or reference")
	// ErrVoided refuses a charge under a key that was voided, be it before the charge came.
	ErrVoided = errors.New("this Idempotency-Key was voided")
)

// Charge is money taken.
type Charge struct {
	ID          string    `json:"id"`
	AmountCents int64     `json:"amount_cents"`
	Reference   string    `json:"reference,omitempty"`
	Key         string    `json:"key,omitempty"`
	At          time.Time `json:"at"`
	Voided      bool      `json:"voided,omitempty"`
}

// Void is money given back, or never to be taken: a charge that comes late under the key is refused.
type Void struct {
	Key    string    `json:"void"`
	Charge string    `json:"charge,omitempty"` // empty if there was none
	At     time.Time `json:"at"`
}

// Sum is a number of charges and their money.
type Sum struct {
	Count       int   `json:"count"`
	AmountCents int64 `json:"amount_cents"`
}

func (s *Sum) add(c Charge) { s.Count, s.AmountCents = s.Count+1, s.AmountCents+c.AmountCents }

// Statement is what the provider took in all, what of it was voided and what not, and the newest charges, newest first.
type Statement struct {
	Sum
	Voided  Sum      `json:"voided"`
	Kept    Sum      `json:"kept"`
	Charges []Charge `json:"charges"`
	KeptIDs []string `json:"kept_ids,omitzero"` // of all that were kept, if asked for
}

// Ledger is an append-only list of charges and voids, one JSON line each. Either holds when its line is on disk.
type Ledger struct {
	mu      sync.Mutex
	file    *os.File
	size    int64
	charges []Charge
	byKey   map[string]int
	voids   map[string]Void
	taken   Sum
	voided  Sum
}

// OpenLedger reads the charges taken so far. A last line without its end was never answered for and is cut off; any
// other line that cannot be read is an error.
func OpenLedger(path string) (*Ledger, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	l := &Ledger{file: file, byKey: map[string]int{}, voids: map[string]Void{}}
	if err := l.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("ledger %s: %w", path, err), file.Close())
	}
	return l, nil
}

func (l *Ledger) load() error {
	data, err := io.ReadAll(l.file)
	if err != nil {
		return err
	}
	whole := data[:bytes.LastIndexByte(data, '\n')+1]
	line := 0
	for text := range bytes.Lines(whole) {
		line++
		if err := l.read(text); err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
	}
	l.size = int64(len(whole))
	return l.file.Truncate(l.size)
}

func (l *Ledger) read(text []byte) error {
	var v Void
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	if v.Key != "" {
		l.addVoid(v)
		return nil
	}
	var c Charge
	if err := json.Unmarshal(text, &c); err != nil {
		return err
	}
	l.add(c)
	return nil
}

// Charge takes amount. Asked again under the same key it returns the charge taken then, and replayed.
func (l *Ledger) Charge(amount int64, reference, key string) (charge Charge, replayed bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, gone := l.voids[key]; gone {
		return Charge{}, false, ErrVoided
	}
	if i, ok := l.byKey[key]; ok && key != "" {
		charge = l.charges[i]
		if charge.AmountCents != amount || charge.Reference != reference {
			return Charge{}, false, ErrKeyReused
		}
		return charge, true, nil
	}
	charge = Charge{
		ID:          "ch_" + strconv.Itoa(len(l.charges)+1),
		AmountCents: amount,
		Reference:   reference,
		Key:         key,
		At:          time.Now().UTC(),
	}
	if err := l.write(charge); err != nil {
		return Charge{}, false, fmt.Errorf("ledger: %w", err)
	}
	l.add(charge)
	return charge, false, nil
}

// Void gives the money taken under key back, and sees to it that none is taken later. Asked again it changes nothing.
func (l *Ledger) Void(key string) (v Void, replayed bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v, ok := l.voids[key]; ok {
		return v, true, nil
	}
	v = Void{Key: key, At: time.Now().UTC()}
	if i, ok := l.byKey[key]; ok {
		v.Charge = l.charges[i].ID
	}
	if err := l.write(v); err != nil {
		return Void{}, false, fmt.Errorf("ledger: %w", err)
	}
	l.addVoid(v)
	return v, false, nil
}

// write puts the line on disk, or leaves the file as it was: half a line would spoil the next one.
func (l *Ledger) write(entry any) error {
	text, err := json.Marshal(entry)
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if _, err = l.file.WriteAt(text, l.size); err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		return errors.Join(err, l.file.Truncate(l.size))
	}
	l.size += int64(len(text))
	return nil
}

func (l *Ledger) add(c Charge) {
	if c.Key != "" {
		l.byKey[c.Key] = len(l.charges)
	}
	l.charges = append(l.charges, c)
	l.taken.add(c)
}

func (l *Ledger) addVoid(v Void) {
	l.voids[v.Key] = v
	if i, ok := l.byKey[v.Key]; ok {
		l.charges[i].Voided = true
		l.voided.add(l.charges[i])
	}
}

// Total is how many charges were taken, and how much money, whatever was voided later.
func (l *Ledger) Total() (count int, amount int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.taken.Count, l.taken.AmountCents
}

// Statement returns the totals and at most limit charges. The first so many, after, are left out of all of it.
func (l *Ledger) Statement(limit, after int) Statement {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Statement{Charges: []Charge{}}
	if after == 0 { // the common question, at no cost
		s.Sum, s.Voided = l.taken, l.voided
	} else {
		for _, c := range l.charges[min(after, len(l.charges)):] {
			s.add(c)
			if c.Voided {
				s.Voided.add(c)
			}
		}
	}
	s.Kept = Sum{s.Count - s.Voided.Count, s.AmountCents - s.Voided.AmountCents}
	for i := len(l.charges) - 1; i >= after && len(s.Charges) < limit; i-- {
		s.Charges = append(s.Charges, l.charges[i])
	}
	return s
}

// KeptIDs names the charges but the first so many, after, that were not voided.
func (l *Ledger) KeptIDs(after int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := []string{}
	for _, c := range l.charges[min(after, len(l.charges)):] {
		if !c.Voided {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// Close ends the ledger; what was answered for is on disk already.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}
