package program

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// How much of what a program says is kept.
const (
	linesKept  = 8
	lineLength = 240
	textLength = 900
	// longLine is how long a line may be to be looked at at all: scrubbing a part of one could leave a part of a secret.
	longLine = 64 << 10
)

// contents are lines that show data of the database beside an error.
var contents = regexp.MustCompile(`^\s*(DETAIL|CONTEXT|STATEMENT|QUERY|LINE \d+):`)

// tail keeps the last lines of what a program says. Only whole lines are scrubbed and kept.
type tail struct {
	pipe  *os.File
	scrub func(string) string
	done  chan struct{}
	lines []string
	line  []byte
	long  bool
}

// newTail begins to read what the program says, and gives the file that it is to say it to.
func (p *process) newTail() (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, &Error{Message: "no pipe can be made for the program"}
	}
	p.said = &tail{pipe: r, scrub: p.spec.Scrub, done: make(chan struct{})}
	go p.said.read()
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

// finish waits until everything was read that the program said. Who has left its group does not hold it up.
func (t *tail) finish() {
	_ = t.pipe.SetReadDeadline(time.Now().Add(time.Second)) // it may be closed already
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

// keep ends a line.
func (t *tail) keep() {
	line := strings.TrimRight(string(t.line), " \t\r")
	if t.long {
		line = "(a line that is too long)"
	}
	t.line, t.long = t.line[:0], false
	if line == "" || contents.MatchString(line) {
		return
	}
	if t.scrub != nil {
		line = t.scrub(line)
	}
	if t.lines = append(t.lines, cut(printable(line), lineLength)); len(t.lines) > linesKept {
		t.lines = t.lines[1:]
	}
}

// text is what was said last, in one line.
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

// printable replaces what is no text.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == utf8.RuneError || r == 0x7f {
			return '.'
		}
		return r
	}, s)
}

// cut keeps whole characters.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit] + "…"
}
