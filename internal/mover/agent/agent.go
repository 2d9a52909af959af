// Package agent is the mover in a sidecar: it watches for assignments, carries out one at a time and reports the
// result. Watches fill its board from other goroutines. It checks every assignment against its own pod before it
// begins.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover"
	"github.com/cairn-backup/cairn/internal/mover/failure"
	"github.com/cairn-backup/cairn/internal/mover/report"
	"github.com/cairn-backup/cairn/internal/task"
)

// Sidecar is a mover that lives in a pod of a workload. It does the work that Snapshots and RestoreSessions assign to
// its pod, one assignment after another, with the same code as the mover of a Job.
type Sidecar struct {
	// ID is the value of v1alpha1.LabelSidecar on the objects that it works on.
	ID string
	// Namespace and PodUID identify its pod.
	Namespace string
	PodUID    types.UID
	// Mover does the work. Its Places, Status and TerminationPath are set for each assignment.
	Mover mover.Mover
	// SecretDir, VolumesDir and RestoreDir are where sidecar.SecretDir, VolumesDir and RestoreDir lie below the
	// mover's root.
	SecretDir, VolumesDir, RestoreDir string
	// Client reads assignments and reports. Metadata watches for them, without a timeout.
	Client   dynamic.Interface
	Metadata metadata.Interface
	// Flags parses the arguments of a subcommand.
	Flags func(kind task.Kind, args []string) (mover.Flags, error)
	// WaitForKeys bounds the wait for keys that the kubelet has not brought yet.
	WaitForKeys time.Duration
	// WaitForStop bounds the wait for work that should stop.
	WaitForStop time.Duration
	// Log gets short lines without names of user files.
	Log *slog.Logger
}

// Reasons why work on an assignment ends before it is done. For the worker each of them is an interruption.
var (
	errWithdrawn = fmt.Errorf("the assignment was withdrawn: %w", context.Canceled)
	errLate      = fmt.Errorf("nobody waits for the work any more: %w", errWithdrawn)
	errStop      = fmt.Errorf("the assignment must stop: %w", context.Canceled)
)

// ErrStuck means that work did not stop when it should, for example a read from a file system that has gone. Only the
// end of the process stops it: the kubelet restarts the container.
var ErrStuck = errors.New("the work does not stop")

// retryReportEvery is the interval at which a report that the API server did not accept is tried again.
const retryReportEvery = 5 * time.Second

// Run works until ctx ends, which interrupts the work as in a Job. After ErrStuck the process must end.
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
			mover.Rest()
			idle.Reset(restEvery)
		}
	}
	return nil
}

// A sidecar without work returns the memory that it does not need, and later what its watches have used since.
const (
	restAfter = 5 * time.Second
	restEvery = 10 * time.Minute
)

// do works on one assignment until it is done, withdrawn, or ctx ends.
func (s *Sidecar) do(ctx context.Context, b *assignmentBoard, p posting) error {
	log := s.Log.With("resource", p.resource, "object", p.object, "host", p.assignment.Host, "attempt",
		p.assignment.Attempt)
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go b.follow(work, p, cancel)
	current, err := s.current(work, p)
	if err != nil {
		if context.Cause(work) == nil {
			log.Warn("get the assignment", "error", err)
			b.later(work)
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
		StatusWriter: report.APIStatus{Client: s.Client, Namespace: s.Namespace, Manager: sidecarManager}, work: work,
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
		s.sendReports(ctx, b, p, status.unreported(p, current, result), current.refused)
	}
	b.finished(p)
	return nil
}

// await returns the result of work. It fails with ErrStuck if work does not return although ctx ended.
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

// carryOut lets the mover do the rest of an assignment. It returns the Result that a Job would have left.
func (s *Sidecar) carryOut(ctx context.Context, status mover.StatusWriter, c *current, log *slog.Logger) task.Result {
	if c.assignment.Stop {
		return stopped()
	}
	if err := c.check(s.Namespace); err != nil {
		return c.refuse(err)
	}
	t := c.work.TaskOf(&c.assignment)
	flags, err := s.Flags(t.Kind, c.work.Args)
	if err != nil {
		return c.refuse(err)
	}
	flags.ScratchDir = task.WorkDir // a sidecar has no other
	if !s.waitForKeys(ctx, c) {
		return stopped()
	}
	if !s.hasPlace(c) {
		return c.refuse(fmt.Errorf("check work: the keys of Repository %s are for a BackupStorage with other settings "+
			"than those of %s/%s in the work", t.Repository.Name, t.Storage.Namespace, t.Storage.Name))
	}
	m := s.Mover
	m.Status, m.Log, m.Places = status, log, s.places(c)
	log.Info("begin", "task", t.Kind, "components", len(t.Components))
	if t.Kind == task.KindRestore {
		return m.Restore(ctx, t, flags)
	}
	return m.Backup(ctx, t, flags)
}

// refuse is the Result of work that the sidecar does not begin, because of its order.
func (c *current) refuse(err error) task.Result {
	c.refused = true
	return mover.Failed(failure.New(v1alpha1.ReasonInvalidTask, err.Error()))
}

// stopped is the Result of work that was stopped before it began.
func stopped() task.Result {
	return mover.Failed(failure.ClassifyMove(context.Canceled))
}

// places returns where the keys and volumes of an assignment lie.
func (s *Sidecar) places(c *current) mover.Places {
	dir := s.VolumesDir
	if c.work.Task.Kind == task.KindRestore {
		dir = s.RestoreDir
	}
	volumes := map[string]string{}
	for _, component := range c.assignment.Components {
		volumes[component.Name] = filepath.Join(dir, component.Volume) // check allows no separator
	}
	return mover.Places{
		Secret: s.SecretDir, Credentials: c.work.Keys.Storage(""), Encryption: c.work.Keys.Encryption(""),
		Volume: func(component string) string { return volumes[component] },
	}
}

// waitForKeys waits until the Secret holds the version of the repository's keys for which the assignment was made, and
// they are for its storage. It waits no longer than WaitForKeys: if the keys don't fit, the mover reports it. It
// returns false if the work must stop.
func (s *Sidecar) waitForKeys(ctx context.Context, c *current) bool {
	keys, version := c.work.Keys, c.work.KeysVersion
	ctx, cancel := context.WithTimeout(ctx, s.WaitForKeys)
	defer cancel()
	for first := true; ; first = false {
		have, err := s.secret(keys.Version())
		if (version == "" || err == nil && string(have) == version) && s.hasPlace(c) {
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

// sidecarManager begins the field managers of sidecars.
const sidecarManager = v1alpha1.SidecarServiceAccount
