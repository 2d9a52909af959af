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
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/task"
)

// Mover does one task and ends.
type Mover struct {
	// Root is put before every path of package task. It is empty in a pod.
	Root string
	// Places are where things lie below Root. The zero value is a Job's pod.
	Places Places
	// TerminationPath is the file that the kubelet reads the Result from.
	TerminationPath string
	// Driver of the repositories.
	Driver repository.Driver
	// Status is where components are reported to while they are worked on. A failing one never fails the work: the Result
	// says the same.
	Status StatusWriter
	// Client of the API server, for those that make objects there (task.KindVolumeSnapshot, task.KindVolumeRestore), and Job that they mark these with.
	Client dynamic.Interface
	Job    string
	// Now is the clock.
	Now func() time.Time
	// Log gets short lines without names of files.
	Log *slog.Logger
	// Privileged says that the mover runs as root, and so may give files to their owners.
	Privileged bool
	// ProgramGrace is how long the program of a stream may go on when it should have ended. 0 is program.DefaultGrace.
	ProgramGrace time.Duration
	// ProbeTimeout is how long a database may take to answer the probe of a stream. 0 is two minutes.
	ProbeTimeout time.Duration
}

// Places are where a mover finds what it works with.
type Places struct {
	// Credentials is what is put before the name of a key of the storage's Secret. Empty: task.CredentialsDir and a slash.
	Credentials string
	// Encryption is the same for the encryption Secret. Empty: task.EncryptionDir, and the directory that the task names.
	Encryption string
	// Volume is the root of a component's volume. Nil: the component's directory in task.VolumesDir.
	Volume func(component string) string
}

// StatusWriter reports one component. It is called from one goroutine at a time.
type StatusWriter interface {
	// Snapshot reports a component of a backup to the Snapshot of that name.
	Snapshot(ctx context.Context, object, name string, c v1alpha1.Component) error
	// Restore reports a component of a restore to the RestoreSession of that name.
	Restore(ctx context.Context, object, name string, c v1alpha1.RestoredComponent) error
}

// Flags are the arguments of the subcommands backup and restore.
type Flags struct {
	// Exclude are patterns, as in a .gitignore file, of what a backup or restore leaves out.
	Exclude []string
	// Include are patterns of what a restore restores alone. None means all.
	Include []string
	// SetID lets a restore give back set-user-ID and set-group-ID bits of files, and file capabilities.
	SetID bool
	// Devices lets a restore make devices.
	Devices bool
	// Unpack is a directory inside the volume into which a restore unpacks the tar archive that a program wrote. Empty: what was
	// kept is restored as it is.
	Unpack string
	// Cache keeps what is read of the repository in ScratchDir too.
	Cache      bool
	ScratchDir string
	// WaitTimeout is how long what is made in the cluster may take.
	WaitTimeout time.Duration
}

// Run does what the task at task.Path says and leaves the Result. It returns the exit code.
func (m *Mover) Run(ctx context.Context, kind task.Kind, flags Flags) int {
	began := m.Now()
	result := m.do(ctx, kind, flags)
	m.Log.Info("done", "task", kind, "outcome", result.Outcome, "reason", result.Reason, "message", result.Message,
		"took", m.Now().Sub(began).Round(time.Millisecond).String())
	if err := m.leave(result); err != nil {
		m.Log.Error("leave the result", "error", err)
	}
	if result.Outcome == task.OutcomeSucceeded {
		return task.ExitSucceeded
	}
	return task.ExitCode(result.Reason)
}

// Refuse leaves the Result of a mover that was called in a wrong way. It returns the exit code.
func (m *Mover) Refuse(err error) int {
	result := failed(&failure{v1alpha1.ReasonInvalidTask, err.Error()})
	m.Log.Error("refused", "error", err)
	if err := m.leave(result); err != nil {
		m.Log.Error("leave the result", "error", err)
	}
	return task.ExitCode(result.Reason)
}

func (m *Mover) do(ctx context.Context, kind task.Kind, flags Flags) task.Result {
	raw, err := os.ReadFile(m.path(task.Path))
	if err != nil {
		return failed(&failure{v1alpha1.ReasonInvalidTask, fmt.Sprintf("read task: %v", err)})
	}
	t, err := task.Decode(raw, kind)
	if err != nil {
		return failed(&failure{v1alpha1.ReasonInvalidTask, err.Error()})
	}
	if f := cmp.Or(m.streams(t, flags), unpackable(t, flags)); f != nil {
		return failed(f)
	}
	switch kind {
	case task.KindInitStorage:
		return outcome(m.initStorage(ctx, t))
	case task.KindInitRepository:
		return outcome(m.initRepository(ctx, t))
	case task.KindKeep:
		return m.keep(ctx, t)
	case task.KindBackup:
		return m.backup(ctx, t, flags)
	case task.KindRestore:
		return m.restore(ctx, t, flags)
	case task.KindVolumeRestore:
		return m.volumeRestore(ctx, t, flags)
	case task.KindVolumeMount:
		return m.volumeMount(t)
	case task.KindVolumeSnapshot:
		return m.volumeSnapshots(ctx, t, flags)
	}
	return failed(&failure{v1alpha1.ReasonInvalidTask, fmt.Sprintf("there is no task %q", kind)})
}

// leave writes the termination message.
func (m *Mover) leave(r task.Result) error {
	b, err := task.EncodeResult(r)
	if err != nil {
		return err
	}
	// The kubelet makes the file. Where there is none nobody reads it.
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

// path is where a path of package task is.
func (m *Mover) path(p string) string { return filepath.Join(m.Root, p) }

// credentialFile is where a key of the storage's Secret is.
func (m *Mover) credentialFile(key string) string {
	return m.path(cmp.Or(m.Places.Credentials, task.CredentialsDir+"/") + key)
}

// encryptionFile is where a key of the encryption Secret is; directory is what the task says of it.
func (m *Mover) encryptionFile(directory, key string) string {
	if m.Places.Encryption != "" {
		return m.path(m.Places.Encryption + key)
	}
	return m.path(filepath.Join(task.EncryptionDir, directory, key))
}

// volume is the root of a component's volume.
func (m *Mover) volume(component string) string {
	if m.Places.Volume != nil {
		return m.path(m.Places.Volume(component))
	}
	return m.path(filepath.Join(task.VolumesDir, component))
}

// outcome is the Result of a task without components.
func outcome(message string, err error) task.Result {
	if err != nil {
		return failed(classifyInit(err))
	}
	return task.Result{Outcome: task.OutcomeSucceeded, Reason: v1alpha1.ReasonSucceeded, Message: message}
}

func failed(f *failure) task.Result {
	return task.Result{Outcome: task.OutcomeFailed, Reason: f.reason, Message: f.message}
}

// failure is an error with a reason and a message that may be shown to anybody: no credential, no name of a user's file.
type failure struct{ reason, message string }

// Error gives the message.
func (f *failure) Error() string { return f.message }

// asFailure finds a failure in err's chain.
func asFailure(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	return nil
}
