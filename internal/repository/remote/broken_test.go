package remote_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/net/webdav"

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
	return repository.Storage{WebDAV: &repository.WebDAV{URL: server.URL}}, dir
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("broken") }
