package task

import (
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// Version of the Task's and the Result's JSON. A mover refuses a Task of another version.
const Version = 1

// Kind is what a mover is to do. Its values are the mover's subcommands.
type Kind string

// The values of Kind.
const (
	KindInitStorage    Kind = "init-storage"
	KindInitRepository Kind = "init-repository"
	KindBackup         Kind = "backup"
	KindRestore        Kind = "restore"
)

// Where things lie in a mover's container.
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
	// WorkDir can be written to. It is lost with the pod.
	WorkDir = policy.MoverWorkDir
	// Container is the name of the mover's container.
	Container = "mover"
)

// Task is what one mover is to do. It holds no credential.
type Task struct {
	// Version of this JSON.
	Version int `json:"version"`
	// Kind of the work.
	Kind Kind `json:"kind"`
	// Cluster is the UID of the cluster.
	Cluster string `json:"cluster"`
	// Namespace of the Job.
	Namespace string `json:"namespace"`
	// Storage is the backend. There is none for KindVolumeSnapshot, KindVolumeRestore and KindVolumeMount.
	Storage Storage `json:"storage,omitzero"`
	// Repository to work on; nil where there is no Storage and for KindInitStorage.
	Repository *Repository `json:"repository,omitempty"`
	// Snapshot to make (KindBackup) or to restore (KindRestore).
	Snapshot *Snapshot `json:"snapshot,omitempty"`
	// SuccessPolicy that each component of a backup is judged by; nil has the defaults.
	SuccessPolicy *v1alpha1.SuccessPolicy `json:"successPolicy,omitempty"`
	// RestoreSession that a restore reports to.
	RestoreSession *Object `json:"restoreSession,omitempty"`
	// Restore is how a restore treats what its volumes hold. Nil: they must be empty.
	Restore *Restore `json:"restore,omitempty"`
	// Components to move, in this order.
	Components []Component `json:"components,omitempty"`
	// Keep is what a keeper is to do (KindKeep).
	Keep []Keep `json:"keep,omitempty"`
}

// Object names an object of the Job's namespace.
type Object struct {
	Name string    `json:"name"`
	UID  types.UID `json:"uid,omitempty"`
}

// Storage is a BackupStorage as a mover sees it. The names of Secrets in it mean nothing to the mover.
type Storage struct {
	Namespace string           `json:"namespace"`
	Name      string           `json:"name"`
	UID       types.UID        `json:"uid,omitempty"`
	Spec      v1alpha1.Storage `json:"spec"`
}

// Repository is a Repository as a mover sees it.
type Repository struct {
	Name      string                        `json:"name"`
	UID       types.UID                     `json:"uid,omitempty"`
	AppRef    v1alpha1.TypedObjectReference `json:"appRef"`
	Directory string                        `json:"directory"`
	Driver    v1alpha1.Driver               `json:"driver"`
	// KeyID tells people which password is needed: <namespace>/<name> of the encryption Secret.
	KeyID string `json:"keyID,omitempty"`
	// Adopt is the directory that may be taken over from another owner. It counts only when it equals Directory.
	Adopt string `json:"adopt,omitempty"`
	// MustExist forbids to create the repository: it was there once.
	MustExist bool `json:"mustExist,omitempty"`
	// Encryption is the directory below EncryptionDir with the password; empty is that itself.
	Encryption string `json:"encryption,omitempty"`
}

// Snapshot is a Snapshot as a mover sees it.
type Snapshot struct {
	Name   string                 `json:"name"`
	UID    types.UID              `json:"uid"`
	Labels map[string]string      `json:"labels,omitempty"`
	Spec   *v1alpha1.SnapshotSpec `json:"spec,omitempty"`
}

// Component is one stream of data.
type Component struct {
	// Name of the component, and of its directory in VolumesDir.
	Name string `json:"name"`
	// Path inside the volume. Empty is the root.
	Path string `json:"path,omitempty"`
	// Stream is the program that writes or reads the component. There is a volume only if the program reads a server's files beside
	// that, or makes them.
	Stream *v1alpha1.ResolvedStream `json:"stream,omitempty"`
	// Snapshot is the VolumeSnapshot that is made (KindVolumeSnapshot).
	Snapshot *VolumeSnapshot `json:"snapshot,omitempty"`
	// Claim is the claim that is made (KindVolumeRestore).
	Claim *Claim `json:"claim,omitempty"`
	// ID in the repository of what is restored.
	ID string `json:"id,omitempty"`
	// Resume says that an attempt before wrote into the volume, which was empty: what is there is its work.
	Resume bool `json:"resume,omitempty"`
	// Files and Bytes are what a restore is to write.
	Files int64 `json:"files,omitempty"`
	Bytes int64 `json:"bytes,omitempty"`
}

// Encode gives the Task's JSON.
func Encode(t Task) (string, error) {
	t.Version = Version
	b, err := json.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("encode task: %w", err)
	}
	return string(b), nil
}

// Decode reads a Task of this version and kind and checks that it is complete. Fields that it does not know are ignored:
// a newer manager may add some.
func Decode(b []byte, want Kind) (Task, error) {
	var t Task
	if err := json.Unmarshal(b, &t); err != nil {
		return Task{}, fmt.Errorf("decode task: %w", err)
	}
	if t.Version != Version {
		return Task{}, fmt.Errorf("decode task: version %d, this mover knows version %d", t.Version, Version)
	}
	if t.Kind != want {
		return Task{}, fmt.Errorf("decode task: it is for %q, not for %q", t.Kind, want)
	}
	if err := t.complete(); err != nil {
		return Task{}, fmt.Errorf("decode task: %w", err)
	}
	return t, nil
}

// Check says what is missing from a Task.
func (t Task) Check() error {
	if t.Kind != KindBackup && t.Kind != KindRestore {
		return fmt.Errorf("check task: %q is not for a sidecar", t.Kind)
	}
	if err := t.complete(); err != nil {
		return fmt.Errorf("check task: %w", err)
	}
	return nil
}

// complete says which part that the kind needs is missing.
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
		return errors.New("no snapshot")
	case len(t.Components) == 0:
		return errors.New("no components")
	case t.Kind == KindBackup && t.Snapshot.Spec == nil:
		return errors.New("no snapshot spec")
	case t.Kind == KindRestore && t.RestoreSession == nil:
		return errors.New("no restore session")
	}
	return nil
}
