package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AddonSpec defines the tasks of an Addon.
type AddonSpec struct {
	// BackupTasks are the tasks that a session can name.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	BackupTasks []Task `json:"backupTasks,omitempty"`

	// RestoreTasks are the tasks that a RestoreSession can name.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	RestoreTasks []Task `json:"restoreTasks,omitempty"`
}

// Task is one way to move the data of one sort of target: an ordered list of steps. The last step is the mover, and its
// result is the task's. When an earlier step fails, the task ends there.
// +kubebuilder:validation:XValidation:rule="has(self.function) != has(self.steps)",message="a task has either a function or steps"
type Task struct {
	// Name of the task.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// Function that carries out the task. A task of several steps has steps instead.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Function string `json:"function,omitempty"`

	// Steps of the task. They run one after the other. The last step is the mover.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="!has(self[size(self)-1].targetAccess)",message="the last step is the mover: leave targetAccess out"
	Steps []TaskStep `json:"steps,omitempty"`

	// Singleton makes one Job carry out the task for the whole target. Without it, each pod of a StatefulSet and each
	// node of a DaemonSet has a Job of its own.
	// +optional
	Singleton bool `json:"singleton,omitempty"`

	// Driver that keeps the data.
	// +optional
	// +kubebuilder:default=Kopia
	Driver Driver `json:"driver,omitempty"`

	// Executor that runs the task when a policy names none: Job, or Sidecar for a workload.
	// +optional
	// +kubebuilder:default=Job
	Executor Executor `json:"executor,omitempty"`

	// Parameters that a policy can set.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Parameters []TaskParameter `json:"parameters,omitempty"`

	// VolumeTemplate lists the volumes that the task brings along. A policy's addonVolumes override them by name.
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

// TargetAccess is the access that a step has to the volumes of the target.
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

	// Params of this step alone. They override the defaults of the task's parameters. The policy's params and variables
	// override them. A value can contain ${name}.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Params []StepParam `json:"params,omitempty"`

	// TargetAccess is the access that the step has to the volumes of the target, at /cairn/volumes/<component>. The
	// default is ReadOnly in a backup and ReadWrite in a restore.
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

	// Requires names other parameters of the task that this one depends on. A policy that sets this parameter must set
	// those too, unless the Addon or the target itself sets them.
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

	// Usage explains the purpose to users.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Usage string `json:"usage,omitempty"`

	// Required parameters must be set by the policy. The default is false.
	// +optional
	Required bool `json:"required,omitempty"`

	// Default value.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Default string `json:"default,omitempty"`
}

// Addon defines how the data of one sort of target is moved.
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

// FunctionSpec is the container that carries out a task or a step of a task.
//
// In every string ${name} stands for a variable: a built-in variable (moverImage, imageRegistry, imageRepo, imageTag,
// namespace, backupSession, restoreSession, backupVerificationSession, snapshot, invokerKind, invokerName, targetKind,
// targetName, targetHost, targetPort, targetImage, targetVersion, targetDatabase, confirm, taskName, PVC_NAME,
// DB_VERSION, enableCache, interimDataDir, scratchDir, licenseApiService, RESTIC_CACHE_VOLUME, INTERIM_VOLUME), a
// parameter of the task, or a variable of the policy. ${name:=value} and ${name:-value} stand for value when name is
// unknown or empty, ${name=value} when name is unknown. Any other unknown name is an error before anything runs. No
// shell reads the result.
// +kubebuilder:validation:XValidation:rule="!has(self.stream) || !has(self.command) || size(self.command) == 0",message="a Function with a stream has no command: the mover runs stream.command, and args are the arguments of the mover"
type FunctionSpec struct {
	// Image of the container. ${moverImage} is the mover of this installation. ${targetImage} is the image that the
	// target, a database, runs. ${DB_VERSION} is the entry of availableVersions that fits the target's version best.
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

	// WorkingDir of the container. The default is the working directory of the image.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	WorkingDir string `json:"workingDir,omitempty"`

	// Ports that the container listens on.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(p, !has(p.hostPort) || p.hostPort == 0)",message="hostPort can't be set: a Function has no access to the node's network"
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

	// Stream makes the mover run a program of this image, such as pg_dump, and back up its output. The program runs in
	// a container of its own, without the mover's keys, and args are the arguments of the mover. Only for the last step
	// of a task whose target is a database.
	// +optional
	Stream *FunctionStream `json:"stream,omitempty"`

	// RuntimeSettings of the container.
	// +optional
	RuntimeSettings *ContainerRuntimeSettings `json:"runtimeSettings,omitempty"`

	// AvailableVersions are the possible values of ${DB_VERSION}. Cairn takes the newest one that is not newer than the
	// target's version if its major version is the same. Otherwise it takes the next newer one, and if there is none
	// the closest one.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=64
	AvailableVersions []string `json:"availableVersions,omitempty"`
}

// Function is a container that carries out a task of an Addon, or a step of a task.
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
