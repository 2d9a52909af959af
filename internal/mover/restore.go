package mover

import (
	"context"
	"errors"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/mover/failure"
	"github.com/cairn-backup/cairn/internal/mover/report"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/text"
)

// Restore restores one component after another.
func (m *Mover) Restore(ctx context.Context, t task.Task, flags Flags) task.Result {
	from := restoreSource{m: m}
	setup := from.open(ctx, t, flags)
	defer from.close(ctx)
	engine := from.engine
	var results []task.ComponentResult
	for _, c := range t.Components {
		began := m.Now()
		r, f := unrestored(c), setup
		switch {
		case f != nil:
		case flags.Unpack != "":
			r, f = m.restoreArchive(ctx, t, flags, engine, c, began)
		case c.Stream != nil:
			r, f = m.restoreStream(ctx, t, engine, c, began)
		default:
			r, f = m.restoreComponent(ctx, t, flags, engine, c, began)
		}
		r.TargetUntouched = r.TargetUntouched && f != nil
		r = ended(r, f, began, m.Now())
		m.reportRestore(ctx, t, r.Name, r.Restored())
		results = append(results, r)
	}
	return summary(results, "restored")
}

// unrestored is the result of a component into whose target this mover has not written.
func unrestored(c task.Component) task.ComponentResult {
	return task.ComponentResult{
		Name: c.Name, Path: c.Path, ID: c.ID, TargetWritten: c.Resume, TargetUntouched: true,
	}
}

// restoreSource is the repository that a restore reads.
type restoreSource struct {
	m      *Mover
	at     repository.Repository
	own    bool              // it belongs to the Repository of this cluster that the task names
	engine repository.Engine // nil if it was not opened
}

// open connects to the repository read-only.
func (s *restoreSource) open(ctx context.Context, t task.Task, flags Flags) *failure.Failure {
	storage, err := s.m.storage(t)
	if err != nil {
		return failure.ClassifyInit(err)
	}
	if s.at, err = s.m.repository(t, storage); err != nil {
		return failure.ClassifyInit(err)
	}
	store, err := backend.Open(storage)
	if err != nil {
		return failure.ClassifyInit(err)
	}
	metadata, err := reach(ctx, store, t.Repository.Directory)
	if err != nil {
		return failure.ClassifyInit(err)
	}
	owner, err := layout.ParseRepositoryMetadata(metadata)
	s.own = err == nil && owner.ClusterUID == t.Cluster && owner.RepositoryUID == string(t.Repository.UID)
	s.at.ReadOnly = true
	if s.at.CacheDir, err = s.m.cacheDir(t, flags); err != nil {
		return failure.ClassifyInit(err)
	}
	if s.engine, err = s.m.open(ctx, s.at, t.Repository.Name); err != nil {
		s.engine = nil
		return failure.ClassifyOpen(orGone(err, metadata != nil, t), rulesOf(t).EncryptionSecret)
	}
	return nil
}

// close ends the connection. If the storage returned other bytes than were written, the next backup is told.
func (s *restoreSource) close(ctx context.Context) {
	if s.engine == nil {
		return
	}
	ctx = context.WithoutCancel(ctx)
	rotten := s.engine.Rotten()
	if err := s.engine.Close(ctx); err != nil {
		s.m.Log.Warn("close repository", "reason", failure.ClassifyMove(err).Reason)
	}
	if len(rotten) == 0 || !s.own {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, doubtWithin)
	defer cancel()
	if err := s.doubt(ctx, rotten); err != nil {
		s.m.Log.Warn("the next backup does not know that data is damaged", "reason", failure.ClassifyMove(err).Reason)
	}
}

// doubtWithin is the time to tell the next backup of damage. A mover that was stopped may not have it.
const doubtWithin = time.Minute

// doubt is all that a restore writes to a repository, and only to one of this cluster, whose backups read it.
func (s *restoreSource) doubt(ctx context.Context, ids []string) (err error) {
	at := s.at
	at.ReadOnly = false
	engine, err := s.m.Driver.Open(ctx, at)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close(context.WithoutCancel(ctx))) }()
	return engine.Doubt(ctx, ids...)
}

