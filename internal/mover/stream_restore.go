package mover

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mariadbdump"
	"github.com/cairn-backup/cairn/internal/mover/failure"
	"github.com/cairn-backup/cairn/internal/mover/judge"
	"github.com/cairn-backup/cairn/internal/mover/statement"
	"github.com/cairn-backup/cairn/internal/pgroles"
	"github.com/cairn-backup/cairn/internal/pgsearchpath"
	"github.com/cairn-backup/cairn/internal/program"
	"github.com/cairn-backup/cairn/internal/rdb"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/text"
)

// restoreStream feeds the backup of a stream to its program.
func (m *Mover) restoreStream(
	ctx context.Context, t task.Task, engine repository.Engine, c task.Component,
	began time.Time,
) (task.ComponentResult, *failure.Failure) {
	r := unrestored(c)
	limit, f := m.probe(ctx, t, c)
	if f == nil {
		f = tooLong(ctx, engine, c, limit)
	}
	if f != nil {
		return r, f
	}
	l := m.loader(ctx, c.Stream)
	if c.Stream.Finish != nil { // the first program says by itself that it can't be started, before it changes anything
		if err := l.look(); err != nil {
			return r, loadFailure(err)
		}
	}
	evicted := m.evicted(ctx, c.Stream) // before the program starts: one program runs at a time
	defer l.close()
	report := restoring{m: m, t: t, c: c, began: began, last: began, written: c.Resume}
	ctx, end, f := report.begin(ctx) // before the program starts: a restore that was given up must change nothing
	if f != nil {
		return r, f
	}
	defer end()
	if err := l.start(); err != nil { // before reading from the repository, in case the database can't be reached
		r.TargetUntouched = r.TargetUntouched && !program.MayHaveStarted(err)
		return r, loadFailure(err)
	}
	r.TargetUntouched = false // a program can change its database before it gets data
	kept := &countingWriter{progress: report.progress(ctx)}
	err := m.feed(ctx, engine, c, l, kept)
	if err == nil {
		err = l.finish()
	}
	r.SizeBytes, r.TargetWritten = kept.bytes, c.Resume || l.written() > 0
	if err != nil {
		f := loadFailure(err)
		f.Message += endedIn(kept, f.Message)
		if r.TargetWritten && loadsInParts(c.Stream) {
			f.Message = "the database can hold a part of the dump now: " + f.Message
		}
		return r, f
	}
	r.Files = 1
	if f := m.evictedSince(ctx, c.Stream, evicted); f != nil {
		return r, f
	}
	return r, m.stillOpens(ctx, c.Stream)
}

// tooLong returns a failure if a statement of the dump is longer than the database takes: it would end the restore in
// the middle. Dumps of earlier versions don't say how long theirs are. What can't be found out stops no restore.
func tooLong(
	ctx context.Context, engine repository.Engine, c task.Component, limit int64,
) *failure.Failure {
	if limit == 0 {
		return nil
	}
	all, err := engine.FindByTags(ctx, map[string]string{judge.TagComponent: c.Name})
	if err != nil {
		return nil
	}
	for _, s := range all {
		longest, err := strconv.ParseInt(s.Tags[judge.TagLongest], 10, 64)
		if s.ID != c.ID || err != nil {
			continue
		}
		if why := statement.TooLong(longest, limit); why != "" {
			return failure.New(v1alpha1.ReasonLoadFailed, why)
		}
	}
	return nil
}

// evictedSince fails if a Redis has evicted keys since it had evicted so many, or no longer says how many.
func (m *Mover) evictedSince(ctx context.Context, s *v1alpha1.ResolvedStream, before int64) *failure.Failure {
	if before < 0 {
		return nil
	}
	const advice = "raise its maxmemory, or set its maxmemory-policy to noeviction, and restore again"
	switch after := m.evicted(ctx, s); {
	case after < 0:
		return failure.New(v1alpha1.ReasonVerificationFailed, "all data was written, but the server no longer tells "+
			"how many keys it has evicted: look at evicted_keys of INFO stats; if it grew, "+advice)
	case after > before:
		return failure.New(v1alpha1.ReasonVerificationFailed, "all data was written, but meanwhile the server "+
			"evicted "+text.Quantity(after-before, "key")+": "+advice)
	default:
		return nil
	}
}

