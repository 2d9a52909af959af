package gitserver

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"
)

// git runs the machine's git as a client would, without its configuration.
func git(t testing.TB, dir string, env []string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com"}, env...)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func mustGit(t testing.TB, dir string, env []string, args ...string) string {
	t.Helper()
	out, err := git(t, dir, env, args...)
	if err != nil {
		t.Fatalf("git %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

// commit makes a work tree with a commit of size random bytes on branch main.
func commit(t testing.TB, size int) string {
	t.Helper()
	dir := t.TempDir()
	data := make([]byte, size)
	_, _ = rand.Read(data) // it cannot fail
	if err := os.WriteFile(filepath.Join(dir, "file"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	mustGit(t, dir, nil, "init", "--quiet", "--initial-branch=main")
	mustGit(t, dir, nil, "add", "file")
	mustGit(t, dir, nil, "commit", "--quiet", "--message=first")
	return dir
}

func testLog(t testing.TB) *log.Logger {
	t.Helper()
	var b bytes.Buffer
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(b.String())
		}
	})
	return log.New(&b, "", 0)
}

func file(t testing.TB, name, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// startHTTP returns the root of the repositories, a URL with credentials, and
// one without.
func startHTTP(t testing.TB, autoCreate bool) (root, with, without string) {
	t.Helper()
	root = t.TempDir()
	srv := httptest.NewServer(&HTTP{
		Repositories: &Repositories{Dir: root, AutoCreate: autoCreate}, PublicRead: true, Log: testLog(t),
		UsernameFile: file(t, "username", "cairn\n"), PasswordFile: file(t, "password", "p@ss"),
	})
	t.Cleanup(srv.Close)
	return root, strings.Replace(srv.URL, "http://", "http://cairn:p%40ss@", 1), srv.URL
}

func TestPushAndCloneOverHTTP(t *testing.T) {
	for name, size := range map[string]int{
		"a small push in one piece":                     10,
		"a push beyond http.postBuffer, sent in chunks": 3 << 20,
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			root, url, _ := startHTTP(t, true)
			work := commit(t, size)
			mustGit(t, work, nil, "push", url+"/team/repo.git", "main")
			head := mustGit(t, work, nil, "rev-parse", "HEAD")
			g.Expect(mustGit(t, root, nil, "--git-dir=team/repo.git", "rev-parse", "HEAD")).To(Equal(head), "HEAD is main")

			clone := t.TempDir()
			mustGit(t, clone, nil, "clone", "--quiet", url+"/team/repo", ".") // without .git
			g.Expect(mustGit(t, clone, nil, "rev-parse", "HEAD")).To(Equal(head))
		})
	}
}

func TestClonesMayBePartialOrOfOneCommit(t *testing.T) {
	g := NewWithT(t)
	_, url, _ := startHTTP(t, true)
	work := commit(t, 10)
	mustGit(t, work, nil, "push", url+"/r.git", "main")
	head := mustGit(t, work, nil, "rev-parse", "HEAD")
	out := mustGit(t, t.TempDir(), nil, "clone", "--filter=blob:none", "--no-checkout", url+"/r.git", ".")
	g.Expect(out).NotTo(ContainSubstring("filtering not recognized"))
	bare := t.TempDir()
	mustGit(t, bare, nil, "init", "--quiet", "--bare")
	mustGit(t, bare, nil, "fetch", "--quiet", "--depth=1", url+"/r.git", head+":refs/heads/x")
}

func TestForcePushIsAllowed(t *testing.T) {
	_, url, _ := startHTTP(t, true)
	mustGit(t, commit(t, 10), nil, "push", url+"/r.git", "main")
	mustGit(t, commit(t, 10), nil, "push", "--force", url+"/r.git", "main")
}

func TestWhoMayDoWhatOverHTTP(t *testing.T) {
	root, with, without := startHTTP(t, true)
	for _, repo := range []string{"private/r.git", "public/r.git"} {
		mustGit(t, commit(t, 10), nil, "push", with+"/"+repo, "main")
	}
	wrong := strings.Replace(with, "p%40ss", "pass", 1)
	for name, tc := range map[string]struct {
		args []string
		err  string // "" if it is allowed
	}{
		"read public without credentials":   {[]string{"ls-remote", without + "/public/r.git"}, ""},
		"read private without credentials":  {[]string{"ls-remote", without + "/private/r.git"}, "could not read Username"},
		"read private, wrong password":      {[]string{"ls-remote", wrong + "/private/r.git"}, "Authentication failed"},
		"push to public without":            {[]string{"push", without + "/public/r.git", "main"}, "could not read Username"},
		"create below public without":       {[]string{"push", without + "/public/new.git", "main"}, "could not read Username"},
		"read what is not there":            {[]string{"ls-remote", with + "/private/none.git"}, "not found"},
		"read what is not there, as nobody": {[]string{"ls-remote", without + "/private/none.git"}, "could not read Username"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			out, err := git(t, commit(t, 10), nil, tc.args...)
			if tc.err == "" {
				g.Expect(err).NotTo(HaveOccurred(), out)
				return
			}
			g.Expect(err).To(HaveOccurred())
			g.Expect(out).To(ContainSubstring(tc.err))
		})
	}
	NewWithT(t).Expect(filepath.Join(root, "public/new.git")).NotTo(BeADirectory())
}

