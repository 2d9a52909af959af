package program

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// there runs a program through the Server of another container, which can be hostile. What that one says can fail the
// program, and nothing else: messages are made here, and a program ended well only if the Server says so in time.
type there struct {
	conn  *net.UnixConn
	done  chan struct{} // closed when the program has ended, or nobody can know that any more
	err   error         // why nobody can know, valid once done
	exits chan ending
	kill  sync.Once
	write sync.Mutex
}

// startThere starts a program. It takes over the files.
func startThere(ctx context.Context, spec Spec, files stdio) (runner, error) {
	defer files.close() // the server has its own
	r := request{
		Args: spec.Args, Env: spec.Env, Dir: spec.Dir, Files: spec.Files, FilesDir: spec.FilesDir, Source: spec.Source,
	}
	conn, a, asked, err := converse(ctx, spec, files, r, stateStarted, stateRefused)
	if err != nil && asked {
		err = &askedError{err}
	}
	if err != nil {
		return nil, err
	}
	if a.Refused != nil {
		_ = conn.Close()
		return nil, a.Refused.error(spec)
	}
	_ = conn.SetDeadline(time.Time{})
	t := &there{conn: conn, done: make(chan struct{}), exits: make(chan ending, 1)}
	go t.listen()
	return t, nil
}

// converse sends a request with the files, and returns the connection and the first answer, which must be one of the
// states. With an error it reports whether the server was asked.
func converse(ctx context.Context, spec Spec, files stdio, r request, states ...string) (
	conn *net.UnixConn, a answer, asked bool, err error,
) {
	unanswered := func(err error) error {
		if ctx.Err() != nil {
			return fmt.Errorf("start %s: %w", nameOf(spec), context.Cause(ctx))
		}
		return &Error{Fault: FaultUnanswered, Message: fmt.Sprintf("program %s can't be started: the container that "+
			"runs the programs of the database does not answer (%v)", nameOf(spec), err)}
	}
	patience := spec.Patience
	if patience == 0 {
		patience = defaultPatience
	}
	deadline := time.Now().Add(patience)
	conn, err = dialPatiently(ctx, spec.Socket, deadline)
	if err != nil {
		return nil, answer{}, false, unanswered(err)
	}
	_ = conn.SetDeadline(deadline) // a socket supports deadlines
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	if err = ask(conn, r, files); err == nil {
		a, err = readAnswer(conn, states...)
	}
	if !stop() || err != nil {
		_ = conn.Close()
		return nil, answer{}, true, unanswered(err)
	}
	return conn, a, true, nil
}

// askedError is the error of a server that was asked to start a program, and did not say whether it did.
type askedError struct{ error }

// Unwrap returns what went wrong.
func (e *askedError) Unwrap() error { return e.error }

// MayHaveStarted reports whether a program may run, or have run, although Start or Feed returned this error: the server
// of the other container was asked, and its answer is lost.
func MayHaveStarted(err error) bool { return errors.As(err, new(*askedError)) }

// dialPatiently connects as soon as the server listens.
func dialPatiently(ctx context.Context, socket string, deadline time.Time) (*net.UnixConn, error) {
	const pause = 50 * time.Millisecond
	for {
		conn, err := dial(socket)
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return conn, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// dial connects to the socket itself. The other side can put a symbolic link in its place, which would lead to a socket
// of this container.
func dial(socket string) (*net.UnixConn, error) {
	fd, err := unix.Open(socket, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, fmt.Errorf("look at the socket: %w", err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return nil, errors.New("the file is no socket")
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d", fd)})
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	return conn, nil
}

// ask sends the request, with the files.
func ask(conn *net.UnixConn, r request, files stdio) error {
	var fds []int
	for _, f := range []struct {
		kind string
		file *os.File
	}{{stdioIn, files.in}, {stdioHold, files.hold}, {stdioOut, files.out}, {stdioErr, files.err}} {
		if f.file != nil {
			r.Stdio = append(r.Stdio, f.kind)
			fds = append(fds, int(f.file.Fd())) // makes it blocking, as the program needs it
		}
	}
	n, _, err := conn.WriteMsgUnix([]byte(preamble), unix.UnixRights(fds...), nil)
	if err == nil && n < len(preamble) {
		_, err = conn.Write([]byte(preamble[n:]))
	}
	if err != nil {
		return fmt.Errorf("send files: %w", err)
	}
	return writeFrame(conn, maxRequest, r)
}

// listen reads what the server says until the program is over.
func (t *there) listen() {
	defer func() { _ = t.conn.Close() }()
	_, t.err = readAnswer(t.conn, stateEnded)
	close(t.done)
	if t.err != nil {
		return
	}
	a, err := readAnswer(t.conn, stateExited)
	if err != nil || a.Lost {
		t.exits <- ending{lost: lostEnd}
		return
	}
	t.exits <- ending{code: int(a.Code), signal: syscall.Signal(a.Signal)}
}

// silence is how long a server can keep quiet when it must answer. It is long: a busy node may give a process no time
// for many seconds.
const silence = 10 * time.Second

// lostEnd describes a program about whose end its container says nothing.
const lostEnd = "was lost: its container ended, or broke the connection, before it said how the program ended; " +
	outOfMemory

// command sends a command. One that does not arrive finds out by the answer that does not come.
func (t *there) command(c byte) {
	t.write.Lock()
	defer t.write.Unlock()
	_ = t.conn.SetWriteDeadline(time.Now().Add(silence))
	_, _ = t.conn.Write([]byte{c})
}

func (t *there) ended() <-chan struct{} { return t.done }

// signal passes a signal on. A kill also bounds how long the server can keep quiet.
func (t *there) signal(s syscall.Signal) {
	if s != syscall.SIGKILL {
		t.command(commandTerminate)
		return
	}
	t.kill.Do(func() {
		_ = t.conn.SetReadDeadline(time.Now().Add(silence))
		t.command(commandKill)
	})
}

func (t *there) endInput() { t.command(commandEndInput) }

func (t *there) finish() ending {
	defer func() { _ = t.conn.Close() }()
	if t.err != nil {
		return ending{lost: lostEnd}
	}
	_ = t.conn.SetReadDeadline(time.Now().Add(silence))
	t.command(commandOver)
	return <-t.exits
}

// stdioOf sorts the files that came with a request. They must be those that it names.
func stdioOf(kinds []string, files []*os.File) (stdio, error) {
	var out stdio
	if len(kinds) != len(files) {
		return out, fmt.Errorf("%d files came with a request for %d", len(files), len(kinds))
	}
	places := map[string]**os.File{stdioIn: &out.in, stdioHold: &out.hold, stdioOut: &out.out, stdioErr: &out.err}
	for i, kind := range kinds {
		if places[kind] == nil || slices.Contains(kinds[:i], kind) {
			return stdio{}, errors.New("a file of an unknown kind")
		}
		*places[kind] = files[i]
	}
	return out, nil
}
