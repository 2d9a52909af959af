package kopia_test

import (
	"sync/atomic"
	"testing"

	"github.com/kopia/kopia/repo/blob"
	"github.com/minio/minio-go/v7"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
	"github.com/cairn-backup/cairn/internal/repository/kopia/faultstore"
)

// A credential without the right to delete is enough to back up and to restore. Maintenance needs another credential.
func TestAWriterWithoutTheRightToDelete(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	r := enginetest.Repo(t, local(t))
	g.Expect(kopia.Driver{}.Init(ctx, r)).To(Succeed())

	var refused atomic.Int64
	denied := kopia.Driver{Wrap: func(st blob.Storage) blob.Storage {
		return faultstore.Wrap(st, func(c faultstore.Call) faultstore.Fault {
			if c.Op != "delete" {
				return faultstore.Fault{}
			}
			refused.Add(1)
			return faultstore.Fault{Err: minio.ErrorResponse{Code: minio.AccessDenied, Message: "Access Denied."}}
		})
	}}
	source := repository.Source{Name: "shop/PersistentVolumeClaim/web/pvc", Dir: t.TempDir()}
	enginetest.Tree(t, source.Dir, 3)
	e := enginetest.Open(t, denied, r)
	snapshot, err := e.Backup(ctx, source, repository.BackupOptions{Tags: map[string]string{"a": "b"}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(refused.Load()).To(BeNumerically(">", 0), "else this proves nothing")

	owner := enginetest.Open(t, kopia.Driver{}, r)
	g.Expect(owner.List(ctx, "")).To(HaveLen(1))
	_, err = owner.Restore(ctx, snapshot.ID, t.TempDir(), repository.RestoreOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(owner.Maintain(ctx, repository.MaintainOptions{Full: true})).
		To(Succeed(), "what is left over is in nobody's way")
	used, err := owner.Usage(ctx)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(used).To(BeNumerically(">", 1000))
}
