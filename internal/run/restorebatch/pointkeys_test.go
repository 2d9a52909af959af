package restorebatch

import (
	"math/rand/v2"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A run before an upgrade made Snapshots without a UID. What joins its restore point after the upgrade has one.
func TestARestorePointThatWentOnAfterAnUpgradeIsWhole(t *testing.T) {
	of := func(uid string) func(*v1alpha1.Snapshot) {
		return func(s *v1alpha1.Snapshot) {
			s.Labels[v1alpha1.LabelRestorePointUID] = uid
			s.Name += "-" + uid
		}
	}
	old := []v1alpha1.Snapshot{pointSnapshot("a", "a", "web", 1), pointSnapshot("a", "a", "db", 1, failedSnapshot)}
	for name, tt := range map[string]struct {
		list    []v1alpha1.Snapshot
		web, db string
	}{
		"a retry backed up what had failed": {
			append(old[:2:2], pointSnapshot("a", "a-r1", "db", 2, of("1"))), "web-a", "db-a-r1-1",
		},
		"the upgrade found the run under way": {
			append(old[:1:1], pointSnapshot("a", "a", "db", 2, of("1"))), "web-a", "db-a-1",
		},
		"another run of this name": {
			append(old[:2:2], pointSnapshot("a", "a", "web", 2, of("1"), failedSnapshot),
				pointSnapshot("a", "a", "db", 2, of("1"))), "", "",
		},
		"two runs of this name were retried": {
			append(old[:2:2], pointSnapshot("a", "a-r1", "db", 2, of("1")),
				pointSnapshot("a", "a-r2", "db", 3, of("2"))), "", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, run := range []string{"a", v1alpha1.LatestBackupSession} {
				g := NewWithT(t)
				rand.Shuffle(len(tt.list), func(i, j int) { tt.list[i], tt.list[j] = tt.list[j], tt.list[i] })
				got, refusal := ChooseSnapshots(tt.list, &v1alpha1.RestoreBatchSpec{
					Targets:    []v1alpha1.RestoreBatchTarget{{Name: "web"}, {Name: "db"}},
					DataSource: v1alpha1.RestoreBatchDataSource{BackupBatch: "shop", BackupSession: run},
				}, later)
				if tt.web == "" {
					g.Expect(refusal).NotTo(BeNil(), "no point is whole")
					continue
				}
				g.Expect(refusal).To(BeNil())
				g.Expect(got["web"].Name).To(Equal(tt.web))
				g.Expect(got["db"].Name).To(Equal(tt.db))
			}
		})
	}
}
