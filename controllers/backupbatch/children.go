package backupbatch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/apply"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
)

// ensureChildren writes up to fewChildren children one after the other. It writes more of them in parallel,
// parallelWrites at a time.
const (
	fewChildren    = 16
	parallelWrites = 8
)

// ensureChildren makes the batch's children match policy.Expand, deletes the children of targets that are gone, and
// returns the state of each target. It adds what the children depend on to dependencies. A failure of one child does
// not hold up the others: the errors are joined, and beside them the states are nil only if no child was tried.
func (r *Reconciler) ensureChildren(
	ctx context.Context, batch *v1alpha1.BackupBatch, find policy.Find, dependencies *policy.Dependencies,
) ([]v1alpha1.BatchTargetStatus, error) {
	children, err := policy.Expand(batch, find)
	if err != nil {
		return nil, err
	}
	owned, err := r.owned(ctx, batch)
	if err != nil {
		return nil, err
	}
	actual, errs := make([]*v1alpha1.BackupConfiguration, len(children)), make([]error, len(children), len(children)+1)
	var open []int
	for i := range children {
		children[i].OwnerReferences = []metav1.OwnerReference{
			*metav1.NewControllerRef(batch, v1alpha1.GroupVersion.WithKind(v1alpha1.BackupBatchKind)),
		}
		if o := owned[children[i].Name]; o != nil && upToDate(o, &children[i]) {
			actual[i] = o
		} else {
			open = append(open, i)
		}
	}
	reader, err := r.reader(ctx, batch.Namespace, len(open))
	if err != nil {
		return nil, err
	}
	var group errgroup.Group
	if group.SetLimit(1); len(open) > fewChildren {
		group.SetLimit(parallelWrites)
	}
	for _, i := range open {
		group.Go(func() error {
			actual[i], errs[i] = r.ensureChild(ctx, reader, batch, &children[i])
			return nil
		})
	}
	_ = group.Wait()

	targets := make([]v1alpha1.BatchTargetStatus, len(children))
	wanted := make(map[string]bool, len(children))
	for i, t := range policy.Targets(batch, find) {
		name := children[i].Name
		wanted[name] = true
		targets[i] = v1alpha1.BatchTargetStatus{Name: t.Name, FoundBy: t.FoundBy, AppRef: t.AppRef, Configuration: name}
		targets[i].Phase, targets[i].Reason = stateOf(actual[i], errs[i])
		if errs[i] != nil {
			actual[i] = owned[name]
		}
		if actual[i] != nil {
			dependencies.Merge(actual[i].Status.Dependencies)
		}
	}
	return targets, errors.Join(append(errs, r.removeOthers(ctx, batch, owned, wanted))...)
}

// owned returns the children of the batch by name, as the cache has them. The caller must not change them: they are not
// copies.
func (r *Reconciler) owned(
	ctx context.Context, batch *v1alpha1.BackupBatch,
) (map[string]*v1alpha1.BackupConfiguration, error) {
	var list v1alpha1.BackupConfigurationList
	if err := r.List(ctx, &list, client.InNamespace(batch.Namespace),
		client.MatchingFields{indexOwner: string(batch.UID)},
		client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list children of BackupBatch %s: %w", batch.Name, err)
	}
	out := make(map[string]*v1alpha1.BackupConfiguration, len(list.Items))
	for i := range list.Items {
		if o := &list.Items[i]; metav1.IsControlledBy(o, batch) {
			out[o.Name] = o
		}
	}
	return out, nil
}

// upToDate reports whether a child needs no change.
func upToDate(actual, wanted *v1alpha1.BackupConfiguration) bool {
	return !actual.DeletionTimestamp.IsZero() ||
		!apply.MetadataDiffers(actual, wanted) &&
			policy.Digest(&actual.Spec) == wanted.Annotations[v1alpha1.AnnotationSpecDigest]
}

// reader returns a reader that asks the API server for children that the cache lacks. For many children it first lists
// once which of them exist.
func (r *Reconciler) reader(ctx context.Context, namespace string, children int) (client.Reader, error) {
	if children <= fewChildren {
		return read.FallbackReader{Reader: r.Client, Live: r.APIReader}, nil
	}
	all, err := read.Metadata(ctx, r.APIReader, v1alpha1.BackupConfigurationKind, client.InNamespace(namespace))
	if err != nil {
		return nil, err
	}
	names := make(map[string]bool, len(all))
	for i := range all {
		names[all[i].Name] = true
	}
	return namesReader{Reader: read.FallbackReader{Reader: r.Client, Live: r.APIReader}, names: names}, nil
}

