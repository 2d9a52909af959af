package gitstore

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"
)

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	held := r.open(t)
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"no directory":           {func(o *Options) { o.Dir = "" }, "directory is not set"},
		"a directory in use":     {func(o *Options) { o.Dir = held.dir }, errLocked.Error()},
		"somebody's directory":   {func(o *Options) { o.Dir = foreign }, ErrForeign.Error()},
		"local path":             {func(o *Options) { o.URL = r.repo }, ErrURL.Error()},
		"file URL":               {func(o *Options) { o.URL = "file://" + r.repo }, ErrURL.Error()},
		"ext transport":          {func(o *Options) { o.URL = "ext::sh -c x" }, ErrURL.Error()},
		"credentials in the URL": {func(o *Options) { o.URL = "http://u:s3cr3t@h/x" }, "move them to a Secret"},
		"password over HTTP":     {func(o *Options) { o.Auth.AllowPlainHTTP = false }, "not sent over plain HTTP"},
		"token in the query":     {func(o *Options) { o.URL += "?token=abc" }, "query"},
		"two sorts of auth":      {func(o *Options) { o.Auth.BearerToken = "t" }, "together"},
		"option as branch":       {func(o *Options) { o.Branch = "--upload-pack=x" }, "not valid"},
		"full name as branch":    {func(o *Options) { o.Branch = "refs/heads/x" }, "not valid"},
		"branch with a newline":  {func(o *Options) { o.Branch = "x\ny" }, "not valid"},
		"no branch":              {func(o *Options) { o.Branch = "" }, "not valid"},
		"SSH without known host": {
			func(o *Options) { o.URL, o.Auth = "git@h:r.git", Auth{Network: anywhere{}, Identity: newSSHKey(t)} },
			"known_hosts is required",
		},
		"SSH, host not known": {func(o *Options) {
			o.URL, o.Auth = "git@h:r.git", Auth{
				Network: anywhere{}, Identity: newSSHKey(t), KnownHosts: []byte(knownHost(t, "other:22")),
			}
		}, "known_hosts has no key of h:22"},
		"bad CA":           {func(o *Options) { o.Auth.CAFile = []byte("x") }, "CA file"},
		"append-only .git": {func(o *Options) { o.AppendOnly = []string{".git"} }, "append-only"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			o := r.options(t)
			tc.change(&o)
			s, err := Open(o)
			g.Expect(err).To(MatchError(ContainSubstring(tc.want)))
			g.Expect(err.Error()).NotTo(ContainSubstring(password))
			g.Expect(s).To(BeNil())
		})
	}
	if _, err := os.Stat(filepath.Join(foreign, "thesis.txt")); err != nil {
		t.Fatal("the foreign file is gone", err)
	}
}

func TestDirectoryBelongsToOneBranch(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	r := newRemote(t)
	s := r.open(t)
	_, err := s.Update(ctx, put(map[string]string{"a": "x"}))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Close()).To(Succeed())
	g.Expect(s.Fetch(ctx)).To(MatchError(os.ErrClosed))
	o := r.options(t)
	o.Dir, o.Branch = s.dir, "other"
	_, err = Open(o)
	g.Expect(err).To(MatchError(ErrForeign))
	// The same repository in another spelling is the same store.
	o.Branch, o.URL = branch, strings.Replace(o.URL, "http://", "HTTP://", 1)+"/"
	again, err := Open(o)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(again.LastPushed().String()).To(Equal(r.tip()))
	g.Expect(again.Close()).To(Succeed())
	raw, err := os.ReadFile(filepath.Join(s.dir, stateName))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(raw)).NotTo(ContainSubstring(password))
}

// A child process that was forked and has not executed its program yet holds copies of our open files.
func TestCloseUnlocksWhoeverHasACopy(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r := newRemote(t)
	s := r.open(t)
	held, err := syscall.Dup(int(s.lock.Fd()))
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = syscall.Close(held) }()
	g.Expect(s.Close()).To(Succeed())
	again := r.open(t, func(o *Options) { o.Dir = s.dir })
	g.Expect(again.Close()).To(Succeed())
}

