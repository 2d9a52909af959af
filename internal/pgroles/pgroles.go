// Package pgroles changes a dump of pg_dumpall so that a server that is in use can read it: roles that exist, databases
// that are templates or have subscriptions, and databases that are read-only. The role that reads the dump always
// exists, and a client that stops at the first error would stop there. The role also logs in again for each database,
// so it must keep the password that it has.
//
// Most of a dump is text of others. What is changed is only a whole statement in the beginning, which begins where no
// string, name or comment is open, or what is added has neither quotes nor marks of comments.
package pgroles

import (
	"bytes"
	"io"
	"strings"
)

// header begins every dump of a cluster. The dump of a single database begins differently, and anything can follow
// it.
const header = "--\n-- PostgreSQL database cluster dump\n"

// stop makes psql stop at the first error, whatever its arguments say: it would go on, and end with exit code 0.
const stop = "\\set ON_ERROR_STOP 1\n"

// longest is how much of a line of the beginning is kept. A longer one stays as it is.
const longest = 1 << 20

// Writer passes a dump on to another writer. psql stops at the first error. CREATE ROLE creates only a missing role,
// and DROP ROLE is left out. ALTER ROLE WITH leaves the role that reads the dump as it is: its password, and all else
// that it could be locked out by. Before databases are dropped, templates among them become plain databases, and a
// database that has a subscription, a session or a prepared transaction ends the dump: PostgreSQL drops none of them,
// and those before it would be gone. So does a tablespace of the dump that another database uses. Databases that are
// read-only by default can be written to.
// Nothing else is changed from the first line that connects to a database, after which data can follow. A stream that
// is no dump of a cluster stays as it is. A Writer is for one goroutine.
type Writer struct {
	to    io.Writer
	rest  []byte   // the line that has not ended
	open  quotes   // what is open in the beginning
	at    int      // how much of rest it has seen
	long  bool     // the beginning of the line was passed on
	drops []string // the last lines, which drop databases and tablespaces
	after []byte   // what to pass on after them, up to the first connection
	made  []string // the lines of after that make tablespaces
	known bool     // the stream is a dump of a cluster
	body  bool
	later connections
}

// NewWriter returns a Writer that passes its changed input on to w.
func NewWriter(w io.Writer) *Writer { return &Writer{to: w} }

// Write passes b on. It keeps a line that has not ended for later, and what drops databases and makes roles and
// tablespaces after that.
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
			out.WriteString(header + stop)
			w.rest = w.rest[seen:]
		}
	}
	for w.known && !w.body && w.line(&out) {
	}
	if w.body {
		w.drop(&out)
	}
	w.later.passed(out.Bytes())
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

// line passes on the next line of the beginning. It returns false if the line has not ended.
func (w *Writer) line(out *bytes.Buffer) bool {
	n, ended := w.open.line(w.rest[w.at:])
	w.at += n
	tooLong := w.long || w.at > longest
	if !ended && !tooLong {
		return false
	}
	line := string(w.rest[:w.at])
	w.rest, w.at, w.long = w.rest[w.at:], 0, !ended
	switch {
	case tooLong:
		w.drop(out)
		out.WriteString(line)
	case strings.HasPrefix(line, dropDatabase), len(w.drops) > 0 && len(w.after) == 0 && beforeDrops(line):
		if len(w.drops) == mostDrops || len(w.after) > 0 {
			w.drop(out)
		}
		w.drops = append(w.drops, line)
	default:
		w.body = strings.HasPrefix(line, string(connect))
		w.later.see([]byte(line))
		if w.body || len(w.after) > mostAfter {
			w.drop(out)
		}
		if len(w.drops) == 0 {
			out.WriteString(rewriteLine(line))
			break
		}
		w.after = append(w.after, rewriteLine(line)...)
		if strings.HasPrefix(line, createTablespace) {
			w.made = append(w.made, line)
		}
	}
	return ended
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
	var out bytes.Buffer
	w.drop(&out)
	out.Write(w.rest)
	_, err := w.to.Write(out.Bytes())
	w.rest = nil
	return err
}

// rewriteLine returns the replacement of a line.
func rewriteLine(line string) string {
	statement, ok := strings.CutSuffix(strings.TrimRight(line, "\r\n"), ";")
	if !ok {
		return line
	}
	if strings.HasPrefix(statement, "DROP ROLE ") {
		return "\n"
	}
	if role, ok := strings.CutPrefix(statement, "CREATE ROLE "); ok {
		if name, ok := literal(role); ok {
			return block("BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = " + name +
				") THEN " + statement + "; END IF; END")
		}
	}
	if role, ok := strings.CutPrefix(statement, "ALTER ROLE "); ok {
		if name, ok := literal(cutName(role, " WITH ")); ok {
			// PostgreSQL quotes a statement that fails in a block, with its password: the block hides it.
			return block("BEGIN IF session_user <> " + name + " THEN " + statement + "; END IF; EXCEPTION " +
				"WHEN OTHERS THEN RAISE EXCEPTION USING MESSAGE = SQLERRM, ERRCODE = SQLSTATE; END")
		}
	}
	return line
}

// block returns the statement that runs a body.
func block(body string) string { return "DO " + dollars("cairn", body) + ";\n" }
