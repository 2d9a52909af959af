package retention

import (
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestWhatIsSaidOfDataThatStays(t *testing.T) {
	for kept, want := range map[Kept]struct {
		backend, snapshots string
		along              bool
	}{
		GivenUp: {
			backend:   "the data stays in the backend: its removal was given up",
			snapshots: "the VolumeSnapshots stay: its removal was given up",
		},
		NamespaceGoes: {
			backend: "the data stays in the backend: the namespace is being deleted",
			snapshots: "Cairn removes nothing: the namespace is being deleted, and its VolumeSnapshots with it; " +
				"data stays if its VolumeSnapshotContent has deletionPolicy Retain",
			along: true,
		},
		KindGoes: {
			backend: "the data stays in the backend: the CustomResourceDefinition of its kind is being deleted",
			snapshots: "the VolumeSnapshots stay: the CustomResourceDefinition of its kind is being " +
				"deleted",
			along: true,
		},
	} {
		g := NewWithT(t)
		g.Expect(kept.Message(false)).To(Equal(want.backend))
		g.Expect(kept.Message(true)).To(Equal(want.snapshots))
		g.Expect(kept.TakenAlong()).To(Equal(want.along), string(kept))
	}
}

// The annotation names the UID, so it does not count for an object that was made again.
func TestWhoGaveUp(t *testing.T) {
	for says, want := range map[string]bool{"uid": true, "true": false, "other": false, "": false} {
		o := &metav1.ObjectMeta{UID: "uid", Annotations: map[string]string{v1alpha1.AnnotationGiveUp: says}}
		NewWithT(t).Expect(IsGivenUp(o)).To(Equal(want), says)
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
