package kopia_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/blob"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
	"github.com/cairn-backup/cairn/internal/repository/kopia/faultstore"
)

// TestAStorageThatDoesNotList checks that a running operation ends where the storage fails to list: kopia would
// repeat the listing for ever. The error must be that of the storage, not a cancelation, and the next operation
// must work as soon as the storage does.
func TestAStorageThatDoesNotList(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ err, kind error }{
		"because its credential may not": {errors.New("Access Denied."), repository.ErrAccessDenied},
		"because it is away": {
			errors.New("dial tcp 10.0.0.1:443: connect: connection refused"), repository.ErrUnreachable,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, src := NewWithT(t), t.TempDir()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			enginetest.Tree(t, src, 5)
			var armed atomic.Bool
			d := kopia.WithPatience(kopia.Driver{Wrap: func(st blob.Storage) blob.Storage {
				return faultstore.Wrap(st, func(call faultstore.Call) faultstore.Fault {
					if armed.Load() && call.Op == "list" {
						return faultstore.Fault{Err: c.err}
					}
					return faultstore.Fault{}
				})
			}}, time.Second)
			r := initialized(t)
			e := enginetest.Open(t, d, r)
			backup := func(name string) error {
				_, err := e.Backup(ctx, repository.Source{Name: name, Dir: src}, repository.BackupOptions{})
				return err
			}
			armed.Store(true)
			g.Expect(backup("first")).To(MatchError(c.kind))
			_, err := e.List(ctx, "")
			g.Expect(err).To(MatchError(c.kind))
			_, err = d.Open(ctx, enginetest.Repo(t, r.Storage))
			g.Expect(err).To(MatchError(c.kind))
			armed.Store(false)
			g.Expect(backup("second")).To(Succeed())
			g.Expect(ctx.Err()).NotTo(HaveOccurred())
		})
	}
}
