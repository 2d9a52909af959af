package keeper_test

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
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
	request := ctrl.Request{NamespacedName: client.ObjectKey{Namespace: s.namespace, Name: s.storage.Namespace + "/s3"}}
	job := &batchv1.Job{}
	g.Eventually(func() error { // the API server looks at quotas in a cache of its own
		_, _ = keepers.Reconcile(t.Context(), request) // or the manager was faster
		return bed.Client.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: s.keeper()}, job)
	}, testbed.Patience, time.Second).Should(Succeed())
	s.answers(job)
	g.Expect(s.lastScan("now")).To(Equal(v1alpha1.ScanStatus{Requested: "now", Unknown: 3}))
	g.Expect(conditions.IsTrue(s.repository, v1alpha1.ConditionScanned)).To(BeTrue())
}
