// Package initjob runs the Jobs that initialise storages and repositories. A Runner and its Queue are safe for
// concurrent use. Invariants: an owner has at most one Job at work; a failed Job is tried again after a while; no Job
// follows a success. The Job itself remembers when it failed.
package initjob

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

const (
	retryAfter  = time.Minute
	retryJitter = 15 * time.Second
	// stuckAfter is when a Job that cannot start is replaced: before its deadline hides the reason.
	stuckAfter = 4 * time.Minute
	// lookAgain is how often a running Job is observed, and a failed Job before its retry is due: neither its pod nor
	// the Secret that it reads is watched.
	lookAgain = 10 * time.Second
	// takenAgain is how soon the Runner tries again while a deleted Job still has the name.
	takenAgain = 2 * time.Second
	// refusedAgain is how soon what the API server refuses is tried again at first, and refusedSeldom how often later.
	refusedAgain, refusedSeldom = 15 * time.Second, 10 * time.Minute
	// suspendedLimit is how long a Job is suspended as others are at first, where something like Kueue lets them in.
	suspendedLimit = time.Minute
)

// Runner runs init Jobs. It is safe for concurrent use.
type Runner struct {
	// Client reads Jobs and Pods from a cache.
	Client client.Client
	// Reader reads from the API server: before a Job is created, and to find out why a Job failed.
	Reader client.Reader
	// Clock decides when a retry is due.
	Clock clock.PassiveClock
	// FieldManager is the field manager of what is created.
	FieldManager string
	// Queue bounds how many Jobs of requests with a Turn run at once, and remembers whose Jobs they are; nil for no
	// bound.
	Queue *Queue
}

// Request asks for one initialisation.
type Request struct {
	// Owner of the Job, which is created in the owner's namespace.
	Owner client.Object
	// Label of the owner's init Jobs; its value is the owner's name.
	Label string
	// Name of the Job. It contains a digest of everything that the Job depends on.
	Name string
	// Build prepares what the Job needs and returns the Job.
	Build func(ctx context.Context) (*batchv1.Job, error)
	// Place is what the Job initialises, if pods of other owners can initialise it, too.
	Place string
	// Rival reports whether a pod with the label, of any namespace and owner, says that it initialises the same place;
	// nil if no pod does.
	Rival func(pod *corev1.Pod) bool
	// Turn that the Job waits for; nil if it waits for none.
	Turn *Position
}

// Progress is how far an initialisation has come.
type Progress struct {
	// State is observe.StateRunning while the outcome is not known.
	State observe.State
	// Reason and Message explain a failure, or what keeps the Job from beginning and does not end by itself: the API
	// server refuses it, or somebody has suspended it. A Message alone explains what a Job waits for as many do.
	Reason, Message string
	// Words follow the Message: those of the API server, which can differ at each try.
	Words string
	// Queued means that the Job is not made yet and waits for its turn.
	Queued bool
	// After is when to look again; 0 means when the Job changes. Status.Again makes it longer.
	After time.Duration
}

// disproving are the reasons that tell that what an earlier Job has proved is true no more, and will not be before
// somebody changes something.
var disproving = []string{
	v1alpha1.ReasonBadCredentials, v1alpha1.ReasonAccessDenied, v1alpha1.ReasonBucketNotFound,
	v1alpha1.ReasonStorageTaken, v1alpha1.ReasonDirectoryTaken, v1alpha1.ReasonRepositoryNotFound,
	v1alpha1.ReasonRepositoryDamaged, v1alpha1.ReasonPasswordChanged, v1alpha1.ReasonWrongPassword,
	v1alpha1.ReasonMetadataNotFound,
}

// Disproves reports whether the Job says that its owner, which an earlier Job has proved, can't be used any more. A Job
// that finds no room, or the backend away for a while, tells nothing: all backups would wait for the next one.
func (p Progress) Disproves() bool {
	return p.State == observe.StateFailed && slices.Contains(disproving, p.Reason)
}

// BlamesStorage reports whether a reason says that a storage perhaps can't be used as it is: it does not take the
// credential, its bucket or volume is gone, or a disk is not mounted and looks empty.
func BlamesStorage(reason string) bool {
	switch reason {
	case v1alpha1.ReasonBadCredentials, v1alpha1.ReasonAccessDenied, v1alpha1.ReasonBucketNotFound,
		v1alpha1.ReasonMetadataNotFound, v1alpha1.ReasonRepositoryNotFound:
		return true
	}
	return false
}

