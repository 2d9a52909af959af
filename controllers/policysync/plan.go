package policysync

import (
	"context"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// removal is what a revision lacks.
type removal struct {
	// stale are all entries of the inventory that the revision lacks. goes are those to delete. stays are those that
	// stay, with the reasons by id. What is gone, or belongs to somebody else now, is neither.
	stale, goes, stays []v1alpha1.ResourceRef
	why                map[string]string
	// takes holds, by id, what goes and takes more along: a Namespace takes what is in it, deletionPolicy: WipeOut
	// takes backups, and a PolicySync can take what it has applied. An object that moves to the path of another
	// PolicySync is stale for the first one before it belongs to the second.
	takes map[string]bool
	// held says that what goes waits for a consent.
	held bool
}

// left returns what the inventory still holds when the removal begins.
func (r *removal) left() []v1alpha1.ResourceRef { return union(r.goes, r.stays) }

// needConsent makes what has this mark, or none that counts, go only with a consent.
func (r *removal) needConsent(mark string) {
	for _, refs := range [][]v1alpha1.ResourceRef{r.goes, r.stays} {
		for i := range refs {
			if refs[i].Consent == mark {
				refs[i].Consent = v1alpha1.ConsentNeeded
			}
		}
	}
}

// kept describes what stays.
func (r *removal) kept() (out []string) {
	for _, ref := range r.stays {
		out = append(out, describe(ref)+" ("+r.why[ref.ID]+")")
	}
	return out
}

// plan finds out what a removal of stale objects would delete. What is needed only by what goes, or can go along, does
// not stay: whoever consents to the one consents to the other, also if the prune has to wait for the other.
func (a *applier) plan(ctx context.Context, stale []v1alpha1.ResourceRef) (*removal, error) {
	out := &removal{stale: stale, why: map[string]string{}, takes: map[string]bool{}}
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
				out.goes = append(out.goes, ref)
				along = along || l.takes && class == 0 // for example a BackupConfiguration its Repositories
				out.takes[ref.ID] = l.takes && l.found.GetDeletionTimestamp() == nil
			case l.unknown:
				out.goes, out.takes[ref.ID] = append(out.goes, ref), l.takes
			}
		}
	}
	out.goes = union(out.goes, nil)
	return out, nil
}

// look is what a look at a stale object found: the object, if it would be deleted, or why it stays, and whether it
// takes more along.
type look struct {
	found   *unstructured.Unstructured
	why     string
	takes   bool
	unknown bool
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
		_, gvk, _ := kindOf(ref)
		takesMore := gvk.Kind == namespaceKind || gvk.Group == v1alpha1.Group
		g.Go(func() error {
			u, why, err := a.find(ctx, ref, needed, left)
			switch {
			case apierrors.IsForbidden(err): // nobody knows, and the rest of the revision does not wait
				looks[i].takes, looks[i].unknown = takesMore, true
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
