package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RepositorySpec defines where the backups of one target are: in a directory of a storage, or in VolumeSnapshots. It
// never changes, except for deletionPolicy and paused. An empty appRef is filled in by the first BackupConfiguration
// that uses the Repository.
// +kubebuilder:validation:XValidation:rule="!has(self.backend)",message="a Repository has no backend: create a BackupStorage with this backend and its Secret, name it in spec.storageRef, and put the prefix or subPath below it into spec.path"
// +kubebuilder:validation:XValidation:rule="!has(self.wipeOut)",message="a Repository has no wipeOut: set deletionPolicy: WipeOut instead of wipeOut: true, and nothing instead of wipeOut: false"
// +kubebuilder:validation:XValidation:rule="!has(self.usagePolicy)",message="a Repository has no usagePolicy: set it in the BackupStorage"
// +kubebuilder:validation:XValidation:rule="has(self.backend) || has(self.storageRef) || self.driver == 'VolumeSnapshotter'",message="spec.storageRef is required: it names a BackupStorage"
// +kubebuilder:validation:XValidation:rule="has(self.backend) || has(self.path) || self.driver == 'VolumeSnapshotter'",message="spec.path is required: it is the directory below the storage's prefix"
// +kubebuilder:validation:XValidation:rule="has(self.backend) || has(self.encryptionSecret) || self.driver == 'VolumeSnapshotter'",message="spec.encryptionSecret is required: it names the Secret with the password"
// +kubebuilder:validation:XValidation:rule="self.driver != 'VolumeSnapshotter' || !has(self.storageRef) && !has(self.path) && !has(self.encryptionSecret)",message="with driver VolumeSnapshotter leave out storageRef, path and encryptionSecret: VolumeSnapshots stay in the storage system of their volume"
// +kubebuilder:validation:XValidation:rule="self.driver == oldSelf.driver && has(self.storageRef) == has(oldSelf.storageRef) && (!has(self.storageRef) || self.storageRef == oldSelf.storageRef) && has(self.path) == has(oldSelf.path) && (!has(self.path) || self.path == oldSelf.path) && has(self.encryptionSecret) == has(oldSelf.encryptionSecret) && (!has(self.encryptionSecret) || self.encryptionSecret == oldSelf.encryptionSecret) && (!has(oldSelf.appRef) || has(self.appRef) && self.appRef == oldSelf.appRef)",message="a Repository's spec never changes, except for deletionPolicy and paused: its data would be left behind. Create another Repository"
type RepositorySpec struct {
	// AppRef is the target whose backups are kept here. The default is the target of the first BackupConfiguration that
	// uses this Repository.
	// +optional
	AppRef TypedObjectReference `json:"appRef,omitzero"`

	// StorageRef names the BackupStorage. Leave it out with driver VolumeSnapshotter.
	// +optional
	StorageRef ObjectReference `json:"storageRef,omitzero"`

	// Backend is a field of Stash's Repository. It is refused: use a BackupStorage.
	// +optional
	Backend *Refused `json:"backend,omitempty"`

	// WipeOut is a field of Stash's Repository. It is refused: use deletionPolicy.
	// +optional
	WipeOut *bool `json:"wipeOut,omitempty"`

	// UsagePolicy is a field of Stash's Repository. It is refused: set it in the BackupStorage.
	// +optional
	UsagePolicy *Refused `json:"usagePolicy,omitempty"`

	// Path is the directory below the storage's prefix. Leave it out with driver VolumeSnapshotter.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="!self.split('/').exists(s, s == '..')",message="the path must not contain .."
	// +kubebuilder:validation:XValidation:rule="self.matches('[^/.]')",message="the path must name a directory, not the storage's root"
	Path string `json:"path,omitempty"`

	// EncryptionSecret names a Secret with the key password (or RESTIC_PASSWORD). The data can't be read without the
	// password: keep a copy outside of the cluster. Leave it out with driver VolumeSnapshotter.
	// +optional
	EncryptionSecret ObjectReference `json:"encryptionSecret,omitzero"`

	// Driver that keeps the data.
	// +optional
	// +kubebuilder:default=Kopia
	Driver Driver `json:"driver,omitempty"`

	// DeletionPolicy defines what happens when this Repository is deleted. Its Snapshots are deleted too. Delete keeps
	// the data in the backend. WipeOut removes it, and leaves what others have put into the directory.
	// +optional
	// +kubebuilder:default=Delete
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// Paused stops retention and maintenance of this Repository. Backups and restores go on. The default is false.
	// +optional
	Paused bool `json:"paused,omitempty"`
}

// The keys of an encryption Secret. EncryptionPassword takes precedence.
const (
	EncryptionPassword       = "password"
	EncryptionResticPassword = "RESTIC_PASSWORD"
)

