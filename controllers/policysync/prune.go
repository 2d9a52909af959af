package policysync

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

const (
	// classWait is the default of ClassWait.
	classWait = 20 * time.Second
	// classPoll is the time between two looks at them.
	classPoll = 200 * time.Millisecond
)

// classes is the number of classes that are deleted one after the other: objects that make Jobs, Repositories, their
// storages, what those need for access, and namespaces. A Ledger goes before its Secret, which it needs to push its
// last records, and after every class that need not wait for a Git server.
const classes = 5

func classOf(kind string) int {
	switch kind {
	case v1alpha1.RepositoryKind:
		return 1
	case v1alpha1.BackupStorageKind, v1alpha1.LedgerKind:
		return 2
	case secretKind, "ConfigMap", "ServiceAccount", "Role", "RoleBinding", v1alpha1.AddonKind, v1alpha1.FunctionKind:
		return 3
	case namespaceKind:
		return 4
	}
	return 0
}

// pruned is what a prune did.
type pruned struct {
	// left are the objects that stay in the inventory, and kept describes those that stay on purpose.
	left []v1alpha1.ResourceRef
	kept []string
	// deleted are the objects whose deletion began.
	deleted []v1alpha1.ResourceRef
}

// prune deletes stale objects class by class.
func (a *applier) prune(ctx context.Context, stale []v1alpha1.ResourceRef) (out pruned, f *fault) {
	for class := range classes {
		refs := ofClass(stale, class)
		waiting, began, staying, err := a.deleteClass(ctx, refs, slices.Concat(a.stays, out.left))
		out.deleted = append(out.deleted, began...)
		for _, ref := range refs {
			if why, ok := staying[ref.ID]; ok {
				out.left = append(out.left, ref)
				out.kept = append(out.kept, describe(ref)+" ("+why+")")
			}
		}
		if err == nil && class < classes-1 { // nothing comes after namespaces
			waiting, err = a.waitGone(ctx, waiting)
		}
		if err == nil && (len(waiting) == 0 || class == classes-1) {
			continue
		}
		// Later classes are needed to delete the objects that still exist.
		for _, ref := range stale {
			if _, gvk, err := kindOf(ref); err == nil && classOf(gvk.Kind) >= class && !slices.Contains(out.left, ref) {
				out.left = append(out.left, ref)
			}
		}
		return out, pruneFault(ctx, waiting, err)
	}
	return out, nil
}

func pruneFault(ctx context.Context, waiting []v1alpha1.ResourceRef, err error) *fault {
	if err != nil {
		f := applyFault(ctx, err, nil)
		if f.reason == v1alpha1.ReasonReconcileFailed {
			f.reason = v1alpha1.ReasonPruneFailed
		}
		return f
	}
	names := make([]string, 0, 3)
	for _, ref := range waiting[:min(len(waiting), 3)] {
		names = append(names, describe(ref))
	}
	return &fault{
		reason:  v1alpha1.ReasonPruneFailed,
		message: "waiting until " + strings.Join(names, ", ") + " is deleted: check its finalizers",
	}
}

// deleteClass deletes objects that are still ours. left are the objects outside this class that stay. It returns the
// objects that are being deleted, those of them whose deletion began now, and by id why others are kept. An object that
// can't be deleted holds up no other of its class.
func (a *applier) deleteClass(
	ctx context.Context, refs, left []v1alpha1.ResourceRef,
) (waiting, began []v1alpha1.ResourceRef, kept map[string]string, err error) {
	left = slices.Clone(left)
	needed := sync.OnceValues(func() (users, error) { return a.usersOf(ctx, refs, nobody) })
	look := func(ref v1alpha1.ResourceRef) (*unstructured.Unstructured, string, error) {
		return a.find(ctx, ref, needed, left)
	}
	found, kept, err := findClass(refs, look)
	if failed := a.announceDeletion(ctx, found); failed != nil {
		return nil, nil, kept, failed
	}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(concurrency)
	for i, u := range found {
		if u == nil {
			continue
		}
		g.Go(func() error {
			begins := u.GetDeletionTimestamp() == nil
			if begins {
				if goes, err := a.delete(ctx, refs[i], u, look); !goes || err != nil {
					return err
				}
			}
			mu.Lock()
			defer mu.Unlock()
			waiting = append(waiting, refs[i])
			if begins {
				began = append(began, refs[i])
			}
			return nil
		})
	}
	err = cmp.Or(g.Wait(), err)
	for _, refs := range [][]v1alpha1.ResourceRef{waiting, began} {
		slices.SortFunc(refs, func(x, y v1alpha1.ResourceRef) int { return cmp.Compare(x.ID, y.ID) })
	}
	return waiting, began, kept, err
}

