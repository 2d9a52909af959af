package source

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

var policy = map[string]string{
	"apps/shop/batch.yaml":   "kind: BackupBatch\n",
	"apps/shop/deep/er.yaml": "a: b\n",
	"apps/link.yaml":         "-> shop/batch.yaml",
	"bin/run.sh":             "#!/bin/sh\n",
	"empty":                  "",
	"name with ä.yaml":       "x: y\n",
	"README.md":              "policy\n",
}

func TestFetch(t *testing.T) {
	t.Parallel()
	for transport, overSSH := range map[string]bool{"HTTP": false, "SSH": true} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			url, auth := s.url(), s.auth()
			if overSSH {
				url, auth = s.ssh()
			}
			first := s.commit(policy)
			if err := os.Chmod(filepath.Join(s.work, "bin/run.sh"), 0o755); err != nil {
				t.Fatal(err)
			}
			executable := s.commit(nil)
			s.run(s.work, "tag", "light")
			s.run(s.work, "tag", "-a", "-m", "x", "v1.0")
			s.run(s.work, "push", "-q", "origin", "light", "v1.0", "HEAD:refs/heads/team/a")
			second := s.commit(map[string]string{"README.md": "newer\n"})
			newer := map[string]string{}
			for k, v := range policy {
				newer[k] = v
			}
			newer["README.md"] = "newer\n"

			for name, tc := range map[string]struct {
				ref  Ref
				rev  string
				want map[string]string
			}{
				"nothing said":          {Ref{}, "main@sha1:" + second, newer},
				"branch":                {Ref{Branch: "main"}, "main@sha1:" + second, newer},
				"branch with a slash":   {Ref{Branch: "team/a"}, "team/a@sha1:" + executable, policy},
				"tag":                   {Ref{Tag: "light"}, "light@sha1:" + executable, policy},
				"annotated tag":         {Ref{Tag: "v1.0"}, "v1.0@sha1:" + executable, policy},
				"tag before branch":     {Ref{Branch: "main", Tag: "v1.0"}, "v1.0@sha1:" + executable, policy},
				"commit of a tip":       {Ref{Commit: second}, "sha1:" + second, newer},
				"commit in history":     {Ref{Commit: first}, "sha1:" + first, policy},
				"commit in capitals":    {Ref{Commit: strings.ToUpper(first)}, "sha1:" + first, policy},
				"commit of a branch":    {Ref{Commit: first, Branch: "main"}, "main@sha1:" + first, policy},
				"commit before the tag": {Ref{Commit: first, Tag: "v1.0"}, "sha1:" + first, policy},
			} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					g, ctx := NewWithT(t), t.Context()
					rev, err := Resolve(ctx, url, tc.ref, auth)
					g.Expect(err).NotTo(HaveOccurred())
					g.Expect(rev.String()).To(Equal(tc.rev))
					for _, given := range []Revision{rev, {}} {
						dir := filepath.Join(t.TempDir(), "new")
						got, err := Fetch(ctx, url, tc.ref, auth, given, dir, Limits{})
						g.Expect(err).NotTo(HaveOccurred())
						g.Expect(got).To(Equal(rev))
						g.Expect(content(t, dir)).To(Equal(tc.want))
						info, err := os.Stat(filepath.Join(dir, "bin/run.sh"))
						g.Expect(err).NotTo(HaveOccurred())
						g.Expect(info.Mode().Perm()&0o100 != 0).To(Equal(rev.Hash != first))
					}
				})
			}
		})
	}
}

// The branch moves between Resolve and Fetch: the resolved revision is fetched.
func TestFetchOfAMovedBranch(t *testing.T) {
	t.Parallel()
	for transport, overSSH := range map[string]bool{"HTTP": false, "SSH, which hands out tips only": true} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			g, ctx := NewWithT(t), t.Context()
			s := newServer(t)
			url, auth := s.url(), s.auth()
			if overSSH {
				url, auth = s.ssh()
			}
			s.commit(map[string]string{"a": "1"})
			rev, err := Resolve(ctx, url, Ref{}, auth)
			g.Expect(err).NotTo(HaveOccurred())
			s.commit(map[string]string{"a": "2"})
			dir := t.TempDir()
			g.Expect(Fetch(ctx, url, Ref{}, auth, rev, dir, Limits{})).To(Equal(rev))
			g.Expect(content(t, dir)).To(Equal(map[string]string{"a": "1"}))
		})
	}
}

