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

// Driver is the program that keeps the data of a repository.
// +kubebuilder:validation:Enum=Kopia
type Driver string

// DriverKopia keeps the data with kopia, used as a library.
const DriverKopia Driver = "Kopia"

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
