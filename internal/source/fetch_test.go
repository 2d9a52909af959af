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
	for transport, overSSH := range map[string]bool{"HTTP": false, "SSH": true} {
		t.Run(transport, func(t *testing.T) {
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
	for transport, overSSH := range map[string]bool{"HTTP": false, "SSH, which hands out tips only": true} {
		t.Run(transport, func(t *testing.T) {
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
	g, ctx := NewWithT(t), t.Context()
	s := newServer(t)
	hash := s.commit(policy)
	for _, ref := range []Ref{{}, {Branch: "main"}} {
		s.asked()
		rev, err := Resolve(ctx, s.url(), ref, s.auth())
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(rev).To(Equal(Revision{"main", hash}))
		g.Expect(s.asked()).To(Equal([]string{"GET /repo.git/info/refs"}))
	}
	_, err := Resolve(ctx, s.url(), Ref{Commit: hash}, s.auth())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.asked()).To(BeEmpty())
	_, err = Fetch(ctx, s.url(), Ref{}, s.auth(), Revision{"main", hash}, t.TempDir(), Limits{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.asked()).To(Equal([]string{"GET /repo.git/info/refs", "POST /repo.git/git-upload-pack"}))
}

func TestFetchLeavesNothingElse(t *testing.T) {
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
	g.Expect(names).To(HaveLen(2))
	g.Expect(content(t, dir)).To(And(HaveLen(2), HaveKey("a"), HaveKey(".gitmodules")))

	_, err = Fetch(ctx, s.url(), Ref{}, s.auth(), Revision{}, dir, Limits{})
	g.Expect(err).To(MatchError(ContainSubstring("is not empty")))
	_, err = Fetch(ctx, s.url(), Ref{}, s.auth(), Revision{}, "", Limits{})
	g.Expect(err).To(MatchError(ContainSubstring("no directory given")))
}

// filters are the ways in which a server deals with "leave out large files".
var filters = map[string][]string{
	"no filter":                  nil,
	"filter":                     {"uploadpack.allowFilter=true"},
	"filter advertised, refused": {"uploadpack.allowFilter=true", "uploadpackfilter.allow=false"},
	"filter and commits by hash": {"uploadpack.allowFilter=true", "uploadpack.allowAnySHA1InWant=true"},
}

func TestLimits(t *testing.T) {
	const mib = 1 << 20
	for config, kv := range filters {
		s := newServer(t)
		for _, c := range kv {
			k, v, _ := strings.Cut(c, "=")
			s.run(s.bare, "config", k, v)
		}
		for name, tc := range map[string]struct {
			files  map[string]string
			limits Limits
			says   string
		}{
			"11 MiB file": {map[string]string{"apps/ok.yaml": "a: b", "apps/huge.yaml": strings.Repeat("x", 11*mib)}, Limits{},
				"file apps/huge.yaml is larger than 10485760 bytes"},
			"10 MiB file":          {map[string]string{"full.yaml": strings.Repeat("x", 10*mib)}, Limits{}, ""},
			"one byte too many":    {map[string]string{"a": "123456"}, Limits{FileBytes: 5}, "file a is larger than 5 bytes"},
			"just fits":            {map[string]string{"a": "12345"}, Limits{FileBytes: 5}, ""},
			"too many files":       {map[string]string{"a": "1", "b/c": "2"}, Limits{Files: 2}, "more than 2 files and directories, the first too many being b/c"},
			"as many as allowed":   {map[string]string{"a": "1", "b/c": "2"}, Limits{Files: 3}, ""},
			"too much together":    {map[string]string{"a": "12345", "b": "678"}, Limits{Bytes: 7}, "larger than 7 bytes, of which file b is the last"},
			"as much as allowed":   {map[string]string{"a": "1234", "b": "678"}, Limits{Bytes: 7}, ""},
			"a decompression bomb": {map[string]string{"bomb": strings.Repeat("\x00", 60*mib)}, Limits{}, "large"},
		} {
			t.Run(config+"/"+name, func(t *testing.T) {
				g := NewWithT(t)
				s.startOver(t)
				s.commit(tc.files)
				dir := t.TempDir()
				_, err := Fetch(t.Context(), s.url(), Ref{}, s.auth(), Revision{}, dir, tc.limits)
				if tc.says == "" {
					g.Expect(err).NotTo(HaveOccurred())
					g.Expect(content(t, dir)).To(Equal(tc.files))
					return
				}
				g.Expect(err).To(MatchError(ErrTooLarge))
				g.Expect(err.Error()).To(ContainSubstring(tc.says))
				g.Expect(content(t, dir)).To(BeEmpty(), "nothing was written")
			})
		}
	}
}

func TestSymlinks(t *testing.T) {
	for name, tc := range map[string]struct {
		files   map[string]string
		refused string
	}{
		"beside":            {map[string]string{"a": "1", "b": "-> a"}, ""},
		"up and down":       {map[string]string{"x/a": "1", "y/z/b": "-> ../../x/a"}, ""},
		"to a directory":    {map[string]string{"x/a": "1", "b": "-> x"}, ""},
		"to the top":        {map[string]string{"x/b": "-> .."}, ""},
		"to nothing inside": {map[string]string{"b": "-> none/at/all"}, ""},
		"absolute":          {map[string]string{"sub/b": "-> /etc/passwd"}, `sub/b (to "/etc/passwd")`},
		"out":               {map[string]string{"sub/b": "-> ../../x"}, `sub/b (to "../../x")`},
		"out and in again":  {map[string]string{"b": "-> ../repo/a"}, `b (to "../repo/a")`},
		"out of nothing":    {map[string]string{"b": "-> none/../../x"}, `b (to "none/../../x")`},
		"looks inside, through a link to a shallower place": {map[string]string{"d/e/up": "-> ../..", "b": "-> d/e/up/../x"}, `b (to "d/e/up/../x")`},
		"chain that ends outside":                           {map[string]string{"a": "-> b", "b": "-> c", "c": "-> /x"}, "leads out"},
		"circle":                                            {map[string]string{"a": "-> b", "b": "-> a"}, "circle"},
		"itself":                                            {map[string]string{"a": "-> a"}, "circle"},
		"git directory's place":                             {map[string]string{"a": "-> .git/config"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := newServer(t)
			s.commit(tc.files)
			dir := t.TempDir()
			_, err := Fetch(t.Context(), s.url(), Ref{}, s.auth(), Revision{}, dir, Limits{})
			if tc.refused == "" {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(content(t, dir)).To(Equal(tc.files))
				return
			}
			g.Expect(err).To(MatchError(ErrSymlink))
			g.Expect(err.Error()).To(ContainSubstring(tc.refused))
			g.Expect(content(t, dir)).To(BeEmpty(), "nothing was written")
		})
	}
}

// Trees that C git would not make, made with its plumbing.
func TestUnsafeNames(t *testing.T) {
	for name, tc := range map[string]struct{ tree, want string }{
		"dot dot":              {"100644 blob BLOB\t..\n", `".."`},
		"git directory":        {"040000 tree TREE\t.git\n", "reserved by Git"},
		"git directory, GIT":   {"040000 tree TREE\t.GIT\n", "reserved by Git"},
		"path":                 {"100644 blob BLOB\tx\\y\n", "a path, not a name"},
		"file and link of one": {"120000 blob LINK\tx\n040000 tree TREE\tx\n", "there twice"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := newServer(t)
			s.commit(map[string]string{"f": "1", "link": "-> /tmp"})
			text := strings.NewReplacer("BLOB", s.run(s.work, "rev-parse", "HEAD:f"),
				"LINK", s.run(s.work, "rev-parse", "HEAD:link"), "TREE", s.run(s.work, "rev-parse", "HEAD^{tree}")).Replace(tc.tree)
			file := filepath.Join(t.TempDir(), "tree")
			g.Expect(os.WriteFile(file, []byte(text), 0o600)).To(Succeed())
			tree := s.run(s.work, "-c", "core.protectNTFS=false", "hash-object", "-t", "tree", "-w", "--literally", rawTree(t, file))
			commit := s.run(s.work, "commit-tree", "-m", "x", tree)
			s.run(s.work, "push", "-q", "-f", "origin", commit+":refs/heads/main")
			_, err := Fetch(t.Context(), s.url(), Ref{}, s.auth(), Revision{}, t.TempDir(), Limits{})
			g.Expect(err).To(MatchError(ErrPath))
			g.Expect(err.Error()).To(ContainSubstring(tc.want))
		})
	}
}

// rawTree turns lines of ls-tree into the bytes of a tree object.
func rawTree(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(text)) {
		meta, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		f := strings.Fields(meta)
		out.WriteString(strings.TrimPrefix(f[0], "0") + " " + name + "\x00")
		for i := 0; i < len(f[2]); i += 2 {
			out.WriteByte(unhex(f[2][i])<<4 | unhex(f[2][i+1]))
		}
	}
	if err := os.WriteFile(file, []byte(out.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func unhex(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	return c - '0'
}

func TestRevision(t *testing.T) {
	g := NewWithT(t)
	hash := strings.Repeat("0123456789", 4)
	for _, r := range []Revision{{"main", hash}, {"team/a@b", hash}, {"", hash}} {
		g.Expect(ParseRevision(r.String())).To(Equal(r))
	}
	g.Expect(Revision{}.String()).To(BeEmpty())
	for _, bad := range []string{"", "main", "main@sha1:12", "mainsha1:" + hash, "@sha1:" + hash, "main@sha256:" + hash} {
		_, err := ParseRevision(bad)
		g.Expect(err).To(HaveOccurred(), bad)
	}
}

func TestRedirect(t *testing.T) {
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
	g.Expect(other.asked()).To(BeEmpty())
}
