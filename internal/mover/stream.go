package mover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/program"
	"github.com/cairn-backup/cairn/internal/repository/memlimit"
	"github.com/cairn-backup/cairn/internal/task"
)

// defaultPath is where programs are looked for in an image that says nothing.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// streams prepares a mover for programs, if the task has any, and says what can't be done with what they write.
func (m *Mover) streams(t task.Task, flags Flags) *failure {
	if !slices.ContainsFunc(t.Components, func(c task.Component) bool { return c.Stream != nil }) {
		return nil
	}
	memlimit.Share()
	switch {
	case len(flags.Include)+len(flags.Exclude) > 0:
		return &failure{v1alpha1.ReasonInvalidTask, "a stream has no files to include or exclude"}
	case t.Restore != nil && t.Restore.Verify:
		return &failure{v1alpha1.ReasonInvalidTask, "what a program was fed can't be read back: a stream can't be verified"}
	}
	return nil
}

// dump runs the program of a stream that is backed up. The result ends it and removes its files.
func (m *Mover) dump(ctx context.Context, s *v1alpha1.ResolvedStream) (*dump, *failure) {
	if f := m.filesOfServer(s.DataDirectory); f != nil {
		return nil, f
	}
	spec, f := m.prepare(s)
	if f != nil {
		return nil, f
	}
	out, err := program.Start(ctx, spec)
	if err != nil {
		m.tidy()
		return nil, broken(err, v1alpha1.ReasonDumpFailed)
	}
	m.Log.Info("a program runs", "program", filepath.Base(spec.Args[0]))
	return &dump{m: m, out: out}, nil
}

// filesOfServer says why a program will not find the files of its server, in a clearer way than it would.
func (m *Mover) filesOfServer(dir string) *failure {
	if dir == "" {
		return nil
	}
	entries, err := os.ReadDir(m.path(dir))
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && len(entries) == 0:
		return &failure{v1alpha1.ReasonPathNotFound, fmt.Sprintf("there is nothing in the server's directory %s: correct the parameter dataDirectory", dir)}
	case err != nil:
		return &failure{v1alpha1.ReasonUnreadable, fmt.Sprintf("the server's directory %s can't be read: run as the server's user (jobTemplate.spec.securityContext)", dir)}
	}
	return nil
}

// dump is a program that is backed up.
type dump struct {
	m   *Mover
	out *program.Output
}

// Read gives what the program writes. It ends well only if the program did.
func (d *dump) Read(b []byte) (int, error) {
	n, err := d.out.Read(b)
	if f := broken(err, v1alpha1.ReasonDumpFailed); f != nil {
		return n, f
	}
	return n, err
}

// Close ends the program.
func (d *dump) Close() {
	d.out.Close()
	d.m.tidy()
	d.m.said(d.out.Said())
}

// broken is the failure of a program, nil for any other error.
func broken(err error, reason string) *failure {
	var bad *program.Error
	if !errors.As(err, &bad) {
		return nil
	}
	if bad.Empty {
		reason = v1alpha1.ReasonEmpty
	}
	return &failure{reason, bad.Message}
}

// said logs what a program said last.
func (m *Mover) said(lines []string) {
	for _, line := range lines {
		m.Log.Info("the program said", "line", line)
	}
}

// prepare writes the files of a stream's program and says how to run it.
func (m *Mover) prepare(s *v1alpha1.ResolvedStream) (program.Spec, *failure) {
	secret, f := m.database()
	if f != nil {
		return program.Spec{}, f
	}
	dir := m.path(task.StreamDir)
	spec := program.Spec{
		Args: append([]string{}, s.Command...), Dir: dir, Scrub: secret.scrubber(), Grace: m.ProgramGrace,
		Env: []string{"HOME=" + dir, "TMPDIR=" + dir, "LANG=C", "PATH=" + cmp.Or(os.Getenv("PATH"), defaultPath)},
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
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return program.Spec{}, &failure{v1alpha1.ReasonInvalidTask, "the directory for the program's files can't be made"}
	}
	for _, file := range s.Files {
		if !secret.has(file.IfKey) {
			continue
		}
		if f := m.file(dir, file, secret); f != nil {
			m.tidy()
			return program.Spec{}, f
		}
	}
	return spec, nil
}

// running is a stream with another program in place of its own.
func running(s *v1alpha1.ResolvedStream, p *v1alpha1.ResolvedProgram) *v1alpha1.ResolvedStream {
	out := *s
	out.Command, out.Args = p.Command, p.Args
	return &out
}

// file writes one of a program's files, for its user alone.
func (m *Mover) file(dir string, file v1alpha1.StreamFile, secret database) *failure {
	content, f := secret.expand(file.Content, file.Escape)
	if f != nil {
		return f
	}
	bad := &failure{v1alpha1.ReasonInvalidTask, fmt.Sprintf("file %q can't be written for the program", file.Name)}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return bad
	}
	defer root.Close()
	if root.WriteFile(file.Name, []byte(content), 0o600) != nil {
		return bad
	}
	return nil
}

// tidy removes the files of a program. What can't be removed goes with the pod.
func (m *Mover) tidy() {
	if err := os.RemoveAll(m.path(task.StreamDir)); err != nil {
		m.Log.Warn("remove the program's files")
	}
}
