package retention_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
)

const day = 24 * time.Hour

// scanned is when a scan made Snapshots of old backups again.
var scanned = time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)

// madeBy returns a good Snapshot of a backup that was made some days before the scan. It is one that the scan made, or
// one that was there before and is known to be intact.
func madeBy(scan bool, repository, run string, days int) *v1alpha1.Snapshot {
	made := metav1.NewTime(scanned.Add(-time.Duration(days) * day))
	s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{
		Name: repository + "-" + run, CreationTimestamp: made,
		Labels: map[string]string{v1alpha1.LabelInvokerKind: v1alpha1.BackupBatchKind},
	}}
	s.Spec.Repository, s.Spec.BackupSession = repository, run
	s.Status.Phase, s.Status.SnapshotTime, s.Status.Integrity = v1alpha1.SnapshotSucceeded, &made, new(true)
	if scan {
		s.CreationTimestamp, s.Status.Integrity = metav1.NewTime(scanned), nil
		s.Annotations = map[string]string{v1alpha1.AnnotationRebuilt: "uid"}
	}
	return s
}

// lastOne decides a while after the scan, by a policy that keeps one Snapshot, and returns the verdicts by name.
func lastOne(after time.Duration, snapshots ...*v1alpha1.Snapshot) (map[string]retention.Verdict, time.Time) {
	var input []retention.Snapshot
	for _, s := range snapshots {
		input = append(input, retention.FromSnapshot(s, ""))
	}
	p := retention.Policy{Rules: []retention.Rule{{Name: "last", Count: 1}}, Zone: time.UTC}
	verdicts := p.Decide(input, scanned.Add(after))
	out := map[string]retention.Verdict{}
	for _, v := range verdicts {
		out[v.Name] = v
	}
	return out, retention.Next(verdicts)
}

func TestASnapshotThatAScanMadeStaysUntilItIsChecked(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	older, newer := madeBy(true, "web", "a", 40), madeBy(true, "web", "b", 30)
	is, next := lastOne(time.Hour, older, newer)
	g.Expect(is["web-a"].Kept).To(ContainElement(HaveField("String()", "rebuilt (not checked yet)")))
	g.Expect(is["web-a"].Until).To(Equal(next), "without a check it goes in the end")
	g.Expect(next).To(BeTemporally("~", scanned.Add(8*day+12*time.Hour), 12*time.Hour))
	is, _ = lastOne(next.Sub(scanned)-1, older, newer)
	g.Expect(is["web-a"].Goes()).To(BeFalse())
	is, next = lastOne(next.Sub(scanned), older, newer)
	g.Expect(is["web-a"].Goes()).To(BeTrue())
	g.Expect(next).To(BeZero())

	older.Status.Integrity = new(true)
	is, _ = lastOne(3*day, older, newer)
	g.Expect(is["web-a"].Goes()).To(BeFalse(), "the newer one can be damaged")
	newer.Status.Integrity = new(true)
	is, _ = lastOne(3*day, older, newer)
	g.Expect(is["web-a"].Goes()).To(BeTrue(), "both are checked")
	newer.Status.Integrity = new(false)
	is, _ = lastOne(3*day, older, newer)
	g.Expect(is["web-a"].Goes()).To(BeFalse(), "the newer one is damaged")
}

// An intact Snapshot was there before the scan. It stays until its place is known to be taken.
func TestASnapshotThatIsNotCheckedTakesNobodysPlace(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	intact, found := madeBy(false, "web", "a", 40), madeBy(true, "web", "b", 30)
	is, next := lastOne(time.Hour, intact, found)
	g.Expect(is["web-a"].Goes()).To(BeFalse())
	g.Expect(is["web-a"].Until).To(Equal(next))
	is, _ = lastOne(next.Sub(scanned), intact, found)
	g.Expect(is["web-a"].Goes()).To(BeTrue())
}

// The Repositories of a batch are scanned one after the other, and a check can come in between.
func TestARestorePointStaysUntilAllRepositoriesCanHaveBeenScanned(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	var web []*v1alpha1.Snapshot
	for days, run := range map[int]string{30: "c", 40: "b", 50: "a"} {
		s := madeBy(true, "web", run, days)
		s.Status.Integrity = new(true)
		web = append(web, s)
	}
	is, _ := lastOne(time.Hour, web...)
	for _, v := range is {
		g.Expect(v.Kept).To(ContainElement(HaveField("String()", ContainSubstring("rebuilt ("))), v.Name)
	}
	db := madeBy(true, "db", "a", 50)
	db.Status.Integrity = new(true)
	is, _ = lastOne(3*day, append(web, db)...)
	g.Expect(is["web-b"].Goes()).To(BeTrue())
	g.Expect(is["web-a"].Goes()).To(BeFalse(), "the scan of the other Repository came later")
}
