package source

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// filters are the ways in which a server handles "leave out large files".
var filters = map[string][]string{
	"no filter":                  nil,
	"filter":                     {"uploadpack.allowFilter=true"},
	"filter advertised, refused": {"uploadpack.allowFilter=true", "uploadpackfilter.allow=false"},
	"filter and commits by hash": {"uploadpack.allowFilter=true", "uploadpack.allowAnySHA1InWant=true"},
}

func TestLimits(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	cases := map[string]struct {
		files  map[string]string
		limits Limits
		says   string
	}{
		"11 MiB file": {
			map[string]string{"apps/ok.yaml": "a: b", "apps/huge.yaml": strings.Repeat("x", 11*mib)},
			Limits{},
			"file apps/huge.yaml is larger than 10485760 bytes",
		},
		"10 MiB file":       {map[string]string{"full.yaml": strings.Repeat("x", 10*mib)}, Limits{}, ""},
		"one byte too many": {map[string]string{"a": "123456"}, Limits{FileBytes: 5}, "file a is larger than 5 bytes"},
		"just fits":         {map[string]string{"a": "12345"}, Limits{FileBytes: 5}, ""},
		"too many files": {
			map[string]string{"a": "1", "b/c": "2"},
			Limits{Files: 2},
			"more than 2 files and directories, b/c is the first beyond the limit",
		},
		"as many as allowed": {map[string]string{"a": "1", "b/c": "2"}, Limits{Files: 3}, ""},
		"too much together": {
			map[string]string{"a": "12345", "b": "678"},
			Limits{Bytes: 7},
			"larger than 7 bytes, file b exceeds the limit",
		},
		"as much as allowed":   {map[string]string{"a": "1234", "b": "678"}, Limits{Bytes: 7}, ""},
		"a decompression bomb": {map[string]string{"bomb": strings.Repeat("\x00", 60*mib)}, Limits{}, "large"},
	}
	made, commits := newServer(t), map[string]string{}
	for name, tc := range cases {
		made.startOver(t)
		commits[name] = made.commit(tc.files)
	}
	for config, kv := range filters {
		t.Run(config, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			NewWithT(t).Expect(os.CopyFS(filepath.Join(s.bare, "objects"),
				os.DirFS(filepath.Join(made.bare, "objects")))).
				To(Succeed())
			for _, c := range kv {
				k, v, _ := strings.Cut(c, "=")
				s.run(s.bare, "config", k, v)
			}
			for name, tc := range cases {
				t.Run(name, func(t *testing.T) {
					g := NewWithT(t)
					s.run(s.bare, "update-ref", "refs/heads/main", commits[name])
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
		})
	}
}

func TestSymlinks(t *testing.T) {
	t.Parallel()
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
		"looks inside, through a link to a shallower place": {
			map[string]string{"d/e/up": "-> ../..", "b": "-> d/e/up/../x"},
			`b (to "d/e/up/../x")`,
		},
		"chain that ends outside": {map[string]string{"a": "-> b", "b": "-> c", "c": "-> /x"}, "leads out"},
		"circle":                  {map[string]string{"a": "-> b", "b": "-> a"}, "points to itself"},
		"itself":                  {map[string]string{"a": "-> a"}, "points to itself"},
		"git directory's place":   {map[string]string{"a": "-> .git/config"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
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
	t.Parallel()
	for name, tc := range map[string]struct{ tree, want string }{
		"dot dot":              {"100644 blob BLOB\t..\n", `".."`},
		"git directory":        {"040000 tree TREE\t.git\n", "reserved by Git"},
		"git directory, GIT":   {"040000 tree TREE\t.GIT\n", "reserved by Git"},
		"path":                 {"100644 blob BLOB\tx\\y\n", "a path, not a name"},
		"file and link of one": {"120000 blob LINK\tx\n040000 tree TREE\tx\n", "duplicate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			s := newServer(t)
			s.commit(map[string]string{"f": "1", "link": "-> /tmp"})
			text := strings.NewReplacer("BLOB", s.run(s.work, "rev-parse", "HEAD:f"),
				"LINK", s.run(s.work, "rev-parse", "HEAD:link"), "TREE", s.run(s.work, "rev-parse", "HEAD^{tree}")).
				Replace(tc.tree)
			file := filepath.Join(t.TempDir(), "tree")
			g.Expect(os.WriteFile(file, []byte(text), 0o600)).To(Succeed())
			tree := s.run(s.work, "-c", "core.protectNTFS=false", "hash-object", "-t", "tree", "-w", "--literally",
				rawTree(t, file))
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
