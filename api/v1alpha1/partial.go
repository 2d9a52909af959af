package v1alpha1

import (
	"cmp"
	"encoding/json"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Lack returns the condition that says what a run that succeeded lacks, or nil.
func (s *BackupSession) Lack() *metav1.Condition {
	return lack(s.Status.Phase == BackupSessionSucceeded, s.Status.Conditions)
}

// Lack returns the condition that says what a restore that succeeded lacks, or nil. A restore without root lacks at
// least the root directory of the volume, which most often belongs to root: that alone is nothing.
func (s *RestoreSession) Lack() *metav1.Condition {
	c := lack(s.Status.Phase == RestoreSessionSucceeded, s.Status.Conditions)
	if c != nil && c.Reason == ReasonPartial && !s.losesMore() {
		return nil
	}
	return c
}

// Lack returns the condition that says what a restore that succeeded lacks, or nil.
func (b *RestoreBatch) Lack() *metav1.Condition {
	return lack(b.Status.Phase == RestoreSessionSucceeded, b.Status.Conditions)
}

func lack(succeeded bool, conditions []metav1.Condition) *metav1.Condition {
	c := meta.FindStatusCondition(conditions, ConditionPartial)
	if !succeeded || c == nil || c.Status != metav1.ConditionTrue {
		return nil
	}
	return c
}

// ShownReason returns the reason that people see: of what a run lacks that succeeded, else its own.
func (s *BackupSession) ShownReason() string { return shownReason(s.Status.Reason, s.Lack()) }

// ShownReason returns the reason that people see: of what a restore lacks that succeeded, else its own.
func (s *RestoreSession) ShownReason() string { return shownReason(s.Status.Reason, s.Lack()) }

// ShownReason returns the reason that people see: of what a restore lacks that succeeded, else its own.
func (b *RestoreBatch) ShownReason() string { return shownReason(b.Status.Reason, b.Lack()) }

func shownReason(own string, lack *metav1.Condition) string {
	if lack != nil {
		return cmp.Or(lack.Reason, ReasonPartial)
	}
	return own
}

// losesMore reports whether a restore lost more than the attributes of root directories and owners that nobody wants.
func (s *RestoreSession) losesMore() bool { return s.LosesBesideOwners() || s.WrongOwners() > 0 }

// LosesBesideOwners reports whether a restore lost more than owners and the attributes of root directories.
func (s *RestoreSession) LosesBesideOwners() bool {
	root := int64(2) // its mode and its time
	if s.includes() {
		root = 0
	}
	for _, c := range s.Status.Components {
		if c.AttributesNotRestored > root || c.DevicesNotRestored+c.LinksNotRestored+c.ExtraKept > 0 {
			return true
		}
	}
	return false
}

// WrongOwners returns how many files of a restored claim belong to the user that the restore ran as, and not to their
// owners. A workload is restored as its own user, and somebody can have chosen another one.
func (s *RestoreSession) WrongOwners() int64 {
	if t := s.Spec.Target; t != nil && t.Kind != KindPersistentVolumeClaim || s.choosesUser() {
		return 0
	}
	// The root directory of most volumes belongs to root: its owner alone says nothing. A mover counts it with the
	// others, unless include chooses what is restored.
	root := int64(1)
	if s.includes() {
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

// includes reports whether the parameter include chooses what is restored.
func (s *RestoreSession) includes() bool {
	return s.Spec.Addon != nil && len(s.Spec.Addon.Tasks) == 1 && s.Spec.Addon.Tasks[0].StringParams()["include"] != ""
}

// choosesUser reports whether somebody has chosen as whom a restore runs.
func (s *RestoreSession) choosesUser() bool {
	addon := s.Spec.Addon
	return addon != nil && addon.JobTemplate != nil && addon.JobTemplate.Spec.SecurityContext != nil &&
		addon.JobTemplate.Spec.SecurityContext.RunAsUser != nil
}

// StringParams returns the parameters that a policy gives to a task. It leaves out values that are not strings.
func (t *TaskReference) StringParams() map[string]string {
	out := map[string]string{}
	if t.Params == nil {
		return out
	}
	given := map[string]any{}
	_ = json.Unmarshal(t.Params.Raw, &given) // whoever admits a policy refuses what is no map
	for name, value := range given {
		if text, ok := value.(string); ok {
			out[name] = text
		}
	}
	return out
}
