package v1alpha1

// ResolvedConfiguration is what Cairn inferred for fields that the spec of a BackupConfiguration leaves out. Cairn
// never writes it into the spec. Once a Repository exists, the place of its data does not change any more.
type ResolvedConfiguration struct {
	// Backends that the spec does not name, or whose storage or RetentionPolicy it leaves out.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=144
	Backends []ResolvedBackend `json:"backends,omitempty"`
	// Sessions for which something was inferred.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Sessions []ResolvedConfigurationSession `json:"sessions,omitempty"`
}

// ResolvedBackend is a backend whose storage or RetentionPolicy was inferred.
type ResolvedBackend struct {
	// Name of the backend in the spec, else the name of the storage.
	Name string `json:"name"`
	// StorageRef names the BackupStorage, with namespace.
	StorageRef ObjectReference `json:"storageRef"`
	// RetentionPolicy names the default RetentionPolicy, with namespace, if the spec names none.
	// +optional
	RetentionPolicy *ObjectReference `json:"retentionPolicy,omitempty"`
}

// ResolvedConfigurationSession is what was inferred for a session.
type ResolvedConfigurationSession struct {
	// Name of the session.
	Name string `json:"name"`
	// Addon that moves the data, if the spec names none.
	// +optional
	Addon string `json:"addon,omitempty"`
	// Task of that Addon.
	// +optional
	Task string `json:"task,omitempty"`
	// Repositories for which something was inferred, with all fields.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	Repositories []ResolvedRepositoryInfo `json:"repositories,omitempty"`
}

// ResolvedRepositoryInfo is a repository of a session with all fields. A repository of VolumeSnapshots has only a name.
type ResolvedRepositoryInfo struct {
	// Name of the Repository.
	Name string `json:"name"`
	// Backend is a name of spec.backends or of status.resolved.backends.
	// +optional
	Backend string `json:"backend,omitempty"`
	// Directory in the backend.
	// +optional
	Directory string `json:"directory,omitempty"`
	// EncryptionSecret names the Secret, with namespace.
	// +optional
	EncryptionSecret ObjectReference `json:"encryptionSecret,omitzero"`
}