// restoreComponent writes one component into its volume. It restores owners if the mover is able to, and set-id bits
// and devices only if requested, because the content of a volume is not trusted. It counts what it did not restore.
func (m *Mover) restoreComponent(
	ctx context.Context, t task.Task, flags Flags, engine repository.Engine,
	c task.Component, began time.Time,
) (task.ComponentResult, *failure.Failure) {
	r, rules := unrestored(c), rulesOf(t)
	dir, empty, f := m.target(c, rules, &r)
	if f != nil {
		r.TargetEmpty = empty && !rules.Group
		return r, f
	}
	defer func() { _ = dir.Close() }()
	r.TargetWritten = empty || c.Resume
	report := restoring{m: m, t: t, c: c, began: began, last: began, written: r.TargetWritten}
	ctx, end, f := report.begin(ctx)
	if f != nil {
		return r, f
	}
	defer end()
	options := repository.RestoreOptions{
		Owners: m.Privileged, SetID: flags.SetID, Devices: flags.Devices, OnConflict: onConflict(rules, c.Resume),
		Include: flags.Include, Exclude: flags.Exclude, Mounts: mounts(c),
		DeleteExtra: rules.DeleteExtra && rules.Overwrite != "",
		Progress:    report.progress(ctx), ProgressEvery: progressEvery,
	}
	if rules.Verify {
		options.Kept, options.Again = new(repository.Kept), rules.Again
	}
	got, err := engine.Restore(ctx, c.ID, dir.path(), options)
	r.TargetUntouched = r.TargetUntouched && !got.Touched
	r.Files, r.SizeBytes = got.Files+got.Links, got.Bytes
	r.DevicesNotRestored, r.LinksNotRestored = got.DevicesNotRestored, got.LinksNotRestored
	r.ExtraKept, r.UnmatchedPatterns = got.ExtraKept, task.Patterns(got.Unmatched)
	r.Overwritten, r.Kept, r.Deleted = got.Overwritten, got.Skipped, got.Deleted
	r.OwnersNotRestored, r.AttributesNotRestored = got.OwnersNotRestored, got.AttributesNotRestored+got.ModesNotRestored
	if err != nil {
		f := failure.ClassifyMove(err)
		// If nothing was written, the volume is as empty as before: another attempt must look again.
		untouched := m.leftEmpty(c)
		r.TargetWritten = r.TargetWritten && !untouched
		r.TargetEmpty = untouched && empty && !rules.Group && f.Reason == v1alpha1.ReasonTargetUnwritable
		return r, f
	}
	if got.Files+got.Links+got.Special+got.Skipped == 0 &&
		(len(flags.Include) > 0 || len(flags.Exclude) > 0 && c.Files > 0) {
		return r, failure.New(v1alpha1.ReasonEmpty,
			"the parameters include and exclude leave nothing of the component, so nothing was restored: correct the "+
				"patterns, or leave the component out with dataSource.components")
	}
	if rules.Verify {
		return m.verify(ctx, engine, r, dir, options)
	}
	return r, nil
}

// verify reads back what was restored. If it can't, the outcome is unknown.
func (m *Mover) verify(
	ctx context.Context, engine repository.Engine, r task.ComponentResult, dir place,
	options repository.RestoreOptions,
) (task.ComponentResult, *failure.Failure) {
	got, err := engine.Compare(ctx, r.ID, dir.path(), options)
	r.Verified, r.Different = got.Files, got.Different
	switch {
	case got.Different > 0:
		return r, failure.New(v1alpha1.ReasonVerificationFailed,
			"the volume differs from the repository in "+text.Quantity(got.Different, "entry")+
				": something else may be writing to the volume, or its disk is failing")
	case err != nil:
		f := failure.ClassifyMove(err)
		r.Outcome = task.OutcomeUnknown
		return r, failure.New(f.Reason, "all data was written, but could not be verified: "+f.Message)
	case got.Unreadable > 0:
		r.Outcome = task.OutcomeUnknown
		return r, failure.New(v1alpha1.ReasonUnreadable,
			"all data was written, but "+text.Quantity(got.Unreadable, "entry")+" could not be read back: restore as "+
				"a user who is allowed to read everything (jobTemplate.spec.securityContext)")
	case got.Doubtful > 0:
		r.Outcome = task.OutcomeUnknown
		return r, failure.New(v1alpha1.ReasonVerificationFailed,
			"all data was written, but "+text.Quantity(got.Doubtful, "entry")+" with the time of the Snapshot, which "+
				"this attempt kept and an earlier one could have written, differ from the repository: restore them "+
				"again with the parameter include and overwritePolicy Overwrite, unless they are yours")
	}
	return r, nil
}

