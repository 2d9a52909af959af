package program

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Spec says what to run.
type Spec struct {
	// Socket is that of the Server that runs the program, in a container of its own. Empty means that this process runs
	// it.
	Socket string
	// Args are the program, which is looked up in the PATH of the process that runs it, and its arguments.
	Args []string
	// Env is its complete environment. A Server adds its own PATH if there is none.
	Env []string
	// Files are written, readable only for the program's user, before the program starts, and removed at its end with
	// FilesDir.
	Files []File
	// FilesDir is the directory of Files. It is made if it is missing. Empty means none.
	FilesDir string
	// Source is a directory that the program reads by itself: without anything in it the program is not started. Empty
	// means none.
	Source string
	// Dir is its working directory.
	Dir string
	// Scrub removes secrets from a line of the program's standard error. Nil removes nothing.
	Scrub func(line string) string
	// Grace is how long the program can go on when its work must be over: its output is closed but it has not ended,
	// it has ended but its output is not closed, or it was told to stop. 0 means defaultGrace.
	Grace time.Duration
	// Patience is how long the Server has to answer: its container can be starting. 0 means defaultPatience.
	Patience time.Duration
}

// File is a file that a program reads.
type File struct {
	Name    string `json:"name"`
	Content []byte `json:"content"`
}

// defaultGrace leaves a mover, which has 45 s to end, enough time to save what was done.
const defaultGrace = 10 * time.Second

// defaultPatience covers the delay with which a kubelet restarts a container that has ended for the first time.
const defaultPatience = time.Minute

// Error is the bad end of a program. Its text contains what Scrub left of the last lines of the program's standard
// error.
type Error struct {
	// Message says how the program ended.
	Message string
	// Empty says that the program ended well but wrote nothing at all.
	Empty bool
	// Fault says why the program was not started; empty if it was.
	Fault Fault
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// process is a started program, and what it says.
type process struct {
	spec   Spec
	run    runner
	stderr *tail
	ended  <-chan struct{} // closed when the program has ended
	over   chan struct{}   // closed when nobody needs its process group any longer
	once   sync.Once
	end    ending // valid once over
}

// runner runs one program: this process, or the server of another container.
type runner interface {
	// ended is closed when the program has ended. What it left behind can run on.
	ended() <-chan struct{}
	// signal sends a signal to the program and to all that it started.
	signal(s syscall.Signal)
	// endInput closes what holds the program's standard input open beside the writer.
	endInput()
	// finish kills what the program left behind, removes its files, and returns how it ended. It is called once, after
	// the program's end.
	finish() ending
}

// ending is how a program ended: by itself, by a signal, or nobody knows.
type ending struct {
	code   int
	signal syscall.Signal
	lost   string // why nobody knows
}

// stdio are the files of a program; nil means none. A runner takes them over.
type stdio struct {
	in, out, err *os.File
	// hold is another end of in, for a runner in another process. It closes hold only when the input has ended well, or
	// the program is gone: without it a program would see the end of its input when the writer is killed.
	hold *os.File
}

func (f stdio) close() { closeAll(f.in, f.out, f.err, f.hold) }

// name returns the name of the program for messages.
func (p *process) name() string { return nameOf(p.spec) }

func nameOf(spec Spec) string { return filepath.Base(spec.Args[0]) }

// start starts the program. It takes over the files.
func start(ctx context.Context, spec Spec, files stdio) (*process, error) {
	if spec.Grace == 0 {
		spec.Grace = defaultGrace
	}
	if len(spec.Args) == 0 || spec.Args[0] == "" {
		files.close()
		return nil, &Error{Message: "no program to run"}
	}
	p := &process{spec: spec, over: make(chan struct{})}
	var err error
	if files.err, err = p.newTail(); err != nil {
		files.close()
		return nil, err
	}
	if spec.Socket == "" {
		p.run, err = startHere(spec, files)
	} else {
		p.run, err = startThere(ctx, spec, files)
	}
	if err != nil {
		p.stderr.finish()
		return nil, err
	}
	p.ended = p.run.ended()
	return p, nil
}

// stop ends the program: first with SIGTERM, after Grace with SIGKILL.
func (p *process) stop() {
	p.run.signal(syscall.SIGTERM)
	if !p.within(context.Background()) {
		p.kill()
	}
}

// kill ends the program and its group at once.
func (p *process) kill() { p.run.signal(syscall.SIGKILL) }

// reap waits for the program's end, kills what it left behind, and returns how it ended. It returns nil for a good
// end.
func (p *process) reap() error {
	<-p.ended
	p.once.Do(func() {
		close(p.over)
		p.end = p.run.finish()
	})
	p.stderr.finish()
	switch {
	case p.end.lost != "":
		return p.failed(p.end.lost)
	case p.end.signal == syscall.SIGKILL:
		return p.failed("was killed: " + outOfMemory)
	case p.end.signal != 0:
		return p.failed(fmt.Sprintf("was ended by signal %d (%s)", p.end.signal, p.end.signal))
	case p.end.code != 0:
		return p.failed(fmt.Sprintf("ended with exit code %d", p.end.code))
	}
	return nil
}

// outOfMemory is the most frequent cause of a kill that nobody asked for.
const outOfMemory = "it may have run out of memory (addon.jobTemplate.spec.resources.limits, or " +
	"addon.containerRuntimeSettings.resources.limits if that is set)"

// failed returns the error of a program that ended as what says.
func (p *process) failed(what string) error {
	message := p.name() + " " + what
	if lines := p.stderr.text(); lines != "" {
		message += ": " + lines
	}
	return &Error{Message: message}
}

// within waits for the program's end, but no longer than Grace. It reports whether the program ended.
func (p *process) within(ctx context.Context) bool {
	timer := time.NewTimer(p.spec.Grace)
	defer timer.Stop()
	select {
	case <-p.ended:
		return true
	case <-ctx.Done():
	case <-timer.C:
	}
	return false
}

// pipe creates a pipe with as much room as an unprivileged process can have.
func pipe() (r, w *os.File, err error) {
	if r, w, err = os.Pipe(); err != nil {
		return nil, nil, fmt.Errorf("create pipe: %w", err)
	}
	conn, err := w.SyscallConn()
	if err == nil {
		// less room is good enough
		_ = conn.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	}
	return r, w, nil
}

const pipeSize = 1 << 20

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close() // closing a pipe loses nothing
		}
	}
}
