// Package pgroles changes a dump of pg_dumpall, which drops databases and creates roles, so that a server that has some
// of them can read it. The role that reads the dump always exists, and a client that stops at the
// first error would stop there. The role also logs in again for each database, so it must keep the password that it
// has. A Writer is for one goroutine.
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

// Writer passes a dump on to another writer. CREATE ROLE creates only a missing role, and DROP ROLE is left out. ALTER
// ROLE WITH leaves the role that reads the dump as it is: its password, and all else that it could be locked out by.
// Before databases are dropped, templates among them become plain databases, and a database that has a subscription
// ends the dump: PostgreSQL drops neither, and those before it would be gone. Databases that are read-only by default
// can be written to.
// Nothing else is changed from the first line that connects to a database, after which data can follow. A stream that
// is no dump of a cluster stays as it is. A Writer is for one goroutine.
type Writer struct {
	to    io.Writer
	rest  []byte
	drops []string // the last lines, which drop databases
	known bool     // the stream is a dump of a cluster
	body  bool
	later connections
}

// NewWriter returns a Writer that passes its changed input on to w.
func NewWriter(w io.Writer) *Writer { return &Writer{to: w} }

// Write passes b on. It keeps less than one line for later, and the lines that drop databases.
func (w *Writer) Write(b []byte) (int, error) {
	if w.body {
		return w.afterwards(b)
	}
	w.rest = append(w.rest, b...)
	var out bytes.Buffer
	if !w.known {
		seen := min(len(w.rest), len(header))
		w.body = string(w.rest[:seen]) != header[:seen]
		w.known = seen == len(header) && !w.body
		if w.known {
			out.WriteString(header)
			w.rest = w.rest[seen:]
		}
	}
	for w.known && !w.body {
		end := bytes.IndexByte(w.rest, '\n')
		if end < 0 {
			w.body = len(w.rest) > longest
			break
		}
		line := string(w.rest[:end+1])
		w.rest = w.rest[end+1:]
		if strings.HasPrefix(line, dropDatabase) && len(w.drops) < mostDrops {
			w.drops = append(w.drops, line)
			continue
		}
		w.body = strings.HasPrefix(line, string(connect))
		w.later.see([]byte(line))
		out.WriteString(w.dropped() + rewriteLine(line))
	}
	if w.body {
		out.WriteString(w.dropped())
	}
	if _, err := w.to.Write(out.Bytes()); err != nil {
		return 0, err
	}
	if w.body {
		if _, err := w.afterwards(w.rest); err != nil {
			return 0, err
		}
		w.rest = nil
	}
	return len(b), nil
}

// afterwards passes on what follows the beginning.
func (w *Writer) afterwards(b []byte) (int, error) {
	if !w.known {
		return w.to.Write(b)
	}
	if _, err := w.to.Write(w.later.pass(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Flush passes on the kept rest at the end of the dump.
func (w *Writer) Flush() error {
	_, err := io.WriteString(w.to, w.dropped()+string(w.rest))
	w.rest = nil
	return err
}

// dropDatabase begins a line that drops a database, and mostDrops is how many of them are kept. All of a dump follow
// each other.
const (
	dropDatabase = "DROP DATABASE IF EXISTS "
	mostDrops    = 10_000
)

// dropped returns the kept lines, after a block that prepares them. Nothing is kept then.
func (w *Writer) dropped() string {
	var names []string
	for _, line := range w.drops {
		statement, ended := strings.CutSuffix(strings.TrimRight(line, "\r\n"), ";")
		name, ok := literal(strings.TrimPrefix(statement, dropDatabase))
		if ended && ok && !strings.Contains(name, tag) {
			names = append(names, name)
		}
	}
	lines := strings.Join(w.drops, "")
	w.drops = nil
	if len(names) == 0 {
		return lines
	}
	return "DO " + tag + strings.ReplaceAll(prepare, "NAMES", strings.Join(names, ", ")) + tag + ";\n" + lines
}

// prepare finds what would keep PostgreSQL from dropping databases. The dump drops postgres and template1 too, after it
// has filled others. Versions before 10 have no subscriptions.
const prepare = `DECLARE found record; BEGIN IF pg_catalog.to_regclass('pg_catalog.pg_subscription') IS NOT NULL THEN ` +
	`FOR found IN SELECT subname, datname FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ` +
	`ON d.oid = s.subdbid WHERE datname IN (NAMES, 'postgres', 'template1') LOOP ` +
	`RAISE EXCEPTION USING MESSAGE = 'nothing was dropped: ` +
	`database ' || found.datname || ' has the subscription ' || found.subname || ', and PostgreSQL does not drop it ` +
	`then. Drop the subscription and restore again'; END LOOP; END IF; ` +
	`FOR found IN SELECT datname FROM pg_catalog.pg_database WHERE datistemplate AND datname IN (NAMES) LOOP ` +
	`EXECUTE pg_catalog.format('ALTER DATABASE %I IS_TEMPLATE false', found.datname); END LOOP; END`

// rewriteLine returns the replacement of a line.
func rewriteLine(line string) string {
	statement, ok := strings.CutSuffix(strings.TrimRight(line, "\r\n"), ";")
	if !ok {
		return line
	}
	if strings.HasPrefix(statement, "DROP ROLE ") {
		return "\n"
	}
	if strings.Contains(statement, tag) {
		return line
	}
	if role, ok := strings.CutPrefix(statement, "CREATE ROLE "); ok {
		if name, ok := literal(role); ok {
			return "DO " + tag + "BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = " + name +
				") THEN " + statement + "; END IF; END" + tag + ";\n"
		}
	}
	if role, ok := strings.CutPrefix(statement, "ALTER ROLE "); ok {
		if name, ok := literal(cutName(role, " WITH ")); ok {
			// PostgreSQL quotes a statement that fails in a block, with its password: the block hides it.
			return "DO " + tag + "BEGIN IF session_user <> " + name + " THEN " + statement + "; END IF; EXCEPTION " +
				"WHEN OTHERS THEN RAISE EXCEPTION USING MESSAGE = SQLERRM, ERRCODE = SQLSTATE; END" + tag + ";\n"
		}
	}
	return line
}

// tag quotes the body of a block.
const tag = "$cairn$"

// literal returns the name that an identifier stands for as a string of SQL.
func literal(identifier string) (string, bool) {
	name, ok := unquoted(identifier)
	return "'" + strings.ReplaceAll(name, "'", "''") + "'", ok && name != ""
}

// cutName returns the identifier before the first separator that is not a part of it, or "".
func cutName(text, separator string) string {
	for at := 0; ; {
		next := strings.Index(text[at:], separator)
		if next < 0 {
			return ""
		}
		at += next
		if strings.Count(text[:at], `"`)%2 == 0 {
			return text[:at]
		}
		at += len(separator)
	}
}

// unquoted returns the name that an identifier stands for.
func unquoted(identifier string) (string, bool) {
	inner, quoted := strings.CutPrefix(identifier, `"`)
	switch {
	case strings.ContainsRune(identifier, '\\'):
		return "", false
	case !quoted:
		return identifier, !strings.ContainsAny(identifier, ` "'`)
	case !strings.HasSuffix(inner, `"`):
		return "", false
	}
	inner = strings.TrimSuffix(inner, `"`)
	return strings.ReplaceAll(inner, `""`, `"`), strings.Count(inner, `"`)%2 == 0
}
