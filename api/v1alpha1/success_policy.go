package v1alpha1

// DoubtPolicy is whether a backup with a certain flaw counts as successful.
// +kubebuilder:validation:Enum=Fail;Allow
type DoubtPolicy string

// The values of DoubtPolicy.
const (
	// DoubtFail makes it a failure: the data does not become a restorable Snapshot.
	DoubtFail DoubtPolicy = "Fail"
	// DoubtAllow keeps it and reports what is missing.
	DoubtAllow DoubtPolicy = "Allow"
)

// DefaultMaxShrinkPercent is the default of SuccessPolicy.MaxShrinkPercent.
const DefaultMaxShrinkPercent = 75

// SuccessPolicy defines which flawed backups count as successful. Each component is judged by itself, before its data
// becomes a restore point. A refused component can't be restored and never counts as latest. A path that is not in the
// volume always fails with reason PathNotFound, and so does a volume of which nothing could be read.
type SuccessPolicy struct {
	// Empty is for a volume, or a path of it, without anything to back up, also if everything is excluded, and for a
	// database that holds no data, as its probe or its dump says. Fail fails with reason Empty. Allow succeeds,
	// unless the last backup contained something and maxShrinkPercent is below 100: then it fails with reason Shrunk.
	// +optional
	// +kubebuilder:default=Fail
	Empty DoubtPolicy `json:"empty,omitempty"`

	// Unreadable is for files, directories and attributes that could not be read. Fail fails with reason Unreadable.
	// Allow backs up what could be read: the component counts the rest, and the BackupSession is Partial.
	// +optional
	// +kubebuilder:default=Fail
	Unreadable DoubtPolicy `json:"unreadable,omitempty"`

	// Changed is for files that changed during each of three attempts to read them. Files that only grew do not count.
	// Fail fails with reason Changed. Allow backs them up as they were read, which may be a state that never existed:
	// the component counts them, and the BackupSession is Partial.
	// +optional
	// +kubebuilder:default=Fail
	Changed DoubtPolicy `json:"changed,omitempty"`

	// MaxShrinkPercent is how many percent of the bytes, and of the files, of the last backup of the same path with the
	// same files excluded, or of the last dump that selected the same, can be gone. If more is gone, the backup fails
	// with reason Shrunk. 100 allows everything, even a volume that is empty although it held something before. To
	// accept a loss once, set acceptShrink of a BackupSession.
	// +optional
	// +kubebuilder:default=75
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	MaxShrinkPercent *int32 `json:"maxShrinkPercent,omitempty"`
}

// AllowsEmpty reports whether an empty backup can succeed. A nil policy has the defaults, here and in the methods
// below.
func (p *SuccessPolicy) AllowsEmpty() bool { return p != nil && p.Empty == DoubtAllow }

// AllowsUnreadable reports whether a backup can succeed although something could not be read.
func (p *SuccessPolicy) AllowsUnreadable() bool { return p != nil && p.Unreadable == DoubtAllow }

// AllowsChanged reports whether a backup can succeed although files may be torn.
func (p *SuccessPolicy) AllowsChanged() bool { return p != nil && p.Changed == DoubtAllow }

// MaxShrink returns how many percent a backup can shrink.
func (p *SuccessPolicy) MaxShrink() int64 {
	if p == nil || p.MaxShrinkPercent == nil {
		return DefaultMaxShrinkPercent
	}
	return int64(*p.MaxShrinkPercent)
}
