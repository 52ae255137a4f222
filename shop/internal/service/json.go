package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

const (
	maxRequest  = 16 << 10
	maxResponse = 1 << 20
)

// WriteJSON answers with v. A client that has gone away is nobody's error.
func WriteJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}

// WriteError answers with {"error": message}.
func WriteError(w http.ResponseWriter, code int, message string) {
	WriteJSON(w, code, map[string]string{"error": message})
}

// ReadJSON reads a request body of bounded size that holds one JSON value of v's fields and nothing else.
func ReadJSON(w http.ResponseWriter, r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("body: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("body: got more than one value, want one JSON object")
	}
	return nil
}

// DecodeResponse reads another service's answer of bounded size.
func DecodeResponse(resp *http.Response, v any) error {
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxResponse)).Decode(v); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}
