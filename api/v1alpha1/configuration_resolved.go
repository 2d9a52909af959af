package v1alpha1

// ResolvedConfiguration is what was inferred for a BackupConfiguration where its spec says nothing. It is shown, never
// written into the spec, and where data goes does not change any more for a Repository that exists.
type ResolvedConfiguration struct {
	// Backends that the spec does not name, or whose storage or RetentionPolicy it leaves out.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=144
	Backends []ResolvedBackend `json:"backends,omitempty"`
	// Sessions that leave something out.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Sessions []ResolvedConfigurationSession `json:"sessions,omitempty"`
}

// ResolvedBackend is a backend whose storage or RetentionPolicy was inferred.
type ResolvedBackend struct {
	// Name of the backend: that of the spec, else that of the storage.
	Name string `json:"name"`
	// StorageRef names the BackupStorage, with namespace.
	StorageRef ObjectReference `json:"storageRef"`
	// RetentionPolicy is the default one, with namespace, where the spec names none.
	// +optional
	RetentionPolicy *ObjectReference `json:"retentionPolicy,omitempty"`
}

// ResolvedConfigurationSession is what was inferred for a session.
type ResolvedConfigurationSession struct {
	// Name of the session.
	Name string `json:"name"`
	// Addon that moves the data, where the spec names none.
	// +optional
	Addon string `json:"addon,omitempty"`
	// Task of that Addon.
	// +optional
	Task string `json:"task,omitempty"`
	// Repositories of which the spec leaves something out, complete.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	Repositories []ResolvedRepositoryInfo `json:"repositories,omitempty"`
}

// ResolvedRepositoryInfo is a repository of a session with all that the spec leaves out. One of VolumeSnapshots has only a name.
type ResolvedRepositoryInfo struct {
	// Name of the Repository.
	Name string `json:"name"`
	// Backend is a name of spec.backends or of status.resolved.backends.
	// +optional
	Backend string `json:"backend,omitempty"`
	// Directory of the backend.
	// +optional
	Directory string `json:"directory,omitempty"`
	// EncryptionSecret, with namespace.
	// +optional
	EncryptionSecret ObjectReference `json:"encryptionSecret,omitzero"`
}
