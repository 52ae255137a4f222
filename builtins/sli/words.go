package sli

import (
	"fmt"
	"strconv"
	"strings"
)

func joinNotes(notes ...string) string {
	var out []string
	for _, n := range notes {
		if n != "" {
			out = append(out, n)
		}
	}
	return strings.Join(out, "; ")
}

// percent prints a share with two places, and with more where fewer would
// print 100 % or 0 % of what is neither.
func percent(share float64) string {
	text := ""
	for places := 2; places <= 8; places++ {
		text = strconv.FormatFloat(share*100, 'f', places, 64)
		if v, _ := strconv.ParseFloat(text, 64); (v == 100) == (share == 1) && (v == 0) == (share == 0) {
			break
		}
	}
	return strings.TrimRight(strings.TrimRight(text, "0"), ".") + " %"
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if before, after, found := strings.Cut(what, " "); found {
		return fmt.Sprintf("%d %ss %s", n, before, after)
	}
	return fmt.Sprintf("%d %ss", n, what)
}
