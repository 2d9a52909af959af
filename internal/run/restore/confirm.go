package restore

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/workload"
)

// ConfirmationRefusal explains why a resolved restore must not write into its target before somebody confirms what the
// target holds. It returns nil if nobody has to, or if spec.confirm does. A mover that can look for itself needs no
// confirmation in advance: it refuses a volume that holds data.
func ConfirmationRefusal(s *v1alpha1.RestoreSession, resolved *v1alpha1.ResolvedRestore) *v1alpha1.ResolvedError {
	if s.Spec.Confirm != "" {
		return Confirmation{Value: s.Spec.Confirm}.Wrong(s.Spec.Target, resolved.TargetUID)
	}
	if step := stepThatWritesFirst(resolved.Task); step != "" && resolved.TargetUID != "" {
		return workload.Fail(v1alpha1.ReasonConfirmationMissing,
			"step %s of the task can write into the volumes before the mover has checked what they hold%s",
			step, confirmAdvice(inBatch(s), string(resolved.TargetUID)))
	}
	if hasUnprobedDatabase(resolved.Hosts) {
		return workload.Fail(v1alpha1.ReasonConfirmationMissing, "the task has no way to see whether %s holds data%s",
			s.Spec.Target, confirmAdvice(inBatch(s), string(resolved.TargetUID)))
	}
	return nil
}

// Confirmation is a confirm that somebody has written. It counts once: a restore that is made again, for example by a
// GitOps tool, has nobody's new word for what its target holds by then. Its digests cover the UID of the target, so it
// needs no other proof that annotations, which go along with an export, are about this target.
type Confirmation struct {
	// Value is the UID of the target, with or without a slash and a word behind it. It is "" if nothing is confirmed.
	Value string
	// InBatch is the name of the target in the RestoreBatch in which a person can confirm again, or "" if that is a
	// RestoreSession.
	InBatch string
	// Digest is that of what the confirmation allows, by which its target remembers that it was used.
	Digest string
	// Stamps are those that an identical restore can have stamped the target with: see Digests. An earlier version
	// remembered the confirmation by them.
	Stamps []string
}

// ConfirmationOf returns the confirmation of a restore.
func ConfirmationOf(s *v1alpha1.RestoreSession) Confirmation {
	stamps := Digests(s)
	c := Confirmation{Value: s.Spec.Confirm, InBatch: inBatch(s), Digest: stamps[0], Stamps: stamps}
	if own := s.Annotations[v1alpha1.AnnotationConfirmationDigest]; own != "" && c.InBatch != "" {
		c.Digest = own
	}
	return c
}

// Wrong explains that a confirmation is not about a target, which has this UID. It returns nil if it is, or if nothing
// is confirmed.
func (c Confirmation) Wrong(target *v1alpha1.TypedObjectReference, uid types.UID) *v1alpha1.ResolvedError {
	if confirmed, _, _ := strings.Cut(c.Value, "/"); c.Value == "" || confirmed == string(uid) {
		return nil
	}
	return workload.Fail(v1alpha1.ReasonConfirmationWrong,
		"confirm names %s, but %s has the UID %s: check what the target holds before you confirm that UID",
		c.Value, target, uid)
}

// Used explains why a confirmation does not count again: the annotations of an object say that an identical restore, of
// whatever name, has used it. It returns nil if they do not, or if the restore overwrites nothing. Ask only where the
// data of the restore is not known to be there still.
func (c Confirmation) Used(object string, annotations map[string]string) *v1alpha1.ResolvedError {
	said := c.saidBy(annotations)
	if c.Value == "" || said == "" {
		return nil
	}
	return workload.Fail(v1alpha1.ReasonConfirmationUsed,
		"%s has the annotation %s of an identical restore, which has used the confirmation, and nothing says that "+
			"what it wrote is still there: check what is there now%s",
		object, said, confirmAdvice(c.InBatch, c.another(annotations)))
}

// FilledUnseen refuses to run preRestore hooks for a target that nobody has confirmed, and that an identical restore
// has filled: nobody can see whether it still has its data, and a hook can delete that. marked names the object with
// the stamp.
func FilledUnseen(s *v1alpha1.RestoreSession, target types.UID, marked string) *v1alpha1.ResolvedError {
	return workload.Fail(v1alpha1.ReasonConfirmationMissing,
		"an identical restore has filled %s before, and whether it still has that data can't be seen, so no "+
			"preRestore hook runs. If it is empty, remove the annotation %s from %s and create the restore again%s",
		s.Spec.Target, v1alpha1.AnnotationRestored, marked, confirmAdvice(inBatch(s), string(target)))
}

