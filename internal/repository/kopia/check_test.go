package kopia_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kopia/kopia/repo/blob"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// withoutPacks is a storage from which packs vanish.
type withoutPacks struct {
	blob.Storage
	gone map[blob.ID]bool
}

// GetBlob implements blob.Storage.
func (w withoutPacks) GetBlob(ctx context.Context, id blob.ID, off, n int64, out blob.OutputBuffer) error {
	if w.gone[id] {
		return blob.ErrBlobNotFound
	}
	return w.Storage.GetBlob(ctx, id, off, n, out)
}

// ListBlobs implements blob.Storage.
func (w withoutPacks) ListBlobs(ctx context.Context, prefix blob.ID, each func(blob.Metadata) error) error {
	return w.Storage.ListBlobs(ctx, prefix, func(m blob.Metadata) error {
		if w.gone[m.BlobID] {
			return nil
		}
		return each(m)
	})
}

// TestCheckFindsSeveralDamagedFiles checks that damage is reported as damage, however much of it there is.
func TestCheckFindsSeveralDamagedFiles(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		dirs int    // directories with a file each
		gone string // the first letter of the packs that vanish: p for files, q for directories
	}{
		"a directory":                        {dirs: 1, gone: "q"},
		"two directories":                    {dirs: 2, gone: "q"},
		"more directories than a walk keeps": {dirs: 150, gone: "q"},
		"a file":                             {dirs: 1, gone: "p"},
		"two files":                          {dirs: 2, gone: "p"},
		"more files than a walk keeps":       {dirs: 150, gone: "p"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx, r, src := NewWithT(t), t.Context(), initialized(t), t.TempDir()
			backUp := func() string {
				e, err := kopia.Driver{}.Open(ctx, r)
				g.Expect(err).NotTo(HaveOccurred())
				s, err := e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(e.Close(ctx)).To(Succeed())
				return s.ID
			}
			for n := range tc.dirs {
				file := filepath.Join(src, fmt.Sprint(n), "file")
				g.Expect(os.Mkdir(filepath.Dir(file), 0o700)).To(Succeed())
				g.Expect(os.WriteFile(file, []byte(file), 0o600)).To(Succeed())
			}
			backUp()
			packs, gone := packFiles(t, r), map[blob.ID]bool{}
			g.Expect(os.WriteFile(filepath.Join(src, "more"), []byte("x"), 0o600)).To(Succeed())
			id := backUp() // its root lies in a new pack, and is whole
			e := enginetest.Open(t, kopia.Driver{Wrap: func(st blob.Storage) blob.Storage {
				return withoutPacks{st, gone}
			}}, r)
			g.Expect(e.Check(ctx, []string{id})).To(BeEmpty())
			for _, p := range packs {
				if id := packOf(r, p); strings.HasPrefix(id, tc.gone) {
					gone[blob.ID(id)] = true
				}
			}
			g.Expect(gone).NotTo(BeEmpty())
			g.Expect(e.Check(ctx, []string{id})).To(Equal([]string{id}))
			_, err := e.Verify(ctx, id, 0)
			g.Expect(err).To(MatchError(repository.ErrCorrupt))
		})
	}
}

// packOf returns the ID of the pack that a file of a local repository holds.
func packOf(r repository.Repository, file string) string {
	rel, _ := filepath.Rel(filepath.Join(r.Storage.Local.Path, r.Storage.Local.Prefix), file)
	return strings.TrimSuffix(strings.ReplaceAll(rel, "/", ""), ".f")
}
