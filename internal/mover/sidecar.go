package mover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task"
)

// Sidecar is a mover that lives in a pod of a workload. It does what Snapshots and RestoreSessions assign to its pod, one
// assignment after the other, with the code that a Job's mover does it with.
type Sidecar struct {
	// ID is the value of v1alpha1.LabelSidecar that it looks for.
	ID string
	// Namespace and PodUID of its pod.
	Namespace string
	PodUID    types.UID
	// Mover is what works. Its Places, Status and TerminationPath are set for each assignment.
	Mover Mover
	// SecretDir, VolumesDir and RestoreDir are where sidecar.SecretDir, VolumesDir and RestoreDir are below the mover's root.
	SecretDir, VolumesDir, RestoreDir string
	// Client reads assignments and reports. Metadata watches for them, without a timeout.
	Client   dynamic.Interface
	Metadata metadata.Interface
	// Flags reads the arguments of a subcommand.
	Flags func(kind task.Kind, args []string) (Flags, error)
	// WaitForKeys is how long keys are waited for that the kubelet has not brought yet.
	WaitForKeys time.Duration
	// WaitForStop is how long work may take to stop when it should.
	WaitForStop time.Duration
	// Log gets short lines without names of files.
	Log *slog.Logger
}

// Why the work on an assignment ends before it is done. To whoever works they are what every interruption is.
var (
	errWithdrawn = fmt.Errorf("the assignment was withdrawn: %w", context.Canceled)
	errLate      = fmt.Errorf("nobody waits for the work any more: %w", errWithdrawn)
	errStop      = fmt.Errorf("the assignment is to be stopped: %w", context.Canceled)
)

// ErrStuck says that work did not stop when it should, as a read of a file system does that has gone. Only the end of the process
// stops it: the kubelet starts the container again.
var ErrStuck = errors.New("the work does not stop")

// settleEvery is how often it is tried again to report what the API server did not take.
const settleEvery = 5 * time.Second

// Run works until ctx ends, which interrupts the work as it does a Job's. After ErrStuck the process must end.
func (s *Sidecar) Run(ctx context.Context) error {
	b := newBoard(s.PodUID)
	for _, resource := range []string{snapshots, restoreSessions} {
		go s.watch(ctx, b, resource)
	}
	s.Log.Info("waiting for work", "sidecar", s.ID)
	idle := time.NewTimer(restAfter)
	for ctx.Err() == nil {
		changed := b.changed()
		if next := b.next(); next != nil {
			if err := s.do(ctx, b, *next); err != nil {
				return err
			}
			idle.Reset(restAfter)
			continue
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-idle.C:
			rest()
			idle.Reset(restEvery)
		}
	}
	return nil
}

// A sidecar without work gives back the memory that it does not need, and later what its watches needed since.
const (
	restAfter = 5 * time.Second
	restEvery = 10 * time.Minute
)

// do works on one assignment until it is done, withdrawn, or ctx ends.
func (s *Sidecar) do(ctx context.Context, b *board, p posting) error {
	log := s.Log.With("resource", p.resource, "object", p.object, "host", p.assignment.Host, "attempt", p.assignment.Attempt)
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go b.follow(work, p, cancel)
	current, err := s.current(work, p)
	if err != nil {
		if context.Cause(work) == nil {
			log.Warn("read the assignment", "error", err)
			b.later(work, p)
		}
		return nil
	}
	if current == nil {
		b.finished(p)
		return nil
	}
	if within := current.assignment.Within.Duration; within > 0 {
		defer time.AfterFunc(within, func() { cancel(errLate) }).Stop()
	}
	status := &sidecarStatus{
		StatusWriter: APIStatus{Client: s.Client, Namespace: s.Namespace, Manager: sidecarManager}, work: work,
		stands:   func(ctx context.Context) (bool, error) { return s.stands(ctx, p) },
		withdraw: func() { cancel(errWithdrawn) },
	}
	result, err := s.await(work, func() task.Result { return s.carryOut(work, status, current, log) })
	switch {
	case err != nil:
		log.Error("stop", "why", context.Cause(work), "error", err)
		return err
	case ctx.Err() != nil:
		log.Info("interrupted", "reason", result.Reason)
		return nil
	case errors.Is(context.Cause(work), errWithdrawn):
		log.Info("stopped", "why", context.Cause(work), "outcome", result.Outcome)
	default:
		log.Info("done", "outcome", result.Outcome, "reason", result.Reason, "message", result.Message)
		s.settle(ctx, b, p, status.unsaid(current, result))
	}
	b.finished(p)
	return nil
}

