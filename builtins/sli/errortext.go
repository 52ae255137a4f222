package sli

import (
	"regexp"
	"strings"
)

var (
	// requestPrefix is how net/http begins an error. The URL may hold what must
	// not stand in a file (a token in its query), and is known anyway.
	requestPrefix = regexp.MustCompile(`^[A-Za-z]+ "[^"]*": `)
	// localAddress is an address with a port that differs each time.
	localAddress = regexp.MustCompile(`(\d+(\.\d+){3}|\[[0-9a-fA-F:.%a-z]*\]):\d+->`)
)

// errorText makes an HTTP client's error short, free of secrets, and the same
// for the same failure.
func errorText(s string) string {
	return oneLine(localAddress.ReplaceAllString(requestPrefix.ReplaceAllString(s, ""), ""))
}

// timedOut tells a timeout, of which net/http has several wordings, by the text
// that is all vegeta keeps of an error.
func timedOut(s string) bool {
	return strings.Contains(s, "deadline exceeded") || strings.Contains(s, "Client.Timeout") || strings.HasSuffix(s, "i/o timeout")
}
