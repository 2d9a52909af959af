package mover

import (
	"context"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/task"
)

// restore does one component after the other.
func (m *Mover) restore(ctx context.Context, t task.Task, flags Flags) task.Result {
	engine, setup := m.openForRestore(ctx, t)
	if engine != nil {
		defer func() {
			if err := engine.Close(context.WithoutCancel(ctx)); err != nil {
				m.Log.Warn("close repository", "reason", classifyMove(err).reason)
			}
		}()
	}
	var results []task.ComponentResult
	for _, c := range t.Components {
		began := m.Now()
		r, f := task.ComponentResult{Name: c.Name, Path: c.Path, ID: c.ID}, setup
		if f == nil {
			r, f = m.restoreComponent(ctx, t, flags, engine, c, began)
		}
		r = ended(r, f, began, m.Now())
		m.reportRestore(ctx, t, r.Name, r.Restored())
		results = append(results, r)
	}
	return summary(results, "restored")
}

// openForRestore connects to the repository. Nothing is written to it.
func (m *Mover) openForRestore(ctx context.Context, t task.Task) (repository.Engine, *failure) {
	storage, err := m.storage(t)
	if err != nil {
		return nil, classifyInit(err)
	}
	rep, err := m.repository(t, storage)
	if err != nil {
		return nil, classifyInit(err)
	}
	rep.ReadOnly = true
	engine, err := m.Driver.Open(ctx, rep)
	if err != nil {
		return nil, classifyInit(err)
	}
	return engine, nil
}

// restoreComponent writes one component into its empty volume. Owners are given back where the mover may do that, set-id bits
// of files where that was asked for, and devices never, for a volume's content is not trusted. What is missing is counted.
func (m *Mover) restoreComponent(ctx context.Context, t task.Task, flags Flags, engine repository.Engine, c task.Component, began time.Time) (task.ComponentResult, *failure) {
	r := task.ComponentResult{Name: c.Name, Path: c.Path, ID: c.ID}
	dir, f := m.target(c)
	if f != nil {
		return r, f
	}
	defer dir.Close()
	m.reportRestore(ctx, t, c.Name, v1alpha1.RestoredComponent{Phase: v1alpha1.RestoreSessionRunning, ID: c.ID, StartTime: timeOf(began)})
	options := repository.RestoreOptions{Owners: m.Privileged, SetID: flags.SetID, OnConflict: repository.ConflictFail}
	got, err := engine.Restore(ctx, c.ID, dir.path(), options)
	r.Files, r.SizeBytes = got.Files, got.Bytes
	r.OwnersNotRestored, r.AttributesNotRestored = got.OwnersNotRestored, got.AttributesNotRestored+got.ModesNotRestored
	if err != nil {
		return r, classifyMove(err)
	}
	return r, nil
}

// reportRestore tells the RestoreSession's status. What can't be told now is told by the Result.
func (m *Mover) reportRestore(ctx context.Context, t task.Task, name string, c v1alpha1.RestoredComponent) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportWithin)
	defer cancel()
	if err := m.Status.Restore(ctx, t.RestoreSession.Name, name, c); err != nil {
		m.Log.Warn("report to the RestoreSession", "component", name, "error", err)
	}
}