// await gives what work gives. It fails with ErrStuck when that does not come back although ctx ended.
func (s *Sidecar) await(ctx context.Context, work func() task.Result) (task.Result, error) {
	done := make(chan task.Result, 1)
	go func() { done <- work() }()
	select {
	case result := <-done:
		return result, nil
	case <-ctx.Done():
	}
	select {
	case result := <-done:
		return result, nil
	case <-time.After(s.WaitForStop):
		return task.Result{}, ErrStuck
	}
}

// carryOut has the mover do what is left of an assignment. Its Result is what a Job would have left behind.
func (s *Sidecar) carryOut(ctx context.Context, status StatusWriter, c *current, log *slog.Logger) task.Result {
	if c.assignment.Stop {
		return stopped()
	}
	t := c.work.TaskOf(&c.assignment)
	if err := t.Check(); err != nil {
		return failed(&failure{v1alpha1.ReasonInvalidTask, err.Error()})
	}
	flags, err := s.Flags(t.Kind, c.work.Args)
	if err != nil {
		return failed(&failure{v1alpha1.ReasonInvalidTask, err.Error()})
	}
	flags.ScratchDir = task.WorkDir // the only one that a sidecar has
	if !s.waitForKeys(ctx, c.work.Keys, c.work.KeysVersion) {
		return stopped()
	}
	m := s.Mover
	m.Status, m.Log, m.Places = status, log, s.places(c)
	log.Info("begin", "task", t.Kind, "components", len(t.Components))
	if t.Kind == task.KindRestore {
		return m.restore(ctx, t, flags)
	}
	return m.backup(ctx, t, flags)
}

// stopped is the Result of what was not begun because it was to be stopped.
func stopped() task.Result {
	return failed(classifyMove(context.Canceled))
}

// places are where this assignment's keys and volumes lie.
func (s *Sidecar) places(c *current) Places {
	dir := s.VolumesDir
	if c.work.Task.Kind == task.KindRestore {
		dir = s.RestoreDir
	}
	volumes := map[string]string{}
	for _, component := range c.assignment.Components {
		volumes[component.Name] = filepath.Join(dir, filepath.Base(component.Volume))
	}
	return Places{
		Credentials: filepath.Join(s.SecretDir, c.work.Keys.Storage("")),
		Encryption:  filepath.Join(s.SecretDir, c.work.Keys.Encryption("")),
		Volume:      func(component string) string { return volumes[component] },
	}
}

// waitForKeys waits until the Secret holds the version of the repository's keys that the assignment was made for, but not for
// ever: if they don't fit, the mover says so. It is false when the work is to be stopped.
func (s *Sidecar) waitForKeys(ctx context.Context, keys sidecar.RepositoryKeys, version string) bool {
	ctx, cancel := context.WithTimeout(ctx, s.WaitForKeys)
	defer cancel()
	for first := true; ; first = false {
		have, err := os.ReadFile(s.Mover.path(filepath.Join(s.SecretDir, keys.Version())))
		if version == "" || err == nil && string(have) == version {
			return true
		}
		if first {
			s.Log.Info("waiting for keys", "keys", keys)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return errors.Is(context.Cause(ctx), context.DeadlineExceeded)
		}
	}
}

// sidecarManager is the beginning of the field managers of sidecars.
const sidecarManager = v1alpha1.SidecarServiceAccount
