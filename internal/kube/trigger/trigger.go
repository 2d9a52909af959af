// Package trigger starts the runs of an invoker's sessions, by CronJobs or by the manager, and keeps account of them,
// for the controllers of BackupConfiguration and BackupBatch. A Scheduler is safe for concurrent use. Invariants: a
// slot has at most one run, and no object of another owner is changed.
package trigger

import (
	"context"
	"errors"
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/apply"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/schedule"
)

// errNameConflict means that the name of a CronJob is in use by an object that does not belong to the invoker.
var errNameConflict = errors.New("the name is in use")

// Scheduler creates, corrects and removes CronJobs, and creates and removes BackupSessions. It is safe for concurrent
// use.
type Scheduler struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Reader reads from the API server before anything is created, so that no foreign object is taken over and no run
	// is created twice.
	Reader client.Reader
	// Events receives the events of invokers.
	Events record.EventRecorder
	// Runs is the index that finds the runs of an invoker.
	Runs RunsIndex
	// MoverImage is the image of the CronJobs' pods.
	MoverImage string
	// FieldManager is the field manager of what is applied.
	FieldManager string
	// EnsureAccess creates the account of the CronJobs' pods in a namespace. It is called only where a session has a
	// CronJob.
	EnsureAccess func(ctx context.Context, namespace string) error
}

// ensureAll creates the CronJobs of the sessions and corrects those that were edited. The schedules must be valid. The
// conflicts are the sessions whose CronJob's name is in use. The unscheduled are all sessions whose CronJob is not in
// order, and why; the others are in order, also beside an error.
func (k *Scheduler) ensureAll(ctx context.Context, v view) (conflicts, unscheduled map[string]error, err error) {
	conflicts, unscheduled = map[string]error{}, map[string]error{}
	if !slices.ContainsFunc(v.sessions, hasCronJob) {
		return conflicts, unscheduled, nil
	}
	var failed []error
	access := k.EnsureAccess(ctx, v.object.GetNamespace())
	if access != nil { // No pod of a new CronJob could start. Those that exist can be paused.
		failed = append(failed, fmt.Errorf("ensure the trigger's account in %s: %w", v.object.GetNamespace(), access),
			k.suspend(ctx, v))
	}
	for _, session := range v.sessions {
		if !hasCronJob(session) {
			continue
		}
		if access != nil {
			unscheduled[session.Name] = errUnwritten
			continue
		}
		wanted, err := k.cronJob(v, session)
		if err == nil {
			err = k.ensure(ctx, v.object, wanted)
		}
		if errors.Is(err, errNameConflict) {
			conflicts[session.Name], unscheduled[session.Name] = err, err
		} else if err != nil {
			failed, unscheduled[session.Name] = append(failed, err), errUnwritten
		}
	}
	return conflicts, unscheduled, errors.Join(failed...)
}

// hasCronJob reports whether a CronJob starts the runs of a session.
func hasCronJob(s v1alpha1.SessionConfig) bool {
	return s.Scheduler != nil && s.Scheduler.Type != v1alpha1.SchedulerController
}

// prune removes the invoker's CronJobs that belong to no session with a CronJob.
func (k *Scheduler) prune(ctx context.Context, v view) error {
	var list batchv1.CronJobList
	if err := k.Client.List(ctx, &list, client.InNamespace(v.object.GetNamespace()), client.MatchingLabels{
		v1alpha1.LabelInvokerKind: v.kind, v1alpha1.LabelInvokerName: policy.LabelValue(v.object.GetName()),
	}); err != nil {
		return fmt.Errorf("list CronJobs: %w", err)
	}
	var failed []error
	for i := range list.Items {
		cronJob := &list.Items[i]
		if !metav1.IsControlledBy(cronJob, v.object) ||
			slices.ContainsFunc(v.sessions, func(s v1alpha1.SessionConfig) bool {
				return hasCronJob(s) && policy.CronJobName(v.kind, v.object.GetName(), s.Name) == cronJob.Name
			}) {
			continue
		}
		err := k.Client.Delete(ctx, cronJob, client.Preconditions{UID: &cronJob.UID},
			client.PropagationPolicy(metav1.DeletePropagationBackground))
		if client.IgnoreNotFound(err) != nil {
			failed = append(failed, fmt.Errorf("delete CronJob %s: %w", cronJob.Name, err))
		}
	}
	return errors.Join(failed...)
}

// suspend suspends or resumes the invoker's CronJobs, as the policy says, and changes nothing else of them: for a
// policy that is invalid otherwise. A CronJob that does not exist is not created.
func (k *Scheduler) suspend(ctx context.Context, v view) error {
	var failed []error
	for _, session := range v.sessions {
		if hasCronJob(session) {
			failed = append(failed, k.suspendOne(ctx, v, session))
		}
	}
	return errors.Join(failed...)
}

