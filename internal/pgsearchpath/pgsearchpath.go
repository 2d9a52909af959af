// Package pgsearchpath gives a dump of PostgreSQL another search path than the empty one that pg_dump sets. With the
// empty one the server does not find what functions of the dump name without a schema, and an index that calls such a
// function can't be made. A Writer is for one goroutine.
package pgsearchpath

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// empty is the line of a dump that sets the empty search path.
const empty = "SELECT pg_catalog.set_config('search_path', '', false);\n"

// What a dump begins with that is a script of pg_dumpall, or an archive of pg_dump.
const (
	script  = "--\n-- PostgreSQL database cluster dump\n"
	archive = "PGDMP"
)

// Around the search path in the line that takes the place of empty.
const before, after = "SET search_path = ", ";\n"

// Longest is how many bytes a search path can have: in an archive the new line must be as long as the old one.
const Longest = len(empty) - len(before) - len(after)

// paths matches what can be a search path: nothing in it ends the statement.
var paths = regexp.MustCompile(`^` + name + `( *, *` + name + `)*$`)

const name = `([a-z_][a-z0-9_]*|"([^"\\\pC]|"")+")`

// Check returns why a value is no search path for a Writer.
func Check(path string) error {
	switch {
	case !paths.MatchString(path):
		return fmt.Errorf(`%.64q is no search path: write names of schemas with commas between them, and names with `+
			`other characters than a to z, 0 to 9 and _ in double quotes`, path)
	case len(path) > Longest:
		return fmt.Errorf("%q has %d bytes, and a search path can have at most %d", path, len(path), Longest)
	}
	return nil
}

// ErrNone says that an archive does not set the empty search path where a Writer looks for it.
var ErrNone = errors.New("this dump does not set the search path as pg_dump does since February 2018: restore it " +
	"without a search path")

// Writer passes a dump on to another writer. In an archive it changes the search path of all of it, which is one of the
// first entries. In a script it changes the one that is set after each \connect. Any other stream stays as it is.
type Writer struct {
	to    io.Writer
	line  string
	first []byte // what is held back until it shows what the dump is, or where an archive sets the path
	kind  kind
	lines lines
}

// kind is what a Writer takes a stream for.
type kind int

const (
	unknown kind = iota
	anArchive
	aScript
	unchanged
)

// NewWriter returns a Writer that passes a dump on to w with this search path, which Check must allow.
func NewWriter(w io.Writer, path string) *Writer {
	line := before + path + ";" + strings.Repeat(" ", max(0, Longest-len(path))) + "\n"
	return &Writer{to: w, line: line, lines: lines{line: []byte(line)}}
}

// Write passes b on. It keeps the beginning of an archive, and less than one line of a script, for later.
func (w *Writer) Write(b []byte) (int, error) {
	n := len(b)
	if w.kind == unknown || w.kind == anArchive {
		w.first = append(w.first, b...)
		b = nil
	}
	if w.kind == unknown {
		w.kind = kindOf(w.first)
	}
	switch w.kind {
	case unknown:
		return n, nil
	case anArchive:
		changed, err := inArchive(w.first, w.line)
		if err != nil || !changed {
			return n, err
		}
		w.kind = unchanged
	}
	return n, w.pass(b)
}

// Flush passes on what was held back. An archive that ends before it sets a path is no whole one.
func (w *Writer) Flush() error {
	if w.kind == anArchive {
		return ErrNone
	}
	return errors.Join(w.pass(nil), w.lines.end(w.to))
}

// pass passes on what was held back, and b.
func (w *Writer) pass(b []byte) error {
	for _, part := range [][]byte{w.first, b} {
		var err error
		switch {
		case len(part) == 0:
		case w.kind == aScript:
			err = w.lines.pass(w.to, part)
		default:
			_, err = w.to.Write(part)
		}
		if err != nil {
			return err
		}
	}
	w.first = nil
	return nil
}

// kindOf tells by its first bytes what a stream is.
func kindOf(first []byte) kind {
	begins := func(with string) bool { n := min(len(first), len(with)); return string(first[:n]) == with[:n] }
	switch {
	case len(first) >= len(archive) && begins(archive):
		return anArchive
	case len(first) >= len(script) && begins(script):
		return aScript
	case begins(archive) || begins(script):
		return unknown
	}
	return unchanged
}

// An entry of an archive: each text follows its length, a sign and four bytes, and the kind of the entry stands twice
// before the number of the section and the statement.
var entry = regexp.MustCompile(`(?s)\x00\x0a\x00\x00\x00SEARCHPATH\x00\x0a\x00\x00\x00SEARCHPATH.{5}\x00` +
	string(rune(len(empty))) + `\x00\x00\x00` + regexp.QuoteMeta(empty))

// within is where the entry ends at the latest: only names of the server and of the database come before it.
const within = 16 << 10

// inArchive changes the search path of an archive, if the bytes reach it.
func inArchive(first []byte, line string) (bool, error) {
	at := entry.FindIndex(first[:min(len(first), within)])
	switch {
	case at != nil:
		copy(first[at[1]-len(empty):], line)
		return true, nil
	case len(first) >= within:
		return false, ErrNone
	}
	return false, nil
}

// lines changes the search paths of a script.
type lines struct {
	line      []byte // instead of empty
	part      []byte // of a line that has not ended
	long      bool   // and that was passed on, because it is no line that matters
	connected bool   // psql has just connected to a database
}

// compared is how long a line can be that matters.
const compared = 1 << 10

// pass passes on b.
func (l *lines) pass(to io.Writer, b []byte) error {
	var out bytes.Buffer
	for len(b) > 0 {
		part, ended := b, false
		if end := bytes.IndexByte(b, '\n'); end >= 0 {
			part, ended = b[:end+1], true
		}
		b = b[len(part):]
		if l.long {
			out.Write(part)
			l.long = !ended
			continue
		}
		l.part = append(l.part, part...)
		if l.long = !ended && len(l.part) > compared; ended || l.long {
			out.Write(l.see(l.part))
			l.part = l.part[:0]
		}
	}
	_, err := to.Write(out.Bytes())
	return err
}

// end passes on a last line that has no end.
func (l *lines) end(to io.Writer) error {
	_, err := to.Write(l.part)
	l.part = nil
	return err
}

// see returns what to write for a line. Only a line among those that pg_dump writes for a connection is another one,
// because a text in the data can be like it.
func (l *lines) see(line []byte) []byte {
	begins := func(with string) bool { return bytes.HasPrefix(line, []byte(with)) }
	switch {
	case begins(`\connect `):
		l.connected = true
	case l.connected && string(line) == empty:
		l.connected = false
		return l.line
	case begins("\n"), begins("--"), begins("SET "), begins(`\restrict `):
	default:
		l.connected = false
	}
	return line
}
