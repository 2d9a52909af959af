// Package backupstorage reconciles BackupStorages: it writes metadata.yaml to the backend through an init Job, and
// reports whether the backend can be used.
//
// A Reconciler is safe for concurrent use. Invariants: of two storages in one place, the one whose metadata.yaml lies
// there has it (TestOfTwoStoragesInOnePlaceTheBackendDecides), one that reaches another server by the same name blocks
// nobody (TestAStorageOnAnotherServerBlocksNobody), a generation counts as observed only once its backend was judged
// (TestAnErrorLeavesTheGenerationUnobserved), and deleting a namespace wipes nothing (TestAStorageWhoseNamespaceGoes).
package backupstorage

import (
	"context"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/kube/initjob"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// Reconciler reconciles BackupStorages.
type Reconciler struct {
	client.Client
	record.EventRecorder

	// APIReader reads Secrets and Namespaces from the API server.
	APIReader client.Reader
	// Clock decides when a failed init Job is retried, and when to look again for users of a storage that goes.
	Clock clock.PassiveClock
	// MoverImage is the image of init Jobs.
	MoverImage string
	// ClusterUID is the UID of the namespace kube-system.
	ClusterUID string
	// Egress decides to which servers movers can connect. Nil has the built-in rules.
	Egress *egress.Policy
	// FieldManager owns all writes.
	FieldManager string
	// Administrators are the namespaces whose defaults count for others.
	Administrators policy.Administrators
}

// Secrets are not watched: they are read again after these intervals.
const (
	credentialInterval = 10 * time.Minute
	missingInterval    = 15 * time.Second
)

func (r *Reconciler) writer() status.Writer {
	return status.Writer{
		Client: r.Client, Events: r.EventRecorder, Owner: r.FieldManager, Kind: v1alpha1.BackupStorageKind,
	}
}

// Reconcile brings one BackupStorage's init Job and status up to date.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	storage := &v1alpha1.BackupStorage{}
	if err := r.Get(ctx, req.NamespacedName, storage); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	switch {
	case logs.LeavesRecord(ctx, storage):
		return ctrl.Result{}, nil
	case !storage.DeletionTimestamp.IsZero():
		result, err := r.finalize(ctx, storage)
		if apierrors.IsConflict(err) {
			logs.DecidesAgain(ctx, err)
			return ctrl.Result{RequeueAfter: time.Second}, nil
		}
		return result, err
	case !controllerutil.ContainsFinalizer(storage, v1alpha1.FinalizerWipe):
		// the patch triggers another reconcile
		return ctrl.Result{}, r.writer().Hold(ctx, storage, v1alpha1.FinalizerWipe)
	}
	return r.writer().Reconcile(ctx, req.NamespacedName, storage, func(ctx context.Context) (ctrl.Result, error) {
		return r.reconcile(ctx, storage)
	})
}

