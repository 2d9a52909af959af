// Package mover is the program that runs in the pods of Jobs and in sidecars. It initialises storages and
// repositories, backs up and restores volumes and streams, and keeps repositories in order. In the pods of CronJobs
// it creates BackupSessions. Package task defines its input and output.
//
// Concurrency: a Mover does one task in one goroutine. A Sidecar does one assignment at a time, while watches fill
// its board from other goroutines.
//
// Invariants: no credential and no name of a user's file appears in a log line, a message or a Result. Only an init
// task creates a repository.
package mover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/dynamic"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover/failure"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/task"
)

// Mover does one task and ends.
type Mover struct {
	// Root is put before every path of package task. It is empty in a pod.
	Root string
	// Places are where things lie below Root. The zero value suits the pod of a Job.
	Places Places
	// TerminationPath is the file from which the kubelet reads the Result.
	TerminationPath string
	// Driver opens the repositories.
	Driver repository.Driver
	// Status receives reports on components while they are worked on. A report that fails does not fail the work,
	// because the Result says the same; but report.ErrFenced ends it.
	Status StatusWriter
	// Client of the API server is for tasks that make objects there (task.KindVolumeSnapshot,
	// task.KindVolumeRestore). Job is the name with which they mark these objects.
	Client dynamic.Interface
	Job    string
	// Now is the clock.
	Now func() time.Time
	// Log gets short lines without names of user files.
	Log *slog.Logger
	// Privileged says that the mover runs as root, so it is able to change the owners of files.
	Privileged bool
	// ProgramGrace is how long a stream's program can go on after it should have ended. 0 means program.defaultGrace.
	ProgramGrace time.Duration
	// ProgramPatience is how long the container that runs a stream's programs has to answer. 0 means one minute.
	ProgramPatience time.Duration
	// ProbeTimeout is how long a database can take to answer the probe of a stream. 0 means two minutes.
	ProbeTimeout time.Duration
	// RenewLease is how often a keeper renews its lease in the backend. 0 means every 20 seconds.
	RenewLease time.Duration
	// CheckTimeout is how long a keeper checks Snapshots before it gives up. 0 means two hours.
	CheckTimeout time.Duration

	// databaseSecret is the namespace and name of the Secret of the task's database.
	databaseSecret string
}

// Places are where a mover finds keys and volumes.
type Places struct {
	// Secret is the directory of a Secret with all keys. Empty means task.CredentialsDir for those of the storage, and
	// task.EncryptionDir with the directory that the task names for those of the repository.
	Secret string
	// Credentials and Encryption begin the names of the keys of the storage, and of the repository, in Secret.
	Credentials, Encryption string
	// Volume returns the root of a component's volume. Nil means the component's directory in task.VolumesDir.
	Volume func(component string) string
}

// StatusWriter reports single components. It is called from one goroutine at a time. report.ErrFenced as the error says
// that the mover's work does not count any more.
type StatusWriter interface {
	// Snapshot reports a component of a backup to the Snapshot of that name and UID.
	Snapshot(ctx context.Context, object task.Object, name string, c v1alpha1.Component) error
	// Restore reports a component of a restore to the RestoreSession of that name and UID.
	Restore(ctx context.Context, object task.Object, name string, c v1alpha1.RestoredComponent) error
}

// Flags are the arguments of the subcommands backup and restore.
type Flags struct {
	// Exclude holds patterns: see repository.Selection. Backup and restore leave out what matches.
	Exclude []string
	// FullReadEvery is how often a backup reads every file, changed or not. 0 means never.
	FullReadEvery time.Duration
	// IgnoreInode lets a backup take a file for unchanged although its ctime or inode changed. It needs FullReadEvery.
	IgnoreInode bool
	// Include holds patterns. A restore restores only what matches. Empty means all.
	Include []string
	// SetID lets a restore set the set-user-ID and set-group-ID bits and the capabilities of files.
	SetID bool
	// Devices lets a restore create devices.
	Devices bool
	// Unpack is a directory inside the volume into which a restore unpacks a tar archive that a program wrote. Empty
	// means that the data is restored as it is.
	Unpack string
	// Cache also keeps on disk, in ScratchDir, what is read from the repository.
	Cache      bool
	ScratchDir string
	// WaitTimeout bounds the wait for objects that others make in the cluster.
	WaitTimeout time.Duration
}

// Run does the task at task.Path, writes the Result and returns the exit code.
func (m *Mover) Run(ctx context.Context, kind task.Kind, flags Flags) int {
	began := m.Now()
	result := m.do(ctx, kind, flags)
	m.Log.Info("done", "task", kind, "outcome", result.Outcome, "reason", result.Reason, "message", result.Message,
		"took", m.Now().Sub(began).Round(time.Millisecond).String())
	if err := m.leave(result); err != nil {
		m.Log.Error("write the result", "error", err)
	}
	if result.Outcome == task.OutcomeSucceeded {
		return task.ExitSucceeded
	}
	return task.ExitCode(result.Reason)
}

