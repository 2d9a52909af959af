package task

import (
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/egress"
)

// Version of the Task's and the Result's JSON. A mover refuses a Task of another version.
const Version = 1

// Kind is the kind of a mover's work. Its values are the mover's subcommands.
type Kind string

// The values of Kind.
const (
	KindInitStorage    Kind = "init-storage"
	KindInitRepository Kind = "init-repository"
	KindBackup         Kind = "backup"
	KindRestore        Kind = "restore"
)

// Paths in a mover's container, and its name.
const (
	// Path of the Task's JSON.
	Path = "/cairn/task/task.json"
	// CredentialsDir holds a file for each key of the storage's Secret.
	CredentialsDir = "/cairn/credentials"
	// EncryptionDir holds a file for each key of the encryption Secret.
	EncryptionDir = "/cairn/encryption"
	// StorageDir is where the volume of a local storage is mounted.
	StorageDir = "/cairn/storage"
	// VolumesDir holds a directory for each component: the root of its volume.
	VolumesDir = "/cairn/volumes"
	// DatabaseDir holds a file for each key of the database's Secret. Only streams have one.
	DatabaseDir = "/cairn/database"
	// StreamDir is where a stream's program finds its files.
	StreamDir = WorkDir + "/stream"
	// WorkDir is writable. It is lost with the pod.
	WorkDir = MoverWorkDir
	// ProgramSocket is where the mover asks for a stream's programs, which run in ProgramContainer.
	ProgramSocket = ProgramDir + "/socket"
	// ProgramDir is the only directory that the mover and ProgramContainer share, beside the target's data.
	ProgramDir = "/cairn/programs"
	// Container is the name of the mover's container.
	Container = "mover"
	// ProgramContainer is the name of the container with the image of a database. It runs a stream's programs for the
	// mover, and sees none of the mover's keys.
	ProgramContainer = "program"
)

// Task is the work order of one mover. It holds no credential.
type Task struct {
	// Version of this JSON.
	Version int `json:"version"`
	// Kind of the work.
	Kind Kind `json:"kind"`
	// Cluster is the UID of the cluster.
	Cluster string `json:"cluster"`
	// Namespace of the Job.
	Namespace string `json:"namespace"`
	// Storage is the backend. KindVolumeSnapshot, KindVolumeRestore and KindVolumeMount have none.
	Storage Storage `json:"storage,omitzero"`
	// Repository to work on; nil without a Storage and for KindInitStorage.
	Repository *Repository `json:"repository,omitempty"`
	// Snapshot to make (KindBackup) or to restore (KindRestore).
	Snapshot *Snapshot `json:"snapshot,omitempty"`
	// SuccessPolicy decides when a component of a backup has succeeded; nil means the defaults.
	SuccessPolicy *v1alpha1.SuccessPolicy `json:"successPolicy,omitempty"`
	// RestoreSession that a restore reports to.
	RestoreSession *Object `json:"restoreSession,omitempty"`
	// Restore describes how a restore treats the content of its volumes; nil means that they must be empty.
	Restore *Restore `json:"restore,omitempty"`
	// Components to move, in this order.
	Components []Component `json:"components,omitempty"`
	// DatabaseSecret is the name of the Secret in DatabaseDir, for messages.
	DatabaseSecret string `json:"databaseSecret,omitempty"`
	// Keep is the work of a keeper (KindKeep).
	Keep []Keep `json:"keep,omitempty"`
	// Egress are the rules for addresses that the manager adds to the built-in ones.
	Egress egress.Rules `json:"egress,omitzero"`
	// Time is when the manager wrote the task, by its clock. A keeper counts from it how long it remembers removals;
	// without it the keeper takes the clock of its node.
	Time *metav1.Time `json:"time,omitempty"`
}

// Object names an object of the Job's namespace.
type Object struct {
	Name string    `json:"name"`
	UID  types.UID `json:"uid,omitempty"`
}

// Object returns the name and UID of the Snapshot.
func (s *Snapshot) Object() Object { return Object{Name: s.Name, UID: s.UID} }

// Storage describes a BackupStorage to a mover. The mover ignores the names of Secrets in it.
type Storage struct {
	Namespace string           `json:"namespace"`
	Name      string           `json:"name"`
	UID       types.UID        `json:"uid,omitempty"`
	Spec      v1alpha1.Storage `json:"spec"`
	// MustExist forbids initialising the storage, because it, or one of its Repositories, was initialised before,
	// unless one of the Directories still holds a repository of this cluster: then only metadata.yaml is lost
	// (KindInitStorage).
	MustExist bool `json:"mustExist,omitempty"`
	// Directories are those of some of its Repositories.
	Directories []string `json:"directories,omitempty"`
	// Rivals are other BackupStorages of the cluster that name the same place. If the metadata.yaml there is that of
	// one of them, the place is taken (KindInitStorage).
	Rivals []types.UID `json:"rivals,omitempty"`
}

