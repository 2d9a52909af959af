package build

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func write(t testing.TB, text string, elem ...string) string {
	t.Helper()
	p := filepath.Join(elem...)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

// module makes sources that look like this module's.
func module(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	write(t, "module "+modulePath+"\n", dir, "go.mod")
	write(t, "sum", dir, "go.sum")
	write(t, "package main", dir, "cmd", "a", "main.go")
	write(t, "module "+modulePath+"/s3\n", dir, "s3", "go.mod")
	return dir
}

func mustKey(t testing.TB, dir string) string {
	t.Helper()
	k, err := Key(dir)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestTheKeyFollowsTheSources(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(dir string)
		same   bool
	}{
		"nothing":                {func(string) {}, true},
		"a test":                 {func(d string) { write(t, "package main", d, "cmd", "a", "main_test.go") }, true},
		"the README":             {func(d string) { write(t, "x", d, "README.md") }, true},
		"test data":              {func(d string) { write(t, "package x", d, "testdata", "x.go") }, true},
		"what git keeps":         {func(d string) { write(t, "package x", d, ".git", "x.go") }, true},
		"another place":          {func(d string) {}, true},
		"a program":              {func(d string) { write(t, "package main // new", d, "cmd", "a", "main.go") }, false},
		"a new file":             {func(d string) { write(t, "", d, "cmd", "a", "b.go") }, false},
		"versions":               {func(d string) { write(t, "sum2", d, "go.sum") }, false},
		"a nested module":        {func(d string) { write(t, "module x\n", d, "s3", "go.mod") }, false},
		"bytes moving to a name": {func(d string) { write(t, "su", d, "go.sum") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			before := mustKey(t, module(t))
			g.Expect(before).To(MatchRegexp(`^[0-9a-f]{16}$`))
			dir := module(t)
			tc.change(dir)
			g.Expect(mustKey(t, dir) == before).To(Equal(tc.same))
		})
	}
}

func TestFindModule(t *testing.T) {
	g := NewWithT(t)
	repository := t.TempDir()
	write(t, "module github.com/cairn-backup/cairn\n", repository, "go.mod")
	want := filepath.Join(repository, "hack", "cluster")
	write(t, "// Module cluster.\nmodule "+modulePath+"\n", want, "go.mod")
	write(t, "module "+modulePath+"/s3\n", want, "s3", "go.mod")
	write(t, "", want, "cmd", "a", "main.go")
	write(t, "", repository, "internal", "x", "x.go")
	for _, from := range []string{".", "internal/x", "hack", "hack/cluster", "hack/cluster/cmd/a", "hack/cluster/s3"} {
		g.Expect(FindModule(filepath.Join(repository, from))).To(Equal(want), "from %s", from)
	}
	_, err := FindModule(t.TempDir())
	g.Expect(err).To(MatchError(ErrNoModule))
}

func TestTheCacheDirectoryIsTheUsers(t *testing.T) {
	g := NewWithT(t)
	dir := module(t)
	t.Setenv("XDG_CACHE_HOME", "/somewhere")
	g.Expect(DefaultDir(dir)).To(Equal("/somewhere/cairn/cluster/" + mustKey(t, dir)))
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "/home/me")
	g.Expect(DefaultDir(dir)).To(Equal("/home/me/.cache/cairn/cluster/" + mustKey(t, dir)))
}

func TestACompleteBuildIsNotRepeated(t *testing.T) {
	for name, tc := range map[string]struct {
		marker, only string
		complete     bool
	}{
		"everything, all built":         {markerAll, "", true},
		"envtest's part, all built":     {markerAll, OnlyKube, true},
		"envtest's part, only it built": {markerKube, OnlyKube, true},
		"everything, only a part built": {markerKube, "", false},
		"tests' part, all built":        {markerAll, OnlyTest, true},
		"tests' part, only it built":    {markerTest, OnlyTest, true},
		"envtest's part, more built":    {markerTest, OnlyKube, true},
		"tests' part, less built":       {markerKube, OnlyTest, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			src, dir := module(t), filepath.Join(t.TempDir(), "bin")
			write(t, mustKey(t, src)+"\n", dir, tc.marker)
			g.Expect(Complete(dir, mustKey(t, src), tc.only)).To(Equal(tc.complete))
			g.Expect(Complete(dir, "0123456789abcdef", tc.only)).To(BeFalse(), "of other sources")
			if !tc.complete {
				return
			}
			var out bytes.Buffer
			g.Expect(Run(t.Context(),
				Options{Module: src, Dir: dir, Only: tc.only, Out: &out, Now: func() time.Time { return now }})).
				To(Succeed())
			g.Expect(out.String()).To(Equal(dir + " is complete\n"))
			fi, err := os.Stat(filepath.Join(dir, tc.marker))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(fi.ModTime().UTC()).To(Equal(now), "the use is noted")
		})
	}
}

func TestOnlyKubeIsTheOnlyPart(t *testing.T) {
	err := Run(t.Context(),
		Options{Module: module(t), Dir: t.TempDir(), Only: "kubelet", Out: &bytes.Buffer{}, Now: time.Now})
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring(`"kubelet"`)))
}

func TestProgramsAreTakenOverFromTheNewestBuild(t *testing.T) {
	g := NewWithT(t)
	cache := t.TempDir()
	for i, name := range []string{"old", "new", "broken"} {
		write(t, name, cache, name, "kube")
		if name != "broken" {
			m := write(t, "key", cache, name, markerKube)
			g.Expect(os.Chtimes(m, now, now.AddDate(0, 0, i))).To(Succeed())
		}
	}
	dir := filepath.Join(cache, "next")
	g.Expect(os.Mkdir(dir, 0o755)).To(Succeed())
	g.Expect(seed(dir)).To(Succeed())
	g.Expect(os.ReadFile(filepath.Join(dir, "kube"))).To(BeEquivalentTo("new"))
	g.Expect(filepath.Join(dir, markerKube)).NotTo(BeAnExistingFile())
	write(t, "mine", cache, "mine", "kube")
	g.Expect(seed(filepath.Join(cache, "mine"))).To(Succeed())
	g.Expect(os.ReadFile(filepath.Join(cache, "mine", "kube"))).To(BeEquivalentTo("mine"), "what is there stays")
}

func TestOldBuildsAreDeleted(t *testing.T) {
	g := NewWithT(t)
	cache := t.TempDir()
	for name, used := range map[string]time.Time{
		"old": now.Add(-unusedFor - time.Hour), "kept": now.Add(-unusedFor - time.Hour), "new": now.Add(-time.Hour),
	} {
		g.Expect(os.Chtimes(write(t, "key", cache, name, markerAll), used, used)).To(Succeed())
	}
	write(t, "", cache, "not ours", "file")
	g.Expect(prune(cache, filepath.Join(cache, "kept"), now)).To(Succeed())
	names := []string{}
	left, err := os.ReadDir(cache)
	g.Expect(err).NotTo(HaveOccurred())
	for _, e := range left {
		names = append(names, e.Name())
	}
	g.Expect(names).To(ConsistOf("kept", "new", "not ours"))
}

func TestComponentsKnowTheirVersion(t *testing.T) {
	g := NewWithT(t)
	g.Expect(ldflags("v1.36.3")).To(And(HaveSuffix("gitMajor=1 -X k8s.io/component-base/version.gitMinor=36"),
		ContainSubstring("gitVersion=v1.36.3 ")))
	_, err := ldflags("master")
	g.Expect(err).To(HaveOccurred())
}
