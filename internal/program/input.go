package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
)

// Input is the standard input of a program. What was written was taken only once Finish says so.
type Input struct {
	ctx     context.Context //nolint:containedctx // an io.Writer has none
	p       *process
	pipe    *os.File
	written int64
	err     error
	close   sync.Once
	watch   chan struct{}
}

// Feed runs a program that reads what is written to the Input. What it writes to its standard output is
// thrown away: it may be data. The program is told to stop when ctx ends. The caller must Close the Input.
func Feed(ctx context.Context, spec Spec) (*Input, error) {
	r, w, err := pipe()
	if err != nil {
		return nil, err
	}
	p, err := start(spec, r, nil)
	if err != nil {
		closeAll(w)
		return nil, err
	}
	i := &Input{ctx: ctx, p: p, pipe: w, watch: make(chan struct{})}
	go i.follow()
	return i, nil
}

// follow stops the program with the context, and wakes a Write to one that ended.
func (i *Input) follow() {
	defer close(i.watch)
	select {
	case <-i.p.ended:
	case <-i.p.over:
		return
	case <-i.ctx.Done():
		i.p.stop()
	}
	_ = i.pipe.SetWriteDeadline(time.Now().Add(i.p.spec.Grace)) // a process that was left behind may hold the other end
}

// Write gives the program something to read. After an error the program has ended, or is about to.
func (i *Input) Write(b []byte) (int, error) {
	if i.err != nil {
		return 0, i.err
	}
	n, err := i.pipe.Write(b)
	i.written += int64(n)
	if err != nil {
		i.err = i.broken()
		return n, i.err
	}
	return n, nil
}

// broken says why the program reads no more.
func (i *Input) broken() error {
	if !i.p.within(i.ctx) {
		i.p.kill()
	}
	bad := i.p.reap()
	switch {
	case i.ctx.Err() != nil:
		return fmt.Errorf("write to %s: %w", i.p.name(), context.Cause(i.ctx))
	case bad != nil:
		return bad
	}
	return i.p.failed(endedEarly)
}

// Written is how much was handed over. It may not have been read yet.
func (i *Input) Written() int64 { return i.written }

// Err is what the program, or the end of the context, broke the stream with, nil if it did not.
func (i *Input) Err() error { return i.err }

// Finish says that everything was written, and waits until the program ended, as long as that takes. Nil means that it ended with
// exit code 0.
func (i *Input) Finish() error {
	if i.err != nil {
		return i.err
	}
	rest, err := unread(i.pipe)
	if err != nil {
		i.err = err
		return i.err
	}
	defer closeAll(rest)
	closeAll(i.pipe)
	<-i.p.ended
	switch i.err = i.p.reap(); {
	case i.err != nil && i.ctx.Err() != nil:
		i.err = fmt.Errorf("wait for %s: %w", i.p.name(), context.Cause(i.ctx))
	case i.err == nil && pending(rest):
		i.err = i.p.failed(endedEarly)
	}
	return i.err
}

// endedEarly is what a program did that left something unread. That it says it ended well means nothing then.
const endedEarly = "ended with exit code 0 before it had read everything"

// unread is another end of the pipe to read from: what is in it when all programs are gone was read by none.
func unread(w *os.File) (*os.File, error) {
	conn, err := w.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("look at what a program leaves: %w", err)
	}
	var r *os.File
	var opened error
	err = conn.Control(func(fd uintptr) {
		r, opened = os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	})
	if err = errors.Join(err, opened); err != nil {
		return nil, fmt.Errorf("look at what a program leaves: %w", err)
	}
	return r, nil
}

// pending says whether there is something in a pipe whose writers are gone.
func pending(r *os.File) bool {
	n, err := r.Read(make([]byte, 1))
	return n > 0 || err != nil && !errors.Is(err, io.EOF)
}

// Close ends the program if it still runs, and waits for its end. It is killed before its input ends: the end of the input could
// make it commit what it has read so far.
func (i *Input) Close() {
	i.close.Do(func() {
		i.p.kill()
		_ = i.p.reap() // nobody wants to know any more
		<-i.watch
		closeAll(i.pipe)
	})
}

// Said are the last lines of the program's standard error, scrubbed. It is for after the end.
func (i *Input) Said() []string { return i.p.said.lines }