func TestNothingIsCreatedUnlessAsked(t *testing.T) {
	g := NewWithT(t)
	root, url, _ := startHTTP(t, false)
	out, err := git(t, commit(t, 10), nil, "push", url+"/r.git", "main")
	g.Expect(err).To(HaveOccurred())
	g.Expect(out).To(ContainSubstring("not found"))
	g.Expect(os.ReadDir(root)).To(BeEmpty())
}

func TestHealthAndTheDumbProtocol(t *testing.T) {
	for path, want := range map[string]int{
		"/healthz":              http.StatusOK,
		"/r.git/info/refs":      http.StatusForbidden,
		"/r.git/HEAD":           http.StatusNotFound,
		"/r.git/objects/info/x": http.StatusNotFound,
		"/../etc/info/refs?service=git-upload-pack": http.StatusUnauthorized,
	} {
		t.Run(path, func(t *testing.T) {
			g := NewWithT(t)
			_, _, url := startHTTP(t, false)
			resp, err := http.Get(url + path)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(resp.Body.Close()).To(Succeed())
			g.Expect(resp.StatusCode).To(Equal(want))
		})
	}
}

func TestNames(t *testing.T) {
	for asked, want := range map[string]string{
		"/team/repo.git":     "team/repo.git",
		"repo":               "repo.git",
		"/a/b/c/":            "a/b/c.git",
		"":                   "",
		"/":                  "",
		"..":                 "",
		"/a/../../etc":       "",
		"/.hidden":           "",
		"a//b":               "",
		"a/repo.git/objects": "",
		"a'b":                "",
		"-upload-pack":       "",
		"a\x00b":             "",
		"a b":                "",
		"repo.git.git":       "",
	} {
		t.Run(fmt.Sprintf("%q", asked), func(t *testing.T) {
			g := NewWithT(t)
			got, err := (&Repositories{}).name(asked)
			g.Expect(got).To(Equal(want))
			g.Expect(err == nil).To(Equal(want != ""))
		})
	}
}

func TestALinkOutOfTheRootIsRefused(t *testing.T) {
	g := NewWithT(t)
	root, with, _ := startHTTP(t, true)
	outside := t.TempDir()
	mustGit(t, outside, nil, "init", "--quiet", "--bare", "r.git")
	g.Expect(os.Symlink(outside, filepath.Join(root, "link"))).To(Succeed())
	_, err := git(t, t.TempDir(), nil, "ls-remote", with+"/link/r.git")
	g.Expect(err).To(HaveOccurred())
	_, err = git(t, commit(t, 10), nil, "push", with+"/link/new.git", "main")
	g.Expect(err).To(HaveOccurred())
	g.Expect(filepath.Join(outside, "new.git")).NotTo(BeADirectory())
}

// startSSH returns the URL of the server and the environment for git with a key
// that may log in, and one for a key that may not.
func startSSH(t testing.TB, root string) (url string, known, unknown []string) {
	t.Helper()
	hostKey, _ := key(t)
	userKey, public := key(t)
	otherKey, _ := key(t)
	s := &SSH{Repositories: &Repositories{Dir: root, AutoCreate: true}, HostKeyFile: hostKey,
		AuthorizedKeysFile: file(t, "authorized_keys", "# a comment\n\n"+public), Log: testLog(t)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	env := func(key string) []string {
		return []string{"GIT_SSH_COMMAND=ssh -i " + key +
			" -F none -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"}
	}
	return "ssh://git@" + l.Addr().String(), env(userKey), env(otherKey)
}

func key(t testing.TB) (private, public string) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		t.Fatal(err)
	}
	p, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return file(t, "key", string(pem.EncodeToMemory(block))), string(ssh.MarshalAuthorizedKey(p))
}

