package restoresession

import (
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/csi"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// freeze takes a restore to the write that freezes it, and no further.
func (w *world) freeze(name string) {
	w.T.Helper()
	for range 10 {
		if w.session(name).Status.Resolved != nil {
			return
		}
		w.Killer = &sessiontest.Killer{At: 1, Written: true}
		w.Reconcile(name)
	}
	w.T.Fatalf("%s was not frozen: %+v", name, w.session(name).Status)
}

func ofFirstPod(s *v1alpha1.RestoreSession) { s.Spec.DataSource.Components = []string{"pod-0"} }

// quota limits the total requests of the world's claims.
func (w *world) quota(hard, used string) {
	w.T.Helper()
	q := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "room"},
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
			corev1.ResourceRequestsStorage: resource.MustParse(hard),
		}},
	}
	w.Expect(w.Client.Create(w.T.Context(), q)).To(Succeed())
	q.Status = corev1.ResourceQuotaStatus{
		Hard: q.Spec.Hard,
		Used: corev1.ResourceList{corev1.ResourceRequestsStorage: resource.MustParse(used)},
	}
	w.Expect(w.Client.Status().Update(w.T.Context(), q)).To(Succeed())
}

// A claim is deleted before its replacement is created: everything that could prevent the replacement must be checked
// first.
func TestAClaimStaysThatCanNotBeReplaced(t *testing.T) {
	t.Parallel()
	shotOf := func(w *world) *snapshotv1.VolumeSnapshot {
		s := &snapshotv1.VolumeSnapshot{}
		w.Get("data-web-0-1795154820", s)
		return s
	}
	for name, tc := range map[string]struct {
		size       string
		meanwhile  func(w *world, class *storagev1.StorageClass)
		want, says string
	}{
		"a LimitRange that forbids the new one": {meanwhile: func(w *world, _ *storagev1.StorageClass) {
			w.Expect(w.Client.Create(w.T.Context(), &corev1.LimitRange{
				ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "small"},
				Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
					Type: corev1.LimitTypePersistentVolumeClaim,
					Max:  corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("512Mi")},
				}}},
			})).To(Succeed())
		}, want: "Failed/InvalidParameters", says: "maximum storage usage per PersistentVolumeClaim is 512Mi"},
		"a quota without room for more": {
			size: "2Gi", meanwhile: func(
				w *world, _ *storagev1.StorageClass,
			) {
				w.quota("2Gi", "2Gi")
			},
			want: "Failed/QuotaExceeded",
			says: "ResourceQuota room has no room for the new PersistentVolumeClaims: requests.storage would be " +
				"3Gi of 2Gi",
		},
		"a deleted StorageClass": {meanwhile: func(w *world, class *storagev1.StorageClass) {
			w.Expect(w.Client.Delete(w.T.Context(), class)).To(Succeed())
		}, want: "Failed/StorageClassNotFound", says: "PersistentVolumeClaim web-0 stays"},
		"a VolumeSnapshot with an error": {meanwhile: func(w *world, _ *storagev1.StorageClass) {
			s := shotOf(w)
			s.Status.Error = &snapshotv1.VolumeSnapshotError{Message: new("the array is read-only")}
			w.Expect(w.Client.Status().Update(w.T.Context(), s)).To(Succeed())
		}, want: "Failed/VolumeSnapshotNotReady", says: "the array is read-only"},
		"a VolumeSnapshot without its content": {meanwhile: func(w *world, _ *storagev1.StorageClass) {
			content := &snapshotv1.VolumeSnapshotContent{ObjectMeta: metav1.ObjectMeta{
				Name: *shotOf(w).Status.BoundVolumeSnapshotContentName,
			}}
			w.Expect(w.Client.Delete(w.T.Context(), content)).To(Succeed())
		}, want: "Failed/VolumeSnapshotNotReady", says: "is not ready to use"},
		"a VolumeSnapshot that needs more": {meanwhile: func(w *world, _ *storagev1.StorageClass) {
			s := shotOf(w)
			s.Status.RestoreSize = new(resource.MustParse("3Gi"))
			w.Expect(w.Client.Status().Update(w.T.Context(), s)).To(Succeed())
		}, want: "Failed/VolumeTooSmall", says: "now needs a volume of 3Gi, but the claim asks for 1Gi"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newVolumes(t, "")
			class := &storagev1.StorageClass{
				ObjectMeta:  metav1.ObjectMeta{Name: "of-" + w.Namespace},
				Provisioner: csi.DriverName,
			}
			sessiontest.Create(t, w.Client, class, sessiontest.Claim(w.Namespace, "web-0"))
			old := w.claim("web-0")
			w.restore("restore",
				intoVolumes("web-${POD_ORDINAL}", ofClass(class.Name), func(t *v1alpha1.RestoreClaimTemplate) {
					t.Metadata.Annotations = map[string]string{v1alpha1.AnnotationReplace: string(old.UID)}
					if tc.size != "" {
						t.Spec.Resources.Requests = corev1.ResourceList{
							corev1.ResourceStorage: resource.MustParse(tc.size),
						}
					}
				}), ofFirstPod)
			w.freeze("restore")
			tc.meanwhile(w, class)
			s := w.settleVolumes("restore")
			w.Expect(ending(s)).To(Equal(tc.want), message(s))
			w.Expect(message(s)).To(ContainSubstring(tc.says))
			w.Expect(w.claim("web-0").UID).To(Equal(old.UID))
			w.Expect(w.claim("web-0").DeletionTimestamp).To(BeNil())
			w.Expect(w.claim("web-0").Annotations).NotTo(HaveKey(v1alpha1.AnnotationReplace))
		})
	}
}

// The new claim takes the room of the old one.
func TestAClaimIsReplacedWhereTheQuotaIsUsedUp(t *testing.T) {
	t.Parallel()
	w := newVolumes(t, "")
	sessiontest.Create(t, w.Client, sessiontest.Claim(w.Namespace, "web-0"))
	old := w.claim("web-0")
	w.restore("restore", intoVolumes("web-${POD_ORDINAL}", func(t *v1alpha1.RestoreClaimTemplate) {
		t.Metadata.Annotations = map[string]string{v1alpha1.AnnotationReplace: string(old.UID)}
	}), ofFirstPod)
	w.freeze("restore")
	w.quota("2Gi", "2Gi")
	w.Reconcile("restore") // This deletes the old claim,
	w.releaseClaims()
	var q corev1.ResourceQuota
	w.Get("room", &q)
	q.Status.Used[corev1.ResourceRequestsStorage] = resource.MustParse("1Gi") // and the quota controller notices it.
	w.Expect(w.Client.Status().Update(t.Context(), &q)).To(Succeed())
	s := w.settleVolumes("restore")
	w.Expect(ending(s)).To(Equal("Succeeded/Succeeded"), message(s))
	w.Expect(w.claim("web-0").UID).NotTo(Equal(old.UID))
}
