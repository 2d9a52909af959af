package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// RetryConfig defines how often and when something that failed is retried.
type RetryConfig struct {
	// MaxRetry is the number of attempts after the first.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	MaxRetry int32 `json:"maxRetry,omitempty"`

	// Delay between a failure and the next attempt. The default is no delay.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	Delay metav1.Duration `json:"delay,omitempty"`
}
