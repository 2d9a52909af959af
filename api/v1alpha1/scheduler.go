package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SchedulerType is what starts the runs of a schedule.
// +kubebuilder:validation:Enum=CronJob;Controller
type SchedulerType string

const (
	// SchedulerCronJob starts each run from a pod of a CronJob.
	SchedulerCronJob SchedulerType = "CronJob"
	// SchedulerController lets the manager start each run, without a pod.
	SchedulerController SchedulerType = "Controller"
)

// ConcurrencyPolicy is what happens to a run while another run of its session has not ended.
// +kubebuilder:validation:Enum=Allow;Forbid;Replace
type ConcurrencyPolicy string

// The values of ConcurrencyPolicy are those of a CronJob.
const (
	// ConcurrencyAllow runs both.
	ConcurrencyAllow ConcurrencyPolicy = "Allow"
	// ConcurrencyForbid skips the later one.
	ConcurrencyForbid ConcurrencyPolicy = "Forbid"
	// ConcurrencyReplace ends the earlier one first.
	ConcurrencyReplace ConcurrencyPolicy = "Replace"
)

// SchedulerSpec defines when a session runs.
type SchedulerSpec struct {
	// Schedule as a cron line of five fields, or @hourly and the like. A field can contain H, as in Jenkins: a number
	// that depends on the namespace and name of this object and on the name of the session, so that sessions with the
	// same line do not all start at once. H/15 is a step from such a number, H(0-29) a number in a range and H(0-29)/10
	// a step in a range. The resulting line is status.sessions[*].schedule.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Schedule string `json:"schedule"`

	// TimeZone of the schedule, for example Europe/Berlin. The default is UTC.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	TimeZone *string `json:"timeZone,omitempty"`

	// Type is CronJob (the default: a pod of a CronJob starts the run) or Controller (the manager starts the run,
	// without a pod). The other fields mean the same for both, but jobTemplate and the history limits only concern the
	// Jobs of the CronJob.
	// +optional
	Type SchedulerType `json:"type,omitempty"`

	// StartingDeadlineSeconds is how late after its slot a run is allowed to start. A run that would start later is
	// Skipped. The default is the time to the next slot, but at least 15 minutes.
	// +optional
	// +kubebuilder:validation:Minimum=10
	StartingDeadlineSeconds *int64 `json:"startingDeadlineSeconds,omitempty"`

	// ConcurrencyPolicy is what happens to a run while another run of this session has not ended: Allow (the default)
	// runs both, Forbid skips the later one, Replace ends the earlier one first.
	// +optional
	ConcurrencyPolicy ConcurrencyPolicy `json:"concurrencyPolicy,omitempty"`

	// Suspend stops the schedule. Runs in progress go on. The default is false.
	// +optional
	Suspend *bool `json:"suspend,omitempty"`

	// SuccessfulJobsHistoryLimit is how many successful Jobs of the CronJob are kept. The default is 3, for five
	// minutes.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	SuccessfulJobsHistoryLimit *int32 `json:"successfulJobsHistoryLimit,omitempty"`

	// FailedJobsHistoryLimit is how many failed Jobs of the CronJob are kept. The default is 1, for five minutes.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	FailedJobsHistoryLimit *int32 `json:"failedJobsHistoryLimit,omitempty"`

	// JobTemplate shapes the Jobs of the CronJob, which start runs. addon.jobTemplate shapes the Jobs that move data.
	// +optional
	JobTemplate *TriggerJobTemplate `json:"jobTemplate,omitempty"`
}

// SessionStatus is the state of one session of a policy object.
type SessionStatus struct {
	// Name of the session.
	Name string `json:"name"`

	// Schedule is the cron line with a number for each H, and its time zone unless it is UTC.
	// +optional
	Schedule string `json:"schedule,omitempty"`

	// ScheduledSince is when this schedule came into force. Earlier slots do not count as missed.
	// +optional
	ScheduledSince *metav1.Time `json:"scheduledSince,omitempty"`

	// OwedSlot is the first slot of an earlier schedule after the last success that had passed as the schedule changed.
	// The next success ends it. Until then the session is late once the last success is older than one period of the
	// present schedule.
	// +optional
	OwedSlot *metav1.Time `json:"owedSlot,omitempty"`

	// NextSchedule is the next slot.
	// +optional
	NextSchedule *metav1.Time `json:"nextSchedule,omitempty"`

	// LastScheduleTime is the newest slot that has, or had, a BackupSession.
	// +optional
	LastScheduleTime *metav1.Time `json:"lastScheduleTime,omitempty"`

	// LastMissedTime is the newest slot that is known to have passed without a BackupSession. While a schedule stands
	// still, only the first such slot counts.
	// +optional
	LastMissedTime *metav1.Time `json:"lastMissedTime,omitempty"`

	// LastSuccessTime is when the last successful run ended. For a retry it is the slot of the run that began its
	// restore point.
	// +optional
	LastSuccessTime *metav1.Time `json:"lastSuccessTime,omitempty"`

	// LastSuccessOf is a digest of the targets and repositories of the policy that this run has backed up. Protected
	// compares it with the policy once the run is gone.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	LastSuccessOf string `json:"lastSuccessOf,omitempty"`

	// Conditions: SchedulerEnsured; SlotsMissed while slots pass without a run.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=4
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
