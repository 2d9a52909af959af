package cli_test

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/gittestserver"
	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/ledger"
)

func backup(name, phase, reason string) ledger.Object {
	return ledger.Object{
		Kind: "BackupSession", Namespace: "shop", Name: name, UID: types.UID("uid-" + name), Phase: phase,
		Reason: reason, Revision: "main@sha1:4be2",
	}
}

// records makes a repository with the commits of two clusters and one of somebody else, and returns the hashes.
func records(t testing.TB, prefix string) (*git.Repository, string, []string) {
	t.Helper()
	g := NewWithT(t)
	dir := t.TempDir()
	r, err := git.PlainInitWithOptions(
		dir,
		&git.PlainInitOptions{
			InitOptions: git.InitOptions{DefaultBranch: plumbing.NewBranchReferenceName("backup-records")},
		})
	g.Expect(err).NotTo(HaveOccurred())
	w, err := r.Worktree()
	g.Expect(err).NotTo(HaveOccurred())
	var hashes []string
	for i, c := range []struct{ file, message string }{
		{"README.md", "Begin\n"},
		{ledger.Folder(prefix, "one") + "/records/a", ledger.CommitMessage("one",
			[]ledger.Object{backup("a", "Succeeded", "")})},
		{
			ledger.Folder(prefix, "two") + "/records/b",
			ledger.CommitMessage(
				"two", []ledger.Object{backup("b", "Failed", "TargetsFailed"), backup("c", "Succeeded", "Succeeded")}),
		},
		{ledger.Folder(prefix, "one") + "/STATUS.md", ledger.CommitMessage("one", nil)},
	} {
		g.Expect(os.MkdirAll(filepath.Join(dir, filepath.Dir(c.file)), 0o750)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(dir, c.file), []byte(c.message), 0o600)).To(Succeed())
		_, err := w.Add(c.file)
		g.Expect(err).NotTo(HaveOccurred())
		who := object.Signature{
			Name: "Cairn", Email: "cairn@example.com",
			When: time.Date(2026, 11, 20, 8, i, 0, 0, time.UTC),
		}
		hash, err := w.Commit(c.message, &git.CommitOptions{Author: &who, Committer: &who})
		g.Expect(err).NotTo(HaveOccurred())
		hashes = append(hashes, hash.String()[:7])
	}
	return r, dir, hashes
}

// log returns the output of ledger log, with the hashes as #<index>.
func (r result) log(hashes []string) string {
	out := r.out
	for i, h := range hashes {
		out = strings.ReplaceAll(out, h, "#"+string(rune('0'+i)))
	}
	return out
}

const verboseLog = `2026-11-20T08:03:00Z  #3  bring STATUS.md up to date
2026-11-20T08:02:00Z  #2  shop: 1 succeeded, 1 failed
    BackupSession shop/b Failed (TargetsFailed)
    BackupSession shop/c Succeeded
2026-11-20T08:01:00Z  #1  shop: 1 succeeded
    BackupSession shop/a Succeeded
`

func TestLedgerLogOfClone(t *testing.T) {
	_, dir, hashes := records(t, "")
	_, below, belowHashes := records(t, "deep/er")
	bare := filepath.Join(t.TempDir(), "bare.git")
	_, err := git.PlainClone(bare, true, &git.CloneOptions{URL: dir})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	fetched := t.TempDir()
	other, err := git.PlainInit(fetched, false)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	_, err = other.CreateRemote(&config.RemoteConfig{Name: "origin", URLs: []string{dir}})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(other.Fetch(&git.FetchOptions{Depth: 2})).To(Succeed())

	tests := map[string]struct {
		args   string
		hashes []string
		want   string
	}{
		"all, with objects": {"-v --dir " + dir, hashes, verboseLog},
		"a bare clone":      {"-v --dir " + bare, hashes, verboseLog},
		"a clone that is shallow and only fetched": {
			"--dir " + fetched, hashes,
			"2026-11-20T08:03:00Z  #3  bring STATUS.md up to date\n2026-11-20T08:02:00Z  #2  " +
				"shop: 1 succeeded, 1 failed\n",
		},
		"one cluster": {
			"--cluster two --dir " + dir, hashes,
			"2026-11-20T08:02:00Z  #2  shop: 1 succeeded, 1 failed\n",
		},
		"the newest one": {"-n 1 --dir " + dir, hashes, "2026-11-20T08:03:00Z  #3  bring STATUS.md up to date\n"},
		"a folder inside the clone": {
			"-n 1 --dir " + filepath.Join(dir, "clusters", "one"), hashes,
			"2026-11-20T08:03:00Z  #3  bring STATUS.md up to date\n",
		},
		"below a path": {"-v --path ./deep/er --dir " + below, belowHashes, verboseLog},
		"below a path, of one cluster": {
			"--path deep/er --cluster two --dir " + below, belowHashes,
			"2026-11-20T08:02:00Z  #2  shop: 1 succeeded, 1 failed\n",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := run(t, append([]string{"ledger", "log"}, strings.Fields(tt.args)...)...)
			g.Expect(r.err).To(BeEmpty())
			g.Expect(r.code).To(Equal(0))
			g.Expect(r.log(tt.hashes)).To(Equal(tt.want))
		})
	}

	t.Run("json", func(t *testing.T) {
		g := NewWithT(t)
		r := run(t, "ledger", "log", "--dir", dir, "-o", "json", "--cluster", "one")
		var got []map[string]any
		g.Expect(json.Unmarshal([]byte(r.out), &got)).To(Succeed())
		g.Expect(got).To(HaveLen(2))
		g.Expect(got[1]).To(And(
			HaveKeyWithValue("subject", "shop: 1 succeeded"), HaveKeyWithValue("time", "2026-11-20T08:01:00Z"),
			HaveKeyWithValue("objects", []any{"BackupSession shop/a Succeeded"}),
			HaveKeyWithValue("commit", HaveLen(40))))
	})

	t.Run("errors name what is missing", func(t *testing.T) {
		g := NewWithT(t)
		empty := t.TempDir()
		g.Expect(run(t, "ledger", "log", "--dir", empty)).To(Equal(result{
			code: 1, err: "error: " + empty +
				" is not a Git clone: name one with --dir, or read the remote of a Ledger with --ledger\n",
		}))
		g.Expect(run(t, "ledger", "log", "--dir", dir, "--branch", "x")).To(Equal(result{
			code: 1,
			err: "error: the clone has no branch x: fetch it with \"git fetch origin x:x\", or name another branch " +
				"with --branch\n",
		}))
		g.Expect(run(t, "ledger", "log", "--dir", dir, "--cluster", "three")).To(Equal(result{err: "no records\n"}))
	})
}

