package v1alpha1

import (
	"cmp"

	"k8s.io/apimachinery/pkg/types"
)

// ObjectReference names an object of a known kind.
type ObjectReference struct {
	// Namespace of the object. The default is the namespace of the object that contains the reference.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`

	// Name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// In returns the key of the object that the reference names in an object of the namespace.
func (r ObjectReference) In(namespace string) types.NamespacedName {
	return types.NamespacedName{Namespace: cmp.Or(r.Namespace, namespace), Name: r.Name}
}

// LocalObjectReference names an object in the namespace of the object that contains the reference.
type LocalObjectReference struct {
	// Name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// TypedObjectReference names an object of any kind.
type TypedObjectReference struct {
	// API group of the object. Empty means the core group.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	APIGroup string `json:"apiGroup,omitempty"`

	// Kind of the object.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind,omitempty"`

	// Namespace of the object. The default is the namespace of the object that contains the reference.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`

	// Name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// TypedLocalObjectReference names an object of any kind in the namespace of the object that contains the reference.
type TypedLocalObjectReference struct {
	// API group of the object. Empty means the core group.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	APIGroup string `json:"apiGroup,omitempty"`

	// Kind of the object.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`

	// Name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// String returns "<kind>/<name>", the form of Cairn's messages and command line.
func (r TypedObjectReference) String() string { return r.Kind + "/" + r.Name }

// String returns "<kind>/<name>", the form of Cairn's messages and command line.
func (r TypedLocalObjectReference) String() string { return r.Kind + "/" + r.Name }

// Kinds of workloads and volumes that can be the target of a backup.
const (
	KindPersistentVolumeClaim = "PersistentVolumeClaim"
	KindDeployment            = "Deployment"
	KindStatefulSet           = "StatefulSet"
	KindDaemonSet             = "DaemonSet"
)

// Kinds that stand for a database, and the API groups of those outside the core group.
const (
	KindService    = "Service"
	KindSecret     = "Secret"
	KindAppBinding = "AppBinding"
	KindCluster    = "Cluster"

	GroupAppBinding = "appcatalog.appscode.com"
	GroupCluster    = "postgresql.cnpg.io"
)

// IsDatabase reports whether the object is of a kind that stands for a database.
func (r TypedObjectReference) IsDatabase() bool {
	switch r.Kind {
	case KindService, KindSecret:
		return r.APIGroup == ""
	case KindAppBinding:
		return r.APIGroup == GroupAppBinding
	case KindCluster:
		return r.APIGroup == GroupCluster
	}
	return false
}

// Driver is what stores the data of a repository. Kopia stores it in the backend. VolumeSnapshotter leaves it in the
// storage system that a CSI driver makes snapshots in.
// +kubebuilder:validation:MaxLength=64
// +kubebuilder:validation:XValidation:rule="self != 'Restic'",message="Cairn does not store data with restic: set driver: Kopia. Restore data that restic wrote with restic itself, then back it up anew"
// +kubebuilder:validation:XValidation:rule="self in ['Kopia', 'Restic', 'VolumeSnapshotter']",message="the driver must be Kopia or VolumeSnapshotter. Tools for one database (WalG, Solr, Medusa, ClickHouseBackup, Neo4jAdmin) have backup formats of their own: set driver: Kopia and use a Function that dumps the data for the mover"
type Driver string

const (
	// DriverKopia stores the data with kopia, used as a library.
	DriverKopia Driver = "Kopia"
	// DriverVolumeSnapshotter stores it as CSI VolumeSnapshots, next to the original volume. There is no backend.
	DriverVolumeSnapshotter Driver = "VolumeSnapshotter"
)

// NamespacesFrom is how the namespaces that can use an object are chosen.
// +kubebuilder:validation:Enum=All;Selector;Same
type NamespacesFrom string

// The values of NamespacesFrom.
const (
	// NamespacesFromAll allows every namespace.
	NamespacesFromAll NamespacesFrom = "All"
	// NamespacesFromSelector allows the namespaces whose labels match the selector.
	NamespacesFromSelector NamespacesFrom = "Selector"
	// NamespacesFromSame allows only the namespace of the object itself.
	NamespacesFromSame NamespacesFrom = "Same"
)
