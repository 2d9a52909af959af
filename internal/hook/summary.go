package hook

// Summary is what templates see of the run or restore.
type Summary struct {
	// Name and Namespace are those of the BackupSession, RestoreSession or RestoreBatch.
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	// Session is the session of the policy. It is empty in a restore.
	Session string `json:"session,omitempty"`
	// Invoker is the policy of a backup. It is empty in a restore.
	Invoker Object `json:"invoker"`
	// Target is the only target, or the first one of several.
	Target Object `json:"target"`
	// Targets are all targets.
	Targets []Object `json:"targets,omitempty"`
	// Status is the status so far.
	Status Status `json:"status"`
	// RetryLeft is how many retries can follow.
	RetryLeft int32 `json:"retryLeft"`
}

// Object identifies an object in a Summary.
type Object struct {
	APIGroup  string `json:"apiGroup,omitempty"`
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
}

// Status tells how a run or restore went so far.
type Status struct {
	// Phase is Running before the work, then Succeeded or Failed.
	Phase string `json:"phase"`
	// Duration is the time since the start, for example "41s".
	Duration string `json:"duration"`
	// Error says what failed.
	Error string `json:"error,omitempty"`
}
