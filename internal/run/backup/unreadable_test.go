package backup_test

import (
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/run/runtest"
)

// TestWhatASuccessPolicyAllowsIsSaid tests that a run that succeeded with flaws is Partial, as are the Snapshots
// concerned.
func TestWhatASuccessPolicyAllowsIsSaid(t *testing.T) {
	for name, tc := range map[string]struct {
		counts  v1alpha1.ComponentCounts
		message string
	}{
		"nothing was wrong": {
			counts: v1alpha1.ComponentCounts{Files: 3, Vanished: 2, Sockets: 1, PreviousSizeBytes: 9 << 20},
		},
		"unreadable files": {
			counts:  v1alpha1.ComponentCounts{Files: 3, Unreadable: 2},
			message: "component pod-1 lacks 2 entries that could not be read",
		},
		"unreadable attributes and torn files": {
			counts: v1alpha1.ComponentCounts{Files: 3, AttributesUnreadable: 1, Changed: 4},
			message: "component pod-1 lacks 1 attribute that could not be read and may be torn in 4 files, because " +
				"something wrote there meanwhile",
		},
		"torn files, and directories that never rested": {
			counts: v1alpha1.ComponentCounts{Files: 3, Changed: 1, Restless: 2},
			message: "component pod-1 may be torn in 1 file, because something wrote there meanwhile; component " +
				"pod-1 may lack what moved meanwhile in 2 directories that changed at each read",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f := frozen(runtest.Target("a", "pod-0", "pod-1"), runtest.Target("b", "pod-0"))
			for _, job := range []struct{ name, component string }{
				{runtest.Job("a", "pod-0", 1), "pod-0"},
				{runtest.Job("b", "pod-0", 1), "pod-0"},
			} {
				f.jobs[job.name] = runtest.Succeeded(job.component)
			}
			flawed := runtest.Succeeded("pod-1")
			flawed.Result.Components[0].ComponentCounts = tc.counts
			f.jobs[runtest.Job("a", "pod-1", 1)] = flawed
			d := f.step()
			g.Expect(d.Status.Phase).To(Equal(backupSucceeded))
			run := &v1alpha1.BackupSession{Status: d.Status}
			g.Expect(conditions.IsTrue(run, "Ready")).To(BeTrue())
			g.Expect(f.component("a", "pod-1").ComponentCounts).To(Equal(tc.counts))
			g.Expect(conditions.Has(f.snapshots["snap-b"], v1alpha1.ConditionPartial)).To(BeFalse())
			if tc.message == "" {
				g.Expect(conditions.Has(run, v1alpha1.ConditionPartial)).To(BeFalse())
				g.Expect(conditions.Has(f.snapshots["snap-a"], v1alpha1.ConditionPartial)).To(BeFalse())
				return
			}
			g.Expect(conditions.IsTrue(run, v1alpha1.ConditionPartial)).To(BeTrue())
			g.Expect(conditions.GetMessage(run, v1alpha1.ConditionPartial)).
				To(Equal(strings.ReplaceAll("; "+tc.message, "; ", "; Snapshot snap-a, ")[len("; "):]))
			g.Expect(conditions.GetMessage(f.snapshots["snap-a"], v1alpha1.ConditionPartial)).To(Equal(tc.message))
		})
	}
}

func TestASuccessPolicyIsFrozen(t *testing.T) {
	g := NewWithT(t)
	policy := &v1alpha1.SuccessPolicy{Unreadable: v1alpha1.DoubtAllow, MaxShrinkPercent: new(int32(50))}
	s := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Name: "run", Generation: 1}}
	d := backup.Next(backup.Input{Now: runtest.Now, Session: s, Start: &backup.Start{
		Timeout: time.Hour, SuccessPolicy: policy,
		Targets: []backup.StartTarget{{Resolved: runtest.Target("a", "pod-0")}},
	}})
	g.Expect(d.Status.Resolved.SuccessPolicy).To(Equal(policy))
	policy.Unreadable = v1alpha1.DoubtFail
	g.Expect(d.Status.Resolved.SuccessPolicy.AllowsUnreadable()).To(
		BeTrue(), "a later change of the policy must have no effect")
}

