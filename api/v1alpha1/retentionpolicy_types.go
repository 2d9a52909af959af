package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RetentionPolicySpec says which Snapshots of a Repository stay. The newest one that succeeded always does.
// +kubebuilder:validation:XValidation:rule="has(self.maxRetentionPeriod) || has(self.successfulSnapshots)",message="a RetentionPolicy needs maxRetentionPeriod, successfulSnapshots or both"
type RetentionPolicySpec struct {
	// MaxRetentionPeriod is the age at which a Snapshot goes, whatever else is said: numbers with the units y, mo, w, d, h
	// and m (minutes), for example 1y6mo. A month has 30 days, a year 365.
	// +optional
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern="^([0-9]{1,9}(y|mo|w|d|h|m))+$"
	// +kubebuilder:validation:XValidation:rule="self.matches('[1-9]')",message="the period is longer than zero"
	MaxRetentionPeriod string `json:"maxRetentionPeriod,omitempty"`

	// UsagePolicy says which namespaces may use this policy. The default is its own namespace only.
	// +optional
	UsagePolicy *UsagePolicy `json:"usagePolicy,omitempty"`

	// Default makes this the RetentionPolicy of backends that name none: in its own namespace, and in those that its
	// usagePolicy allows and that have no default of their own. Of two defaults in a namespace the older one counts, and of
	// two that other namespaces may use the one that names them by a selector. What a new default lets go of a Repository is
	// removed a day later: see status.defaultRetention there.
	// +optional
	Default bool `json:"default,omitempty"`

	// SuccessfulSnapshots says which of the Snapshots that succeeded stay: those that at least one of its rules keeps.
	// Without it all stay that are younger than maxRetentionPeriod.
	// +optional
	SuccessfulSnapshots *SuccessfulSnapshotsKeepPolicy `json:"successfulSnapshots,omitempty"`

	// FailedSnapshots says which of the Snapshots that failed stay.
	// +optional
	// +kubebuilder:default={last: 1}
	FailedSnapshots *FailedSnapshotsKeepPolicy `json:"failedSnapshots,omitempty"`

	// TimeZone in which hours, days, weeks, months and years begin, for example Europe/Berlin. The default is UTC.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	TimeZone *string `json:"timeZone,omitempty"`
}

// SuccessfulSnapshotsKeepPolicy are rules that keep Snapshots which succeeded. Each counts only the hours, days and so on
// in which there is such a Snapshot, and keeps the newest of each.
// +kubebuilder:validation:XValidation:rule="has(self.last) && self.last > 0 || has(self.hourly) && self.hourly > 0 || has(self.daily) && self.daily > 0 || has(self.weekly) && self.weekly > 0 || has(self.monthly) && self.monthly > 0 || has(self.yearly) && self.yearly > 0",message="successfulSnapshots needs a number above zero: leave it out to keep all"
type SuccessfulSnapshotsKeepPolicy struct {
	// Last is how many of the newest stay.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Last *int32 `json:"last,omitempty"`
	// Hourly is for how many hours the newest of the hour stays.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Hourly *int32 `json:"hourly,omitempty"`
	// Daily is for how many days the newest of the day stays.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Daily *int32 `json:"daily,omitempty"`
	// Weekly is for how many weeks the newest of the week stays. Weeks begin on Monday (ISO 8601).
	// +optional
	// +kubebuilder:validation:Minimum=0
	Weekly *int32 `json:"weekly,omitempty"`
	// Monthly is for how many months the newest of the month stays.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Monthly *int32 `json:"monthly,omitempty"`
	// Yearly is for how many years the newest of the year stays.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Yearly *int32 `json:"yearly,omitempty"`
}

// FailedSnapshotsKeepPolicy keeps Snapshots that failed, so that their errors can be looked at.
type FailedSnapshotsKeepPolicy struct {
	// Last is how many of the newest stay.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	Last *int32 `json:"last,omitempty"`
}

// RetentionPolicyStatus says whether the policy can be used.
type RetentionPolicyStatus struct {
	// ObservedGeneration is the last generation that was reconciled.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready, Stalled where the spec can't work, and while it matters DefaultIgnored.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// RetentionPolicy says how long Snapshots are kept. It is applied to each Repository whose BackupConfigurations name it,
// and as a default to those whose name none.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=rp,categories=cairn
// +kubebuilder:printcolumn:name="Max-Retention-Period",type=string,JSONPath=`.spec.maxRetentionPeriod`
// +kubebuilder:printcolumn:name="Default",type=boolean,JSONPath=`.spec.default`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type RetentionPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec RetentionPolicySpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	Status RetentionPolicyStatus `json:"status,omitempty"`
}

// GetConditions returns the conditions, for fluxcd/pkg/runtime.
func (p *RetentionPolicy) GetConditions() []metav1.Condition { return p.Status.Conditions }

// SetConditions replaces the conditions, for fluxcd/pkg/runtime.
func (p *RetentionPolicy) SetConditions(c []metav1.Condition) { p.Status.Conditions = c }

// RetentionPolicyList is a list of RetentionPolicies.
// +kubebuilder:object:root=true
type RetentionPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []RetentionPolicy `json:"items"`
}
