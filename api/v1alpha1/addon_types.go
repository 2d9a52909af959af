package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
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

// Task is one way to move the data of one sort of target: an ordered list of steps. The last one is the mover, whose result
// counts; a step before it that fails ends the task.
// +kubebuilder:validation:XValidation:rule="has(self.function) != has(self.steps)",message="a task has either a function, or steps"
type Task struct {
	// Name of the task.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// Function that does it. A task of several steps has steps instead.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Function string `json:"function,omitempty"`

	// Steps that do it, one after the other. The last one is the mover.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="!has(self[size(self)-1].targetAccess)",message="the last step is the mover: it has no targetAccess"
	Steps []TaskStep `json:"steps,omitempty"`

	// Singleton tasks run in one Job for the whole target. The others run in one Job for each pod of a StatefulSet, and for each
	// node of a DaemonSet.
	// +optional
	Singleton bool `json:"singleton,omitempty"`

	// Driver that keeps the data.
	// +optional
	// +kubebuilder:default=Kopia
	Driver Driver `json:"driver,omitempty"`

	// Executor that runs it where a policy names none: Job, or Sidecar for a workload.
	// +optional
	// +kubebuilder:default=Job
	Executor Executor `json:"executor,omitempty"`

	// Parameters that a policy may set.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Parameters []TaskParameter `json:"parameters,omitempty"`

	// VolumeTemplate holds the volumes that the task brings along. A policy's addonVolumes override them by name.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	VolumeTemplate []VolumeTemplate `json:"volumeTemplate,omitempty"`

	// VolumeMounts of those volumes, in every container of the task.
	// +optional
	// +listType=map
	// +listMapKey=mountPath
	// +kubebuilder:validation:MaxItems=16
	VolumeMounts []corev1.VolumeMount `json:"volumeMounts,omitempty"`
}

// Executor is what runs the mover of a task: a Job, or the sidecar in the pods of the workload.
// +kubebuilder:validation:Enum=Job;Sidecar
type Executor string

// The values of Executor.
const (
	ExecutorJob     Executor = "Job"
	ExecutorSidecar Executor = "Sidecar"
)

// TargetAccess is how a step sees the volumes of the target.
// +kubebuilder:validation:Enum=None;ReadOnly;ReadWrite
type TargetAccess string

// The values of TargetAccess.
const (
	TargetAccessNone      TargetAccess = "None"
	TargetAccessReadOnly  TargetAccess = "ReadOnly"
	TargetAccessReadWrite TargetAccess = "ReadWrite"
)

// TaskStep is one container of a task.
type TaskStep struct {
	// Name of the Function.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Params of this step alone. They come before the defaults of the task's parameters; what a policy says in params and
	// variables comes before them. A value may hold ${name}.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Params []StepParam `json:"params,omitempty"`

	// TargetAccess says how the step sees the volumes of the target, at /cairn/volumes/<component>. The default is ReadOnly in
	// a backup and ReadWrite in a restore.
	// +optional
	TargetAccess TargetAccess `json:"targetAccess,omitempty"`
}

// StepParam is a parameter of one step.
type StepParam struct {
	// Name of the parameter.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^[A-Za-z_][A-Za-z0-9_]*$"
	Name string `json:"name"`

	// Value of the parameter.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Value string `json:"value,omitempty"`
}

// TaskParameter is a parameter of a task.
type TaskParameter struct {
	Parameter `json:",inline"`

	// Requires names parameters of the task without which this one means nothing: a policy that gives it a value must give one to
	// each of them, unless the Addon or the target itself does.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=63
	Requires []string `json:"requires,omitempty"`
}

// Parameter of a task or of a HookTemplate.
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

// FunctionSpec is a container that does a task, or a step of one.
//
// In every string ${name} stands for a variable: a built-in one (moverImage, imageRegistry, imageRepo, imageTag, namespace,
// backupSession, restoreSession, backupVerificationSession, snapshot, invokerKind, invokerName, targetKind, targetName, targetHost,
// targetPort, targetImage, targetVersion, targetDatabase, confirm, taskName, PVC_NAME, DB_VERSION, enableCache, interimDataDir, scratchDir, licenseApiService, RESTIC_CACHE_VOLUME,
// INTERIM_VOLUME), a parameter of the task, or a variable of the policy. ${name:=value} and ${name:-value} stand for value where
// name is unknown or empty, ${name=value} where it is unknown. Any other unknown name is an error before anything runs. No
// shell reads the result.
// +kubebuilder:validation:XValidation:rule="!has(self.stream) || !has(self.command) || size(self.command) == 0",message="a Function with a stream has no command: the mover runs stream.command, and args are the mover's"
type FunctionSpec struct {
	// Image of the container. ${moverImage} is the mover of this installation, ${targetImage} the image that the target, a
	// database, runs, ${DB_VERSION} the one of availableVersions that fits the target's version best.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Image string `json:"image"`

	// Command of the container. The default is the image's entry point.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=65536
	Command []string `json:"command,omitempty"`

	// Args of the container.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=1024
	Args []string `json:"args,omitempty"`

	// WorkingDir of the container. The default is the image's.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	WorkingDir string `json:"workingDir,omitempty"`

	// Ports that the container listens on.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(p, !has(p.hostPort) || p.hostPort == 0)",message="hostPort can't be set: a Function has no part of the host's network"
	Ports []corev1.ContainerPort `json:"ports,omitempty"`

	// VolumeMounts of the container: volumes of the task, by name.
	// +optional
	// +listType=map
	// +listMapKey=mountPath
	// +kubebuilder:validation:MaxItems=32
	VolumeMounts []corev1.VolumeMount `json:"volumeMounts,omitempty"`

	// VolumeDevices of the container: volumes of the task that are used as raw block devices.
	// +optional
	// +listType=map
	// +listMapKey=devicePath
	// +kubebuilder:validation:MaxItems=16
	VolumeDevices []corev1.VolumeDevice `json:"volumeDevices,omitempty"`

	// Stream makes the mover run a program of this image, such as pg_dump, and keep what it writes. args are those of the mover
	// then, which an init container copies into the image. It is for the last step of a task whose target is a database.
	// +optional
	Stream *FunctionStream `json:"stream,omitempty"`

	// RuntimeSettings of the container.
	// +optional
	RuntimeSettings *ContainerRuntimeSettings `json:"runtimeSettings,omitempty"`

	// AvailableVersions are the values that ${DB_VERSION} may have. The closest one that is not newer than the target's version
	// is taken if it has the same major version, else the next newer one, else the closest.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=64
	AvailableVersions []string `json:"availableVersions,omitempty"`
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
