package v1alpha1

// StreamEscape is how the value of a Secret is written into a file.
// +kubebuilder:validation:Enum=None;PgPass;OptionFile
type StreamEscape string

// The values of StreamEscape.
const (
	// StreamEscapeNone writes the value unchanged.
	StreamEscapeNone StreamEscape = "None"
	// StreamEscapePgPass writes it as a field of a PostgreSQL password file.
	StreamEscapePgPass StreamEscape = "PgPass"
	// StreamEscapeOptionFile writes it, in quotes, as the value of an option in an option file of MariaDB or MySQL.
	StreamEscapeOptionFile StreamEscape = "OptionFile"
)

// StreamFilter is how a restore changes the backed-up data before the program reads it.
// +kubebuilder:validation:Enum=None;RedisCommands;PostgresRoles;MariaDBDump
type StreamFilter string

// The values of StreamFilter.
const (
	// StreamFilterNone passes the data unchanged.
	StreamFilterNone StreamFilter = "None"
	// StreamFilterRedisCommands turns an RDB file into commands for redis-cli --pipe. They restore each key in its
	// database and with its expiry.
	StreamFilterRedisCommands StreamFilter = "RedisCommands"
	// StreamFilterPostgresRoles changes the output of pg_dumpall, so that it drops no role and does not fail if a role
	// exists, if a database that is dropped is a template, or if one is read-only by default. One of the existing roles
	// is the role that restores: it keeps its password and its other attributes. psql stops at the first error.
	StreamFilterPostgresRoles StreamFilter = "PostgresRoles"
	// StreamFilterMariaDBDump changes the output of mariadb-dump, so that routines keep the grants on them, and tables
	// whose defaults read a sequence can be loaded.
	StreamFilterMariaDBDump StreamFilter = "MariaDBDump"
)

// StreamFormat is the form of a dump that a restore can read.
// +kubebuilder:validation:Enum=None;Tar;PostgresArchive;MariaDBStream;SQL
type StreamFormat string

// The values of StreamFormat.
const (
	// StreamFormatNone is any form.
	StreamFormatNone StreamFormat = "None"
	// StreamFormatTar is a tar archive with the mark ustar, not compressed.
	StreamFormatTar StreamFormat = "Tar"
	// StreamFormatPostgresArchive is an archive in the custom format of pg_dump.
	StreamFormatPostgresArchive StreamFormat = "PostgresArchive"
	// StreamFormatMariaDBStream is files for mbstream, not compressed.
	StreamFormatMariaDBStream StreamFormat = "MariaDBStream"
	// StreamFormatSQL is SQL. It has no mark: only XML is told from it.
	StreamFormatSQL StreamFormat = "SQL"
)

// FunctionStream makes the mover run a program of the Function's own image, in a container beside the mover that sees
// none of the mover's keys. A backup stores the program's standard output, a restore feeds the program's standard
// input. The data passes over no disk and no shell. A backup succeeds only if the program wrote something and ended
// with exit code 0. If the Function of a restore has the argument --unpack, it does not restore into a running
// database: the program starts in that directory of the restored volume and writes the files of a server there.
type FunctionStream struct {
	// Command is the program and its first arguments.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=4096
	Command []string `json:"command"`

	// EachCommand replaces command when each names values. For example, pg_dump dumps one database and pg_dumpall all
	// of them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=4096
	EachCommand []string `json:"eachCommand,omitempty"`

	// EachArgs go before args when each names values.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	EachArgs []StreamArgument `json:"eachArgs,omitempty"`

	// Args are further arguments.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Args []StreamArgument `json:"args,omitempty"`

	// Probe asks the database before the program runs. It must end within two minutes, because a client can wait for
	// ever if no server answers. In a restore the probe reports whether the database holds data. Without a probe every
	// restore needs confirm.
	// +optional
	Probe *StreamProbe `json:"probe,omitempty"`

	// Env is the environment of the program. The program also has HOME and TMPDIR, directories that it can write to,
	// LANG=C and the PATH of the image, and nothing else.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:XValidation:rule="has(self.value) != has(self.secretKey)",message="a variable has either a value or a secretKey"
	Env []StreamEnv `json:"env,omitempty"`

	// Files are written to /tmp/stream/<name> before the program starts, readable for its user alone, and removed when
	// it ends.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Files []StreamFile `json:"files,omitempty"`

	// FileName of the program's output in the snapshot, for example dump.sql.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^[A-Za-z0-9][-A-Za-z0-9._]*$"
	FileName string `json:"fileName"`

	// DataDirectory of a backup is a directory of the database's own container whose files the program reads by itself,
	// beside what it asks the server for. The PersistentVolumeClaim of that directory is mounted for the program at the
	// same path, read-only, on the same node and for the same user. The target must be a Service with exactly one pod:
	// a program that asks one server and reads the files of another would back up neither.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	DataDirectory string `json:"dataDirectory,omitempty"`

	// Finish of a restore is a program that runs after the first one ended with exit code 0, in the same directory,
	// with the same environment and files. The restore succeeds only if it ends with exit code 0 too.
	// +optional
	Finish *StreamFinish `json:"finish,omitempty"`

	// Each is a comma-separated list, such as ${databases}. The program runs once for each value, and ${value} stands
	// for the value. Each run makes a component named dump-<value>. If the list is empty, the program runs once, for
	// the component dump.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Each string `json:"each,omitempty"`

	// Selects of a backup lists what decides which part of the data the program writes, such as ${tables}, beside the
	// value of each. A dump is compared with the last one that had the same values: if far less is left, the backup
	// fails (maxShrinkPercent). Without it all of the command and of the arguments has to be the same, also what only
	// says how to connect.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	Selects []string `json:"selects,omitempty"`

	// Filter of a restore. A backup with a filter fails if the filter can't turn its dump. The default is None.
	// +optional
	Filter StreamFilter `json:"filter,omitempty"`

	// SearchPath of a restore with the filter PostgresRoles replaces the empty search path that a dump of PostgreSQL
	// sets: names of schemas with commas between them. If it is empty, the dump's own stays.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	SearchPath string `json:"searchPath,omitempty"`

	// Format that the restore reads. A backup fails if the first bytes of the program's output show another one. The
	// default is None, which allows any.
	// +optional
	Format StreamFormat `json:"format,omitempty"`

	// EachFormat replaces format when each names values.
	// +optional
	EachFormat StreamFormat `json:"eachFormat,omitempty"`
}