// Repository describes a Repository to a mover.
type Repository struct {
	Name      string                        `json:"name"`
	UID       types.UID                     `json:"uid,omitempty"`
	AppRef    v1alpha1.TypedObjectReference `json:"appRef"`
	Directory string                        `json:"directory"`
	Driver    v1alpha1.Driver               `json:"driver"`
	// KeyID tells people which password is needed: <namespace>/<name> of the encryption Secret.
	KeyID string `json:"keyID,omitempty"`
	// Adopt is the consent to adopt the directory from another owner: layout.RepositoryMetadata.Consent. It counts only
	// for the owner that it names.
	Adopt string `json:"adopt,omitempty"`
	// MustExist forbids creating the repository, because it existed before.
	MustExist bool `json:"mustExist,omitempty"`
	// Encryption is the directory below EncryptionDir with the password; empty means EncryptionDir itself.
	Encryption string `json:"encryption,omitempty"`
}

// Snapshot describes a Snapshot to a mover.
type Snapshot struct {
	Name   string                 `json:"name"`
	UID    types.UID              `json:"uid"`
	Labels map[string]string      `json:"labels,omitempty"`
	Spec   *v1alpha1.SnapshotSpec `json:"spec,omitempty"`
	// HalfRestored names the RestoreSession that has left the target half written. It is empty if there is none.
	HalfRestored string `json:"halfRestored,omitempty"`
	// Components is how many components it has when it is complete: other movers can make some of them.
	Components int32 `json:"components,omitempty"`
}

// Component is one stream of data.
type Component struct {
	// Name of the component, and of its directory in VolumesDir.
	Name string `json:"name"`
	// Path inside the volume; empty means the root.
	Path string `json:"path,omitempty"`
	// Mounts are where the target's containers mount the volume: users know its files under these paths.
	Mounts []v1alpha1.ResolvedMount `json:"mounts,omitempty"`
	// CopiedAt is when the copy that a backup reads was asked for; nil means that it reads the volume itself.
	CopiedAt *metav1.Time `json:"copiedAt,omitempty"`
	// Stream is the program that writes or reads the component. There is a volume only if the program also reads or
	// writes a server's files.
	Stream *v1alpha1.ResolvedStream `json:"stream,omitempty"`
	// Snapshot is the VolumeSnapshot to make (KindVolumeSnapshot).
	Snapshot *VolumeSnapshot `json:"snapshot,omitempty"`
	// Claim is the claim to make (KindVolumeRestore).
	Claim *Claim `json:"claim,omitempty"`
	// ID in the repository of the data to restore.
	ID string `json:"id,omitempty"`
	// Resume reports that a previous attempt wrote into the volume when it was empty, so its content is our own.
	Resume bool `json:"resume,omitempty"`
	// Files and Bytes are how much a restore writes.
	Files int64 `json:"files,omitempty"`
	Bytes int64 `json:"bytes,omitempty"`
}

// Check reports what a Task for a sidecar lacks, or which name in it can't be one.
func (t Task) Check() error {
	if t.Kind != KindBackup && t.Kind != KindRestore {
		return fmt.Errorf("check task: a sidecar cannot do %q", t.Kind)
	}
	if err := t.complete(); err != nil {
		return fmt.Errorf("check task: %w", err)
	}
	if err := t.checkNames(); err != nil {
		return fmt.Errorf("check task: %w", err)
	}
	return nil
}

// complete reports which part is missing that the kind needs.
func (t Task) complete() error {
	switch {
	case t.Cluster == "":
		return errors.New("no cluster")
	case t.Kind == KindVolumeSnapshot:
		return t.checkVolumeSnapshots()
	case t.Kind == KindVolumeRestore, t.Kind == KindVolumeMount:
		return t.checkVolumeRestore()
	case t.Storage.Spec.Provider == "":
		return errors.New("no storage")
	case t.Kind == KindInitStorage:
		return nil
	case t.Kind == KindKeep:
		return t.checkKeep()
	case t.Repository == nil || t.Repository.Directory == "":
		return errors.New("no repository")
	case t.Kind == KindInitRepository:
		return nil
	case t.Snapshot == nil || t.Snapshot.Name == "" || t.Snapshot.UID == "":
		return errors.New("no Snapshot")
	case len(t.Components) == 0:
		return errors.New("no components")
	case t.Kind == KindBackup && t.Snapshot.Spec == nil:
		return errors.New("no spec of the Snapshot")
	case t.Kind == KindRestore && t.RestoreSession == nil:
		return errors.New("no RestoreSession")
	}
	return nil
}
