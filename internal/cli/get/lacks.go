package get

import (
	"slices"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
)

// lackOfRestore returns what a restore that succeeded lacks, or nil. A restore without root lacks at least the root
// directory of the volume, which most often belongs to root: that alone is nothing.
func lackOfRestore(s *v1alpha1.RestoreSession) *metav1.Condition {
	c := partial(s.Status.Conditions)
	if s.Status.Phase != v1alpha1.RestoreSessionSucceeded || c == nil ||
		c.Reason == v1alpha1.ReasonPartial && !losesMore(s) {
		return nil
	}
	return c
}

// losesMore reports whether a restore lost more than the attributes of root directories and owners that nobody wants.
func losesMore(s *v1alpha1.RestoreSession) bool {
	root := int64(2) // its mode and its time
	if catalog.RestoreParams(s.Spec.Addon)["include"] != "" {
		root = 0
	}
	for _, c := range s.Status.Components {
		if c.AttributesNotRestored > root || c.DevicesNotRestored+c.LinksNotRestored+c.ExtraKept > 0 {
			return true
		}
	}
	return WrongOwners(s) > 0
}

// LackOfBatch returns what a RestoreBatch lacks, or "": newer or other data, or the replicas of workloads. The
// RestoreSessions say which owners and attributes are lost, because the condition counts root directories.
func LackOfBatch(b *v1alpha1.RestoreBatch) string { return messageOf(lackOfBatch(b)) }

func lackOfBatch(b *v1alpha1.RestoreBatch) *metav1.Condition {
	c := partial(b.Status.Conditions)
	if c == nil || c.Reason == v1alpha1.ReasonPartial &&
		!slices.ContainsFunc(b.Status.ScaledDown, func(w v1alpha1.ScaledWorkload) bool {
			return w.Phase == v1alpha1.ScaleLeft
		}) {
		return nil
	}
	return c
}

// partial returns the condition Partial if it is True, else nil.
func partial(conditions []metav1.Condition) *metav1.Condition {
	c := apimeta.FindStatusCondition(conditions, v1alpha1.ConditionPartial)
	if c == nil || c.Status != metav1.ConditionTrue {
		return nil
	}
	return c
}

// reasonOf returns why something succeeded only in part, else its own reason.
func reasonOf(lack *metav1.Condition, own string) string {
	if lack != nil {
		return lack.Reason
	}
	return own
}

func messageOf(lack *metav1.Condition) string {
	if lack == nil {
		return ""
	}
	return lack.Message
}

// WrongOwners returns how many files of a restored claim belong to the user that the restore ran as, and not to their
// owners. A workload is restored as its own user, and somebody can have chosen another one.
func WrongOwners(s *v1alpha1.RestoreSession) int64 {
	if t := s.Spec.Target; t != nil && t.Kind != v1alpha1.KindPersistentVolumeClaim || choosesUser(s) {
		return 0
	}
	// The root directory of most volumes belongs to root: its owner alone says nothing. A mover counts it with the
	// others, unless include chooses what is restored.
	root := int64(1)
	if catalog.RestoreParams(s.Spec.Addon)["include"] != "" {
		root = 0
	}
	wrong := int64(0)
	for _, c := range s.Status.Components {
		if c.OwnersNotRestored > root {
			wrong += c.OwnersNotRestored
		}
	}
	return wrong
}

// choosesUser reports whether somebody has chosen as whom a restore runs.
func choosesUser(s *v1alpha1.RestoreSession) bool {
	addon := s.Spec.Addon
	return addon != nil && addon.JobTemplate != nil && addon.JobTemplate.Spec.SecurityContext != nil &&
		addon.JobTemplate.Spec.SecurityContext.RunAsUser != nil
}
