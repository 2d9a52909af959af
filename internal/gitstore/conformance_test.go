package gitstore

import (
	"context"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	. "github.com/onsi/gomega"
)

// servers are the ways in which a server lets us fetch, and the two transports.
var servers = map[string]struct {
	opts []serverOption
	ssh  bool
}{
	"HTTP, no filter":                  {},
	"HTTP, filter":                     {opts: []serverOption{blobless}},
	"HTTP, filter and objects by hash": {opts: []serverOption{lazyAll}},
	"HTTP, filter and reachable objects": {
		opts: []serverOption{withConfig("uploadpack.allowFilter=true", "uploadpack.allowReachableSHA1InWant=true")},
	},
	"HTTP, filter advertised but refused": {opts: []serverOption{lazyAll, withConfig("uploadpackfilter.allow=false")}},
	"HTTP, tree filter refused, blob granted": {
		opts: []serverOption{blobless, withConfig("uploadpackfilter.tree.allow=false")},
	},
	"SSH, no filter": {ssh: true},
	"SSH, filter":    {ssh: true, opts: []serverOption{lazyAll}},
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, tc := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx := NewWithT(t), t.Context()
			r := newRemote(t, tc.opts...)
			reach := func(*Options) {}
			if tc.ssh {
				r.startSSH()
				reach = func(o *Options) { o.URL, o.Auth = r.ssh.URL, r.ssh.Auth }
			}
			full := func(o *Options) { reach(o); o.FullBlobs = true }

			// An empty remote: the branch is created as an orphan.
			s := r.open(t, reach)
			g.Expect(s.Fetch(ctx)).To(Succeed())
			g.Expect(s.Head().IsZero()).To(BeTrue())
			g.Expect(s.List(ctx, "")).To(BeEmpty())
			want := map[string]string{"STATUS.md": "all well\n", record(1): "one\n"}
			res, err := s.Update(ctx, put(want))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(res.Outcome).To(Equal(accepted))
			g.Expect(r.tip()).To(Equal(res.Commit.String()))
			g.Expect(s.LastPushed()).To(Equal(res.Commit))
			r.check(g, want)

			// A second directory sees it, whatever it fetches.
			other := r.open(t, reach)
			g.Expect(other.Fetch(ctx)).To(Succeed())
			g.Expect(other.Head()).To(Equal(res.Commit))
			e, err := other.Lookup(ctx, record(1))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(e.Hash).To(Equal(BlobHash([]byte("one\n"))))
			list, err := other.List(ctx, "clusters/c1")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(list).To(HaveLen(1))
			_, err = other.Lookup(ctx, "no/such/file")
			g.Expect(err).To(MatchError(ErrNoFile))
			reader := r.open(t, full)
			g.Expect(reader.Fetch(ctx)).To(Succeed())
			g.Expect(reader.ReadFile(ctx, record(1))).To(BeEquivalentTo("one\n"))

			// Both write in turn; each sees the other's commit.
			for i := 2; i < 6; i++ {
				writer := []*Store{s, other}[i%2]
				want[record(i)] = "more\n"
				res, err = writer.Update(ctx, put(map[string]string{record(i): "more\n"}))
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(res.Attempts).To(Equal(1))
			}
			r.check(g, want)

			// Equal content makes no commit.
			res, err = s.Update(ctx, put(want))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(res.Outcome).To(Equal(Unchanged))
			g.Expect(res.Commit.String()).To(Equal(r.tip()))

			delete(want, "STATUS.md")
			restartAndDelete(t, g, s, reach)
			r.check(g, want)
		})
	}
}

// restartAndDelete shows that a directory survives a restart and a deletion.
func restartAndDelete(t *testing.T, g *WithT, s *Store, reach func(*Options)) {
	t.Helper()
	ctx := t.Context()
	o := Options{
		Dir: s.dir, Branch: branch, URL: s.remote.URL(),
		Auth: Auth{Username: user, Password: password, AllowPlainHTTP: true, Network: anywhere{}},
	}
	reach(&o)
	g.Expect(s.Close()).To(Succeed())
	s, err := Open(o)
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = s.Close() }()
	_, err = s.Update(ctx, func(context.Context, Reader) ([]Edit, Meta, error) {
		return []Edit{Delete("STATUS.md"), Delete("not/there")}, Meta{When: when}, nil
	})
	g.Expect(err).NotTo(HaveOccurred())
}

