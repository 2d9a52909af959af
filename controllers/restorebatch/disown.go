package restorebatch

import (
	"cmp"
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/oneshot"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/run/restorebatch"
)

// disown makes what the targets of a RestoreBatch hold no longer count as restored, before any status says that it
// failed. It leaves alone what another restore has filled since: a manager whose cache is old could come when an
// identical RestoreBatch has ended. It goes on after what the API server does not let it change, and returns the first
// such error.
func (r *Reconciler) disown(ctx context.Context, b *v1alpha1.RestoreBatch) error {
	if err := oneshot.Newest(ctx, r.APIReader, b); err != nil {
		return err
	}
	var claims corev1.PersistentVolumeClaimList
	if err := r.APIReader.List(ctx, &claims, client.InNamespace(b.Namespace)); err != nil {
		return fmt.Errorf("list PersistentVolumeClaims: %w", err)
	}
	ofSpec := restorebatch.SpecDigests(b)
	var denied error
	tried := func(err error) error {
		if movers.Denied(err) {
			denied, err = cmp.Or(denied, err), nil
		}
		return err
	}
	for i := range b.Status.Resolved.Targets {
		t := &b.Status.Resolved.Targets[i]
		by := restorebatch.IdenticalTo(b, t.Name, restorebatch.TargetDigests(ofSpec, t.Name))
		if t.Target != nil && t.Target.IsDatabase() {
			mark, err := r.markOf(ctx, b.Namespace, *t.Target)
			if err == nil && mark != nil {
				err = r.disownObject(ctx, mark, by)
			}
			if tried(err) != nil {
				return err
			}
			continue
		}
		for j := range claims.Items {
			if err := tried(r.disownObject(ctx, &claims.Items[j], by)); err != nil {
				return err
			}
		}
	}
	return denied
}

// disownObject does what disown does for a claim, or for the Lease of a database, unless it has changed since it was
// read.
func (r *Reconciler) disownObject(ctx context.Context, o client.Object, by restore.Identical) error {
	annotations := maps.Clone(o.GetAnnotations())
	restore.Disown(annotations, by)
	if maps.Equal(annotations, o.GetAnnotations()) {
		return nil
	}
	before, _ := o.DeepCopyObject().(client.Object)
	o.SetAnnotations(annotations)
	return client.IgnoreNotFound(r.writer().Object(ctx, before, o))
}
