package program

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Spec says what to run.
type Spec struct {
	// Args are the program, which is looked up in this process' PATH, and its arguments.
	Args []string
	// Env is its complete environment.
	Env []string
	// Dir is its working directory.
	Dir string
	// Scrub removes secrets from a line of the program's standard error. Nil removes nothing.
	Scrub func(line string) string
	// Grace is how long the program can go on when its work must be over: its output is closed but it has not ended,
	// it has ended but its output is not closed, or it was told to stop. 0 means defaultGrace.
	Grace time.Duration
}

// defaultGrace leaves a mover, which has 45 s to end, enough time to save what was done.
const defaultGrace = 10 * time.Second

// Error is the bad end of a program. Its text contains what Scrub left of the last lines of the program's standard
// error.
type Error struct {
	// Message says how the program ended.
	Message string
	// Empty says that the program ended well but wrote nothing at all.
	Empty bool
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// process is a started program.
type process struct {
	spec   Spec
	cmd    *exec.Cmd
	stderr *tail
	ended  chan struct{} // closed when the program has ended; its process stays a zombie until over
	over   chan struct{} // closed when nobody needs its process group any longer
	reaped chan struct{} // closed when it and its group are gone
	once   sync.Once
	state  error // result of Wait, valid once reaped
	mu     sync.Mutex
	gone   bool // its group's number can belong to another process now
}

// name returns the name of the program for messages.
func (p *process) name() string { return filepath.Base(p.spec.Args[0]) }

// start starts the program. It takes over both files.
func start(spec Spec, stdin, stdout *os.File) (*process, error) {
	defer closeAll(stdin, stdout) // the program has its own copies
	if spec.Grace == 0 {
		spec.Grace = defaultGrace
	}
	if len(spec.Args) == 0 || spec.Args[0] == "" {
		return nil, &Error{Message: "no program to run"}
	}
	p := &process{spec: spec, ended: make(chan struct{}), over: make(chan struct{}), reaped: make(chan struct{})}
	stderr, err := p.newTail()
	if err != nil {
		return nil, err
	}
	defer closeAll(stderr)
	p.cmd = exec.Command(spec.Args[0],
		spec.Args[1:]...) // stop ends it, together with its group
	// nil would mean this process' own
	p.cmd.Env, p.cmd.Dir, p.cmd.Stderr = append([]string{}, spec.Env...), spec.Dir, stderr
	if stdin != nil {
		p.cmd.Stdin = stdin
	}
	if stdout != nil {
		p.cmd.Stdout = stdout
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, notStarted(p.name(), err)
	}
	return p, nil
}

// run starts the program and waits for it on one thread: the kernel kills the program together with the thread that
// started it.
func (p *process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.reaped)
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	pid := p.cmd.Process.Pid
	for { // without reaping it: while it is a zombie, no other group can have its number
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	close(p.ended)
	<-p.over
	p.mu.Lock()
	p.gone = true
	p.mu.Unlock()
	_ = syscall.Kill(-pid, syscall.SIGKILL) // processes that it left behind
	p.state = p.cmd.Wait()
}

// signal sends a signal to the whole group.
func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, s) // a process that is gone needs no signal
}

// stop ends the program: first with SIGTERM, after Grace with SIGKILL.
func (p *process) stop() {
	p.signal(syscall.SIGTERM)
	if !p.within(context.Background()) {
		p.kill()
	}
}

// kill ends the program and its group at once.
func (p *process) kill() { p.signal(syscall.SIGKILL) }

// reap waits for the program's end, kills what it left behind, and returns how it ended. It returns nil for a good
// end.
func (p *process) reap() error {
	<-p.ended
	p.once.Do(func() { close(p.over) })
	<-p.reaped
	p.stderr.finish()
	var exit *exec.ExitError
	switch {
	case p.state == nil:
		return nil
	case !errors.As(p.state, &exit):
		return p.failed("could not be waited for")
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	if ok && status.Signal() == syscall.SIGKILL {
		return p.failed("was killed: it may have run out of memory (addon.jobTemplate.spec.resources.limits, or " +
			"addon.containerRuntimeSettings.resources.limits if that is set)")
	}
	if ok && status.Signaled() {
		return p.failed(fmt.Sprintf("was ended by signal %d (%s)", status.Signal(), status.Signal()))
	}
	return p.failed(fmt.Sprintf("ended with exit code %d", exit.ExitCode()))
}

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

// notStarted returns why a program did not start. The error contains no argument.
func notStarted(name string, err error) error {
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return &Error{Message: fmt.Sprintf("the image has no program %s", name)}
	case errors.Is(err, fs.ErrPermission):
		return &Error{Message: fmt.Sprintf("program %s is not executable", name)}
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return &Error{Message: fmt.Sprintf("program %s can't be started: %v", name, errno)}
	}
	return &Error{Message: fmt.Sprintf("program %s can't be started", name)}
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
