package kopia

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

func validName(n string) bool {
	return n != "" && n != "." && n != ".." && !strings.ContainsAny(n, "/\x00")
}

// encodeName makes a name kopia can store: UTF-8, and not one of ours.
func encodeName(raw string) string {
	if utf8.ValidString(raw) && !strings.HasPrefix(raw, reserved) {
		return raw
	}
	var b strings.Builder
	b.WriteString(namePrefix)
	for i := 0; i < len(raw); i++ {
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
			return "", fmt.Errorf("invalid name %q in snapshot", n)
		}
		return n, nil
	}
	n = n[len(namePrefix):]
	var b strings.Builder
	for i := 0; i < len(n); i++ {
		c := n[i]
		if c == '%' {
			if i+2 >= len(n) {
				return "", fmt.Errorf("invalid escape in name %q", n)
			}
			if _, err := fmt.Sscanf(n[i+1:i+3], "%02x", &c); err != nil {
				return "", fmt.Errorf("invalid escape in name %q", n)
			}
			i += 2
		}
		b.WriteByte(c)
	}
	if !validName(b.String()) {
		return "", fmt.Errorf("invalid name %q in snapshot", n)
	}
	return b.String(), nil
}
