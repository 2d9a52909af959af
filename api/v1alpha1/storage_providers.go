package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
)

// StorageProvider is the sort of backend: s3, gcs, azure, local, sftp or webdav.
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:XValidation:rule="!(self in ['swift', 'b2', 'rest'])",message="providers swift, b2 and rest are not supported: set provider s3 with the endpoint of the service, which OpenStack Swift and Backblaze B2 have"
// +kubebuilder:validation:XValidation:rule="self in ['s3', 'gcs', 'azure', 'local', 'sftp', 'webdav', 'swift', 'b2', 'rest']",message="the provider must be one of s3, gcs, azure, local, sftp, webdav"
type StorageProvider string

// The values of StorageProvider.
const (
	// ProviderS3 is a bucket behind the S3 protocol.
	ProviderS3 StorageProvider = "s3"
	// ProviderLocal is a volume in the cluster.
	ProviderLocal StorageProvider = "local"
	// ProviderGCS is a bucket of Google Cloud Storage.
	ProviderGCS StorageProvider = "gcs"
	// ProviderAzure is a container of Azure Blob Storage.
	ProviderAzure StorageProvider = "azure"
	// ProviderSFTP is a directory on an SSH server.
	ProviderSFTP StorageProvider = "sftp"
	// ProviderWebDAV is a collection on a WebDAV server.
	ProviderWebDAV StorageProvider = "webdav"
)

// Storage is a backend: the provider and the settings of that provider.
// +kubebuilder:validation:XValidation:rule="self.provider != 's3' || has(self.s3)",message="provider s3 needs spec.storage.s3"
// +kubebuilder:validation:XValidation:rule="self.provider != 'local' || has(self.local)",message="provider local needs spec.storage.local"
// +kubebuilder:validation:XValidation:rule="self.provider == 's3' || !has(self.s3)",message="spec.storage.s3 needs provider s3"
// +kubebuilder:validation:XValidation:rule="self.provider == 'local' || !has(self.local)",message="spec.storage.local needs provider local"
// +kubebuilder:validation:XValidation:rule="self.provider != 'sftp' || has(self.sftp)",message="provider sftp needs spec.storage.sftp"
// +kubebuilder:validation:XValidation:rule="self.provider == 'sftp' || !has(self.sftp)",message="spec.storage.sftp needs provider sftp"
// +kubebuilder:validation:XValidation:rule="self.provider != 'webdav' || has(self.webdav)",message="provider webdav needs spec.storage.webdav"
// +kubebuilder:validation:XValidation:rule="self.provider == 'webdav' || !has(self.webdav)",message="spec.storage.webdav needs provider webdav"
// +kubebuilder:validation:XValidation:rule="self.provider != 'gcs' || has(self.gcs)",message="provider gcs needs spec.storage.gcs"
// +kubebuilder:validation:XValidation:rule="self.provider == 'gcs' || !has(self.gcs)",message="spec.storage.gcs needs provider gcs"
// +kubebuilder:validation:XValidation:rule="self.provider != 'azure' || has(self.azure)",message="provider azure needs spec.storage.azure"
// +kubebuilder:validation:XValidation:rule="self.provider == 'azure' || !has(self.azure)",message="spec.storage.azure needs provider azure"
// +kubebuilder:validation:XValidation:rule="!has(self.swift) && !has(self.b2) && !has(self.rest)",message="spec.storage.swift, b2 and rest are not supported: set spec.storage.s3 with the endpoint of the service, which OpenStack Swift and Backblaze B2 have"
type Storage struct {
	// Provider of the backend.
	// +required
	Provider StorageProvider `json:"provider"`

	// S3 is a bucket behind the S3 protocol.
	// +optional
	S3 *S3Storage `json:"s3,omitempty"`

	// Local is a volume in the cluster. It can be used only from the storage's own namespace.
	// +optional
	Local *LocalStorage `json:"local,omitempty"`

	// GCS is a bucket of Google Cloud Storage.
	// +optional
	GCS *GCSStorage `json:"gcs,omitempty"`

	// Azure is a container of Azure Blob Storage.
	// +optional
	Azure *AzureStorage `json:"azure,omitempty"`

	// SFTP is a directory on an SSH server.
	// +optional
	SFTP *SFTPStorage `json:"sftp,omitempty"`

	// WebDAV is a collection on a WebDAV server.
	// +optional
	WebDAV *WebDAVStorage `json:"webdav,omitempty"`

	// Swift is refused: use s3 with the endpoint of the service.
	// +optional
	Swift *Refused `json:"swift,omitempty"`

	// B2 is refused: use s3 with the endpoint of the service.
	// +optional
	B2 *Refused `json:"b2,omitempty"`

	// Rest is refused: a server of restic's protocol can't store Cairn's data.
	// +optional
	Rest *Refused `json:"rest,omitempty"`
}

