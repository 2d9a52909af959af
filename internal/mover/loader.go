package mover

import (
	"cmp"
	"context"
	"path/filepath"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/program"
)

// loadStream feeds the program of a restore, and runs the program that finishes its work.
type loadStream struct {
	ctx    context.Context // an io.Writer has none
	m      *Mover
	stream *v1alpha1.ResolvedStream
	// dir is the directory in which the programs are started. Empty means a directory of their own.
	dir string
	// begin runs before the program is started.
	begin func() error

	in *program.Input
	// err is the error with which the start failed.
	err error
}

// loader returns a loader for a stream. The caller must close it.
func (m *Mover) loader(ctx context.Context, s *v1alpha1.ResolvedStream) *loadStream {
	return &loadStream{ctx: ctx, m: m, stream: s, begin: func() error { return nil }}
}

// look returns why one of the programs can't be started. It starts none, so it is for before anything is removed.
func (l *loadStream) look() error {
	streams := []*v1alpha1.ResolvedStream{l.stream}
	if l.stream.Finish != nil {
		streams = append(streams, running(l.stream, l.stream.Finish))
	}
	for _, s := range streams {
		spec, f := l.m.prepare(s)
		if f != nil {
			return f
		}
		spec.Dir = cmp.Or(l.dir, spec.Dir)
		if err := program.Look(l.ctx, spec); err != nil {
			return err
		}
	}
	return nil
}

// start starts the program once.
func (l *loadStream) start() error {
	if l.in == nil && l.err == nil {
		l.err = l.run()
	}
	return l.err
}

func (l *loadStream) run() error {
	err := l.begin()
	if err == nil {
		l.in, err = l.feed(l.stream)
	}
	return err
}

// feed starts a program that reads its input from the mover.
func (l *loadStream) feed(s *v1alpha1.ResolvedStream) (*program.Input, error) {
	spec, f := l.m.prepare(s)
	if f != nil {
		return nil, f
	}
	spec.Dir = cmp.Or(l.dir, spec.Dir)
	in, err := program.Feed(l.ctx, spec)
	if err == nil {
		l.m.Log.Info("started a program", "program", filepath.Base(spec.Args[0]))
	}
	return in, err
}

// Write passes b to the program. The first call starts it.
func (l *loadStream) Write(b []byte) (int, error) {
	if err := l.start(); err != nil {
		return 0, err
	}
	return l.in.Write(b)
}

// finish ends the program's input. It returns nil if the program, and the one after it, ended well.
func (l *loadStream) finish() error {
	if err := l.start(); err != nil {
		return err
	}
	if err := l.in.Finish(); err != nil || l.stream.Finish == nil {
		return err
	}
	second, err := l.feed(running(l.stream, l.stream.Finish))
	if err != nil {
		return err
	}
	defer func() {
		second.Close()
		l.m.logOutput(second.LastLines())
	}()
	return second.Finish()
}

// written returns how much was passed to the program.
func (l *loadStream) written() int64 {
	if l.in == nil {
		return 0
	}
	return l.in.Written()
}

// close kills the program unless it has ended, because it must not take a part of the data for all of it.
func (l *loadStream) close() {
	if l.in != nil {
		l.in.Close()
		l.m.logOutput(l.in.LastLines())
	}
}
