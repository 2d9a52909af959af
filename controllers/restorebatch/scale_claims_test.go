package restorebatch

import (
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// statefulSet creates a StatefulSet with two replicas and a claim for each, and a policy for claims.
func (w *world) statefulSet(whenScaled appsv1.PersistentVolumeClaimRetentionPolicyType) *appsv1.StatefulSet {
	w.T.Helper()
	labels := map[string]string{"app": "store"}
	claim := sessiontest.Claim(w.Namespace, "data")
	claim.ObjectMeta = metav1.ObjectMeta{Name: "data"}
	s := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "store"},
		Spec: appsv1.StatefulSetSpec{
			Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "store", Image: "store"}}},
			},
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{*claim},
			PersistentVolumeClaimRetentionPolicy: &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
				WhenScaled: whenScaled, WhenDeleted: appsv1.RetainPersistentVolumeClaimRetentionPolicyType,
			},
		},
	}
	w.Expect(w.Client.Create(w.T.Context(), s, client.FieldOwner("kubectl"))).To(Succeed())
	return s
}

// Kubernetes would delete the claims with the pods, also those that no target of the RestoreBatch has.
func TestAWorkloadThatWouldLoseItsClaimsIsNotScaledDown(t *testing.T) {
	t.Parallel()
	for name, later := range map[string]bool{"from the beginning": false, "since the hooks": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			policy := appsv1.DeletePersistentVolumeClaimRetentionPolicyType
			if later {
				policy = appsv1.RetainPersistentVolumeClaimRetentionPolicyType
			}
			s := w.statefulSet(policy)
			w.restore("back", func(b *v1alpha1.RestoreBatch) {
				b.Spec.ScaleDown = []v1alpha1.ScaleDown{{Kind: v1alpha1.KindStatefulSet, Name: "store"}}
			})
			if later {
				w.Reconcile("back")
				w.Expect(w.batch("back").Status.Resolved).NotTo(BeNil())
				bed.Edit(t, s, func() {
					claims := s.Spec.PersistentVolumeClaimRetentionPolicy
					claims.WhenScaled = appsv1.DeletePersistentVolumeClaimRetentionPolicyType
				})
			}
			b := w.settle("back")
			w.Expect(b.Status.Conditions).To(ContainElement(And(HaveField("Type", "Ready"),
				HaveField("Message", ContainSubstring("Set whenScaled: Retain")))))
			w.Get("store", s)
			w.Expect(*s.Spec.Replicas).To(Equal(int32(2)))
			w.Expect(w.children()).To(BeEmpty())
		})
	}
}
