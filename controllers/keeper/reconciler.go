// Package keeper removes data from repositories and maintains them. For each BackupStorage and namespace there is at
// most one keeper: a Job, owned by a Lease, that does what is due in all Repositories there.
//
// One goroutine at a time reconciles a keeper. Invariants: the Job stays until its result is written to Repositories
// and Snapshots, so that a killed manager loses nothing, and a result is written again without harm; work is not
// repeated for a stale cache (TestWhatWasDoneIsNotDoneAgainForAnOldCache); nothing is removed under a restore
// (TestARestoreHoldsWhatItReads); a Job proves nothing unless its controller is the keeper's Lease
// (TestAForeignJobReportsNoWipe).
package keeper

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/keeper"
	"github.com/cairn-backup/cairn/internal/kube/keepers"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// Reconciler runs the keepers. A request names the namespace of the Repositories and, as "<namespace>/<name>", the
// storage. For a Job whose Repositories are gone it names the Job instead.
type Reconciler struct {
	client.Client
	record.EventRecorder

	// APIReader reads from the API server what no cache holds, and what must be current.
	APIReader client.Reader
	// Clock decides what is due.
	Clock clock.PassiveClock
	// MoverImage is the image of keepers.
	MoverImage string
	// ClusterUID is the UID of the namespace kube-system.
	ClusterUID string
	// Egress decides to which servers movers can connect. Nil has the built-in rules.
	Egress *egress.Policy
	// ClusterName is what {cluster} in a directoryPrefix stands for.
	ClusterName string
	// FieldManager owns all writes.
	FieldManager string

	pauses movers.Pauses // hold the places whose Jobs were refused
}

const (
	// lookAgain is the interval at which a Job is checked whose pod nobody watches.
	lookAgain = 10 * time.Second
	// soon is the delay for a state that is about to change.
	soon = 2 * time.Second
	// storageInterval is the delay before an unusable storage is tried again.
	storageInterval = time.Minute
	// stuckAfter is how long a Job is being deleted before its Repositories say what holds it.
	stuckAfter = 5 * time.Minute
)

// place is a storage as one namespace uses it. Once no Repository uses it any more, only the name of its Job is known.
type place struct {
	namespace string
	storage   client.ObjectKey
	job       string
}

// name returns the name of the Lease and of the Job, and the value of their label.
func (p place) name() string {
	if p.job != "" {
		return p.job
	}
	return policy.JobName("keeper", p.storage.Namespace, p.storage.Name)
}

// id returns what tells a place from all others.
func (p place) id() types.UID { return types.UID(p.namespace + "/" + p.name()) }

func (p place) request() ctrl.Request {
	return ctrl.Request{NamespacedName: client.ObjectKey{Namespace: p.namespace, Name: p.storage.String()}}
}

func (r *Reconciler) writer() status.Writer {
	return status.Writer{Client: r.Client, Events: r.EventRecorder, Owner: r.FieldManager}
}

// Reconcile writes the result of an ended Job, or starts a Job if work is due.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	namespace, name, ok := strings.Cut(req.Name, "/")
	p := place{namespace: req.Namespace, storage: client.ObjectKey{Namespace: namespace, Name: name}}
	decide := r.reconcile
	if !ok {
		p, decide = place{namespace: req.Namespace, job: req.Name}, r.finish
	}
	result, err := decide(ctx, p)
	if apierrors.IsConflict(err) {
		logs.DecidesAgain(ctx, err)
		return ctrl.Result{RequeueAfter: soon}, nil
	}
	return result, err
}

