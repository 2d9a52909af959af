package restorebatch

import (
	"fmt"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Not all targets of a batch succeed, so its newest whole restore point is older than the newest data.
func TestNewerSnapshots(t *testing.T) {
	t.Parallel()
	latest := v1alpha1.RestoreBatchDataSource{BackupBatch: "shop", BackupSession: v1alpha1.LatestBackupSession}
	first := []v1alpha1.Snapshot{pointSnapshot("a", "a", "web", 1), pointSnapshot("a", "a", "db", 1)}
	for name, tt := range map[string]struct {
		source    v1alpha1.RestoreBatchDataSource
		more      []v1alpha1.Snapshot
		elsewhere []v1alpha1.Snapshot
		want      string
	}{
		"all succeeded": {source: latest},
		"db fails": {
			source: latest,
			more: []v1alpha1.Snapshot{
				pointSnapshot("b", "b", "web", 2), pointSnapshot("c", "c", "web", 3),
				pointSnapshot("c", "c", "db", 3, failedSnapshot),
			},
			want: "; target web: Snapshot web-c of 2026-07-01T03:00:00Z, of BackupSession c, is newer than web-a of " +
				"2026-07-01T01:00:00Z",
		},
		"db fails, and a time is asked for": {
			source: v1alpha1.RestoreBatchDataSource{BackupBatch: "shop", PITR: &v1alpha1.PITR{
				TargetTime: &metav1.Time{Time: time.Date(2026, 7, 1, 2, 0, 0, 0, time.UTC)},
			}},
			more: []v1alpha1.Snapshot{pointSnapshot("b", "b", "web", 2), pointSnapshot("c", "c", "web", 3)},
			want: "; target web: Snapshot web-b of 2026-07-01T02:00:00Z, of BackupSession b, is newer than web-a of " +
				"2026-07-01T01:00:00Z",
		},
		"the restore point is named": {
			source: v1alpha1.RestoreBatchDataSource{BackupBatch: "shop", BackupSession: "a"},
			more:   []v1alpha1.Snapshot{pointSnapshot("b", "b", "web", 2)},
		},
		"a damaged one": {
			source: latest,
			more: []v1alpha1.Snapshot{pointSnapshot("b", "b", "web", 2, func(s *v1alpha1.Snapshot) {
				s.Status.Integrity = new(false)
			})},
			want: "(--backup-session, --allow-damaged); target web: Snapshot web-b of 2026-07-01T02:00:00Z, of " +
				"BackupSession b, is newer, but damaged: its integrity is false: data is gone",
		},
		"a damaged one, newer than a good one": {
			source: latest,
			more: []v1alpha1.Snapshot{
				pointSnapshot("b", "b", "web", 2),
				pointSnapshot("c", "c", "web", 3, func(s *v1alpha1.Snapshot) { s.Status.Integrity = new(false) }),
			},
			want: "; target web: Snapshot web-b of 2026-07-01T02:00:00Z, of BackupSession b, is newer than web-a of " +
				"2026-07-01T01:00:00Z, and Snapshot web-c of 2026-07-01T03:00:00Z, of BackupSession c, is newer, but " +
				"damaged: its integrity is false: data is gone",
		},
		"a damaged one, older than a good one": {
			source: latest,
			more: []v1alpha1.Snapshot{
				pointSnapshot("b", "b", "web", 2, func(s *v1alpha1.Snapshot) { s.Status.Integrity = new(false) }),
				pointSnapshot("c", "c", "web", 3),
			},
			want: "; target web: Snapshot web-c of 2026-07-01T03:00:00Z, of BackupSession c, is newer than web-a of " +
				"2026-07-01T01:00:00Z",
		},
		"a damaged copy of what is restored": {
			source: latest,
			more: []v1alpha1.Snapshot{pointSnapshot("a", "a", "web", 2, in("z"), func(s *v1alpha1.Snapshot) {
				s.Status.Integrity = new(false)
			})},
		},
		"a later one in another Repository of the same run": {
			source: latest,
			more:   []v1alpha1.Snapshot{pointSnapshot("a", "a", "web", 2, in("z"))},
		},
		"of another policy, but not of the session": {
			source: v1alpha1.RestoreBatchDataSource{
				BackupBatch: "shop", BackupSession: v1alpha1.LatestBackupSession, Session: "hourly",
			},
			elsewhere: []v1alpha1.Snapshot{pointSnapshot("b", "b", "web", 2, func(s *v1alpha1.Snapshot) {
				s.Labels, s.Spec.Session = nil, "nightly"
			})},
		},
		"of another policy": {
			source: latest,
			elsewhere: []v1alpha1.Snapshot{
				pointSnapshot("b", "b", "web", 2, func(s *v1alpha1.Snapshot) {
					s.Labels[v1alpha1.LabelInvokerName] = "store"
				}),
				pointSnapshot("c", "c", "web", 3, func(s *v1alpha1.Snapshot) { s.Labels = nil }),
			},
			want: "; target web: Snapshot web-c of 2026-07-01T03:00:00Z, of an unknown policy, is newer than web-a " +
				"of 2026-07-01T01:00:00Z",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			spec := &v1alpha1.RestoreBatchSpec{
				DataSource: tt.source, Targets: []v1alpha1.RestoreBatchTarget{{Name: "web"}, {Name: "db"}},
			}
			list := slices.Concat(first, tt.more)
			for _, all := range [][]v1alpha1.Snapshot{list, tt.elsewhere} {
				for i := range all {
					s := &all[i]
					s.Spec.AppRef.Kind, s.Spec.AppRef.Name = v1alpha1.KindPersistentVolumeClaim, s.Spec.Repository
				}
			}
			chosen, refusal := ChooseSnapshots(list, spec, later)
			g.Expect(refusal).To(BeNil())
			newer := NewerSnapshots(list, tt.elsewhere, spec, chosen, later)
			if tt.want == "" {
				g.Expect(newer).To(BeEmpty())
				return
			}
			g.Expect(newer).To(HaveSuffix(tt.want))
		})
	}
}

// The message has to fit into a condition.
func TestNewerSnapshotsOfManyTargets(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	spec := &v1alpha1.RestoreBatchSpec{DataSource: v1alpha1.RestoreBatchDataSource{
		BackupBatch: "shop", BackupSession: v1alpha1.LatestBackupSession,
	}}
	var list []v1alpha1.Snapshot
	for i := range 9 {
		name := fmt.Sprintf("t%d", i)
		spec.Targets = append(spec.Targets, v1alpha1.RestoreBatchTarget{Name: name})
		list = append(list, pointSnapshot("a", "a", name, 1))
		if i > 0 {
			list = append(list, pointSnapshot("b", "b", name, 2))
		}
	}
	chosen, refusal := ChooseSnapshots(list, spec, later)
	g.Expect(refusal).To(BeNil())
	g.Expect(NewerSnapshots(list, nil, spec, chosen, later)).To(And(ContainSubstring("; target t5: "),
		Not(ContainSubstring("target t6")), HaveSuffix("; 3 more targets")))
}
