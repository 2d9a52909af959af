package v1alpha1

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TargetHooks run before and after the backup of one target of a batch.
type TargetHooks struct {
	// PreBackup hooks run one after the other before the target is backed up. If one fails, only this target fails.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="self.all(h, !has(h.executionPolicy) || h.executionPolicy == 'Always')",message="a hook that runs before always runs: set executionPolicy only for hooks that run afterwards"
	PreBackup []TargetHook `json:"preBackup,omitempty"`

	// PostBackup hooks run one after the other when a target that was started has ended in any way: success, failure,
	// cancellation, a failed preBackup hook or a timeout. A hook that fails does not stop the hooks after it. It fails
	// the target, but the backed-up data stays.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	PostBackup []TargetHook `json:"postBackup,omitempty"`
}

// TargetHook uses a HookTemplate around one target. If the HookTemplate chooses no pods, they are the pods of the
// target. Volumes of a Function are those of the HookTemplate.
type TargetHook struct {
	// Name of the hook. The hooks of the session and of its targets must have different names.
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

	// ExecutionPolicy is the outcome of the target after which a post hook runs.
	// +optional
	// +kubebuilder:default=Always
	ExecutionPolicy HookExecutionPolicy `json:"executionPolicy,omitempty"`

	// Variables that ${name} stands for in the template, beside its params, as in the hooks of the session.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Variables []HookVariable `json:"variables,omitempty"`
}

// BackupHooks converts the hooks to the form of a session's hooks. It returns nil if there are none.
func (h *TargetHooks) BackupHooks() *BackupHooks {
	if h == nil || len(h.PreBackup)+len(h.PostBackup) == 0 {
		return nil
	}
	return &BackupHooks{PreBackup: infos(h.PreBackup), PostBackup: infos(h.PostBackup)}
}

func infos(hooks []TargetHook) []HookInfo {
	var out []HookInfo
	for i := range hooks {
		h := hooks[i].DeepCopy()
		out = append(out, HookInfo{
			Name: h.Name, HookTemplate: h.HookTemplate, Params: h.Params, MaxRetry: h.MaxRetry, Timeout: h.Timeout,
			ExecutionPolicy: h.ExecutionPolicy, Variables: h.Variables,
		})
	}
	return out
}
