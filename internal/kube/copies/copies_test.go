package copies_test

import (
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/copies"
)

// The scheduler takes a while to see that the volume of a pod is there.
func TestACopyTellsWhenItsVolumeWasMade(t *testing.T) {
	t.Parallel()
	g, scheme := NewWithT(t), runtime.NewScheme()
	g.Expect(corev1.AddToScheme(scheme)).To(Succeed())
	g.Expect(snapshotv1.AddToScheme(scheme)).To(Succeed())
	s := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "run", UID: "u"}}
	s.Status.Resolved = &v1alpha1.ResolvedBackup{Targets: []v1alpha1.ResolvedTarget{{
		Copies: []v1alpha1.ResolvedCopy{{ClaimName: "data", Name: "made"}, {ClaimName: "logs", Name: "asked"}},
	}}}
	claim := func(name string) *corev1.PersistentVolumeClaim {
		c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, CreationTimestamp: metav1.Now(),
			Labels: map[string]string{
				v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelCopy: "run",
			},
		}}
		c.OwnerReferences = []metav1.OwnerReference{
			*metav1.NewControllerRef(s, v1alpha1.GroupVersion.WithKind(v1alpha1.BackupSessionKind)),
		}
		c.Status.Phase = corev1.ClaimPending
		return c
	}
	at := metav1.NewTime(time.Now().Add(-time.Minute).Truncate(time.Second))
	made := claim("made")
	made.Spec.VolumeName, made.Status.Phase = "pv", corev1.ClaimBound
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv", CreationTimestamp: at}}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(made, claim("asked"), volume).Build()
	found, err := copies.Maker{Client: c, Live: c}.Observe(t.Context(), s, time.Now())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(found["made"].Made).To(BeTemporally("==", at.Time))
	g.Expect(found["asked"].Claim).NotTo(BeNil())
	g.Expect(found["asked"].Made).To(BeZero())
}