// evicted returns how many keys a Redis has evicted since its start, or -1 if that is unknown. It asks as the probe
// does that asks for another section of INFO.
func (m *Mover) evicted(ctx context.Context, s *v1alpha1.ResolvedStream) int64 {
	if s.Filter != v1alpha1.StreamFilterRedisCommands || s.Probe == nil {
		return -1
	}
	last := len(s.Probe.Args) - 1
	if last < 1 || !strings.EqualFold(s.Probe.Args[last-1].Value, "INFO") {
		return -1
	}
	s = s.DeepCopy()
	s.Probe.Args[last].Value = "stats"
	out, end, err := m.ask(ctx, s)
	if err != nil {
		return -1
	}
	defer end()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if value, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "evicted_keys:"); ok {
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				return n
			}
		}
	}
	return -1
}

// feed writes the backup to the program, through the stream's filter.
func (m *Mover) feed(
	ctx context.Context, engine repository.Engine, c task.Component, in io.Writer,
	kept *countingWriter,
) error {
	switch c.Stream.Filter {
	case v1alpha1.StreamFilterNone, "":
		kept.to = in
		return engine.RestoreStream(ctx, c.ID, kept)
	case v1alpha1.StreamFilterRedisCommands:
		return m.feedRedis(ctx, engine, c.ID, in, kept)
	case v1alpha1.StreamFilterPostgresRoles:
		return m.feedPostgres(ctx, engine, c, in, kept)
	case v1alpha1.StreamFilterMariaDBDump:
		to := mariadbdump.NewWriter(in)
		kept.to = to
		if err := engine.RestoreStream(ctx, c.ID, kept); err != nil {
			return err
		}
		return to.Flush()
	}
	return failure.New(v1alpha1.ReasonInvalidTask, fmt.Sprintf("this mover has no filter %q", c.Stream.Filter))
}

// feedPostgres lets a server read a dump of PostgreSQL whose roles it has, and find with the search path of the stream
// what the dump names without a schema.
func (m *Mover) feedPostgres(
	ctx context.Context, engine repository.Engine, c task.Component, in io.Writer, kept *countingWriter,
) error {
	roles := pgroles.NewWriter(in)
	flushed := []interface{ Flush() error }{roles}
	dump := &statements{to: roles}
	if path := c.Stream.SearchPath; path != "" {
		if err := pgsearchpath.Check(path); err != nil {
			return failure.New(v1alpha1.ReasonInvalidTask, err.Error())
		}
		paths := pgsearchpath.NewWriter(roles, path)
		dump.to, flushed = paths, []interface{ Flush() error }{paths, roles}
	}
	kept.to, kept.databaseAt, kept.dropped = dump, roles.DatabaseAt, roles.Dropped
	err := engine.RestoreStream(ctx, c.ID, kept)
	if err == nil {
		err = dump.Flush()
	}
	for _, w := range flushed {
		if err == nil {
			err = w.Flush()
		}
	}
	return err
}

// statements passes on a dump but no archive. psql would look for commands in the files of a physical backup, which
// hold what anybody wrote into a table.
type statements struct {
	to    io.Writer
	first []byte
	known bool
}

// Write holds back the first bytes until they show what the data is. Fewer bytes are no archive.
func (s *statements) Write(b []byte) (int, error) {
	if s.known {
		return s.to.Write(b)
	}
	s.first = append(s.first, b...)
	if len(s.first) < archiveAt+len(archiveMark) {
		return len(b), nil
	}
	if bytes.HasPrefix(s.first[archiveAt:], []byte(archiveMark)) {
		return 0, failure.New(v1alpha1.ReasonLoadFailed,
			"the component is a physical backup, not a dump: restore it into a "+
				"PersistentVolumeClaim with the task physical-backup-restore")
	}
	return len(b), s.Flush()
}

// Flush passes on the bytes that were held back.
func (s *statements) Flush() error {
	s.known = true
	_, err := s.to.Write(s.first)
	s.first = nil
	return err
}

// Position and content of the mark of a tar archive.
const (
	archiveAt   = 257
	archiveMark = "ustar"
)

