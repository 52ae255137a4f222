package builtins

import (
	"os"
	"strings"
	"testing"
)

// The documents in the house are those of this table: `make docs` writes the
// reference, and the README names every builtin.
func TestDocumentsAreCurrent(t *testing.T) {
	reference, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(reference) != Reference() {
		t.Errorf("builtins/README.md is not what the table says: make docs")
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range Table {
		if row.Name != "print" && !strings.Contains(string(readme), "`"+row.Name+"`") {
			t.Errorf("the README does not name %s", row.Name)
		}
	}
}
