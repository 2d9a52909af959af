// Package mariadbdump changes a dump of mariadb-dump so that a server of MariaDB loads it whole. A Writer is for one
// goroutine.
package mariadbdump

import (
	"bytes"
	"io"
	"regexp"
)

// Writer passes a dump on to another writer, and changes two things of it.
//
// It makes CREATE OR REPLACE of DROP and CREATE of a routine: the server takes the grants on a routine away when it is
// dropped, also those that an earlier part of the dump brought back. A server of MySQL, which has no CREATE OR REPLACE,
// still sees both.
//
// It leaves out LOCK TABLES for a table with a sequence in a default. An INSERT reads the sequence, and the lock of the
// table alone forbids that.
//
// All else stays as it is, in a dump of any program. A Writer is for one goroutine.
type Writer struct {
	to   io.Writer
	line []byte // the beginning of the line
	rest bool   // the beginning of the line was passed on

	held      []byte // the lines from the DROP of a routine on, to its CREATE
	delimited bool   // the lines are the body of a routine, an event or a trigger
	table     bool   // the lines are the columns of a table
	sequence  bool   // the last table has a sequence in a default
}

// NewWriter returns a Writer that passes its changed input on to w.
func NewWriter(w io.Writer) *Writer { return &Writer{to: w} }

// longest is how much of a line is looked at. The rows of a table can be longer.
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

// MariaDB runs no comment for versions of MySQL from 5.7 on, and MySQL none that begins with an M.
const (
	everyServer = "/*!50003 "
	mysqlOnly   = "/*!50700 "
)

// Lines as mariadb-dump writes them.
var (
	dropRoutine = regexp.MustCompile(
		"^/\\*!50003 DROP (FUNCTION|PROCEDURE|PACKAGE|PACKAGE BODY) IF EXISTS `.*` \\*/;\r?\n$")
	createRoutine = []byte("CREATE DEFINER=")
	createTable   = []byte("CREATE TABLE `")
	lockTables    = []byte("LOCK TABLES `")
	delimiter     = []byte("DELIMITER ")
	usesSequence  = regexp.MustCompile("(?i)(nextval|lastval|setval)\\(`")
)

// see passes on a line, or keeps it.
func (w *Writer) see(out *bytes.Buffer) {
	line := w.line
	switch {
	case w.held != nil:
		w.afterDrop(out, line)
	case bytes.HasPrefix(line, delimiter):
		w.delimited = !bytes.HasPrefix(line, []byte("DELIMITER ;\n"))
		out.Write(line)
	case w.delimited:
		out.Write(line)
	case dropRoutine.Match(line):
		w.held = bytes.Clone(line)
	case bytes.HasPrefix(line, lockTables) && w.sequence:
		w.sequence = false
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
		out.WriteString(mysqlOnly)
		out.Write(w.held[len(everyServer):])
		out.WriteString("CREATE /*M!100103 OR REPLACE */ ")
		out.Write(line[len("CREATE "):])
	default:
		out.Write(w.held)
		out.Write(line)
	}
	begun, ended := []byte("\nDELIMITER ;;\n"), []byte("\nDELIMITER ;\n")
	w.delimited = bytes.LastIndex(w.held, begun) > bytes.LastIndex(w.held, ended)
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
