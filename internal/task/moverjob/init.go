package moverjob

import (
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
)

// initTimeout bounds an init Job. The storage client's own retries end earlier.
const initTimeout = 5 * time.Minute

// InitStorageJobInput is the input for the init Job of a BackupStorage.
type InitStorageJobInput struct {
	// Storage that is initialised and owns the Job.
	Storage *v1alpha1.BackupStorage
	// MustExist forbids initialising the storage, because it, or one of its Repositories, was initialised before,
	// unless one of the Directories of these still holds a repository of this cluster.
	MustExist   bool
	Directories []string
	// Rivals are other BackupStorages that name the same place, which can be theirs.
	Rivals []types.UID
	// Credentials in the storage's own namespace.
	Credentials Credentials
	// Digest of spec and credential. Another digest gives another Job.
	Digest string
	// Image of the mover.
	Image string
	// Privileged reports whether the Namespace allows root and host paths.
	Privileged bool
	// ClusterUID is the UID of the namespace kube-system.
	ClusterUID string
	// Egress are the rules for addresses that the manager adds to the built-in ones.
	Egress egress.Rules
}

// InitStorageJobName returns the name of the init Job of a BackupStorage for a digest of its spec and credential.
func InitStorageJobName(storage, digest string) string {
	return policy.JobName("init-storage", storage, hex(digest))
}

// InitStorageJob builds the Job that writes metadata.yaml.
func InitStorageJob(in InitStorageJobInput) (*batchv1.Job, error) {
	storage := StorageOf(in.Storage)
	storage.MustExist, storage.Directories, storage.Rivals = in.MustExist, in.Directories, in.Rivals
	return blueprint{
		name:         InitStorageJobName(in.Storage.Name, in.Digest),
		namespace:    in.Storage.Namespace,
		owner:        controllerOf(v1alpha1.BackupStorageKind, in.Storage),
		resolved:     initTask(in.Image, task.KindInitStorage, in.Storage),
		credentials:  in.Credentials,
		timeout:      initTimeout,
		security:     securityOf(v1alpha1.MoverSecurityContext{}, podOf(in.Storage.Spec.RuntimeSettings)),
		privileged:   in.Privileged,
		node:         nodeOf(in.Storage.Spec.RuntimeSettings),
		storageGroup: true,
		labels:       map[string]string{v1alpha1.LabelStorage: policy.LabelValue(in.Storage.Name)},
		task: task.Task{
			Kind: task.KindInitStorage, Cluster: in.ClusterUID, Namespace: in.Storage.Namespace,
			Storage: storage, Egress: in.Egress,
		},
	}.job()
}

// InitRepositoryJobInput is the input for the init Job of a Repository.
type InitRepositoryJobInput struct {
	// Repository that is initialised and owns the Job.
	Repository *v1alpha1.Repository
	// Storage of the repository.
	Storage *v1alpha1.BackupStorage
	// Credentials as access.EnsureCredentials returned them.
	Credentials Credentials
	// Digest of spec and credential. Another digest gives another Job.
	Digest string
	// MustExist forbids creating the repository, because it existed before.
	MustExist bool
	// Image of the mover.
	Image string
	// Privileged reports whether the Namespace allows root and host paths.
	Privileged bool
	// ClusterUID is the UID of the namespace kube-system.
	ClusterUID string
	// Egress are the rules for addresses that the manager adds to the built-in ones.
	Egress egress.Rules
}

// InitRepositoryJobName returns the name of the init Job of a Repository for a digest of its spec and credential.
func InitRepositoryJobName(repository, digest string) string {
	return policy.JobName("init-repository", repository, hex(digest))
}

