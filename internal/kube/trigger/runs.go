package trigger

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run/backup"
)

// reasonHistoryLimit is why the log says that an ended run is deleted.
const reasonHistoryLimit = "HistoryLimit"

// RunsIndex is an index of the cache: BackupSessions by the name of their invoker of one kind.
type RunsIndex struct {
	// Field is the name of the index.
	Field string
	// Kind of the invokers.
	Kind string
}

// Register adds the index to the cache.
func (x RunsIndex) Register(ctx context.Context, indexer client.FieldIndexer) error {
	if err := indexer.IndexField(ctx, &v1alpha1.BackupSession{}, x.Field, func(o client.Object) []string {
		s, ok := o.(*v1alpha1.BackupSession)
		if !ok || s.Spec.Invoker.Kind != x.Kind || v1alpha1.HasRecordAnnotation(s.Annotations) {
			return nil
		}
		return []string{s.Spec.Invoker.Name}
	}); err != nil {
		return fmt.Errorf("index BackupSessions by %s: %w", x.Kind, err)
	}
	return nil
}

// Invoker maps a BackupSession to its invoker.
func (x RunsIndex) Invoker() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		s, ok := o.(*v1alpha1.BackupSession)
		if !ok || s.Spec.Invoker.Kind != x.Kind || v1alpha1.HasRecordAnnotation(s.Annotations) {
			return nil
		}
		return []reconcile.Request{{NamespacedName: client.ObjectKey{
			Namespace: s.Namespace,
			Name:      s.Spec.Invoker.Name,
		}}}
	})
}

// RunChanges passes the events of runs that change what an invoker counts: a run appears, goes, ends or loses a
// finalizer.
func RunChanges() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*v1alpha1.BackupSession)
		if !ok {
			return false
		}
		after, ok := e.ObjectNew.(*v1alpha1.BackupSession)
		return ok && (before.Status.Phase.Terminal() != after.Status.Phase.Terminal() ||
			len(before.Finalizers) != len(after.Finalizers) ||
			backup.RetryPending(before) != backup.RetryPending(after))
	}}
}

// HoldingChanged lets through that a Repository comes or goes, gets its first backup or loses its last one, or that
// a check finds the last whole one damaged, or one of those that are left intact: that changes the condition Protected.
var HoldingChanged = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, ok := e.ObjectOld.(*v1alpha1.Repository)
	after, also := e.ObjectNew.(*v1alpha1.Repository)
	return ok && also && (policy.Holds(before) != policy.Holds(after) || before.UID != after.UID)
}}

// runs lists the runs of an invoker by session. The objects belong to the cache and must not be changed.
func (k *Scheduler) runs(ctx context.Context, invoker client.Object) (map[string][]*v1alpha1.BackupSession, error) {
	var list v1alpha1.BackupSessionList
	if err := k.Client.List(ctx, &list, client.InNamespace(invoker.GetNamespace()),
		client.MatchingFields{k.Runs.Field: invoker.GetName()}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the runs of %s: %w", invoker.GetName(), err)
	}
	out := map[string][]*v1alpha1.BackupSession{}
	for i := range list.Items {
		s := &list.Items[i]
		out[s.Spec.Session] = append(out[s.Spec.Session], s)
	}
	return out, nil
}

// defaultHistory is how many finished runs are kept of a session that sets no limit or is no longer in the policy.
const defaultHistory = 1

// forget deletes runs beyond the sessions' history limits. It spares a run whose slot is not in the status yet: counted
// holds the newest slot of each session that is.
func (k *Scheduler) forget(
	ctx context.Context, v view, runs map[string][]*v1alpha1.BackupSession, counted map[string]time.Time,
	now time.Time,
) error {
	limits := map[string]int{}
	scheduled := map[string]bool{}
	for _, s := range v.sessions {
		limits[s.Name] = int(ptr.Deref(s.SessionHistoryLimit, defaultHistory))
		scheduled[s.Name] = s.Scheduler != nil
	}
	var failed []error
	for name, all := range runs {
		limit, ok := limits[name]
		if !ok {
			limit = defaultHistory
		}
		for _, s := range backup.BeyondHistory(all, limit, now) {
			if scheduled[name] && backup.SlotOf(s).After(counted[name]) && s.Spec.RetryOf == "" &&
				s.Spec.ScheduledTime != nil && onMinute(s) && !v1alpha1.Ahead(backup.SlotOf(s), now) {
				continue
			}
			gone := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name}}
			err := k.Client.Delete(logs.WithReason(ctx, reasonHistoryLimit), gone,
				client.Preconditions{UID: &s.UID, ResourceVersion: &s.ResourceVersion},
				client.PropagationPolicy(metav1.DeletePropagationBackground))
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
				failed = append(failed, fmt.Errorf("delete BackupSession %s, which is beyond the history limit: %w",
					s.Name, err))
			}
		}
	}
	return errors.Join(failed...)
}

// onMinute reports whether the time of a run can be a slot. The time of a run that somebody started rarely is.
func onMinute(s *v1alpha1.BackupSession) bool { return s.Spec.ScheduledTime.Second() == 0 }