func (k *Scheduler) suspendOne(ctx context.Context, v view, session v1alpha1.SessionConfig) error {
	cronJob := &batchv1.CronJob{}
	name := policy.CronJobName(v.kind, v.object.GetName(), session.Name)
	err := k.Client.Get(ctx, client.ObjectKey{Namespace: v.object.GetNamespace(), Name: name}, cronJob)
	if apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return fmt.Errorf("get CronJob %s: %w", name, err)
	}
	suspended := suspends(v, session)
	if !metav1.IsControlledBy(cronJob, v.object) || ptr.Deref(cronJob.Spec.Suspend, false) == suspended {
		return nil
	}
	before := cronJob.DeepCopy()
	cronJob.Spec.Suspend = &suspended
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := k.Client.Patch(ctx, cronJob, patch, client.FieldOwner(k.FieldManager)); apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return fmt.Errorf("suspend or resume CronJob %s: %w", name, err)
	}
	logf.FromContext(ctx).Info("changed", logs.Key("CronJob"), klog.KObj(cronJob))
	return nil
}

// suspends reports whether the CronJob of a session starts nothing for now.
func suspends(v view, session v1alpha1.SessionConfig) bool {
	return v.paused || ptr.Deref(session.Scheduler.Suspend, false)
}

func (k *Scheduler) cronJob(v view, session v1alpha1.SessionConfig) (*batchv1.CronJob, error) {
	namespace, name := v.object.GetNamespace(), v.object.GetName()
	times, err := schedule.New(session.Scheduler, schedule.Identity(v.kind, namespace, name, session.Name))
	if err != nil {
		return nil, err
	}
	cronJob := schedule.CronJob(schedule.CronJobInput{
		Name:         policy.CronJobName(v.kind, name, session.Name),
		Namespace:    namespace,
		Invoker:      *metav1.NewControllerRef(v.object, v1alpha1.GroupVersion.WithKind(v.kind)),
		InvokerLabel: policy.LabelValue(name),
		Session:      session.Name,
		Scheduler:    *session.Scheduler,
		Times:        times,
		Suspended:    suspends(v, session),
		Retries:      retriesOf(&session),
		MoverImage:   k.MoverImage,
	})
	// A comparison of the fields that the policy sets does not show a field that it no longer sets. The digest does.
	cronJob.Annotations = map[string]string{v1alpha1.AnnotationSpecDigest: policy.Digest(cronJob.Spec)}
	return cronJob, nil
}

func (k *Scheduler) ensure(ctx context.Context, invoker client.Object, wanted *batchv1.CronJob) error {
	var actual batchv1.CronJob
	err := k.Client.Get(ctx, client.ObjectKeyFromObject(wanted), &actual)
	if apierrors.IsNotFound(err) {
		err = k.Reader.Get(ctx, client.ObjectKeyFromObject(wanted), &actual)
	}
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		return fmt.Errorf("get CronJob %s: %w", wanted.Name, err)
	case !metav1.IsControlledBy(&actual, invoker):
		return fmt.Errorf("CronJob %s does not belong to session %q: rename the CronJob or the session: %w",
			wanted.Name, wanted.Labels[v1alpha1.LabelSession], errNameConflict)
	case !apply.MetadataDiffers(&actual, wanted) && equality.Semantic.DeepDerivative(wanted.Spec, actual.Spec) &&
		!hasMore(&actual.Spec, &wanted.Spec):
		return nil
	default:
		wanted.UID = actual.UID
	}
	spec := wanted.Spec.DeepCopy()
	if err := apply.Object(ctx, k.Client, k.FieldManager, wanted); err != nil {
		return err
	}
	if !hasMore(&wanted.Spec, spec) {
		return nil
	}
	// A field that somebody added beside ours is theirs: an apply does not remove it.
	applied := wanted.DeepCopy()
	wanted.Spec = *spec
	if err := k.Client.Patch(ctx, wanted, client.MergeFrom(applied), client.FieldOwner(k.FieldManager)); err != nil {
		return fmt.Errorf("revert CronJob %s: %w", wanted.Name, err)
	}
	return nil
}

// hasMore reports whether a CronJob has a field that we leave out and that changes when its pods run, as what they run,
// or what runs beside them. Defaults of the API server and fields that choose the node do not count.
func hasMore(actual, wanted *batchv1.CronJobSpec) bool {
	a, w := &actual.JobTemplate.Spec.Template.Spec, &wanted.JobTemplate.Spec.Template.Spec
	more := actual.StartingDeadlineSeconds != nil && wanted.StartingDeadlineSeconds == nil ||
		len(a.Containers) > len(w.Containers) || len(a.InitContainers) > len(w.InitContainers) ||
		len(a.Volumes) > len(w.Volumes) ||
		a.HostNetwork && !w.HostNetwork || a.HostPID && !w.HostPID || a.HostIPC && !w.HostIPC
	for i := range min(len(a.Containers), len(w.Containers)) {
		is, should := &a.Containers[i], &w.Containers[i]
		more = more || len(is.Command) > len(should.Command) || len(is.Args) > len(should.Args) ||
			len(is.Env) > len(should.Env) || len(is.EnvFrom) > len(should.EnvFrom)
	}
	return more
}
