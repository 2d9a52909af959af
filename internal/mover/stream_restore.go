package mover

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/pgroles"
	"github.com/cairn-backup/cairn/internal/rdb"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/task"
)

// restoreStream feeds what was kept of a stream to its program.
func (m *Mover) restoreStream(ctx context.Context, t task.Task, engine repository.Engine, c task.Component, began time.Time) (task.ComponentResult, *failure) {
	r := task.ComponentResult{Name: c.Name, ID: c.ID}
	if f := m.probe(ctx, t, c); f != nil {
		return r, f
	}
	l := m.loader(ctx, c.Stream)
	defer l.close()
	if err := l.start(); err != nil { // before anything is read of the repository: a database that can't be reached needs none of it
		return r, loadFailure(err)
	}
	report := restoring{m: m, t: t, c: c, began: began, last: began}
	report.tell(ctx, nil)
	kept := &counted{progress: report.progress(ctx)}
	err := m.feed(ctx, engine, c, l, kept)
	if err == nil {
		err = l.finish()
	}
	r.SizeBytes, r.TargetWritten = kept.bytes, l.written() > 0
	if err != nil {
		return r, loadFailure(err)
	}
	r.Files = 1
	return r, nil
}

// feed writes what was kept to the program, through the stream's filter.
func (m *Mover) feed(ctx context.Context, engine repository.Engine, c task.Component, in io.Writer, kept *counted) error {
	switch c.Stream.Filter {
	case v1alpha1.StreamFilterNone, "":
		kept.to = in
		return engine.RestoreStream(ctx, c.ID, kept)
	case v1alpha1.StreamFilterRedisCommands:
		return m.feedRedis(ctx, engine, c.ID, in, kept)
	case v1alpha1.StreamFilterPostgresRoles:
		to := pgroles.NewWriter(in)
		text := &statements{to: to}
		kept.to = text
		if err := engine.RestoreStream(ctx, c.ID, kept); err != nil {
			return err
		}
		if err := text.Flush(); err != nil {
			return err
		}
		return to.Flush()
	}
	return &failure{v1alpha1.ReasonInvalidTask, fmt.Sprintf("this mover has no filter %q", c.Stream.Filter)}
}

// statements passes a dump on, but no archive: psql would look for commands in the files of a physical backup, which hold what
// anybody wrote into a table.
type statements struct {
	to    io.Writer
	first []byte
	known bool
}

// Write keeps the first bytes back until they say what it is. Less than them are no archive.
func (s *statements) Write(b []byte) (int, error) {
	if s.known {
		return s.to.Write(b)
	}
	s.first = append(s.first, b...)
	if len(s.first) < archiveAt+len(archiveMark) {
		return len(b), nil
	}
	if bytes.HasPrefix(s.first[archiveAt:], []byte(archiveMark)) {
		return 0, &failure{v1alpha1.ReasonLoadFailed, "what was kept is a physical backup, no dump: restore it into a PersistentVolumeClaim with the task physical-backup-restore"}
	}
	return len(b), s.Flush()
}

// Flush passes on what was kept back.
func (s *statements) Flush() error {
	s.known = true
	_, err := s.to.Write(s.first)
	s.first = nil
	return err
}

// Where a tar archive says that it is one, and how.
const (
	archiveAt   = 257
	archiveMark = "ustar"
)

// feedRedis turns an RDB file into commands.
func (m *Mover) feedRedis(ctx context.Context, engine repository.Engine, id string, in io.Writer, kept *counted) error {
	return through(ctx, engine, id, kept, func(r io.Reader) error {
		keys, err := rdb.Commands(r, in)
		if err == nil {
			m.Log.Info("keys were turned into commands", "keys", keys)
		}
		return err
	})
}

// through has read look at what was kept. Whichever side fails ends the other, and what it failed with is the error.
func through(ctx context.Context, engine repository.Engine, id string, kept *counted, read func(io.Reader) error) error {
	r, w := io.Pipe()
	kept.to = w
	wrote := make(chan error, 1)
	go func() {
		err := engine.RestoreStream(ctx, id, kept)
		w.CloseWithError(err)
		wrote <- err
	}()
	err := read(r)
	r.CloseWithError(errors.Join(errStopped, err)) // a reader that has all says nothing
	if from := <-wrote; from != nil && !errors.Is(from, errStopped) {
		return from
	}
	return err
}

// errStopped says that nobody reads on.
var errStopped = errors.New("the reader ended")

// loadFailure is why a stream was not restored. What the program and the filter say holds no secret and may be shown.
func loadFailure(err error) *failure {
	if f := broken(err, v1alpha1.ReasonLoadFailed); f != nil {
		return f
	}
	var unfit *rdb.Error
	if errors.As(err, &unfit) {
		return &failure{v1alpha1.ReasonLoadFailed, "what was kept can't be turned into commands: " + unfit.Message}
	}
	return classifyMove(err)
}

// counted counts what was kept on its way to the program.
type counted struct {
	to       io.Writer
	bytes    int64
	progress func(repository.RestoreProgress)
}

// Write passes b on.
func (c *counted) Write(b []byte) (int, error) {
	n, err := c.to.Write(b)
	c.bytes += int64(n)
	c.progress(repository.RestoreProgress{BytesDone: c.bytes})
	return n, err
}
