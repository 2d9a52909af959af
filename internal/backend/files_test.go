package backend_test

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"

	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
)

// calls are all operations of a Store.
var calls = map[string]func(context.Context, backend.Store) error{
	"get":  func(ctx context.Context, s backend.Store) error { _, err := s.Get(ctx, "metadata.yaml"); return err },
	"put":  func(ctx context.Context, s backend.Store) error { return s.Put(ctx, "metadata.yaml", []byte("x")) },
	"list": func(ctx context.Context, s backend.Store) error { _, err := s.List(ctx, ""); return err },
	"put if absent": func(ctx context.Context, s backend.Store) error {
		return s.PutIfAbsent(ctx, "metadata.yaml", []byte("x"))
	},
}

// refuses expects that every operation fails with the kind, within the time for a status, and without a secret.
func refuses(t *testing.T, storage repository.Storage, want error, within time.Duration, secrets ...string) {
	t.Helper()
	for op, call := range calls {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			s, err := backend.Open(storage)
			if err == nil {
				g.Expect(backend.Within(s)).To(Equal(15*time.Second), "the following calls wait less or more")
				backend.SetWithin(s, cmp.Or(within, time.Minute))
				err = call(ctx, s)
			}
			g.Expect(err).To(MatchError(want))
			g.Expect(ctx.Err()).NotTo(HaveOccurred(), "an answer in time")
			g.Expect(err.Error()).NotTo(MatchRegexp("0x[0-9a-f]{6}"), "the same error has the same text")
			for _, secret := range secrets {
				g.Expect(err.Error()).NotTo(ContainSubstring(secret))
			}
		})
	}
}

// otherPort is a port of this machine, for which known_hosts has the server's key too.
func otherPort(o *repository.SFTP, addr string) {
	port, _ := strconv.Atoi(addr[strings.LastIndexByte(addr, ':')+1:])
	_, key, _ := strings.Cut(string(o.KnownHosts), " ")
	o.Port, o.KnownHosts = port, []byte(xknownhosts.Normalize(addr)+" "+key)
}

func TestSFTPErrors(t *testing.T) {
	good, other := enginetest.StartSFTP(t), enginetest.StartSFTP(t)
	for name, c := range map[string]struct {
		change func(*repository.SFTP)
		want   error
		within time.Duration
	}{
		"an unknown key": {
			change: func(o *repository.SFTP) { o.Identity = other.Identity },
			want:   repository.ErrBadCredentials,
		},
		"an invalid key": {
			change: func(o *repository.SFTP) { o.Identity = []byte("nonsense") },
			want:   repository.ErrBadCredentials,
		},
		"a wrong password": {
			change: func(o *repository.SFTP) { o.Identity, o.Password = nil, "wrong-secret" },
			want:   repository.ErrBadCredentials,
		},
		"an unknown user": {
			change: func(o *repository.SFTP) { o.Username = "nobody-here" },
			want:   repository.ErrBadCredentials,
		},
		"another host key": {change: func(o *repository.SFTP) { otherKey(o, other) }, want: repository.ErrUntrusted},
		"no host key": {
			change: func(o *repository.SFTP) { o.KnownHosts = []byte("# none\n") },
			want:   repository.ErrUntrusted,
		},
		"a missing directory": {
			change: func(o *repository.SFTP) { o.Path += "/missing" }, want: repository.ErrNoBucket,
		},
		"nobody listens": {
			change: func(o *repository.SFTP) { otherPort(o, "127.0.0.1:1") },
			want:   repository.ErrUnreachable,
		},
		"a server that is mute": {
			change: func(o *repository.SFTP) { otherPort(o, mute(t)) }, want: repository.ErrUnreachable,
			within: time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			c.change(&o)
			refuses(t, repository.Storage{SFTP: &o}, c.want, c.within, "wrong-secret", string(good.Identity))
		})
	}
	t.Run("nothing was created", func(t *testing.T) {
		NewWithT(t).Expect(filepath.Join(good.Path, "missing")).NotTo(BeADirectory())
	})
}

// otherKey is the right server with the key of another server.
func otherKey(o *repository.SFTP, other repository.SFTP) {
	host, _, _ := strings.Cut(string(o.KnownHosts), " ")
	_, key, _ := strings.Cut(string(other.KnownHosts), " ")
	o.KnownHosts = []byte(host + " " + key)
}

// TestAFullSFTPServer: OpenSSH only answers "Failure"; the store finds out that the disk is full.
func TestAFullSFTPServer(t *testing.T) {
	g, o := NewWithT(t), enginetest.StartSFTP(t)
	o.Path = fullDisk(t)
	s, err := backend.Open(repository.Storage{SFTP: &o})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Put(t.Context(), "big", make([]byte, 3<<20))).To(MatchError(repository.ErrStorageFull))
	g.Expect(os.ReadDir(o.Path)).To(BeEmpty(), "nothing is left behind")
}