// onConflict returns what happens to existing files. A volume that was empty before holds only the work of an earlier
// attempt. A file that it left half-written is newer than its backup, but nothing to keep.
func onConflict(rules task.Restore, resume bool) repository.Conflict {
	switch {
	case resume:
		return repository.ConflictReplace
	case rules.Overwrite == v1alpha1.OverwriteIfNewer:
		return repository.ConflictNewer
	case rules.Overwrite == v1alpha1.OverwriteNever:
		return repository.ConflictSkip
	case rules.Overwrite != "":
		return repository.ConflictReplace
	default:
		return repository.ConflictFail
	}
}

// restoring reports a component that is being restored.
type restoring struct {
	m           *Mover
	t           task.Task
	c           task.Component
	began, last time.Time
	written     bool
	stop        context.CancelCauseFunc
}

// begin says that the component is about to be written. The returned context ends with end, and before that if the
// mover's work does not count any more: others can use the volume by then.
func (r *restoring) begin(ctx context.Context) (_ context.Context, end func(), _ *failure.Failure) {
	ctx, r.stop = context.WithCancelCause(ctx)
	if r.tell(ctx, nil) {
		r.stop(report.ErrFenced)
		return nil, nil, givenUp()
	}
	return ctx, func() { r.stop(nil) }, nil
}

// tell reports whether the mover's work does not count any more.
func (r *restoring) tell(ctx context.Context, p *v1alpha1.RestoreProgress) (fenced bool) {
	return r.m.reportRestore(ctx, r.t, r.c.Name, v1alpha1.RestoredComponent{
		Phase: v1alpha1.RestoreSessionRunning, ID: r.c.ID, StartTime: report.TimeOf(r.began), TargetWritten: r.written,
		Progress: p,
	})
}

// progress reports how far the restore is, at most once per progressEvery.
func (r *restoring) progress(ctx context.Context) func(repository.RestoreProgress) {
	return func(p repository.RestoreProgress) {
		now := r.m.Now()
		if now.Sub(r.last) < progressEvery {
			return
		}
		r.last = now
		seconds := max(1, int64(now.Sub(r.began)/time.Second))
		out := &v1alpha1.RestoreProgress{
			SecondsElapsed: seconds, TotalFiles: r.c.Files, FilesDone: p.FilesDone, BytesDone: p.BytesDone,
			RestoreDone: task.FormatSize(p.BytesDone), Total: task.FormatSize(r.c.Bytes),
			Speed: task.FormatSize(p.BytesDone/seconds) + "/s",
		}
		if r.c.Bytes > 0 {
			out.PercentDone = int32(min(100, p.BytesDone*100/r.c.Bytes))
		}
		if r.tell(ctx, out) {
			r.stop(report.ErrFenced)
		}
	}
}

// reportRestore writes a component to the RestoreSession's status. If that fails, the Result says the same later. It
// reports whether the mover's work does not count any more.
func (m *Mover) reportRestore(
	ctx context.Context, t task.Task, name string, c v1alpha1.RestoredComponent,
) (fenced bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ReportWithin)
	defer cancel()
	err := m.Status.Restore(ctx, *t.RestoreSession, name, c)
	if err != nil {
		m.Log.Warn("report to the RestoreSession", "component", name, "error", err)
	}
	return errors.Is(err, report.ErrFenced)
}
