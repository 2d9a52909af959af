package program

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cairn-backup/cairn/internal/text"
)

// How much of a program's messages is kept.
const (
	linesKept  = 8
	lineLength = 240
	textLength = 900
	// longLine is the length up to which a line is kept at all: scrubbing a part of a line could leave a part of a
	// secret.
	longLine = 64 << 10
)

// contents matches lines that show data of the database beside an error.
var contents = regexp.MustCompile(`^\s*(DETAIL|CONTEXT|STATEMENT|QUERY|LINE \d+):`)

// tail keeps the last lines of a program's standard error. It scrubs and keeps only whole lines.
type tail struct {
	pipe  *os.File
	scrub func(string) string
	done  chan struct{}
	lines []string
	line  []byte
	long  bool
}

// newTail starts to read the program's standard error, and returns the file to which the program writes it.
func (p *process) newTail() (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, &Error{Message: "can't create a pipe for the program"}
	}
	p.stderr = &tail{pipe: r, scrub: p.spec.Scrub, done: make(chan struct{})}
	go p.stderr.read()
	return w, nil
}

func (t *tail) read() {
	defer close(t.done)
	defer closeAll(t.pipe)
	buf := make([]byte, 32<<10)
	for {
		n, err := t.pipe.Read(buf)
		t.take(buf[:n])
		if err != nil {
			t.keep()
			return
		}
	}
}

// finish waits until all messages of the program were read. A process that has left its group does not delay it.
func (t *tail) finish() {
	_ = t.pipe.SetReadDeadline(time.Now().Add(time.Second)) // it can be closed already
	<-t.done
}

func (t *tail) take(b []byte) {
	for len(b) > 0 {
		part, rest, whole := bytes.Cut(b, []byte("\n"))
		if len(t.line)+len(part) > longLine {
			t.long = true
		}
		if !t.long {
			t.line = append(t.line, part...)
		}
		if whole {
			t.keep()
		}
		b = rest
	}
}

// keep completes a line.
func (t *tail) keep() {
	line := string(t.line)
	if t.long {
		line = "(a line that is too long)"
	}
	t.line, t.long = t.line[:0], false
	if strings.TrimSpace(line) == "" || contents.MatchString(line) {
		return
	}
	if t.lines = append(t.lines, text.Cut(t.clean(line), lineLength)); len(t.lines) > linesKept {
		t.lines = t.lines[1:]
	}
}

// clean returns a whole line as a message can quote it. A secret can end in a space: the line is trimmed last.
func (t *tail) clean(line string) string {
	if t.scrub != nil {
		line = t.scrub(line)
	}
	return printable(strings.TrimRight(line, " \t\r"))
}

// text returns the last messages in one line.
func (t *tail) text() string {
	var out string
	for i := len(t.lines) - 1; i >= 0; i-- {
		next := t.lines[i]
		if out != "" {
			next += "; " + out
		}
		if len(next) > textLength {
			break
		}
		out = next
	}
	return out
}

// printable replaces invalid text, and characters that a terminal obeys and does not show.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsGraphic(r) {
			return '.'
		}
		return r
	}, s)
}
