package source

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/fluxcd/pkg/gittestserver"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/gitstore"
)

const (
	user     = "policy"
	password = "CANARY/with+odd chars"
)

// anywhere connects to this machine too.
var anywhere = egress.Anywhere()

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard)          // the test server logs every request
	_ = flag.Set("test.parallel", "8") // the default of -parallel: most of a test is waiting for git
	flag.Parse()
	for k, v := range map[string]string{
		"GIT_CONFIG_GLOBAL": os.DevNull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
		"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t",
		// No server does housekeeping during a push.
		"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "receive.autogc", "GIT_CONFIG_VALUE_0": "false",
		"TMPDIR": tempDir(),
	} {
		_ = os.Setenv(k, v)
	}
	os.Exit(m.Run())
}

// tempDir is in memory if there is room: a push creates and deletes dozens of files.
func tempDir() string {
	const shm, room = "/dev/shm", 2 << 30
	var fs syscall.Statfs_t
	if os.Getenv("TMPDIR") != "" || syscall.Statfs(shm, &fs) != nil || fs.Bavail*uint64(fs.Bsize) < room {
		return os.TempDir()
	}
	return shm
}

// server is a real Git server, over HTTP with a password and over SSH, with one bare repository and a work tree to
// fill it from.
type server struct {
	*gittestserver.GitServer
	t         testing.TB
	bare      string
	work      string
	keys      string
	mu        sync.Mutex
	requests  []string
	intercept func(http.ResponseWriter, *http.Request) bool // true: answered
}

func newServer(t testing.TB) *server {
	t.Helper()
	root := t.TempDir()
	s := &server{
		GitServer: gittestserver.NewGitServer(root), t: t,
		bare: filepath.Join(root, "repo.git"), keys: filepath.Join(t.TempDir(), "keys"),
	}
	s.run(root, "init", "-q", "--bare", "-b", "main", s.bare)
	s.startOver(t)
	s.Auth(user, password)
	s.KeyDir(s.keys)
	s.AddHTTPMiddlewares(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.mu.Lock()
			s.requests = append(s.requests, r.Method+" "+r.URL.Path)
			intercept := s.intercept
			s.mu.Unlock()
			if intercept == nil || !intercept(w, r) {
				next.ServeHTTP(w, r)
			}
		})
	})
	if err := s.StartHTTP(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.StopHTTP)
	return s
}

// startOver gives the rest of the test an empty work tree, whose commits replace what main was.
func (s *server) startOver(t testing.TB) {
	t.Helper()
	s.t, s.work = t, t.TempDir()
	s.run(s.work, "init", "-q", "-b", "main")
	s.run(s.work, "remote", "add", "origin", s.bare)
}

func (s *server) run(dir string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command("git", args...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("git %v: %v\n%s", args, err, errs.String())
	}
	return strings.TrimSpace(out.String())
}

// write puts files into the work tree. Content that starts with "-> " is a link.
func (s *server) write(files map[string]string) {
	s.t.Helper()
	for name, content := range files {
		path := filepath.Join(s.work, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if target, link := strings.CutPrefix(content, "-> "); err == nil && link {
			err = os.Symlink(target, path)
		} else if err == nil {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// commit pushes the work tree to main and returns the commit.
func (s *server) commit(files map[string]string) string {
	s.t.Helper()
	s.write(files)
	s.run(s.work, "add", "-A")
	s.run(s.work, "commit", "-q", "--allow-empty", "-m", "x")
	s.run(s.work, "push", "-q", "-f", "origin", "HEAD:refs/heads/main")
	return s.run(s.work, "rev-parse", "HEAD")
}

func (s *server) url() string { return s.HTTPAddress() + "/repo.git" }

func (s *server) auth() Auth {
	return Auth{Username: user, Password: password, AllowPlainHTTP: true, Network: anywhere}
}

// takeRequests returns the requests since its last call.
func (s *server) takeRequests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.requests
	s.requests = nil
	return out
}

func (s *server) answer(f func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = f
}

// ssh serves the repository over SSH too.
func (s *server) ssh() (string, Auth) {
	s.t.Helper()
	if err := s.ListenSSH(); err != nil {
		s.t.Fatal(err)
	}
	go func() { _ = s.StartSSH() }()
	s.t.Cleanup(func() { _ = s.StopSSH() })
	// The test server can't be stopped before it serves: wait for its greeting.
	c, err := net.Dial("tcp", strings.TrimPrefix(s.SSHAddress(), "ssh://git@"))
	if err == nil {
		_, err = io.ReadFull(c, make([]byte, len("SSH-2.0-")))
		_ = c.Close()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(s.keys, "*"))
	if err != nil {
		s.t.Fatal(err)
	}
	var known string
	for _, f := range files {
		raw, _ := os.ReadFile(f)
		if key, err := ssh.ParsePrivateKey(raw); err == nil {
			known += knownhosts.Line([]string{strings.TrimPrefix(s.SSHAddress(), "ssh://git@")}, key.PublicKey()) + "\n"
		}
	}
	return s.SSHAddress() + "/repo.git", Auth{
		Identity: newKey(s.t), KnownHosts: []byte(known), Network: anywhere,
	}
}

func newKey(t testing.TB) gitstore.Secret {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	return gitstore.Secret(pem.EncodeToMemory(block))
}

// content reads a directory in the form of write. An executable file has a leading "#!", which the tests need and git
// add ignores.
func content(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, p)
		if d.Type() == os.ModeSymlink {
			target, err := os.Readlink(p)
			out[name] = "-> " + target
			return err
		}
		raw, err := os.ReadFile(p)
		out[name] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