// Run observes the Job of the request, and creates or replaces the Job when needed. It removes Jobs of other names,
// which belong to another spec or credential. A failed Job is removed when it is tried again. A successful Job stays
// until the caller has written its status and calls Clean: otherwise a caller with an old status would start over.
func (r Runner) Run(ctx context.Context, req Request) (Progress, error) {
	jobs, err := r.jobs(ctx, r.Client, req)
	if err != nil {
		return Progress{}, err
	}
	if named(jobs, req.Name) != nil {
		return r.proceed(ctx, req, jobs)
	}
	if turn, err := r.enter(ctx, req); err != nil || !turn {
		return r.Queue.wait(), err
	}
	// The cache can lack a Job that was just created.
	progress := notYet
	if jobs, err = r.jobs(ctx, r.Reader, req); err == nil {
		progress, err = r.proceed(ctx, req, jobs)
	}
	if err != nil || progress == notYet || progress.State == observe.StateRunning && progress.Message != "" {
		r.leave(ctx, req)
	}
	return progress, err
}

// notYet is the progress of a Job that cannot be created now.
var notYet = Progress{State: observe.StateRunning, After: takenAgain}

// proceed removes the owner's Jobs of other names, then observes or creates the Job of the request.
func (r Runner) proceed(ctx context.Context, req Request, jobs []batchv1.Job) (Progress, error) {
	for i := range jobs {
		if jobs[i].Name == req.Name {
			continue
		}
		if err := r.remove(ctx, &jobs[i]); err != nil {
			return Progress{}, err
		}
		// Two Jobs at once could both create the repository, and the second would replace the key of the first.
		if !observe.Ended(&jobs[i]) {
			return notYet, nil
		}
	}
	if current := named(jobs, req.Name); current != nil {
		r.own().saw(current.UID, req.Place, r.Clock.Now())
		if !current.DeletionTimestamp.IsZero() {
			return notYet, nil
		}
		return r.observe(ctx, current)
	}
	if busy, err := r.busy(ctx, req); err != nil || busy {
		return notYet, err
	}
	return r.create(ctx, req)
}

func named(jobs []batchv1.Job, name string) *batchv1.Job {
	for i := range jobs {
		if jobs[i].Name == name {
			return &jobs[i]
		}
	}
	return nil
}

// Clean removes the owner's init Jobs.
func (r Runner) Clean(ctx context.Context, req Request) error {
	jobs, err := r.jobs(ctx, r.Client, req)
	if err != nil {
		return err
	}
	for i := range jobs {
		if err := r.remove(ctx, &jobs[i]); err != nil {
			return err
		}
	}
	return nil
}

// jobs returns the owner's init Jobs.
func (r Runner) jobs(ctx context.Context, reader client.Reader, req Request) ([]batchv1.Job, error) {
	var list batchv1.JobList
	// Nobody else can give a Job the label of what Cairn makes: see the admission policy cairn-marks.
	if err := reader.List(ctx, &list, client.InNamespace(req.Owner.GetNamespace()), client.MatchingLabels{
		v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, req.Label: policy.LabelValue(req.Owner.GetName()),
	}); err != nil {
		return nil, fmt.Errorf("list init Jobs of %s: %w", req.Owner.GetName(), err)
	}
	var own []batchv1.Job
	for _, job := range list.Items {
		if metav1.IsControlledBy(&job, req.Owner) {
			own = append(own, job)
		}
	}
	return own, nil
}

// create creates the Job. If a Job of the name exists, which the cache lacks or which is being deleted, it waits. It
// also waits for an API server that refuses the Job or what the Job needs.
func (r Runner) create(ctx context.Context, req Request) (Progress, error) {
	job, err := req.Build(ctx)
	if err == nil {
		err = access.MayRun(ctx, r.Client, r.Reader, req.Owner, job)
	}
	if err == nil {
		if err = r.Client.Create(ctx, job, client.FieldOwner(r.FieldManager)); err != nil {
			err = fmt.Errorf("create Job %s/%s: %w", job.Namespace, job.Name, err)
		}
	}
	switch {
	case apierrors.IsAlreadyExists(err):
		return notYet, nil
	case movers.NeverAccepted(err), movers.RefusedForNow(err):
		return Progress{
			State: observe.StateRunning, Reason: v1alpha1.ReasonCreationRefused,
			Message: "the API server refuses what it needs: ", Words: err.Error(), After: refusedAgain,
		}, nil
	case err != nil:
		return Progress{}, err
	}
	r.own().saw(job.UID, req.Place, r.Clock.Now())
	return Progress{State: observe.StateRunning}, nil
}

