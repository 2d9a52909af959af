package v1alpha1

import (
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PolicySyncSpec defines which path of which Git repository contains the backup policy of this namespace.
// +kubebuilder:validation:XValidation:rule="!self.url.startsWith('ssh://') || has(self.secretRef)",message="an SSH url needs spec.secretRef with the keys identity and known_hosts"
// +kubebuilder:validation:XValidation:rule="!has(self.verify) || !has(self.verify.mode) || self.verify.mode == 'HEAD' || has(self.ref) && has(self.ref.tag)",message="the modes Tag and TagAndHEAD of spec.verify need spec.ref.tag"
type PolicySyncSpec struct {
	// URL of the Git repository: http://, https:// or ssh://. Credentials belong in the Secret, not here.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:Pattern=`^(https?|ssh)://`
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[a-z]+://[^/@]*:[^/@]*@')",message="the url must not contain a password: put it into the Secret that spec.secretRef names"
	URL string `json:"url"`

	// Ref is the branch, tag or commit to follow. The default is the branch main.
	// +optional
	Ref *GitRef `json:"ref,omitempty"`

	// SecretRef names a Secret in this namespace. For HTTP it has the keys username and password, or bearerToken, and
	// optionally ca.crt. For SSH it has identity and known_hosts. Flux uses the same keys.
	// +optional
	SecretRef *LocalObjectReference `json:"secretRef,omitempty"`

	// Verify makes Cairn apply only what a trusted key has signed. Without it, whoever can push to the repository
	// decides what is applied.
	// +optional
	Verify *GitVerification `json:"verify,omitempty"`

	// Path of the directory in the repository. If it contains a kustomization.yaml, it is built with kustomize.
	// Otherwise all .yaml and .yml files below it are read, except in folders whose names start with a dot.
	// +optional
	// +kubebuilder:default="./"
	// +kubebuilder:validation:MaxLength=1024
	Path string `json:"path,omitempty"`

	// Interval between two checks of the repository. 0s, which Go programs write for an unset duration, means the
	// default. If nothing is new, the objects are compared with Git at the first check that comes ten minutes or
	// more after the last comparison, and edits by hand are reverted. The annotation
	// reconcile.fluxcd.io/requestedAt with a new value, such as the time, asks for both at once.
	// +optional
	// +kubebuilder:default="1m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) == duration('0s') || duration(self) >= duration('1s')",message="the interval must be at least 1s"
	Interval metav1.Duration `json:"interval,omitempty"`

	// RetryInterval is the time until the next attempt after a failure. The default is spec.interval.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="the retry interval must be at least 1s"
	RetryInterval *metav1.Duration `json:"retryInterval,omitempty"`

	// Timeout of one pull, build and apply.
	// +optional
	// +kubebuilder:default="1m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="the timeout must be at least 1s"
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// Prune deletes objects that this PolicySync applied earlier and that the repository no longer contains. Backup
	// data stays, unless the deletionPolicy of such an object is WipeOut: its removal needs a consent, see
	// status.removal.
	// +required
	Prune bool `json:"prune"`

	// DeletionPolicy defines what happens to the applied objects when this PolicySync is deleted. If it is suspended
	// then, they stay in any case.
	// +optional
	// +kubebuilder:default=Retain
	// +kubebuilder:validation:Enum=Retain;Delete
	DeletionPolicy string `json:"deletionPolicy,omitempty"`

	// Suspend stops pulling and applying. Applied objects stay in force. The default is false.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// ServiceAccountName is an account of this namespace that the PolicySync impersonates when it applies objects:
	// cairn-policy, or any other if the administrator of the cluster has installed the component config/impersonation.
	// Without it, only Cairn's namespaced policy kinds are applied, and only into this namespace.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// Secrets is which Secrets the policy may name: All, or only those that are Labelled with
	// backup.cairn.dev/policy-may-use: "true". Policy from Git can't set that label. With Labelled, Cairn asks for the
	// label before it applies a revision, and again whenever it uses a Secret of this namespace, or for an object of
	// this PolicySync.
	// +optional
	// +kubebuilder:default=All
	// +kubebuilder:validation:Enum=All;Labelled
	Secrets string `json:"secrets,omitempty"`
}

// The values of PolicySyncSpec.Secrets. An empty value is SecretsAll.
const (
	SecretsAll      = "All"
	SecretsLabelled = "Labelled"
)

// GitRef is one of branch, tag and commit.
// +kubebuilder:validation:XValidation:rule="[has(self.branch), has(self.tag), has(self.commit)].filter(x, x).size() <= 1",message="set only one of branch, tag and commit"
type GitRef struct {
	// Branch to follow.
	// +optional
	// +kubebuilder:validation:MaxLength=255
	Branch string `json:"branch,omitempty"`

	// Tag to follow.
	// +optional
	// +kubebuilder:validation:MaxLength=255
	Tag string `json:"tag,omitempty"`

	// Commit to stay at, as the full hash.
	// +optional
	// +kubebuilder:validation:Pattern="^[0-9a-f]{40}$"
	Commit string `json:"commit,omitempty"`
}

// GitVerification defines which object of Git needs a signature, and which keys are trusted. Flux's GitRepository has
// the same fields.
type GitVerification struct {
	// Mode is HEAD, which verifies the commit that is applied; Tag, which verifies the annotated tag that spec.ref.tag
	// names; or TagAndHEAD, which verifies both.
	// +optional
	// +kubebuilder:default=HEAD
	// +kubebuilder:validation:Enum=HEAD;Tag;TagAndHEAD
	Mode string `json:"mode,omitempty"`

	// SecretRef names a Secret in this namespace. Each of its values holds trusted keys: armoured OpenPGP public keys,
	// or SSH public keys as in authorized_keys or allowed_signers. The names of its keys do not matter.
	// +required
	SecretRef LocalObjectReference `json:"secretRef"`
}

// The values of GitVerification.Mode. An empty mode is VerifyHEAD.
const (
	VerifyHEAD       = "HEAD"
	VerifyTag        = "Tag"
	VerifyTagAndHEAD = "TagAndHEAD"
)

// Commit reports whether the commit needs a signature.
func (v *GitVerification) Commit() bool { return v.Mode != VerifyTag }

// Tag reports whether the tag needs a signature.
func (v *GitVerification) Tag() bool { return v.Mode == VerifyTag || v.Mode == VerifyTagAndHEAD }

// The values of PolicySyncSpec.DeletionPolicy.
const (
	DeletionPolicyRetain = "Retain"
	DeletionPolicyDelete = "Delete"
)

// PolicySyncStatus is the observed state of the PolicySync.
type PolicySyncStatus struct {
	meta.ReconcileRequestStatus `json:",inline"`

	// ObservedGeneration is the last generation that was reconciled.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready; SourceVerified with spec.verify; Reconciling and Stalled while they matter.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// SourceVerificationMode is the mode with which Cairn last verified a signature.
	// +optional
	SourceVerificationMode string `json:"sourceVerificationMode,omitempty"`

	// LastAttemptedRevision is the newest revision that Cairn tried, in Flux's form <branch>@sha1:<hash>.
	// +optional
	LastAttemptedRevision string `json:"lastAttemptedRevision,omitempty"`

	// LastFetchedFrom is the branch that Cairn last read for this PolicySync: <host>/<path>@<branch>. It proves access
	// to the branch where a Ledger names the same one. It is empty if the PolicySync follows a tag or a commit.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	LastFetchedFrom string `json:"lastFetchedFrom,omitempty"`

	// LastAppliedRevision is the revision that is in force.
	// +optional
	LastAppliedRevision string `json:"lastAppliedRevision,omitempty"`

	// LastAppliedSigner is the trusted key that has signed lastAppliedRevision, such as "SSH key SHA256:<hash>". It is
	// the key of the commit, or with the mode Tag that of the tag, and empty without spec.verify.
	// +optional
	LastAppliedSigner string `json:"lastAppliedSigner,omitempty"`

	// LastAppliedTime is when Cairn found lastAppliedRevision in Git, before it applied it.
	// +optional
	LastAppliedTime *metav1.Time `json:"lastAppliedTime,omitempty"`

	// LastChangedRevision is the revision with which Cairn last wrote or deleted a RetentionPolicy,
	// BackupConfiguration, BackupBatch or Repository of this PolicySync. It is written before that. The first revision
	// that has such objects counts, also if it changes none of them.
	// +optional
	LastChangedRevision string `json:"lastChangedRevision,omitempty"`

	// LastChangedTime is when Cairn knew that Git has lastChangedRevision.
	// +optional
	LastChangedTime *metav1.Time `json:"lastChangedTime,omitempty"`

	// ApplyingRevision is a revision of which some of the RetentionPolicies, BackupConfigurations, BackupBatches and
	// Repositories were written, while others can still be as an older one says. It is empty once all are written.
	// Until then, nothing is removed by a RetentionPolicy where policy of this PolicySync decides.
	// +optional
	ApplyingRevision string `json:"applyingRevision,omitempty"`

	// Inventory of the applied objects.
	// +optional
	Inventory *ResourceInventory `json:"inventory,omitempty"`

	// Removal is a removal that the deletion guard holds back until it is allowed. With a count of 0 nothing is held
	// back now, because what is no longer in Git stays in any case: the next removal needs a consent.
	// +optional
	Removal *BlockedRemoval `json:"removal,omitempty"`

	// Consent is the value of the annotation backup.cairn.dev/allow-delete that counted last. It counts for one
	// revision, and for no other until the annotation is removed or changed. Whoever removes the annotation before it
	// is complete withdraws what is left of it.
	// +optional
	Consent *UsedConsent `json:"consent,omitempty"`
}

// UsedConsent is a consent to a removal, and what it counted for.
type UsedConsent struct {
	// Digest is the value of the annotation.
	Digest string `json:"digest"`
	// Revision for which the consent counted. It is the first revision that was applied if the annotation was there
	// before.
	Revision string `json:"revision"`
	// Generation of the PolicySync for which the consent counted.
	Generation int64 `json:"generation"`
	// Complete is true once everything that the consent named has gone, or another revision or spec came in between.
	// Until then, what is left of it needs no other consent, also if it has to wait until it is no longer in use.
	// +optional
	Complete bool `json:"complete,omitempty"`
}

// ResourceInventory lists applied objects in Flux's form.
type ResourceInventory struct {
	// This is not a keyed list: the API server tracks the fields of each entry of a keyed list, which doubles the size
	// of the object.

	// Entries, one for each object. They are empty if packed lists the objects.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20000
	Entries []ResourceRef `json:"entries"`

	// Packed lists more than 1,000 objects: gzip of one line for each object, with its id, a space and its version. The
	// header of the gzip has the consents. To read all of it, run "cairn get policies -o yaml", which prints it as
	// entries; "base64 -d | gunzip" prints the lines.
	// +optional
	// +kubebuilder:validation:MaxLength=1400000
	Packed []byte `json:"packed,omitempty"`

	// Count of the objects in packed.
	// +optional
	Count int32 `json:"count,omitempty"`
}

// ResourceRef identifies an applied object.
type ResourceRef struct {
	// ID is <namespace>_<name>_<group>_<kind>.
	ID string `json:"id"`
	// Version of the API the object was applied with.
	Version string `json:"v"`
	// Consent is set on objects that are no longer in Git. Needed: this object goes only with a consent that names it,
	// also if nobody had to consent now, for example because a revision removed everything while the object was in use.
	// What takes more along (a Namespace, WipeOut, a PolicySync) needs a consent without this mark, too. Given:
	// status.consent names it, and counts until it has gone.
	// +optional
	// +kubebuilder:validation:Enum=Needed;Given
	Consent string `json:"consent,omitempty"`
}

// The values of ResourceRef.Consent.
const (
	ConsentNeeded = "Needed"
	ConsentGiven  = "Given"
)

// BlockedRemoval lists the objects that would be removed and how to allow it.
type BlockedRemoval struct {
	// Digest of the removal set. To allow the removal once, set the annotation backup.cairn.dev/allow-delete to this
	// value.
	Digest string `json:"digest"`
	// Count of objects that would be removed.
	Count int32 `json:"count"`
	// Objects are the first of these objects.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	Objects []string `json:"objects,omitempty"`
}

// PolicySync pulls backup policy from a Git repository and applies it in its namespace.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=ps,categories=cairn
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.spec.url`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Suspended",type=boolean,JSONPath=`.spec.suspend`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Revision",type=string,JSONPath=`.status.lastAppliedRevision`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type PolicySync struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec PolicySyncSpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	Status PolicySyncStatus `json:"status,omitempty"`
}

// GetConditions returns the conditions, for fluxcd/pkg/runtime.
func (p *PolicySync) GetConditions() []metav1.Condition { return p.Status.Conditions }

// SetConditions replaces the conditions, for fluxcd/pkg/runtime.
func (p *PolicySync) SetConditions(c []metav1.Condition) { p.Status.Conditions = c }

// PolicySyncList is a list of PolicySyncs.
// +kubebuilder:object:root=true
type PolicySyncList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PolicySync `json:"items"`
}