// StreamProbe is a program that reports what a database holds. A restore without confirm reads its standard output
// first. It writes only if the program ended with exit code 0, and if every line of the output is empty or begins with
// #, or one is "# holds no data" and fewer than 1,000 lines hold data. In a backup, and in a restore with confirm, the
// program only shows that the database answers: its output does not count, except for refuse and two lines. With
// "# holds no data" a backup fails with reason Empty, unless successPolicy.empty allows it. With
// "# max_allowed_packet <bytes>" a restore refuses a dump in SQL whose longest statement is not shorter. The program
// has the environment and the files of the stream's own program.
type StreamProbe struct {
	// Command is the program and its first arguments.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=8192
	Command []string `json:"command"`

	// EachCommand replaces command for a component dump-<value>.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=8192
	EachCommand []string `json:"eachCommand,omitempty"`

	// Args are further arguments.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Args []StreamArgument `json:"args,omitempty"`

	// Refuse lists lines of the output, or of the last errors, that fail a backup or a restore before its program runs.
	// They are no data. The first that matches a line counts.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Refuse []StreamRefusal `json:"refuse,omitempty"`
}

// StreamRefusal is a line of a probe's output that names a mistake: a dump would look good and lack data, or a restore
// would fail, or change more than its user knows.
type StreamRefusal struct {
	// Prefix is how the line begins.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Prefix string `json:"prefix"`

	// Message of the failure. The lines follow it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message"`

	// Unless is true or false, or a variable such as ${onlyVisible}. With true nothing is refused. Empty means false.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Unless string `json:"unless,omitempty"`
}

// StreamFinish is a program that finishes the work of another one.
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

// StreamArgument is one argument of a program, or several.
// +kubebuilder:validation:XValidation:rule="!(has(self.each) && has(self.words) && self.words)",message="an argument has each or words, not both"
type StreamArgument struct {
	// Value of the argument. If it is empty after the variables were filled in, the argument is left out.
	// +required
	// +kubebuilder:validation:MaxLength=4096
	Value string `json:"value"`

	// Each is a comma-separated list, such as ${tables}. Each value makes one argument, in which ${value} stands for
	// the value.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Each string `json:"each,omitempty"`

	// Words splits value into several arguments, as a shell would, quotes included. Nothing is expanded.
	// +optional
	Words bool `json:"words,omitempty"`

	// IfKey is a key of the database's Secret. Without this key the argument is left out.
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

	// SecretKey is the key of the database's Secret that holds the value.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern="^[-._a-zA-Z0-9]+$"
	SecretKey string `json:"secretKey,omitempty"`

	// IfKey is a key of the database's Secret. Without this key the variable is left out.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern="^[-._a-zA-Z0-9]+$"
	IfKey string `json:"ifKey,omitempty"`
}

// StreamFile is a file that a program reads, for example a file with the password.
type StreamFile struct {
	// Name of the file.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^[A-Za-z0-9_.]*[A-Za-z0-9_][-A-Za-z0-9_.]*$"
	Name string `json:"name"`

	// Content of the file. $(key) stands for the value of that key of the database's Secret, without line breaks at its
	// end.
	// +required
	// +kubebuilder:validation:MaxLength=8192
	Content string `json:"content"`

	// Escape is how these values are written. The default is None.
	// +optional
	Escape StreamEscape `json:"escape,omitempty"`

	// IfKey is a key of the database's Secret. Without this key the file is left out.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern="^[-._a-zA-Z0-9]+$"
	IfKey string `json:"ifKey,omitempty"`
}
