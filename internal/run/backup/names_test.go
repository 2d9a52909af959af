package backup_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
)

func TestSnapshotID(t *testing.T) {
	g := NewWithT(t)
	slot := time.Date(2026, 7, 1, 2, 0, 0, 0, time.UTC)
	id := backup.SnapshotID(slot, "uid", "name")
	g.Expect(id).To(MatchRegexp("^[0-7][0-9A-HJKMNP-TV-Z]{25}$"))
	g.Expect(backup.SnapshotID(slot, "uid", "name")).To(Equal(id), "a repeated reconcile must get the same ID")
	g.Expect(backup.SnapshotID(slot, "uid2", "name")).NotTo(Equal(id))
	g.Expect(backup.SnapshotID(slot, "uidn", "ame")).NotTo(Equal(id))
	g.Expect(backup.SnapshotID(slot.Add(time.Millisecond), "uid", "name") > id).To(BeTrue(), "IDs sort by time")
	// The example of the ULID specification. The first ten characters are the time.
	g.Expect(backup.SnapshotID(time.UnixMilli(1469918176385))[:10]).To(Equal("01ARYZ6S41"))
}

func TestMakesMover(t *testing.T) {
	g := NewWithT(t)
	volumes := []v1alpha1.ResolvedVolume{{Component: "pod-0"}}
	s := &v1alpha1.BackupSessionStatus{Resolved: &v1alpha1.ResolvedBackup{Targets: []v1alpha1.ResolvedTarget{
		{Repositories: []v1alpha1.ResolvedRepository{{Snapshot: "a-run"}}, Hosts: []v1alpha1.ResolvedHost{
			{Name: "pod-0", Volumes: volumes},
			{Name: "pod-1", Volumes: []v1alpha1.ResolvedVolume{{Component: "pod-1"}}},
		}},
		{Repositories: []v1alpha1.ResolvedRepository{{Snapshot: "c-run"}}, Hosts: []v1alpha1.ResolvedHost{
			{Name: "pod-2", Volumes: volumes},
		}},
		{Repositories: []v1alpha1.ResolvedRepository{{Snapshot: "b-run"}}, Hosts: []v1alpha1.ResolvedHost{
			{Name: "other", Volumes: volumes},
		}},
	}}}
	for attempt := 1; attempt <= 2; attempt++ {
		g.Expect(backup.MakesMover(s, "a-run", "pod-0", run.JobName("a-run", "pod-0", attempt))).To(BeTrue())
	}
	for _, job := range []string{
		"", "any text", run.JobName("a-run", "pod-1", 1), run.JobName("a-run", "pod-2", 1),
		run.JobName("b-run", "other", 1),
	} {
		g.Expect(backup.MakesMover(s, "a-run", "pod-0", job)).To(BeFalse(), job)
	}
}
