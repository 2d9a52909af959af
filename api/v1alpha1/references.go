package v1alpha1

// ObjectReference names an object of a known kind.
type ObjectReference struct {
	// Namespace of the object. Empty means the namespace of the object that holds the reference.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`

	// Name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// LocalObjectReference names an object in the namespace of the object that holds the reference.
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

	// Namespace of the object. Empty means the namespace of the object that holds the reference.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`

	// Name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// TypedLocalObjectReference names an object of any kind in the namespace of the object that holds the reference.
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

// String gives "<kind>/<name>", the form that Cairn's messages and command line use.
func (r TypedObjectReference) String() string { return r.Kind + "/" + r.Name }

// String gives "<kind>/<name>", the form that Cairn's messages and command line use.
func (r TypedLocalObjectReference) String() string { return r.Kind + "/" + r.Name }

// The kinds of workloads and volumes that can be the target of a backup.
const (
	KindPersistentVolumeClaim = "PersistentVolumeClaim"
	KindDeployment            = "Deployment"
	KindStatefulSet           = "StatefulSet"
	KindDaemonSet             = "DaemonSet"
)

// The kinds that stand for a database, and the groups of those that are not in the core one.
const (
	KindService    = "Service"
	KindSecret     = "Secret"
	KindAppBinding = "AppBinding"
	KindCluster    = "Cluster"

	GroupAppBinding = "appcatalog.appscode.com"
	GroupCluster    = "postgresql.cnpg.io"
)

// IsDatabase says whether the object is one of the kinds that stand for a database.
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

// Driver is what keeps the data of a repository: Kopia, or as VolumeSnapshotter the storage system that a CSI driver makes snapshots in.
// +kubebuilder:validation:MaxLength=64
// +kubebuilder:validation:XValidation:rule="self != 'Restic'",message="Cairn keeps no data with restic: write driver: Kopia. What restic wrote is restored with restic itself and then backed up anew"
// +kubebuilder:validation:XValidation:rule="self in ['Kopia', 'Restic', 'VolumeSnapshotter']",message="the driver is Kopia or VolumeSnapshotter. Tools of one database (WalG, Solr, Medusa, ClickHouseBackup, Neo4jAdmin) keep backups in formats of their own: write driver: Kopia and a Function that dumps the data for the mover"
type Driver string

const (
	// DriverKopia keeps the data with kopia, used as a library.
	DriverKopia Driver = "Kopia"
	// DriverVolumeSnapshotter keeps it as CSI VolumeSnapshots, next to the volume that they are of: there is no backend.
	DriverVolumeSnapshotter Driver = "VolumeSnapshotter"
)

// NamespacesFrom says which namespaces may use an object.
// +kubebuilder:validation:Enum=All;Selector;Same
type NamespacesFrom string

// The values of NamespacesFrom.
const (
	// NamespacesFromAll admits every namespace.
	NamespacesFromAll NamespacesFrom = "All"
	// NamespacesFromSelector admits the namespaces whose labels match the selector.
	NamespacesFromSelector NamespacesFrom = "Selector"
	// NamespacesFromSame admits only the namespace of the object itself.
	NamespacesFromSame NamespacesFrom = "Same"
)
