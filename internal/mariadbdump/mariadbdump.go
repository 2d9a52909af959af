// Package mariadbdump changes a dump of mariadb-dump so that a server of MariaDB loads it whole.
package mariadbdump

import (
	"bytes"
	"io"
	"regexp"
)

// Writer passes a dump on to another writer, and changes two things of it.
//
// It makes CREATE OR REPLACE of DROP and CREATE of a routine: the server takes the grants on a routine away when it is
// dropped, also those that an earlier part of the dump brought back. MySQL has no CREATE OR REPLACE: this is only for
// dumps whose first comments say that they are of a server of MariaDB, 10.1 or later. A routine with special characters
// in its name is dropped and made as before.
//
// It does not lock a table with a sequence in a default. An INSERT reads the sequence, and the lock of the table alone
// forbids that.
//
// The Writer looks at lines, and can't tell what a line is part of: names, strings and comments can hold line breaks,
// and whoever may write in one database chooses them. So a change touches only letters, digits, blanks and an @.
// Quotes, backslashes, semicolons and the marks of comments stay, and what is quoted or a comment remains so, to
// whoever reads the dump. Nothing else is changed, in a dump of any program.
//
// A Writer is for one goroutine.
type Writer struct {
	to   io.Writer
	line []byte // the beginning of the line
	rest bool   // the beginning of the line was passed on

	begun     bool   // the first comments are over
	replaces  bool   // the dump is of a server that has CREATE OR REPLACE
	held      []byte // the lines from the DROP of a routine on, to its CREATE
	delimited bool   // the lines are the body of a routine, an event or a trigger
	table     bool   // the lines are the columns of a table
	sequence  bool   // the last table has a sequence in a default
}

// NewWriter returns a Writer that passes its changed input on to w.
func NewWriter(w io.Writer) *Writer { return &Writer{to: w} }

// longest is how much of a line is looked at, and of what is held. The rows of a table can be longer.
const longest = 64 << 10

// Write passes b on. It keeps the beginning of a line for later, and the few lines between the DROP and the CREATE of a
// routine.
func (w *Writer) Write(b []byte) (int, error) {
	n := len(b)
	var out bytes.Buffer
	for len(b) > 0 {
		part, ended := b, false
		if at := bytes.IndexByte(b, '\n'); at >= 0 {
			part, ended = b[:at+1], true
		}
		b = b[len(part):]
		if w.rest {
			out.Write(part)
			w.rest = !ended
			continue
		}
		w.line = append(w.line, part...)
		if ended || len(w.line) >= longest {
			w.see(&out)
			w.line, w.rest = w.line[:0], !ended
		}
	}
	if _, err := w.to.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return n, nil
}

// Flush passes on what is kept at the end of the dump.
func (w *Writer) Flush() error {
	_, err := w.to.Write(append(w.held, w.line...))
	w.held, w.line = nil, nil
	return err
}

// Every server runs the first kind of comment, and none the second.
const (
	everyServer = "/*!50003 "
	noServer    = "/*!99999 "
)

// Lines as mariadb-dump writes them. A comment that no server runs ends at its first mark, also in a name.
var (
	firstComment  = regexp.MustCompile(`^(--|/\*M?!999999\\-|\n$)`)
	serverVersion = regexp.MustCompile(`^-- Server version\s+(5\.5\.5-)?(10\.[1-9]|1[1-9]\.|[2-9][0-9]\.).*MariaDB`)
	dropRoutine   = regexp.MustCompile("^/\\*!50003 DROP (FUNCTION|PROCEDURE|PACKAGE|PACKAGE BODY) IF EXISTS " +
		"`[^`'\"\\\\/*#;\n]+` \\*/;\n$")
	createRoutine = []byte("CREATE DEFINER=")
	createTable   = []byte("CREATE TABLE `")
	lockTables    = regexp.MustCompile("^LOCK TABLES (`.+`) WRITE;\n$")
	delimiter     = []byte("DELIMITER ")
	semicolon     = []byte("DELIMITER ;\n")
	usesSequence  = regexp.MustCompile("(?i)(nextval|lastval|setval)\\(`")
)

// see passes on a line, or keeps it.
func (w *Writer) see(out *bytes.Buffer) {
	line := w.line
	if w.begun = w.begun || !firstComment.Match(line); !w.begun {
		w.replaces = w.replaces || serverVersion.Match(line)
	}
	if bytes.HasPrefix(line, delimiter) {
		w.delimited = !bytes.Equal(line, semicolon)
	}
	switch {
	case w.replaces && !w.delimited && dropRoutine.Match(line):
		out.Write(w.held)
		w.held = bytes.Clone(line)
	case w.held != nil:
		w.afterDrop(out, line)
	case w.delimited:
		out.Write(line)
	case w.sequence && lockTables.Match(line):
		w.sequence = false
		out.Write(lockTables.ReplaceAll(line, []byte("DO @$1;\n")))
	default:
		w.column(line)
		out.Write(line)
	}
}

// afterDrop looks at a line after the DROP of a routine. Only settings and the change of the delimiter come before its
// CREATE.
func (w *Writer) afterDrop(out *bytes.Buffer, line []byte) {
	switch {
	case bytes.HasPrefix(line, delimiter), bytes.HasPrefix(line, []byte("/*")),
		bytes.HasPrefix(line, []byte("ALTER DATABASE ")):
		w.held = append(w.held, line...)
		if len(w.held) < longest {
			return
		}
		out.Write(w.held)
	case bytes.HasPrefix(line, createRoutine):
		out.WriteString(noServer)
		out.Write(w.held[len(everyServer):])
		out.WriteString("CREATE OR REPLACE ")
		out.Write(line[len("CREATE "):])
	default:
		out.Write(w.held)
		out.Write(line)
	}
	w.held = nil
}

// column finds sequences in the definition of a table. Rows and views have none of its lines.
func (w *Writer) column(line []byte) {
	switch {
	case bytes.HasPrefix(line, createTable):
		w.table, w.sequence = true, false
	case !w.table:
	case bytes.HasPrefix(line, []byte(")")):
		w.table = false
	default:
		w.sequence = w.sequence || usesSequence.Match(line)
	}
}
