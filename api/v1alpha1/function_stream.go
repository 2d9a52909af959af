package v1alpha1

// StreamEscape says how a Secret's value is written into a file.
// +kubebuilder:validation:Enum=None;PgPass;OptionFile
type StreamEscape string

// The values of StreamEscape.
const (
	// StreamEscapeNone writes the value as it is.
	StreamEscapeNone StreamEscape = "None"
	// StreamEscapePgPass writes it as a field of a PostgreSQL password file.
	StreamEscapePgPass StreamEscape = "PgPass"
	// StreamEscapeOptionFile writes it, in quotes, as the value of an option in an option file of MariaDB or MySQL.
	StreamEscapeOptionFile StreamEscape = "OptionFile"
)

// StreamFilter is what a restore does with what was kept before the program reads it.
// +kubebuilder:validation:Enum=None;RedisCommands;PostgresRoles
type StreamFilter string

// The values of StreamFilter.
const (
	// StreamFilterNone gives the program what was kept.
	StreamFilterNone StreamFilter = "None"
	// StreamFilterRedisCommands turns an RDB file into commands for redis-cli --pipe, which restore each key, in its database
	// and with its expiry.
	StreamFilterRedisCommands StreamFilter = "RedisCommands"
	// StreamFilterPostgresRoles changes the first part of what pg_dumpall wrote so that it neither drops roles nor fails over those
	// that are there: one of them is the one that restores.
	StreamFilterPostgresRoles StreamFilter = "PostgresRoles"
)

// FunctionStream makes the mover run a program in the Function's own image: a backup keeps what the program writes to its
// standard output, a restore feeds it to the program's standard input. Nothing is put on a disk between them, and no shell takes
// part. A backup counts only if the program ended with exit code 0 and had written something by then. A restore whose Function has
// the argument --unpack is not one into a database: the program is started in that directory of the volume that is restored to, and
// makes of what it reads the files of a server.
type FunctionStream struct {
	// Command is the program and its first arguments.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=4096
	Command []string `json:"command"`

	// EachCommand takes the place of command where each names values: where pg_dump dumps one database and pg_dumpall all of them,
	// for example.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=4096
	EachCommand []string `json:"eachCommand,omitempty"`

	// EachArgs come before args where each names values.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	EachArgs []StreamArgument `json:"eachArgs,omitempty"`

	// Args are further arguments.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Args []StreamArgument `json:"args,omitempty"`

	// Probe asks the database before the program runs, and must end within two minutes: a client that no server answers may wait for
	// ever. That of a restore says whether the database holds data; without one every restore needs confirm.
	// +optional
	Probe *StreamProbe `json:"probe,omitempty"`

	// Env is the environment of the program. Beside it the program has HOME and TMPDIR, directories it may write to, LANG=C and
	// the image's PATH, and nothing else.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:XValidation:rule="has(self.value) != has(self.secretKey)",message="a variable has either a value, or a secretKey"
	Env []StreamEnv `json:"env,omitempty"`

	// Files are written for the program before it starts, to /tmp/stream/<name>, readable for its user alone, and removed
	// when it ends.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Files []StreamFile `json:"files,omitempty"`

	// FileName of what the program writes, in the snapshot: dump.sql, for example.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^[A-Za-z0-9][-A-Za-z0-9._]*$"
	FileName string `json:"fileName"`

	// DataDirectory of a backup is the directory of the database's own container whose files the program reads by itself, beside
	// what it asks the server. The PersistentVolumeClaim that it lies on is mounted for the program at the same path, but read-only,
	// on the node and for the user of that container. The target must be a Service with one pod alone behind it: a program that
	// asked one server and read the files of another would back up neither.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	DataDirectory string `json:"dataDirectory,omitempty"`

	// Finish of a restore is a program that is run after the first one ended with exit code 0, in the same directory, with the same
	// environment and files. The restore counts only if this one ended with exit code 0, too.
	// +optional
	Finish *StreamFinish `json:"finish,omitempty"`

	// Each is a comma-separated list, such as ${databases}. The program runs once for each value, in which ${value} stands for it,
	// and each run is a component of its own: dump-<value>. Where the list is empty the program runs once, for the component dump.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Each string `json:"each,omitempty"`

	// Filter of a restore.
	// +optional
	Filter StreamFilter `json:"filter,omitempty"`
}