func (r *Reconciler) reconcile(ctx context.Context, p place) (ctrl.Result, error) {
	job, err := r.job(ctx, r.Client, p)
	if err != nil {
		return ctrl.Result{}, err
	}
	if job != nil && job.Labels[v1alpha1.LabelKeeper] == job.Name {
		made, err := keepers.Made(ctx, r.APIReader, job)
		switch {
		case err != nil:
			return ctrl.Result{}, err
		case made:
			return r.observe(ctx, p, job)
		}
		return r.end(ctx, p, job)
	}
	var storage v1alpha1.BackupStorage
	if err := r.Get(ctx, p.storage, &storage); err != nil {
		if apierrors.IsNotFound(err) {
			logf.FromContext(ctx).V(1).Info("nothing to do: the BackupStorage is gone") // its Snapshots report that
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	now := r.Clock.Now()
	work, next, err := r.due(ctx, p, &storage, now)
	if err != nil {
		return ctrl.Result{}, err
	}
	if len(work) == 0 {
		withNext(ctx, next).V(1).Info("nothing to do: no work is due")
		return status.RequeueAt(next, now), nil
	}
	lease, err := r.lease(ctx, p)
	if err != nil {
		return ctrl.Result{}, err
	}
	work, retry := lease.attempts.Ready(work, now)
	next = keeper.EarlierOf(next, retry)
	if len(work) == 0 {
		withNext(ctx, next).V(1).Info("waits: the work failed and is not due again yet")
		return status.RequeueAt(next, now), nil
	}
	return r.start(ctx, p, &storage, lease, work)
}

// finish writes the result of a Job whose Repositories are gone: Snapshots can still wait for it.
func (r *Reconciler) finish(ctx context.Context, p place) (ctrl.Result, error) {
	_, used, err := r.placeOfJob(ctx, p.namespace, p.job)
	if err != nil || used {
		return ctrl.Result{}, err
	}
	job, err := r.job(ctx, r.Client, p)
	if err != nil || job == nil {
		return ctrl.Result{}, err
	}
	made, err := keepers.Made(ctx, r.APIReader, job)
	if err != nil || !made {
		return ctrl.Result{}, err
	}
	return r.observe(ctx, p, job)
}

// withNext returns a logger that names the time of the next look; the zero time means none.
func withNext(ctx context.Context, at time.Time) logr.Logger {
	log := logf.FromContext(ctx)
	if at.IsZero() {
		return log
	}
	return log.WithValues("next", at)
}

// job returns the keeper's Job, or nil if it does not exist.
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

// observe checks the Job. It writes the result of an ended Job and deletes the Job.
func (r *Reconciler) observe(ctx context.Context, p place, job *batchv1.Job) (ctrl.Result, error) {
	if !job.DeletionTimestamp.IsZero() {
		return r.going(ctx, p, job)
	}
	o, err := r.outcome(ctx, r.Client, job)
	if err != nil {
		return ctrl.Result{}, err
	}
	if !keeper.Final(o) {
		logf.FromContext(ctx).V(1).Info("waits for the Job", "job", klog.KObj(job), "state", o.State,
			"reason", o.Reason, "message", o.Message)
		return ctrl.Result{RequeueAfter: lookAgain}, nil
	}
	// The cache drops the task of a Job, and can hold the end of a Job before the end of its pod, which reports the
	// result.
	live, err := r.job(ctx, r.APIReader, p)
	if err == nil && live != nil && live.UID == job.UID {
		o, err = r.outcome(ctx, r.APIReader, live)
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	if live == nil || live.UID != job.UID || !keeper.Final(o) {
		logs.CacheIsBehind(ctx, "job", klog.KObj(job))
		return ctrl.Result{RequeueAfter: soon}, nil
	}
	t, err := taskOf(live)
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("read task of Job %s/%s: %w", live.Namespace, live.Name, err)
	}
	if err := r.writeResult(ctx, p, live, &t, o); err != nil {
		return ctrl.Result{}, err
	}
	if err := r.remove(ctx, live, &t); err != nil {
		return ctrl.Result{}, err
	}
	logEnds(ctx, p, live, &t, o)
	return ctrl.Result{RequeueAfter: soon}, nil
}

// outcome returns the state of the Job and its pods.
func (r *Reconciler) outcome(ctx context.Context, reader client.Reader, job *batchv1.Job) (observe.Observation, error) {
	var pods corev1.PodList
	if err := reader.List(ctx, &pods, client.InNamespace(job.Namespace),
		client.MatchingLabels{batchv1.JobNameLabel: job.Name}); err != nil {
		return observe.Observation{}, fmt.Errorf("list Pods of Job %s/%s: %w", job.Namespace, job.Name, err)
	}
	return observe.Observe(job, pods.Items, r.Clock.Now()), nil
}

// remove deletes a Job with its pods, and the credentials that were copied for its task.
func (r *Reconciler) remove(ctx context.Context, job *batchv1.Job, t *task.Task) error {
	if slices.ContainsFunc(t.Keep, func(k task.Keep) bool { return k.Scan != "" }) {
		if err := r.removePages(ctx, job.Namespace, job.Name); err != nil {
			return err
		}
	}
	return keepers.Remove(ctx, r.Client, job, len(t.Keep))
}
