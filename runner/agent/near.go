package agent

import (
	"cmp"
	"slices"
	"strings"
)

// nearest has at most n of the names, those most like text first.
func nearest(text string, names []string, n int) []string {
	text = strings.Trim(strings.TrimPrefix(text, "label:"), "*?")
	far := map[string]int{}
	for _, name := range names {
		far[name] = distance(text, name)
		if text != "" && (strings.Contains(name, text) || strings.Contains(text, name)) {
			far[name] = 0
		}
	}
	names = slices.Clone(names)
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(far[a], far[b]) })
	return names[:min(n, len(names))]
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
