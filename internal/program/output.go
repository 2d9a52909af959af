package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Output is the standard output of a program. Read returns io.EOF only after the program wrote something and ended
// with exit code 0. Otherwise its last error is an *Error, or what ended the context.
type Output struct {
	ctx   context.Context // an io.Reader has none
	p     *process
	pipe  *os.File
	read  int64
	err   error
	mu    sync.Mutex // guards the pipe's deadline
	done  bool       // the deadline has passed and must not change
	close sync.Once
	watch chan struct{}
}

// Start starts a program with an empty standard input. When ctx ends, it stops the program. The caller must Close the
// Output.
func Start(ctx context.Context, spec Spec) (*Output, error) {
	r, w, err := pipe()
	if err != nil {
		return nil, err
	}
	p, err := start(ctx, spec, stdio{out: w})
	if err != nil {
		closeAll(r)
		return nil, err
	}
	o := &Output{ctx: ctx, p: p, pipe: r, watch: make(chan struct{})}
	go o.follow()
	return o, nil
}

// follow wakes a Read that would wait for nothing.
func (o *Output) follow() {
	defer close(o.watch)
	select {
	case <-o.p.ended:
		o.patience()
	case <-o.p.over:
		return
	case <-o.ctx.Done():
		o.mu.Lock()
		o.done = true
		_ = o.pipe.SetReadDeadline(time.Unix(1, 0)) // a pipe of package os supports deadlines
		o.mu.Unlock()
		o.p.stop()
	}
}

// patience lets Read wait for the rest of the output of a program that ended, but not for a process that it left
// behind.
func (o *Output) patience() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.done {
		_ = o.pipe.SetReadDeadline(time.Now().Add(o.p.spec.Grace))
	}
}

// Read reads the output of the program.
func (o *Output) Read(b []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	if o.ctx.Err() != nil {
		o.err = fmt.Errorf("read from %s: %w", o.p.name(), context.Cause(o.ctx))
		return 0, o.err
	}
	select {
	case <-o.p.ended: // a slow reader gets more time
		o.patience()
	default:
	}
	n, err := o.pipe.Read(b)
	o.read += int64(n)
	if err == nil || n > 0 {
		return n, nil
	}
	o.err = o.end(err)
	return 0, o.err
}

// end returns the error for a stream that ended with err.
func (o *Output) end(err error) error {
	switch {
	case o.ctx.Err() != nil:
		return fmt.Errorf("read from %s: %w", o.p.name(), context.Cause(o.ctx))
	case errors.Is(err, os.ErrDeadlineExceeded):
		if bad := o.p.reap(); bad != nil {
			return bad
		}
		return o.p.failed("ended, but left a process behind that did not close its output")
	case !errors.Is(err, io.EOF):
		return o.p.failed("could not be read from")
	}
	if !o.p.within(o.ctx) {
		if o.ctx.Err() != nil {
			return fmt.Errorf("read from %s: %w", o.p.name(), context.Cause(o.ctx))
		}
		o.p.kill()
		_ = o.p.reap() // it fails because of the kill
		return o.p.failed("closed its output, but did not end")
	}
	if bad := o.p.reap(); bad != nil {
		return bad
	}
	if o.read == 0 {
		bad := o.p.failed("ended with exit code 0, but wrote nothing").(*Error)
		bad.Empty = true
		return bad
	}
	return io.EOF
}

// Close ends the program if it still runs, and waits for its end.
func (o *Output) Close() {
	o.close.Do(func() {
		closeAll(o.pipe)
		o.p.stop()
		_ = o.p.reap() // the result does not matter any more
		<-o.watch
	})
}

// Clean returns a whole line of the program's output as a message can quote it, scrubbed.
func (o *Output) Clean(line string) string { return o.p.stderr.clean(line) }

// LastLines returns the last lines of the program's standard error, scrubbed. Call it after the program's end.
func (o *Output) LastLines() []string { return o.p.stderr.lines }
