package gitstore

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/storage/memory"
	. "github.com/onsi/gomega"
)

// Another server, on another port or under another name, must not even be contacted.
func TestRedirectsCarryNoCredentials(t *testing.T) {
	t.Parallel()
	for name, host := range map[string]string{"another port": "127.0.0.1", "another name": "localhost"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			var asked atomic.Int32
			thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
			defer thief.Close()
			to, err := url.Parse(thief.URL)
			g.Expect(err).NotTo(HaveOccurred())
			target := "http://" + host + ":" + to.Port()
			honest := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, target+r.URL.RequestURI(), http.StatusFound)
			}))
			defer honest.Close()
			r, err := NewRemote(honest.URL+"/x", Auth{
				Username: user, Password: password, AllowPlainHTTP: true, Network: anywhere{},
			})
			g.Expect(err).NotTo(HaveOccurred())
			_, err = r.List(t.Context())
			g.Expect(err).To(MatchError(ContainSubstring("redirected to another")))
			g.Expect(asked.Load()).To(BeZero())
		})
	}
}

func TestRedirectOnTheSameServerIsFollowed(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	f := &faults{}
	r := newRemote(t, withMiddleware(f.middleware))
	f.next("GET /old.git/", 1, func(_ http.Handler, w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, "/repo.git/info/refs?"+req.URL.RawQuery, http.StatusMovedPermanently)
	})
	s := r.open(t, func(o *Options) { o.URL = r.HTTPAddress() + "/old.git" })
	g.Expect(s.Fetch(t.Context())).To(Succeed())
}

func TestHostKey(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	r.startSSH()
	u, err := url.Parse(r.ssh.URL)
	must(t, err)
	for name, tc := range map[string]struct {
		known string
		want  error
	}{
		"right":                        {string(r.ssh.Auth.KnownHosts), nil},
		"right, among others":          {knownHost(t, "other:22") + string(r.ssh.Auth.KnownHosts), nil},
		"another key of the same sort": {knownHost(t, u.Host), ErrHostKey},
		"only another host":            {knownHost(t, "other:22"), ErrHostKey},
		"a comment":                    {"# none\n", ErrHostKey},
		"not a known_hosts file":       {"CANARY CANARY\n", ErrHostKey},
		"empty":                        {"", ErrHostKey},
		"a key of the host is withdrawn": {"@revoked * " + keyOf(string(r.ssh.Auth.KnownHosts)) + "\n" +
			string(r.ssh.Auth.KnownHosts), ErrHostKey},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			auth := r.ssh.Auth
			auth.KnownHosts = []byte(tc.known)
			remote, err := NewRemote(r.ssh.URL, auth)
			if err == nil {
				var l *Listing
				if l, err = remote.List(t.Context()); err == nil {
					l.Close()
				}
			}
			if tc.want == nil {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(err).To(MatchError(tc.want))
			g.Expect(err.Error()).NotTo(ContainSubstring("CANARY"))
		})
	}
}

func TestWrongIdentity(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r := newRemote(t)
	r.startSSH()
	auth := r.ssh.Auth
	auth.Identity = "CANARY"
	_, err := NewRemote(r.ssh.URL, auth)
	g.Expect(err).To(MatchError(ErrAuth))
	g.Expect(err.Error()).NotTo(ContainSubstring("CANARY"))
}

// Sizes are checked after decompression and before anything is stored, even if deltas hide them.
func TestRemoteDownloadLimits(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	r := newRemote(t)
	noise := make([]byte, 300_000)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	s := r.open(t)
	_, err := s.Update(ctx, put(map[string]string{"zeros": string(make([]byte, 1<<20)), "noise": string(noise)}))
	g.Expect(err).NotTo(HaveOccurred())
	_, err = s.Update(ctx, put(map[string]string{"more": string(noise) + "x"}))
	g.Expect(err).NotTo(HaveOccurred())
	r.git("repack", "-adfq") // "noise" or "more" becomes a delta
	good := Download{Pack: 1 << 20, Object: 2 << 20, Unpacked: 4 << 20, TempDir: t.TempDir()}
	for name, tc := range map[string]struct {
		change func(*Download)
		want   error
	}{
		"within":          {func(*Download) {}, nil},
		"pack":            {func(d *Download) { d.Pack = 100_000 }, ErrTooLarge},
		"object of zeros": {func(d *Download) { d.Object = 1<<20 - 1 }, ErrTooLarge},
		"everything":      {func(d *Download) { d.Unpacked = 1<<20 + 500_000 }, ErrTooLarge},
		"a commit nobody has": {
			func(d *Download) { d.Want = []plumbing.Hash{BlobHash([]byte("none"))} }, ErrNotServed,
		},
		"a directory not there": {func(d *Download) { d.TempDir = "/proc/none" }, errLocal},
		"a commit that no ref names, over HTTP": {func(d *Download) {
			d.Want = []plumbing.Hash{plumbing.NewHash(r.git("rev-parse", branch+"~1")[:40])}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			remote, err := NewRemote(r.HTTPAddress()+"/repo.git",
				Auth{Username: user, Password: password, AllowPlainHTTP: true, Network: anywhere{}})
			g.Expect(err).NotTo(HaveOccurred())
			l, err := remote.List(ctx)
			g.Expect(err).NotTo(HaveOccurred())
			defer l.Close()
			object, commit, ok := l.Ref(plumbing.NewBranchReferenceName(branch))
			g.Expect(ok).To(BeTrue())
			g.Expect(object).To(Equal(commit))
			d := good
			d.Want, d.Depth = []plumbing.Hash{commit}, 1
			tc.change(&d)
			into := memory.NewStorage()
			err = l.Download(ctx, d, into)
			if tc.want == nil {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(into.Commits).To(HaveLen(1))
				g.Expect(into.Blobs).To(HaveKey(BlobHash(noise)))
				return
			}
			g.Expect(err).To(MatchError(tc.want))
			g.Expect(into.Objects).To(BeEmpty())
		})
	}
}

// keyOf is a known_hosts line without its host.
func keyOf(line string) string {
	for i := range line {
		if line[i] == ' ' {
			return line[i+1 : len(line)-1]
		}
	}
	return ""
}
