package pgroles

import (
	"bytes"
	"strings"
)

// connections passes on what follows the beginning of a dump. It lets psql write to each database that it connects to:
// the database, the role or the whole server can be read-only by default. The dump does that for the first connection
// alone.
type connections struct {
	line      []byte // the beginning of the line
	connected bool   // psql has just connected to a database
	database  string // the one that it connected to
	lines     int    // how many were passed on
	reached   []reached
	dropped   int // the line that drops the first database, 0 if none does
}

// reached is the line after which psql was connected to a database.
type reached struct {
	line     int
	database string
}

// mostReached is how many of them are kept. A line takes little memory: only its beginning is kept.
const mostReached = 10_000

// writable is a statement and no option of the connection, which a pooler would refuse. It has no quotes and no marks
// of comments: what follows the beginning can hold lines like those of a connection in a string or a body, and then it
// is part of that text.
const writable = "SET default_transaction_read_only = off;\n"

// Lines as pg_dumpall writes them.
var (
	connect  = []byte(`\connect `)
	restrict = []byte(`\restrict `)
	settings = []byte("SET statement_timeout = 0;") // the first statement for each connection
)

// compared is how much of a line is compared with those.
const compared = 1 << 10

// pass returns what to pass on of b.
func (c *connections) pass(b []byte) []byte {
	var changed []byte // what is passed on of b before from
	from := 0
	for at := 0; at < len(b); {
		part, ended := b[at:], false
		if end := bytes.IndexByte(part, '\n'); end >= 0 {
			part, ended = part[:end+1], true
		}
		at += len(part)
		c.line = append(c.line, part[:min(len(part), compared-len(c.line))]...)
		if !ended {
			break
		}
		if c.see(c.line) {
			c.passed(b[from:at])
			if len(c.reached) < mostReached {
				c.reached = append(c.reached, reached{c.lines, c.database})
			}
			c.passed([]byte(writable))
			changed = append(append(changed, b[from:at]...), writable...)
			from = at
		}
		c.line = c.line[:0]
	}
	c.passed(b[from:])
	if from == 0 {
		return b
	}
	return append(changed, b[from:]...)
}

// passed counts the lines of what is passed on.
func (c *connections) passed(b []byte) { c.lines += bytes.Count(b, []byte("\n")) }

// DatabaseAt returns the database that psql was connected to at a line of what the Writer passed on, counted from 1. It
// is empty if there was none before.
func (w *Writer) DatabaseAt(line int) string {
	database := ""
	for _, r := range w.later.reached {
		if r.line < line {
			database = r.database
		}
	}
	// Other names than plain ones are in a string for libpq.
	if inner, ok := strings.CutPrefix(database, `-reuse-previous=on "dbname='`); ok {
		database = strings.TrimSuffix(inner, `'"`)
	}
	return database
}

// see looks at a line and returns whether to write a line after it. That is only after the lines that follow each other
// for a connection, because a text in the data can be like one of them. A text that has them all gets the line, too.
func (c *connections) see(line []byte) bool {
	line = bytes.TrimRight(line, "\r\n")
	was := c.connected
	switch {
	case bytes.HasPrefix(line, connect):
		c.connected, c.database = true, string(line[len(connect):])
	case len(line) == 0, bytes.HasPrefix(line, restrict):
	default:
		c.connected = false
	}
	return was && bytes.Equal(line, settings)
}
