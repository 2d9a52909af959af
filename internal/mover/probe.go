package mover

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover/failure"
	"github.com/cairn-backup/cairn/internal/mover/statement"
	"github.com/cairn-backup/cairn/internal/program"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/text"
)

// defaultProbeTimeout is long for a query, and short compared with a night.
const defaultProbeTimeout = 2 * time.Minute

// errNoAnswer ends a probe that takes too long.
var errNoAnswer = errors.New("the database does not answer")

// ask starts the probe of a stream, limited to ProbeTimeout. If it returns no error, the caller must call the
// returned function.
func (m *Mover) ask(ctx context.Context, s *v1alpha1.ResolvedStream) (*program.Output, func(), error) {
	spec, f := m.prepare(running(s, &s.Probe.ResolvedProgram))
	if f != nil {
		return nil, nil, f
	}
	limited, cancel := context.WithTimeoutCause(ctx, cmp.Or(m.ProbeTimeout, defaultProbeTimeout), errNoAnswer)
	out, err := program.Start(limited, spec)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return out, func() { out.Close(); cancel() }, nil
}

// noAnswer is the failure of a stream whose probe took too long.
func (m *Mover) noAnswer(s *v1alpha1.ResolvedStream, reason string) *failure.Failure {
	return failure.New(
		reason,
		fmt.Sprintf("%s: %s was still waiting after %s. A client that encrypts waits for ever at a port without "+
			"encryption",
			errNoAnswer, filepath.Base(s.Probe.Command[0]), cmp.Or(m.ProbeTimeout, defaultProbeTimeout)))
}

// answers returns a failure with this reason if a database does not answer its probe, or answers with one of the lines
// that are refused. A probe that could not connect is a failure too: the next attempt could hang.
func (m *Mover) answers(
	ctx context.Context, s *v1alpha1.ResolvedStream, reason string,
) (answer, *failure.Failure) {
	if s.Probe == nil {
		return answer{}, nil
	}
	out, end, err := m.ask(ctx, s)
	lines := &answerLines{refused: s.Probe.Refuse}
	if err == nil {
		defer end()
		lines.of = out
		_, err = io.Copy(lines, out)
	}
	var own *failure.Failure
	var bad *program.Error
	switch {
	case errors.As(err, &own):
		return answer{}, own
	case err == nil, errors.As(err, &bad) && bad.Empty:
		return lines.answer, lines.failure(s, reason)
	case errors.Is(err, errNoAnswer):
		return answer{}, m.noAnswer(s, reason)
	case bad != nil:
		f := programFailure(err, reason)
		f.Message = "the probe failed: " + f.Message
		return answer{}, f
	}
	return answer{}, failure.ClassifyMove(err)
}

// answer is what a probe says of a database.
type answer struct {
	// limit is the longest statement that the database takes, 0 if the probe does not say it.
	limit int64
	// noData reports that the database holds no data.
	noData bool
}

// see takes in a line. Of a table, which a client draws with -vvv, it looks at the cell.
func (a *answer) see(line string) {
	cell := strings.Trim(line, "| ")
	a.limit = max(a.limit, statement.Limit(cell))
	a.noData = a.noData || cell == noData
}

// maxRefused is how many lines a failure quotes, and maxRefusedLine how many bytes of each. maxAnswerLine is how many
// bytes of a line count. A longer one is not quoted: where it is cut, a part of a secret could be left.
const (
	maxRefused     = 4
	maxRefusedLine = 512
	maxAnswerLine  = 16 << 10
)

// answerLines finds an answer, and refused lines, in what a program writes to it.
type answerLines struct {
	answer
	of      *program.Output
	refused []v1alpha1.ResolvedRefusal
	line    []byte // the begun line
	long    bool   // the begun line is longer
	message string // of the first refusal
	found   []string
	more    bool // were found
}

// Write takes in a part of the output. It returns no error.
func (r *answerLines) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		part, rest, ended := bytes.Cut(b, []byte("\n"))
		r.long = r.long || len(part) > maxAnswerLine-len(r.line)
		r.line = append(r.line, part[:min(len(part), maxAnswerLine-len(r.line))]...)
		if b = rest; ended {
			r.end()
		}
	}
	return n, nil
}

// end looks at the line that ends here.
func (r *answerLines) end() {
	line := string(r.line)
	r.see(strings.TrimSpace(line))
	r.refuses(line)
	r.line, r.long = r.line[:0], false
}

