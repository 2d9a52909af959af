// Package statement measures the statements of a dump in SQL.
package statement

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cairn-backup/cairn/internal/task"
)

// most is the highest max_allowed_packet of MariaDB and MySQL.
const most = 1 << 30

// Longest finds the longest statement in what is written to it, if that begins like a dump of mariadb-dump or
// mysqldump. These end a statement at the end of a line, and write no line break into a row. Of the body of a routine,
// which has semicolons of its own, only a part counts. The zero value is ready.
type Longest struct {
	head    []byte // the beginning of the dump
	longest int64
	before  int64 // bytes of the statement in the lines before this one
	line    int64 // bytes of this line
	begins  [2]byte
	ends    byte
}

// Write takes in a part of the dump. It returns no error.
func (l *Longest) Write(b []byte) (int, error) {
	n := len(b)
	l.head = append(l.head, b[:min(n, headBytes-len(l.head))]...)
	for {
		part, rest, ended := bytes.Cut(b, []byte("\n"))
		if l.line < int64(len(l.begins)) {
			copy(l.begins[l.line:], part)
		}
		if len(part) > 0 {
			l.ends = part[len(part)-1]
		}
		l.line += int64(len(part))
		if !ended {
			return n, nil
		}
		l.endLine()
		b = rest
	}
}

func (l *Longest) endLine() {
	switch {
	case l.before == 0 && (l.line == 0 || string(l.begins[:]) == "--"): // between statements
	case l.line > 0 && l.ends == ';':
		l.longest, l.before = max(l.longest, l.before+l.line-1), 0
	default:
		l.before += l.line + 1
	}
	l.line, l.begins, l.ends = 0, [2]byte{}, 0
}

// headBytes is how much of a dump says which program wrote it.
const headBytes = 16

// heads are the beginnings of dumps of mariadb-dump and mysqldump, also without comments.
var heads = []string{"-- MySQL dump", "-- MariaDB dump", "/*!", "/*M!"}

// Bytes returns the size of the longest statement. It is 0 if another program wrote the dump.
func (l *Longest) Bytes() int64 {
	if !slices.ContainsFunc(heads, func(h string) bool { return strings.HasPrefix(string(l.head), h) }) {
		return 0
	}
	return max(l.longest, l.before+l.line)
}

// Unfit returns why no server can load a dump whose longest statement has so many bytes, or "".
func Unfit(longest int64) string {
	if longest+1 < most {
		return ""
	}
	return fmt.Sprintf("a restore could not load this dump: a statement of it is %s long, and no server takes one of "+
		"1 GiB. mariadb-dump and mysqldump write two characters for each byte of a BLOB. Back up the server's volume "+
		"instead", task.FormatSize(longest))
}

// limitPrefix begins the line with which the probe of a database says how long a statement can be.
const limitPrefix = "# max_allowed_packet "

// Limit reads the max_allowed_packet of a server from a line of a probe. Any other line is 0.
func Limit(line string) int64 {
	value, found := strings.CutPrefix(strings.TrimSpace(line), limitPrefix)
	if !found {
		return 0
	}
	limit, err := strconv.ParseInt(value, 10, 64)
	if err != nil || limit < 0 {
		return 0
	}
	return limit
}

// TooLong returns why a server with this max_allowed_packet can't load a dump whose longest statement has so many
// bytes, or "". The server counts one byte more, and refuses what is as long as the limit. 0 means that a number is not
// known.
func TooLong(longest, limit int64) string {
	const mib = 1 << 20
	if longest == 0 || limit == 0 || longest+1 < limit {
		return ""
	}
	needed := (longest + 2 + mib - 1) / mib
	return fmt.Sprintf("nothing was written: a statement of the dump is %s long, and max_allowed_packet of the server "+
		"is %s. Set it to %dM or more, in the server's configuration or with SET GLOBAL max_allowed_packet = %d, and "+
		"restore again", task.FormatSize(longest), task.FormatSize(limit), needed, needed*mib)
}
