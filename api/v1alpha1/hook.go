package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// BackupHooks run before and after a backup. In a batch they run around the backup of all targets: preBackup before the
// first target starts, postBackup after all have ended.
type BackupHooks struct {
	// PreBackup hooks run one after the other before anything is backed up. If one fails, the backup does not start.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(h, !has(h.executionPolicy) || h.executionPolicy == 'Always')",message="a hook that runs before always runs: set executionPolicy only for hooks that run afterwards"
	PreBackup []HookInfo `json:"preBackup,omitempty"`

	// PostBackup hooks run one after the other when the backup has ended in any way: success, failure, cancellation, a
	// failed preBackup hook or the timeout. A hook that fails does not stop the hooks after it. It fails the run, but
	// the backed-up data stays.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	PostBackup []HookInfo `json:"postBackup,omitempty"`
}

// RestoreHooks run before and after a restore.
type RestoreHooks struct {
	// PreRestore hooks run one after the other before anything is restored. If one fails, the restore does not start.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(h, !has(h.executionPolicy) || h.executionPolicy == 'Always')",message="a hook that runs before always runs: set executionPolicy only for hooks that run afterwards"
	PreRestore []HookInfo `json:"preRestore,omitempty"`

	// PostRestore hooks run one after the other when the restore has ended in any way: success, failure, cancellation,
	// a failed preRestore hook or the timeout. A hook that fails does not stop the hooks after it. It fails the
	// restore.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	PostRestore []HookInfo `json:"postRestore,omitempty"`
}

// HookExecutionPolicy is the outcome after which a post hook runs. A pre hook always runs.
// +kubebuilder:validation:Enum=Always;OnSuccess;OnFailure;OnFinalRetryFailure
type HookExecutionPolicy string

// The values of HookExecutionPolicy.
const (
	// HookAlways runs the hook whatever the outcome.
	HookAlways HookExecutionPolicy = "Always"
	// HookOnSuccess runs the hook if everything was backed up or restored.
	HookOnSuccess HookExecutionPolicy = "OnSuccess"
	// HookOnFailure runs the hook if something was not backed up or restored.
	HookOnFailure HookExecutionPolicy = "OnFailure"
	// HookOnFinalRetryFailure runs the hook if something was not backed up or restored and no retry follows.
	HookOnFinalRetryFailure HookExecutionPolicy = "OnFinalRetryFailure"
)

// HookInfo uses a HookTemplate in a session.
type HookInfo struct {
	// Name of the hook.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
	Name string `json:"name"`

	// HookTemplate to run. Its usagePolicy must allow this namespace.
	// +required
	HookTemplate *ObjectReference `json:"hookTemplate"`

	// Params by the names that the HookTemplate declares. All values are strings.
	// +optional
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Params *apiextensionsv1.JSON `json:"params,omitempty"`

	// MaxRetry is how often the hook is retried when it fails. The default is 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=20
	MaxRetry int32 `json:"maxRetry,omitempty"`

	// Timeout of one attempt.
	// +optional
	// +kubebuilder:default="10m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="the timeout of a hook must be at least 1s and at most 24h"
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// ExecutionPolicy is the outcome after which a post hook runs.
	// +optional
	// +kubebuilder:default=Always
	ExecutionPolicy HookExecutionPolicy `json:"executionPolicy,omitempty"`

	// Variables that ${name} stands for in the template, beside its params. Values from a Secret or ConfigMap of this
	// namespace are read when the hook runs. A Secret's value is allowed in a request, not in a command. A Function has
	// all variables in its environment, and ${name} stands for those with a value.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	Variables []HookVariable `json:"variables,omitempty"`

	// Volumes of this namespace, beside those of the HookTemplate, for example the claim that is backed up. Only for
	// executor type Function.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Volumes []Volume `json:"volumes,omitempty"`

	// VolumeMounts of the Function's container, beside those of the HookTemplate. Only for executor type Function.
	// +optional
	// +listType=map
	// +listMapKey=mountPath
	// +kubebuilder:validation:MaxItems=16
	VolumeMounts []corev1.VolumeMount `json:"volumeMounts,omitempty"`

	// RuntimeSettings of the Job's pod. Only for executor type Function.
	// +optional
	RuntimeSettings *HookRuntimeSettings `json:"runtimeSettings,omitempty"`
}

// HookVariable is a variable of a hook.
// +kubebuilder:validation:XValidation:rule="!has(self.value) || !has(self.valueFrom)",message="a variable has a value or a valueFrom, not both"
type HookVariable struct {
	// Name of the variable.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^[A-Za-z_][A-Za-z0-9_]*$"
	Name string `json:"name"`
	// Value of the variable.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Value string `json:"value,omitempty"`
	// ValueFrom is the source of the value.
	// +optional
	ValueFrom *HookVariableSource `json:"valueFrom,omitempty"`
}

