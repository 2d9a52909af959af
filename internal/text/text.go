// Package text cuts messages to the length that status has room for, and writes durations and counts. It is pure.
package text

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxMessage is the longest message that the API allows.
const MaxMessage = 2048

// Shorten cuts a message to the length that the API allows.
func Shorten(s string) string { return Cut(s, MaxMessage) }

// Join joins messages into one of the length that the API allows.
func Join(messages []string) string { return Shorten(strings.Join(messages, "; ")) }

// Quantity formats a number with its noun: "1 file", "2 files", "3 entries", "4 keys".
func Quantity[N int | int32 | int64](n N, noun string) string {
	stem, y := strings.CutSuffix(noun, "y")
	switch {
	case n == 1:
		return "1 " + noun
	case y && !strings.ContainsAny(stem[max(len(stem)-1, 0):], "aeou"):
		return fmt.Sprintf("%d %sies", n, stem)
	default:
		return fmt.Sprintf("%d %ss", n, noun)
	}
}

// few is the largest number of names that a message lists.
const few = 5

// FirstFew joins names with commas, but only the first few of many: "a, b, c, d, e and 3 more".
func FirstFew(names []string) string {
	if more := len(names) - few; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), more)
	}
	return strings.Join(names, ", ")
}

// sign ends a text that was cut.
const sign = "…"

// Cut shortens a text to at most limit bytes of whole characters, including a sign that it was cut. A limit that has no
// room for the sign leaves nothing. Cut replaces what is no character.
func Cut(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= limit {
		return s
	}
	at := limit - len(sign)
	if at < 0 {
		return ""
	}
	for at > 0 && !utf8.RuneStart(s[at]) {
		at--
	}
	return s[:at] + sign
}
