package backupsession

import (
	"context"
	"fmt"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/schedule"
)

// leastStartingDeadline is the minimum delay that a run is allowed if its session names no deadline: what a run waits
// for before it starts takes some minutes.
const leastStartingDeadline = 15 * time.Minute

// unscheduledDeadline is the delay that a run of a session without a readable schedule is allowed.
const unscheduledDeadline = 24 * time.Hour

// lookUp collects everything that the start of a session depends on. The invoker is nil if it does not exist.
func (r *Reconciler) lookUp(ctx context.Context, s *v1alpha1.BackupSession) (*backup.Start, client.Object, error) {
	start := &backup.Start{
		Since:   run.Since(s.Status.Conditions, r.Clock.Now()),
		CronJob: policy.CronJobName(s.Spec.Invoker.Kind, s.Spec.Invoker.Name, s.Spec.Session),
	}
	invoker, err := r.invoker(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	if invoker == nil {
		start.Refused = &v1alpha1.ResolvedError{
			Reason:  v1alpha1.ReasonInvokerNotFound,
			Message: fmt.Sprintf("there is no %s %s", s.Spec.Invoker.Kind, s.Spec.Invoker.Name),
		}
		return start, nil, nil
	}
	config, digest := sessionOf(invoker, s.Spec.Session)
	if config == nil {
		start.Refused = &v1alpha1.ResolvedError{
			Reason:  v1alpha1.ReasonSessionNotFound,
			Message: fmt.Sprintf("%s %s has no session %q", s.Spec.Invoker.Kind, s.Spec.Invoker.Name, s.Spec.Session),
		}
		return start, invoker, nil
	}
	start.Policy = v1alpha1.ResolvedPolicy{Generation: invoker.GetGeneration(), Digest: digest}
	if config.Scheduler != nil {
		times, err := schedule.New(config.Scheduler,
			schedule.Identity(s.Spec.Invoker.Kind, s.Namespace, s.Spec.Invoker.Name,
				s.Spec.Session))
		if err == nil {
			start.Schedule = times.Line()
		}
		start.Deadline = startingDeadline(s, config.Scheduler, times, err == nil)
	} else if slot := s.Spec.ScheduledTime; slot != nil {
		start.Deadline = slot.Add(unscheduledDeadline)
	}
	start.Timeout = timeoutOf(s.Spec.BackupTimeout, config.BackupTimeout)
	start.SuccessPolicy = config.SuccessPolicy
	start.ExecutionOrder, start.MaxParallel = orderOf(invoker, s.Spec.Session)
	if config.RetryConfig != nil {
		start.RetryDelay = &metav1.Duration{Duration: config.RetryConfig.Delay.Duration}
	}
	if start.Rivals.Policy, err = r.concurrency(ctx, s, invoker, config); err != nil {
		return nil, nil, err
	}
	if err := r.source(ctx, invoker, start); err != nil {
		return nil, nil, err
	}
	if start.Targets, err = r.targets(ctx, s, invoker, start.Since); err != nil {
		return nil, nil, err
	}
	if err := r.hooks(ctx, s, config, start); err != nil {
		return nil, nil, err
	}
	return start, invoker, r.again(ctx, s, start)
}

// invoker reads the invoker. It reads past the cache before it concludes that the invoker or the session does not
// exist.
func (r *Reconciler) invoker(ctx context.Context, s *v1alpha1.BackupSession) (client.Object, error) {
	key := client.ObjectKey{Namespace: s.Namespace, Name: s.Spec.Invoker.Name}
	invoker := newInvoker(s)
	err := read.Get(ctx, r.Client, key, invoker)
	if config, _ := sessionOf(invoker, s.Spec.Session); apierrors.IsNotFound(err) || err == nil && config == nil {
		invoker = newInvoker(s)
		err = read.Get(ctx, r.APIReader, key, invoker)
	}
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get invoker %s: %w", key, err)
	default:
		return invoker, nil
	}
}