// refuses reports whether a line is refused, and keeps it then.
func (r *answerLines) refuses(line string) bool {
	for _, refusal := range r.refused {
		if !strings.HasPrefix(strings.TrimSpace(line), refusal.Prefix) {
			continue
		}
		if len(r.found) == maxRefused {
			r.more = true
			return true
		}
		r.message = cmp.Or(r.message, refusal.Message)
		quoted := refusal.Prefix + "… (a line that is too long)"
		if !r.long {
			quoted = text.Cut(strings.TrimSpace(r.of.Clean(line)), maxRefusedLine)
		}
		r.found = append(r.found, quoted)
		return true
	}
	return false
}

// failure returns the failure of what was found in the output, or among the last errors. It is nil if nothing was. The
// program must have ended.
func (r *answerLines) failure(s *v1alpha1.ResolvedStream, reason string) *failure.Failure {
	r.end()
	last := slices.DeleteFunc(slices.Clone(r.of.LastLines()), r.refuses)
	if len(r.found) == 0 {
		return nil
	}
	found := strings.Join(r.found, "; ")
	if r.more {
		found += "; and more"
	}
	if reason == v1alpha1.ReasonLoadFailed {
		found += programSaid(last)
	}
	return failure.New(reason, fmt.Sprintf("%s; %s said: %s", r.message, filepath.Base(s.Probe.Command[0]), found))
}

// programSaid adds to a message the last errors that a program printed.
func programSaid(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return "; the program said: " + strings.Join(lines, "; ")
}

// noData is the line with which a probe says that a database holds no data, whatever else is printed: arguments of a
// client can make it repeat the question, or describe the answer.
const noData = "# holds no data"

// maxData is how many lines of data are read at most.
const maxData = 1000

// probe returns a failure if a database holds data that nobody allowed to overwrite, or if that can't be found out.
// Data that an earlier attempt wrote into an empty database is no obstacle. Without a probe, the manager asks for a
// confirmation. limit is the longest statement that the database takes, 0 if nobody said.
func (m *Mover) probe(ctx context.Context, t task.Task, c task.Component) (limit int64, _ *failure.Failure) {
	if c.Stream.Probe == nil || c.Resume || t.Restore != nil && t.Restore.Overwrite != "" {
		said, f := m.answers(ctx, c.Stream, v1alpha1.ReasonLoadFailed)
		return said.limit, f
	}
	out, end, err := m.ask(ctx, c.Stream)
	var own *failure.Failure
	if errors.As(err, &own) {
		return 0, own
	}
	if err != nil {
		return 0, probeFailure(err)
	}
	defer end()
	full := func() (int64, *failure.Failure) {
		out.Close()
		// A client that was refused can print the error where data would be.
		return 0, failure.New(v1alpha1.ReasonVolumeNotEmpty,
			"the database holds data already"+programSaid(out.LastLines()))
	}
	lines, seen := bufio.NewScanner(out), &answerLines{of: out, refused: c.Stream.Probe.Refuse}
	data := 0
	for data < maxData && lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if seen.see(line); line != "" && !strings.HasPrefix(line, "#") && !seen.refuses(lines.Text()) {
			data++
		}
	}
	if data > 0 && !seen.noData || data == maxData {
		return full()
	}
	if lines.Err() != nil {
		out.Close() // its errors are read at its end
	}
	if f := seen.failure(c.Stream, v1alpha1.ReasonLoadFailed); f != nil {
		return 0, probeFailure(f)
	}
	var bad *program.Error
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return full()
	case err == nil, errors.Is(err, io.EOF), errors.As(err, &bad) && bad.Empty:
		return seen.limit, nil
	case errors.Is(err, errNoAnswer):
		return 0, m.noAnswer(c.Stream, v1alpha1.ReasonLoadFailed)
	default:
		return 0, probeFailure(err)
	}
}

// probeFailure is the failure of a probe.
func probeFailure(err error) *failure.Failure {
	f := loadFailure(err)
	f.Message = "can't find out whether the database holds data: " + f.Message
	return f
}

// stillOpens returns a failure if a loaded database refuses the account of the Secret: the dump of a whole server
// replaces its accounts. That a busy database gives no answer says nothing.
func (m *Mover) stillOpens(ctx context.Context, s *v1alpha1.ResolvedStream) *failure.Failure {
	if s.Probe == nil {
		return nil
	}
	out, end, err := m.ask(ctx, s)
	if err == nil {
		defer end()
		_, err = io.Copy(io.Discard, out)
	}
	var bad *program.Error
	if !errors.As(err, &bad) || bad.Empty {
		return nil
	}
	return failure.New(v1alpha1.ReasonVerificationFailed, fmt.Sprintf("all data was written, but the probe failed "+
		"after that: %s. If the dump replaced the account, put the password that it had at the time of the backup "+
		"into the Secret, or set its password in the database again", bad.Message))
}
