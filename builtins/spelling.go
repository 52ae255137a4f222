package builtins

import "strings"

// nearest is the known word that a misspelt one is most likely meant to be;
// "" if none is near. Case and underscores do not count.
func nearest(word string, known []string) string {
	fold := func(s string) []rune { return []rune(strings.ToLower(strings.ReplaceAll(s, "_", ""))) }
	w := fold(word)
	if len(w) > 60 {
		return ""
	}
	best, least := "", len(w)/3+1 // a third of the letters may be wrong
	for _, k := range known {
		if d := distance(w, fold(k)); d < least || d == least && best == "" {
			best, least = k, d
		}
	}
	return best
}

// distance counts the letters to insert, drop, replace or swap with their
// neighbour (Damerau and Levenshtein's, restricted).
func distance(a, b []rune) int {
	var before, last, next []int // rows of the table: the last but one, the last, the one being made
	for j := range len(b) + 1 {
		last = append(last, j)
	}
	for i := range a {
		next = append(make([]int, 0, len(b)+1), i+1)
		for j := range b {
			d := last[j]
			if a[i] != b[j] {
				d++
			}
			d = min(d, last[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d = min(d, before[j-1]+1)
			}
			next = append(next, d)
		}
		before, last = last, next
	}
	return last[len(b)]
}
