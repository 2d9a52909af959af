package v1alpha1

import corev1 "k8s.io/api/core/v1"

// ResolvedTask is an Addon's task with its Functions, after all variables were filled in.
type ResolvedTask struct {
	// Addon and Task by name.
	Addon string `json:"addon"`
	// Task of the Addon.
	Task string `json:"task"`
	// Function of the mover: the only Function of the task, or that of its last step.
	Function string `json:"function"`
	// Driver of the task. Empty for a target with an error.
	// +optional
	Driver Driver `json:"driver,omitempty"`
	// Singleton is whether one Job does the whole target.
	// +optional
	Singleton bool `json:"singleton,omitempty"`
	// Image of the mover; with MoverImage or Database that of the programs that the mover runs.
	Image string `json:"image"`
	// Args of the mover.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Args []string `json:"args,omitempty"`
	// MoverImage is the image of the mover, if the mover runs programs of another image, and no database is reached.
	// +optional
	MoverImage string `json:"moverImage,omitempty"`
	// Database that the mover dumps or fills, by programs of the database's image.
	// +optional
	Database *ResolvedDatabase `json:"database,omitempty"`
	// Steps that run before the mover, in this order.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Steps []ResolvedStep `json:"steps,omitempty"`
	// Container holds the settings of the mover's container beside image and args.
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
	// TargetAccess is the access of the step to the volumes of the target.
	TargetAccess TargetAccess `json:"targetAccess"`
	// Container of the step.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Container corev1.Container `json:"container"`
}

// ResolvedDatabase is what a mover needs to run programs of a database's image.
type ResolvedDatabase struct {
	// MoverImage is the image of the mover.
	MoverImage string `json:"moverImage"`
	// Server that answers: "Pod/<name>", or "<host>:<port>" where the pod is unknown. A backup of the server and a
	// restore into it wait for each other, also if policy names the database by different objects.
	// +optional
	Server string `json:"server,omitempty"`
	// SecretName of the Secret with the database's credentials, in the namespace of the Job.
	SecretName string `json:"secretName"`
	// UsernameKey is the key of the user name in the Secret, if it is not username.
	// +optional
	UsernameKey string `json:"usernameKey,omitempty"`
	// PasswordKey is the key of the password in the Secret, if it is not password.
	// +optional
	PasswordKey string `json:"passwordKey,omitempty"`
	// TLSSecretName of the Secret with ca.crt, tls.crt and tls.key, if it is another Secret.
	// +optional
	TLSSecretName string `json:"tlsSecretName,omitempty"`
	// ImagePullSecrets of the pods of the database.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`
}