func TestLedgerLogOfRemote(t *testing.T) {
	g := NewWithT(t)
	ns := namespace(t, "ledger-log")
	server, err := gittestserver.NewTempGitServer()
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = os.RemoveAll(server.Root()) })
	server.Auth("cairn", "top-secret")
	server.AutoCreate()
	g.Expect(server.StartHTTP()).To(Succeed())
	t.Cleanup(server.StopHTTP)
	address := server.HTTPAddress() + "/records.git"

	r, _, hashes := records(t, "")
	_, err = r.CreateRemote(&config.RemoteConfig{Name: "origin", URLs: []string{address}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(r.Push(&git.PushOptions{Auth: &githttp.BasicAuth{Username: "cairn", Password: "top-secret"}})).
		To(Succeed())

	secret := func(name, password string) {
		g.Expect(bed.Client.Create(t.Context(), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
			StringData: map[string]string{"username": "cairn", "password": password},
		})).To(Succeed())
	}
	secret("good", "top-secret")
	secret("bad", "top-secret-but-wrong")
	addLedger := func(name, url, secret string) {
		g.Expect(bed.Client.Create(t.Context(), &v1alpha1.Ledger{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
			Spec: v1alpha1.LedgerSpec{
				URL: url, ClusterName: "one", SecretRef: &v1alpha1.LocalObjectReference{Name: secret},
				Author:      v1alpha1.CommitAuthor{Name: "Cairn", Email: "cairn@example.com"},
				BatchWindow: metav1.Duration{Duration: 10 * time.Second},
				Interval:    metav1.Duration{Duration: time.Minute},
			},
		})).To(Succeed())
	}
	addLedger("records", address, "good")
	addLedger("inside", "http://127.0.0.1:1/records.git", "good")
	addLedger("refused", address, "bad")
	addLedger("bare", address, "nosuch")

	t.Run("with the Ledger's own URL and Secret", func(t *testing.T) {
		g := NewWithT(t)
		got := runIn(t, "ledger", "log", "-v", "--ledger", ns+"/records")
		g.Expect(got.err).To(BeEmpty())
		g.Expect(got.log(hashes)).To(Equal(verboseLog))
		got = runIn(t, "ledger", "log", "--ledger", ns+"/records", "--cluster", "two", "-n", "1")
		g.Expect(got.log(hashes)).To(Equal("2026-11-20T08:02:00Z  #2  shop: 1 succeeded, 1 failed\n"))
	})

	t.Run("with another URL", func(t *testing.T) {
		got := runIn(t, "ledger", "log", "-v", "--ledger", ns+"/inside", "--url", address)
		NewWithT(t).Expect(got.log(hashes)).To(Equal(verboseLog), got.err)
	})

	t.Run("errors say what to do and hold no password", func(t *testing.T) {
		host, err := url.Parse(address)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		for name, want := range map[string]string{
			"inside":  "if the Ledger's URL works only inside the cluster, pass another with --url",
			"refused": "authentication",
			"bare":    `get Secret ` + ns + `/nosuch, which holds the Ledger's credentials`,
			"nosuch":  "there is no Ledger " + ns + "/nosuch",
		} {
			g := NewWithT(t)
			got := runIn(t, "ledger", "log", "--ledger", ns+"/"+name)
			g.Expect(got.code).To(Equal(1), name)
			g.Expect(got.out).To(BeEmpty(), name)
			g.Expect(got.err).To(ContainSubstring(want), name)
			g.Expect(strings.Count(got.err, "\n")).To(Equal(1), name)
			g.Expect(got.err).NotTo(ContainSubstring("top-secret"), host.Host)
		}
	})
}