// HookVariableSource is a key of a Secret or ConfigMap.
// +kubebuilder:validation:XValidation:rule="has(self.secretKeyRef) != has(self.configMapKeyRef)",message="valueFrom must have exactly one of secretKeyRef and configMapKeyRef"
type HookVariableSource struct {
	// SecretKeyRef names a key of a Secret of this namespace.
	// +optional
	SecretKeyRef *KeySelector `json:"secretKeyRef,omitempty"`
	// ConfigMapKeyRef names a key of a ConfigMap of this namespace.
	// +optional
	ConfigMapKeyRef *KeySelector `json:"configMapKeyRef,omitempty"`
}

// KeySelector names a key of an object of the same namespace.
type KeySelector struct {
	// Name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Key in the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`
}

// HookPhase is the progress of a hook.
// +kubebuilder:validation:Enum=Pending;Running;Succeeded;Failed;Skipped
type HookPhase string

// The phases of a hook. Succeeded, Failed and Skipped are terminal.
const (
	HookPending   HookPhase = "Pending"
	HookRunning   HookPhase = "Running"
	HookSucceeded HookPhase = "Succeeded"
	HookFailed    HookPhase = "Failed"
	HookSkipped   HookPhase = "Skipped"
)

// Terminal reports whether the phase never changes again.
func (p HookPhase) Terminal() bool {
	return p == HookSucceeded || p == HookFailed || p == HookSkipped
}

// HookStatuses are the hooks of a run or restore and their results.
type HookStatuses struct {
	// PreHooks in the order in which they run.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	PreHooks []HookStatus `json:"preHooks,omitempty"`

	// PostHooks in the order in which they run.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	PostHooks []HookStatus `json:"postHooks,omitempty"`
}

// HookStatus is the progress and result of a hook.
type HookStatus struct {
	// Name of the hook.
	Name string `json:"name"`
	// Phase of the hook. It is Skipped if its executionPolicy or an earlier failure kept it from running.
	// +optional
	Phase HookPhase `json:"phase,omitempty"`
	// Attempts that were started. An attempt that a stop of the manager interrupted is repeated under its number, and
	// so is one of a post hook that could not begin.
	// +optional
	Attempts int32 `json:"attempts,omitempty"`
	// StartTime of the last attempt.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// CompletionTime of the last attempt.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
	// Reason for a failure or a wait, in one word.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Reason string `json:"reason,omitempty"`
	// Message explains what happened, or what the hook waits for, and what to do. It contains no output of the hook.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// Job of the last attempt, for executor type Function. Empty until the Job exists.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Job string `json:"job,omitempty"`
	// Pod in which the hook acts, for executor type Pod with strategy ExecuteOnOne. It is written before the hook acts.
	// Further attempts, and later hooks that choose among the same pods, act in it as long as it runs.
	// +optional
	Pod *HookPod `json:"pod,omitempty"`
	// Stderr is the end of the standard error of a command that failed, or of the log of a Function that failed. If the
	// container of a Function could not be started, it is what the container runtime said. Events and records do not
	// contain it.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Stderr string `json:"stderr,omitempty"`
}

// HookPod is a pod in which a hook acts.
type HookPod struct {
	// Name of the pod.
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// UID of the pod.
	UID types.UID `json:"uid"`
	// Container in which the hook acts. Empty if nobody knows it, or if it did not run when the pod was chosen.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Container string `json:"container,omitempty"`
	// ContainerID is the beginning of the ID of that container. A container that is started again has another one.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	ContainerID string `json:"containerID,omitempty"`
	// Since is set if a hook after the work acts in another pod or container than one before it, or in its pod while
	// that terminates: what is older than this was made while all was as the earlier hook left it. It is when the new
	// pod was made, less its grace period, when the earlier one was told to end, or when the earlier container ended.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
}

// ResolvedHooks are the hooks of a run or restore, frozen when it started.
type ResolvedHooks struct {
	// Pre hooks in the order in which they run.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Pre []ResolvedHook `json:"pre,omitempty"`
	// Post hooks in the order in which they run.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Post []ResolvedHook `json:"post,omitempty"`
	// Targets whose pods the hooks run in when an executor names none.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=500
	Targets []TypedObjectReference `json:"targets,omitempty"`
}

// ResolvedHook is a hook with its template.
type ResolvedHook struct {
	// Name of the hook.
	Name string `json:"name"`
	// Template of the hook, with namespace.
	Template ObjectReference `json:"template"`
	// Action of the template.
	// +optional
	Action *HookAction `json:"action,omitempty"`
	// Executor of the template.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Executor HookExecutor `json:"executor"`
	// Function of the executor, for executor type Function.
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Function *ResolvedFunction `json:"function,omitempty"`
	// Values that ${name} stands for.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=128
	Values []HookValue `json:"values,omitempty"`
	// Variables whose values are read when the hook runs.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	Variables []HookVariable `json:"variables,omitempty"`
	// MaxRetry of the hook.
	// +optional
	MaxRetry int32 `json:"maxRetry,omitempty"`
	// Timeout of one attempt.
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// ExecutionPolicy of the hook.
	// +optional
	ExecutionPolicy HookExecutionPolicy `json:"executionPolicy,omitempty"`
}

// HookValue is the value of a parameter or variable.
type HookValue struct {
	// Name of it.
	Name string `json:"name"`
	// Value of it.
	// +optional
	Value string `json:"value,omitempty"`
}
