package v1alpha1

// ResolvedStream is a FunctionStream of one component, after all variables were filled in. It contains no value of a
// Secret.
type ResolvedStream struct {
	// Command is the program and its first arguments.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Command []string `json:"command"`
	// Args are further arguments, one each.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1024
	Args []ResolvedStreamArgument `json:"args,omitempty"`
	// Probe runs before the program.
	// +optional
	Probe *ResolvedProbe `json:"probe,omitempty"`
	// Env is the environment of the program.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Env []StreamEnv `json:"env,omitempty"`
	// Files that the program reads.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Files []StreamFile `json:"files,omitempty"`
	// FileName in the snapshot.
	FileName string `json:"fileName"`
	// DataDirectory of a backup is where the program finds the server's files, at the same path as the server. If
	// empty, it reads none, and there is no volume.
	// +optional
	DataDirectory string `json:"dataDirectory,omitempty"`
	// Finish of a restore runs after the program succeeded.
	// +optional
	Finish *ResolvedProgram `json:"finish,omitempty"`
	// Scope of a backup identifies which part of the data the program writes: it is made of what the Function selects.
	// Empty means that the command and the arguments do.
	// +optional
	Scope string `json:"scope,omitempty"`
	// Filter of a restore. A backup with a filter fails if the filter can't turn its dump. The default is None.
	// +optional
	Filter StreamFilter `json:"filter,omitempty"`
	// SearchPath of a restore with the filter PostgresRoles replaces the empty one that a dump of PostgreSQL sets.
	// +optional
	SearchPath string `json:"searchPath,omitempty"`
	// Format that the restore reads. A backup fails if the first bytes of the program's output show another one. The
	// default is None, which allows any.
	// +optional
	Format StreamFormat `json:"format,omitempty"`
}

// ResolvedStreamArgument is one argument of a program.
type ResolvedStreamArgument struct {
	// Value of the argument.
	Value string `json:"value"`
	// IfKey is a key of the database's Secret. Without this key the argument is left out.
	// +optional
	IfKey string `json:"ifKey,omitempty"`
}

// ResolvedProgram is the program of a StreamProbe or StreamFinish after all variables were filled in.
type ResolvedProgram struct {
	// Command is the program and its first arguments.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Command []string `json:"command"`
	// Args are further arguments, one each.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1024
	Args []ResolvedStreamArgument `json:"args,omitempty"`
}

// ResolvedProbe is a StreamProbe after all variables were filled in.
type ResolvedProbe struct {
	ResolvedProgram `json:",inline"`
	// Refuse lists lines of the output, or of the last errors, that fail a backup or a restore.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Refuse []ResolvedRefusal `json:"refuse,omitempty"`
}

// ResolvedRefusal is a StreamRefusal that holds.
type ResolvedRefusal struct {
	// Prefix is how the line begins.
	Prefix string `json:"prefix"`
	// Message of the failure.
	Message string `json:"message"`
}
