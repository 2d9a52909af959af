package keeper_test

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

// A node that died never ends the pod of its keeper, and nothing else does. The next keeper starts all the same.
func TestAKeeperOnADeadNode(t *testing.T) {
	t.Parallel()
	g, s, ctx := NewWithT(t), newShop(t), t.Context()
	o := s.snapshot(s.repository, 1, good, wipeOutSnapshot)
	del(t, o)
	job, _ := s.job()
	pod := kubelet.Start(t, bed.Client, job)
	bed.Edit(t, pod, func() { pod.Finalizers = append(pod.Finalizers, "test.cairn.dev/dead-node") })
	bed.EditStatus(t, pod, func() {
		pod.Status.Phase = corev1.PodRunning
		pod.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodReady, Status: corev1.ConditionUnknown,
			LastTransitionTime: metav1.NewTime(now.Now().Add(-time.Hour)),
		}}
	})
	bed.Eventually(t, o, func(g Gomega) {
		g.Expect(conditions.GetReason(o, v1alpha1.ConditionWiped)).To(Equal(v1alpha1.ReasonNodeLost))
	}, "the Snapshot says why it waits")
	gone(t, job, "the Job is not held by a pod that never goes")
	del(t, pod) // as the garbage collector does
	g.Expect(bed.Client.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())

	look := func(after time.Duration) {
		r := newKeepers(bed.Manager.GetClient(), bed.Manager.GetAPIReader(),
			clocktesting.NewFakePassiveClock(time.Now().Add(after)))
		_, err := r.Reconcile(ctx, s.request())
		g.Expect(err).NotTo(HaveOccurred())
	}
	look(5 * time.Minute)
	s.noJob("the pod can still be working")
	look(15 * time.Minute)
	next, _ := s.job(job)
	g.Expect(next.UID).NotTo(Equal(job.UID))
	bed.Edit(t, pod, func() { pod.Finalizers = nil }) // the pods of these tests have one name
	s.did(next, v1alpha1.ReasonKeeperRunning)
	bed.Eventually(t, o, func(g Gomega) {
		g.Expect(conditions.GetReason(o, v1alpha1.ConditionWiped)).To(Equal(v1alpha1.ReasonKeeperRunning))
	}, "the old pod still runs, and the Snapshot says so")
}

// What a keeper did counts, although it failed at something else.
func TestTheStepsOfAKeeperAreReportedApart(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	bed.Edit(t, s.repository, func() { s.repository.Spec.Paused = true }) // until all of it is due
	s.dueFor(task.MaintainFull)
	o := s.snapshot(s.repository, 1, good, wipeOutSnapshot)
	s.snapshot(s.repository, 2, good)
	del(t, o)
	g.Eventually(func(g Gomega) {
		cached := o.DeepCopy()
		g.Expect(bed.Manager.GetClient().Get(t.Context(), client.ObjectKeyFromObject(o), cached)).To(Succeed())
		g.Expect(cached.DeletionTimestamp).NotTo(BeNil())
	}, testbed.Patience, testbed.Interval).Should(Succeed(), "the cache has the deletion")
	bed.Edit(t, s.repository, func() { s.repository.Spec.Paused = false })
	job, keep := s.job()
	g.Expect(keep.Keep[0].Remove).To(HaveLen(1))
	g.Expect(keep.Keep[0].Maintain).To(Equal(task.MaintainFull))
	bad := &task.Step{Reason: v1alpha1.ReasonUnreachable, Error: "the storage can't be reached"}
	kubelet.Finish(t, bed.Client, job, kubelet.Report(task.Result{
		Outcome: task.OutcomeFailed, Reason: bad.Reason, Message: bad.Error,
		Components: []task.ComponentResult{{
			Name: "0", Outcome: task.OutcomeFailed, Reason: bad.Reason, Error: bad.Error,
			Steps: task.Steps{Removal: &task.Step{}, Maintenance: bad, Check: bad},
		}},
	}), now.Now())
	released(t, o)
	bed.Eventually(t, s.repository, func(g Gomega) {
		g.Expect(s.repository.Status.LastRemovalTime).NotTo(BeNil())
		for _, condition := range []string{v1alpha1.ConditionMaintained, v1alpha1.ConditionChecked} {
			g.Expect(conditions.GetReason(s.repository, condition)).To(Equal(v1alpha1.ReasonUnreachable), condition)
		}
	}, "what failed is said, and what was done is written")
	g.Expect(s.repository.Status.Integrity).To(BeNil())
}

// What a wipe has left is said where people look.
func TestAWipeSaysWhatItLeft(t *testing.T) {
	t.Parallel()
	s := newShop(t, wipeOut)
	del(t, s.repository)
	job, _ := s.job()
	kubelet.Finish(t, bed.Client, job, kubelet.Report(task.Result{
		Outcome: task.OutcomeSucceeded,
		Components: []task.ComponentResult{{
			Name: "0", Outcome: task.OutcomeSucceeded,
			Steps: task.Steps{LeftFiles: 12, LeftPlaces: []string{"shop/web/team"}},
		}},
	}), now.Now())
	gone(t, s.repository, "its own data is gone")
	expectEvent(t, s.namespace, "Warning DataKept the directory in the backend was removed, except for 12 files that "+
		"Cairn did not put there for this Repository: others have put a repository or storage into shop/web/team")
}
