package repository

import (
	"context"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/kube/initjob"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// missingInterval is the delay before an unusable Secret is read again: Secrets are not watched.
const missingInterval = 15 * time.Second

// initialise runs the init Job unless it has already proved the repository in this place. From then on it no longer
// reads the Secrets: each run does. What a mover has found since can cast doubt on it: another init Job proves the
// repository again.
func (r *Reconciler) initialise(
	ctx context.Context, repository *v1alpha1.Repository, storage *v1alpha1.BackupStorage, counts counted,
) (ctrl.Result, error) {
	place := policy.RepositoryPlace(storage.Namespace, storage.Spec.Storage, repository.Spec.Path)
	runner := initjob.Runner{
		Client: r.Client, Reader: r.APIReader, Clock: r.Clock, FieldManager: r.FieldManager, Queue: r.queue,
	}
	request := initjob.Request{Owner: repository, Label: v1alpha1.LabelRepository}
	status := statusOf(repository)
	status.Proved = repository.Status.InitializedSpec == place
	doubt := doubtOf(repository, counts, status.Proved)
	if status.Proved && doubt.why == "" {
		if err := runner.Clean(ctx, request); err != nil {
			return ctrl.Result{}, err
		}
		status.Ready()
		return ctrl.Result{}, nil
	}
	credential, err := access.Digest(ctx, r.APIReader, repository.Namespace, storage, repository.Spec.EncryptionSecret)
	if reason, message, ok := access.ReasonOf(err); ok {
		status.NotReady(reason, message)
		return ctrl.Result{RequeueAfter: missingInterval}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	digest := policy.Digest([]any{
		place, credential, repository.Annotations[v1alpha1.AnnotationAdopt],
		storage.Spec.Storage, storage.Spec.RuntimeSettings, doubt.why,
	})
	request.Name = moverjob.InitRepositoryJobName(repository.Name, digest)
	request.Turn = &initjob.Position{
		Place: placeInQueue(repository), Created: repository.CreationTimestamp.Time,
		Again: conditions.IsFalse(repository, v1alpha1.ConditionRepositoryInitialized),
	}
	request.Place, request.Rival = place, func(pod *corev1.Pod) bool {
		// No namespace holds up another one with a pod that it has no right to.
		of := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace}, Spec: repository.Spec}
		_, _, refused := access.ReasonOf(access.AllowedRepository(ctx, r.Client, storage, r.ClusterName, of))
		return !refused && at(pod, place)
	}
	request.Build = func(ctx context.Context) (*batchv1.Job, error) {
		return r.job(ctx, repository, storage, request.Name, digest)
	}
	progress, err := runner.Run(ctx, request)
	if reason, message, ok := access.ReasonOf(err); ok {
		status.NotReady(reason, message)
		return ctrl.Result{RequeueAfter: missingInterval}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	if progress.State != observe.StateSucceeded {
		status.Follow(progress, r.Clock.Now())
		if status.Proved {
			r.remember(repository, doubts{
				taken: progress.Reason == v1alpha1.ReasonDirectoryTaken, gone: isGone(progress.Reason),
			})
		}
		return ctrl.Result{RequeueAfter: status.Again(progress, r.Clock.Now())}, nil
	}
	return r.proved(ctx, repository, status, progress, place, doubt, counts)
}

// proved writes that an init Job has proved the repository in a place. What was known of an earlier place counts no
// more, nor what was known before another Repository or cluster had the directory, or before it was gone.
func (r *Reconciler) proved(
	ctx context.Context, repository *v1alpha1.Repository, status initjob.Status, progress initjob.Progress,
	place string, doubt doubts, counts counted,
) (ctrl.Result, error) {
	err := r.leave(ctx, repository, place, doubt, counts.snapshots)
	if apierrors.IsConflict(err) {
		logs.DecidesAgain(ctx, err)
		return ctrl.Result{RequeueAfter: time.Second}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	status.Follow(progress, r.Clock.Now())
	repository.Status.InitializedSpec, repository.Status.ProvedAfter = place, counts.doubt.why
	repository.Status.TakenTime, repository.Status.GoneTime = nil, nil
	return ctrl.Result{}, nil
}

// job builds the init Job in the repository's namespace.
func (r *Reconciler) job(
	ctx context.Context, repository *v1alpha1.Repository, storage *v1alpha1.BackupStorage, name, digest string,
) (*batchv1.Job, error) {
	if err := access.EnsureMover(ctx, r.Client, repository.Namespace); err != nil {
		return nil, err
	}
	if err := access.AllowedRepository(ctx, r.Client, storage, r.ClusterName, repository); err != nil {
		return nil, err
	}
	credentials, err := access.EnsureCredentials(ctx, r.Client, repository, repository.Namespace, storage,
		repository.Spec.EncryptionSecret, name)
	if err != nil {
		return nil, err
	}
	privileged, err := access.Privileged(ctx, r.Client, repository.Namespace)
	if err != nil {
		return nil, err
	}
	job, err := moverjob.InitRepositoryJob(moverjob.InitRepositoryJobInput{
		Repository: repository, Storage: storage, Credentials: credentials, Digest: digest,
		MustExist: repository.Status.InitializedSpec != "", Image: r.MoverImage, Privileged: privileged,
		ClusterUID: r.ClusterUID, Egress: r.Egress.Rules(),
	})
	return job, access.Privilege(err)
}

// at reports whether an init pod works in a place, for a Repository of its own namespace. That can be one that was
// deleted in the meantime and whose place another Repository has now.
func at(pod *corev1.Pod, place string) bool {
	t, err := task.Decode([]byte(pod.Annotations[v1alpha1.AnnotationTask]), task.KindInitRepository)
	return err == nil && t.Namespace == pod.Namespace &&
		policy.RepositoryPlace(t.Storage.Namespace, t.Storage.Spec, t.Repository.Directory) == place
}
