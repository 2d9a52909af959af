package v1alpha1

import (
	"k8s.io/apimachinery/pkg/types"
)

// ScaleDown names a workload that is scaled to 0 while targets are restored.
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

	// Replicas of the workload after the restore. The default is the number before the restore.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Replicas *int32 `json:"replicas,omitempty"`
}

// ScalePhase is the progress of a workload of spec.scaleDown.
// +kubebuilder:validation:Enum=Pending;Down;ScalingUp;Up;Left;Disturbed
type ScalePhase string

const (
	// ScalePending means that the workload still has to be scaled down, or that its pods have not ended yet.
	ScalePending ScalePhase = "Pending"
	// ScaleDownDone means that the workload has no pods.
	ScaleDownDone ScalePhase = "Down"
	// ScalingUp means that the workload is about to be scaled up. It is written first: a manager that restarts in
	// between knows that nobody else scaled the workload up.
	ScalingUp ScalePhase = "ScalingUp"
	// ScaleUpDone means that the workload has its replicas again.
	ScaleUpDone ScalePhase = "Up"
	// ScaleLeft means that the workload was left as it is. The message explains why.
	ScaleLeft ScalePhase = "Left"
	// ScaleDisturbed means that somebody changed or scaled up the workload while it was to have no pods. The message
	// explains the risk.
	ScaleDisturbed ScalePhase = "Disturbed"
)

// ScaledWorkload is the state of a workload of spec.scaleDown.
type ScaledWorkload struct {
	// Kind of the workload.
	Kind string `json:"kind"`
	// Name of the workload.
	Name string `json:"name"`
	// UID of the workload.
	UID types.UID `json:"uid"`
	// Before is the number of replicas before the restore.
	Before int32 `json:"before"`
	// Replicas of the workload after the restore.
	Replicas int32 `json:"replicas"`
	// Generation of the workload when the restore began, and from the end of its pods the generation at that time.
	// Another generation at the end of the restore shows that somebody changed the workload and may have scaled it up
	// meanwhile.
	// +optional
	Generation int64 `json:"generation,omitempty"`
	// Phase of the workload.
	Phase ScalePhase `json:"phase"`
	// Message explains why it was left as it is, and what to do.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// String returns the workload's kind and name, for example Deployment/web.
func (w *ScaledWorkload) String() string { return w.Kind + "/" + w.Name }
