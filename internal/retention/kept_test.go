package retention

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestWhyKept(t *testing.T) {
	givenUp := map[string]string{v1alpha1.AnnotationGiveUp: "uid"}
	going := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &metav1.Time{Time: time.Unix(1, 0)}}}
	for name, tt := range map[string]struct {
		annotations map[string]string
		namespace   *corev1.Namespace
		want        Kept
		backend     string
		snapshots   string
	}{
		"the data goes": {namespace: &corev1.Namespace{}},
		"somebody gave the removal up": {
			annotations: givenUp, namespace: &corev1.Namespace{}, want: GivenUp,
			backend:   "the data stays in the backend: its removal was given up",
			snapshots: "the VolumeSnapshots stay: its removal was given up",
		},
		"the namespace is being deleted": {
			namespace: going, want: NamespaceGoes,
			backend: "the data stays in the backend: the namespace is being deleted",
			snapshots: "Cairn removes nothing: the namespace is being deleted, and its VolumeSnapshots with it; " +
				"data stays if its VolumeSnapshotContent has deletionPolicy Retain",
		},
		"the namespace is gone": {want: NamespaceGoes},
		"both":                  {annotations: givenUp, namespace: going, want: GivenUp},
		"the annotation names no object": {
			annotations: map[string]string{v1alpha1.AnnotationGiveUp: "true"}, namespace: &corev1.Namespace{},
		},
		"the annotation was for another object": {
			annotations: map[string]string{v1alpha1.AnnotationGiveUp: "other"}, namespace: &corev1.Namespace{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got := WhyKept(&metav1.ObjectMeta{UID: "uid", Annotations: tt.annotations}, tt.namespace)
			g.Expect(got).To(Equal(tt.want))
			if tt.backend != "" {
				g.Expect(got.Message(false)).To(Equal(tt.backend))
				g.Expect(got.Message(true)).To(Equal(tt.snapshots))
			}
		})
	}
}

// The wipe of a Repository takes its Snapshots along, marks only the Repository, and can be given up half way.
func TestWhatAGoneRepositoryLeftMayBeAPart(t *testing.T) {
	g := NewWithT(t)
	for _, volumeSnapshots := range []bool{false, true} {
		g.Expect(RepositoryGone.Message(volumeSnapshots)).To(And(
			ContainSubstring(": its Repository is gone"), ContainSubstring("can be gone if Cairn had begun")))
		g.Expect(GivenUp.Message(volumeSnapshots)).NotTo(ContainSubstring("can be gone"))
	}
}

// Only the mark says that a removal began: the reasons of the condition Wiped follow each other.
func TestARemovalThatNobodyBeganTookNothing(t *testing.T) {
	g := NewWithT(t)
	const stays = "the data stays in the backend"
	for _, reason := range []string{
		v1alpha1.ReasonNameConflict, v1alpha1.ReasonJobNotDeleted, v1alpha1.ReasonInUse, v1alpha1.ReasonUnreachable,
		v1alpha1.ReasonStorageNotFound, v1alpha1.ReasonCancelled,
	} {
		r := &v1alpha1.Repository{}
		conditions.MarkFalse(r, v1alpha1.ConditionWiped, reason, "why")
		g.Expect(Partly(stays, r.Status.Conditions)).To(Equal(stays), reason)
		g.Expect(MarkRemovalBegan(r)).To(BeTrue())
		g.Expect(MarkRemovalBegan(r)).To(BeFalse(), "once")
		g.Expect(Partly(stays, r.Status.Conditions)).To(HaveSuffix("a part of it can be gone"), reason)
	}
}
