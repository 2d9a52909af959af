package restore

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// filledClaim returns a claim that a restore with the digest filled, together with another one. The volumes of these
// tests have the UID v.
func filledClaim(name, digest string) corev1.PersistentVolumeClaim {
	stamp := Stamp{Digest: digest, Target: types.UID("uid-" + name), Volume: "v", Claims: 2}
	return corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID("uid-" + name),
			Annotations: map[string]string{v1alpha1.AnnotationRestored: stamp.String()},
		},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
}

func TestFilledBy(t *testing.T) {
	stamp := func(value string) func(*corev1.PersistentVolumeClaim) {
		return func(c *corev1.PersistentVolumeClaim) { c.Annotations[v1alpha1.AnnotationRestored] = value }
	}
	for name, tt := range map[string]struct {
		change func(*corev1.PersistentVolumeClaim)
		volume types.UID
		want   bool
	}{
		"by an identical restore":   {func(*corev1.PersistentVolumeClaim) {}, "v", true},
		"by another restore":        {stamp("e/uid-data/v/2"), "v", false},
		"by none":                   {func(c *corev1.PersistentVolumeClaim) { c.Annotations = nil }, "v", false},
		"says an earlier version":   {stamp("d"), "v", false},
		"but the value is no stamp": {stamp("d/uid-data/v/many"), "v", false},
		"but another claim of its name, which was created again with the annotations": {
			func(c *corev1.PersistentVolumeClaim) { c.UID = "new" }, "v", false,
		},
		"but it has another volume now":             {func(*corev1.PersistentVolumeClaim) {}, "w", false},
		"but its volume is gone":                    {func(*corev1.PersistentVolumeClaim) {}, "", false},
		"but its volume was unknown and is unknown": {stamp("d/uid-data//2"), "", false},
		"but it has lost its data": {
			func(c *corev1.PersistentVolumeClaim) { c.Status.Phase = corev1.ClaimLost }, "v", false,
		},
		"but it is being deleted": {
			func(c *corev1.PersistentVolumeClaim) { c.DeletionTimestamp = &metav1.Time{} }, "v", false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			claim := filledClaim("data", "d")
			tt.change(&claim)
			NewWithT(t).Expect(FilledBy(&claim, tt.volume, "d")).To(Equal(tt.want))
		})
	}
}

func TestFilledClaims(t *testing.T) {
	claims := []corev1.PersistentVolumeClaim{
		filledClaim("data", "d"), filledClaim("logs", "d"), filledClaim("other", "e"), filledClaim("gone", "d"),
	}
	claims[3].UID = "created again"
	volumes := map[string]types.UID{"data": "v", "logs": "v", "other": "v", "gone": "v"}
	filled := FindFilled(claims, volumes, "d")
	for name, tt := range map[string]struct {
		names []string
		all   bool
	}{
		"all":                   {[]string{"data", "logs"}, true},
		"one is another":        {[]string{"data", "other"}, false},
		"one was created again": {[]string{"data", "gone"}, false},
		"one is missing":        {[]string{"data", "new"}, false},
		"no claim at all":       {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(filled.All(tt.names)).To(Equal(tt.all))
		})
	}
	g := NewWithT(t)
	g.Expect(filled.AnyMarked([]string{"other", "gone"})).To(Equal("gone"))
	g.Expect(filled.AnyMarked([]string{"other"})).To(BeEmpty())
	g.Expect(filled.Complete()).To(BeTrue(), "the restore filled two claims")
	g.Expect(FindFilled(claims[:1], volumes, "d").Complete()).To(BeFalse(), "one of the two is left")
	g.Expect(FindFilled(claims, volumes, "f").Complete()).To(BeFalse())
	g.Expect(FindFilled(claims, volumes, "").Complete()).To(BeFalse())
	g.Expect(ClaimsOf([]v1alpha1.ResolvedRestoreHost{
		{Volumes: []v1alpha1.ResolvedRestoreVolume{{ClaimName: "a"}, {ClaimName: "b"}}},
		{Volumes: []v1alpha1.ResolvedRestoreVolume{{ClaimName: "c"}}},
	})).To(Equal([]string{"a", "b", "c"}))
}

func TestDatabaseFilledBy(t *testing.T) {
	g := NewWithT(t)
	lease := map[string]string{
		v1alpha1.AnnotationRestored: Stamp{Digest: "d", Target: "service", Volume: "uid-data", Claims: 1}.String(),
	}
	g.Expect(DatabaseFilledBy(lease, "service", "uid-data", "d")).To(BeTrue())
	g.Expect(DatabaseFilledBy(lease, "service", "uid-data", "e")).To(BeFalse())
	g.Expect(DatabaseFilledBy(lease, "another", "uid-data", "d")).To(BeFalse())
	g.Expect(DatabaseFilledBy(lease, "service", "uid-new", "d")).To(BeFalse(), "its server has a new volume")
	g.Expect(DatabaseFilledBy(map[string]string{v1alpha1.AnnotationRestored: "d"}, "service", "", "d")).To(BeFalse())
	g.Expect(DatabaseFilledBy(nil, "service", "", "d")).To(BeFalse())
	lease[v1alpha1.AnnotationRestored] = Stamp{Digest: "d", Target: "service", Claims: 1}.String()
	g.Expect(DatabaseFilledBy(lease, "service", "", "d")).To(BeFalse(), "its server was unknown and is unknown")
}

func TestVolumesOfDatabase(t *testing.T) {
	g := NewWithT(t)
	claims := []corev1.PersistentVolumeClaim{filledClaim("data", "d"), filledClaim("logs", "d")}
	server := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "pod"}}
	g.Expect(VolumesOfDatabase(nil, claims)).To(BeEmpty())
	g.Expect(VolumesOfDatabase(server, claims)).To(Equal("pod"), "the data goes with the pod")
	for _, name := range []string{"data", "logs"} {
		server.Spec.Volumes = append(server.Spec.Volumes, corev1.Volume{VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
		}})
	}
	g.Expect(VolumesOfDatabase(server, claims)).To(Equal("uid-data+uid-logs"))
}
