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
	// Args are the program, which is looked for in this process' PATH, and its arguments.
	Args []string
	// Env is its whole environment.
	Env []string
	// Dir it runs in.
	Dir string
	// Scrub removes what must not be shown from a line that the program wrote to its standard error. Nil removes nothing.
	Scrub func(line string) string
	// Grace is how long the program may go on when its work must be over: its output is closed but it has not ended, or the
	// other way round, or it was told to stop. 0 is DefaultGrace.
	Grace time.Duration
}

// DefaultGrace leaves a mover, which gets 45 s to end, the time to save what was done.
const DefaultGrace = 10 * time.Second

// Error is how a program ended badly. Its text holds what Scrub left of the last lines of the program's standard error.
type Error struct {
	// Message says it.
	Message string
	// Empty says that the program ended well but wrote nothing at all.
	Empty bool
}

// Error gives the message.
func (e *Error) Error() string { return e.Message }

// process is a program that was started.
type process struct {
	spec   Spec
	cmd    *exec.Cmd
	said   *tail
	ended  chan struct{} // closed when the program ended; its process is kept as a zombie until over
	over   chan struct{} // closed when nobody needs its process group any more
	reaped chan struct{} // closed when it and its group are gone
	once   sync.Once
	state  error // from Wait, once reaped
	mu     sync.Mutex
	gone   bool // the number of its group may be another's
}

// name of the program, as messages have it.
func (p *process) name() string { return filepath.Base(p.spec.Args[0]) }

// start starts the program. It takes both files over.
func start(spec Spec, stdin, stdout *os.File) (*process, error) {
	defer closeAll(stdin, stdout) // the program has its own
	if spec.Grace == 0 {
		spec.Grace = DefaultGrace
	}
	if len(spec.Args) == 0 || spec.Args[0] == "" {
		return nil, &Error{Message: "there is no program to run"}
	}
	p := &process{spec: spec, ended: make(chan struct{}), over: make(chan struct{}), reaped: make(chan struct{})}
	stderr, err := p.newTail()
	if err != nil {
		return nil, err
	}
	defer closeAll(stderr)
	p.cmd = exec.Command(spec.Args[0], spec.Args[1:]...)                                   //nolint:noctx // told to stop by stop, which knows its group
	p.cmd.Env, p.cmd.Dir, p.cmd.Stderr = append([]string{}, spec.Env...), spec.Dir, stderr // nil would be this process' own
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

// run starts the program and waits for it, on one thread: the kernel kills the program with the thread that started it.
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
	for { // without reaping it: as long as it is a zombie the number of its group is nobody else's
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	close(p.ended)
	<-p.over
	p.mu.Lock()
	p.gone = true
	p.mu.Unlock()
	_ = syscall.Kill(-pid, syscall.SIGKILL) // whatever it left behind
	p.state = p.cmd.Wait()
}

// signal tells the whole group.
func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, s) // whoever is gone needs no signal
}

// stop ends the program, kindly at first.
func (p *process) stop() {
	p.signal(syscall.SIGTERM)
	if !p.within(context.Background()) {
		p.kill()
	}
}

// kill ends the program and its group at once.
func (p *process) kill() { p.signal(syscall.SIGKILL) }

// reap waits for the program's end, kills what it left behind, and says how it ended, nil for well.
func (p *process) reap() error {
	<-p.ended
	p.once.Do(func() { close(p.over) })
	<-p.reaped
	p.said.finish()
	var exit *exec.ExitError
	switch {
	case p.state == nil:
		return nil
	case !errors.As(p.state, &exit):
		return p.failed("could not be waited for")
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	if ok && status.Signal() == syscall.SIGKILL {
		return p.failed("was killed: it may have run out of memory (jobTemplate.spec.resources.limits)")
	}
	if ok && status.Signaled() {
		return p.failed(fmt.Sprintf("was ended by signal %d (%s)", status.Signal(), status.Signal()))
	}
	return p.failed(fmt.Sprintf("ended with exit code %d", exit.ExitCode()))
}

// failed is the error of a program that did what is said.
func (p *process) failed(what string) error {
	message := p.name() + " " + what
	if lines := p.said.text(); lines != "" {
		message += ": " + lines
	}
	return &Error{Message: message}
}

// within waits for the program's end, but not longer than its grace. It says whether it came.
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

// notStarted says why a program did not start. No argument is in it.
func notStarted(name string, err error) error {
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return &Error{Message: fmt.Sprintf("the image has no program %s", name)}
	case errors.Is(err, fs.ErrPermission):
		return &Error{Message: fmt.Sprintf("program %s may not be run", name)}
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return &Error{Message: fmt.Sprintf("program %s can't be started: %v", name, errno)}
	}
	return &Error{Message: fmt.Sprintf("program %s can't be started", name)}
}

// pipe makes a pipe with as much room as an unprivileged process may have.
func pipe() (r, w *os.File, err error) {
	if r, w, err = os.Pipe(); err != nil {
		return nil, nil, fmt.Errorf("make pipe: %w", err)
	}
	conn, err := w.SyscallConn()
	if err == nil {
		_ = conn.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) }) // less room will do
	}
	return r, w, nil
}

const pipeSize = 1 << 20

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close() // of a pipe: nothing is lost with it
		}
	}
}