// namesReader reads objects of one namespace whose names it knows.
type namesReader struct {
	client.Reader
	names map[string]bool
}

// Get reads the object, or returns NotFound if no object has its name.
func (l namesReader) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	if !l.names[key.Name] {
		return apierrors.NewNotFound(schema.GroupResource{Group: v1alpha1.Group, Resource: "backupconfigurations"},
			key.Name)
	}
	return l.Reader.Get(ctx, key, o, opts...)
}

// ensureChild makes one child match wanted. It returns nil if an object that does not belong to the batch has the
// child's name, and leaves that object alone.
func (r *Reconciler) ensureChild(
	ctx context.Context, reader client.Reader, batch *v1alpha1.BackupBatch, wanted *v1alpha1.BackupConfiguration,
) (*v1alpha1.BackupConfiguration, error) {
	actual := &v1alpha1.BackupConfiguration{}
	err := reader.Get(ctx, client.ObjectKeyFromObject(wanted), actual)
	reason, message := v1alpha1.ReasonChildApplied, "made BackupConfiguration %s"
	digest := wanted.Annotations[v1alpha1.AnnotationSpecDigest]
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		return nil, fmt.Errorf("get BackupConfiguration %s: %w", wanted.Name, err)
	case ownedByEarlier(actual, batch):
		return actual, nil // The garbage collector is about to remove it. A later reconcile makes it again.
	case !metav1.IsControlledBy(actual, batch) && !orphan(actual, wanted):
		return nil, nil
	case upToDate(actual, wanted):
		return actual, nil
	default:
		wanted.UID = actual.UID
		message = "changed BackupConfiguration %s"
		if actual.Annotations[v1alpha1.AnnotationSpecDigest] == digest {
			reason, message = v1alpha1.ReasonChildReverted,
				"reverted BackupConfiguration %s: somebody edited it, edit the batch instead"
		}
	}

	spec := wanted.Spec.DeepCopy()
	if err := apply.Object(ctx, r.Client, r.FieldManager, wanted); err != nil {
		return nil, err
	}
	// Fields that somebody added beside ours are theirs, and an apply does not remove them.
	if policy.Digest(&wanted.Spec) != digest {
		wanted.Spec = *spec
		if err := r.Update(ctx, wanted, client.FieldOwner(r.FieldManager)); err != nil {
			return nil, fmt.Errorf("revert BackupConfiguration %s: %w", wanted.Name, err)
		}
	}
	r.Eventf(batch, corev1.EventTypeNormal, reason, message, wanted.Name)
	return wanted, nil
}

// ownedByEarlier reports whether the child belongs to an earlier, deleted batch of the same name.
func ownedByEarlier(child *v1alpha1.BackupConfiguration, batch *v1alpha1.BackupBatch) bool {
	owner := metav1.GetControllerOf(child)
	return owner != nil && owner.Kind == v1alpha1.BackupBatchKind && owner.Name == batch.Name && owner.UID != batch.UID
}

// orphan reports whether a batch of this name made the child and the child lost its owner: by an edit, or by a deletion
// that orphans dependents.
func orphan(child, wanted *v1alpha1.BackupConfiguration) bool {
	return metav1.GetControllerOf(child) == nil && child.Annotations[v1alpha1.AnnotationSpecDigest] != "" &&
		child.Labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedByCairn &&
		child.Labels[v1alpha1.LabelBatch] == wanted.Labels[v1alpha1.LabelBatch]
}

// removeOthers deletes the children of the batch that are not wanted. Their Repositories and data stay.
func (r *Reconciler) removeOthers(
	ctx context.Context, batch *v1alpha1.BackupBatch, owned map[string]*v1alpha1.BackupConfiguration,
	wanted map[string]bool,
) error {
	var failed []error
	for _, name := range slices.Sorted(maps.Keys(owned)) {
		child := owned[name]
		if wanted[name] || !child.DeletionTimestamp.IsZero() {
			continue
		}
		child = child.DeepCopy()
		if err := r.Delete(ctx, child, client.Preconditions{UID: &child.UID}); apierrors.IsNotFound(err) {
			continue
		} else if err != nil {
			failed = append(failed, fmt.Errorf("delete BackupConfiguration %s: %w", child.Name, err))
			continue
		}
		r.Eventf(batch, corev1.EventTypeNormal, v1alpha1.ReasonChildRemoved,
			"removed BackupConfiguration %s: its target has left the batch, its Repositories and their data stay",
			child.Name)
	}
	return errors.Join(failed...)
}
