package restorebatch

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/oneshot"
	"github.com/cairn-backup/cairn/internal/kube/sweep"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run/restorebatch"
)

// children returns the RestoreSessions of a RestoreBatch by name.
func children(
	ctx context.Context, c client.Reader, b *v1alpha1.RestoreBatch,
) (map[string]*v1alpha1.RestoreSession, error) {
	var list v1alpha1.RestoreSessionList
	selector := client.MatchingLabels{v1alpha1.LabelRestoreBatch: policy.LabelValue(b.Name)}
	if err := c.List(ctx, &list, client.InNamespace(b.Namespace), selector); err != nil {
		return nil, fmt.Errorf("list RestoreSessions of %s: %w", b.Name, err)
	}
	out := map[string]*v1alpha1.RestoreSession{}
	for i := range list.Items {
		if s := &list.Items[i]; metav1.IsControlledBy(s, b) && !v1alpha1.HasRecordAnnotation(s.Annotations) {
			out[s.Name] = s
		}
	}
	return out, nil
}

// create creates the RestoreSession of a target, or finds that it exists. A RestoreSession of a deleted RestoreBatch of
// the same name will be garbage collected: create returns an error, so that the next try waits for that.
func (r *Reconciler) create(ctx context.Context, b *v1alpha1.RestoreBatch, i int) error {
	if err := oneshot.Newest(ctx, r.APIReader, b); err != nil {
		return err
	}
	child := restorebatch.NewRestoreSession(b, i, r.Clock.Now())
	err := r.Create(ctx, child, client.FieldOwner(r.FieldManager))
	if !apierrors.IsAlreadyExists(err) {
		return movers.AsDenial(wrap("create RestoreSession", child.Name, err))
	}
	var there v1alpha1.RestoreSession
	if err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(child), &there); err != nil {
		return wrap("get RestoreSession", child.Name, err)
	}
	owner := metav1.GetControllerOf(&there)
	switch {
	case metav1.IsControlledBy(&there, b):
		return nil
	case owner != nil && owner.Kind == v1alpha1.RestoreBatchKind && owner.Name == b.Name:
		return fmt.Errorf("create RestoreSession %s: the one of a deleted RestoreBatch of this name still exists",
			there.Name)
	default:
		return movers.Refuse(v1alpha1.ReasonNameConflict,
			"a RestoreSession %s already exists, which this RestoreBatch did not make: delete it, or give the "+
				"RestoreBatch "+
				"another name", there.Name)
	}
}

// cancel deletes a RestoreSession that has not ended. Its result stays in its status and in its record.
func (r *Reconciler) cancel(ctx context.Context, child *v1alpha1.RestoreSession) error {
	return sweep.Delete(ctx, r.Client, child)
}

// wrap adds what was attempted to an error.
func wrap(what, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", what, name, err)
}
