package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
)

func get(t *testing.T, path string, v any) (code int) {
	w := httptest.NewRecorder()
	routes().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	if err := json.Unmarshal(w.Body.Bytes(), v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return w.Code
}

func TestEveryProductListedCanBeLookedUp(t *testing.T) {
	var list struct{ Products []product }
	if code := get(t, "/products", &list); code != http.StatusOK || len(list.Products) < 20 {
		t.Fatalf("got %d with %d products", code, len(list.Products))
	}
	seen := map[string]bool{}
	for _, want := range list.Products {
		var got product
		if code := get(t, "/products/"+want.ID, &got); code != http.StatusOK || got != want {
			t.Errorf("%s: got %d, %v", want.ID, code, got)
		}
		if seen[want.ID] || want.PriceCents <= 0 {
			t.Errorf("%s: sold twice, or for nothing", want.ID)
		}
		seen[want.ID] = true
	}
}

func TestUnknownProduct(t *testing.T) {
	var got map[string]string
	if code := get(t, "/products/nope", &got); code != http.StatusNotFound || got["error"] == "" {
		t.Errorf("got %d, %v", code, got)
	}
}