// TestCorruptStore damages the directory in many ways. The next Update must succeed and the remote must stay whole.
// Nothing may panic.
func TestCorruptStore(t *testing.T) {
	t.Parallel()
	damage := map[string]func(t *testing.T, path string, rnd *rand.Rand){
		"emptied":   func(t *testing.T, p string, _ *rand.Rand) { must(t, os.Truncate(p, 0)) },
		"halved":    func(t *testing.T, p string, _ *rand.Rand) { must(t, os.Truncate(p, size(t, p)/2)) },
		"deleted":   func(t *testing.T, p string, _ *rand.Rand) { must(t, os.Remove(p)) },
		"scrambled": scramble,
	}
	patterns := []string{
		"objects.git/objects/??/*", "objects.git/objects/pack/*.pack", "objects.git/objects/pack/*.idx",
		"objects.git/objects/*/*", "store.json",
	}
	for config, opts := range map[string][]serverOption{"plain": nil, "lazy": {lazyAll}} {
		base, dir := packAndLoose(t, opts)
		for what, do := range damage {
			for _, pattern := range patterns {
				t.Run(what+" "+pattern+" "+config, func(t *testing.T) {
					t.Parallel()
					g, ctx, rnd := NewWithT(t), t.Context(), rand.New(rand.NewPCG(1, 2))
					r, dir := base.copyOf(t, dir)
					files, err := filepath.Glob(filepath.Join(dir, pattern))
					g.Expect(err).NotTo(HaveOccurred())
					g.Expect(files).NotTo(BeEmpty())
					for _, f := range files {
						must(t, os.Chmod(f, 0o600))
						do(t, f, rnd)
					}
					s := r.open(t, func(o *Options) { o.Dir = dir })
					if config == "lazy" { // both doors heal
						g.Expect(s.Fetch(ctx)).To(Succeed())
					}
					want := map[string]string{record(0): "zero", record(1): "one", record(2): "two"}
					_, err = s.Update(ctx, put(want))
					g.Expect(err).NotTo(HaveOccurred())
					r.check(g, want)
				})
			}
		}
	}
}

// packAndLoose is a directory with a pack and loose objects.
func packAndLoose(t *testing.T, opts []serverOption) (_ *remote, dir string) {
	t.Helper()
	g, ctx := NewWithT(t), t.Context()
	r := newRemote(t, opts...)
	want := map[string]string{record(0): "zero"}
	_, err := r.open(t).Update(ctx, put(want))
	g.Expect(err).NotTo(HaveOccurred())
	s := r.open(t)
	want[record(1)] = "one"
	_, err = s.Update(ctx, put(want))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Close()).To(Succeed())
	return r, s.dir
}

func TestRecycling(t *testing.T) {
	t.Parallel()
	for config, opts := range map[string][]serverOption{"plain": nil, "blob-less": {blobless}, "lazy": {lazyAll}} {
		t.Run(config, func(t *testing.T) {
			t.Parallel()
			g, ctx := NewWithT(t), t.Context()
			r := newRemote(t, opts...)
			s := r.open(t, func(o *Options) { o.Limits.LooseFiles, o.Limits.Packs = 60, 4 })
			other := r.open(t)
			want := map[string]string{}
			for i := range 30 {
				want[record(i)] = "x"
				_, err := []*Store{s, s, s, other}[i%4].Update(ctx, put(map[string]string{record(i): "x"}))
				g.Expect(err).NotTo(HaveOccurred())
			}
			r.check(g, want)
			g.Expect(s.Stats().Recycles).To(BeNumerically(">", 1))
			objects, err := openObjects(filepath.Join(s.dir, objectsName))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(objects.loose).To(BeNumerically("<", 60+20))
			g.Expect(objects.loose).To(BeNumerically("<=", s.objects.loose), "the estimate must not be below the truth")
		})
	}
}

func scramble(t *testing.T, p string, rnd *rand.Rand) {
	raw, err := os.ReadFile(p)
	must(t, err)
	for range 1 + len(raw)/16 {
		if len(raw) > 0 {
			raw[rnd.IntN(len(raw))] ^= byte(1 + rnd.IntN(255))
		}
	}
	must(t, os.WriteFile(p, raw, 0o600))
}

func size(t *testing.T, p string) int64 {
	info, err := os.Stat(p)
	must(t, err)
	return info.Size()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