// UsedByAnother is Used for a frozen restore that is about to write. An identical one of the same moment can have been
// faster.
func UsedByAnother(
	s *v1alpha1.RestoreSession, object string, annotations map[string]string,
) *v1alpha1.ResolvedError {
	if Holds(annotations, s.UID) {
		return nil
	}
	return ConfirmationOf(s).Used(object, annotations)
}

// saidBy returns the annotation that says that the confirmation was used, or "".
func (c Confirmation) saidBy(annotations map[string]string) string {
	used := usedDigests(annotations)
	isUsed := func(digest string) bool { return slices.Contains(used, shortDigest(digest)) }
	switch {
	case isUsed(c.Digest), slices.ContainsFunc(c.Stamps, isUsed):
		return v1alpha1.AnnotationConfirmed
	case Marked(annotations, c.Stamps...): // an earlier version has written only this one
		return v1alpha1.AnnotationRestored
	default:
		return ""
	}
}

// another returns a value that confirms the same target once more. If its words were numbers so far, it is a new one.
func (c Confirmation) another(annotations map[string]string) string {
	uid, word, _ := strings.Cut(c.Value, "/")
	n, err := strconv.ParseUint(word, 10, 16)
	if err != nil {
		n = 1
	}
	return fmt.Sprintf("%s/%d", uid, max(n, uint64(len(usedDigests(annotations))))+1)
}

// maxUsed is how many used confirmations an object remembers: many more than anybody gives for one target, because
// beyond that the first ones count again.
const maxUsed = 200

// use makes annotations say that the confirmation is used.
func (c Confirmation) use(annotations map[string]string) {
	if c.Value != "" {
		rememberUsed(annotations, c.Digest)
	}
}

// takeBack takes back what use has made annotations say.
func (c Confirmation) takeBack(annotations map[string]string) {
	if c.Value != "" {
		forgetUsed(annotations, c.Digest)
	}
}

// rememberUsed makes annotations say that the confirmation with this digest is used.
func rememberUsed(annotations map[string]string, digest string) {
	used := usedDigests(annotations)
	if slices.Contains(used, shortDigest(digest)) {
		return
	}
	used = append(used, shortDigest(digest))
	annotations[v1alpha1.AnnotationConfirmed] = strings.Join(used[max(0, len(used)-maxUsed):], ",")
}

// forgetUsed takes back what rememberUsed has made annotations say.
func forgetUsed(annotations map[string]string, digest string) {
	used := slices.DeleteFunc(usedDigests(annotations), func(d string) bool { return d == shortDigest(digest) })
	if len(used) == 0 {
		delete(annotations, v1alpha1.AnnotationConfirmed)
		return
	}
	annotations[v1alpha1.AnnotationConfirmed] = strings.Join(used, ",")
}

func usedDigests(annotations map[string]string) []string {
	return strings.FieldsFunc(annotations[v1alpha1.AnnotationConfirmed], func(r rune) bool { return r == ',' })
}

// shortDigest returns the beginning of a digest, which is enough to tell the restores into one object apart.
func shortDigest(digest string) string {
	digest = strings.TrimPrefix(digest, "sha256:")
	return digest[:min(len(digest), 16)]
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

// confirmAdvice ends a refusal to write into a used volume. It says which confirmation allows it, and where: target is
// what inBatch returns.
func confirmAdvice(target, confirm string) string {
	if target != "" {
		return "; to restore into it anyway, " + AnotherBatch(target, confirm)
	}
	return fmt.Sprintf("; to restore into it anyway, create another RestoreSession with spec.confirm: %s "+
		"(cairn restore --confirm)", confirm)
}

// AnotherBatch says which RestoreBatch confirms one of its targets.
func AnotherBatch(target, confirm string) string {
	return fmt.Sprintf("create another RestoreBatch of the targets that are to be restored now, with confirm: %[2]s "+
		"for this target (cairn restore --batch --confirm %[1]s/%[2]s)", target, confirm)
}

// inBatch returns the name of the target in the RestoreBatch in which a person confirms a restore, because whoever
// wrote a RestoreBatch has not written its RestoreSessions. It returns "" for any other RestoreSession, and TARGET if
// the name of this one was too long to tell the target.
func inBatch(s *v1alpha1.RestoreSession) string {
	owner := metav1.GetControllerOf(s)
	if owner == nil || owner.Kind != v1alpha1.RestoreBatchKind {
		return ""
	}
	target, ok := strings.CutPrefix(s.Name, owner.Name+"-")
	if !ok || target == "" || policy.RestoreSessionName(owner.Name, target) != s.Name {
		return "TARGET"
	}
	return target
}