// TestAnSFTPServerThatRestarts: the next call connects again. The error of the call that uses the old connection
// depends on the moment, so the test repeats it.
func TestAnSFTPServerThatRestarts(t *testing.T) {
	g, o := NewWithT(t), enginetest.StartSFTP(t)
	proxy, cut := cuttable(t, o.Port)
	otherPort(&o, proxy)
	s, err := backend.Open(repository.Storage{SFTP: &o})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Put(t.Context(), "a", []byte("1"))).To(Succeed())
	for range 50 {
		cut()
		_, err = s.Get(t.Context(), "a")
		if err != nil { // this one may still find the old connection
			g.Expect(err).To(MatchError(repository.ErrUnreachable))
		}
		g.Expect(s.Get(t.Context(), "a")).To(BeEquivalentTo("1"))
	}
}

func TestWebDAVErrors(t *testing.T) {
	good, ca := enginetest.StartWebDAV(t)
	_, _, otherCA := enginetest.Certificate(t)
	root := strings.TrimSuffix(good.URL, "/backups")
	for name, c := range map[string]struct {
		change func(*repository.WebDAV)
		want   error
		within time.Duration
	}{
		"a wrong password": {
			change: func(o *repository.WebDAV) { o.Password = "wrong-secret" },
			want:   repository.ErrBadCredentials,
		},
		"nobody logs in": {
			change: func(o *repository.WebDAV) { o.Username, o.Password = "", "" },
			want:   repository.ErrBadCredentials,
		},
		"a missing collection": {
			change: func(o *repository.WebDAV) { o.URL += "/missing" }, want: repository.ErrNoBucket,
		},
		"a forbidden collection": {
			change: func(o *repository.WebDAV) { o.URL = root + "/forbidden" },
			want:   repository.ErrAccessDenied,
		},
		"another fingerprint": {
			change: func(o *repository.WebDAV) { o.Fingerprint = strings.Repeat("ab", 32) },
			want:   repository.ErrUntrusted,
		},
		"no authority": {change: func(o *repository.WebDAV) { o.Fingerprint = "" }, want: repository.ErrUntrusted},
		"another authority": {
			change: func(o *repository.WebDAV) { o.Fingerprint, o.CA = "", otherCA },
			want:   repository.ErrUntrusted,
		},
		"nobody listens": {
			change: func(o *repository.WebDAV) { o.URL = "https://127.0.0.1:1/x" },
			want:   repository.ErrUnreachable,
		},
		"an unknown host": {
			change: func(o *repository.WebDAV) { o.URL = "https://does-not-exist.invalid/x" },
			want:   repository.ErrUnreachable,
		},
		"a server that is mute": {
			change: func(o *repository.WebDAV) { o.URL = "http://" + mute(t) + "/x" },
			want:   repository.ErrUnreachable, within: time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			c.change(&o)
			refuses(t, repository.Storage{WebDAV: &o}, c.want, c.within, "wrong-secret", good.Password)
		})
	}
	t.Run("its authority is given", func(t *testing.T) {
		g, o := NewWithT(t), good
		o.Fingerprint, o.CA = "", ca
		s, err := backend.Open(repository.Storage{WebDAV: &o})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(s.Put(t.Context(), "x", []byte("x"))).To(Succeed())
	})
}

func TestGCSErrors(t *testing.T) {
	good := enginetest.StartGCS(t)
	t.Run("a missing bucket", func(t *testing.T) {
		o := good
		o.Bucket = "missing"
		refuses(t, repository.Storage{GCS: &o}, repository.ErrNoBucket, 0)
	})
	t.Run("nobody listens", func(t *testing.T) {
		t.Setenv("STORAGE_EMULATOR_HOST", "127.0.0.1:1")
		s, err := backend.Open(repository.Storage{GCS: &good})
		g := NewWithT(t)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(s.Put(t.Context(), "x", nil)).To(MatchError(repository.ErrUnreachable))
	})
	t.Run("a server that is mute", func(t *testing.T) {
		t.Setenv("STORAGE_EMULATOR_HOST", mute(t))
		s, err := backend.Open(repository.Storage{GCS: &good})
		g := NewWithT(t)
		g.Expect(err).NotTo(HaveOccurred())
		backend.SetWithin(s, time.Second)
		_, err = s.Get(t.Context(), "x")
		g.Expect(err).To(MatchError(ContainSubstring("no answer within 1s")))
	})
}
