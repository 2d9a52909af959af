package backupsession

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run/backup"
)

// concurrency returns the concurrencyPolicy of a session. The child of a batch has no schedule: its batch has the
// policy.
func (r *Reconciler) concurrency(
	ctx context.Context, s *v1alpha1.BackupSession, invoker client.Object, config *v1alpha1.SessionConfig,
) (v1alpha1.ConcurrencyPolicy, error) {
	if batch := batchOf(invoker); batch != "" {
		b := &v1alpha1.BackupBatch{}
		if err := r.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: batch}, b); err != nil {
			return "", client.IgnoreNotFound(fmt.Errorf("get BackupBatch %s: %w", batch, err))
		}
		if config, _ = sessionOf(b, s.Spec.Session); config == nil {
			return "", nil
		}
	}
	if config.Scheduler == nil {
		return "", nil
	}
	return config.Scheduler.ConcurrencyPolicy, nil
}

// batchOf returns the name of the batch whose child an invoker is.
func batchOf(invoker client.Object) string {
	if owner := metav1.GetControllerOf(invoker); owner != nil && owner.Kind == v1alpha1.BackupBatchKind {
		return owner.Name
	}
	return ""
}

// rivals returns the runs of the same session that have not ended, or ended because s takes their place, read from the
// API server. A run of a batch and a run of its child are the same session of the child's target.
func (r *Reconciler) rivals(
	ctx context.Context, s *v1alpha1.BackupSession, invoker client.Object,
) ([]*v1alpha1.BackupSession, error) {
	var list v1alpha1.BackupSessionList
	if err := r.APIReader.List(ctx, &list, client.InNamespace(s.Namespace)); err != nil {
		return nil, fmt.Errorf("list BackupSessions: %w", err)
	}
	invokers := map[[2]string]bool{{s.Spec.Invoker.Kind, s.Spec.Invoker.Name}: true}
	if batch := batchOf(invoker); batch != "" {
		invokers[[2]string{v1alpha1.BackupBatchKind, batch}] = true
	}
	if b, ok := invoker.(*v1alpha1.BackupBatch); ok {
		targets, err := r.targetsOf(ctx, b)
		if err != nil {
			return nil, err
		}
		for _, t := range targets {
			invokers[[2]string{v1alpha1.BackupConfigurationKind, policy.ChildName(b.Name, t.Name)}] = true
		}
	}
	var out []*v1alpha1.BackupSession
	for i := range list.Items {
		o := &list.Items[i]
		if o.UID != s.UID && o.Spec.Session == s.Spec.Session &&
			(!o.Status.Phase.Terminal() || backup.Replaces(s, o)) &&
			!v1alpha1.HasRecordAnnotation(o.Annotations) &&
			invokers[[2]string{o.Spec.Invoker.Kind, o.Spec.Invoker.Name}] {
			out = append(out, o)
		}
	}
	return out, nil
}

// replace marks the runs that s replaces, so that they end.
func (r *Reconciler) replace(
	ctx context.Context, s *v1alpha1.BackupSession, rivals []*v1alpha1.BackupSession, names []string,
) error {
	for _, other := range rivals {
		for _, name := range names {
			if other.Name != name {
				continue
			}
			before := other.DeepCopy()
			metav1.SetMetaDataAnnotation(&other.ObjectMeta, v1alpha1.AnnotationReplacedBy,
				backup.FormatReplacedBy(s.Name, r.Clock.Now()))
			if err := r.writer().Object(ctx, before, other); err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		}
	}
	return nil
}

// ended lets through that a run ends or is deleted: another run can wait for that.
var ended = predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*v1alpha1.BackupSession)
		after, ok2 := e.ObjectNew.(*v1alpha1.BackupSession)
		return ok && ok2 && !before.Status.Phase.Terminal() && after.Status.Phase.Terminal()
	},
}
