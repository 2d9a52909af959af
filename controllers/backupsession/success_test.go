package backupsession

import (
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

// TestASuccessPolicyReachesTheMover: the API server defaults the policy, the run freezes it, the task gets it, and the
// status reports what it allowed.
func TestASuccessPolicyReachesTheMover(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration(func(c *v1alpha1.BackupConfiguration) {
		c.Spec.Sessions[0].SuccessPolicy = &v1alpha1.SuccessPolicy{Unreadable: v1alpha1.DoubtAllow}
	})
	want := &v1alpha1.SuccessPolicy{
		Empty: v1alpha1.DoubtFail, Unreadable: v1alpha1.DoubtAllow, Changed: v1alpha1.DoubtFail,
		MaxShrinkPercent: new(int32(v1alpha1.DefaultMaxShrinkPercent)),
	}
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		w.Expect(kubelet.TaskOf(job).SuccessPolicy).To(Equal(want))
		out := kubelet.Succeed(job)
		out.Result.Components[0].Unreadable = 7
		return out
	}
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	s := w.settle("run")
	w.Expect(s.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded))
	w.Expect(s.Status.Resolved.SuccessPolicy).To(Equal(want))
	w.Expect(s.Status.Conditions).To(ContainElement(And(
		HaveField("Type", v1alpha1.ConditionPartial),
		HaveField("Message", ContainSubstring("lacks 7 entries that could not be read")))))
	w.Expect(w.snapshot("uploads-run").Status.Components["pvc"].Unreadable).To(Equal(int64(7)))
}

func TestASuccessPolicyOfABatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.batch()
	bed.Edit(t, b, func() {
		b.Spec.Sessions[0].SuccessPolicy = &v1alpha1.SuccessPolicy{
			Changed:          v1alpha1.DoubtAllow,
			MaxShrinkPercent: new(int32(10)),
		}
	})
	bed.EditStatus(t, b, func() { b.Status.ObservedGeneration = b.Generation })
	tasks := 0
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		policy := kubelet.TaskOf(job).SuccessPolicy
		w.Expect(policy.AllowsChanged()).To(BeTrue())
		w.Expect(policy.MaxShrink()).To(Equal(int64(10)))
		tasks++
		return kubelet.Succeed(job)
	}
	w.run(v1alpha1.BackupBatchKind, "shop", "run")
	w.Expect(w.settle("run").Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded))
	w.Expect(tasks).To(Equal(4))
}

func TestABadSuccessPolicyIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.configuration()
	for message, policy := range map[string]*v1alpha1.SuccessPolicy{
		`supported values: "Fail", "Allow"`:    {Empty: "Ignore"},
		"should be less than or equal to 100":  {MaxShrinkPercent: new(int32(101))},
		"should be greater than or equal to 0": {MaxShrinkPercent: new(int32(-1))},
	} {
		edited := c.DeepCopy()
		edited.Spec.Sessions[0].SuccessPolicy = policy
		w.Expect(w.Client.Update(t.Context(), edited)).To(MatchError(ContainSubstring(message)))
	}
}
