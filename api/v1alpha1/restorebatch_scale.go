package v1alpha1

import (
	"k8s.io/apimachinery/pkg/types"
)

// ScaleDown names a workload that has no pods while targets are restored.
type ScaleDown struct {
	// Kind of the workload.
	// +required
	// +kubebuilder:validation:Enum=Deployment;StatefulSet
	Kind string `json:"kind"`

	// Name of the workload.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Replicas that it has after the restore. The default is what it had before.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Replicas *int32 `json:"replicas,omitempty"`
}

// ScalePhase says how far a workload of spec.scaleDown is.
// +kubebuilder:validation:Enum=Pending;Down;ScalingUp;Up;Left;Disturbed
type ScalePhase string

const (
	// ScalePending is a workload that is to be scaled down, or whose pods have not ended yet.
	ScalePending ScalePhase = "Pending"
	// ScaleDownDone is a workload without pods.
	ScaleDownDone ScalePhase = "Down"
	// ScalingUp is a workload that is being given its replicas again. It is written before that is done: a manager that is ended in
	// between knows that nobody else did it.
	ScalingUp ScalePhase = "ScalingUp"
	// ScaleUpDone is a workload that has its replicas again.
	ScaleUpDone ScalePhase = "Up"
	// ScaleLeft is a workload that was left as it is; the message says why.
	ScaleLeft ScalePhase = "Left"
	// ScaleDisturbed is a workload that somebody scaled up while it was to have no pods; the message says so.
	ScaleDisturbed ScalePhase = "Disturbed"
)

// ScaledWorkload is a workload of spec.scaleDown.
type ScaledWorkload struct {
	// Kind of the workload.
	Kind string `json:"kind"`
	// Name of the workload.
	Name string `json:"name"`
	// UID of the workload.
	UID types.UID `json:"uid"`
	// Before is how many replicas it had before the restore.
	Before int32 `json:"before"`
	// Replicas that it has after the restore.
	Replicas int32 `json:"replicas"`
	// Generation of the workload when the restore began, then that when its pods had ended. Another one at the end of the restore says
	// that somebody changed it, and may have scaled it up meanwhile.
	// +optional
	Generation int64 `json:"generation,omitempty"`
	// Phase of the workload.
	Phase ScalePhase `json:"phase"`
	// Message says why it was left as it is, and what to do.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// String is the workload's kind and name, such as Deployment/web.
func (w *ScaledWorkload) String() string { return w.Kind + "/" + w.Name }
