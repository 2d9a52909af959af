package repository

import (
	"context"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/access"
	"github.com/cairn-backup/cairn/internal/initjob"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
)

// missingInterval is when a Secret that could not be used is read again: Secrets are not watched.
const missingInterval = 15 * time.Second

// initialise runs the init Job unless the repository was seen in this place before. From then on its Secrets are not read
// here any more: each run does that.
func (r *Reconciler) initialise(ctx context.Context, repository *v1alpha1.Repository, storage *v1alpha1.BackupStorage) (ctrl.Result, error) {
	place := placeOf(storage.Spec.Storage, repository.Spec.Path)
	runner := initjob.Runner{Client: r.Client, Reader: r.APIReader, Clock: r.Clock, FieldManager: r.FieldManager}
	request := initjob.Request{Owner: repository, Label: v1alpha1.LabelRepository}
	if repository.Status.InitializedSpec == place {
		if err := runner.Clean(ctx, request); err != nil {
			return ctrl.Result{}, err
		}
		statusOf(repository).Ready()
		return ctrl.Result{}, nil
	}
	credential, err := access.Digest(ctx, r.APIReader, repository.Namespace, storage, repository.Spec.EncryptionSecret)
	if reason, message, ok := access.ReasonOf(err); ok {
		statusOf(repository).NotReady(reason, message)
		return ctrl.Result{RequeueAfter: missingInterval}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	digest := policy.Digest([]any{place, credential, repository.Annotations[v1alpha1.AnnotationAdopt], storage.Spec.Storage})
	request.Name = task.InitRepositoryJobName(repository.Name, digest)
	request.Rival = func(pod *corev1.Pod) bool { return at(pod, storage, place) }
	request.Build = func(ctx context.Context) (*batchv1.Job, error) {
		return r.job(ctx, repository, storage, request.Name, digest)
	}
	progress, err := runner.Run(ctx, request)
	if err != nil {
		return ctrl.Result{}, err
	}
	statusOf(repository).Follow(progress)
	if progress.State == task.StateSucceeded {
		repository.Status.InitializedSpec = place
		return ctrl.Result{}, nil
	}
	return ctrl.Result{RequeueAfter: progress.After}, nil
}

// job builds the init Job in the repository's namespace.
func (r *Reconciler) job(ctx context.Context, repository *v1alpha1.Repository, storage *v1alpha1.BackupStorage, name, digest string) (*batchv1.Job, error) {
	if err := access.EnsureMover(ctx, r.Client, repository.Namespace); err != nil {
		return nil, err
	}
	credentials, err := access.EnsureCredentials(ctx, r.Client, repository, repository.Namespace, storage, repository.Spec.EncryptionSecret, name)
	if err != nil {
		return nil, err
	}
	return task.InitRepositoryJob(task.InitRepositoryJobInput{
		Repository: repository, Storage: storage, Credentials: credentials, Digest: digest,
		MustExist: repository.Status.InitializedSpec != "", Image: r.MoverImage, ClusterUID: r.ClusterUID,
	})
}

// placeOf is the digest of where a repository lies. How it is reached (region, credential, certificates) is no part.
func placeOf(spec v1alpha1.Storage, path string) string {
	place := []string{string(spec.Provider), policy.NormalizeDirectory(path)}
	switch {
	case spec.S3 != nil:
		place = append(place, spec.S3.Endpoint, spec.S3.Bucket, policy.NormalizeDirectory(spec.S3.Prefix))
	case spec.Local != nil:
		place = append(place, spec.Local.PersistentVolumeClaim.ClaimName, policy.NormalizeDirectory(spec.Local.SubPath))
	}
	return policy.Digest(place)
}

// at says whether an init pod is at work in a place of the storage: that of a Repository that was deleted meanwhile, and
// whose place another one may have now. Names of volumes are those of a namespace.
func at(pod *corev1.Pod, storage *v1alpha1.BackupStorage, place string) bool {
	t, err := task.Decode([]byte(pod.Annotations[v1alpha1.AnnotationTask]), task.KindInitRepository)
	return err == nil && placeOf(t.Storage.Spec, t.Repository.Directory) == place &&
		(t.Storage.Spec.Local == nil || t.Storage.Namespace == storage.Namespace)
}