func newInvoker(s *v1alpha1.BackupSession) client.Object {
	if s.Spec.Invoker.Kind == v1alpha1.BackupBatchKind {
		return &v1alpha1.BackupBatch{}
	}
	return &v1alpha1.BackupConfiguration{}
}

// sessionOf returns an invoker's settings of a session, and the digest of the invoker's spec.
func sessionOf(invoker client.Object, name string) (*v1alpha1.SessionConfig, string) {
	switch o := invoker.(type) {
	case *v1alpha1.BackupConfiguration:
		for i := range o.Spec.Sessions {
			if o.Spec.Sessions[i].Name == name {
				return &o.Spec.Sessions[i].SessionConfig, policy.Digest(o.Spec)
			}
		}
	case *v1alpha1.BackupBatch:
		for i := range o.Spec.Sessions {
			if o.Spec.Sessions[i].Name == name {
				return &o.Spec.Sessions[i].SessionConfig, policy.Digest(o.Spec)
			}
		}
	}
	return nil, ""
}

// orderOf returns the order of the targets of a batch's session, and how many targets are backed up at once.
func orderOf(invoker client.Object, name string) (v1alpha1.ExecutionOrder, *int32) {
	if b, ok := invoker.(*v1alpha1.BackupBatch); ok {
		for i := range b.Spec.Sessions {
			if s := &b.Spec.Sessions[i]; s.Name == name {
				return s.ExecutionOrder, s.MaxParallel
			}
		}
	}
	return "", nil
}

func timeoutOf(durations ...*metav1.Duration) time.Duration {
	for _, d := range durations {
		if d != nil {
			return d.Duration
		}
	}
	return run.DefaultTimeout
}

// startingDeadline returns when it is too late to start: the scheduler's deadline, else the next slot, so that a run
// that was restored from elsewhere without its status does not start. A run without a slot has no deadline.
func startingDeadline(
	s *v1alpha1.BackupSession, scheduler *v1alpha1.SchedulerSpec, times schedule.Times, readable bool,
) time.Time {
	if s.Spec.ScheduledTime == nil {
		return time.Time{}
	}
	from := s.Spec.ScheduledTime.Time
	if seconds := scheduler.StartingDeadlineSeconds; seconds != nil {
		return from.Add(time.Duration(*seconds) * time.Second)
	}
	if !readable {
		return from.Add(unscheduledDeadline)
	}
	next := times.Next(from)
	if least := from.Add(leastStartingDeadline); next.Before(least) {
		return least
	}
	return next
}

// policyLabels returns the labels that name the PolicySync of an invoker. The labels of its batch count for the child
// of a batch.
func (r *Reconciler) policyLabels(ctx context.Context, invoker client.Object) (map[string]string, error) {
	owner := metav1.GetControllerOf(invoker)
	if owner == nil || owner.Kind != v1alpha1.BackupBatchKind {
		return invoker.GetLabels(), nil
	}
	key := client.ObjectKey{Namespace: invoker.GetNamespace(), Name: owner.Name}
	var batch v1alpha1.BackupBatch
	if err := r.Get(ctx, key, &batch); err != nil {
		return nil, client.IgnoreNotFound(fmt.Errorf("get BackupBatch %s: %w", key, err))
	}
	return batch.Labels, nil
}

// source finds which revision of which PolicySync is in force, and whether the PolicySync is applying another one.
func (r *Reconciler) source(ctx context.Context, invoker client.Object, start *backup.Start) error {
	labels, err := r.policyLabels(ctx, invoker)
	if err != nil {
		return err
	}
	inForce, sync, err := read.Policy(ctx, r.Client, labels)
	if err != nil {
		return err
	}
	start.Policy.Source, start.Policy.Revision = inForce.Source, inForce.Revision
	start.PolicyApplying = sync != nil && conditions.IsReconciling(sync) &&
		conditions.GetReason(sync, meta.ReconcilingCondition) == v1alpha1.ReasonProgressing &&
		sync.Status.LastAttemptedRevision != sync.Status.LastAppliedRevision
	return nil
}
