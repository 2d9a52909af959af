package mover

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/program"
	"github.com/cairn-backup/cairn/internal/task"
)

// probe is a failure where a database holds data that nobody allowed to overwrite, or where that can't be told. What an attempt before
// wrote into a database that was empty is its own. The manager asks for a confirmation where there is no probe.
func (m *Mover) probe(ctx context.Context, t task.Task, c task.Component) *failure {
	if c.Stream.Probe == nil || c.Resume || t.Restore != nil && t.Restore.Overwrite != "" {
		return nil
	}
	s := *c.Stream
	s.Command, s.Args = s.Probe.Command, s.Probe.Args
	spec, f := m.prepare(&s)
	if f != nil {
		return f
	}
	defer m.tidy()
	out, err := program.Start(ctx, spec)
	if err != nil {
		return unseen(err)
	}
	defer out.Close()
	full := func() *failure {
		out.Close()
		message := "the database holds data already"
		if said := out.Said(); len(said) > 0 { // A client that was not let in may print the answer where data would be.
			message += "; the program said: " + strings.Join(said, "; ")
		}
		return &failure{v1alpha1.ReasonVolumeNotEmpty, message}
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" && !strings.HasPrefix(line, "#") {
			return full()
		}
	}
	var bad *program.Error
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return full()
	case err == nil, errors.Is(err, io.EOF), errors.As(err, &bad) && bad.Empty:
		return nil
	default:
		return unseen(err)
	}
}

// unseen is the failure of a probe.
func unseen(err error) *failure {
	f := loadFailure(err)
	f.message = "whether the database holds data can't be seen: " + f.message
	return f
}