// RepositoryStatus is the observed state of the repository.
type RepositoryStatus struct {
	// ObservedGeneration is the last generation that was reconciled.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready, RepositoryInitialized, RetentionApplied, Maintained and Checked; Scanned after a scan;
	// Reconciling and Stalled while they matter.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Phase is Ready or NotReady.
	// +optional
	// +kubebuilder:validation:Enum=Ready;NotReady
	Phase string `json:"phase,omitempty"`

	// InitializedSpec is the digest of the directory and its backend when repository.yaml was last seen there. Once it
	// is set, the repository is never created again.
	// +optional
	InitializedSpec string `json:"initializedSpec,omitempty"`

	// MovedTime is when Cairn last found the repository in another place than before, took its directory back from
	// another Repository or cluster, or found it again after it was gone. It goes once a check has looked at each
	// Snapshot that was made earlier, and found it intact. Until it has looked at each, nothing is maintained, and
	// retention removes nothing, but see checkTriedTime. While one is damaged, nothing is maintained for four weeks.
	// +optional
	MovedTime *metav1.Time `json:"movedTime,omitempty"`

	// CheckTriedTime is when a check was first tried in that place, and took too long, left out some of these
	// Snapshots, was killed for its memory while its Job did nothing else, or failed for a reason that Cairn does not
	// know. Eight days later retention goes on without one. A check that could not run, for example because the
	// Repository was paused, or that did not reach the storage, is no try.
	// +optional
	CheckTriedTime *metav1.Time `json:"checkTriedTime,omitempty"`

	// TakenTime is when Cairn found that the directory belongs to another Repository or cluster. It goes once the
	// Repository has its directory again, or works in another place. Until then retention removes nothing, and restores
	// still read the directory.
	// +optional
	TakenTime *metav1.Time `json:"takenTime,omitempty"`

	// GoneTime is when Cairn found that the repository, its bucket or its directory was gone. It goes once an init Job
	// has found the repository again. Until then nothing is maintained, and retention removes nothing.
	// +optional
	GoneTime *metav1.Time `json:"goneTime,omitempty"`

	// ProvedAfter is the Snapshot that failed because the password had changed, the storage refused the credential, the
	// bucket, the repository or data of it was gone, or the directory belonged to another Repository or cluster. Cairn
	// saw since that the Repository can be used.
	// +optional
	ProvedAfter string `json:"provedAfter,omitempty"`

	// LastBackupTime is when the last successful backup ended.
	// +optional
	LastBackupTime *metav1.Time `json:"lastBackupTime,omitempty"`

	// SnapshotCount is the number of Snapshots that succeeded.
	// +optional
	SnapshotCount *int32 `json:"snapshotCount,omitempty"`

	// DamagedCount is how many of these lack data, as the last check of each says.
	// +optional
	DamagedCount int32 `json:"damagedCount,omitempty"`

	// UncheckedCount is how many of these a scan has made and no check has looked at: data of them can be missing.
	// Those that are counted as damaged or half restored are not among them.
	// +optional
	UncheckedCount int32 `json:"uncheckedCount,omitempty"`

	// HalfRestoredCount is how many of these were made after a restore had begun to write into their target and had
	// not ended well: data of it can be missing. Those that are counted as damaged are not among them.
	// +optional
	HalfRestoredCount int32 `json:"halfRestoredCount,omitempty"`

	// NewestHalfRestored is whether the newest Snapshot that succeeded and is not damaged is one of a half restored
	// target: a restore of the latest one is refused.
	// +optional
	NewestHalfRestored bool `json:"newestHalfRestored,omitempty"`

	// Size of the data in the backend at the last maintenance, for example "12.222 MiB". Before the first maintenance
	// it is the size that the newest successful Snapshot restores to.
	// +optional
	Size string `json:"size,omitempty"`

	// StoredBytes is the size of the data in the backend at the last maintenance.
	// +optional
	StoredBytes *int64 `json:"storedBytes,omitempty"`

	// Integrity is whether the last weekly maintenance found all data of the repository, and every Snapshot that it
	// checked intact. Empty before the first check. While it is false, the check is repeated daily.
	// +optional
	Integrity *bool `json:"integrity,omitempty"`

	// RetentionPolicy that is in force, with namespace. Without a RetentionPolicy, Cairn keeps every Snapshot.
	// +optional
	RetentionPolicy *ObjectReference `json:"retentionPolicy,omitempty"`

	// RetentionChangedTime is when Cairn found that another RetentionPolicy is in force than before, for example
	// because one of two BackupConfigurations that named different ones is gone. It goes when two minutes have passed
	// and the PolicySyncs that apply this policy have applied what others of their branch have changed. Until then the
	// RetentionPolicy removes nothing.
	// +optional
	RetentionChangedTime *metav1.Time `json:"retentionChangedTime,omitempty"`

	// DefaultRetention describes that RetentionPolicy if it is in force as a default, because policy names none.
	// +optional
	DefaultRetention *DefaultRetention `json:"defaultRetention,omitempty"`

	// FormerDefault is the default RetentionPolicy that was in force before, if none is now, or if one that replaces it
	// has not been acknowledged. Then the condition RetentionApplied has the reason DefaultReplaced.
	// +optional
	FormerDefault *FormerDefault `json:"formerDefault,omitempty"`

	// LastMaintenance is when the repository was last maintained.
	// +optional
	LastMaintenance *MaintenanceStatus `json:"lastMaintenance,omitempty"`

	// LastScan is the result of the last scan: which Snapshots lie in the backend, and which of them Cairn made again.
	// The annotation backup.cairn.dev/scan asks for a scan.
	// +optional
	LastScan *ScanStatus `json:"lastScan,omitempty"`

	// LastRemovalTime is when data was last removed from the repository. Cairn checks for some days that it stays
	// removed.
	// +optional
	LastRemovalTime *metav1.Time `json:"lastRemovalTime,omitempty"`

	// RecentSnapshots are the five newest Snapshots.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=5
	RecentSnapshots []SnapshotInfo `json:"recentSnapshots,omitempty"`
}

