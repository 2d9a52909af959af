package program_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/program"
)

// place says where a program runs.
type place func(program.Spec) program.Spec

// everywhere runs a test with programs of this process, and with those of a Server.
func everywhere(t *testing.T, name string, f func(t *testing.T, at place)) {
	t.Helper()
	t.Run(strings.TrimPrefix(name+", here", ", "), func(t *testing.T) {
		f(t, func(s program.Spec) program.Spec { return s })
	})
	t.Run(strings.TrimPrefix(name+", in another container", ", "), func(t *testing.T) {
		f(t, func(s program.Spec) program.Spec {
			s.Socket = serve(t)
			return s
		})
	})
}

// serve runs a Server until the test ends, and returns its socket.
func serve(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "socket")
	serveAt(t, socket)
	return socket
}

// serveAt runs a Server at a socket. The returned function ends it.
func serveAt(t *testing.T, socket string) func() {
	t.Helper()
	s, err := program.Listen(socket, slog.New(slog.NewTextHandler(t.Output(), nil)))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	end := func() {
		cancel()
		if err, open := <-done; open && err != nil {
			t.Errorf("the server ended with %v", err)
		}
	}
	ended := false
	once := func() {
		if !ended {
			ended = true
			end()
		}
	}
	t.Cleanup(once)
	return once
}

func TestAServerGivesAProgramWhatItNeeds(t *testing.T) {
	g := NewWithT(t)
	dir := filepath.Join(t.TempDir(), "files")
	spec := program.Spec{
		Socket: serve(t), Args: []string{"sh", "-c", `env; pwd; cat; cat login; stat -c %a . login`},
		Env: []string{"A=b c"}, Dir: dir, FilesDir: dir,
		Files: []program.File{{Name: "login", Content: []byte("user\x00\xff\n")}},
	}
	t.Setenv("PATH", os.Getenv("PATH"))
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
	for range 2 { // one after the other
		wrote, err := read(t.Context(), spec)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(wrote).To(And(ContainSubstring("A=b c\n"), ContainSubstring("PATH="+os.Getenv("PATH")+"\n"),
			ContainSubstring(dir+"\nuser\x00\xff\n700\n600\n"), Not(ContainSubstring("hunter2"))))
		g.Expect(dir).NotTo(BeADirectory(), "the files of a program go with it")
	}
	spec.Env = []string{"PATH=/nowhere"}
	spec.Args = []string{"/bin/sh", "-c", "echo $PATH"}
	g.Expect(read(t.Context(), spec)).To(Equal("/nowhere\n"))
}

func TestAServerSaysWhyAProgramWasNotStarted(t *testing.T) {
	empty, file := t.TempDir(), filepath.Join(t.TempDir(), "file")
	NewWithT(t).Expect(os.WriteFile(file, nil, 0o600)).To(Succeed())
	long := program.Spec{Args: []string{"sh", "-c", ":"}, FilesDir: filepath.Join(t.TempDir(), "files")}
	long.Files = []program.File{{Name: "ok"}, {Name: strings.Repeat("x", 300)}}
	for name, tc := range map[string]struct {
		spec  program.Spec
		fault program.Fault
		says  string
	}{
		"no such program": {
			program.Spec{Args: []string{"pg_dump_of_tomorrow"}},
			program.FaultMissing,
			"the image has no program pg_dump_of_tomorrow",
		},
		"not executable": {
			program.Spec{Args: []string{"/etc/passwd"}}, program.FaultNotExecutable, "program passwd is not executable",
		},
		"too much for the kernel": {
			program.Spec{Args: []string{"/bin/sh", strings.Repeat("x", 200_000)}},
			program.FaultRefused,
			"program sh can't be started: argument list too long",
		},
		"files in a file": {
			program.Spec{Args: []string{"sh"}, FilesDir: file, Files: []program.File{{Name: "f"}}},
			program.FaultFiles, "the directory for the program's files can't be created",
		},
		"a file that can't be written": {
			long, program.FaultFile, "file \"" + strings.Repeat("x", 300) + "\" can't be written",
		},
		"no source": {
			program.Spec{Args: []string{"sh"}, Source: filepath.Join(empty, "x")},
			program.FaultSourceMissing,
			"x is empty",
		},
		"an empty source": {
			program.Spec{Args: []string{"sh"}, Source: empty}, program.FaultSourceMissing, "is empty or missing",
		},
		"a source that is a file": {
			program.Spec{Args: []string{"sh"}, Source: file}, program.FaultSourceUnreadable, "can't be read",
		},
	} {
		everywhere(t, name, func(t *testing.T, at place) {
			t.Parallel()
			g := NewWithT(t)
			_, err := program.Start(t.Context(), at(tc.spec))
			g.Expect(err).To(MatchError(ContainSubstring(tc.says)))
			g.Expect(err).To(HaveField("Fault", tc.fault))
			if tc.spec.FilesDir != file {
				g.Expect(tc.spec.FilesDir).NotTo(BeADirectory())
			}
		})
	}
}

// A container that ended leaves its socket behind, and one that starts has none yet.
func TestAServerThatIsLateIsAwaited(t *testing.T) {
	g := NewWithT(t)
	socket := filepath.Join(t.TempDir(), "socket")
	end := serveAt(t, socket)
	end()
	g.Expect(socket).To(BeAnExistingFile())
	read1 := make(chan error, 1)
	go func() {
		spec := script("echo data")
		spec.Socket = socket
		_, err := read(t.Context(), spec)
		read1 <- err
	}()
	g.Consistently(read1).WithTimeout(200 * time.Millisecond).ShouldNot(Receive())
	serveAt(t, socket)
	g.Eventually(read1).WithTimeout(time.Minute).Should(Receive(BeNil()), "it runs with the next server")

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	spec := script("echo data")
	spec.Socket = filepath.Join(t.TempDir(), "none")
	_, err := program.Start(ctx, spec)
	g.Expect(err).To(MatchError(context.DeadlineExceeded))
	spec.Patience = 100 * time.Millisecond
	_, err = program.Start(t.Context(), spec)
	g.Expect(err).To(And(HaveField("Fault", program.FaultUnanswered), MatchError(ContainSubstring("does not answer"))))
}

