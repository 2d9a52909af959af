package backupsession

import (
	"context"
	"fmt"

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
)

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
	start.Schedule, start.Deadline = backup.Timing(s, config.Scheduler)
	start.Timeout = backup.TimeoutOf(s, config)
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
	if start.Targets, err = r.targets(ctx, s, invoker, start); err != nil {
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
	start.Policy.Source, start.Policy.Revision, start.Policy.Signer = inForce.Source, inForce.Revision, inForce.Signer
	start.PolicyApplying = sync != nil && conditions.IsReconciling(sync) &&
		conditions.GetReason(sync, meta.ReconcilingCondition) == v1alpha1.ReasonProgressing &&
		sync.Status.LastAttemptedRevision != sync.Status.LastAppliedRevision
	return nil
}
