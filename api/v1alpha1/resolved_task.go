package v1alpha1

import corev1 "k8s.io/api/core/v1"

// ResolvedTask is an Addon's task with its Functions, after all variables were filled in.
type ResolvedTask struct {
	// Addon and Task by name.
	Addon string `json:"addon"`
	// Task of the Addon.
	Task string `json:"task"`
	// Function of the mover: the task's only one, or that of its last step.
	Function string `json:"function"`
	// Driver of the task. Empty for a target with an error.
	// +optional
	Driver Driver `json:"driver,omitempty"`
	// Singleton says that one Job does the whole target.
	// +optional
	Singleton bool `json:"singleton,omitempty"`
	// Image of the mover.
	Image string `json:"image"`
	// Args of the mover.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Args []string `json:"args,omitempty"`
	// MoverImage is what the mover is copied from where image is another one, whose programs it runs, and no database is reached.
	// +optional
	MoverImage string `json:"moverImage,omitempty"`
	// Database that the mover dumps or fills, in whose image it runs.
	// +optional
	Database *ResolvedDatabase `json:"database,omitempty"`
	// Steps that run before the mover, in this order.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Steps []ResolvedStep `json:"steps,omitempty"`
	// Container is what is said about the mover's container beside image and args.
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Container *corev1.Container `json:"container,omitempty"`
	// Volumes of the task beside those that are backed up or restored.
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Volumes []corev1.Volume `json:"volumes,omitempty"`
	// Job shapes the pod.
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Job *JobPodSpec `json:"job,omitempty"`
	// JobMetadata of the Job.
	// +optional
	JobMetadata *TemplateMetadata `json:"jobMetadata,omitempty"`
	// PodMetadata of the pod.
	// +optional
	PodMetadata *TemplateMetadata `json:"podMetadata,omitempty"`
}

// ResolvedStep is a step of a task that runs before the mover.
type ResolvedStep struct {
	// Function of the step.
	Function string `json:"function"`
	// TargetAccess is how it sees the volumes of the target.
	TargetAccess TargetAccess `json:"targetAccess"`
	// Container of the step.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Container corev1.Container `json:"container"`
}

// ResolvedDatabase is what a mover that runs in a database's image needs beside it.
type ResolvedDatabase struct {
	// MoverImage is what the mover is copied from.
	MoverImage string `json:"moverImage"`
	// SecretName of the Secret with the database's credentials, in the namespace of the Job.
	SecretName string `json:"secretName"`
	// UsernameKey of the Secret where it is not username.
	// +optional
	UsernameKey string `json:"usernameKey,omitempty"`
	// PasswordKey of the Secret where it is not password.
	// +optional
	PasswordKey string `json:"passwordKey,omitempty"`
	// TLSSecretName of the Secret with ca.crt, tls.crt and tls.key, where it is another one.
	// +optional
	TLSSecretName string `json:"tlsSecretName,omitempty"`
	// ImagePullSecrets of the pods of the database.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`
}
