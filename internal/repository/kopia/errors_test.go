package kopia_test

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// TestS3Errors checks that each error gets its kind, and quickly enough for a status.
func TestS3Errors(t *testing.T) {
	t.Parallel()
	good := enginetest.StartS3(t)
	for name, c := range map[string]struct {
		change func(*repository.S3)
		want   error
	}{
		"a key nobody has": {func(s *repository.S3) { s.AccessKey = "nobody" }, repository.ErrBadCredentials},
		"a wrong secret":   {func(s *repository.S3) { s.SecretKey = "wrong" }, repository.ErrBadCredentials},
		"a missing bucket": {func(s *repository.S3) { s.Bucket = "missing" }, repository.ErrNoBucket},
		"nobody listens":   {func(s *repository.S3) { s.Endpoint = "127.0.0.1:1" }, repository.ErrUnreachable},
		"an unknown host": {
			func(s *repository.S3) { s.Endpoint = "does-not-exist.invalid:9000" }, repository.ErrUnreachable,
		},
		"TLS to a plain server":   {func(s *repository.S3) { s.Plain = false }, repository.ErrUnreachable},
		"nothing at this prefix":  {func(s *repository.S3) { s.Prefix = "elsewhere" }, repository.ErrNotInitialized},
		"an endpoint with scheme": {func(s *repository.S3) { s.Endpoint = "http://" + s.Endpoint }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			o := good
			c.change(&o)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := kopia.Driver{}.Open(ctx, enginetest.Repo(t, repository.Storage{S3: &o}))
			g.Expect(err).To(HaveOccurred())
			if c.want != nil {
				g.Expect(err).To(MatchError(c.want))
			}
			g.Expect(ctx.Err()).NotTo(HaveOccurred(), "an answer within the minute")
			g.Expect(err.Error()).NotTo(ContainSubstring(enginetest.S3SecretKey))
		})
	}
}

func TestLocalErrors(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	missing := repository.Storage{
		Local: &repository.Local{Path: filepath.Join(t.TempDir(), "not-mounted"), Prefix: "x"},
	}
	r := enginetest.Repo(t, missing)
	_, err := kopia.Driver{}.Open(t.Context(), r)
	g.Expect(err).To(MatchError(repository.ErrNoBucket))
	g.Expect(kopia.Driver{}.Init(t.Context(), r)).To(MatchError(repository.ErrNoBucket))
	g.Expect(missing.Local.Path).NotTo(BeADirectory(), "a volume that is not mounted is not made up")

	there := local(t)
	_, err = kopia.Driver{}.Open(t.Context(), enginetest.Repo(t, there))
	g.Expect(err).To(MatchError(repository.ErrNotInitialized))
	g.Expect(os.ReadDir(there.Local.Path)).To(BeEmpty(), "Open created something")
}

// TestMissingFormatBlob checks that Init refuses a damaged repository: a new one would make its data unreadable for
// ever.
func TestMissingFormatBlob(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r := initialized(t)
	format := filepath.Join(r.Storage.Local.Path, r.Storage.Local.Prefix, "kopia.repository.f")
	kept, err := os.ReadFile(format)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.Remove(format)).To(Succeed())

	_, err = kopia.Driver{}.Open(t.Context(), r)
	g.Expect(err).To(MatchError(repository.ErrNotInitialized))
	g.Expect(kopia.Driver{}.Init(t.Context(), r)).To(MatchError(repository.ErrCorrupt))
	g.Expect(format).NotTo(BeAnExistingFile())

	g.Expect(os.WriteFile(format, kept, 0o600)).To(Succeed())
	enginetest.Open(t, kopia.Driver{}, r)
}

// TestDamage checks that Verify finds a torn pack and reports it as corrupt, and that the other data can be restored.
func TestDamage(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	src := t.TempDir()
	enginetest.Tree(t, src, 100)
	r := initialized(t)
	e, err := kopia.Driver{}.Open(ctx, r)
	g.Expect(err).NotTo(HaveOccurred())
	s, err := e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(e.Close(ctx)).To(Succeed())
	packs := filepath.Join(r.Storage.Local.Path, r.Storage.Local.Prefix, "p")
	torn := 0
	g.Expect(filepath.WalkDir(packs, func(p string, de fs.DirEntry, err error) error {
		if err != nil || de.IsDir() {
			return err
		}
		torn++
		return os.Truncate(p, 1000)
	})).To(Succeed())
	g.Expect(torn).NotTo(BeZero())

	r.CacheDir = t.TempDir()
	e = enginetest.Open(t, kopia.Driver{}, r)
	res, err := e.Verify(ctx, s.ID, 100)
	g.Expect(err).To(MatchError(repository.ErrCorrupt))
	g.Expect(res.Problems).NotTo(BeEmpty())
	_, err = e.Restore(ctx, s.ID, t.TempDir(), repository.RestoreOptions{})
	g.Expect(err).To(MatchError(repository.ErrCorrupt))
}

