// Package pgroles changes the beginning of a dump of pg_dumpall, which creates roles, so that a server that has some
// of them can read it. The role that reads the dump always exists, and a client that stops at the first error would
// stop there. A Writer is for one goroutine.
package pgroles

import (
	"bytes"
	"io"
	"strings"
)

// header begins every dump of a cluster. The dump of a single database begins differently, and anything can follow
// it.
const header = "--\n-- PostgreSQL database cluster dump\n"

// longest is how long a line of the beginning can be. A longer line is not part of it.
const longest = 1 << 20

// Writer passes a dump on to another writer. CREATE ROLE creates only a missing role, and DROP ROLE is left out.
// Nothing is changed from the first line that connects to a database, after which data can follow. A stream that is
// no dump of a cluster stays as it is. A Writer is for one goroutine.
type Writer struct {
	to    io.Writer
	rest  []byte
	known bool // the stream is a dump of a cluster
	body  bool
}

// NewWriter returns a Writer that passes its changed input on to w.
func NewWriter(w io.Writer) *Writer { return &Writer{to: w} }

// Write passes b on. It keeps less than one line for later.
func (w *Writer) Write(b []byte) (int, error) {
	if w.body {
		return w.to.Write(b)
	}
	w.rest = append(w.rest, b...)
	if !w.known {
		seen := min(len(w.rest), len(header))
		w.known, w.body = seen == len(header), string(w.rest[:seen]) != header[:seen]
	}
	var out bytes.Buffer
	for w.known && !w.body {
		end := bytes.IndexByte(w.rest, '\n')
		if end < 0 {
			w.body = len(w.rest) > longest
			break
		}
		line := string(w.rest[:end+1])
		w.body = strings.HasPrefix(line, `\connect `)
		out.WriteString(rewriteLine(line))
		w.rest = w.rest[end+1:]
	}
	if w.body {
		out.Write(w.rest)
		w.rest = nil
	}
	if _, err := w.to.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Flush passes on the kept rest at the end of the dump.
func (w *Writer) Flush() error {
	_, err := w.to.Write(w.rest)
	w.rest = nil
	return err
}

// rewriteLine returns the replacement of a line.
func rewriteLine(line string) string {
	statement := strings.TrimRight(line, "\r\n")
	if strings.HasPrefix(statement, "DROP ROLE ") && strings.HasSuffix(statement, ";") {
		return "\n"
	}
	role, ok := strings.CutPrefix(statement, "CREATE ROLE ")
	if !ok || !strings.HasSuffix(role, ";") {
		return line
	}
	role = strings.TrimSuffix(role, ";")
	name, ok := unquoted(role)
	if !ok {
		return line
	}
	return "DO $cairn$BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '" +
		strings.ReplaceAll(name, "'", "''") +
		"') THEN CREATE ROLE " + role + "; END IF; END$cairn$;\n"
}

// unquoted returns the name that an identifier stands for.
func unquoted(identifier string) (string, bool) {
	inner, quoted := strings.CutPrefix(identifier, `"`)
	switch {
	case strings.Contains(identifier, "$cairn$") || strings.ContainsRune(identifier, '\\'):
		return "", false
	case !quoted:
		return identifier, !strings.ContainsAny(identifier, ` "'`)
	case !strings.HasSuffix(inner, `"`):
		return "", false
	}
	inner = strings.TrimSuffix(inner, `"`)
	return strings.ReplaceAll(inner, `""`, `"`), strings.Count(inner, `"`)%2 == 0
}
