package backup_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/runtest"
)

func TestAMoverThatFindsNoRoomRunsElsewhereOnce(t *testing.T) {
	g := NewWithT(t)
	f := frozen(runtest.Target("a", "target"))
	f.step()
	crowded := runtest.Died(v1alpha1.ReasonUnschedulable, false)
	crowded.Elsewhere = true
	f.jobs[runtest.Job("a", "target", 1)] = crowded
	d := f.step()
	g.Expect(d.Verify).To(BeTrue())
	g.Expect(d.Delete).To(Equal([]string{runtest.Job("a", "target", 1)}))
	g.Expect(d.Create).To(HaveExactElements(HaveField("Name", runtest.Job("a", "target", 2))))
	g.Expect(d.Movers["snap-a"]).To(Equal("target=" + runtest.Job("a", "target", 2)))

	f.jobs[runtest.Job("a", "target", 2)] = crowded
	g.Expect(f.step().Create).To(BeEmpty())
	g.Expect(f.component("a", "target").Reason).To(Equal(v1alpha1.ReasonUnschedulable))
}

func TestAMoverThatIsBoundToANodeRunsNowhereElse(t *testing.T) {
	g := NewWithT(t)
	target := runtest.Target("a", "target")
	target.Hosts[0].Node = "node-3"
	f := frozen(target)
	f.step()
	crowded := runtest.Died(v1alpha1.ReasonUnschedulable, false)
	crowded.Elsewhere = true
	f.jobs[runtest.Job("a", "target", 1)] = crowded
	g.Expect(f.step().Create).To(BeEmpty())
	g.Expect(f.component("a", "target").Reason).To(Equal(v1alpha1.ReasonUnschedulable))
}
