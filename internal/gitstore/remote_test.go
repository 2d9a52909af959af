package gitstore

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fluxcd/pkg/gittestserver"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

const (
	user     = "ledger"
	password = "s3cr3t/with+odd chars"
	branch   = "backup-records"
	records  = "clusters/c1/records"
)

var when = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

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

// tempDir is in memory if there is room: a push of a small commit creates and deletes dozens of files, which costs a
// disk more than everything else. Benchmarks use the disk.
func tempDir() string {
	const shm, room = "/dev/shm", 1 << 30
	var fs syscall.Statfs_t
	measured := flag.Lookup("test.bench").Value.String() != ""
	if measured || os.Getenv("TMPDIR") != "" || syscall.Statfs(shm, &fs) != nil ||
		fs.Bavail*uint64(fs.Bsize) < room {
		return os.TempDir()
	}
	return shm
}

// remote is a real Git server with one bare repository.
type remote struct {
	*gittestserver.GitServer
	t    testing.TB
	repo string
	ssh  Options // how to reach it over SSH
}

type serverOption func(*remote)

func withMiddleware(m func(http.Handler) http.Handler) serverOption {
	return func(r *remote) { r.AddHTTPMiddlewares(m) }
}

// withConfig sets configuration of the served repository.
func withConfig(kv ...string) serverOption {
	return func(r *remote) {
		for _, s := range kv {
			k, v, _ := strings.Cut(s, "=")
			r.git("config", k, v)
		}
	}
}

var (
	blobless = withConfig("uploadpack.allowFilter=true")
	lazyAll  = withConfig("uploadpack.allowFilter=true", "uploadpack.allowAnySHA1InWant=true")
)

func newRemote(t testing.TB, opts ...serverOption) *remote {
	t.Helper()
	r := prepared(t)
	run(t, "/", "git", "init", "-q", "--bare", r.repo)
	r.start(opts)
	return r
}