func TestPushAndCloneOverSSH(t *testing.T) {
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Skip("this machine has no ssh client (Debian package openssh-client)")
	}
	g := NewWithT(t)
	url, known, unknown := startSSH(t, t.TempDir())
	work := commit(t, 3<<20)
	mustGit(t, work, known, "push", url+"/team/repo.git", "main")
	clone := t.TempDir()
	mustGit(t, clone, append(known, "GIT_PROTOCOL=version=2"), "clone", "--quiet", url+"/team/repo.git", ".")
	g.Expect(mustGit(t, clone, nil, "rev-parse", "HEAD")).To(Equal(mustGit(t, work, nil, "rev-parse", "HEAD")))

	out, err := git(t, work, unknown, "ls-remote", url+"/team/repo.git")
	g.Expect(err).To(HaveOccurred())
	g.Expect(out).To(ContainSubstring("Permission denied"))
	out, err = git(t, work, known, "ls-remote", url+"/none.git")
	g.Expect(err).To(HaveOccurred())
	g.Expect(out).To(ContainSubstring("no such repository"))
}

func TestSSHRunsNothingElse(t *testing.T) {
	g := NewWithT(t)
	root := t.TempDir()
	hostKey, _ := key(t)
	userKey, public := key(t)
	s := &SSH{Repositories: &Repositories{Dir: root, AutoCreate: true}, HostKeyFile: hostKey,
		AuthorizedKeysFile: file(t, "authorized_keys", public), Log: testLog(t)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	defer func() { cancel(); g.Expect(<-ended).To(Succeed()) }()

	b, err := os.ReadFile(userKey)
	g.Expect(err).NotTo(HaveOccurred())
	signer, err := ssh.ParsePrivateKey(b)
	g.Expect(err).NotTo(HaveOccurred())
	client, err := ssh.Dial("tcp", l.Addr().String(), &ssh.ClientConfig{
		User: "git", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	g.Expect(err).NotTo(HaveOccurred())
	defer client.Close()
	for _, line := range []string{
		"sh -c id", "git-upload-archive '/r.git'", "git-upload-pack '/../../etc'", "git-receive-pack '/r.git'; id",
		"git-receive-pack '/r.git' '--help'", "git config --list", "upload-pack '/r.git'", "",
	} {
		session, err := client.NewSession()
		g.Expect(err).NotTo(HaveOccurred())
		var stderr bytes.Buffer
		session.Stdin, session.Stderr = strings.NewReader(""), &stderr
		err = session.Run(line)
		g.Expect(err).To(BeAssignableToTypeOf(&ssh.ExitError{}), "command %q", line)
		g.Expect(err.(*ssh.ExitError).ExitStatus()).To(Equal(128))
		g.Expect(stderr.String()).To(Or(ContainSubstring("no such repository"), ContainSubstring("only git-upload-pack")))
	}
	session, err := client.NewSession()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(session.Shell()).NotTo(Succeed(), "no shell")
	g.Expect(os.ReadDir(root)).To(BeEmpty())
	_, err = client.Dial("tcp", l.Addr().String())
	g.Expect(err).To(HaveOccurred(), "no forwarding")
}

func TestParseCommand(t *testing.T) {
	for line, want := range map[string][2]string{
		"git-upload-pack '/a/b.git'":  {"upload-pack", "/a/b.git"},
		"git-receive-pack 'b.git'":    {"receive-pack", "b.git"},
		"git upload-pack '/b.git'":    {"upload-pack", "/b.git"},
		"git-upload-pack /b.git":      {"upload-pack", "/b.git"},
		"git-upload-archive '/b.git'": {},
		"receive-pack '/b.git'":       {},
	} {
		t.Run(line, func(t *testing.T) {
			g := NewWithT(t)
			service, repository, err := parseCommand(line)
			g.Expect([2]string{service, repository}).To(Equal(want))
			g.Expect(err == nil).To(Equal(want[0] != ""))
		})
	}
}
