package kopia_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// A rule of the bucket that expires old files takes the key, which kopia writes once and keeps nowhere else.
func TestALostKeyComesBackFromItsCopy(t *testing.T) {
	t.Parallel()
	s3, sftp := enginetest.StartS3(t), enginetest.StartSFTP(t)
	s3.Prefix, sftp.Prefix = "lost-key", "lost-key"
	for name, c := range map[string]struct {
		at  repository.Storage
		end string
	}{
		"local": {local(t), ".f"},
		"S3":    {repository.Storage{S3: &s3}, ""},
		"SFTP":  {repository.Storage{SFTP: &sftp}, ".f"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx, d := NewWithT(t), t.Context(), kopia.Driver{}
			r, store := enginetest.Repo(t, c.at), open(t, c.at)
			key, spare := "kopia.repository"+c.end, layout.SpareKey+c.end
			g.Expect(d.Init(ctx, r)).To(Succeed())
			e := enginetest.Open(t, d, r)
			g.Expect(e.KeyLost()).To(BeFalse())
			g.Expect(e.KeepKey(ctx)).To(BeTrue(), "the first copy")
			g.Expect(e.KeepKey(ctx)).To(BeFalse(), "it is young and whole")
			original, err := store.Get(ctx, key)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(store.Get(ctx, spare)).To(Equal(original))

			g.Expect(store.Delete(ctx, key)).To(Succeed())
			g.Expect(e.KeepKey(ctx)).Error().To(HaveOccurred(), "who opened it with the key puts nothing back")
			g.Expect(d.Init(ctx, r)).To(MatchError(repository.ErrAlreadyInitialized))
			reader := r
			reader.ReadOnly = true
			e = enginetest.Open(t, d, reader)
			g.Expect(e.List(ctx, "")).To(BeEmpty())
			g.Expect(e.KeyLost()).To(BeTrue())
			wrong := r
			wrong.Password = "wrong"
			_, err = d.Open(ctx, wrong)
			g.Expect(err).To(MatchError(repository.ErrWrongPassword))
			g.Expect(store.Get(ctx, key)).Error().To(MatchError(backend.ErrNotFound), "opening writes nothing")

			g.Expect(enginetest.Open(t, d, r).KeepKey(ctx)).To(BeTrue())
			g.Expect(store.Get(ctx, key)).To(Equal(original))
			g.Expect(enginetest.Open(t, d, r).KeyLost()).To(BeFalse())

			g.Expect(store.Put(ctx, spare, []byte("no key"))).To(Succeed())
			g.Expect(store.Delete(ctx, key)).To(Succeed())
			_, err = d.Open(ctx, r)
			g.Expect(err).To(MatchError(repository.ErrNotInitialized), "as without a copy")
			g.Expect(store.Put(ctx, key, original)).To(Succeed())
			g.Expect(enginetest.Open(t, d, r).KeepKey(ctx)).To(BeTrue(), "the copy differs")
			g.Expect(store.Get(ctx, spare)).To(Equal(original))
		})
	}
}

func open(t testing.TB, s repository.Storage) backend.Store {
	t.Helper()
	store, err := backend.Open(s)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return store
}

func TestTheCopyOfAKeyStaysYoung(t *testing.T) {
	t.Parallel()
	g, ctx, r := NewWithT(t), t.Context(), initialized(t)
	e := enginetest.Open(t, kopia.Driver{}, r)
	g.Expect(e.KeepKey(ctx)).To(BeTrue())
	spare := filepath.Join(r.Storage.Local.Path, r.Storage.Local.Prefix, "kopia.key.copy.f")
	for age, again := range map[time.Duration]bool{6 * 24 * time.Hour: false, 8 * 24 * time.Hour: true} {
		at := time.Now().Add(-age)
		g.Expect(os.Chtimes(spare, at, at)).To(Succeed())
		g.Expect(e.KeepKey(ctx)).To(Equal(again), "%v", age)
	}
}

// A wipe removes the copy first: what it removes stays gone, whoever has opened the repository before.
func TestAWipedKeyDoesNotComeBack(t *testing.T) {
	t.Parallel()
	g, ctx, r := NewWithT(t), t.Context(), initialized(t)
	store := open(t, r.Storage)
	early := enginetest.Open(t, kopia.Driver{}, r)
	g.Expect(early.KeepKey(ctx)).To(BeTrue())
	g.Expect(store.Delete(ctx, "kopia.repository.f")).To(Succeed())
	late := enginetest.Open(t, kopia.Driver{}, r)
	g.Expect(late.KeyLost()).To(BeTrue())
	g.Expect(store.Delete(ctx, "kopia.key.copy.f")).To(Succeed())
	for _, e := range []repository.Engine{early, late} {
		g.Expect(e.KeepKey(ctx)).Error().To(HaveOccurred())
	}
	g.Expect(store.List(ctx, "")).NotTo(ContainElements(HavePrefix("kopia.repository"), HavePrefix("kopia.key")))
	_, err := kopia.Driver{}.Open(ctx, r)
	g.Expect(err).To(MatchError(repository.ErrNotInitialized))
}

// A copy that was cut off, or a full disk, leaves a part of the key.
func TestATornKeyIsReadFromItsCopy(t *testing.T) {
	t.Parallel()
	g, ctx, r := NewWithT(t), t.Context(), initialized(t)
	store := open(t, r.Storage)
	g.Expect(enginetest.Open(t, kopia.Driver{}, r).KeepKey(ctx)).To(BeTrue())
	whole, err := store.Get(ctx, "kopia.repository.f")
	g.Expect(err).NotTo(HaveOccurred())
	for _, part := range [][]byte{whole[:100], nil, make([]byte, len(whole))} {
		g.Expect(store.Put(ctx, "kopia.repository.f", part)).To(Succeed())
		e := enginetest.Open(t, kopia.Driver{}, r)
		g.Expect(e.KeyLost()).To(BeTrue())
		g.Expect(e.KeepKey(ctx)).To(BeFalse(), "nothing replaces a key")
		g.Expect(store.Get(ctx, "kopia.repository.f")).To(HaveLen(len(part)))
		g.Expect(store.Get(ctx, "kopia.key.copy.f")).To(Equal(whole))
	}
	g.Expect(store.Delete(ctx, "kopia.key.copy.f")).To(Succeed())
	_, err = kopia.Driver{}.Open(ctx, r)
	g.Expect(err).To(HaveOccurred(), "as without a copy")
}

// Whoever can write to the storage must not end a mover with a key that has no room in its memory.
func TestAKeyHasALimit(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"kopia.repository.f", "kopia.key.copy.f"} {
		g, ctx, r := NewWithT(t), t.Context(), initialized(t)
		e, dir := enginetest.Open(t, kopia.Driver{}, r), filepath.Join(r.Storage.Local.Path, r.Storage.Local.Prefix)
		g.Expect(e.KeepKey(ctx)).To(BeTrue())
		g.Expect(os.Truncate(filepath.Join(dir, name), 1<<40)).To(Succeed(), "it takes no room on the disk")
		other, err := kopia.Driver{}.Open(ctx, r)
		if name == "kopia.repository.f" {
			g.Expect(err).To(HaveOccurred())
			continue
		}
		g.Expect(err).NotTo(HaveOccurred(), "the key is whole")
		g.Expect(other.KeepKey(ctx)).To(BeTrue(), "the copy is written again")
		g.Expect(other.Close(ctx)).To(Succeed())
	}
}