func TestReadFileInBloblessStore(t *testing.T) {
	t.Parallel()
	reachable := withConfig("uploadpack.allowFilter=true", "uploadpack.allowReachableSHA1InWant=true")
	small, large := "text", strings.Repeat("x", smallFile)
	for name, tc := range map[string]struct {
		opts []serverOption
		ssh  bool
		text string
		want error
	}{
		"objects by hash":        {opts: []serverOption{lazyAll}, text: small},
		"reachable objects":      {opts: []serverOption{reachable}, text: small},
		"by hash, over SSH":      {opts: []serverOption{lazyAll}, ssh: true, text: large},
		"reachable, over SSH":    {opts: []serverOption{reachable}, ssh: true, text: large},
		"filter only":            {opts: []serverOption{blobless}, text: small},
		"filter only, over SSH":  {opts: []serverOption{blobless}, ssh: true, text: small},
		"filter only, not small": {opts: []serverOption{blobless}, text: large, want: ErrNoBlob},
		"no filter at all":       {text: small},
		"no filter, nor small":   {text: large},
		"no filter, over SSH":    {ssh: true, text: small},
		"filter advertised, refused": {
			opts: []serverOption{blobless, withConfig("uploadpackfilter.allow=false")}, text: small,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx := NewWithT(t), t.Context()
			r := newRemote(t, tc.opts...)
			reach := func(*Options) {}
			if tc.ssh {
				r.startSSH()
				reach = func(o *Options) { o.URL, o.Auth = r.ssh.URL, r.ssh.Auth }
			}
			_, err := r.open(t).Update(ctx, put(map[string]string{"a": tc.text, "b": "another"}))
			g.Expect(err).NotTo(HaveOccurred())
			s := r.open(t, reach)
			g.Expect(s.Fetch(ctx)).To(Succeed())
			g.Expect(s.lazy != nil).To(Equal(strings.Contains(name, "objects")))
			before := s.Stats().Requests
			got, err := s.ReadFile(ctx, "a")
			if s.lazy != nil {
				g.Expect(s.Stats().Requests-before).To(Equal(2), "one for the tree, one for the blob")
			}
			if tc.want != nil {
				g.Expect(err).To(MatchError(tc.want))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(string(got)).To(Equal(tc.text))
			before = s.Stats().Requests
			g.Expect(s.ReadFile(ctx, "a")).To(BeEquivalentTo(tc.text))
			g.Expect(s.Stats().Requests).To(Equal(before), "the store keeps the content")
			_, err = s.Update(ctx, put(map[string]string{"a": tc.text + "!"}))
			g.Expect(err).NotTo(HaveOccurred())
		})
	}
}

func TestAppendOnly(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	r := newRemote(t)
	s := r.open(t)
	want := map[string]string{record(1): "one", "free.yaml": "x"}
	_, err := s.Update(ctx, put(want))
	g.Expect(err).NotTo(HaveOccurred())
	for name, edits := range map[string][]Edit{
		"changed":               {Put(record(1), []byte("other"))},
		"deleted":               {Delete(record(1))},
		"a directory over it":   {Put(record(1)+"/x", []byte("other"))},
		"a file over its day":   {Put(records+"/ns", []byte("other"))},
		"one good and one bad":  {Put(record(2), []byte("new")), Put(record(1), []byte("other"))},
		"two edits of one file": {Put("a", nil), Delete("a")},
		"file and directory":    {Put("a", nil), Put("a/b", nil)},
		"git directory":         {Put("x/.GIT/config", nil)},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			before := s.Head()
			h, err := s.Commit(ctx, edits, Meta{When: when})
			g.Expect(err).To(Or(MatchError(ErrAppendOnly), MatchError(ErrInvalidEdit)))
			g.Expect(h).To(Equal(before))
			g.Expect(s.Push(ctx)).To(Equal(Unchanged))
		})
	}
	// Allowed are the same edit again, new files, and changes elsewhere.
	want["free.yaml"], want[record(2)] = "y", "two"
	_, err = s.Update(ctx, put(want))
	g.Expect(err).NotTo(HaveOccurred())
	r.check(g, want)
}

func TestCommitBeforeFetch(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s := newRemote(t).open(t)
	_, err := s.Commit(t.Context(), []Edit{Put("a", nil)}, Meta{})
	g.Expect(err).To(MatchError(errNotFetched))
	_, err = s.Push(t.Context())
	g.Expect(err).To(MatchError(errNotFetched))
	g.Expect(s.Head()).To(Equal(plumbing.ZeroHash))
}

func TestCommitTextsAreCleaned(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	r := newRemote(t)
	s := r.open(t)
	_, err := s.Update(ctx, func(context.Context, Reader) ([]Edit, Meta, error) {
		return []Edit{Put("a", nil)}, Meta{
			Author: "Eve <root@x>\nparent 0000\x00", AuthorEmail: "a b>\n@x", When: when,
			Message: "\x1b[31mred\r\n\r\nsecond\xff\nthird\x00\u202e",
		}, nil
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(r.git("log", "-1", "--format=%an|%ae|%P|%B", branch)).
		To(Equal("Eve root@x parent 0000|ab @x||[31mred\n\nsecond?\nthird\n\n"))
	r.check(g, map[string]string{"a": ""})
}
