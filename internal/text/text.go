// Package text cuts messages to the length that status has room for, and writes durations. It is pure.
package text

// MaxMessage is the longest message that the API allows.
const MaxMessage = 2048

// Shorten cuts a message to the length that the API allows.
func Shorten(s string) string { return Cut(s, MaxMessage) }

// Cut shortens a text to at most limit bytes, without splitting a character.
func Cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	at := limit - len("…")
	for at > 0 && s[at]&0xC0 == 0x80 {
		at--
	}
	return s[:at] + "…"
}
