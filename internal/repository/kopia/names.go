package kopia

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// errBadName does not hold the name: people who are not allowed to see file names may read the error.
var errBadName = errors.New("malformed name in the snapshot")

func validName(n string) bool {
	return n != "" && n != "." && n != ".." && !strings.ContainsAny(n, "/\x00")
}

// encodeName returns a name that kopia can store: it is UTF-8, and not a name that this package reserves.
func encodeName(raw string) string {
	if utf8.ValidString(raw) && !strings.HasPrefix(raw, reserved) {
		return raw
	}
	var b strings.Builder
	b.WriteString(namePrefix)
	for i := range len(raw) {
		if c := raw[i]; c >= 0x80 || c == '%' {
			fmt.Fprintf(&b, "%%%02x", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func decodeName(n string) (string, error) {
	if !strings.HasPrefix(n, namePrefix) {
		if !validName(n) {
			return "", errBadName
		}
		return n, nil
	}
	n = n[len(namePrefix):]
	var b strings.Builder
	for i := 0; i < len(n); i++ {
		c := n[i]
		if c == '%' {
			if i+2 >= len(n) {
				return "", errBadName
			}
			if _, err := fmt.Sscanf(n[i+1:i+3], "%02x", &c); err != nil {
				return "", errBadName
			}
			i += 2
		}
		b.WriteByte(c)
	}
	if !validName(b.String()) {
		return "", errBadName
	}
	return b.String(), nil
}
