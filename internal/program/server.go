package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// defaultPath is the PATH of programs in an image that sets none.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Server runs programs for a process in another container. It runs one after the other.
type Server struct {
	listener *net.UnixListener
	log      *slog.Logger
}

// Listen makes the socket. The caller must call Serve, which closes it.
func Listen(socket string, log *slog.Logger) (*Server, error) {
	fail := func(err error) (*Server, error) { return nil, fmt.Errorf("listen at %s: %w", socket, err) }
	// A container that ended leaves its socket behind.
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fail(err)
	}
	dir, err := os.Open(filepath.Dir(socket)) // the path of a socket must be short
	if err != nil {
		return fail(err)
	}
	defer closeAll(dir)
	name := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(socket))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: name})
	if err != nil {
		return fail(err)
	}
	l.SetUnlinkOnClose(false) // the name is that of a directory that is closed
	return &Server{listener: l, log: log}, nil
}

// Serve runs programs until ctx ends. Then it kills the one that runs.
func (s *Server) Serve(ctx context.Context) error {
	var current sync.Mutex
	var conn *net.UnixConn
	stop := context.AfterFunc(ctx, func() {
		_ = s.listener.Close()
		current.Lock()
		defer current.Unlock()
		if conn != nil {
			_ = conn.SetDeadline(time.Unix(1, 0))
		}
	})
	defer stop()
	for {
		next, err := s.listener.AcceptUnix()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept a connection: %w", err)
		}
		current.Lock()
		conn = next
		if ctx.Err() != nil {
			_ = conn.SetDeadline(time.Unix(1, 0))
		}
		current.Unlock()
		if err := s.handle(next); err != nil {
			s.log.Warn("request", "error", err)
		}
		_ = next.Close()
	}
}

// handle runs the program of one connection.
func (s *Server) handle(conn *net.UnixConn) error {
	r, files, err := receive(conn)
	if err != nil {
		files.close()
		return err
	}
	if r.Look {
		return answerLook(conn, r)
	}
	spec := Spec{Args: r.Args, Env: r.Env, Dir: r.Dir, Files: r.Files, FilesDir: r.FilesDir, Source: r.Source}
	if !slices.ContainsFunc(spec.Env, func(e string) bool { return strings.HasPrefix(e, "PATH=") }) {
		path := os.Getenv("PATH")
		if path == "" {
			path = defaultPath
		}
		spec.Env = append(spec.Env, "PATH="+path)
	}
	run, refused := launch(spec, files)
	if refused != nil {
		return writeFrame(conn, maxAnswer, answer{State: stateRefused, Refused: refused})
	}
	s.log.Info("started a program", "program", nameOf(spec))
	over := make(chan bool, 1)
	go func() { over <- obey(conn, run) }()
	started := writeFrame(conn, maxAnswer, answer{State: stateStarted})
	<-run.ended()
	told := errors.Join(started, writeFrame(conn, maxAnswer, answer{State: stateEnded}))
	asked := <-over
	end := run.finish()
	if !asked || told != nil {
		return told
	}
	return writeFrame(conn, maxAnswer, answer{
		State: stateExited, Code: uint8(end.code), Signal: uint8(end.signal), Lost: end.lost != "",
	})
}

// answerLook says whether a program could be started.
func answerLook(conn io.Writer, r request) error {
	a := answer{State: stateFound}
	if a.Refused = look(Spec{Args: r.Args, Dir: r.Dir}); a.Refused != nil {
		a.State = stateRefused
	}
	return writeFrame(conn, maxAnswer, a)
}

// obey does what the client says. It reports whether the client wants to know how the program ended. If the client is
// gone, it kills the program before the program could see the end of its input.
func obey(conn io.Reader, run runner) bool {
	b := make([]byte, 1)
	for {
		if _, err := io.ReadFull(conn, b); err != nil {
			run.signal(syscall.SIGKILL)
			return false
		}
		switch b[0] {
		case commandTerminate:
			run.signal(syscall.SIGTERM)
		case commandKill:
			run.signal(syscall.SIGKILL)
		case commandEndInput:
			run.endInput()
		case commandOver:
			return true
		default:
			run.signal(syscall.SIGKILL)
			return false
		}
	}
}

// receiveTimeout is how long a client can take to say what it wants.
const receiveTimeout = 30 * time.Second

// receive reads a request with its files.
func receive(conn *net.UnixConn) (request, stdio, error) {
	_ = conn.SetReadDeadline(time.Now().Add(receiveTimeout))
	first, rights := make([]byte, len(preamble)), make([]byte, unix.CmsgSpace(maxFiles*4))
	n, m, flags, _, err := conn.ReadMsgUnix(first, rights)
	files := received(rights[:max(m, 0)])
	fail := func(err error) (request, stdio, error) {
		closeAll(files...)
		return request{}, stdio{}, err
	}
	if err != nil {
		return fail(fmt.Errorf("receive files: %w", err))
	}
	if _, err = io.ReadFull(conn, first[n:]); err != nil {
		return fail(fmt.Errorf("receive preamble: %w", err))
	}
	if string(first) != preamble || flags&unix.MSG_CTRUNC != 0 {
		return fail(errors.New("a client of another version"))
	}
	r, err := readRequest(conn)
	if err != nil {
		return fail(err)
	}
	out, err := stdioOf(r.Stdio, files)
	if err != nil {
		return fail(err)
	}
	_ = conn.SetReadDeadline(time.Time{})
	return r, out, nil
}

// received returns the files in a control message.
func received(rights []byte) []*os.File {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil
	}
	var files []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files
}
