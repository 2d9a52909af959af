package keeper_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/controllers/keeper"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// forbidJobs makes a quota refuse each Job.
func (s *shop) forbidJobs() *corev1.ResourceQuota {
	s.t.Helper()
	bed.Forbid(s.t, s.namespace, "jobs", "count/jobs.batch", 0, &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "one"},
		Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "one", Image: "one"}},
		}}},
	})
	return &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "jobs"}}
}

// A keeper whose Job a quota refuses says so, and not that data can be gone.
func TestARefusedKeeperRemovesNothingAndSaysWhy(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	o := s.snapshot(s.repository, 1, good, wipeOutSnapshot)
	s.forbidJobs()
	del(t, o)
	bed.Eventually(t, o, func(g Gomega) {
		g.Expect(conditions.GetReason(o, v1alpha1.ConditionWiped)).To(Equal(v1alpha1.ReasonCreationRefused))
		g.Expect(conditions.GetMessage(o, v1alpha1.ConditionWiped)).To(ContainSubstring("exceeded quota"))
		g.Expect(conditions.Has(o, v1alpha1.ConditionRemovalBegan)).To(BeFalse())
	}, "the condition quotes the API server")
	s.noJob("a quota refuses it")
}

// refusing is an API server that refuses each Job in other words. It counts these, and the writes of statuses.
type refusing struct {
	client.Client
	tried, writes int
}

func (c *refusing) Create(ctx context.Context, o client.Object, opts ...client.CreateOption) error {
	if _, ok := o.(*batchv1.Job); !ok {
		return c.Client.Create(ctx, o, opts...)
	}
	c.tried++
	return apierrors.NewForbidden(batchv1.Resource("jobs"), o.GetName(),
		fmt.Errorf("exceeded quota: all, used: %d", c.tried))
}

func (c *refusing) Status() client.SubResourceWriter {
	c.writes++
	return c.Client.Status()
}

// A keeper says on each Snapshot why its Job is refused. Each such write wakes the keeper, so other words must neither
// be written nor bring another try.
func TestARefusedKeeperDoesNotWakeItself(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	all := []*v1alpha1.Snapshot{
		s.snapshot(s.repository, 1, good, wipeOutSnapshot), s.snapshot(s.repository, 2, good, wipeOutSnapshot),
	}
	s.forbidJobs()
	for _, o := range all {
		del(t, o)
	}
	for _, o := range all {
		bed.Eventually(t, o, func(g Gomega) {
			g.Expect(conditions.GetReason(o, v1alpha1.ConditionWiped)).To(Equal(v1alpha1.ReasonCreationRefused))
		}, "the keeper of the manager is refused")
	}
	bed.Quiet(t, s.namespace)
	bed.Cached(t, all[0], all[1])

	clock := clocktesting.NewFakePassiveClock(time.Now())
	c := &refusing{Client: bed.Manager.GetClient()}
	starts := func() *keeper.Reconciler { return newKeepers(c, bed.Manager.GetAPIReader(), clock) }
	look := func(r *keeper.Reconciler) time.Duration {
		result, err := r.Reconcile(t.Context(),
			ctrl.Request{NamespacedName: client.ObjectKey{Namespace: s.namespace, Name: s.storage.Namespace + "/s3"}})
		g.Expect(err).NotTo(HaveOccurred())
		return result.RequeueAfter
	}
	r := starts()
	g.Expect(look(r)).To(Equal(time.Minute))
	g.Expect(c.tried).To(Equal(1))
	clock.SetTime(clock.Now().Add(20 * time.Second))
	g.Expect(look(r)).To(Equal(40 * time.Second))
	g.Expect(c.tried).To(Equal(1), "an event brings no try")
	clock.SetTime(clock.Now().Add(40 * time.Second))
	look(r)
	g.Expect(c.tried).To(Equal(2), "the pause is over")
	look(starts())
	g.Expect(c.tried).To(Equal(3), "another manager knows of no pause")
	g.Expect(c.writes).To(BeZero(), "other words are not news")

	clock.SetTime(clock.Now().Add(10 * time.Minute))
	look(r)
	g.Expect(c.writes).To(Equal(2), "after a while they are")
	for _, o := range all {
		g.Expect(conditions.GetMessage(s.get(o.Name), v1alpha1.ConditionWiped)).To(ContainSubstring("used: 4"))
	}
}

// Nobody would know otherwise what a scan waits for.
func TestARefusedScanSaysWhyAndRunsLater(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	quota := s.forbidJobs()
	bed.Edit(t, s.repository, func() {
		metav1.SetMetaDataAnnotation(&s.repository.ObjectMeta, v1alpha1.AnnotationScan, "now")
	})
	bed.Eventually(t, s.repository, func(g Gomega) {
		g.Expect(conditions.GetReason(s.repository, v1alpha1.ConditionScanned)).
			To(Equal(v1alpha1.ReasonCreationRefused))
		g.Expect(conditions.GetMessage(s.repository, v1alpha1.ConditionScanned)).To(ContainSubstring("exceeded quota"))
	}, "the condition quotes the API server")
	expectEvent(t, s.namespace, "exceeded quota")
	s.noJob("a quota refuses it")

	g.Expect(bed.Client.Delete(t.Context(), quota)).To(Succeed())
	request := s.request()
	job := &batchv1.Job{}
	g.Eventually(func() error { // the API server looks at quotas in a cache of its own
		// That of the manager tries again when its clock goes on.
		_, _ = newKeepers(bed.Manager.GetClient(), bed.Manager.GetAPIReader(), now).Reconcile(t.Context(), request)
		return bed.Client.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: s.keeper()}, job)
	}, testbed.Patience, time.Second).Should(Succeed())
	s.answers(job)
	g.Expect(s.lastScan("now")).To(Equal(v1alpha1.ScanStatus{Requested: "now", Unknown: 3}))
	g.Expect(conditions.IsTrue(s.repository, v1alpha1.ConditionScanned)).To(BeTrue())
}
