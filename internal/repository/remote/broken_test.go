package remote_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/net/webdav"

	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/remote"
)

// TestABrokenConnectionLeavesNothing: a part of a pack has up to 20 MiB, and no later try takes the same name.
func TestABrokenConnectionLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(t *testing.T) (repository.Storage, string){
		"SFTP": brokenSFTP, "WebDAV": brokenWebDAV,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx := NewWithT(t), t.Context()
			s, root := start(t)
			tree, err := remote.Open(s)
			g.Expect(err).NotTo(HaveOccurred())
			defer func() { _ = tree.Close() }()
			data := make([]byte, 4<<20)
			g.Expect(tree.Write(ctx, "p/pack", data, false)).NotTo(Succeed())
			g.Expect(filesBelow(t, root)).To(BeEmpty())
			g.Expect(tree.Write(ctx, "p/pack", data, false)).To(Succeed())
			g.Expect(filesBelow(t, root)).To(Equal([]string{"pack"}))
		})
	}
}

// TestALockIsWaitedFor: a server answers 423 while it moves another file to the same name.
func TestALockIsWaitedFor(t *testing.T) {
	t.Parallel()
	for method, call := range map[string]func(remote.Tree, context.Context) error{
		"MOVE":   func(t remote.Tree, ctx context.Context) error { return t.Write(ctx, "p/a", []byte("x"), true) },
		"PUT":    func(t remote.Tree, ctx context.Context) error { return t.Write(ctx, "p/a", []byte("x"), true) },
		"MKCOL":  func(t remote.Tree, ctx context.Context) error { return t.Write(ctx, "q/a", []byte("x"), false) },
		"DELETE": func(t remote.Tree, ctx context.Context) error { return t.Remove(ctx, "p/c") },
	} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			g, ctx, dir := NewWithT(t), t.Context(), t.TempDir()
			g.Expect(os.Mkdir(filepath.Join(dir, "p"), 0o755)).To(Succeed())
			var asked atomic.Int64
			tree := locking(t, dir, func(r *http.Request, _ http.Handler) bool {
				return r.Method == method && asked.Add(1) < 4
			})
			g.Expect(call(tree, ctx)).To(Succeed())
			g.Expect(asked.Load()).To(BeNumerically(">=", 4))
		})
	}
}

// TestAMoveThatWasDoneIsNotRepeated: with the source gone, a server removes what it has moved.
func TestAMoveThatWasDoneIsNotRepeated(t *testing.T) {
	t.Parallel()
	for name, locked := range map[string]func(r *http.Request) bool{
		"nothing is locked then":       func(*http.Request) bool { return false },
		"the name is locked":           func(r *http.Request) bool { return r.URL.Path == "/a" },
		"the temporary name is locked": func(r *http.Request) bool { return r.URL.Path != "/a" },
	} {
		for _, absent := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, absent: %v", name, absent), func(t *testing.T) {
				t.Parallel()
				g, dir := NewWithT(t), t.TempDir()
				if !absent {
					g.Expect(os.WriteFile(filepath.Join(dir, "a"), []byte("old"), 0o600)).To(Succeed())
				}
				var moves, looks atomic.Int64
				tree := locking(t, dir, func(r *http.Request, server http.Handler) bool {
					if r.Method == "MOVE" && moves.Add(1) == 1 {
						server.ServeHTTP(httptest.NewRecorder(), r)
						return true
					}
					return moves.Load() > 0 && locked(r) && looks.Add(1) == 1
				})
				g.Expect(tree.Write(t.Context(), "a", []byte("new"), absent)).To(Succeed())
				g.Expect(os.ReadFile(filepath.Join(dir, "a"))).To(BeEquivalentTo("new"))
				g.Expect(moves.Load()).To(BeEquivalentTo(1))
			})
		}
	}
}

// TestAMoveThatLosesTheFileFails: what has the name then is another's, also if it is as large.
func TestAMoveThatLosesTheFileFails(t *testing.T) {
	t.Parallel()
	for _, before := range []string{"", "old", "newer"} {
		for _, absent := range []bool{true, false} {
			g, dir := NewWithT(t), t.TempDir()
			if before != "" {
				g.Expect(os.WriteFile(filepath.Join(dir, "a"), []byte(before), 0o600)).To(Succeed())
			}
			tree := locking(t, dir, func(r *http.Request, _ http.Handler) bool {
				return r.Method == "MOVE" && os.Remove(filepath.Join(dir, r.URL.Path)) == nil
			})
			g.Expect(tree.Write(t.Context(), "a", []byte("new"), absent)).To(And(
				MatchError(ContainSubstring("the server said that a is locked, and lost the file")),
				Not(MatchError(fs.ErrNotExist))))
		}
	}
}