// observe returns the progress of an existing Job, and removes a failed Job whose retry is due.
func (r Runner) observe(ctx context.Context, job *batchv1.Job) (Progress, error) {
	now := r.Clock.Now()
	o, err := outcome(ctx, r.Client, job, now)
	if err == nil && o.State == observe.StateFailed && o.Result == nil {
		// The cache can show the end of a Job before the end of its pod, which has the reason.
		o, err = outcome(ctx, r.Reader, job, now)
	}
	if err != nil {
		return Progress{}, err
	}
	switch o.State {
	case observe.StateSucceeded:
		return Progress{State: o.State}, nil
	case observe.StateFailed:
		due := retryAt(job, now)
		if now.Before(due) {
			return Progress{State: o.State, Reason: o.Reason, Message: o.Message, After: min(due.Sub(now), lookAgain)},
				nil
		}
		if err := r.remove(ctx, job); err != nil {
			return Progress{}, err
		}
		return Progress{State: o.State, Reason: o.Reason, Message: o.Message, After: takenAgain}, nil
	}
	progress := Progress{State: observe.StateRunning, After: lookAgain} // pods are not watched here
	if o.Suspended() {
		progress.Message = o.Message
		if observe.Lasted(job.CreationTimestamp.Time, now, suspendedLimit) {
			progress.Reason = o.Reason
		}
	}
	return progress, nil
}

// outcome observes a Job and its pods.
func outcome(ctx context.Context, reader client.Reader, job *batchv1.Job, now time.Time) (observe.Observation, error) {
	var pods corev1.PodList
	if err := reader.List(ctx, &pods, client.InNamespace(job.Namespace),
		client.MatchingLabels{batchv1.JobNameLabel: job.Name}); err != nil {
		return observe.Observation{}, fmt.Errorf("list pods of Job %s/%s: %w", job.Namespace, job.Name, err)
	}
	return observe.Observe(job, pods.Items, now), nil
}

// retryAt returns when a failed Job is tried again: a minute after its end plus up to 15 seconds that depend on its
// UID, so that the Jobs of a server that was down do not return all at once. If a clock that was ahead has dated the
// end, the minute counts from the Job's creation. If it has dated the creation, too, the Job is due now.
func retryAt(job *batchv1.Job, now time.Time) time.Time {
	due := job.CreationTimestamp.Add(stuckAfter + jitter(job.UID))
	for _, c := range job.Status.Conditions {
		if c.Type == batchv1.JobFailed && c.Status == corev1.ConditionTrue {
			end := c.LastTransitionTime
			if observe.FarAhead(end.Time, now) {
				end = job.CreationTimestamp
			}
			due = end.Add(retryAfter + jitter(job.UID))
		}
	}
	if observe.FarAhead(due, now) {
		return now
	}
	return due
}

func jitter(uid types.UID) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(uid))
	return time.Duration(h.Sum64() % uint64(retryJitter))
}

// remove deletes the Job, its pods and the credentials that were copied for it. A Job that has not ended stays until
// its pods are gone.
func (r Runner) remove(ctx context.Context, job *batchv1.Job) error {
	if owner := metav1.GetControllerOf(job); owner != nil {
		if err := access.RemoveCopies(ctx, r.Client, *owner, job.Namespace, job.Name); err != nil {
			return err
		}
	}
	if !job.DeletionTimestamp.IsZero() {
		return nil
	}
	how := metav1.DeletePropagationForeground
	if observe.Ended(job) {
		how = metav1.DeletePropagationBackground
	}
	err := r.Client.Delete(ctx, job, client.PropagationPolicy(how), client.Preconditions{UID: &job.UID})
	if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete Job %s/%s: %w", job.Namespace, job.Name, err)
	}
	return nil
}
