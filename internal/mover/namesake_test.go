package mover_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover/report"
	"github.com/cairn-backup/cairn/internal/testbed"
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
		WithTimeout(testbed.Patience).Should(Succeed(), "the policy is in force a moment after it was created")
	g.Expect(bed.Client.Delete(t.Context(), old)).To(Succeed())
	again := snapshot(t, ns, "mine", "data=backup-a")
	g.Expect(late.Snapshot(t.Context(), ref(old), "data", done)).To(MatchError(report.ErrFenced))
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(again), again)).To(Succeed())
	g.Expect(again.Status.Components).To(BeEmpty())
	g.Expect(late.Snapshot(t.Context(), ref(again), "data", done)).To(Succeed(), "only the UID tells the two apart")
}

// The manager writes into the same status while movers report: no report is lost because of that.
func TestReportsOfManyMoversAtOnce(t *testing.T) {
	g := NewWithT(t)
	ns := namespace(t)
	const movers = 40
	var names, hosts []string
	for i := range movers {
		names = append(names, fmt.Sprint("c", i))
		hosts = append(hosts, names[i]+"=backup-a")
	}
	s := snapshot(t, ns, "mine", strings.Join(hosts, ","))
	own := report.APIStatus{Client: as(t, ns, v1alpha1.MoverServiceAccount, "backup-a-vwxyz"), Namespace: ns}
	done := v1alpha1.Component{Phase: v1alpha1.SnapshotSucceeded, ID: "k"}
	g.Eventually(func() error { return own.Snapshot(t.Context(), ref(s), names[0], done) }).
		WithTimeout(testbed.Patience).Should(Succeed(), "the policy is in force a moment after it was created")
	var all sync.WaitGroup
	errs := make(chan error, movers)
	for _, name := range names {
		all.Go(func() { errs <- own.Snapshot(t.Context(), ref(s), name, done) })
	}
	all.Wait()
	for range names {
		g.Expect(<-errs).To(Succeed())
	}
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s), s)).To(Succeed())
	g.Expect(s.Status.Components).To(HaveLen(movers))
}
