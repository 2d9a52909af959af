package backend_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
)

func mark(t testing.TB, s repository.Storage, file string) {
	t.Helper()
	g := NewWithT(t)
	store, err := backend.Open(s)
	g.Expect(err).NotTo(HaveOccurred())
	text, err := layout.RepositoryMetadata{
		Driver: "Kopia", ClusterUID: "c", RepositoryUID: "r", Created: time.Now(),
	}.Marshal()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(store.Put(t.Context(), file, text)).To(Succeed())
}

// TestAboveAPrefixThatACredentialIsLimitedTo: what the storage hides there fails no init.
func TestAboveAPrefixThatACredentialIsLimitedTo(t *testing.T) {
	s3 := enginetest.StartS3(t)
	mark(t, repository.Storage{S3: &s3}, "teams/repository.yaml")
	for name, c := range map[string]struct {
		status int
		code   string
		fails  bool
		finds  bool
	}{
		"everything can be read":         {finds: true},
		"the credential ends there":      {status: http.StatusForbidden, code: "AccessDenied"},
		"the server knows no such place": {status: http.StatusMethodNotAllowed, code: "MethodNotAllowed"},
		"the server does not know now":   {status: http.StatusConflict, code: "OperationAborted", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx, o := NewWithT(t), t.Context(), s3
			to := &url.URL{Scheme: "http", Host: s3.Endpoint}
			proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(to)
				r.Out.Host = r.In.Host // it is signed
			}}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				key, _ := strings.CutPrefix(r.URL.Path, "/bucket/")
				if c.status != 0 && key != r.URL.Path && key != "" && !strings.HasPrefix(key, "teams/shop/") {
					w.WriteHeader(c.status)
					fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", c.code)
					return
				}
				proxy.ServeHTTP(w, r)
			}))
			t.Cleanup(server.Close)
			o.Endpoint, o.Prefix = server.Listener.Addr().String(), "teams/shop"
			for _, directory := range []string{"", "web", "a/b"} {
				place, err := backend.Above(ctx, repository.Storage{S3: &o}, directory)
				if c.fails {
					g.Expect(err).To(MatchError(ContainSubstring(c.code)))
					continue
				}
				g.Expect(err).NotTo(HaveOccurred())
				if c.finds {
					g.Expect(place).To(Equal(&backend.Place{Path: "teams"}))
				} else {
					g.Expect(place).To(BeNil())
				}
			}
		})
	}
	t.Run("but inside the prefix it fails", func(t *testing.T) {
		g, o := NewWithT(t), s3
		o.SecretKey, o.Prefix = "wrong", "teams/shop"
		_, err := backend.Above(t.Context(), repository.Storage{S3: &o}, "web")
		g.Expect(err).To(HaveOccurred())
	})
}

// TestWipe removes a repository on a real object store, and nothing else.
func TestWipe(t *testing.T) {
	s3 := enginetest.StartS3(t)
	for name, s := range map[string]repository.Storage{
		"S3":    {S3: &s3},
		"local": {Local: &repository.Local{Path: t.TempDir(), Prefix: "cairn"}},
	} {
		t.Run(name, func(t *testing.T) {
			g, ctx := NewWithT(t), t.Context()
			store, err := backend.Open(s)
			g.Expect(err).NotTo(HaveOccurred())
			for _, file := range []string{
				"repository.yaml", "kopia/p01/234/56789abcdef0123.f", "kopia/xn0_1",
				"kopia/deep/theirs/kopia/p/1",
				"snapshots/s/c.yaml", "snapshots/0123abcd", "repository/v1/config", "kopia/notes",
				"removed/u.yaml", "removed/deeper/u.yaml", "notes/a.txt", "keeper/lease-000000000001.yaml",
				"keeper/kopia/p/1",
			} {
				g.Expect(store.Put(ctx, "web/"+file, []byte("x"))).To(Succeed())
			}
			for _, place := range []string{"web/kopia/deep/theirs", "web/keeper", "web2"} {
				mark(t, s, place+"/repository.yaml")
			}
			place, err := backend.Below(ctx, s, "web")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(place.Path).To(HaveSuffix("web/keeper"))
			left, err := backend.Wipe(ctx, store, "web", func(context.Context) error { return nil })
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(left).To(Equal(backend.Left{Files: 9, Places: []string{"web/keeper", "web/kopia/deep/theirs"}}))
			g.Expect(store.List(ctx, "")).To(Equal([]string{
				"web/keeper/kopia/p/1", "web/keeper/lease-000000000001.yaml", "web/keeper/repository.yaml",
				"web/kopia/deep/theirs/kopia/p/1", "web/kopia/deep/theirs/repository.yaml", "web/kopia/notes",
				"web/notes/a.txt", "web/removed/deeper/u.yaml", "web/repository.yaml", "web/repository/v1/config",
				"web/snapshots/0123abcd", "web2/repository.yaml",
			}))
		})
	}
}

