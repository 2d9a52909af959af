package enginetest

import (
	"context"
	"io"
	"sync"

	"github.com/cairn-backup/cairn/internal/repository"
)

// Fault is what happens to one call of an Engine or Driver. The zero value changes nothing.
type Fault struct {
	Before func()
	Err    error // returned without making the call
	Lose   error // returned after the call, with an empty result
}

// Faults wraps any Driver. A test decides with Plan what happens to every call.
type Faults struct {
	repository.Driver
	// Plan is asked before every call. op is the call's name in lower case, such as "open" or "backup". n counts the
	// calls of that name, from 1. Plan is called under a lock.
	Plan func(op string, n int) Fault

	mu    sync.Mutex
	calls map[string]int
}

// Calls returns how often an operation was called.
func (f *Faults) Calls(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

func (f *Faults) plan(op string) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls == nil {
		f.calls = map[string]int{}
	}
	f.calls[op]++
	return f.Plan(op, f.calls[op])
}

// applyFault makes a call as its Fault says.
func applyFault[T any](f *Faults, op string, call func() (T, error)) (T, error) {
	var none T
	x := f.plan(op)
	if x.Before != nil {
		x.Before()
	}
	if x.Err != nil {
		return none, x.Err
	}
	out, err := call()
	if x.Lose != nil {
		return none, x.Lose
	}
	return out, err
}

func fateOf(f *Faults, op string, call func() error) error {
	_, err := applyFault(f, op, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

// Init implements repository.Driver.
func (f *Faults) Init(ctx context.Context, r repository.Repository) error {
	return fateOf(f, "init", func() error { return f.Driver.Init(ctx, r) })
}

// Open implements repository.Driver.
func (f *Faults) Open(ctx context.Context, r repository.Repository) (repository.Engine, error) {
	return applyFault(f, "open", func() (repository.Engine, error) {
		e, err := f.Driver.Open(ctx, r)
		if err != nil {
			return nil, err
		}
		return &faultyEngine{e, f}, nil
	})
}

// faultyEngine is the Engine of a Faults.
type faultyEngine struct {
	repository.Engine
	f *Faults
}

func (e *faultyEngine) Backup(ctx context.Context, src repository.Source, opt repository.BackupOptions) (
	repository.Snapshot, error,
) {
	return applyFault(e.f, "backup", func() (repository.Snapshot, error) { return e.Engine.Backup(ctx, src, opt) })
}

func (e *faultyEngine) List(ctx context.Context, source string) ([]repository.Snapshot, error) {
	return applyFault(e.f, "list", func() ([]repository.Snapshot, error) { return e.Engine.List(ctx, source) })
}

func (e *faultyEngine) FindByTags(ctx context.Context, tags map[string]string) ([]repository.Snapshot, error) {
	return applyFault(e.f, "find", func() ([]repository.Snapshot, error) { return e.Engine.FindByTags(ctx, tags) })
}

func (e *faultyEngine) Restore(ctx context.Context, id, target string, opt repository.RestoreOptions) (
	repository.RestoreResult, error,
) {
	return applyFault(e.f, "restore",
		func() (repository.RestoreResult, error) { return e.Engine.Restore(ctx, id, target, opt) })
}

func (e *faultyEngine) RestoreStream(ctx context.Context, id string, w io.Writer) error {
	return fateOf(e.f, "restorestream", func() error { return e.Engine.RestoreStream(ctx, id, w) })
}

func (e *faultyEngine) Verify(ctx context.Context, id string, percent float64) (repository.VerifyResult, error) {
	return applyFault(e.f, "verify",
		func() (repository.VerifyResult, error) { return e.Engine.Verify(ctx, id, percent) })
}

func (e *faultyEngine) Check(ctx context.Context, ids []string) ([]string, error) {
	return applyFault(e.f, "check", func() ([]string, error) { return e.Engine.Check(ctx, ids) })
}

func (e *faultyEngine) Delete(ctx context.Context, ids ...string) error {
	return fateOf(e.f, "delete", func() error { return e.Engine.Delete(ctx, ids...) })
}

func (e *faultyEngine) Maintain(ctx context.Context, opt repository.MaintainOptions) error {
	return fateOf(e.f, "maintain", func() error { return e.Engine.Maintain(ctx, opt) })
}

func (e *faultyEngine) Close(ctx context.Context) error {
	return fateOf(e.f, "close", func() error { return e.Engine.Close(ctx) })
}