// Refused is a field of another system that Cairn does not have. The API server refuses an object that has it, with a
// message that names the alternative.
// +kubebuilder:pruning:PreserveUnknownFields
type Refused struct{}

// S3Storage is a bucket behind the S3 protocol.
type S3Storage struct {
	// Endpoint is the URL of the server with its scheme. Empty means Amazon's. Requests have the bucket in the path,
	// except with Amazon's, Google's and Alibaba's own endpoints, which expect it in the host name.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^https?://[^/@]+/?$')",message="the endpoint must be a URL with scheme, without path and without credentials, for example https://s3.example.com"
	Endpoint string `json:"endpoint,omitempty"`

	// Bucket to use. It must exist already.
	// +required
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=63
	Bucket string `json:"bucket"`

	// Prefix of everything that is stored in the bucket.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="!self.split('/').exists(s, s == '..')",message="the prefix must not contain .."
	Prefix string `json:"prefix,omitempty"`

	// Region of the bucket.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Region string `json:"region,omitempty"`

	// SecretName of a Secret in the storage's namespace with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and
	// optionally AWS_SESSION_TOKEN and CA_CERT_DATA. Without it, the movers use the identity that the cloud gives their
	// pods: a role of the ServiceAccount cairn-mover (web identity, Pod Identity) or of the node.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName,omitempty"`

	// MaxConnections is how many requests one mover sends at once. The default, 0, means no limit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1024
	MaxConnections int64 `json:"maxConnections,omitempty"`

	// InsecureTLS accepts any certificate of the server. The default is false.
	// +optional
	InsecureTLS bool `json:"insecureTLS,omitempty"`
}

// The keys of the Secret that S3Storage.SecretName names.
const (
	S3AccessKeyID     = "AWS_ACCESS_KEY_ID"
	S3SecretAccessKey = "AWS_SECRET_ACCESS_KEY"
	S3SessionToken    = "AWS_SESSION_TOKEN"
)

// StorageCACertData is the key of a PEM bundle of the authorities to trust for a storage's server.
const StorageCACertData = "CA_CERT_DATA"

// LocalStorage is a volume in the cluster. As in KubeStash, the volume source is beside the other fields.
// +kubebuilder:validation:XValidation:rule="[has(self.persistentVolumeClaim), has(self.nfs), has(self.hostPath)].filter(b, b).size() == 1",message="spec.storage.local must have exactly one of persistentVolumeClaim, nfs and hostPath: use any other sort of volume through a PersistentVolumeClaim"
type LocalStorage struct {
	// PersistentVolumeClaim in the storage's namespace.
	// +optional
	PersistentVolumeClaim *ClaimVolumeSource `json:"persistentVolumeClaim,omitempty"`

	// NFS is a directory that an NFS server exports. It must be writable for group 65532, or for the user of
	// spec.runtimeSettings and of the backups' jobTemplate. It needs the annotation
	// backup.cairn.dev/privileged-movers: "true" on the Namespace.
	// +optional
	NFS *NFSVolumeSource `json:"nfs,omitempty"`

	// HostPath is a directory of the node that a Job runs on. All nodes must share it, unless the cluster has only one.
	// It needs the annotation backup.cairn.dev/privileged-movers: "true" on the Namespace.
	// +optional
	HostPath *HostPathVolumeSource `json:"hostPath,omitempty"`

	// MaxConnections is how many reads and writes one mover does at once. The default, 0, means no limit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1024
	MaxConnections int64 `json:"maxConnections,omitempty"`

	// MountPath of the volume in the pods of Jobs. The default is /cairn/storage.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^(/[A-Za-z0-9_.-]+)+$') && !self.split('/').exists(s, s == '..' || s == '.')",message="the mountPath must be an absolute path without . and .., of letters, digits, and the characters _ . -"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^/(cairn|tmp|mover|proc|sys|dev|etc|run|var)(/|$)')",message="the mountPath must not be in /cairn, /tmp, /mover, /proc, /sys, /dev, /etc, /run or /var, which a mover needs itself"
	MountPath string `json:"mountPath,omitempty"`

	// SubPath of the volume under which everything is stored. The default is its root.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('/') && !self.split('/').exists(s, s == '..')",message="the subPath must be relative and must not contain .."
	SubPath string `json:"subPath,omitempty"`
}

