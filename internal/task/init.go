package task

import (
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// initTimeout bounds an init Job: the storage client's own retries end before it.
const initTimeout = 5 * time.Minute

// InitStorageJobInput is everything that the init Job of a BackupStorage is built from.
type InitStorageJobInput struct {
	// Storage that is initialised, and that owns the Job.
	Storage *v1alpha1.BackupStorage
	// Credentials in the storage's own namespace.
	Credentials Credentials
	// Digest of spec and credential. Another digest makes another Job.
	Digest string
	// Image of the mover.
	Image string
	// ClusterUID is the UID of the namespace kube-system.
	ClusterUID string
}

// InitStorageJobName is the name of the init Job of a BackupStorage and the digest of its spec and credential.
func InitStorageJobName(storage, digest string) string {
	return policy.JobName("init-storage", storage, hex(digest))
}

// InitStorageJob builds the Job that writes metadata.yaml.
func InitStorageJob(in InitStorageJobInput) (*batchv1.Job, error) {
	return blueprint{
		name:         InitStorageJobName(in.Storage.Name, in.Digest),
		namespace:    in.Storage.Namespace,
		owner:        controllerOf(v1alpha1.BackupStorageKind, in.Storage),
		image:        in.Image,
		args:         []string{string(KindInitStorage)},
		credentials:  in.Credentials,
		timeout:      initTimeout,
		storageGroup: true,
		labels:       map[string]string{v1alpha1.LabelStorage: policy.LabelValue(in.Storage.Name)},
		task: Task{
			Kind: KindInitStorage, Cluster: in.ClusterUID, Namespace: in.Storage.Namespace,
			Storage: storageOf(in.Storage),
		},
	}.job()
}

// InitRepositoryJobInput is everything that the init Job of a Repository is built from.
type InitRepositoryJobInput struct {
	// Repository that is initialised, and that owns the Job.
	Repository *v1alpha1.Repository
	// Storage of the repository.
	Storage *v1alpha1.BackupStorage
	// Credentials as access.EnsureCredentials gave them.
	Credentials Credentials
	// Digest of spec and credential. Another digest makes another Job.
	Digest string
	// MustExist forbids to create the repository: it was there once.
	MustExist bool
	// Image of the mover.
	Image string
	// ClusterUID is the UID of the namespace kube-system.
	ClusterUID string
}

// InitRepositoryJobName is the name of the init Job of a Repository and the digest of its spec and credential.
func InitRepositoryJobName(repository, digest string) string {
	return policy.JobName("init-repository", repository, hex(digest))
}

// InitRepositoryJob builds the Job that finds or creates the repository and writes repository.yaml. Nothing else ever
// creates one.
func InitRepositoryJob(in InitRepositoryJobInput) (*batchv1.Job, error) {
	r := in.Repository
	return blueprint{
		name:         InitRepositoryJobName(r.Name, in.Digest),
		namespace:    r.Namespace,
		owner:        controllerOf(v1alpha1.RepositoryKind, r),
		image:        in.Image,
		args:         []string{string(KindInitRepository)},
		credentials:  in.Credentials,
		timeout:      initTimeout,
		storageGroup: true,
		labels:       map[string]string{v1alpha1.LabelRepository: policy.LabelValue(r.Name)},
		task: Task{
			Kind: KindInitRepository, Cluster: in.ClusterUID, Namespace: r.Namespace,
			Storage: storageOf(in.Storage),
			Repository: &Repository{
				Name: r.Name, UID: r.UID, AppRef: r.Spec.AppRef, Driver: r.Spec.Driver,
				Directory: policy.NormalizeDirectory(r.Spec.Path),
				KeyID:     keyID(r),
				Adopt:     policy.NormalizeDirectory(r.Annotations[v1alpha1.AnnotationAdopt]),
				MustExist: in.MustExist,
			},
		},
	}.job()
}

// hex is what a name can hold of "sha256:<hex>".
func hex(digest string) string { return digest[strings.LastIndexByte(digest, ':')+1:] }

// keyID names the encryption Secret.
func keyID(r *v1alpha1.Repository) string {
	namespace := r.Spec.EncryptionSecret.Namespace
	if namespace == "" {
		namespace = r.Namespace
	}
	return namespace + "/" + r.Spec.EncryptionSecret.Name
}
