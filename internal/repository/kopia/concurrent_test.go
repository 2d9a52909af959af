package kopia_test

import (
	"fmt"
	"sync"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// TestTwoMaintenancesAtOnceLoseNothing runs full maintenances of two machines against each other, while both back up
// and remove. kopia's lock works only within one machine. Its safety windows are what keeps the data: an error of
// maintenance is allowed here, lost data is not.
func TestTwoMaintenancesAtOnceLoseNothing(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	place := initialized(t).Storage
	failed := 0
	var mu sync.Mutex
	for round := range 4 {
		var wg sync.WaitGroup
		for machine := range 2 {
			wg.Go(func() {
				e := enginetest.Open(t, kopia.Driver{}, enginetest.Repo(t, place))
				src := t.TempDir()
				enginetest.Incompressible(t, src, 20, 50<<10)
				name := fmt.Sprint("machine", machine)
				s, err := e.Backup(ctx, repository.Source{Name: name, Dir: src}, repository.BackupOptions{})
				g.Expect(err).NotTo(HaveOccurred())
				for range 3 {
					if err := e.Maintain(ctx, repository.MaintainOptions{Full: true}); err != nil {
						mu.Lock()
						failed++
						mu.Unlock()
						t.Logf("maintenance: %v", err)
					}
				}
				if round == 1 {
					g.Expect(e.Delete(ctx, s.ID)).To(Succeed())
				}
			})
		}
		wg.Wait()
	}
	t.Logf("%d of 24 maintenances failed", failed)
	e := enginetest.Open(t, kopia.Driver{}, enginetest.Repo(t, place))
	all, err := e.List(ctx, "")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(len(all)).To(BeNumerically(">=", 6), "a removed one can come back")
	for _, s := range all {
		v, err := e.Verify(ctx, s.ID, 100)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(v.Problems).To(BeEmpty())
	}
}