// whereLinksCanBe runs a test on each storage that can hold symbolic links. root is its directory on this machine.
func whereLinksCanBe(t *testing.T, test func(t *testing.T, root string, store backend.Store)) {
	t.Helper()
	sftp := enginetest.StartSFTP(t)
	for name, s := range map[string]repository.Storage{
		"local": {Local: &repository.Local{Path: t.TempDir()}},
		"SFTP":  {SFTP: &sftp},
	} {
		t.Run(name, func(t *testing.T) {
			root := sftp.Path
			if s.Local != nil {
				root = s.Local.Path
			}
			store, err := backend.Open(s)
			NewWithT(t).Expect(err).NotTo(HaveOccurred())
			test(t, root, store)
		})
	}
}

// An administrator has moved data of a repository to another place of the volume, or of the file server. A link leads
// there, and its removal would leave the data.
func TestAWipeSeesLinks(t *testing.T) {
	whereLinksCanBe(t, func(t *testing.T, root string, store backend.Store) {
		g, ctx := NewWithT(t), t.Context()
		for _, file := range []string{
			"web/repository.yaml", "web/snapshots/s/c.yaml", "big/p01/234/56789abcdef0123.f", "big/xn0_1",
		} {
			g.Expect(store.Put(ctx, file, []byte("x"))).To(Succeed())
		}
		g.Expect(os.Symlink("../big", filepath.Join(root, "web/kopia"))).To(Succeed())
		owned := func(context.Context) error { return nil }
		_, err := backend.Wipe(ctx, store, "web", owned)
		g.Expect(err).To(And(MatchError(backend.ErrLink), MatchError(ContainSubstring("web/kopia"))))
		_, _, err = backend.Inspect(ctx, store, "web")
		g.Expect(err).To(MatchError(backend.ErrLink), "it is not wiped")
		g.Expect(store.List(ctx, "web/snapshots")).To(HaveLen(1), "nothing was removed")

		g.Expect(os.Remove(filepath.Join(root, "web/kopia"))).To(Succeed())
		g.Expect(os.Rename(filepath.Join(root, "big"), filepath.Join(root, "web/kopia"))).To(Succeed())
		g.Expect(os.Symlink("../../elsewhere", filepath.Join(root, "web/kopia/p02"))).To(Succeed())
		g.Expect(store.Put(ctx, "web/removed", []byte("a person's"))).To(Succeed())
		left, err := backend.Wipe(ctx, store, "web", owned)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(left).To(Equal(backend.Left{Files: 2}), "the link in a part, and the file in the place of one")
		g.Expect(store.List(ctx, "")).To(Equal([]string{"web/removed", "web/repository.yaml"}))
		g.Expect(os.Readlink(filepath.Join(root, "web/kopia/p02"))).To(Equal("../../elsewhere"))
	})
}

// The disk behind a link is not mounted: what it holds is not wiped.
func TestAWipeSeesLinksThatLeadNowhere(t *testing.T) {
	whereLinksCanBe(t, func(t *testing.T, root string, store backend.Store) {
		g, ctx := NewWithT(t), t.Context()
		g.Expect(store.Put(ctx, "team/web/a/repository.yaml", []byte("x"))).To(Succeed())
		g.Expect(os.Symlink("nowhere", filepath.Join(root, "team/db"))).To(Succeed())
		g.Expect(os.Symlink("team", filepath.Join(root, "alias"))).To(Succeed())
		for directory, link := range map[string]string{
			"team/db": "team/db", "team/db/a": "team/db", "alias/db/a": "alias/db",
		} {
			_, _, err := backend.Inspect(ctx, store, directory)
			g.Expect(err).To(MatchError(backend.ErrLink))
			g.Expect(err).To(MatchError(HaveSuffix(link)), directory)
		}
		for _, directory := range []string{"team/web/b", "team/none/a", "none/web/a", "alias/web/b"} {
			_, own, err := backend.Inspect(ctx, store, directory)
			g.Expect(err).NotTo(HaveOccurred(), directory)
			g.Expect(own).To(BeFalse())
		}
	})
}

// stopping is a Store that ends a wipe before it removes the engine's data as a whole.
type stopping struct{ backend.Store }

func (s stopping) DeleteAll(ctx context.Context, directory string) error {
	if path.Base(directory) == "kopia" {
		return errors.New("stopped")
	}
	return s.Store.DeleteAll(ctx, directory)
}

// A repository of which a wipe has removed a part must not be opened with its spare key.
func TestAWipeRemovesTheSecondCopyOfTheKeyFirst(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	store, err := backend.Open(repository.Storage{Local: &repository.Local{Path: t.TempDir()}})
	g.Expect(err).NotTo(HaveOccurred())
	for _, file := range []string{"kopia.repository.f", "kopia.key.copy.f", "kopia.key.copy"} {
		g.Expect(store.Put(ctx, "web/kopia/"+file, []byte("x"))).To(Succeed())
	}
	_, err = backend.Wipe(ctx, stopping{store}, "web", func(context.Context) error { return nil })
	g.Expect(err).To(MatchError("stopped"))
	g.Expect(store.List(ctx, "web")).To(Equal([]string{"web/kopia/kopia.repository.f"}))
}
