package backupsession

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/oneshot"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
)

// again completes the start of a run that retries the failed targets of another run.
func (r *Reconciler) again(ctx context.Context, s *v1alpha1.BackupSession, start *backup.Start) error {
	if s.Spec.RetryOf == "" {
		return nil
	}
	of := &v1alpha1.BackupSession{}
	err := read.Get(ctx, r.APIReader, client.ObjectKey{Namespace: s.Namespace, Name: s.Spec.RetryOf}, of)
	if apierrors.IsNotFound(err) || err == nil && v1alpha1.HasRecordAnnotation(of.Annotations) {
		of = nil
	} else if err != nil {
		return fmt.Errorf("get BackupSession %s: %w", s.Spec.RetryOf, err)
	}
	if why := backup.WhyNotRetryable(s, of); why != "" {
		start.Refused = &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonNothingToRetry, Message: why}
		return nil
	}
	start.Again(s, of, start.Targets)
	for i := range start.Targets {
		repositories := start.Targets[i].Resolved.Repositories
		for j := range repositories {
			if repositories[j].Snapshot, err = r.snapshotName(ctx, s, repositories[j].Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// retryLook is when a retry looks again at a later run that has not ended.
const retryLook = time.Minute

// retry creates the run that retries the failed targets of s, once it is due and no later run can make it needless. It
// returns the time until it looks again.
func (r *Reconciler) retry(ctx context.Context, s *v1alpha1.BackupSession) (time.Duration, error) {
	if !backup.RetryPending(s) || s.DeletionTimestamp != nil {
		return 0, nil
	}
	if left := backup.RetryIn(s, r.Clock.Now()); left > 0 {
		logf.FromContext(ctx).V(1).Info("waits to retry the failed targets", "after", left.String())
		return left, nil
	}
	if err := oneshot.Newest(ctx, r.APIReader, s); err != nil {
		return 0, err
	}
	var all v1alpha1.BackupSessionList
	if err := r.APIReader.List(ctx, &all, client.InNamespace(s.Namespace)); err != nil {
		return 0, fmt.Errorf("list BackupSessions: %w", err)
	}
	event := &run.Event{Type: corev1.EventTypeNormal}
	before, now := s.DeepCopy(), r.Clock.Now()
	by := backup.Superseded(s, all.Items, now)
	switch {
	case by != nil && !by.Status.Phase.Terminal():
		logf.FromContext(ctx).V(1).Info("waits for a later run before it retries the failed targets", "run", by.Name)
		return retryLook, nil
	case by != nil:
		s.Status.NextRetry = nil
		event.Reason, event.Message = v1alpha1.ReasonRetryDropped,
			"not retried: BackupSession "+by.Name+" is a later run of the session"
	default:
		name, err := r.successor(ctx, s, metav1.NewTime(backup.RetryDue(s, all.Items, now)))
		if err != nil {
			return 0, err
		}
		s.Status.Retried = new(true)
		event.Reason, event.Message = v1alpha1.ReasonRetried, "BackupSession "+name+" retries the failed targets"
	}
	return 0, r.writer().Announce(ctx, before, s, event)
}

// successor creates or finds the run that retries the failed targets of s, and returns its name.
func (r *Reconciler) successor(ctx context.Context, s *v1alpha1.BackupSession, due metav1.Time) (string, error) {
	for _, name := range []string{
		policy.RetryName(s.Name),
		policy.TriggeredSessionName(s.Spec.Invoker.Name, s.Spec.Session, "retry", string(s.UID)),
	} {
		next := &v1alpha1.BackupSession{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: name, Labels: map[string]string{
				v1alpha1.LabelManagedBy:   v1alpha1.ManagedByCairn,
				v1alpha1.LabelInvokerKind: s.Spec.Invoker.Kind,
				v1alpha1.LabelInvokerName: policy.LabelValue(s.Spec.Invoker.Name),
				v1alpha1.LabelSession:     s.Spec.Session,
			}},
			Spec: v1alpha1.BackupSessionSpec{
				Invoker: s.Spec.Invoker, Session: s.Spec.Session, BackupTimeout: s.Spec.BackupTimeout,
				ScheduledTime: &due, RetryLeft: s.Spec.RetryLeft - 1, RetryOf: s.Name,
			},
		}
		err := r.Create(ctx, next, client.FieldOwner(r.FieldManager))
		if apierrors.IsAlreadyExists(err) {
			found := &v1alpha1.BackupSession{}
			if err = r.APIReader.Get(ctx, client.ObjectKeyFromObject(next), found); err == nil &&
				found.Spec.RetryOf != s.Name {
				continue
			}
		}
		if err != nil {
			return "", fmt.Errorf("create BackupSession %s: %w", name, err)
		}
		return name, nil
	}
	return "", fmt.Errorf("retry BackupSession %s: both names for the new BackupSession are in use", s.Name)
}