// TestAMoveThatNobodyCanCheckFails: a file that can't be read is not known to be there.
func TestAMoveThatNobodyCanCheckFails(t *testing.T) {
	t.Parallel()
	g, dir := NewWithT(t), t.TempDir()
	tree := locking(t, dir, func(r *http.Request, server http.Handler) bool {
		if r.Method == http.MethodGet {
			panic(http.ErrAbortHandler)
		}
		if r.Method == "MOVE" {
			server.ServeHTTP(httptest.NewRecorder(), r)
		}
		return r.Method == "MOVE"
	})
	g.Expect(tree.Write(t.Context(), "a", []byte("new"), false)).NotTo(Succeed())
}

// TestALockThatStaysIsPassing: whoever asked asks again, with the longer waits of its own.
func TestALockThatStaysIsPassing(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	tree := locking(t, t.TempDir(), func(r *http.Request, _ http.Handler) bool {
		return r.Method == http.MethodDelete || r.Method == http.MethodGet
	})
	_, err := tree.Read(t.Context(), "a", 0, -1)
	g.Expect(err).To(MatchError(repository.ErrUnreachable))
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	time.AfterFunc(100*time.Millisecond, func() { cancel(gone) })
	g.Expect(tree.Remove(ctx, "a")).To(MatchError(gone), "it waits no longer than its caller")
}

// locking returns a directory behind a WebDAV server that answers 423 Locked where isLocked reports true.
func locking(t *testing.T, dir string, isLocked func(r *http.Request, server http.Handler) bool) remote.Tree {
	t.Helper()
	handler := &webdav.Handler{FileSystem: webdav.Dir(dir), LockSystem: webdav.NewMemLS()}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isLocked(r, handler) {
			w.WriteHeader(http.StatusLocked)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	tree, err := remote.Open(repository.Storage{WebDAV: &repository.WebDAV{URL: server.URL, Egress: egress.Anywhere()}})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return tree
}

func filesBelow(t *testing.T, root string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, d.Name())
		}
		return err
	})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return names
}

// brokenSFTP is a server whose first connection breaks in the middle of a file.
func brokenSFTP(t *testing.T) (repository.Storage, string) {
	t.Helper()
	g, o := NewWithT(t), enginetest.StartSFTP(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = l.Close() })
	server := fmt.Sprintf("127.0.0.1:%d", o.Port)
	go func() {
		for first := true; ; first = false {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			go through(c, server, first)
		}
	}()
	port := l.Addr().(*net.TCPAddr).Port
	o.KnownHosts = []byte(strings.ReplaceAll(string(o.KnownHosts), fmt.Sprint(o.Port), fmt.Sprint(port)))
	o.Port = port
	return repository.Storage{SFTP: &o}, o.Path
}

func through(c net.Conn, server string, broken bool) {
	defer func() { _ = c.Close() }()
	s, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer func() { _ = s.Close() }()
	go func() {
		_, _ = io.Copy(c, s)
		_ = c.Close()
	}()
	if broken {
		_, _ = io.CopyN(s, c, 2<<20)
		return
	}
	_, _ = io.Copy(s, c)
}

// brokenWebDAV is a server that gets only a part of the first file, and keeps it.
func brokenWebDAV(t *testing.T) (repository.Storage, string) {
	t.Helper()
	dir := t.TempDir()
	handler := &webdav.Handler{FileSystem: webdav.Dir(dir), LockSystem: webdav.NewMemLS()}
	var puts atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := os.Stat(filepath.Join(dir, "p")); err == nil && r.Method == http.MethodPut && puts.Add(1) == 1 {
			r.Body = io.NopCloser(io.MultiReader(io.LimitReader(r.Body, 2<<20), brokenReader{}))
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return repository.Storage{WebDAV: &repository.WebDAV{URL: server.URL, Egress: egress.Anywhere()}}, dir
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("broken") }
