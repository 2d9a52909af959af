package policysync

import (
	"fmt"
	"strings"

	"github.com/fluxcd/pkg/runtime/conditions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// guard decides whether a removal needs a consent: if nothing that was applied before is left but what stays in any
// case, if no object of the revision exists yet, or if the removal takes more along. The inventory alone can't tell
// whether it removes everything, because it also holds what a refused revision was going to apply. Once a consent is
// needed, it stays needed for every removal until it is given or nothing is stale any more: a revert can be partial,
// and the revision whose removals were held back can come again. That prune is false for a while changes nothing, also
// if it is when the revision comes.
//
// The guard counts no removals over time. Each revision was reviewed by itself, and if many empty the repository step
// by step, the last step removes everything and needs a consent.
func (s *reconciling) guard(revision string, lacks *removal, live liveObjects) {
	status := &s.obj.Status
	s.closeConsent(revision)
	goes := lacks.goes
	everything := len(lacks.stale) == len(s.inventory) || !s.ownsAny(live)
	needed := len(lacks.stale) > 0 && status.Removal != nil || len(goes) > 0 && (everything || lacks.takesAlong)
	if len(goes) == 0 {
		conditions.Delete(s.obj, v1alpha1.ConditionDeletionBlocked)
	}
	if !needed || len(goes) > 0 && s.obj.Spec.Prune && s.consented(revision, lacks) {
		status.Removal = nil
		conditions.Delete(s.obj, v1alpha1.ConditionDeletionBlocked)
		return
	}
	status.Removal = &v1alpha1.BlockedRemoval{Digest: digestOf(goes), Count: int32(len(goes))}
	for _, ref := range goes[:min(len(goes), 20)] {
		status.Removal.Objects = append(status.Removal.Objects, describe(ref))
	}
}

// given returns the consent that somebody gave, or "".
func (s *reconciling) given() string { return s.obj.Annotations[v1alpha1.AnnotationAllowDelete] }

// forgetConsent forgets a consent that was removed or changed: the next one is new, whatever its value.
func (s *reconciling) forgetConsent() {
	if c := s.obj.Status.Consent; c != nil && c.Digest != s.given() {
		s.obj.Status.Consent = nil
	}
}

// closeConsent ends a consent that counted for something else than this revision under this spec: what is stale now can
// be more than what was consented to. The first revision of all removes nothing, so a consent that is there already
// came with a PolicySync that was made again, or whose status was lost.
func (s *reconciling) closeConsent(revision string) {
	status := &s.obj.Status
	switch c := status.Consent; {
	case c != nil && (c.Revision != revision || c.Generation != s.obj.Generation):
		c.Complete = true
	case c == nil && s.given() != "" && status.Inventory == nil:
		status.Consent = &v1alpha1.UsedConsent{
			Digest: s.given(), Revision: revision, Generation: s.obj.Generation, Complete: true,
		}
	}
}

// consented reports whether a removal is allowed. The consent is used up by that: the status holds it before the first
// object is deleted. If a part of the objects was deleted, or the manager was killed, it counts for the others, but for
// nothing that has stayed until then. A consent to all that is stale counts for what goes, too.
func (s *reconciling) consented(revision string, lacks *removal) bool {
	counts := func(digest string) bool { return digest == digestOf(lacks.goes) || digest == digestOf(lacks.stale) }
	if c := s.obj.Status.Consent; c != nil {
		return !c.Complete && counts(c.Digest)
	}
	if !counts(s.given()) {
		return false
	}
	s.obj.Status.Consent = &v1alpha1.UsedConsent{
		Digest: s.given(), Revision: revision, Generation: s.obj.Generation,
	}
	return true
}

// completeConsent ends the consent of a removal that was carried out.
func (s *reconciling) completeConsent() {
	if c := s.obj.Status.Consent; c != nil {
		c.Complete = true
	}
}

// awaited reports whether somebody gave the consent that a removal waits for, and it was not used up before.
func (s *reconciling) awaited() bool {
	removal := s.obj.Status.Removal
	return removal != nil && s.obj.Spec.Prune && s.given() == removal.Digest && s.obj.Status.Consent == nil
}

// ownsAny reports whether this PolicySync applied any of the objects.
func (s *reconciling) ownsAny(live liveObjects) bool {
	for _, u := range live {
		if s.owns(u) {
			return true
		}
	}
	return false
}

func (s *reconciling) owns(u *unstructured.Unstructured) bool {
	labels := u.GetLabels()
	return labels[v1alpha1.LabelSyncName] == s.obj.Name && labels[v1alpha1.LabelSyncNamespace] == s.obj.Namespace
}

// blocked returns a fault that names what the guard holds back and how to consent.
func (s *reconciling) blocked() *fault {
	removal := s.obj.Status.Removal
	first := removal.Objects[:min(len(removal.Objects), 3)]
	rest := ""
	if int(removal.Count) > len(first) {
		rest = " and others"
	}
	message := fmt.Sprintf("revision %s is applied, but %s%s were not deleted: this or an earlier revision "+
		"removes everything that was applied before, or a Namespace, or backups (deletionPolicy: WipeOut), or a "+
		"PolicySync with what it applied (deletionPolicy: Delete), and since then Cairn deletes only what you "+
		"confirm. To delete them, run: kubectl annotate policysync -n %s %s --overwrite %s=%s",
		s.obj.Status.LastAppliedRevision, strings.Join(first, ", "), rest, s.obj.Namespace, s.obj.Name,
		v1alpha1.AnnotationAllowDelete, removal.Digest)
	if c := s.obj.Status.Consent; c != nil && c.Digest == removal.Digest {
		message += fmt.Sprintf(". The annotation has this value already, but it counted for revision %s and counts "+
			"once: before, run: kubectl annotate policysync -n %s %s %s- and wait until status.consent is gone",
			c.Revision, s.obj.Namespace, s.obj.Name, v1alpha1.AnnotationAllowDelete)
	}
	conditions.Set(s.obj, &metav1.Condition{
		Type: v1alpha1.ConditionDeletionBlocked, Status: metav1.ConditionTrue,
		Reason: v1alpha1.ReasonDeletionBlocked, Message: message,
	})
	return &fault{reason: v1alpha1.ReasonDeletionBlocked, message: message, stalled: true}
}
