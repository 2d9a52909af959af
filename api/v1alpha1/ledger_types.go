package v1alpha1

import (
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// LedgerSpec defines where results are committed.
// +kubebuilder:validation:XValidation:rule="!self.url.startsWith('ssh://') || has(self.secretRef)",message="an SSH url needs spec.secretRef with the keys identity and known_hosts"
type LedgerSpec struct {
	// URL of the Git repository: http://, https:// or ssh://. Credentials belong in the Secret, not here.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:Pattern=`^(https?|ssh)://`
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[a-z]+://[^/@]*:[^/@]*@')",message="the url must not contain a password: put it into the Secret that spec.secretRef names"
	URL string `json:"url"`

	// Branch that the records are committed to. It must not be a branch that a PolicySync or a Flux GitRepository
	// follows. Once the server has accepted a push of the Ledger to the branch, Cairn refuses each PolicySync there.
	// +optional
	// +kubebuilder:default="backup-records"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	Branch string `json:"branch,omitempty"`

	// Path of the folder in the branch that contains clusters/<clusterName>. The default is the root.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('/') && !self.split('/').exists(s, s == '..')",message="the path must be relative and must not contain .."
	Path string `json:"path,omitempty"`

	// ClusterName is this cluster's folder in the branch. Two clusters must not share one.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
	ClusterName string `json:"clusterName"`

	// SecretRef names a Secret in this namespace with the same keys as in PolicySync.spec.secretRef. The account must
	// be allowed to push to the branch.
	// +optional
	SecretRef *LocalObjectReference `json:"secretRef,omitempty"`

	// Author of the commits.
	// +optional
	// +kubebuilder:default={"name":"Cairn","email":"cairn@localhost"}
	Author CommitAuthor `json:"author,omitempty"`

	// Signing signs the commits. Without it, they have no signature.
	// +optional
	Signing *LedgerSigning `json:"signing,omitempty"`

	// BatchWindow is how long results are collected for one commit, at least 10s.
	// +optional
	// +kubebuilder:default="10s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('10s')",message="the batch window must be at least 10s: Git hosts limit pushes"
	BatchWindow metav1.Duration `json:"batchWindow,omitempty"`

	// Interval between two checks of the branch when there is nothing to push.
	// +optional
	// +kubebuilder:default="10m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="the interval must be at least 1s"
	Interval metav1.Duration `json:"interval,omitempty"`

	// Selector limits the records to sessions with these labels. The default is all sessions.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn', 'Exists', 'DoesNotExist'])",message="the operator must be In, NotIn, Exists or DoesNotExist"
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn'] ? has(e.values) && e.values.size() > 0 : !has(e.values) || e.values.size() == 0)",message="In and NotIn need values, Exists and DoesNotExist take none"
	// +kubebuilder:validation:XValidation:rule="(!has(self.matchExpressions) || self.matchExpressions.all(e, e.key.size() > 0 && e.key.size() <= 317)) && (!has(self.matchLabels) || self.matchLabels.all(k, k.size() > 0 && k.size() <= 317))",message="a key has 1 to 317 characters"
	Selector *metav1.LabelSelector `json:"selector,omitempty"`

	// NamespaceSelector selects the namespaces that the Ledger records: its own, and those with the label
	// recorded-by.backup.cairn.dev/<namespace of the Ledger>: "true". In a namespace of the cluster's administrators
	// (--admin-namespaces), others need no label. The default is the namespace of the Ledger, and in a namespace of
	// the administrators all namespaces.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn', 'Exists', 'DoesNotExist'])",message="the operator must be In, NotIn, Exists or DoesNotExist"
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn'] ? has(e.values) && e.values.size() > 0 : !has(e.values) || e.values.size() == 0)",message="In and NotIn need values, Exists and DoesNotExist take none"
	// +kubebuilder:validation:XValidation:rule="(!has(self.matchExpressions) || self.matchExpressions.all(e, e.key.size() > 0 && e.key.size() <= 317)) && (!has(self.matchLabels) || self.matchLabels.all(k, k.size() > 0 && k.size() <= 317))",message="a key has 1 to 317 characters"
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`

	// Suspend stops pushing. Meanwhile results are collected in the cluster. The default is false.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// LedgerSigning says how commits are signed.
type LedgerSigning struct {
	// SecretRef names a Secret in this namespace with one of the keys identity, an SSH private key, and git.asc, an
	// armored OpenPGP private key, without a passphrase. Use a key that is trusted for these records alone.
	// +required
	SecretRef LocalObjectReference `json:"secretRef"`
}

// CommitAuthor is the author of commits.
type CommitAuthor struct {
	// Name of the author.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern="^[^<>\\n\\r]+$"
	Name string `json:"name"`

	// Email address of the author.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=254
	// +kubebuilder:validation:Pattern="^[^<>\\n\\r ]+$"
	Email string `json:"email"`
}

// LedgerStatus is what was committed and what still waits.
type LedgerStatus struct {
	meta.ReconcileRequestStatus `json:",inline"`

	// ObservedGeneration is the last generation that was reconciled.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready; Reconciling and Stalled while they matter; Backlogged while the outbox is full;
	// RecordsMissing while the branch lacks records that could not be written again; ConsentMissing while the selector
	// selects namespaces that do not consent; NamespacesDropped while it no longer records some that it has recorded;
	// BranchWatched while others name the branch and do not stop the Ledger.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// LastPushedCommit is the newest of Cairn's commits that the remote has. In a branch to which there was nothing to
	// push yet, it is the commit in which Cairn found everything.
	// +optional
	LastPushedCommit string `json:"lastPushedCommit,omitempty"`

	// LastPushedTo is where that commit is: <host>/<path>@<branch>. When url or branch changes, Cairn does not look for
	// the commit any more. It writes the records of what still exists there again, if they are missing.
	// +optional
	LastPushedTo string `json:"lastPushedTo,omitempty"`

	// ProvedTo is the branch, in the form of lastPushedTo, to which the server has accepted a push of this Ledger last.
	// That proves its right to write there; whoever can read the branch finds the commits of others.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	ProvedTo string `json:"provedTo,omitempty"`

	// PushingTo is the branch that a first push is about to go to, in the form of lastPushedTo. Meanwhile no PolicySync
	// begins to follow that branch.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	PushingTo string `json:"pushingTo,omitempty"`

	// LastFolder is the folder there whose STATUS.md is kept. When path or clusterName changes, Cairn writes into the
	// old page that nobody keeps it any more.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	LastFolder string `json:"lastFolder,omitempty"`

	// LastPushedTime is when the remote accepted it.
	// +optional
	LastPushedTime *metav1.Time `json:"lastPushedTime,omitempty"`

	// Namespaces are those of policy that the Ledger records. It remembers them to notice when it does not record one
	// any more. If there are more than fit, the first by name count.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MaxLength=63
	Namespaces []string `json:"namespaces,omitempty"`

	// Dropped are namespaces that the Ledger has recorded, and does not record any more, although they exist. The page
	// STATUS.md names them, until the Ledger records them again, or somebody sets the annotation
	// backup.cairn.dev/acknowledge-dropped as the condition NamespacesDropped says.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Dropped []DroppedNamespace `json:"dropped,omitempty"`

	// Pending is the number of records that wait: those in the outbox, and those that can't be written into it for
	// minutes (OutboxNotWritten).
	// +optional
	Pending int32 `json:"pending"`

	// OldestPendingTime is when the oldest of these records was put into the outbox, or when its object ended.
	// +optional
	OldestPendingTime *metav1.Time `json:"oldestPendingTime,omitempty"`

	// Recorded is the number of records that the remote has accepted from this Ledger.
	// +optional
	Recorded int64 `json:"recorded,omitempty"`

	// Counted names the ConfigMaps of the outbox whose records are already part of recorded. It is set while these
	// ConfigMaps are removed, so that a manager that is restarted meanwhile counts no record twice.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=253
	Counted []string `json:"counted,omitempty"`
}

// DroppedNamespace is a namespace that a Ledger does not record any more.
type DroppedNamespace struct {
	// Name of the namespace.
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// Since is when the Ledger noticed it.
	Since metav1.Time `json:"since"`
}

// Ledger commits the results of backups and restores to a Git branch.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=ledger,categories=cairn
// +kubebuilder:printcolumn:name="Cluster",type=string,JSONPath=`.spec.clusterName`
// +kubebuilder:printcolumn:name="Branch",type=string,JSONPath=`.spec.branch`
// +kubebuilder:printcolumn:name="Pending",type=integer,JSONPath=`.status.pending`
// +kubebuilder:printcolumn:name="Recorded",type=integer,JSONPath=`.status.recorded`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Suspended",type=boolean,JSONPath=`.spec.suspend`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Ledger struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec LedgerSpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	Status LedgerStatus `json:"status,omitempty"`
}

// GetConditions returns the conditions, for fluxcd/pkg/runtime.
func (l *Ledger) GetConditions() []metav1.Condition { return l.Status.Conditions }

// SetConditions replaces the conditions, for fluxcd/pkg/runtime.
func (l *Ledger) SetConditions(c []metav1.Condition) { l.Status.Conditions = c }

// LedgerList is a list of Ledgers.
// +kubebuilder:object:root=true
type LedgerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Ledger `json:"items"`
}
