package mover

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover/failure"
	"github.com/cairn-backup/cairn/internal/mover/statement"
	"github.com/cairn-backup/cairn/internal/program"
	"github.com/cairn-backup/cairn/internal/rdb"
	"github.com/cairn-backup/cairn/internal/task"
)

// streams prepares the mover for programs, if the task has any. It refuses flags and rules that don't suit a stream.
func (m *Mover) streams(t task.Task, flags Flags) *failure.Failure {
	if !slices.ContainsFunc(t.Components, func(c task.Component) bool { return c.Stream != nil }) {
		return nil
	}
	if t.DatabaseSecret != "" {
		m.databaseSecret = t.Namespace + "/" + t.DatabaseSecret
	}
	switch {
	case len(flags.Include)+len(flags.Exclude) > 0:
		return failure.New(v1alpha1.ReasonInvalidTask, "a stream has no files to include or exclude")
	case t.Restore != nil && t.Restore.Verify:
		return failure.New(v1alpha1.ReasonInvalidTask,
			"a stream can't be verified: the input of a program can't be read back")
	}
	return nil
}

// dump starts the program of a stream that is backed up. Closing the result ends the program and removes its files.
func (m *Mover) dump(ctx context.Context, s *v1alpha1.ResolvedStream) (*dumpStream, *failure.Failure) {
	wanted, known := formats[s.Format]
	if !known {
		return nil, failure.New(v1alpha1.ReasonInvalidTask, fmt.Sprintf("this mover has no format %q", s.Format))
	}
	spec, f := m.prepare(s)
	if f != nil {
		return nil, f
	}
	if s.DataDirectory != "" {
		spec.Source = m.Path(s.DataDirectory)
	}
	out, err := program.Start(ctx, spec)
	if err != nil {
		return nil, notDumped(err, s)
	}
	m.Log.Info("started a program", "program", filepath.Base(spec.Args[0]))
	d := &dumpStream{m: m, out: out, form: formatCheck{wanted: wanted}, check: checkFor(s.Filter)}
	if s.Format == v1alpha1.StreamFormatSQL {
		d.longest = new(statement.Longest)
	}
	return d, nil
}

// notDumped returns why the program of a dump was not started.
func notDumped(err error, s *v1alpha1.ResolvedStream) *failure.Failure {
	var bad *program.Error
	if !errors.As(err, &bad) {
		return failure.ClassifyMove(err)
	}
	switch bad.Fault {
	case program.FaultSourceMissing:
		return failure.New(v1alpha1.ReasonPathNotFound, fmt.Sprintf("the server's directory %s is empty or missing: "+
			"correct the parameter dataDirectory", s.DataDirectory))
	case program.FaultSourceUnreadable:
		return failure.New(v1alpha1.ReasonUnreadable, fmt.Sprintf("the server's directory %s can't be read: run as "+
			"the server's user (jobTemplate.spec.securityContext)", s.DataDirectory))
	}
	return programFailure(err, v1alpha1.ReasonDumpFailed)
}

// dumpStream is a program whose output is backed up.
type dumpStream struct {
	m     *Mover
	out   *program.Output
	form  formatCheck
	check *dumpCheck
	// longest is nil unless the dump is SQL.
	longest *statement.Longest
	// noData reports that the database held no data, according to its probe or, once it was read, to the dump.
	noData bool
}

// Read returns what the program writes. It returns io.EOF only if the program ended well, and a restore can read and
// turn the output.
func (d *dumpStream) Read(b []byte) (int, error) {
	n, err := d.out.Read(b)
	if f := programFailure(err, v1alpha1.ReasonDumpFailed); f != nil {
		return n, f
	}
	last := errors.Is(err, io.EOF)
	if f := d.form.see(b[:n], last); f != nil {
		return n, f
	}
	if f := d.check.see(b[:n], last); f != nil {
		return n, f
	}
	if last && d.check != nil {
		d.noData = d.check.data == 0
	}
	if d.longest != nil {
		_, _ = d.longest.Write(b[:n])
		if unfit := statement.Unfit(d.longest.Bytes()); unfit != "" {
			return n, failure.New(v1alpha1.ReasonDumpFailed, unfit)
		}
	}
	return n, err
}

