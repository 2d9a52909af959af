package program

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// here runs a program as a child of this process.
type here struct {
	spec   Spec
	cmd    *exec.Cmd
	hold   *os.File
	exited chan struct{} // closed when the program has ended; its process stays a zombie until over
	over   chan struct{} // closed when nobody needs its process group any longer
	reaped chan struct{} // closed when it and its group are gone
	state  error         // result of Wait, valid once reaped
	mu     sync.Mutex
	gone   bool // its group's number can belong to another process now
}

// startHere starts a program. It takes over the files.
func startHere(spec Spec, files stdio) (runner, error) {
	h, refused := launch(spec, files)
	if refused != nil {
		return nil, refused.error(spec)
	}
	return h, nil
}

// launch starts a program, or says why it did not. It takes over the files.
func launch(spec Spec, files stdio) (*here, *refusal) {
	defer closeAll(files.in, files.out, files.err) // the program has its own copies
	refuse := func(r refusal) (*here, *refusal) {
		closeAll(files.hold)
		return nil, &r
	}
	if fault := sourceFault(spec.Source); fault != "" {
		return refuse(refusal{Fault: fault})
	}
	if r := writeFiles(spec); r != nil {
		return refuse(*r)
	}
	h := &here{
		spec: spec, hold: files.hold,
		exited: make(chan struct{}), over: make(chan struct{}), reaped: make(chan struct{}),
	}
	h.cmd = exec.Command(spec.Args[0], spec.Args[1:]...) // signal ends it, together with its group
	// nil would mean this process' own
	h.cmd.Env, h.cmd.Dir = append([]string{}, spec.Env...), spec.Dir
	if files.in != nil {
		h.cmd.Stdin = files.in
	}
	if files.out != nil {
		h.cmd.Stdout = files.out
	}
	if files.err != nil {
		h.cmd.Stderr = files.err
	}
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go h.run(started)
	if err := <-started; err != nil {
		removeFiles(spec)
		return refuse(notStarted(err))
	}
	return h, nil
}

// run starts the program and waits for it on one thread: the kernel kills the program together with the thread that
// started it.
func (h *here) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(h.reaped)
	err := h.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	pid := h.cmd.Process.Pid
	for { // without reaping it: while it is a zombie, no other group can have its number
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	close(h.exited)
	<-h.over
	h.mu.Lock()
	h.gone = true
	h.mu.Unlock()
	_ = syscall.Kill(-pid, syscall.SIGKILL) // processes that it left behind
	h.state = h.cmd.Wait()
}

func (h *here) ended() <-chan struct{} { return h.exited }

// signal sends a signal to the whole group.
func (h *here) signal(s syscall.Signal) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gone {
		return
	}
	_ = syscall.Kill(-h.cmd.Process.Pid, s) // a process that is gone needs no signal
}

func (h *here) endInput() { closeAll(h.hold) }

func (h *here) finish() ending {
	close(h.over)
	<-h.reaped
	h.endInput()
	removeFiles(h.spec)
	var exit *exec.ExitError
	switch {
	case h.state == nil:
		return ending{}
	case !errors.As(h.state, &exit):
		return ending{lost: "could not be waited for"}
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return ending{signal: status.Signal()}
	}
	return ending{code: exit.ExitCode()}
}

// sourceFault returns a Fault if a program would not find what it reads. Its message is clearer than the program's.
func sourceFault(dir string) Fault {
	if dir == "" {
		return ""
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && len(entries) == 0:
		return FaultSourceMissing
	case err != nil:
		return FaultSourceUnreadable
	}
	return ""
}

// writeFiles writes the files of a program.
func writeFiles(spec Spec) *refusal {
	if spec.FilesDir == "" {
		return nil
	}
	if err := os.MkdirAll(spec.FilesDir, 0o700); err != nil {
		return &refusal{Fault: FaultFiles}
	}
	root, err := os.OpenRoot(spec.FilesDir)
	if err != nil {
		return &refusal{Fault: FaultFiles}
	}
	defer func() { _ = root.Close() }()
	for i, file := range spec.Files {
		if root.WriteFile(file.Name, file.Content, 0o600) != nil {
			removeFiles(spec)
			return &refusal{Fault: FaultFile, File: i}
		}
	}
	return nil
}

// removeFiles removes the files of a program. What can't be removed disappears with the container.
func removeFiles(spec Spec) {
	if spec.FilesDir != "" {
		_ = os.RemoveAll(spec.FilesDir)
	}
}