// feedRedis turns an RDB file into commands.
func (m *Mover) feedRedis(
	ctx context.Context, engine repository.Engine, id string, in io.Writer, kept *countingWriter,
) error {
	return restoreThroughPipe(ctx, engine, id, kept, func(r io.Reader) error {
		keys, err := rdb.Commands(r, in)
		if err == nil {
			m.Log.Info("keys were turned into commands", "keys", keys)
		}
		return err
	})
}

// restoreThroughPipe restores a stream into a pipe that read reads. If one side fails, the other ends, and through
// returns the error of the side that failed first.
func restoreThroughPipe(ctx context.Context, engine repository.Engine, id string, kept *countingWriter,
	read func(io.Reader) error,
) error {
	r, w := io.Pipe()
	kept.to = w
	wrote := make(chan error, 1)
	go func() {
		err := engine.RestoreStream(ctx, id, kept)
		w.CloseWithError(err)
		wrote <- err
	}()
	err := read(r)
	r.CloseWithError(errors.Join(errStopped, err)) // a reader that got everything returns no error
	if from := <-wrote; from != nil && !errors.Is(from, errStopped) {
		return from
	}
	return err
}

// errStopped means that nobody reads the rest.
var errStopped = errors.New("the reader ended")

// loadFailure returns why a stream was not restored. Messages of program and filter hold no secret and can be shown.
func loadFailure(err error) *failure.Failure {
	if f := programFailure(err, v1alpha1.ReasonLoadFailed); f != nil {
		return f
	}
	var unfit *rdb.Error
	if errors.As(err, &unfit) {
		return failure.New(v1alpha1.ReasonLoadFailed, "the component can't be turned into commands: "+unfit.Message)
	}
	if errors.Is(err, pgsearchpath.ErrNone) {
		return failure.New(v1alpha1.ReasonLoadFailed, pgsearchpath.ErrNone.Error())
	}
	return failure.ClassifyMove(err)
}

// countingWriter counts the bytes on their way to the program.
type countingWriter struct {
	to       io.Writer
	bytes    int64
	progress func(repository.RestoreProgress)
	// databaseAt returns the database of a line of what the program reads. It can be nil.
	databaseAt func(line int) string
	// dropped tells whether databases are dropped before a line. It is set with databaseAt.
	dropped func(line int) bool
}

// Write passes b on.
func (c *countingWriter) Write(b []byte) (int, error) {
	n, err := c.to.Write(b)
	c.bytes += int64(n)
	c.progress(repository.RestoreProgress{BytesDone: c.bytes})
	return n, err
}

// psqlLine is where psql says something, and what kind of message it is. The language is that of the server.
var psqlLine = regexp.MustCompile(`psql:<stdin>:(\d+): (NOTICE|WARNING|INFO|LOG|DEBUG)?`)

// loadsInParts reports whether a load that breaks leaves what it has written. PostgreSQL loads in a transaction, or
// endedIn says where it ended.
func loadsInParts(s *v1alpha1.ResolvedStream) bool {
	return s.Filter == v1alpha1.StreamFilterRedisCommands || s.Filter == v1alpha1.StreamFilterMariaDBDump
}

// endedIn returns what the message of a failure of psql lacks: which of many databases ended the restore, and how to
// get the others.
func endedIn(kept *countingWriter, message string) string {
	line := 0
	for _, found := range psqlLine.FindAllStringSubmatch(message, -1) {
		if n, err := strconv.Atoi(found[1]); err == nil && found[2] == "" {
			line = n
		}
	}
	if kept.databaseAt == nil || line == 0 {
		return ""
	}
	switch database := kept.databaseAt(line); {
	case database != "":
		return fmt.Sprintf(". It was connected to the database %s. Those that the dump has after it are gone until "+
			"they are loaded from the Snapshot: restore again when the error has no more cause, or load the dump by "+
			"hand, as the guide on databases shows (Restores that end in the middle)", database)
	case kept.dropped(line):
		return ". Databases of the dump are dropped and not loaded yet. They are whole in the Snapshot: restore " +
			"again when the error has no more cause"
	default:
		return ""
	}
}
