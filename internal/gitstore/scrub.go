package gitstore

import (
	"encoding/base64"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxMessage bounds texts that came from a server, in bytes. They end up in conditions and events.
const maxMessage = 512

// tokenLength is the length from which a user name counts as a token, which forges accept there. Shorter names (git,
// oauth2) appear in ordinary words.
const tokenLength = 16

var userinfo = regexp.MustCompile(`(?i)\b([a-z][a-z0-9+.-]*://)[^/\s@]+@`)

// volatileParts matches the parts of a transport's error that differ between tries (the port at our end) or repeat the
// URL. A condition with them would change at every retry.
var volatileParts = regexp.MustCompile(`\b(?:Get|Post) "[^"]*": |((?:read|write) (?:tcp|udp) )\S+->`)

// secrets holds the strings that must not appear in any returned text.
type secrets []string

func newSecrets(a Auth) secrets {
	var out secrets
	texts := []string{string(a.Password), string(a.BearerToken)}
	if len(a.Username) >= tokenLength {
		texts = append(texts, a.Username)
	}
	for _, v := range texts {
		if v == "" {
			continue
		}
		out = append(out, v, url.QueryEscape(v), url.PathEscape(v),
			base64.StdEncoding.EncodeToString([]byte(v)))
	}
	if a.Password != "" {
		out = append(out, base64.StdEncoding.EncodeToString([]byte(a.Username+":"+string(a.Password))))
	}
	// Longest first, so that no tail of a longer form remains.
	slices.SortFunc(out, func(x, y string) int { return len(y) - len(x) })
	return slices.Compact(out)
}

// scrub removes secrets, URL user information, parts that differ between tries, and terminal control sequences. It
// joins lines with "; " and bounds the length without splitting a rune.
func (s secrets) scrub(text string) string {
	for _, v := range s {
		text = strings.ReplaceAll(text, v, "***")
	}
	text = userinfo.ReplaceAllString(text, "${1}***@")
	text = volatileParts.ReplaceAllString(text, "${1}")
	text = strings.ToValidUTF8(text, "?")
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	kept := lines[:0]
	for _, l := range lines {
		l = strings.TrimSpace(strings.Map(printable, l))
		if l != "" {
			kept = append(kept, l)
		}
	}
	return cut(strings.Join(kept, "; "), maxMessage)
}

func printable(r rune) rune {
	if r == '\t' {
		return ' '
	}
	if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
		return -1
	}
	return r
}

// cut shortens a text to at most limit bytes of whole characters. It has a copy of its own in internal/text, because
// gitstore imports nothing of Cairn.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
