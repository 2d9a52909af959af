package volumesnapshot_test

import (
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

func class(name, driver string, isDefault bool) snapshotv1.VolumeSnapshotClass {
	c := snapshotv1.VolumeSnapshotClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Driver: driver}
	if isDefault {
		c.Annotations = map[string]string{"snapshot.storage.kubernetes.io/is-default-class": "true"}
	}
	return c
}

func source(edit ...func(*volumesnapshot.Source)) volumesnapshot.Source {
	s := volumesnapshot.Source{
		Claim: &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Name: "data"},
			Status:     corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
		},
		Volume: &corev1.PersistentVolume{
			Spec: corev1.PersistentVolumeSpec{
				PersistentVolumeSource: corev1.PersistentVolumeSource{
					CSI: &corev1.CSIPersistentVolumeSource{Driver: "disk.example.com"},
				},
			},
		},
		StorageClass: &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "disk"}},
	}
	for _, e := range edit {
		e(&s)
	}
	return s
}

func TestTheClassOfAVolume(t *testing.T) {
	annotated := map[string]string{v1alpha1.AnnotationVolumeSnapshotClass: "kept"}
	all := []snapshotv1.VolumeSnapshotClass{
		class("plain", "disk.example.com", true),
		class("kept", "disk.example.com", false), class("files", "nfs.example.com", true),
	}
	for name, tc := range map[string]struct {
		edit    func(*volumesnapshot.Source)
		asked   string
		classes []snapshotv1.VolumeSnapshotClass
		want    string
		reason  string
		says    string
	}{
		"the parameter": {asked: "kept", want: "kept"},
		"the parameter before the annotation": {
			asked: "plain", edit: func(s *volumesnapshot.Source) { s.Claim.Annotations = annotated }, want: "plain",
		},
		"the annotation of the claim": {
			edit: func(s *volumesnapshot.Source) { s.Claim.Annotations = annotated }, want: "kept",
		},
		"the annotation of its StorageClass": {
			edit: func(s *volumesnapshot.Source) { s.StorageClass.Annotations = annotated }, want: "kept",
		},
		"the default class of the driver": {want: "plain"},
		"without a StorageClass": {
			edit: func(s *volumesnapshot.Source) { s.StorageClass = nil }, want: "plain",
		},
		"a class that does not exist": {
			asked: "gone", reason: v1alpha1.ReasonVolumeSnapshotClassNotFound,
			says: "there is no VolumeSnapshotClass gone, which the parameter volumeSnapshotClassName names for " +
				"PersistentVolumeClaim data; the classes of that driver are: kept, plain",
		},
		"a class of another driver": {
			asked: "files", reason: v1alpha1.ReasonVolumeSnapshotClassNotFound,
			says: "belongs to driver nfs.example.com, but the volume of PersistentVolumeClaim data belongs to driver " +
				"disk.example.com",
		},
		"no default": {
			classes: []snapshotv1.VolumeSnapshotClass{
				class("kept", "disk.example.com", false),
				class("files", "nfs.example.com", true),
			},
			reason: v1alpha1.ReasonVolumeSnapshotClassNotFound,
			says:   "no VolumeSnapshotClass is the default of driver disk.example.com",
		},
		"two defaults": {
			classes: []snapshotv1.VolumeSnapshotClass{
				class("b", "disk.example.com", true),
				class("a", "disk.example.com", true),
			},
			reason: v1alpha1.ReasonVolumeSnapshotClassNotFound,
			says:   "VolumeSnapshotClasses a and b both are the default",
		},
		"no class at all": {
			classes: []snapshotv1.VolumeSnapshotClass{}, reason: v1alpha1.ReasonVolumeSnapshotClassNotFound,
			says: "the cluster has no class of that driver",
		},
		"a volume without a CSI driver": {
			edit:   func(s *volumesnapshot.Source) { s.Volume.Spec.CSI = nil },
			reason: v1alpha1.ReasonVolumeSnapshotsNotSupported, says: "Back its files up instead",
		},
		"a claim without a volume": {
			edit: func(s *volumesnapshot.Source) {
				s.Volume, s.Claim.Status.Phase = nil,
					corev1.ClaimPending
			},
			reason: v1alpha1.ReasonVolumeNotBound, says: "has no volume yet",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			classes := tc.classes
			if classes == nil {
				classes = all
			}
			edit := tc.edit
			if edit == nil {
				edit = func(*volumesnapshot.Source) {}
			}
			got, refusal := volumesnapshot.ChooseClass(source(edit), tc.asked, classes)
			if tc.reason != "" {
				g.Expect(got).To(BeNil())
				g.Expect(refusal.Reason).To(Equal(tc.reason))
				g.Expect(refusal.Message).To(ContainSubstring(tc.says))
				return
			}
			g.Expect(refusal).To(BeNil())
			g.Expect(got.Name).To(Equal(tc.want))
		})
	}
}
