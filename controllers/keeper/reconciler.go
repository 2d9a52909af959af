// Package keeper removes data from repositories and maintains them. For each BackupStorage and namespace there is at most
// one keeper: a Job that does what is due in all Repositories there, owned by a Lease. The keeper's Job remembers what it
// did until it is written down, so that nothing is lost with the manager.
package keeper

import (
	"context"
	"fmt"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/access"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
)

// Reconciler runs the keepers. A request names the namespace of the Repositories and, as "<namespace>/<name>", the storage.
type Reconciler struct {
	client.Client
	record.EventRecorder

	// APIReader reads from the API server what no cache holds, and what must be the newest.
	APIReader client.Reader
	// Clock tells what is due.
	Clock clock.PassiveClock
	// MoverImage is the image of keepers.
	MoverImage string
	// ClusterUID is the UID of the namespace kube-system.
	ClusterUID string
	// FieldManager of what is written.
	FieldManager string
}

const (
	// lookAgain is how often a Job is looked at whose pod nobody watches.
	lookAgain = 10 * time.Second
	// soon is when a state is looked at again that is about to change.
	soon = 2 * time.Second
	// storageInterval is when a storage that can't be worked with is tried again.
	storageInterval = time.Minute
)

// place is a storage as it is used from one namespace.
type place struct {
	namespace string
	storage   client.ObjectKey
}

// name of the Lease, of the Job and of its label.
func (p place) name() string {
	return policy.JobName("keeper", p.storage.Namespace, p.storage.Name)
}

func (p place) request() ctrl.Request {
	return ctrl.Request{NamespacedName: client.ObjectKey{Namespace: p.namespace, Name: p.storage.String()}}
}

// Reconcile brings one keeper further: it writes down what an ended Job did, or starts one where something is due.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	namespace, name, ok := strings.Cut(req.Name, "/")
	if !ok {
		return ctrl.Result{}, nil
	}
	p := place{namespace: req.Namespace, storage: client.ObjectKey{Namespace: namespace, Name: name}}
	result, err := r.reconcile(ctx, p)
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: soon}, nil
	}
	return result, err
}

func (r *Reconciler) reconcile(ctx context.Context, p place) (ctrl.Result, error) {
	job, err := r.job(ctx, r.Client, p)
	if err != nil {
		return ctrl.Result{}, err
	}
	if job != nil {
		return r.observe(ctx, p, job)
	}
	var storage v1alpha1.BackupStorage
	if err := r.Get(ctx, p.storage, &storage); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err) // its Snapshots say so themselves
	}
	now := r.Clock.Now()
	work, next, err := r.due(ctx, p, now)
	if err != nil {
		return ctrl.Result{}, err
	}
	if len(work) == 0 {
		return later(next, now), nil
	}
	lease, err := r.lease(ctx, p)
	if err != nil {
		return ctrl.Result{}, err
	}
	work, retry := lease.ready(work, now)
	next = earlier(next, retry)
	if len(work) == 0 {
		return later(next, now), nil
	}
	return r.start(ctx, p, &storage, lease, work)
}

// later asks again at a time; zero is never.
func later(at, now time.Time) ctrl.Result {
	if at.IsZero() {
		return ctrl.Result{}
	}
	return ctrl.Result{RequeueAfter: max(at.Sub(now), time.Second)}
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// job is the keeper's, nil where there is none.
func (r *Reconciler) job(ctx context.Context, reader client.Reader, p place) (*batchv1.Job, error) {
	var job batchv1.Job
	err := reader.Get(ctx, client.ObjectKey{Namespace: p.namespace, Name: p.name()}, &job)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get Job %s/%s: %w", p.namespace, p.name(), err)
	}
	return &job, nil
}

// observe tells how the Job is. One that ended is written down and removed.
func (r *Reconciler) observe(ctx context.Context, p place, job *batchv1.Job) (ctrl.Result, error) {
	if !job.DeletionTimestamp.IsZero() {
		return ctrl.Result{RequeueAfter: soon}, nil
	}
	o, err := r.outcome(ctx, r.Client, job)
	if err != nil || !final(o) {
		return ctrl.Result{RequeueAfter: lookAgain}, err
	}
	// The cache drops what a Job was told to do, and may have the end of a Job before that of its pod, which tells the rest.
	live, err := r.job(ctx, r.APIReader, p)
	if err != nil || live == nil || live.UID != job.UID {
		return ctrl.Result{RequeueAfter: soon}, err
	}
	if o, err = r.outcome(ctx, r.APIReader, live); err != nil || !final(o) {
		return ctrl.Result{RequeueAfter: soon}, err
	}
	if err := r.settle(ctx, p, live, o); err != nil {
		return ctrl.Result{}, err
	}
	if err := r.remove(ctx, live); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: soon}, nil
}

