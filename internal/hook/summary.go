package hook

// Summary is the run or restore as templates see it.
type Summary struct {
	// Name and Namespace of the BackupSession, RestoreSession or RestoreBatch.
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	// Session of the policy. Empty in a restore.
	Session string `json:"session,omitempty"`
	// Invoker is the policy of a backup. Empty in a restore.
	Invoker Object `json:"invoker"`
	// Target is the only target, or the first of a batch's.
	Target Object `json:"target"`
	// Targets are all of them.
	Targets []Object `json:"targets,omitempty"`
	// Status so far.
	Status Status `json:"status"`
	// RetryLeft is how many retries may follow.
	RetryLeft int32 `json:"retryLeft"`
}

// Object is an object that a Summary names.
type Object struct {
	APIGroup  string `json:"apiGroup,omitempty"`
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
}

// Status is how a run or restore went so far.
type Status struct {
	// Phase is Running before the work, then Succeeded or Failed.
	Phase string `json:"phase"`
	// Duration since the start, for example "41s".
	Duration string `json:"duration"`
	// Error says what failed.
	Error string `json:"error,omitempty"`
}
