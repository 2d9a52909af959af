package policysync

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
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
	// takes backups, a Repository its Snapshots, and a PolicySync can take what it has applied. An object that moves to
	// the path of another PolicySync is stale for the first one before it belongs to the second.
	takes map[string]bool
	// held says that what goes waits for a consent.
	held bool
	// failed is why nobody knows of one of them whether it could go. It stays for now.
	failed error
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
// not stay: whoever consents to the one consents to the other, also if the prune has to wait for the other. An object
// that can't be read holds up what later classes find, because it can need that to go.
func (a *applier) plan(ctx context.Context, stale []v1alpha1.ResourceRef) *removal {
	out := &removal{stale: stale, why: map[string]string{}, takes: map[string]bool{}}
	going := going{}
	unread := "" // the first object of the earlier classes that could not be read
	for class := range classes {
		refs, before := ofClass(stale, class), unread
		for i, l := range a.lookAt(ctx, refs, going.has, slices.Concat(a.stays, out.stays)) {
			ref := refs[i]
			switch {
			case l.err != nil:
				out.stays, out.why[ref.ID] = append(out.stays, ref), l.err.Error()
				out.failed, unread = cmp.Or(out.failed, l.err), cmp.Or(unread, describe(ref))
			case l.why != "":
				out.stays, out.why[ref.ID] = append(out.stays, ref), l.why
			case l.found != nil && before != "":
				out.stays, out.why[ref.ID] = append(out.stays, ref), "waits for "+before
			case l.found != nil:
				going.add(l.found, l.takes && class == 0)
				out.goes = append(out.goes, ref)
				out.takes[ref.ID] = l.takes && l.found.GetDeletionTimestamp() == nil
			}
		}
	}
	out.goes = union(out.goes, nil)
	return out
}

// going holds what goes, as "<kind> <namespace>/<name>" and, for Repositories that can go along, as the beginning of
// that.
type going map[string]bool

// add adds an object. Policy that takes along its Repositories, such as a BackupConfiguration, has them in its
// namespace. What a PolicySync takes along can be anywhere: Repositories, and the policy that names them.
func (g going) add(u *unstructured.Unstructured, takes bool) {
	g[u.GetKind()+" "+client.ObjectKeyFromObject(u).String()] = true
	switch {
	case takes && u.GetKind() == v1alpha1.PolicySyncKind:
		for _, kind := range []string{
			v1alpha1.RepositoryKind, v1alpha1.BackupConfigurationKind, v1alpha1.BackupBatchKind,
		} {
			g[kind+" "] = true
		}
	case takes:
		g[v1alpha1.RepositoryKind+" "+u.GetNamespace()+"/"] = true
	}
}

func (g going) has(user string) bool {
	kind, _, _ := strings.Cut(user, " ")
	namespace, _, _ := strings.Cut(user, "/")
	return g[user] || g[kind+" "] || g[namespace+"/"]
}

// look is what a look at a stale object found: the object, if it would be deleted, or why it stays, and whether it
// takes more along. It is empty if the object is gone or belongs to somebody else.
type look struct {
	found *unstructured.Unstructured
	why   string
	takes bool
	err   error
}

// lookAt looks at stale objects of one class. left are the objects outside this class that stay.
func (a *applier) lookAt(
	ctx context.Context, refs []v1alpha1.ResourceRef, goes func(user string) bool, left []v1alpha1.ResourceRef,
) []look {
	looks := make([]look, len(refs))
	needed := sync.OnceValues(func() (users, error) { return a.usersOf(ctx, refs, goes) })
	filled := a.filledIn(ctx, refs)
	var g errgroup.Group
	g.SetLimit(concurrency)
	for i, ref := range refs {
		g.Go(func() error {
			u, why, err := a.find(ctx, ref, needed, left)
			takes := false
			if u != nil && err == nil {
				takes, err = a.takes(u, filled)
			}
			looks[i] = look{found: u, why: why, takes: takes, err: err}
			return nil
		})
	}
	_ = g.Wait() // each look has its own error
	return looks
}

// prunesAll reports whether an object is a PolicySync that deletes everything that it has applied when it goes.
func prunesAll(u *unstructured.Unstructured) bool {
	policy, _, _ := unstructured.NestedString(u.Object, "spec", "deletionPolicy")
	return u.GetKind() == v1alpha1.PolicySyncKind && policy == v1alpha1.DeletionPolicyDelete
}

// wipes reports whether a value of a spec holds deletionPolicy: WipeOut, at any depth.
func wipes(value any) bool {
	switch v := value.(type) {
	case map[string]any:
		for name, field := range v {
			if name == "deletionPolicy" && field == string(v1alpha1.WipeOut) || wipes(field) {
				return true
			}
		}
	case []any:
		for _, item := range v {
			if wipes(item) {
				return true
			}
		}
	}
	return false
}

// isRepository reports whether an object is a Repository of Cairn: other kinds have that name, too.
func isRepository(u *unstructured.Unstructured) bool {
	return u.GroupVersionKind().GroupKind() == v1alpha1.GroupVersion.WithKind(v1alpha1.RepositoryKind).GroupKind()
}

// takes reports whether an object takes more along: see removal. Without its Snapshots nothing in the cluster knows the
// backups of a Repository until somebody makes it again and asks for a scan.
func (a *applier) takes(u *unstructured.Unstructured, filled map[string]repositoryNames) (bool, error) {
	switch {
	case u.GetKind() == namespaceKind || wipes(u.Object["spec"]) || prunesAll(u):
		return true, nil
	case !isRepository(u):
		return false, nil
	}
	in, err := filled[u.GetNamespace()]()
	return in[u.GetName()], err
}

// repositoryNames returns the names of some Repositories of a namespace.
type repositoryNames func() (map[string]bool, error)

// filledIn returns, by namespace, which Repositories have Snapshots. It lists them once, and only if somebody asks.
func (a *applier) filledIn(ctx context.Context, refs []v1alpha1.ResourceRef) map[string]repositoryNames {
	out := map[string]repositoryNames{}
	for _, ref := range refs {
		id, _, err := kindOf(ref)
		if err != nil || out[id.Namespace] != nil {
			continue
		}
		out[id.Namespace] = sync.OnceValues(func() (map[string]bool, error) {
			var snapshots v1alpha1.SnapshotList
			err := a.List(ctx, &snapshots, client.InNamespace(id.Namespace), client.UnsafeDisableDeepCopy)
			if err != nil {
				return nil, fmt.Errorf("list Snapshots of namespace %s: %w", id.Namespace, err)
			}
			filled := map[string]bool{}
			for i := range snapshots.Items {
				if s := &snapshots.Items[i]; v1alpha1.InForce(s) {
					filled[s.Spec.Repository] = true
				}
			}
			return filled, nil
		})
	}
	return out
}
