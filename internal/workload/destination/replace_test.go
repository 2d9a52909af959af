package destination_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/internal/workload/destination"
)

func TestTheRoomOfAQuota(t *testing.T) {
	list := func(pairs ...string) corev1.ResourceList {
		out := corev1.ResourceList{}
		for i := 0; i < len(pairs); i += 2 {
			out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
		}
		return out
	}
	claim := func(size, class string) *corev1.PersistentVolumeClaim {
		return &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class, Resources: corev1.VolumeResourceRequirements{Requests: list("storage", size)},
		}}
	}
	old := claim("1Gi", "slow")
	old.Annotations = map[string]string{corev1.BetaStorageClassAnnotation: "fast"}
	for name, tc := range map[string]struct {
		hard, used  corev1.ResourceList
		goes, comes []*corev1.PersistentVolumeClaim
		says        string
	}{
		"one for one": {
			hard: list("persistentvolumeclaims", "1"),
			used: list("persistentvolumeclaims", "1"), goes: []*corev1.PersistentVolumeClaim{claim("1Gi", "fast")},
			comes: []*corev1.PersistentVolumeClaim{claim("1Gi", "fast")},
		},
		"two for one": {
			hard:  list("count/persistentvolumeclaims", "2"),
			used:  list("count/persistentvolumeclaims", "2"),
			goes:  []*corev1.PersistentVolumeClaim{claim("1Gi", "fast")},
			comes: []*corev1.PersistentVolumeClaim{claim("1Gi", "fast"), claim("1Gi", "fast")},
			says:  "count/persistentvolumeclaims would be 3 of 2",
		},
		"a larger one": {
			hard: list("requests.storage", "10Gi"), used: list("requests.storage", "9Gi"),
			goes:  []*corev1.PersistentVolumeClaim{claim("1Gi", "fast")},
			comes: []*corev1.PersistentVolumeClaim{claim("3Gi", "fast")},
			says:  "requests.storage would be 11Gi of 10Gi",
		},
		"another class": {
			hard:  list("fast.storageclass.storage.k8s.io/requests.storage", "1Gi"),
			used:  list("fast.storageclass.storage.k8s.io/requests.storage", "1Gi"),
			goes:  []*corev1.PersistentVolumeClaim{claim("1Gi", "slow")},
			comes: []*corev1.PersistentVolumeClaim{claim("1Gi", "fast")}, says: "would be 2Gi of 1Gi",
		},
		"a class in the old annotation": {
			hard: list("fast.storageclass.storage.k8s.io/persistentvolumeclaims", "1"),
			used: list("fast.storageclass.storage.k8s.io/persistentvolumeclaims", "1"),
			goes: []*corev1.PersistentVolumeClaim{old}, comes: []*corev1.PersistentVolumeClaim{claim("1Gi", "fast")},
		},
		"a quota that was lowered": {
			hard: list("persistentvolumeclaims", "1"), used: list("persistentvolumeclaims", "3"),
			goes:  []*corev1.PersistentVolumeClaim{claim("1Gi", "fast")},
			comes: []*corev1.PersistentVolumeClaim{claim("1Gi", "fast")}, says: "would be 3 of 1",
		},
		"a quota of other things": {
			hard: list("pods", "0"), used: list("pods", "0"),
			comes: []*corev1.PersistentVolumeClaim{claim("1Gi", "fast")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			quota := corev1.ResourceQuota{
				ObjectMeta: metav1.ObjectMeta{Name: "q"},
				Status:     corev1.ResourceQuotaStatus{Hard: tc.hard, Used: tc.used},
			}
			refusal := destination.CheckQuotas([]corev1.ResourceQuota{quota}, tc.goes, tc.comes)
			if tc.says == "" {
				g.Expect(refusal).To(BeNil())
				return
			}
			g.Expect(refusal.Message).To(ContainSubstring(tc.says))
		})
	}
}