// finder finds an object that goes, or says why it is kept: see find.
type finder func(v1alpha1.ResourceRef) (u *unstructured.Unstructured, why string, err error)

// findClass finds the objects of one class that go, nil for the others, and by id why some are kept.
func findClass(refs []v1alpha1.ResourceRef, look finder) (
	found []*unstructured.Unstructured, kept map[string]string, err error,
) {
	found, kept = make([]*unstructured.Unstructured, len(refs)), map[string]string{}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(concurrency)
	for i, ref := range refs {
		g.Go(func() error {
			u, why, err := look(ref)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if found[i] = u; why != "" {
				kept[ref.ID] = why
			}
			return nil
		})
	}
	return found, kept, g.Wait()
}

// announceDeletion writes to the status that the revision changes what decides, before the first object goes that does,
// or that takes such objects along.
func (a *applier) announceDeletion(ctx context.Context, found []*unstructured.Unstructured) error {
	if a.part == nil || !slices.ContainsFunc(found, func(u *unstructured.Unstructured) bool {
		return u != nil && u.GetDeletionTimestamp() == nil &&
			(decides(u.GroupVersionKind()) || prunesAll(u) || u.GetKind() == namespaceKind)
	}) {
		return nil
	}
	return a.part.announce(ctx, false)
}

// delete begins the deletion of an object, and reports whether it goes. If somebody has changed it since it was found,
// it is looked at again: it can belong to somebody else by then.
func (a *applier) delete(
	ctx context.Context, ref v1alpha1.ResourceRef, u *unstructured.Unstructured, look finder,
) (goes bool, err error) {
	for range maxLooks {
		if err = a.current(ctx); err != nil {
			return false, err
		}
		uid, seen := u.GetUID(), u.GetResourceVersion()
		err = a.client.Delete(ctx, u, client.Preconditions{UID: &uid, ResourceVersion: &seen},
			client.PropagationPolicy(metav1.DeletePropagationBackground))
		if !apierrors.IsConflict(err) {
			break
		}
		again, why, failed := look(ref)
		if failed != nil || again == nil && why == "" {
			return false, failed
		}
		if why != "" {
			break // it stays: the next pass says so
		}
		u = again
	}
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("delete %s: %w", describe(ref), err)
	}
	return true, nil
}

// maxLooks is how often a pass looks at an object that changes while it is deleted.
const maxLooks = 5

// waitGone waits until objects are gone, and returns those that still exist at the end. The first look has no limit:
// at many objects it takes its time.
func (a *applier) waitGone(ctx context.Context, refs []v1alpha1.ResourceRef) ([]v1alpha1.ResourceRef, error) {
	refs, err := a.existing(ctx, refs)
	if err != nil || len(refs) == 0 {
		return refs, err
	}
	limit := cmp.Or(a.ClassWait, classWait)
	err = wait.PollUntilContextTimeout(ctx, classPoll, limit, false, func(ctx context.Context) (bool, error) {
		left, err := a.existing(ctx, refs)
		if err == nil {
			refs = left
		}
		return err == nil && len(refs) == 0, err
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		err = nil
	}
	return refs, err
}

// existing returns those of the objects that exist, in their order.
func (a *applier) existing(ctx context.Context, refs []v1alpha1.ResourceRef) ([]v1alpha1.ResourceRef, error) {
	gone := make([]bool, len(refs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrency)
	for i, ref := range refs {
		g.Go(func() error {
			id, gvk, err := kindOf(ref)
			if err != nil {
				return fmt.Errorf("read inventory: %w", err)
			}
			u := &metav1.PartialObjectMetadata{}
			u.SetGroupVersionKind(gvk)
			err = a.client.Get(ctx, types.NamespacedName{Namespace: id.Namespace, Name: id.Name}, u)
			if client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("get %s: %w", describe(ref), err)
			}
			gone[i] = err != nil
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var left []v1alpha1.ResourceRef
	for i, ref := range refs {
		if !gone[i] {
			left = append(left, ref)
		}
	}
	return left, nil
}