// Refuse writes the Result of a mover that was called in a wrong way. It returns the exit code.
func (m *Mover) Refuse(err error) int {
	result := Failed(failure.New(v1alpha1.ReasonInvalidTask, err.Error()))
	m.Log.Error("refused", "error", err)
	if err := m.leave(result); err != nil {
		m.Log.Error("write the result", "error", err)
	}
	return task.ExitCode(result.Reason)
}

func (m *Mover) do(ctx context.Context, kind task.Kind, flags Flags) task.Result {
	raw, err := os.ReadFile(m.Path(task.Path))
	if err != nil {
		return Failed(failure.New(v1alpha1.ReasonInvalidTask, fmt.Sprintf("read task: %v", err)))
	}
	t, err := task.Decode(raw, kind)
	if err != nil {
		return Failed(failure.New(v1alpha1.ReasonInvalidTask, err.Error()))
	}
	if f := cmp.Or(m.streams(t, flags), unpackable(t, flags)); f != nil {
		return Failed(f)
	}
	switch kind {
	case task.KindInitStorage:
		return outcome(m.initStorage(ctx, t))
	case task.KindInitRepository:
		return outcome(m.initRepository(ctx, t))
	case task.KindKeep:
		return m.keep(ctx, t)
	case task.KindBackup:
		return m.Backup(ctx, t, flags)
	case task.KindRestore:
		return m.Restore(ctx, t, flags)
	case task.KindVolumeRestore:
		return m.volumeRestore(ctx, t, flags)
	case task.KindVolumeMount:
		return m.volumeMount(t)
	case task.KindVolumeSnapshot:
		return m.volumeSnapshots(ctx, t, flags)
	}
	return Failed(failure.New(v1alpha1.ReasonInvalidTask, fmt.Sprintf("unknown task %q", kind)))
}

// leave writes the Result as the termination message.
func (m *Mover) leave(r task.Result) error {
	b, err := task.EncodeResult(r)
	if err != nil {
		return err
	}
	// The kubelet creates the file. If there is none, nobody reads it.
	f, err := os.OpenFile(m.TerminationPath, os.O_WRONLY|os.O_TRUNC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open termination message: %w", err)
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write termination message: %w", err)
	}
	return nil
}

// Path returns where a path of package task lies for this mover.
func (m *Mover) Path(p string) string { return filepath.Join(m.Root, p) }

// readCredential reads a key of the storage's Secret.
func (m *Mover) readCredential(key string) ([]byte, error) {
	if m.Places.Secret != "" {
		return m.readKey(m.Places.Secret, m.Places.Credentials+key)
	}
	return m.readKey(task.CredentialsDir, key)
}

// readEncryption reads a key of the encryption Secret. directory is the one that the task names.
func (m *Mover) readEncryption(directory, key string) ([]byte, error) {
	if m.Places.Secret != "" {
		return m.readKey(m.Places.Secret, m.Places.Encryption+key)
	}
	return m.readKey(task.EncryptionDir, filepath.Join(directory, key))
}

// readKey reads a file below a directory, and no file outside it. The kubelet makes keys symbolic links in there.
func (m *Mover) readKey(dir, name string) ([]byte, error) {
	root, err := os.OpenRoot(m.Path(dir))
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	return root.ReadFile(name)
}

// cacheDir creates the repository's cache directory, if one is requested. Its volume can outlive the pod, and other
// repositories can use it too.
func (m *Mover) cacheDir(t task.Task, flags Flags) (string, error) {
	if !flags.Cache {
		return "", nil
	}
	dir := m.Path(filepath.Join(flags.ScratchDir, "cache", string(t.Repository.UID)))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", failure.New(v1alpha1.ReasonInvalidTask,
			fmt.Sprintf(
				"can't create a cache in %s: %v: set scratchDir to a directory that the mover is allowed to write to, "+
					"or enableCache to false", flags.ScratchDir, errors.Unwrap(err)))
	}
	return dir, nil
}

// volume returns the root of a component's volume.
func (m *Mover) volume(component string) string {
	if m.Places.Volume != nil {
		return m.Path(m.Places.Volume(component))
	}
	return m.Path(filepath.Join(task.VolumesDir, component))
}

// outcome returns the Result of a task without components.
func outcome(message string, err error) task.Result {
	if err != nil {
		return Failed(failure.ClassifyInit(err))
	}
	return task.Result{Outcome: task.OutcomeSucceeded, Reason: v1alpha1.ReasonSucceeded, Message: message}
}

// Failed returns the result of a task that failed.
func Failed(f *failure.Failure) task.Result {
	return task.Result{Outcome: task.OutcomeFailed, Reason: f.Reason, Message: f.Message}
}