// InitRepositoryJob builds the Job that finds or creates the repository and writes repository.yaml. No other Job ever
// creates a repository.
func InitRepositoryJob(in InitRepositoryJobInput) (*batchv1.Job, error) {
	r := in.Repository
	repository := repositoryOf(r)
	repository.Adopt, repository.MustExist = r.Annotations[v1alpha1.AnnotationAdopt], in.MustExist
	return blueprint{
		name:         InitRepositoryJobName(r.Name, in.Digest),
		namespace:    r.Namespace,
		owner:        controllerOf(v1alpha1.RepositoryKind, r),
		resolved:     initTask(in.Image, task.KindInitRepository, in.Storage),
		credentials:  in.Credentials,
		timeout:      initTimeout,
		security:     securityOf(v1alpha1.MoverSecurityContext{}, podOf(in.Storage.Spec.RuntimeSettings)),
		privileged:   in.Privileged,
		node:         nodeOf(in.Storage.Spec.RuntimeSettings),
		storageGroup: true,
		labels: map[string]string{
			v1alpha1.LabelRepository:  policy.LabelValue(r.Name),
			v1alpha1.LabelInitStorage: policy.StorageLabelValue(in.Storage.Namespace, in.Storage.Name),
		},
		task: task.Task{
			Kind: task.KindInitRepository, Cluster: in.ClusterUID, Namespace: r.Namespace,
			Storage:    StorageOf(in.Storage),
			Repository: &repository, Egress: in.Egress,
		},
	}.job()
}

// podOf returns the pod settings from a storage's runtimeSettings.
func podOf(s *v1alpha1.RuntimeSettings) *v1alpha1.JobPodSpec {
	if s == nil {
		return nil
	}
	var out v1alpha1.JobPodSpec
	if p := s.Pod; p != nil {
		out = v1alpha1.JobPodSpec{
			SecurityContext: p.SecurityContext, NodeSelector: p.NodeSelector, Tolerations: p.Tolerations,
			Affinity: p.Affinity, TopologySpreadConstraints: p.TopologySpreadConstraints,
			SchedulerName:     p.SchedulerName,
			PriorityClassName: p.PriorityClassName, Priority: p.Priority, RuntimeClassName: p.RuntimeClassName,
			ImagePullSecrets: p.ImagePullSecrets, EnableServiceLinks: p.EnableServiceLinks,
			ServiceAccountName: p.ServiceAccountName,
		}
	}
	return &out
}

// nodeOf returns the only node that the storage's pods are allowed to run on, or "".
func nodeOf(s *v1alpha1.RuntimeSettings) string {
	if s == nil || s.Pod == nil {
		return ""
	}
	return s.Pod.NodeName
}

// initTask returns a task with one container, shaped by a storage's runtimeSettings.
func initTask(image string, kind task.Kind, s *v1alpha1.BackupStorage) v1alpha1.ResolvedTask {
	out := v1alpha1.ResolvedTask{Image: image, Args: []string{string(kind)}, Job: podOf(s.Spec.RuntimeSettings)}
	if s.Spec.RuntimeSettings == nil {
		return out
	}
	if p := s.Spec.RuntimeSettings.Pod; p != nil && len(p.PodLabels)+len(p.PodAnnotations) > 0 {
		out.PodMetadata = &v1alpha1.TemplateMetadata{Labels: p.PodLabels, Annotations: p.PodAnnotations}
	}
	if s.Spec.RuntimeSettings.Container != nil {
		c := s.Spec.RuntimeSettings.Container.DeepCopy()
		out.Container = &corev1.Container{
			Resources: c.Resources, SecurityContext: c.SecurityContext, Env: c.Env,
			EnvFrom: c.EnvFrom,
		}
	}
	return out
}

// repositoryOf describes a Repository to a mover.
func repositoryOf(r *v1alpha1.Repository) task.Repository {
	return task.Repository{
		Name: r.Name, UID: r.UID, AppRef: r.Spec.AppRef, Driver: r.Spec.Driver,
		Directory: policy.NormalizeDirectory(r.Spec.Path), KeyID: keyID(r),
	}
}

// hex returns the part of "sha256:<hex>" that a name can hold.
func hex(digest string) string { return digest[strings.LastIndexByte(digest, ':')+1:] }

// keyID returns <namespace>/<name> of the encryption Secret.
func keyID(r *v1alpha1.Repository) string {
	namespace := r.Spec.EncryptionSecret.Namespace
	if namespace == "" {
		namespace = r.Namespace
	}
	return namespace + "/" + r.Spec.EncryptionSecret.Name
}
