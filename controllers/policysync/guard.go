package policysync

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/runtime/conditions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// guard decides whether a removal needs a consent: if nothing that was applied before is left but what stays in any
// case, if no object of the revision exists yet, or if an object takes more along. The inventory alone can't tell
// whether a revision removes everything, because it also holds what a refused revision was going to apply. What stays
// in use while everything is removed needs a consent once it can go. While a removal is held back, every other one
// needs a consent, too, until one is given or nothing is stale any more: a revert can be partial, and the revision
// whose removals were held back can come again. That prune is false for a while changes nothing, also if it is when the
// revision comes.
//
// The guard counts no removals over time. Each revision was reviewed by itself, and if many empty the repository step
// by step, the last step removes everything and needs a consent.
func (s *reconciling) guard(revision string, lacks *removal, live liveObjects) {
	status := &s.obj.Status
	s.closeConsent(revision, lacks)
	if len(lacks.stale) == len(s.inventory) || !s.ownsAny(live) {
		lacks.needConsent("")
	}
	lacks.held = slices.ContainsFunc(lacks.goes, func(ref v1alpha1.ResourceRef) bool {
		return ref.Consent != v1alpha1.ConsentGiven &&
			(ref.Consent == v1alpha1.ConsentNeeded || status.Removal != nil || lacks.takes[ref.ID])
	})
	if lacks.held && s.obj.Spec.Prune && s.consented(revision, lacks) {
		for i := range lacks.goes {
			lacks.goes[i].Consent = v1alpha1.ConsentGiven
		}
		lacks.held, status.Removal = false, nil
	}
	if !lacks.held {
		conditions.Delete(s.obj, v1alpha1.ConditionDeletionBlocked)
	}
	switch {
	case lacks.held:
		status.Removal = blockedRemoval(lacks.goes)
	case status.Removal != nil && len(lacks.left()) > 0: // the next removal needs a consent
		status.Removal = blockedRemoval(nil)
	default:
		status.Removal = nil
	}
}

func blockedRemoval(goes []v1alpha1.ResourceRef) *v1alpha1.BlockedRemoval {
	held := &v1alpha1.BlockedRemoval{Digest: digestOf(goes), Count: int32(len(goes))}
	for _, ref := range goes[:min(len(goes), 20)] {
		held.Objects = append(held.Objects, describe(ref))
	}
	return held
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
// be more than what was consented to. What it named and is still here needs another one. The first revision of all
// removes nothing, so a consent that is there already came with a PolicySync that was made again, or whose status was
// lost.
func (s *reconciling) closeConsent(revision string, lacks *removal) {
	status := &s.obj.Status
	c := status.Consent
	if c == nil && s.given() != "" && status.Inventory == nil {
		status.Consent = &v1alpha1.UsedConsent{
			Digest: s.given(), Revision: revision, Generation: s.obj.Generation, Complete: true,
		}
	}
	if c != nil && !c.Complete && !anyGiven(s.inventory) { // an earlier version did not keep what the consent named
		lacks.needConsent("")
	}
	if c != nil && (c.Revision != revision || c.Generation != s.obj.Generation) {
		c.Complete = true
	}
	if c == nil || c.Complete {
		lacks.needConsent(v1alpha1.ConsentGiven)
	}
}

// consented reports whether a removal is allowed. The consent is used up by that: the status holds it, and marks what
// it named, before the first object is deleted. If a part of the objects was deleted, or has to wait, or the manager
// was killed, it counts for the others, but for nothing that has stayed until then. A consent to all that is stale
// counts for what goes, too.
func (s *reconciling) consented(revision string, lacks *removal) bool {
	if s.given() != digestOf(lacks.goes) && s.given() != digestOf(lacks.stale) {
		return false
	}
	if c := s.obj.Status.Consent; c != nil {
		return !c.Complete && !anyGiven(s.inventory) // an earlier version marked nothing
	}
	s.obj.Status.Consent = &v1alpha1.UsedConsent{
		Digest: s.given(), Revision: revision, Generation: s.obj.Generation,
	}
	return true
}

// anyGiven reports whether a consent counts for one of the objects.
func anyGiven(refs []v1alpha1.ResourceRef) bool {
	return slices.ContainsFunc(refs, func(r v1alpha1.ResourceRef) bool { return r.Consent == v1alpha1.ConsentGiven })
}

// completeConsent ends a consent once everything that it named has gone.
func (s *reconciling) completeConsent() {
	if c := s.obj.Status.Consent; c != nil && !anyGiven(s.inventory) {
		c.Complete = true
	}
}

// awaited reports whether somebody gave the consent that a removal waits for, and it was not used up before.
func (s *reconciling) awaited() bool {
	held := s.obj.Status.Removal
	return held != nil && s.obj.Spec.Prune && s.given() == held.Digest && s.obj.Status.Consent == nil
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
func (s *reconciling) blocked(lacks *removal) *fault {
	held := s.obj.Status.Removal
	first := held.Objects[:min(len(held.Objects), 3)]
	rest := ""
	if int(held.Count) > len(first) {
		rest = " and others"
	}
	message := fmt.Sprintf("revision %s is applied, but %s%s were not deleted: this or an earlier revision "+
		"removes everything that was applied before, or a Namespace, or backups (deletionPolicy: WipeOut), or a "+
		"Repository with its Snapshots, or a PolicySync with what it applied (deletionPolicy: Delete), and "+
		"since then Cairn deletes only what you confirm. To delete them, run: "+
		"kubectl annotate policysync -n %s %s --overwrite %s=%s",
		s.obj.Status.LastAppliedRevision, strings.Join(first, ", "), rest, s.obj.Namespace, s.obj.Name,
		v1alpha1.AnnotationAllowDelete, held.Digest)
	switch c := s.obj.Status.Consent; {
	case c == nil:
	case !c.Complete && anyGiven(lacks.stays):
		message += fmt.Sprintf(". This ends the consent of revision %s, which still waits to delete something: Cairn "+
			"will ask you for that again", c.Revision)
	case c.Digest == held.Digest:
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
