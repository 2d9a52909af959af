package restore

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// filledClaim returns a claim that a restore with the digest filled.
func filledClaim(name, digest string) corev1.PersistentVolumeClaim {
	return corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Annotations: map[string]string{v1alpha1.AnnotationRestored: digest},
		},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
}

func TestFilledBy(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*corev1.PersistentVolumeClaim)
		want   bool
	}{
		"by an identical restore": {func(*corev1.PersistentVolumeClaim) {}, true},
		"by another restore": {func(c *corev1.PersistentVolumeClaim) {
			c.Annotations[v1alpha1.AnnotationRestored] = "e"
		}, false},
		"by none": {func(c *corev1.PersistentVolumeClaim) { c.Annotations = nil }, false},
		"but it has lost its data": {
			func(c *corev1.PersistentVolumeClaim) { c.Status.Phase = corev1.ClaimLost }, false,
		},
		"but it is being deleted": {
			func(c *corev1.PersistentVolumeClaim) { c.DeletionTimestamp = &metav1.Time{} }, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			claim := filledClaim("data", "d")
			tt.change(&claim)
			NewWithT(t).Expect(FilledBy(&claim, "d")).To(Equal(tt.want))
		})
	}
}

func TestFilledClaims(t *testing.T) {
	claims := []corev1.PersistentVolumeClaim{
		filledClaim("data", "d"), filledClaim("logs", "d"), filledClaim("other", "e"),
	}
	for name, tt := range map[string]struct {
		names []string
		want  bool
	}{
		"all":             {[]string{"data", "logs"}, true},
		"one is another":  {[]string{"data", "other"}, false},
		"one is missing":  {[]string{"data", "new"}, false},
		"no claim at all": {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(AllFilledBy(claims, "d", tt.names)).To(Equal(tt.want))
		})
	}
	g := NewWithT(t)
	g.Expect(AnyFilledBy(claims, "e")).To(BeTrue())
	g.Expect(AnyFilledBy(claims, "f")).To(BeFalse())
	g.Expect(DatabaseFilledBy(claims[2].Annotations, "e")).To(BeTrue())
	g.Expect(DatabaseFilledBy(nil, "e")).To(BeFalse())
	g.Expect(ClaimsOf([]v1alpha1.ResolvedRestoreHost{
		{Volumes: []v1alpha1.ResolvedRestoreVolume{{ClaimName: "a"}, {ClaimName: "b"}}},
		{Volumes: []v1alpha1.ResolvedRestoreVolume{{ClaimName: "c"}}},
	})).To(Equal([]string{"a", "b", "c"}))
}
