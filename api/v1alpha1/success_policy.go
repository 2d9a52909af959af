package v1alpha1

// DoubtPolicy says what a backup with a certain flaw is worth.
// +kubebuilder:validation:Enum=Fail;Allow
type DoubtPolicy string

// The values of DoubtPolicy.
const (
	// DoubtFail makes it a failure: the data is no Snapshot that could be restored.
	DoubtFail DoubtPolicy = "Fail"
	// DoubtAllow keeps it, and says what is missing from it.
	DoubtAllow DoubtPolicy = "Allow"
)

// DefaultMaxShrinkPercent is how much smaller than the last one a backup may be where the policy does not say.
const DefaultMaxShrinkPercent = 99

// SuccessPolicy says which backups count as successful although something is wrong with what was read. Each component is
// judged on its own, before its data becomes a restore point: what is refused can't be restored and is never taken for the
// latest. A path that is not in the volume always fails, with the reason PathNotFound, and so does a volume of which nothing at
// all could be read.
type SuccessPolicy struct {
	// Empty is for a volume, or a path of it, without anything to back up, also because all of it is excluded. Fail: reason
	// Empty. Allow: it succeeds, unless the last backup of it held something and maxShrinkPercent is below 100.
	// +optional
	// +kubebuilder:default=Fail
	Empty DoubtPolicy `json:"empty,omitempty"`

	// Unreadable is for files, directories and attributes that could not be read. Fail: reason Unreadable. Allow: what could be
	// read is backed up, the component counts the rest, and the BackupSession is Partial.
	// +optional
	// +kubebuilder:default=Fail
	Unreadable DoubtPolicy `json:"unreadable,omitempty"`

	// Changed is for files that were written to while they were read, each of the three times that this was tried. A file that
	// was only appended to is none of them. Fail: reason Changed. Allow: they are backed up as they were read, which may be as
	// they never were; the component counts them, and the BackupSession is Partial.
	// +optional
	// +kubebuilder:default=Fail
	Changed DoubtPolicy `json:"changed,omitempty"`

	// MaxShrinkPercent is how many percent smaller than the last backup of the same path, with the same files excluded, a backup
	// may be. Beyond it fails: reason Shrunk. 100 allows everything, also a volume that came up empty although it held something
	// before.
	// +optional
	// +kubebuilder:default=99
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	MaxShrinkPercent *int32 `json:"maxShrinkPercent,omitempty"`
}

// AllowsEmpty says whether an empty backup may succeed. The nil policy has the defaults, as in each of these methods.
func (p *SuccessPolicy) AllowsEmpty() bool { return p != nil && p.Empty == DoubtAllow }

// AllowsUnreadable says whether a backup without what could not be read may succeed.
func (p *SuccessPolicy) AllowsUnreadable() bool { return p != nil && p.Unreadable == DoubtAllow }

// AllowsChanged says whether a backup with files that may be torn may succeed.
func (p *SuccessPolicy) AllowsChanged() bool { return p != nil && p.Changed == DoubtAllow }

// MaxShrink is how many percent a backup may shrink.
func (p *SuccessPolicy) MaxShrink() int64 {
	if p == nil || p.MaxShrinkPercent == nil {
		return DefaultMaxShrinkPercent
	}
	return int64(*p.MaxShrinkPercent)
}