// StreamProbe is a program that says what a database holds: a restore that has no confirm reads its standard output first, and
// writes nothing unless the program ended with exit code 0 and every line of that is empty or begins with #. In a backup, and in a
// restore with confirm, it says no more than that the database answers: its output does not count there. It has the environment and
// the files of the stream's own program.
type StreamProbe struct {
	// Command is the program and its first arguments.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=4096
	Command []string `json:"command"`

	// EachCommand takes the place of command for a component dump-<value>.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=4096
	EachCommand []string `json:"eachCommand,omitempty"`

	// Args are further arguments.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Args []StreamArgument `json:"args,omitempty"`
}

// StreamFinish is a program that finishes what another one began.
type StreamFinish struct {
	// Command is the program and its first arguments.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=4096
	Command []string `json:"command"`

	// Args are further arguments.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Args []StreamArgument `json:"args,omitempty"`
}

// StreamArgument is an argument of a program, or several.
// +kubebuilder:validation:XValidation:rule="!(has(self.each) && has(self.words) && self.words)",message="an argument has each or words, not both"
type StreamArgument struct {
	// Value of the argument. One that is empty after the variables were filled in is left out.
	// +required
	// +kubebuilder:validation:MaxLength=4096
	Value string `json:"value"`

	// Each is a comma-separated list, such as ${tables}: there is one argument for each value, in which ${value} stands for it.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Each string `json:"each,omitempty"`

	// Words says that value is several arguments: it is split where a shell would, quotes included, but nothing in it is expanded.
	// +optional
	Words bool `json:"words,omitempty"`

	// IfKey is a key of the database's Secret: the argument is there only if the key is.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern="^[-._a-zA-Z0-9]+$"
	IfKey string `json:"ifKey,omitempty"`
}

// StreamEnv is a variable in the environment of a program.
type StreamEnv struct {
	// Name of the variable.
	// +required
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern="^[A-Za-z_][A-Za-z0-9_]*$"
	Name string `json:"name"`

	// Value of it.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Value string `json:"value,omitempty"`

	// SecretKey is the key of the database's Secret that has the value.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern="^[-._a-zA-Z0-9]+$"
	SecretKey string `json:"secretKey,omitempty"`

	// IfKey is a key of the database's Secret: the variable is there only if the key is.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern="^[-._a-zA-Z0-9]+$"
	IfKey string `json:"ifKey,omitempty"`
}

// StreamFile is a file that a program reads, such as one with the password.
type StreamFile struct {
	// Name of the file.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^[A-Za-z0-9_.]*[A-Za-z0-9_][-A-Za-z0-9_.]*$"
	Name string `json:"name"`

	// Content of the file. $(key) stands for the value of that key of the database's Secret, without line breaks at its end.
	// +required
	// +kubebuilder:validation:MaxLength=8192
	Content string `json:"content"`

	// Escape says how such a value is written.
	// +optional
	Escape StreamEscape `json:"escape,omitempty"`

	// IfKey is a key of the database's Secret: the file is there only if the key is.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern="^[-._a-zA-Z0-9]+$"
	IfKey string `json:"ifKey,omitempty"`
}

// ResolvedStream is a FunctionStream of one component, after all variables were filled in. It holds no value of a Secret.
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
	// Probe is what is asked before a restore without confirm.
	// +optional
	Probe *ResolvedProgram `json:"probe,omitempty"`
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
	// DataDirectory of a backup is where the program finds the server's files, as the server does. Empty: it reads none, and there
	// is no volume.
	// +optional
	DataDirectory string `json:"dataDirectory,omitempty"`
	// Finish of a restore is run after the program ended well.
	// +optional
	Finish *ResolvedProgram `json:"finish,omitempty"`
	// Filter of a restore.
	// +optional
	Filter StreamFilter `json:"filter,omitempty"`
}

// ResolvedStreamArgument is one argument of a program.
type ResolvedStreamArgument struct {
	// Value of the argument.
	Value string `json:"value"`
	// IfKey is a key of the database's Secret: the argument is there only if the key is.
	// +optional
	IfKey string `json:"ifKey,omitempty"`
}

// ResolvedProgram is a StreamProbe or StreamFinish after all variables were filled in.
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