// Close ends the program.
func (d *dumpStream) Close() {
	d.out.Close()
	d.check.stop()
	d.m.logOutput(d.out.LastLines())
}

// format is a form that a dump must have, because the program of the restore reads no other one.
type format struct {
	has            func(first []byte) bool
	name, unwanted string
}

// formats are those that this mover can tell by the first bytes.
var formats = map[v1alpha1.StreamFormat]format{
	"":                        {},
	v1alpha1.StreamFormatNone: {},
	v1alpha1.StreamFormatTar: {
		has: func(first []byte) bool {
			return len(first) > archiveAt && bytes.HasPrefix(first[archiveAt:], []byte(archiveMark))
		},
		name: "an uncompressed tar archive", unwanted: "--gzip",
	},
	v1alpha1.StreamFormatPostgresArchive: {
		has:  func(first []byte) bool { return bytes.HasPrefix(first, []byte("PGDMP")) },
		name: "an archive in the custom format of pg_dump", unwanted: "--format",
	},
	v1alpha1.StreamFormatMariaDBStream: {
		has: uncompressedFile, name: "uncompressed files for mbstream", unwanted: "--compress",
	},
	v1alpha1.StreamFormatSQL: {
		has:  func(first []byte) bool { return !bytes.HasPrefix(first, []byte("<?xml")) },
		name: "SQL", unwanted: "--xml",
	},
}

// uncompressedFile tells whether a stream begins with a file that mariadb-backup has not compressed. A part of a file
// begins with a mark, two bytes, the length of the name in four bytes, and the name. The program compresses all files
// but a few that come last, and .qp ends their names: those of tables have no other dot than that of their kind.
func uncompressedFile(first []byte) bool {
	const lengthAt, nameAt = 10, 14
	if len(first) < nameAt || !bytes.HasPrefix(first, []byte("XBSTCK01")) {
		return false
	}
	name, length := first[nameAt:], binary.LittleEndian.Uint32(first[lengthAt:])
	return uint64(length) > uint64(len(name)) || !bytes.HasSuffix(name[:length], []byte(".qp"))
}

// formatCheck compares the first bytes of a dump with the format that it must have.
type formatCheck struct {
	wanted format
	first  []byte
	done   bool
}

// firstBytes are enough for every format, also for a long name of a file.
const firstBytes = 2048

// see looks at the next part of the dump. Once it has the first bytes, or all, it returns why no restore could read
// the dump, or nil.
func (c *formatCheck) see(part []byte, last bool) *failure.Failure {
	if c.done || c.wanted.has == nil {
		return nil
	}
	c.first = append(c.first, part[:min(len(part), firstBytes-len(c.first))]...)
	if len(c.first) < firstBytes && !last {
		return nil
	}
	c.done = true
	if c.wanted.has(c.first) {
		return nil
	}
	return failure.New(v1alpha1.ReasonDumpFailed, fmt.Sprintf("a restore could not read this dump: it is not %s. "+
		"Leave out of the parameter args what changes the format, such as %s", c.wanted.name, c.wanted.unwanted))
}

// dumpCheck reads a dump as the filter of a restore will, and keeps nothing of it.
type dumpCheck struct {
	in    *io.PipeWriter
	ended chan struct{} // closed once err and data are set: whoever reads after an error gets it again
	err   error
	data  int64 // how much the dump holds, as rdb.Check counts
}

