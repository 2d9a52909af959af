package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RetentionPolicySpec defines which Snapshots of a Repository are kept. Each session of each BackupConfiguration that
// uses the Repository is counted alone. Its newest successful Snapshot is always kept.
// +kubebuilder:validation:XValidation:rule="has(self.maxRetentionPeriod) || has(self.successfulSnapshots)",message="a RetentionPolicy needs maxRetentionPeriod, successfulSnapshots or both"
type RetentionPolicySpec struct {
	// MaxRetentionPeriod is the age at which a Snapshot is removed, whatever the other fields keep. It consists of
	// numbers with the units y, mo, w, d, h and m (minutes), for example 1y6mo. A month has 30 days, a year 365.
	// Without it, age does not matter.
	// +optional
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern="^([0-9]{1,9}(y|mo|w|d|h|m))+$"
	// +kubebuilder:validation:XValidation:rule="self.matches('[1-9]')",message="the period must be longer than zero"
	MaxRetentionPeriod string `json:"maxRetentionPeriod,omitempty"`

	// UsagePolicy defines which namespaces can use this policy. The default is only its own namespace.
	// +optional
	UsagePolicy *UsagePolicy `json:"usagePolicy,omitempty"`

	// Default makes this the RetentionPolicy of backends that name none, in its own namespace. If this is a namespace
	// of the administrators (--admin-namespaces of the manager), it also holds in the namespaces that its usagePolicy
	// allows and that have no default of their own. If a namespace has two defaults, the older one counts. If two
	// defaults of administrators allow a namespace, the one that allows it by selector goes before the one that allows
	// all, then the older one. Snapshots that a new default removes stay for one more day: see status.defaultRetention
	// of the Repository.
	// +optional
	Default bool `json:"default,omitempty"`

	// SuccessfulSnapshots defines which successful Snapshots are kept: those that at least one rule keeps. Without it,
	// all that are younger than maxRetentionPeriod are kept.
	// +optional
	SuccessfulSnapshots *SuccessfulSnapshotsKeepPolicy `json:"successfulSnapshots,omitempty"`

	// FailedSnapshots defines which failed Snapshots are kept.
	// +optional
	// +kubebuilder:default={last: 1}
	FailedSnapshots *FailedSnapshotsKeepPolicy `json:"failedSnapshots,omitempty"`

	// TimeZone in which hours, days, weeks, months and years begin, for example Europe/Berlin. The default is UTC.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	TimeZone *string `json:"timeZone,omitempty"`
}

// SuccessfulSnapshotsKeepPolicy contains the rules that keep successful Snapshots. Each rule counts only hours, days
// and so on that have a successful Snapshot, and keeps the newest Snapshot of each. A rule that is left out keeps
// nothing.
// +kubebuilder:validation:XValidation:rule="has(self.last) && self.last > 0 || has(self.hourly) && self.hourly > 0 || has(self.daily) && self.daily > 0 || has(self.weekly) && self.weekly > 0 || has(self.monthly) && self.monthly > 0 || has(self.yearly) && self.yearly > 0",message="successfulSnapshots needs a number above zero: leave successfulSnapshots out to keep all"
type SuccessfulSnapshotsKeepPolicy struct {
	// Last is how many of the newest Snapshots are kept.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Last *int32 `json:"last,omitempty"`
	// Hourly is for how many hours the newest Snapshot of the hour is kept.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Hourly *int32 `json:"hourly,omitempty"`
	// Daily is for how many days the newest Snapshot of the day is kept.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Daily *int32 `json:"daily,omitempty"`
	// Weekly is for how many weeks the newest Snapshot of the week is kept. Weeks begin on Monday (ISO 8601).
	// +optional
	// +kubebuilder:validation:Minimum=0
	Weekly *int32 `json:"weekly,omitempty"`
	// Monthly is for how many months the newest Snapshot of the month is kept.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Monthly *int32 `json:"monthly,omitempty"`
	// Yearly is for how many years the newest Snapshot of the year is kept.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Yearly *int32 `json:"yearly,omitempty"`
}

// FailedSnapshotsKeepPolicy keeps failed Snapshots, so that their errors can be examined.
type FailedSnapshotsKeepPolicy struct {
	// Last is how many of the newest Snapshots are kept.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	Last *int32 `json:"last,omitempty"`
}

// RetentionPolicyStatus is the observed state of the policy.
type RetentionPolicyStatus struct {
	// ObservedGeneration is the last generation that was reconciled.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready; Stalled if the spec can't work; DefaultIgnored while it matters.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// RetentionPolicy defines how long Snapshots are kept. It applies to each Repository whose BackupConfigurations name it
// and, as a default, to Repositories whose BackupConfigurations name none.
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
