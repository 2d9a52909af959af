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

// Input is the standard input of a program. The program has read all data only if Finish returns nil.
type Input struct {
	ctx     context.Context // an io.Writer has none
	p       *process
	pipe    *os.File
	written int64
	err     error
	close   sync.Once
	watch   chan struct{}
}

// Feed starts a program that reads what is written to the Input. It discards the program's standard output, which can
// be data. When ctx ends, it stops the program. The caller must Close the Input.
func Feed(ctx context.Context, spec Spec) (*Input, error) {
	r, w, err := pipe()
	if err != nil {
		return nil, err
	}
	files := stdio{in: r}
	if spec.Socket != "" {
		if files.hold, err = another(w, os.O_WRONLY); err != nil {
			closeAll(r, w)
			return nil, err
		}
	}
	p, err := start(ctx, spec, files)
	if err != nil {
		closeAll(w)
		return nil, err
	}
	i := &Input{ctx: ctx, p: p, pipe: w, watch: make(chan struct{})}
	go i.follow()
	return i, nil
}

// follow stops the program when the context ends, and wakes a Write to a program that has ended.
func (i *Input) follow() {
	defer close(i.watch)
	select {
	case <-i.p.ended:
	case <-i.p.over:
		return
	case <-i.ctx.Done():
		i.p.stop()
	}
	// a process that the program left behind can hold the other end
	_ = i.pipe.SetWriteDeadline(time.Now().Add(i.p.spec.Grace))
}

// Write passes b to the program. After an error the program has ended, or is about to end.
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

// broken returns why the program reads no more.
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

// Written returns how many bytes were passed on. The program may not have read all of them.
func (i *Input) Written() int64 { return i.written }

// Err returns the error with which the program, or the end of the context, ended the stream. It is nil if neither
// did.
func (i *Input) Err() error { return i.err }

// Finish ends the input and waits until the program has ended, however long that takes. It returns nil if the program
// ended with exit code 0 and has read everything.
func (i *Input) Finish() error {
	if i.err != nil {
		return i.err
	}
	// Data that is still in the pipe when all programs are gone was read by none.
	rest, err := another(i.pipe, os.O_RDONLY)
	if err != nil {
		i.err = err
		return i.err
	}
	defer closeAll(rest)
	closeAll(i.pipe)
	i.p.run.endInput()
	<-i.p.ended
	switch i.err = i.p.reap(); {
	case i.err != nil && i.ctx.Err() != nil:
		i.err = fmt.Errorf("wait for %s: %w", i.p.name(), context.Cause(i.ctx))
	case i.err == nil && pending(rest):
		i.err = i.p.failed(endedEarly)
	}
	return i.err
}

// endedEarly describes a program that left data unread. Its exit code means nothing then.
const endedEarly = "ended with exit code 0 before it had read everything"

// another opens an end of a pipe once more. The new end has a state of its own: whoever gets it can't change how this
// process reads or writes.
func another(end *os.File, mode int) (*os.File, error) {
	conn, err := end.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("open the pipe of a program again: %w", err)
	}
	var f *os.File
	var opened error
	err = conn.Control(func(fd uintptr) {
		f, opened = os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), mode|syscall.O_NONBLOCK, 0)
	})
	if err = errors.Join(err, opened); err != nil {
		return nil, fmt.Errorf("open the pipe of a program again: %w", err)
	}
	return f, nil
}

// pending reports whether a pipe whose writers are gone still holds data. A writer that is not gone, in another
// container, counts as if it did.
func pending(r *os.File) bool {
	_ = r.SetReadDeadline(time.Now().Add(time.Second))
	n, err := r.Read(make([]byte, 1))
	return n > 0 || err != nil && !errors.Is(err, io.EOF)
}

// Close ends the program if it still runs, and waits for its end. It kills the program before it closes the input:
// the end of the input could make the program commit what it has read so far.
func (i *Input) Close() {
	i.close.Do(func() {
		i.p.kill()
		_ = i.p.reap() // the result does not matter any more
		<-i.watch
		closeAll(i.pipe)
	})
}

// LastLines returns the last lines of the program's standard error, scrubbed. Call it after the program's end.
func (i *Input) LastLines() []string { return i.p.stderr.lines }