// outcome is how the Job and its pods are.
func (r *Reconciler) outcome(ctx context.Context, reader client.Reader, job *batchv1.Job) (task.Observation, error) {
	var pods corev1.PodList
	if err := reader.List(ctx, &pods, client.InNamespace(job.Namespace), client.MatchingLabels{batchv1.JobNameLabel: job.Name}); err != nil {
		return task.Observation{}, fmt.Errorf("list Pods of Job %s/%s: %w", job.Namespace, job.Name, err)
	}
	return task.Observe(job, pods.Items, r.Clock.Now()), nil
}

func final(o task.Observation) bool {
	return o.State == task.StateSucceeded || o.State == task.StateFailed
}

// remove deletes the Job with its pods, and the credentials that were copied for it.
func (r *Reconciler) remove(ctx context.Context, job *batchv1.Job) error {
	if err := r.removeCopies(ctx, job); err != nil {
		return err
	}
	how := metav1.DeletePropagationForeground // it stays until its pod is gone
	if ended(job) {
		how = metav1.DeletePropagationBackground
	}
	err := r.Delete(ctx, job, client.PropagationPolicy(how), client.Preconditions{UID: &job.UID})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete Job %s/%s: %w", job.Namespace, job.Name, err)
	}
	return nil
}

// start makes the Job and what it needs. The name lets only one exist at a time.
func (r *Reconciler) start(ctx context.Context, p place, storage *v1alpha1.BackupStorage, lease *lease, work []work) (ctrl.Result, error) {
	if job, err := r.job(ctx, r.APIReader, p); err != nil || job != nil {
		return ctrl.Result{RequeueAfter: soon}, err
	}
	busy, err := r.busy(ctx, p)
	if err != nil || busy {
		return ctrl.Result{RequeueAfter: lookAgain}, err
	}
	if behind, err := r.behind(ctx, work); err != nil || behind {
		return ctrl.Result{RequeueAfter: soon}, err
	}
	usable, err := r.usable(ctx, p, storage, work)
	if err != nil || len(usable) == 0 {
		return ctrl.Result{RequeueAfter: storageInterval}, err
	}
	if err := access.EnsureMover(ctx, r.Client, p.namespace); err != nil {
		return ctrl.Result{}, err
	}
	privileged, err := access.Privileged(ctx, r.Client, p.namespace)
	if err != nil {
		return ctrl.Result{}, err
	}
	if err := r.hold(ctx, p, lease); err != nil {
		return ctrl.Result{}, err
	}
	in := task.KeepJobInput{
		Owner: lease.owner(), Name: p.name(), Namespace: p.namespace, Label: p.name(), Storage: storage,
		Image: r.MoverImage, ClusterUID: r.ClusterUID, Privileged: privileged,
	}
	for i := range usable {
		w := &usable[i]
		credentials, err := r.credentials(ctx, p, storage, lease, w, i)
		if err != nil {
			return ctrl.Result{}, err
		}
		in.StorageSecret = credentials.StorageSecret
		in.Work = append(in.Work, task.KeepWork{
			Repository: w.repository, EncryptionSecret: credentials.EncryptionSecret, Remove: removed(w.snapshots), Wipe: w.wipe, Maintain: w.maintain, Check: w.check,
		})
	}
	job, err := task.KeepJob(in)
	if err != nil {
		return ctrl.Result{}, err
	}
	if err := r.Create(ctx, job, client.FieldOwner(r.FieldManager)); err != nil && !apierrors.IsAlreadyExists(err) {
		return ctrl.Result{}, fmt.Errorf("create Job %s/%s: %w", job.Namespace, job.Name, err)
	}
	return ctrl.Result{RequeueAfter: lookAgain}, nil
}

// usable leaves out what there is no credential or password for, and says so there.
func (r *Reconciler) usable(ctx context.Context, p place, storage *v1alpha1.BackupStorage, all []work) ([]work, error) {
	var out []work
	for i := range all {
		_, err := access.Digest(ctx, r.APIReader, p.namespace, access.ForMaintenance(storage), passwordOf(&all[i]))
		if err == nil {
			err = access.Allowed(ctx, r.Client, storage, p.namespace)
		}
		if reason, message, ok := access.ReasonOf(err); ok {
			if err := r.fail(ctx, &all[i], reason, message); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, all[i])
	}
	return out, nil
}

// busy reports whether a pod of an earlier Job still runs: it outlives its Job for a while.
func (r *Reconciler) busy(ctx context.Context, p place) (bool, error) {
	var pods corev1.PodList
	if err := r.APIReader.List(ctx, &pods, client.InNamespace(p.namespace), client.MatchingLabels{v1alpha1.LabelKeeper: p.name()}); err != nil {
		return false, fmt.Errorf("list Pods of keeper %s/%s: %w", p.namespace, p.name(), err)
	}
	for i := range pods.Items {
		if phase := pods.Items[i].Status.Phase; phase != corev1.PodSucceeded && phase != corev1.PodFailed {
			return true, nil
		}
	}
	return false, nil
}
