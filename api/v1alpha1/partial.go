package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Lacks returns what a run that succeeded lacks, or "".
func (s *BackupSession) Lacks() string {
	return lacks(s.Status.Phase == BackupSessionSucceeded, s.Status.Conditions)
}

// ShownReason returns the reason that people see: Partial if a run succeeded and lacks something.
func (s *BackupSession) ShownReason() string { return shownReason(s.Status.Reason, s.Lacks()) }

// ShownReason returns the reason that people see: Partial if a restore succeeded and lacks something.
func (s *RestoreSession) ShownReason() string {
	return shownReason(s.Status.Reason, lacks(s.Status.Phase == RestoreSessionSucceeded, s.Status.Conditions))
}

// ShownReason returns the reason that people see: Partial if a restore succeeded and lacks something.
func (b *RestoreBatch) ShownReason() string {
	return shownReason(b.Status.Reason, lacks(b.Status.Phase == RestoreSessionSucceeded, b.Status.Conditions))
}

func lacks(succeeded bool, conditions []metav1.Condition) string {
	c := meta.FindStatusCondition(conditions, ConditionPartial)
	if !succeeded || c == nil || c.Status != metav1.ConditionTrue {
		return ""
	}
	return c.Message
}

func shownReason(reason, lacks string) string {
	if lacks != "" {
		return ReasonPartial
	}
	return reason
}