// TestAServerThatEndsFailsItsProgram: what was read before proves nothing.
func TestAServerThatEndsFailsItsProgram(t *testing.T) {
	t.Run("a dump", func(t *testing.T) {
		t.Parallel()
		g := NewWithT(t)
		socket := filepath.Join(t.TempDir(), "socket")
		end := serveAt(t, socket)
		spec := script("echo $$; exec sleep 600")
		spec.Socket = socket
		out, err := program.Start(t.Context(), spec)
		g.Expect(err).NotTo(HaveOccurred())
		defer out.Close()
		pid := firstNumber(g, out)
		end()
		g.Expect(gone(pid)).To(BeTrue(), "its program ends with it")
		_, err = io.ReadAll(out)
		g.Expect(err).To(MatchError(ContainSubstring("sh was lost: its container ended")))
	})
	t.Run("a restore", func(t *testing.T) {
		t.Parallel()
		g := NewWithT(t)
		socket := filepath.Join(t.TempDir(), "socket")
		end := serveAt(t, socket)
		spec := script("cat >taken; echo committed >committed")
		spec.Socket, spec.Dir = socket, t.TempDir()
		in, err := program.Feed(t.Context(), spec)
		g.Expect(err).NotTo(HaveOccurred())
		defer in.Close()
		_, err = in.Write([]byte("data"))
		g.Expect(err).NotTo(HaveOccurred())
		end()
		g.Expect(in.Finish()).To(MatchError(ContainSubstring("sh was lost: its container ended")))
		g.Expect(filepath.Join(spec.Dir, "committed")).NotTo(BeAnExistingFile())
	})
}

// TestAnInputWhoseWriterIsKilledDoesNotEnd runs itself as the mover, which is killed in the middle of a restore. The
// program, in another container, must not take what it has for the whole.
func TestAnInputWhoseWriterIsKilledDoesNotEnd(t *testing.T) {
	g := NewWithT(t)
	const variable = "CAIRN_TEST_WRITER"
	if where := os.Getenv(variable); where != "" {
		spec := script("echo $$ >pid; cat >taken; echo committed >committed")
		spec.Socket, spec.Dir = filepath.Join(where, "socket"), where
		in, err := program.Feed(t.Context(), spec)
		g.Expect(err).NotTo(HaveOccurred())
		_, err = in.Write([]byte("a part"))
		g.Expect(err).NotTo(HaveOccurred())
		g.Eventually(func() ([]byte, error) { return os.ReadFile(filepath.Join(where, "taken")) }).
			WithTimeout(time.Minute).Should(BeEquivalentTo("a part"), "the program has it")
		g.Expect(syscall.Kill(os.Getpid(), syscall.SIGKILL)).To(Succeed())
		select {}
	}
	self, err := os.Executable()
	g.Expect(err).NotTo(HaveOccurred())
	for range 5 {
		dir := t.TempDir()
		serveAt(t, filepath.Join(dir, "socket"))
		_, err = read(t.Context(), program.Spec{
			Args: []string{self, "-test.run=^" + t.Name() + "$"},
			Env:  []string{variable + "=" + dir, "PATH=" + os.Getenv("PATH")}, Grace: time.Minute,
		})
		g.Expect(err).To(MatchError(ContainSubstring("was killed")))
		text, err := os.ReadFile(filepath.Join(dir, "pid"))
		g.Expect(err).NotTo(HaveOccurred())
		var pid int
		_, err = fmt.Sscan(string(text), &pid)
		g.Expect(err).NotTo(HaveOccurred())
		g.Eventually(gone).WithArguments(pid).WithTimeout(time.Minute).Should(BeTrue(), "the server kills it")
		g.Expect(filepath.Join(dir, "committed")).NotTo(BeAnExistingFile())
	}
}

// TestAServerRefusesWhatNoClientAsks: another program of the container can connect, too.
func TestAServerRefusesWhatNoClientAsks(t *testing.T) {
	for name, says := range map[string]string{
		"another protocol":      "GET / HTTP/1.1\r\n\r\n0123456789",
		"nothing":               "",
		"a request without end": "cairn program 1\n\x00\x00\x00\xff{",
		"a large request":       "cairn program 1\n\xff\xff\xff\xff{}",
		"no JSON":               "cairn program 1\n\x00\x00\x00\x02xx",
		"no program":            "cairn program 1\n\x00\x00\x00\x02{}",
		"a file that did not come": "cairn program 1\n\x00\x00\x00\x1e" +
			`{"args":["sh"],"stdio":["in"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			socket := serve(t)
			conn := dialTest(t, socket)
			_, err := conn.Write([]byte(says))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(conn.CloseWrite()).To(Succeed())
			answer, _ := io.ReadAll(conn) // the connection can be reset
			g.Expect(answer).To(BeEmpty())
			spec := script("echo data")
			spec.Socket = socket
			g.Expect(read(t.Context(), spec)).To(Equal("data\n"), "the next one is served")
		})
	}
}

// dialTest connects to a socket, however long its path is.
func dialTest(t *testing.T, socket string) *net.UnixConn {
	t.Helper()
	dir, err := os.Open(filepath.Dir(socket))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	defer func() { _ = dir.Close() }()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{
		Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(socket)),
	})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
