package policysync

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

const (
	// classWait bounds the wait for the objects of one class to be gone.
	classWait = 20 * time.Second
	// classPoll is the time between two looks at them.
	classPoll = 200 * time.Millisecond
)

// classes is the number of classes that are deleted one after the other: what makes Jobs, where they write, where that
// lies, what they need to get there, and the namespaces. A Ledger goes before its Secret, which it needs to push what it
// still has, and after all that need not wait for a Git server.
const classes = 5

func classOf(kind string) int {
	switch kind {
	case v1alpha1.RepositoryKind:
		return 1
	case v1alpha1.BackupStorageKind, v1alpha1.LedgerKind:
		return 2
	case "Secret", "ConfigMap", "ServiceAccount", "Role", "RoleBinding", v1alpha1.AddonKind, v1alpha1.FunctionKind:
		return 3
	case "Namespace":
		return 4
	}
	return 0
}

// prune deletes stale objects class by class. It returns what stays in the inventory, and of that what is kept on purpose.
func (a *applier) prune(ctx context.Context, stale []v1alpha1.ResourceRef) (left []v1alpha1.ResourceRef, kept []string, f *fault) {
	for class := range classes {
		var refs []v1alpha1.ResourceRef
		for _, ref := range stale {
			if _, gvk, err := kindOf(ref); err == nil && classOf(gvk.Kind) == class {
				refs = append(refs, ref)
			}
		}
		waiting, inUse, err := a.deleteClass(ctx, refs)
		for _, ref := range refs {
			if why, ok := inUse[ref.ID]; ok {
				left = append(left, ref)
				kept = append(kept, describe(ref)+" ("+why+")")
			}
		}
		if err == nil && class < classes-1 { // nothing comes after namespaces
			waiting, err = a.waitGone(ctx, waiting)
		}
		if err == nil && (len(waiting) == 0 || class == classes-1) {
			continue
		}
		// What comes later is needed to delete what is still there.
		for _, ref := range stale {
			if _, gvk, err := kindOf(ref); err == nil && classOf(gvk.Kind) >= class && !slices.Contains(left, ref) {
				left = append(left, ref)
			}
		}
		return left, kept, pruneFault(ctx, waiting, err)
	}
	return left, kept, nil
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
	return &fault{reason: v1alpha1.ReasonPruneFailed, message: "waiting until " + strings.Join(names, ", ") + " is deleted: look at its finalizers"}
}

// deleteClass deletes objects that are still ours. It returns what it asked the API server to delete, and what is in use
// by id.
func (a *applier) deleteClass(ctx context.Context, refs []v1alpha1.ResourceRef) (waiting []v1alpha1.ResourceRef, inUse map[string]string, err error) {
	inUse = map[string]string{}
	var users map[types.NamespacedName]string
	for _, ref := range refs {
		id, gvk, _ := kindOf(ref)
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(gvk)
		err := a.client.Get(ctx, types.NamespacedName{Namespace: id.Namespace, Name: id.Name}, u)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return waiting, inUse, fmt.Errorf("read %s: %w", describe(ref), err)
		}
		labels := u.GetLabels()
		if labels[v1alpha1.LabelSyncName] != a.obj.Name || labels[v1alpha1.LabelSyncNamespace] != a.obj.Namespace || u.GetUID() == a.obj.UID {
			continue // somebody took it over, or it is this PolicySync itself
		}
		if gvk.Kind == v1alpha1.BackupStorageKind {
			if users == nil {
				if users, err = a.storageUsers(ctx); err != nil {
					return waiting, inUse, err
				}
			}
			if user, ok := users[client.ObjectKeyFromObject(u)]; ok {
				inUse[ref.ID] = "Repository " + user + " uses it"
				continue
			}
		}
		uid := u.GetUID()
		err = a.client.Delete(ctx, u, client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
		if client.IgnoreNotFound(err) != nil {
			return waiting, inUse, fmt.Errorf("delete %s: %w", describe(ref), err)
		}
		waiting = append(waiting, ref)
	}
	return waiting, inUse, nil
}

// storageUsers names, of each BackupStorage in use, the first Repository that uses it.
func (a *applier) storageUsers(ctx context.Context) (map[types.NamespacedName]string, error) {
	repositories := &v1alpha1.RepositoryList{}
	if err := a.APIReader.List(ctx, repositories); err != nil {
		return nil, fmt.Errorf("list Repositories: %w", err)
	}
	users := map[types.NamespacedName]string{}
	for _, r := range repositories.Items {
		storage := types.NamespacedName{Namespace: r.Spec.StorageRef.Namespace, Name: r.Spec.StorageRef.Name}
		if storage.Namespace == "" {
			storage.Namespace = r.Namespace
		}
		if name := r.Namespace + "/" + r.Name; users[storage] == "" || name < users[storage] {
			users[storage] = name
		}
	}
	return users, nil
}

// waitGone waits until objects are gone, and returns those that are not in time.
func (a *applier) waitGone(ctx context.Context, refs []v1alpha1.ResourceRef) ([]v1alpha1.ResourceRef, error) {
	err := wait.PollUntilContextTimeout(ctx, classPoll, classWait, true, func(ctx context.Context) (bool, error) {
		var still []v1alpha1.ResourceRef
		for _, ref := range refs {
			id, gvk, _ := kindOf(ref)
			u := &metav1.PartialObjectMetadata{}
			u.SetGroupVersionKind(gvk)
			err := a.client.Get(ctx, types.NamespacedName{Namespace: id.Namespace, Name: id.Name}, u)
			if client.IgnoreNotFound(err) != nil {
				return false, fmt.Errorf("read %s: %w", describe(ref), err)
			}
			if err == nil {
				still = append(still, ref)
			}
		}
		refs = still
		return len(refs) == 0, nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		err = nil
	}
	return refs, err
}