// checkFor returns the check that belongs to a filter. It is nil for a filter that turns every dump.
func checkFor(filter v1alpha1.StreamFilter) *dumpCheck {
	if filter != v1alpha1.StreamFilterRedisCommands {
		return nil
	}
	r, w := io.Pipe()
	c := &dumpCheck{in: w, ended: make(chan struct{})}
	go func() {
		c.data, c.err = rdb.Check(r)
		r.CloseWithError(errors.Join(errStopped, c.err))
		close(c.ended)
	}()
	return c
}

// see checks the next part of the dump. After the last one it returns why a restore can't turn the dump, or nil.
func (c *dumpCheck) see(part []byte, last bool) *failure.Failure {
	if c == nil {
		return nil
	}
	if _, err := c.in.Write(part); err == nil && !last {
		return nil
	}
	c.stop()
	<-c.ended
	if c.err == nil {
		return nil
	}
	message := fmt.Sprintf("a restore could not load this dump: %s", c.err)
	var unfit *rdb.Error
	if errors.As(c.err, &unfit) && unfit.Unsupported { // the next dump of anything else can be well
		message += ". Back up the server's volume instead"
	}
	return failure.New(v1alpha1.ReasonDumpFailed, message)
}

// stop says that nothing more comes.
func (c *dumpCheck) stop() {
	if c != nil {
		_ = c.in.Close()
	}
}

// programFailure returns the failure of a program. It is nil for any other error.
func programFailure(err error, reason string) *failure.Failure {
	var bad *program.Error
	if !errors.As(err, &bad) {
		return nil
	}
	switch {
	case bad.Empty:
		reason = v1alpha1.ReasonEmpty
	case bad.Fault == program.FaultFiles, bad.Fault == program.FaultFile:
		reason = v1alpha1.ReasonInvalidTask
	}
	return failure.New(reason, failure.Advise(bad.Message))
}

// logOutput logs the last lines that a program printed.
func (m *Mover) logOutput(lines []string) {
	for _, line := range lines {
		m.Log.Info("program output", "line", line)
	}
}

// prepare returns how to run a stream's program, in the container of the database's image.
func (m *Mover) prepare(s *v1alpha1.ResolvedStream) (program.Spec, *failure.Failure) {
	secret, f := m.database()
	if f != nil {
		return program.Spec{}, f
	}
	dir := m.Path(task.StreamDir)
	spec := program.Spec{
		Socket: m.Path(task.ProgramSocket), Args: append([]string{}, s.Command...), Dir: dir, FilesDir: dir,
		Env:   []string{"HOME=" + dir, "TMPDIR=" + dir, "LANG=C"},
		Scrub: secret.scrubber(), Grace: m.ProgramGrace, Patience: m.ProgramPatience,
	}
	for _, a := range s.Args {
		if secret.has(a.IfKey) {
			spec.Args = append(spec.Args, a.Value)
		}
	}
	for _, e := range s.Env {
		if !secret.has(e.IfKey) {
			continue
		}
		value := e.Value
		if e.SecretKey != "" {
			if value, f = secret.value(e.SecretKey); f != nil {
				return program.Spec{}, f
			}
		}
		spec.Env = append(spec.Env, e.Name+"="+value)
	}
	for _, file := range s.Files {
		if !secret.has(file.IfKey) {
			continue
		}
		content, f := secret.expand(file.Content, file.Escape)
		if f == nil && (!filepath.IsLocal(file.Name) || filepath.Base(file.Name) != file.Name) {
			f = failure.New(v1alpha1.ReasonInvalidTask,
				fmt.Sprintf("file %q can't be written, and the program needs it", file.Name))
		}
		if f != nil {
			return program.Spec{}, f
		}
		spec.Files = append(spec.Files, program.File{Name: file.Name, Content: []byte(content)})
	}
	return spec, nil
}

// running returns a stream with another program instead of its own.
func running(s *v1alpha1.ResolvedStream, p *v1alpha1.ResolvedProgram) *v1alpha1.ResolvedStream {
	out := *s
	out.Command, out.Args = p.Command, p.Args
	return &out
}
