package faults

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/gittestserver"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

const (
	branch  = "backup-records"
	watched = "main"
)

// gitServer serves repositories with real Git, through a proxy.
type gitServer struct {
	root  string
	gate  gate
	proxy *httptest.Server
}

// newGitServer starts a Git server. The handler wrap, if any, is put before the proxy.
func newGitServer(t testing.TB, wrap func(http.Handler) http.Handler) *gitServer {
	t.Helper()
	s := &gitServer{root: t.TempDir()}
	server := gittestserver.NewGitServer(s.root)
	if err := server.StartHTTP(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.StopHTTP)
	target, err := url.Parse(server.HTTPAddress())
	if err != nil {
		t.Fatal(err)
	}
	handler := s.gate.wrap(reverse(target, http.DefaultTransport.(*http.Transport).Clone()))
	if wrap != nil {
		handler = wrap(handler)
	}
	s.proxy = httptest.NewServer(handler)
	t.Cleanup(func() {
		s.proxy.CloseClientConnections()
		s.proxy.Close()
	})
	return s
}

// remote is a repository that is served.
type remote struct {
	t   testing.TB
	dir string
	url string
	// policy is the commit of the branch that a PolicySync watches.
	policy string
}

// repository makes a repository with the branch of policies.
func (s *gitServer) repository(t testing.TB, name string) *remote {
	t.Helper()
	r := &remote{t: t, dir: filepath.Join(s.root, name+".git"), url: s.proxy.URL + "/" + name + ".git"}
	if out, err := exec.Command("git", "init", "-q", "--bare", "-b", watched, r.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	r.policy = r.git("commit-tree", "-m", "policy", r.git("hash-object", "-t", "tree", "-w", "/dev/null"))
	r.git("update-ref", "refs/heads/"+watched, r.policy)
	return r
}

func (r *remote) git(args ...string) string {
	r.t.Helper()
	out, err := exec.Command("git", append([]string{"-C", r.dir}, args...)...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// commits are those of the branch that added records of a cluster, newest first.
func (r *remote) commits(clusterName string) []string {
	r.t.Helper()
	return lines(r.git("rev-list", branch, "--", "clusters/"+clusterName+"/records"))
}

// check fails the test unless the branch has exactly these records of a cluster, each added once and never changed, in
// a sound history, and no other branch was touched.
func (r *remote) check(t testing.TB, clusterName string, sessions ...*v1alpha1.BackupSession) {
	t.Helper()
	g := NewWithT(t)
	var want []string
	for _, s := range sessions {
		want = append(want, recordPath(clusterName, s))
	}
	folder := "clusters/" + clusterName + "/records"
	g.Expect(lines(r.git("ls-tree", "-r", "--name-only", branch, "--", folder))).To(ConsistOf(want), "one file each")
	var added []string
	for _, line := range lines(r.git("log", "--format=", "--name-status", "--no-renames", branch, "--", folder)) {
		change, path, _ := strings.Cut(line, "\t")
		g.Expect(change).To(Equal("A"), "%s is only added", path)
		added = append(added, path)
	}
	g.Expect(added).To(ConsistOf(want), "each by one commit")
	r.sound(t)
}

// sound fails the test unless Git finds no fault with the repository.
func (r *remote) sound(t testing.TB) {
	t.Helper()
	g := NewWithT(t)
	g.Expect(r.git("fsck", "--full", "--strict", "--no-dangling", "--no-progress")).To(BeEmpty())
	g.Expect(r.git("rev-list", "--min-parents=2", branch)).To(BeEmpty(), "no merges")
	g.Expect(lines(r.git("rev-list", "--max-parents=0", branch))).To(HaveLen(1), "one beginning")
	trees := lines(r.git("log", "--format=%T", branch))
	for i := range trees[1:] {
		g.Expect(trees[i]).NotTo(Equal(trees[i+1]), "no empty commit")
	}
	g.Expect(lines(r.git("for-each-ref", "--format=%(refname)"))).
		To(ConsistOf("refs/heads/"+branch, "refs/heads/"+watched))
	g.Expect(r.git("rev-parse", watched)).To(Equal(r.policy), "the watched branch is as it was")
}

func recordPath(clusterName string, s *v1alpha1.BackupSession) string {
	return fmt.Sprintf("clusters/%s/records/%s/%s.%s/%s/%s-%s.yaml", clusterName, s.Namespace,
		strings.ToLower(s.Spec.Invoker.Kind),
		s.Spec.Invoker.Name, s.Status.CompletionTime.UTC().Format("2006-01"), s.Name, s.UID[:8])
}