// ScanStatus is the result of a scan of a repository.
type ScanStatus struct {
	// Requested is the value of the annotation backup.cairn.dev/scan that asked for the scan.
	// +kubebuilder:validation:MaxLength=256
	Requested string `json:"requested"`
	// Time when it ended.
	Time metav1.Time `json:"time"`
	// Found is the number of Snapshots that lie in the backend.
	// +optional
	Found int32 `json:"found,omitempty"`
	// Rebuilt is how many of them were missing in the cluster and were made again.
	// +optional
	Rebuilt int32 `json:"rebuilt,omitempty"`
	// Incomplete is how many of the rebuilt Snapshots are Failed: they had failed before, or data of them is missing.
	// +optional
	Incomplete int32 `json:"incomplete,omitempty"`
	// Refused is how many of them can't be objects of this cluster: the log of the manager names the first three
	// and the reasons.
	// +optional
	Refused int32 `json:"refused,omitempty"`
	// Unreadable is the number of files beside the repository that describe a component but can't be understood. A
	// newer version of Cairn could have written them.
	// +optional
	Unreadable int32 `json:"unreadable,omitempty"`
	// Unknown is the number of backups in the repository that belong to none of the Snapshots. Another program could
	// have made them. Cairn never removes them.
	// +optional
	Unknown int32 `json:"unknown,omitempty"`
}

// SnapshotInfo is the summary of a Snapshot.
type SnapshotInfo struct {
	// Name of the Snapshot.
	Name string `json:"name"`
	// Phase of the Snapshot.
	// +optional
	Phase SnapshotPhase `json:"phase,omitempty"`
	// Session of the policy that made it.
	// +optional
	Session string `json:"session,omitempty"`
	// Size that it restores to.
	// +optional
	Size string `json:"size,omitempty"`
	// SnapshotTime is when it was made.
	// +optional
	SnapshotTime *metav1.Time `json:"snapshotTime,omitempty"`
}

// Repository is a directory of a BackupStorage that holds the backups of one target. Nothing owns it: when the policy
// is deleted, the Repository and its data stay.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=repo,categories=cairn
// +kubebuilder:printcolumn:name="Target",type=string,JSONPath=`.spec.appRef.name`
// +kubebuilder:printcolumn:name="Integrity",type=boolean,JSONPath=`.status.integrity`
// +kubebuilder:printcolumn:name="Snapshot-Count",type=integer,JSONPath=`.status.snapshotCount`
// +kubebuilder:printcolumn:name="Size",type=string,JSONPath=`.status.size`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Last-Successful-Backup",type=date,JSONPath=`.status.lastBackupTime`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Repository struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec RepositorySpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	Status RepositoryStatus `json:"status,omitempty"`
}

// GetConditions returns the conditions, for fluxcd/pkg/runtime.
func (r *Repository) GetConditions() []metav1.Condition { return r.Status.Conditions }

// SetConditions replaces the conditions, for fluxcd/pkg/runtime.
func (r *Repository) SetConditions(c []metav1.Condition) { r.Status.Conditions = c }

// RepositoryList is a list of Repositories.
// +kubebuilder:object:root=true
type RepositoryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Repository `json:"items"`
}