func TestResolveIsOneRequest(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	s := newServer(t)
	hash := s.commit(policy)
	for _, ref := range []Ref{{}, {Branch: "main"}} {
		s.takeRequests()
		rev, err := Resolve(ctx, s.url(), ref, s.auth())
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(rev).To(Equal(Revision{"main", hash}))
		g.Expect(s.takeRequests()).To(Equal([]string{"GET /repo.git/info/refs"}))
	}
	_, err := Resolve(ctx, s.url(), Ref{Commit: hash}, s.auth())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.takeRequests()).To(BeEmpty())
	_, err = Fetch(ctx, s.url(), Ref{}, s.auth(), Revision{"main", hash}, t.TempDir(), Limits{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.takeRequests()).To(Equal([]string{"GET /repo.git/info/refs", "POST /repo.git/git-upload-pack"}))
}

func TestFetchLeavesNothingElse(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	s := newServer(t)
	s.commit(map[string]string{"a": "1"})
	s.run(s.work, "update-index", "--add", "--cacheinfo", "160000,1234567890123456789012345678901234567890,module")
	s.write(map[string]string{".gitmodules": "[submodule \"module\"]\n\tpath = module\n\turl = http://127.0.0.1:1/x\n"})
	s.run(s.work, "add", ".gitmodules")
	s.run(s.work, "commit", "-q", "-m", "x")
	s.run(s.work, "push", "-q", "origin", "HEAD:refs/heads/main")
	dir := t.TempDir()
	_, err := Fetch(ctx, s.url(), Ref{}, s.auth(), Revision{}, dir, Limits{})
	g.Expect(err).NotTo(HaveOccurred())
	names, err := os.ReadDir(dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(names).To(HaveLen(3))
	g.Expect(content(t, dir)).To(And(HaveLen(3), HaveKey("a"), HaveKey(".gitmodules"), HaveKey("module/.git")))

	_, err = Fetch(ctx, s.url(), Ref{}, s.auth(), Revision{}, dir, Limits{})
	g.Expect(err).To(MatchError(ContainSubstring("is not empty")))
	_, err = Fetch(ctx, s.url(), Ref{}, s.auth(), Revision{}, "", Limits{})
	g.Expect(err).To(MatchError(ContainSubstring("no directory given")))
}

func TestRevision(t *testing.T) {
	g := NewWithT(t)
	hash := strings.Repeat("0123456789", 4)
	for _, r := range []Revision{{"main", hash}, {"team/a@b", hash}, {"", hash}} {
		g.Expect(parseRevision(r.String())).To(Equal(r))
	}
	g.Expect(Revision{}.String()).To(BeEmpty())
	for _, bad := range []string{
		"", "main", "main@sha1:12", "mainsha1:" + hash, "@sha1:" + hash, "main@sha256:" + hash,
	} {
		_, err := parseRevision(bad)
		g.Expect(err).To(HaveOccurred(), bad)
	}
}

func TestRedirect(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s, other := newServer(t), newServer(t)
	s.commit(policy)
	other.commit(policy)
	s.answer(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, other.HTTPAddress()+r.URL.RequestURI(), http.StatusFound)
		return true
	})
	_, err := Resolve(t.Context(), s.url(), Ref{}, s.auth())
	g.Expect(err).To(MatchError(ContainSubstring("redirected to another")))
	_, err = Fetch(t.Context(), s.url(), Ref{}, s.auth(), Revision{}, t.TempDir(), Limits{})
	g.Expect(err).To(HaveOccurred())
	g.Expect(other.takeRequests()).To(BeEmpty())
}
