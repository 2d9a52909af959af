package program_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/program"
)

// takenOver is a server whose container an attacker has. It has the files of the program: in, hold, out, err, as far as
// they came.
type takenOver struct {
	t     *testing.T
	conn  *net.UnixConn
	files []*os.File
}

// takeOver answers one connection at a socket with f. The returned spec connects to it.
func takeOver(t *testing.T, f func(s takenOver)) program.Spec {
	t.Helper()
	g := NewWithT(t)
	dir, err := os.MkdirTemp("", "s") // the path of a socket must be short
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: socket})
	g.Expect(err).NotTo(HaveOccurred())
	done := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-done })
	go func() {
		defer close(done)
		conn, err := l.AcceptUnix()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		s := takenOver{t: t, conn: conn}
		data, rights := make([]byte, 1<<16), make([]byte, 1024)
		_, n, _, _, err := conn.ReadMsgUnix(data, rights)
		if err != nil {
			t.Errorf("receive: %v", err)
			return
		}
		messages, _ := unix.ParseSocketControlMessage(rights[:n])
		for i := range messages {
			fds, _ := unix.ParseUnixRights(&messages[i])
			for _, fd := range fds {
				s.files = append(s.files, os.NewFile(uintptr(fd), "got"))
			}
		}
		_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)) // the rest of the request
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.SetReadDeadline(time.Time{})
		f(s)
		for _, file := range s.files {
			_ = file.Close()
		}
	}()
	return program.Spec{
		Args: []string{"/bin/sh", "-c", ":"}, Socket: socket, Grace: time.Second, Patience: 20 * time.Second,
	}
}

// say sends frames. A text without a brace is sent as it is.
func (s takenOver) say(frames ...string) {
	for _, f := range frames {
		b := []byte(f)
		if strings.HasPrefix(f, "{") {
			b = append(binary.BigEndian.AppendUint32(nil, uint32(len(f))), f...)
		}
		_, _ = s.conn.Write(b) // a client that has enough closes the connection
	}
}

// wait returns when the client closes the connection.
func (s takenOver) wait() { _, _ = io.Copy(io.Discard, s.conn) }

const (
	isStarted = `{"state":"started"}`
	isEnded   = `{"state":"ended"}`
	isGood    = `{"state":"exited"}`
)

// TestATakenOverContainerCanOnlyFailADump: whatever it says, a dump counts only with the whole conversation, and no
// other text than the program's own messages gets into the error.
func TestATakenOverContainerCanOnlyFailADump(t *testing.T) {
	lost := "sh was lost: its container ended, or broke the connection"
	for name, tc := range map[string]struct {
		does func(s takenOver)
		says string
	}{
		"no answer": {func(takenOver) {}, "does not answer"},
		"no protocol": {func(s takenOver) {
			s.say("HTTP/1.1 200 OK\r\n\r\n")
		}, "does not answer"},
		"a frame of 4 GiB": {func(s takenOver) {
			s.say("\xff\xff\xff\xff")
			s.wait()
		}, "does not answer"},
		"a frame of 5 KiB": {func(s takenOver) {
			s.say(`{"state":"` + strings.Repeat("x", 5<<10) + `"}`)
		}, "does not answer"},
		"an unknown field": {func(s takenOver) {
			s.say(`{"state":"started","run":"rm"}`)
		}, "does not answer"},
		"two values": {func(s takenOver) {
			s.say(isStarted + isStarted)
		}, "does not answer"},
		"ended before it started": {func(s takenOver) {
			s.say(isEnded)
		}, "does not answer"},
		"exited before it started": {func(s takenOver) {
			s.say(isGood)
		}, "does not answer"},
		"refused, and started": {func(s takenOver) {
			s.say(`{"state":"started","refused":{"fault":"missing"}}`)
		}, "does not answer"},
		"refused without a reason": {func(s takenOver) {
			s.say(`{"state":"refused"}`)
		}, "does not answer"},
		"refused for words": {func(s takenOver) {
			s.say(`{"state":"refused","refused":{"fault":"<b>pay</b>"}}`)
		}, "program sh can't be started"},
		"refused for a file": {func(s takenOver) {
			s.say(`{"state":"refused","refused":{"fault":"file","file":7}}`)
		}, "program sh can't be started"},
		"refused for a negative": {func(s takenOver) {
			s.say(`{"state":"refused","refused":{"fault":"file","file":-1}}`)
		}, "program sh can't be started"},
		"data, and no word": {func(s takenOver) {
			s.say(isStarted)
			s.write("data")
		}, lost},
		"data, and ended": {func(s takenOver) {
			s.say(isStarted)
			s.write("data")
			s.say(isEnded)
		}, lost},
		"exited without an end": {func(s takenOver) {
			s.say(isStarted)
			s.write("data")
			s.say(isGood)
		}, lost},
		"an exit code of 256": {func(s takenOver) {
			s.say(isStarted)
			s.write("data")
			s.say(isEnded, `{"state":"exited","code":256}`)
		}, lost},
		"an exit code of -1": {func(s takenOver) {
			s.say(isStarted)
			s.write("data")
			s.say(isEnded, `{"state":"exited","code":-1}`)
		}, lost},
		"a signal that is none": {func(s takenOver) {
			s.say(isStarted)
			s.write("data")
			s.say(isEnded, `{"state":"exited","signal":99}`)
		}, lost},
		"an end that is not known": {func(s takenOver) {
			s.say(isStarted)
			s.write("data")
			s.say(isEnded, `{"state":"exited","lost":true}`)
		}, lost},
		"an exit code": {func(s takenOver) {
			s.say(isStarted)
			s.write("data")
			s.say(isEnded, `{"state":"exited","code":3}`)
			s.wait()
		}, "sh ended with exit code 3"},
		"an exit code as the end": {func(s takenOver) {
			s.say(isStarted)
			s.write("data")
			s.say(`{"state":"ended","code":0,"signal":9}`)
			s.wait()
		}, lost},
		"the output is held open": {func(s takenOver) {
			s.say(isStarted)
			_, _ = s.files[0].WriteString("data")
			s.say(isEnded, isGood)
			<-s.t.Context().Done()
		}, "left a process behind"},
		"no word after the output": {func(s takenOver) {
			s.say(isStarted)
			s.write("data")
			s.wait()
		}, "sh closed its output, but did not end"},
		"endless errors": {func(s takenOver) {
			s.say(isStarted)
			s.flood()
			s.say(isEnded, `{"state":"exited","code":1}`)
			s.wait()
		}, "sh ended with exit code 1: flood"},
		"no output, and a good end": {func(s takenOver) {
			s.say(isStarted)
			s.write("")
			s.say(isEnded, isGood)
			s.wait()
		}, "wrote nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			began := time.Now()
			_, err := read(t.Context(), takeOver(t, tc.does))
			g.Expect(err).To(MatchError(ContainSubstring(tc.says)))
			g.Expect(err.Error()).NotTo(ContainSubstring("pay"))
			g.Expect(len(err.Error())).To(BeNumerically("<", 1500))
			g.Expect(time.Since(began)).To(BeNumerically("<", time.Minute))
		})
	}
}

