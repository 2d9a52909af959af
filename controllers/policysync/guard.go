package policysync

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/fluxcd/pkg/runtime/conditions"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// removal is what a revision lacks.
type removal struct {
	// stale are all entries of the inventory that the revision lacks. goes are those to delete. stays are the others,
	// with the reasons by id.
	stale, goes, stays []v1alpha1.ResourceRef
	why                map[string]string
	// takesAlong says that more goes along with one of them: a Namespace takes what is in it, deletionPolicy: WipeOut
	// takes backups, and a PolicySync can take what it has applied. An object that moves to the path of another
	// PolicySync is stale for the first one before it belongs to the second.
	takesAlong bool
}

// kept describes what stays.
func (r *removal) kept() (out []string) {
	for _, ref := range r.stays {
		out = append(out, describe(ref)+" ("+r.why[ref.ID]+")")
	}
	return out
}

// plan finds out what a removal of stale objects would delete. What is needed only by what goes, or can go along, does
// not stay: whoever consents to the one consents to the other.
func (a *applier) plan(ctx context.Context, stale []v1alpha1.ResourceRef) (*removal, error) {
	out := &removal{stale: stale, why: map[string]string{}}
	going, along := map[string]bool{}, false
	goes := func(user string) bool {
		return going[user] || along && strings.HasPrefix(user, v1alpha1.RepositoryKind+" ")
	}
	for class := range classes {
		refs := ofClass(stale, class)
		looks, err := a.lookAt(ctx, refs, goes, slices.Concat(a.stays, out.stays))
		if err != nil {
			return nil, err
		}
		for i, ref := range refs {
			switch l := looks[i]; {
			case l.why != "":
				out.stays, out.why[ref.ID] = append(out.stays, ref), l.why
			case l.found != nil:
				going[l.found.GetKind()+" "+client.ObjectKeyFromObject(l.found).String()] = true
				fallthrough
			default:
				along = along || l.takes && class == 0 // for example a BackupConfiguration its Repositories
				out.takesAlong = out.takesAlong || l.takes && (l.found == nil || l.found.GetDeletionTimestamp() == nil)
			}
		}
	}
	for _, ref := range stale {
		if out.why[ref.ID] == "" {
			out.goes = append(out.goes, ref)
		}
	}
	return out, nil
}

// look is what a look at a stale object found: the object, if it would be deleted, or why it stays, and whether it
// takes more along.
type look struct {
	found *unstructured.Unstructured
	why   string
	takes bool
}

// lookAt looks at stale objects of one class. left are the objects outside this class that stay.
func (a *applier) lookAt(
	ctx context.Context, refs []v1alpha1.ResourceRef, goes func(user string) bool, left []v1alpha1.ResourceRef,
) ([]look, error) {
	looks := make([]look, len(refs))
	needed := sync.OnceValues(func() (users, error) { return a.needed(ctx, goes) })
	var g errgroup.Group
	g.SetLimit(concurrency)
	for i, ref := range refs {
		id, gvk, _ := kindOf(ref)
		takesMore := gvk.Kind == namespaceKind || gvk.Group == v1alpha1.Group
		if a.mayDelete(id.Namespace, ref) && !takesMore && gvk.Kind != secretKind {
			continue
		}
		g.Go(func() error {
			u, why, err := a.find(ctx, ref, needed, left)
			switch {
			case apierrors.IsForbidden(err): // nobody knows, and the rest of the revision does not wait
				looks[i].takes = takesMore
				return nil
			case err != nil:
				return err
			}
			looks[i] = look{found: u, why: why}
			if u != nil {
				looks[i].takes = gvk.Kind == namespaceKind || wipes(u.Object["spec"]) || prunesAll(u)
			}
			return nil
		})
	}
	return looks, g.Wait()
}

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
