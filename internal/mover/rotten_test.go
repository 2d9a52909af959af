package mover_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
	"github.com/cairn-backup/cairn/internal/task"
)

// rot changes all data of files in the repository, and leaves its length.
func (p *pod) rot() {
	p.t.Helper()
	g, packs := NewWithT(p.t), filepath.Join(p.root, "cairn/storage/backups/shop/web/kopia/p")
	g.Expect(filepath.WalkDir(packs, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for i := range b {
			b[i] ^= 0xff
		}
		return os.WriteFile(name, b, 0o600)
	})).To(Succeed())
}

// TestARestoreThatMeetsRotTellsTheNextBackup checks that a backup sends again what a restore could not read, although
// the repository has it. A restore writes nothing to the repository of another cluster.
func TestARestoreThatMeetsRotTellsTheNextBackup(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cluster string
		reason  string
	}{
		"in its own cluster": {cluster: "cluster-1", reason: v1alpha1.ReasonSucceeded},
		"in another cluster": {cluster: "cluster-2", reason: v1alpha1.ReasonRepositoryDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, p := NewWithT(t), initialised(t)
			enginetest.Incompressible(t, p.volume(), 3, 1<<20)
			first := p.backs("snap-1", nil, "")
			p.rot()
			p.mover.Driver = kopia.Driver{Now: func() time.Time { return time.Now().Add(time.Minute) }}
			restore := func(id, cluster string) *task.Result {
				p.mount("new", t.TempDir())
				in := restoreTask(id)
				in.Cluster = cluster
				_, result := p.run(t.Context(), in)
				return result
			}
			g.Expect(restore(first.ID, tc.cluster).Reason).To(Equal(v1alpha1.ReasonRepositoryDamaged))
			second := p.backs("snap-2", nil, "")
			g.Expect(restore(second.ID, "cluster-1").Reason).To(Equal(tc.reason))
			g.Expect(restore(first.ID, "cluster-1").Reason).To(Equal(tc.reason))
		})
	}
}
