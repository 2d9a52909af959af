package keeper_test

import (
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A keeper whose Job a quota refuses says so, and not that data can be gone.
func TestARefusedKeeperRemovesNothingAndSaysWhy(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	o := s.snapshot(s.repository, 1, good, wipeOutSnapshot)
	bed.Forbid(t, s.namespace, "jobs", "count/jobs.batch", 0, &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "one"},
		Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "one", Image: "one"}},
		}}},
	})
	del(t, o)
	bed.Eventually(t, o, func(g Gomega) {
		g.Expect(conditions.GetReason(o, v1alpha1.ConditionWiped)).To(Equal(v1alpha1.ReasonCreationRefused))
		g.Expect(conditions.GetMessage(o, v1alpha1.ConditionWiped)).To(ContainSubstring("exceeded quota"))
		g.Expect(conditions.Has(o, v1alpha1.ConditionRemovalBegan)).To(BeFalse())
	}, "the condition quotes the API server")
	s.noJob("a quota refuses it")
}