// copyOf is a separate server with the content of r. The copy of a store's directory at dir is a store of that
// server.
func (r *remote) copyOf(t testing.TB, dir string) (_ *remote, copied string) {
	t.Helper()
	c := prepared(t)
	if err := os.CopyFS(c.repo, os.DirFS(r.repo)); err != nil {
		t.Fatal(err)
	}
	c.start(nil)
	copied = filepath.Join(t.TempDir(), "store")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(copied, stateName)
	raw, err := os.ReadFile(state)
	if err == nil {
		err = os.WriteFile(state, bytes.ReplaceAll(raw, []byte(r.HTTPAddress()), []byte(c.HTTPAddress())), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c, copied
}

func prepared(t testing.TB) *remote {
	t.Helper()
	root := t.TempDir()
	r := &remote{GitServer: gittestserver.NewGitServer(root), t: t, repo: filepath.Join(root, "repo.git")}
	r.Auth(user, password)
	r.KeyDir(filepath.Join(t.TempDir(), "keys"))
	return r
}

func (r *remote) start(opts []serverOption) {
	r.t.Helper()
	for _, o := range opts {
		o(r)
	}
	if err := r.StartHTTP(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(r.StopHTTP)
}

// startSSH serves the same repository over SSH.
func (r *remote) startSSH() {
	r.t.Helper()
	if err := r.ListenSSH(); err != nil {
		r.t.Fatal(err)
	}
	go func() { _ = r.StartSSH() }()
	r.t.Cleanup(func() { _ = r.StopSSH() })
	greet(r.t, strings.TrimPrefix(r.SSHAddress(), "ssh://git@"))
	keys, err := filepath.Glob(filepath.Join(r.keyDir(), "*"))
	if err != nil || len(keys) == 0 {
		r.t.Fatal("no host key", err)
	}
	var host ssh.Signer
	for _, k := range keys {
		raw, _ := os.ReadFile(k)
		if s, err := ssh.ParsePrivateKey(raw); err == nil {
			host = s
		}
	}
	addr := strings.TrimPrefix(r.SSHAddress(), "ssh://git@")
	r.ssh = Options{
		URL: r.SSHAddress() + "/repo.git",
		Auth: Auth{Network: anywhere{}, Identity: newSSHKey(r.t), KnownHosts: []byte(
			knownhosts.Line([]string{addr}, host.PublicKey()) + "\n")},
	}
}

// greet waits for an SSH server, because the test server can't be stopped before it serves.
func greet(t testing.TB, addr string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err == nil {
		defer func() { _ = c.Close() }()
		_, err = io.ReadFull(c, make([]byte, len("SSH-2.0-")))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (r *remote) keyDir() string {
	dirs, _ := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(r.repo)), "*", "keys"))
	return dirs[0]
}

func (r *remote) git(args ...string) string {
	r.t.Helper()
	return run(r.t, r.repo, "git", args...)
}

func (r *remote) hook(name, script string) {
	r.t.Helper()
	path := filepath.Join(r.repo, "hooks", name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		r.t.Fatal(err)
	}
}

func (r *remote) tip() string {
	out, _ := exec.Command("git", "-C", r.repo, "rev-parse", "-q", "--verify", "refs/heads/"+branch).Output()
	return strings.TrimSpace(string(out))
}

// check is the whole-store checker that ends most tests: fsck is silent, the history is one line, and exactly these
// files exist.
func (r *remote) check(g *WithT, want map[string]string) {
	r.t.Helper()
	g.Expect(r.git("fsck", "--full", "--strict", "--no-dangling")).To(BeEmpty())
	if r.tip() == "" {
		g.Expect(want).To(BeEmpty())
		return
	}
	for _, line := range lines(r.git("rev-list", "--parents", branch)) {
		g.Expect(len(strings.Fields(line))).To(BeNumerically("<=", 2), "merge commit %s", line)
	}
	g.Expect(lines(r.git("-c", "core.quotePath=false", "ls-tree", "-r", "--name-only", branch))).
		To(ConsistOf(keys(want)))
	paths := keys(want)
	for i, content := range r.contents(paths) {
		g.Expect(content).To(Equal(want[paths[i]]), paths[i])
	}
}

// contents reads files of the branch, all with one process.
func (r *remote) contents(paths []string) []string {
	r.t.Helper()
	var names strings.Builder
	for _, p := range paths {
		names.WriteString(branch + ":" + p + "\n")
	}
	out := runInput(r.t, r.repo, strings.NewReader(names.String()), "git", "cat-file",
		"--batch=%(objecttype) %(objectsize)")
	var all []string
	for range paths {
		header, rest, _ := strings.Cut(out, "\n")
		var size int
		if _, err := fmt.Sscanf(header, "blob %d", &size); err != nil {
			r.t.Fatalf("git cat-file says %q: %v", header, err)
		}
		all, out = append(all, rest[:size]), rest[size+1:]
	}
	return all
}

func (r *remote) options(t testing.TB) Options {
	return Options{
		Dir: t.TempDir(), URL: r.HTTPAddress() + "/repo.git", Branch: branch,
		Auth:       Auth{Username: user, Password: password, AllowPlainHTTP: true, Network: anywhere{}},
		AppendOnly: []string{records},
	}
}

func (r *remote) open(t testing.TB, change ...func(*Options)) *Store {
	t.Helper()
	o := r.options(t)
	for _, c := range change {
		c(&o)
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// put returns an EditFunc that writes files.
func put(files map[string]string) EditFunc {
	return func(context.Context, Reader) ([]Edit, Meta, error) {
		var edits []Edit
		for p, c := range files {
			edits = append(edits, Put(p, []byte(c)))
		}
		return edits, Meta{Author: "cairn", AuthorEmail: "cairn@example.com", Message: "record", When: when}, nil
	}
}

func record(i int) string {
	return fmt.Sprintf("%s/ns/app/2026/%02d/%02d/s-%d.yaml", records, i%12+1, i%28+1, i)
}

// knownHost is a line for a host whose key nobody has.
func knownHost(t testing.TB, addr string) string {
	t.Helper()
	key, err := ssh.ParsePrivateKey([]byte(newSSHKey(t)))
	if err != nil {
		t.Fatal(err)
	}
	return knownhosts.Line([]string{addr}, key.PublicKey()) + "\n"
}

func newSSHKey(t testing.TB) Secret {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	return Secret(pem.EncodeToMemory(block))
}

func run(t testing.TB, dir, name string, args ...string) string {
	t.Helper()
	return runInput(t, dir, nil, name, args...)
}

func runInput(t testing.TB, dir string, in io.Reader, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, in, &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, out.String(), errs.String())
	}
	return out.String()
}

func lines(s string) []string {
	if s = strings.TrimRight(s, "\n"); s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

func keys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}
