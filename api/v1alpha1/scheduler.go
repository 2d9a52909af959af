package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SchedulerType says who starts the runs of a schedule.
// +kubebuilder:validation:Enum=CronJob;Controller
type SchedulerType string

const (
	// SchedulerCronJob starts each run from a pod of a CronJob.
	SchedulerCronJob SchedulerType = "CronJob"
	// SchedulerController lets the manager start each run, without a pod.
	SchedulerController SchedulerType = "Controller"
)

// ConcurrencyPolicy says what a run does when another one of its session has not ended.
// +kubebuilder:validation:Enum=Allow;Forbid;Replace
type ConcurrencyPolicy string

// The values are those of a CronJob.
const (
	// ConcurrencyAllow runs both.
	ConcurrencyAllow ConcurrencyPolicy = "Allow"
	// ConcurrencyForbid skips the later one.
	ConcurrencyForbid ConcurrencyPolicy = "Forbid"
	// ConcurrencyReplace ends the earlier one first.
	ConcurrencyReplace ConcurrencyPolicy = "Replace"
)

// SchedulerSpec says when a session runs.
type SchedulerSpec struct {
	// Schedule in cron's five fields, or @hourly and the like. A field may hold H, as in Jenkins: a number that depends on the
	// namespace and name of this object and on the name of the session, so that many sessions with the same line do not start
	// together. H/15 is a step with such a beginning, H(0-29) a number and H(0-29)/10 a step within a range. The line that it
	// stands for is status.sessions[*].schedule.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Schedule string `json:"schedule"`

	// TimeZone of the schedule, for example Europe/Berlin. The default is UTC.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	TimeZone *string `json:"timeZone,omitempty"`

	// Type is CronJob (the default: a CronJob whose pod starts the run) or Controller (the manager starts it, without a pod).
	// Both mean the same by the fields beside this one; jobTemplate and the history limits are about the CronJob's Jobs.
	// +optional
	Type SchedulerType `json:"type,omitempty"`

	// StartingDeadlineSeconds is how late after its slot a run may still start. Later it is Skipped. The default is until
	// the next slot, and 15 minutes at least.
	// +optional
	// +kubebuilder:validation:Minimum=10
	StartingDeadlineSeconds *int64 `json:"startingDeadlineSeconds,omitempty"`

	// ConcurrencyPolicy says what becomes of a run while another BackupSession of this session has not ended: Allow (the
	// default) runs both, Forbid skips the later one, Replace ends the earlier one first.
	// +optional
	ConcurrencyPolicy ConcurrencyPolicy `json:"concurrencyPolicy,omitempty"`

	// Suspend stops the schedule. Runs that are under way go on.
	// +optional
	Suspend *bool `json:"suspend,omitempty"`

	// SuccessfulJobsHistoryLimit is how many Jobs of the CronJob that succeeded are kept. The default is 3, for five minutes.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	SuccessfulJobsHistoryLimit *int32 `json:"successfulJobsHistoryLimit,omitempty"`

	// FailedJobsHistoryLimit is how many Jobs of the CronJob that failed are kept. The default is 1, for five minutes.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	FailedJobsHistoryLimit *int32 `json:"failedJobsHistoryLimit,omitempty"`

	// JobTemplate shapes the Jobs of the CronJob. They start runs; the Jobs that move data are shaped by addon.jobTemplate.
	// +optional
	JobTemplate *TriggerJobTemplate `json:"jobTemplate,omitempty"`
}

// SessionStatus is the state of one session of a policy object.
type SessionStatus struct {
	// Name of the session.
	Name string `json:"name"`

	// Schedule is the cron line with a number for each H, and its time zone where that is not UTC.
	// +optional
	Schedule string `json:"schedule,omitempty"`

	// ScheduledSince is when this schedule came into force. Slots before it are not missed.
	// +optional
	ScheduledSince *metav1.Time `json:"scheduledSince,omitempty"`

	// NextSchedule is the next slot.
	// +optional
	NextSchedule *metav1.Time `json:"nextSchedule,omitempty"`

	// LastScheduleTime is the newest slot that has, or had, a BackupSession.
	// +optional
	LastScheduleTime *metav1.Time `json:"lastScheduleTime,omitempty"`

	// LastMissedTime is the newest slot that is known to have passed without a BackupSession. A schedule that stands still
	// counts once.
	// +optional
	LastMissedTime *metav1.Time `json:"lastMissedTime,omitempty"`

	// LastSuccessTime is when the last run that succeeded came to its end.
	// +optional
	LastSuccessTime *metav1.Time `json:"lastSuccessTime,omitempty"`

	// Conditions: SchedulerEnsured, and SlotsMissed while slots pass without a run.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=4
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
