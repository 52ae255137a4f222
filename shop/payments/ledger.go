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

// ErrKeyReused refuses a second, different charge under a key: whoever asks for it has a bug that costs money.
var ErrKeyReused = errors.New("this Idempotency-Key was used for another amount or reference")

// Charge is money taken.
type Charge struct {
	ID          string    `json:"id"`
	AmountCents int64     `json:"amount_cents"`
	Reference   string    `json:"reference,omitempty"`
	Key         string    `json:"key,omitempty"`
	At          time.Time `json:"at"`
}

// Statement is what the provider took in all, and the newest charges, newest first.
type Statement struct {
	Count       int      `json:"count"`
	AmountCents int64    `json:"amount_cents"`
	Charges     []Charge `json:"charges"`
}

// Ledger is an append-only list of charges, one JSON line each. A charge is taken when its line is on disk.
type Ledger struct {
	mu      sync.Mutex
	file    *os.File
	size    int64
	charges []Charge
	byKey   map[string]int
	amount  int64
}

// OpenLedger reads the charges taken so far. A last line without its end was never answered for and is cut off; any
// other line that cannot be read is an error.
func OpenLedger(path string) (*Ledger, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	l := &Ledger{file: file, byKey: map[string]int{}}
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
		var c Charge
		if err := json.Unmarshal(text, &c); err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
		l.add(c)
	}
	l.size = int64(len(whole))
	return l.file.Truncate(l.size)
}

// Charge takes amount. Asked again under the same key it returns the charge taken then, and replayed.
func (l *Ledger) Charge(amount int64, reference, key string) (charge Charge, replayed bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
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

// write puts the line on disk, or leaves the file as it was: half a line would spoil the next one.
func (l *Ledger) write(c Charge) error {
	text, err := json.Marshal(c)
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
	l.amount += c.AmountCents
}

// Total is how many charges were taken, and how much money.
func (l *Ledger) Total() (count int, amount int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.charges), l.amount
}

// Statement returns the totals and at most limit charges.
func (l *Ledger) Statement(limit int) Statement {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Statement{Count: len(l.charges), AmountCents: l.amount, Charges: []Charge{}}
	for i := len(l.charges) - 1; i >= 0 && len(s.Charges) < limit; i-- {
		s.Charges = append(s.Charges, l.charges[i])
	}
	return s
}

// Close ends the ledger; charges taken are on disk already.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}
