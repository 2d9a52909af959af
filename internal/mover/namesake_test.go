package mover_test

import (
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover/report"
)

// TestALateMoverReportsNothingToANamesake: a node comes back, whose mover still works for a Snapshot that was deleted
// and made again meanwhile. The Job of the new one has the same name, so the admission policy lets the mover through.
func TestALateMoverReportsNothingToANamesake(t *testing.T) {
	g := NewWithT(t)
	ns := namespace(t)
	old := snapshot(t, ns, "mine", "data=backup-a")
	late := report.APIStatus{Client: as(t, ns, v1alpha1.MoverServiceAccount, "backup-a-vwxyz"), Namespace: ns}
	done := v1alpha1.Component{Phase: v1alpha1.SnapshotSucceeded, ID: "of-the-old-one"}
	g.Eventually(func() error { return late.Snapshot(t.Context(), ref(old), "data", done) }).
		WithTimeout(time.Minute).Should(Succeed(), "the policy is in force a moment after it was created")
	g.Expect(bed.Client.Delete(t.Context(), old)).To(Succeed())
	again := snapshot(t, ns, "mine", "data=backup-a")
	g.Expect(late.Snapshot(t.Context(), ref(old), "data", done)).NotTo(Succeed())
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(again), again)).To(Succeed())
	g.Expect(again.Status.Components).To(BeEmpty())
	g.Expect(late.Snapshot(t.Context(), ref(again), "data", done)).To(Succeed(), "only the UID tells the two apart")
}

// The manager writes into the same status while movers report: no report is lost because of that.
func TestReportsOfManyMoversAtOnce(t *testing.T) {
	g := NewWithT(t)
	ns := namespace(t)
	s := snapshot(t, ns, "mine", "a=backup-a,b=backup-a,c=backup-a")
	own := report.APIStatus{Client: as(t, ns, v1alpha1.MoverServiceAccount, "backup-a-vwxyz"), Namespace: ns}
	done := v1alpha1.Component{Phase: v1alpha1.SnapshotSucceeded, ID: "k"}
	g.Eventually(func() error { return own.Snapshot(t.Context(), ref(s), "a", done) }).
		WithTimeout(time.Minute).Should(Succeed(), "the policy is in force a moment after it was created")
	var all sync.WaitGroup
	errs := make(chan error, 3)
	for _, name := range []string{"a", "b", "c"} {
		all.Go(func() { errs <- own.Snapshot(t.Context(), ref(s), name, done) })
	}
	all.Wait()
	for range 3 {
		g.Expect(<-errs).To(Succeed())
	}
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s), s)).To(Succeed())
	g.Expect(s.Status.Components).To(HaveLen(3))
}
