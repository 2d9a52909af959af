package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AddonSpec holds the tasks of an Addon.
type AddonSpec struct {
	// BackupTasks that a session may name.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	BackupTasks []Task `json:"backupTasks,omitempty"`

	// RestoreTasks that a RestoreSession may name.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	RestoreTasks []Task `json:"restoreTasks,omitempty"`
}

// Task is one way to move the data of one sort of target.
type Task struct {
	// Name of the task.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// Function that does it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Function string `json:"function"`

	// Driver that keeps the data.
	// +optional
	// +kubebuilder:default=Kopia
	Driver Driver `json:"driver,omitempty"`

	// Executor that runs it.
	// +optional
	// +kubebuilder:default=Job
	// +kubebuilder:validation:Enum=Job
	Executor string `json:"executor,omitempty"`

	// Parameters that a policy may set.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Parameters []Parameter `json:"parameters,omitempty"`
}

// Parameter of a task.
type Parameter struct {
	// Name of the parameter.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^[A-Za-z_][A-Za-z0-9_]*$"
	Name string `json:"name"`

	// Usage says what it is for.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Usage string `json:"usage,omitempty"`

	// Required parameters must be set by the policy.
	// +optional
	Required bool `json:"required,omitempty"`

	// Default value.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Default string `json:"default,omitempty"`
}

// Addon says how the data of one sort of target is moved.
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,categories=cairn
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Addon struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec AddonSpec `json:"spec"`
}

// AddonList is a list of Addons.
// +kubebuilder:object:root=true
type AddonList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Addon `json:"items"`
}

// FunctionSpec is the container that does a task.
type FunctionSpec struct {
	// Image of the container. ${moverImage} is the mover of this installation.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Image string `json:"image"`

	// Args of the container. ${name} stands for a parameter of the task or for one of moverImage, namespace,
	// backupSession, restoreSession, snapshot, invokerKind, invokerName, targetKind, targetName; ${name:=value} and
	// ${name:-value} have a default. Any other name is an error. No shell reads them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=1024
	Args []string `json:"args,omitempty"`
}

// Function is a container that does a task of an Addon.
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,shortName=fn,categories=cairn
// +kubebuilder:printcolumn:name="Image",type=string,JSONPath=`.spec.image`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Function struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec FunctionSpec `json:"spec"`
}

// FunctionList is a list of Functions.
// +kubebuilder:object:root=true
type FunctionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Function `json:"items"`
}