// write writes the output of the program, and ends it.
func (s takenOver) write(data string) {
	_, _ = s.files[0].WriteString(data)
	for _, f := range s.files {
		_ = f.Close()
	}
}

// flood writes messages as long as somebody reads.
func (s takenOver) flood() {
	_, _ = s.files[0].WriteString("data")
	_ = s.files[0].Close()
	line := []byte(strings.Repeat("flood\n", 10_000))
	for end := time.Now().Add(50 * time.Millisecond); time.Now().Before(end); {
		if _, err := s.files[1].Write(line); err != nil {
			return
		}
	}
	go func() { // goes on after the end
		for {
			if _, err := s.files[1].Write(line); err != nil {
				return
			}
		}
	}()
}

// TestATakenOverContainerCanOnlyFailARestore: it can say that all was read when nothing was.
func TestATakenOverContainerCanOnlyFailARestore(t *testing.T) {
	for name, tc := range map[string]struct {
		does func(s takenOver)
		says string
	}{
		"it reads nothing, and says it did": {
			func(s takenOver) { s.say(isStarted, isEnded, isGood); s.wait() }, "before it had read everything",
		},
		"it reads nothing, and closes the input": {
			func(s takenOver) { s.say(isStarted, isEnded, isGood); s.write(""); s.wait() },
			"before it had read everything",
		},
		"it goes without a word": {func(s takenOver) {
			s.say(isStarted)
		}, "sh was lost"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			in, err := program.Feed(t.Context(), takeOver(t, tc.does))
			g.Expect(err).NotTo(HaveOccurred())
			defer in.Close()
			_, err = in.Write(bytes.Repeat([]byte("x"), 100))
			if err == nil {
				err = in.Finish()
			}
			g.Expect(err).To(MatchError(ContainSubstring(tc.says)))
		})
	}
}

// TestATakenOverContainerCannotHoldTheMover: it answers neither a stop nor a kill, and holds everything open.
func TestATakenOverContainerCannotHoldTheMover(t *testing.T) {
	g := NewWithT(t)
	ctx, cancel := context.WithCancel(t.Context())
	in, err := program.Feed(ctx, takeOver(t, func(s takenOver) { s.say(isStarted); s.wait() }))
	g.Expect(err).NotTo(HaveOccurred())
	out, err := program.Start(ctx, takeOver(t, func(s takenOver) { s.say(isStarted); s.wait() }))
	g.Expect(err).NotTo(HaveOccurred())
	cancel()
	_, err = out.Read(make([]byte, 1))
	g.Expect(err).To(MatchError(context.Canceled))
	done := make(chan struct{})
	go func() { out.Close(); in.Close(); close(done) }()
	g.Eventually(done).WithTimeout(time.Minute).Should(BeClosed(), "Close returns in a bounded time")
}

// TestTheSocketIsNoOtherFile: the other side can put anything in the place of the socket, such as a link to a socket of
// the mover's own container.
func TestTheSocketIsNoOtherFile(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	socket := serve(t)
	for name, make := range map[string]func(path string) error{
		"a symbolic link": func(path string) error { return os.Symlink(socket, path) },
		"a file":          func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"a FIFO":          func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a directory":     func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		spec := script("echo data")
		spec.Socket, spec.Patience = filepath.Join(dir, name), 200*time.Millisecond
		g.Expect(make(spec.Socket)).To(Succeed())
		_, err := read(t.Context(), spec)
		g.Expect(err).To(MatchError(ContainSubstring("the file is no socket")), name)
	}
}