// TestCheckNamesWhatIsDamaged checks that Check judges each snapshot by itself, although it walks shared data once.
func TestCheckNamesWhatIsDamaged(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	r := initialized(t)
	backUp := func(name string) (id string, packs []string) {
		before := packFiles(t, r)
		src := t.TempDir()
		g.Expect(os.WriteFile(filepath.Join(src, "shared"), bytes.Repeat([]byte("shared"), 1000), 0o600)).To(Succeed())
		own := make([]byte, 100<<10)
		rand.New(rand.NewSource(int64(name[0]))).Read(own)
		g.Expect(os.WriteFile(filepath.Join(src, "own"), own, 0o600)).To(Succeed())
		e, err := kopia.Driver{}.Open(ctx, r)
		g.Expect(err).NotTo(HaveOccurred())
		s, err := e.Backup(ctx, repository.Source{Name: name, Dir: src}, repository.BackupOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(e.Close(ctx)).To(Succeed())
		return s.ID, slices.DeleteFunc(packFiles(t, r), func(p string) bool { return slices.Contains(before, p) })
	}
	first, _ := backUp("a")
	second, packs := backUp("b")
	third, _ := backUp("c")
	all := []string{first, second, third}
	g.Expect(enginetest.Open(t, kopia.Driver{}, r).Check(ctx, all)).To(BeEmpty())
	removed := 0
	for _, p := range packs {
		if strings.HasPrefix(p, filepath.Join(r.Storage.Local.Path, r.Storage.Local.Prefix, "q")) {
			// It holds the list of snapshots. Without it no snapshot can be read.
			continue
		}
		removed++
		g.Expect(os.Remove(p)).To(Succeed())
		e, err := kopia.Driver{}.Open(ctx, r)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(e.Check(ctx, all)).To(Equal([]string{second}), p)
		g.Expect(e.Close(ctx)).To(Succeed())
	}
	g.Expect(removed).NotTo(BeZero())
	ctx, cancel := context.WithCancel(ctx)
	e := enginetest.Open(t, kopia.Driver{}, r)
	cancel()
	damaged, err := e.Check(ctx, all)
	g.Expect(err).To(MatchError(repository.ErrCanceled), "who can't look says nothing")
	g.Expect(damaged).To(BeEmpty())
}

// packFiles returns the files of a local repository that hold data and directories.
func packFiles(t *testing.T, r repository.Repository) []string {
	t.Helper()
	var out []string
	for _, kind := range []string{"p", "q"} {
		err := filepath.WalkDir(filepath.Join(r.Storage.Local.Path, r.Storage.Local.Prefix, kind),
			func(p string, de fs.DirEntry, err error) error {
				if err == nil && !de.IsDir() {
					out = append(out, p)
				}
				return err
			})
		NewWithT(t).Expect(err).To(Or(Succeed(), MatchError(fs.ErrNotExist)), "the first backup makes the directories")
	}
	return out
}

// TestNoSecretsOnDisk looks for the password and keys in everything the driver writes locally.
func TestNoSecretsOnDisk(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	s3 := enginetest.StartS3(t)
	s3.Prefix = "secrets"
	r := enginetest.Repo(t, repository.Storage{S3: &s3})
	r.CacheDir = t.TempDir()
	g.Expect(kopia.Driver{}.Init(ctx, r)).To(Succeed())
	e := enginetest.Open(t, kopia.Driver{}, r)
	_, err := e.Backup(ctx, repository.Source{Name: "s", Stream: io.LimitReader(zeros{}, 1<<20)},
		repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	files := 0
	for _, dir := range []string{r.WorkDir, r.CacheDir} {
		g.Expect(filepath.WalkDir(dir, func(p string, de fs.DirEntry, err error) error {
			if err != nil || de.IsDir() {
				return err
			}
			files++
			b, err := os.ReadFile(p)
			for _, secret := range []string{r.Password, s3.SecretKey, s3.AccessKey} {
				g.Expect(bytes.Contains(b, []byte(secret))).To(BeFalse(), p)
			}
			return err
		})).To(Succeed())
	}
	g.Expect(files).NotTo(BeZero())
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// initialized returns a new local repository.
func initialized(t testing.TB) repository.Repository {
	t.Helper()
	r := enginetest.Repo(t, local(t))
	NewWithT(t).Expect(kopia.Driver{}.Init(t.Context(), r)).To(Succeed())
	return r
}
