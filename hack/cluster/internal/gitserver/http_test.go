package gitserver

import (
	"bytes"
	"crypto/rand"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// git runs the machine's git as a client would, without its configuration.
func git(t testing.TB, dir string, env []string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a",
		"GIT_COMMITTER_EMAIL=a@example.com",
	}, env...)
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
			g.Expect(mustGit(t, root, nil, "--git-dir=team/repo.git", "rev-parse", "HEAD")).
				To(Equal(head), "HEAD is main")

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

func TestABranchCanBeginAnew(t *testing.T) {
	_, url, _ := startHTTP(t, true)
	mustGit(t, commit(t, 10), nil, "push", url+"/r.git", "main")
	mustGit(t, commit(t, 10), nil, "push", url+"/r.git", "--delete", "main")
	mustGit(t, commit(t, 10), nil, "push", url+"/r.git", "main")
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
		"read public without credentials": {[]string{"ls-remote", without + "/public/r.git"}, ""},
		"read private without credentials": {
			[]string{"ls-remote", without + "/private/r.git"}, "could not read Username",
		},
		"read private, wrong password": {[]string{"ls-remote", wrong + "/private/r.git"}, "Authentication failed"},
		"push to public without": {
			[]string{"push", without + "/public/r.git", "main"}, "could not read Username",
		},
		"create below public without": {
			[]string{"push", without + "/public/new.git", "main"}, "could not read Username",
		},
		"read what is not there": {[]string{"ls-remote", with + "/private/none.git"}, "not found"},
		"read what is not there, as nobody": {
			[]string{"ls-remote", without + "/private/none.git"}, "could not read Username",
		},
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