func TestARunCanAcceptALoss(t *testing.T) {
	g := NewWithT(t)
	s := &v1alpha1.BackupSession{
		ObjectMeta: metav1.ObjectMeta{Name: "run", Generation: 1}, Spec: v1alpha1.BackupSessionSpec{AcceptShrink: true},
	}
	said := &v1alpha1.SuccessPolicy{Changed: v1alpha1.DoubtAllow, MaxShrinkPercent: new(int32(50))}
	for _, policy := range []*v1alpha1.SuccessPolicy{nil, said} {
		d := backup.Next(backup.Input{Now: runtest.Now, Session: s, Start: &backup.Start{
			Timeout: time.Hour, SuccessPolicy: policy,
			Targets: []backup.StartTarget{{Resolved: runtest.Target("a", "pod-0")}},
		}})
		frozen := d.Status.Resolved.SuccessPolicy
		g.Expect(frozen.MaxShrink()).To(BeEquivalentTo(100))
		g.Expect(frozen.AllowsChanged()).To(Equal(policy.AllowsChanged()), "it accepts nothing else")
		g.Expect(frozen.AllowsEmpty()).To(BeFalse())
	}
	g.Expect(said.MaxShrink()).To(BeEquivalentTo(50), "the policy stays")
}

// A component that is gone fails nothing: its claim was deleted, or a node left the cluster. The run says so once.
func TestAComponentThatIsGoneIsSaid(t *testing.T) {
	g := NewWithT(t)
	target := runtest.Target("a", "pod-0")
	snapshot := func(hour int, phase v1alpha1.SnapshotPhase, components ...string) v1alpha1.Snapshot {
		s := v1alpha1.Snapshot{
			Spec: v1alpha1.SnapshotSpec{
				Repository: target.Repositories[0].Name, Session: "nightly", AppRef: target.AppRef,
			},
			Status: v1alpha1.SnapshotStatus{
				Phase: phase, SnapshotTime: new(metav1.NewTime(runtest.Now.Add(time.Duration(hour) * time.Hour))),
				Components: map[string]v1alpha1.Component{},
			},
		}
		for _, c := range components {
			s.Status.Components[c] = v1alpha1.Component{Phase: phase}
		}
		return s
	}
	nightly := &v1alpha1.BackupSession{}
	nightly.Spec.Session = "nightly"
	nightly.Spec.Invoker = v1alpha1.TypedLocalObjectReference{Kind: v1alpha1.BackupConfigurationKind, Name: "web"}
	of := func(s v1alpha1.Snapshot, kind, name string) v1alpha1.Snapshot {
		s.Labels = map[string]string{v1alpha1.LabelInvokerKind: kind, v1alpha1.LabelInvokerName: name}
		return s
	}
	g.Expect(backup.Missing(nil, nightly, &target, runtest.Now)).To(BeEmpty())
	hourly := snapshot(-1, v1alpha1.SnapshotSucceeded, "pod-0", "pod-8")
	hourly.Spec.Session = "hourly"
	missing := backup.Missing([]v1alpha1.Snapshot{
		hourly,
		of(snapshot(-1, v1alpha1.SnapshotSucceeded, "pod-0", "pod-5"), v1alpha1.BackupConfigurationKind, "other"),
		of(snapshot(-1, v1alpha1.SnapshotSucceeded, "pod-0", "pod-6"), v1alpha1.BackupBatchKind, "web"),
		snapshot(-3, v1alpha1.SnapshotSucceeded, "pod-0", "pod-7"),
		of(snapshot(-2, v1alpha1.SnapshotSucceeded, "pod-0", "pod-2", "pod-1"), v1alpha1.BackupConfigurationKind,
			"web"),
		snapshot(-1, v1alpha1.SnapshotFailed, "pod-0", "pod-9"),
	}, nightly, &target, runtest.Now)
	g.Expect(missing).To(Equal([]string{"pod-1", "pod-2"}))

	for name, succeeds := range map[string]bool{"with a backup": true, "without any": false} {
		s := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Name: "run", Generation: 1}}
		s.Status = backup.Next(backup.Input{Now: runtest.Now, Session: s, Start: &backup.Start{
			Timeout: time.Hour, Targets: []backup.StartTarget{{Resolved: target, Missing: missing}},
		}}).Status
		f := frozen(target)
		f.session.Status = s.Status
		f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Succeeded("pod-0")
		if !succeeds {
			f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Failed(v1alpha1.ReasonUnreachable)
		}
		d := f.step()
		run := &v1alpha1.BackupSession{Status: d.Status}
		g.Expect(d.Status.Phase.Terminal()).To(BeTrue(), name)
		g.Expect(conditions.IsTrue(run, v1alpha1.ConditionPartial)).To(Equal(succeeds), name)
		if succeeds {
			g.Expect(d.Status.Phase).To(Equal(backupSucceeded))
			g.Expect(conditions.GetMessage(run, v1alpha1.ConditionPartial)).
				To(Equal("a: the target no longer has what its last backup had: pod-1, pod-2"))
		}
	}
}
