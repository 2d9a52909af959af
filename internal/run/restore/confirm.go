package restore

import (
	"cmp"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/workload"
)

// ConfirmationRefusal explains why a resolved restore must not write into its target before somebody confirms what the
// target holds. It returns nil if nobody has to, or if spec.confirm does. A mover that can look for itself needs no
// confirmation in advance: it refuses a volume that holds data.
func ConfirmationRefusal(s *v1alpha1.RestoreSession, resolved *v1alpha1.ResolvedRestore) *v1alpha1.ResolvedError {
	if confirm := s.Spec.Confirm; confirm != "" {
		if confirm == string(resolved.TargetUID) {
			return nil
		}
		return workload.Fail(v1alpha1.ReasonConfirmationWrong,
			"confirm names %s, but %s has the UID %s: check what the target holds before you confirm that UID",
			confirm, s.Spec.Target, resolved.TargetUID)
	}
	if step := stepThatWritesFirst(resolved.Task); step != "" && resolved.TargetUID != "" {
		return workload.Fail(v1alpha1.ReasonConfirmationMissing,
			"step %s of the task can write into the volumes before the mover has checked what they hold%s",
			step, confirmAdvice(s, resolved.TargetUID))
	}
	if hasUnprobedDatabase(resolved.Hosts) {
		return workload.Fail(v1alpha1.ReasonConfirmationMissing, "the task has no way to see whether %s holds data%s",
			s.Spec.Target, confirmAdvice(s, resolved.TargetUID))
	}
	return nil
}

// ConfirmationUsed explains why the confirm of a restore does not count again: an annotation of marked says that
// an identical restore has used it, but not that marked still has what that restore wrote. So nothing is known about
// what would be overwritten. It returns nil if marked is "", or if the restore overwrites nothing.
func ConfirmationUsed(confirm, marked string) *v1alpha1.ResolvedError {
	if marked == "" || confirm == "" {
		return nil
	}
	return workload.Fail(v1alpha1.ReasonConfirmationUsed,
		"%s has the annotation %s of an identical restore, which has used the confirmation, but not for all of the "+
			"volumes that are there now: check what they hold, then remove the annotation and create the restore again",
		marked, v1alpha1.AnnotationRestored)
}

// stepThatWritesFirst names the step of a restore's task that can write into the volumes before the mover checks what
// they hold, or returns "".
func stepThatWritesFirst(t v1alpha1.ResolvedTask) string {
	for _, s := range t.Steps {
		if s.TargetAccess == v1alpha1.TargetAccessReadWrite {
			return s.Container.Name
		}
	}
	return ""
}

// hasUnprobedDatabase reports whether a component goes into a database whose content no program reports.
func hasUnprobedDatabase(hosts []v1alpha1.ResolvedRestoreHost) bool {
	for _, h := range hosts {
		for _, v := range h.Volumes {
			if !v.Mounted() && v.Stream.Probe == nil {
				return true
			}
		}
	}
	return false
}

// confirmAdvice ends a refusal to write into a used volume. It says which confirmation allows it, and where: a person
// who wrote a RestoreBatch has not written its RestoreSessions.
func confirmAdvice(s *v1alpha1.RestoreSession, target types.UID) string {
	if owner := metav1.GetControllerOf(s); owner != nil && owner.Kind == v1alpha1.RestoreBatchKind {
		return fmt.Sprintf("; to restore into it anyway, create another RestoreBatch with confirm: %s for this "+
			"target (cairn restore --batch --confirm TARGET/%[1]s)", target)
	}
	return fmt.Sprintf("; to restore into it anyway, create another RestoreSession with spec.confirm: %s "+
		"(cairn restore --confirm)", target)
}

// Overwrites returns how a restore treats existing files in its volumes, or "" if the volumes must be empty.
func Overwrites(s *v1alpha1.RestoreSession) v1alpha1.OverwritePolicy {
	if s.Spec.Confirm == "" {
		return ""
	}
	return cmp.Or(s.Spec.OverwritePolicy, v1alpha1.OverwriteAlways)
}