// ClaimVolumeSource names a PersistentVolumeClaim.
type ClaimVolumeSource struct {
	// ClaimName of the PersistentVolumeClaim.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ClaimName string `json:"claimName"`
}

// NFSVolumeSource is a directory of an NFS server.
type NFSVolumeSource struct {
	// Server is the name or address of the NFS server.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Server string `json:"server"`

	// Path that the server exports.
	// +required
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern="^/"
	Path string `json:"path"`
}

// HostPathVolumeSource is a directory of a node.
type HostPathVolumeSource struct {
	// Path of the directory on the node.
	// +required
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.startsWith('/') && !self.split('/').exists(s, s == '..')",message="the path must be absolute and must not contain .."
	Path string `json:"path"`

	// Type is what must exist at the path: a Directory (the default), or with DirectoryOrCreate an empty directory is
	// made.
	// +optional
	// +kubebuilder:validation:Enum=Directory;DirectoryOrCreate
	// +kubebuilder:default=Directory
	Type corev1.HostPathType `json:"type,omitempty"`
}

// RuntimeSettings shape the pods of a storage's own Jobs: the part of KubeStash's settings that a mover needs.
type RuntimeSettings struct {
	// Pod settings.
	// +optional
	Pod *PodRuntimeSettings `json:"pod,omitempty"`

	// Container settings.
	// +optional
	Container *ContainerRuntimeSettings `json:"container,omitempty"`
}

// PodRuntimeSettings shape a pod.
// +kubebuilder:validation:XValidation:rule="!has(self.priority) || has(self.priorityClassName)",message="priority needs priorityClassName: Kubernetes only accepts the priority of a class"
type PodRuntimeSettings struct {
	// SecurityContext of the pod. The default is user and group 65532. runAsUser 0 needs the annotation
	// backup.cairn.dev/privileged-movers: "true" on the Namespace.
	// +optional
	SecurityContext *MoverSecurityContext `json:"securityContext,omitempty"`

	// NodeSelector of the pod.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// Tolerations of the pod.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

	// Affinity of the pod.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`

	// TopologySpreadConstraints of the pod.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`

	// SchedulerName of the pod's scheduler.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	SchedulerName string `json:"schedulerName,omitempty"`

	// PriorityClassName of the pod. A class whose name begins with system- needs the annotation
	// backup.cairn.dev/privileged-movers: "true" on the Namespace.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	PriorityClassName string `json:"priorityClassName,omitempty"`

	// RuntimeClassName of the pod.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	RuntimeClassName *string `json:"runtimeClassName,omitempty"`

	// ImagePullSecrets of the namespace.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`

	// PodLabels beside Cairn's own.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('backup.cairn.dev/') && k != 'app.kubernetes.io/managed-by' && !k.startsWith('batch.kubernetes.io/') && !(k in ['job-name', 'controller-uid']))",message="labels of backup.cairn.dev, of Jobs and app.kubernetes.io/managed-by are reserved for Cairn and Kubernetes"
	PodLabels map[string]string `json:"podLabels,omitempty"`

	// PodAnnotations beside Cairn's own.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('backup.cairn.dev/'))",message="annotations of backup.cairn.dev are reserved for Cairn"
	PodAnnotations map[string]string `json:"podAnnotations,omitempty"`

	// NodeName of the only node that the pod can run on. The scheduler still places the pod, so that volumes are bound
	// and taints count.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	NodeName string `json:"nodeName,omitempty"`

	// Priority of the pod. It must be the priority of priorityClassName.
	// +optional
	Priority *int32 `json:"priority,omitempty"`

	// EnableServiceLinks adds the Services of the namespace to the environment of the container. The default is false.
	// +optional
	EnableServiceLinks *bool `json:"enableServiceLinks,omitempty"`

	// ServiceAccountName that the pod runs as instead of cairn-mover. It needs the annotation
	// backup.cairn.dev/privileged-movers: "true" on the Namespace.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// AutomountServiceAccountToken must be false: only the mover's container gets a token.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self",message="automountServiceAccountToken can't be true: only the mover's container gets a token"
	AutomountServiceAccountToken *bool `json:"automountServiceAccountToken,omitempty"`
}