// reconcile sets the whole status or, with an error, leaves it as it is: a generation counts as observed only once its
// backend was judged.
func (r *Reconciler) reconcile(ctx context.Context, storage *v1alpha1.BackupStorage) (ctrl.Result, error) {
	blamedAt, err := r.count(ctx, storage)
	if err != nil {
		return ctrl.Result{}, err
	}
	if err := r.judgeDefault(ctx, storage); err != nil {
		return ctrl.Result{}, err
	}
	rivals, err := r.rivals(ctx, storage)
	if err != nil {
		return ctrl.Result{}, err
	}
	digest, err := r.digest(ctx, storage)
	if reason, message, ok := access.ReasonOf(err); ok {
		conditions.MarkFalse(storage, v1alpha1.ConditionBackendSecretFound, reason, "%s", message)
		statusOf(storage).NotReady(reason, message)
		return ctrl.Result{RequeueAfter: missingInterval}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	result, err := r.initialise(ctx, storage, digest, laterOf(blamedAt, provedAt(rivals)), rivals)
	if reason, message, ok := access.ReasonOf(err); ok {
		statusOf(storage).NotReady(reason, message)
		return ctrl.Result{RequeueAfter: missingInterval}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	if policy.SecretOf(storage.Spec.Storage).Name != "" {
		conditions.MarkTrue(storage, v1alpha1.ConditionBackendSecretFound, v1alpha1.ReasonBackendSecretAvailable,
			"the Secret has its keys")
	} else {
		conditions.Delete(storage, v1alpha1.ConditionBackendSecretFound)
	}
	return result, nil
}

// initialise runs the init Job unless it has already proved this backend with this credential. doubtedAt is when a
// Repository last blamed the storage, or a rival proved the same place: both cast doubt on what was proved before.
func (r *Reconciler) initialise(
	ctx context.Context, storage *v1alpha1.BackupStorage, digest string, doubtedAt time.Time,
	rivals []v1alpha1.BackupStorage,
) (ctrl.Result, error) {
	proved, place := storage.Status.InitializedSpec == digest, placeDigest(storage)
	job := digest
	if !proved && len(rivals) > 0 { // a storage that is refused tries again when its rival has gone
		job = policy.Digest([]any{digest, uidsOf(rivals)})
	}
	request := initjob.Request{
		Owner: storage, Label: v1alpha1.LabelStorage, Name: moverjob.InitStorageJobName(storage.Name, job),
		Build: func(ctx context.Context) (*batchv1.Job, error) { return r.job(ctx, storage, job, rivals) },
	}
	runner := initjob.Runner{Client: r.Client, Reader: r.APIReader, Clock: r.Clock, FieldManager: r.FieldManager}
	doubted, again := r.doubted(storage, doubtedAt)
	if proved { // an earlier version has not noted it
		storage.Status.InitializedPlace = place
	}
	if proved && !doubted {
		if err := runner.Clean(ctx, request); err != nil {
			return ctrl.Result{}, err
		}
		statusOf(storage).Ready()
		result := r.later(storage)
		result.RequeueAfter = run.EarlierOf(result.RequeueAfter, again)
		return result, nil
	}
	progress, err := runner.Run(ctx, request)
	if err != nil {
		return ctrl.Result{}, err
	}
	if proved && progress.State != observe.StateSucceeded && !progress.Disproves() {
		statusOf(storage).Ready()
		return ctrl.Result{RequeueAfter: statusOf(storage).Again(progress, r.Clock.Now())}, nil
	}
	if proved { // the condition gets a new time, from which doubted counts
		storage.Status.InitializedSpec = ""
		conditions.MarkUnknown(storage, v1alpha1.ConditionBackendInitialized, v1alpha1.ReasonProgressing, "%s",
			"movers could not use it")
	}
	statusOf(storage).Follow(progress, r.Clock.Now())
	if progress.State == observe.StateSucceeded {
		storage.Status.InitializedSpec, storage.Status.InitializedPlace = digest, place
		return r.later(storage), nil
	}
	return ctrl.Result{RequeueAfter: statusOf(storage).Again(progress, r.Clock.Now())}, nil
}

// job builds the init Job in the storage's own namespace.
func (r *Reconciler) job(
	ctx context.Context, storage *v1alpha1.BackupStorage, digest string, rivals []v1alpha1.BackupStorage,
) (*batchv1.Job, error) {
	if err := access.EnsureMover(ctx, r.Client, storage.Namespace); err != nil {
		return nil, err
	}
	name := moverjob.InitStorageJobName(storage.Name, digest)
	credentials, err := access.EnsureCredentials(ctx, r.Client, storage, storage.Namespace, storage,
		v1alpha1.ObjectReference{}, name)
	if err != nil {
		return nil, err
	}
	privileged, err := access.Privileged(ctx, r.Client, storage.Namespace)
	if err != nil {
		return nil, err
	}
	must, directories, err := r.mustExist(ctx, storage)
	if err != nil {
		return nil, err
	}
	job, err := moverjob.InitStorageJob(moverjob.InitStorageJobInput{
		Storage: storage, MustExist: must, Directories: directories, Rivals: uidsOf(rivals),
		Credentials: credentials, Digest: digest, Image: r.MoverImage, Privileged: privileged,
		ClusterUID: r.ClusterUID, Egress: r.Egress.Rules(),
	})
	return job, access.Privilege(err)
}

// digest returns the digest of backend and credential.
func (r *Reconciler) digest(ctx context.Context, storage *v1alpha1.BackupStorage) (string, error) {
	credential, err := access.Digest(ctx, r.APIReader, storage.Namespace, storage, v1alpha1.ObjectReference{})
	if err != nil {
		return "", err
	}
	return policy.Digest([]any{storage.Spec.Storage, storage.Spec.RuntimeSettings, credential}), nil
}

// later requeues for the next read of the Secret.
func (r *Reconciler) later(storage *v1alpha1.BackupStorage) ctrl.Result {
	if policy.SecretOf(storage.Spec.Storage).Name == "" {
		return ctrl.Result{}
	}
	return ctrl.Result{RequeueAfter: credentialInterval}
}
