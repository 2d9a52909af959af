package pgroles

import "bytes"

// connections passes on what follows the beginning of a dump. It lets psql write to each database that it connects to:
// the database, the role or the whole server can be read-only by default. The dump does that for the first connection
// alone.
type connections struct {
	line      []byte // the beginning of the line
	connected bool   // psql has just connected to a database
}

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
			changed = append(append(changed, b[from:at]...), writable...)
			from = at
		}
		c.line = c.line[:0]
	}
	if from == 0 {
		return b
	}
	return append(changed, b[from:]...)
}

// see looks at a line and returns whether to write a line after it. That is only after the lines that follow each other
// for a connection, because a text in the data can be like one of them. A text that has them all gets the line, too.
func (c *connections) see(line []byte) bool {
	line = bytes.TrimRight(line, "\r\n")
	was := c.connected
	switch {
	case bytes.HasPrefix(line, connect):
		c.connected = true
	case len(line) == 0, bytes.HasPrefix(line, restrict):
	default:
		c.connected = false
	}
	return was && bytes.Equal(line, settings)
}
