package mover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/mover/failure"
	"github.com/cairn-backup/cairn/internal/mover/judge"
	"github.com/cairn-backup/cairn/internal/mover/report"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/task"
)

const (
	progressEvery = 10 * time.Second
	// progressGap is the time between two reports of progress to one Snapshot, on average. A report is two requests,
	// and another mover's report between them makes it start again.
	progressGap = 100 * time.Millisecond
	// ReportWithin is the time that the API server gets to accept a report. The work waits meanwhile.
	ReportWithin = 5 * time.Second
	// afterStop is the time for the remaining work after a mover was told to stop.
	afterStop = 10 * time.Second
)

// recordAgain is the pause before a result file is written again.
var recordAgain = wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 10}

// Backup backs up one component after another. A component that fails does not stop the others.
func (m *Mover) Backup(ctx context.Context, t task.Task, flags Flags) task.Result {
	b := &backup{m: m, t: t, flags: flags}
	setup := b.open(ctx)
	if b.engine != nil {
		defer func() {
			if err := b.engine.Close(context.WithoutCancel(ctx)); err != nil {
				m.Log.Warn("close repository", "reason", failure.ClassifyMove(err).Reason)
			}
		}()
	}
	var results []task.ComponentResult
	for _, c := range t.Components {
		began := m.Now()
		r, f := task.ComponentResult{Name: c.Name, Path: c.Path}, setup
		if f == nil {
			r, f = b.component(ctx, c, began)
		}
		results = append(results, b.finish(ctx, r, f, began))
	}
	return summary(results, "backed up")
}

// backup is a backup in progress.
type backup struct {
	m         *Mover
	t         task.Task
	flags     Flags
	engine    repository.Engine
	store     backend.Store
	directory string
}

// open connects to storage and repository. It never creates a repository: only an init Job does.
func (b *backup) open(ctx context.Context) *failure.Failure {
	storage, err := b.m.storage(b.t)
	if err != nil {
		return failure.ClassifyInit(err)
	}
	if b.store, err = backend.Open(storage); err != nil {
		return failure.ClassifyInit(err)
	}
	rep, err := b.m.repository(b.t, storage)
	if err != nil {
		return failure.ClassifyInit(err)
	}
	if b.directory, err = layout.NormalizeDirectory(b.t.Repository.Directory); err != nil {
		return failure.ClassifyInit(err)
	}
	named, err := reachOwn(ctx, b.store, b.t)
	if err != nil {
		return failure.ClassifyInit(err)
	}
	if rep.CacheDir, err = b.m.cacheDir(b.t, b.flags); err != nil {
		return failure.ClassifyInit(err)
	}
	if b.engine, err = b.m.open(ctx, rep, b.t.Repository.Name); err != nil {
		b.engine = nil
		return failure.ClassifyOpen(orGone(err, named, b.t), "")
	}
	if !named {
		err = b.ownNameless(ctx, rep.Owner)
	}
	if err == nil {
		_, err = ownerOf(ctx, b.engine, b.directory)
	}
	if err != nil {
		return failure.ClassifyInit(err)
	}
	return nil
}

// component backs up one volume or stream, unless an earlier mover has done it. The earlier mover judged its snapshot
// under the same policy.
func (b *backup) component(
	ctx context.Context, c task.Component, began time.Time,
) (task.ComponentResult, *failure.Failure) {
	r := task.ComponentResult{Name: c.Name, Path: c.Path}
	all, err := b.engine.List(ctx, b.sourceName(c))
	if err != nil {
		return r, failure.ClassifyMove(err)
	}
	uid, scopes, policy := string(b.t.Snapshot.UID), judge.Scopes(c, b.flags.Exclude), b.t.SuccessPolicy
	done, previous := judge.FindPrevious(all, uid, scopes, b.m.Now())
	if done != nil {
		b.m.Log.Info("an earlier mover has backed it up", "component", c.Name)
		return report.WithSnapshot(r, *done, previous), nil
	}
	source, release, f := b.source(ctx, c, previous)
	if f != nil {
		return report.WithSnapshot(r, repository.Snapshot{}, previous), f
	}
	defer release()
	running := v1alpha1.Component{
		Phase: v1alpha1.SnapshotRunning, Path: c.Path, Driver: b.t.Repository.Driver, StartTime: report.TimeOf(began),
	}
	if b.m.report(ctx, b.t, c.Name, running) {
		return r, givenUp()
	}
	tags := map[string]string{
		judge.TagSnapshotUID: uid, judge.TagComponent: c.Name,
		judge.TagBackupSession: b.t.Snapshot.Spec.BackupSession, judge.TagScope: scopes[0],
	}
	snapshot, err := b.engine.Backup(ctx, source, repository.BackupOptions{
		Tags: tags, Exclude: b.flags.Exclude, Mounts: mounts(c), CopiedAt: copiedAt(c),
		AllowPartial: policy.AllowsUnreadable(), AllowChanged: policy.AllowsChanged(),
		FullReadEvery: b.flags.FullReadEvery, IgnoreInode: b.flags.IgnoreInode,
		// Judge before the snapshot exists: a refused one can then neither be restored nor be found by another mover.
		Accept: func(s repository.Snapshot) error {
			d, _ := source.Stream.(*dumpStream)
			if d != nil && d.noData {
				if f := judge.NoData(policy, previous); f != nil {
					return f
				}
			}
			if f := judge.Judge(policy, s, previous); f != nil {
				return f
			}
			var f *failure.Failure
			if done, f = b.overtaken(ctx, c, running); f != nil {
				return f
			}
			note(tags, d)
			return nil
		},
		Progress: b.progress(ctx, c, began), ProgressEvery: b.progressEvery(),
	})
	if done != nil {
		return report.WithSnapshot(r, *done, previous), nil
	}
	r = report.WithSnapshot(r, snapshot, previous)
	if err != nil {
		r.ID = ""
		return r, failure.ClassifyMove(err)
	}
	return r, nil
}

// note adds to the tags of a dump what a server must take to load it, and that it holds no data.
func note(tags map[string]string, d *dumpStream) {
	if d == nil {
		return
	}
	if d.longest != nil {
		tags[judge.TagLongest] = strconv.FormatInt(d.longest.Bytes(), 10)
	}
	if d.noData {
		tags[judge.TagNoData] = "true"
	}
}

// overtaken returns a failure if the mover worked so long that its work does not count any more. Its node can have been
// lost meanwhile, another mover can have taken its place, and a restore can write into the volume by now. done is what
// the other mover made.
func (b *backup) overtaken(
	ctx context.Context, c task.Component, running v1alpha1.Component,
) (done *repository.Snapshot, _ *failure.Failure) {
	all, err := b.engine.List(ctx, b.sourceName(c))
	if err != nil {
		return nil, failure.ClassifyMove(err)
	}
	done, _ = judge.FindPrevious(all, string(b.t.Snapshot.UID), nil, b.m.Now())
	if done != nil || b.m.report(ctx, b.t, c.Name, running) {
		return done, givenUp()
	}
	return nil, nil
}

// givenUp is the failure of a mover whose work does not count any more.
func givenUp() *failure.Failure {
	return failure.New(v1alpha1.ReasonCancelled, report.ErrFenced.Error())
}

// source returns what a component backs up: a directory of its volume, or what its program writes. The caller calls
// release after reading it.
func (b *backup) source(ctx context.Context, c task.Component, previous *repository.Snapshot) (
	_ repository.Source, release func(), _ *failure.Failure,
) {
	if c.Stream != nil {
		said, f := b.m.answers(ctx, c.Stream, v1alpha1.ReasonDumpFailed)
		if f != nil {
			return repository.Source{}, nil, f
		}
		out, f := b.m.dump(ctx, c.Stream)
		if f != nil {
			return repository.Source{}, nil, f
		}
		out.noData = said.noData
		return repository.Source{Name: b.sourceName(c), Stream: out, File: c.Stream.FileName}, out.Close, nil
	}
	dir, f := b.m.source(c, b.t.SuccessPolicy, previous)
	if f != nil {
		return repository.Source{}, nil, f
	}
	return repository.Source{Name: b.sourceName(c), Dir: dir.path()}, func() { _ = dir.Close() }, nil
}

// sourceName ties the backups of a component together. It never contains a pod or node, because these can change.
func (b *backup) sourceName(c task.Component) string {
	ref := b.t.Snapshot.Spec.AppRef
	namespace := ref.Namespace
	if namespace == "" {
		namespace = b.t.Namespace
	}
	return path.Join(namespace, ref.Kind, ref.Name, c.Name)
}

// progressEvery is the interval of progress. It grows with the components of the Snapshot: each can have a mover.
func (b *backup) progressEvery() time.Duration {
	if b.t.Snapshot == nil {
		return progressEvery
	}
	return max(progressEvery, time.Duration(b.t.Snapshot.Components)*progressGap)
}

// progress reports how far the backup is, at most once per progressEvery.
func (b *backup) progress(ctx context.Context, c task.Component, began time.Time) func(repository.Progress) {
	last, every := began, b.progressEvery()
	return func(p repository.Progress) {
		now := b.m.Now()
		if now.Sub(last) < every {
			return
		}
		last = now
		b.m.report(ctx, b.t, c.Name, v1alpha1.Component{
			Phase: v1alpha1.SnapshotRunning, Path: c.Path, Driver: b.t.Repository.Driver,
			StartTime: report.TimeOf(began),
			Progress:  &v1alpha1.ComponentProgress{FilesDone: p.FilesDone, BytesDone: p.BytesRead + p.BytesUnchanged},
		})
	}
}

// finish completes a component's result and writes it to the backend, then to the status. It leaves an interrupted
// component open in both: another mover will back it up, or has.
func (b *backup) finish(
	ctx context.Context, r task.ComponentResult, f *failure.Failure, began time.Time,
) task.ComponentResult {
	r = ended(r, f, began, b.m.Now())
	if r.Reason == v1alpha1.ReasonCancelled {
		return r
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterStop)
	defer cancel()
	if r.Outcome != task.OutcomeSucceeded && b.m.report(ctx, b.t, r.Name, r.Component(b.t.Repository.Driver)) {
		return r // what another mover left in the backend stays
	}
	if b.store != nil {
		if reason := b.recorded(ctx, r); reason != "" && r.Outcome == task.OutcomeSucceeded {
			r.Error = fmt.Sprintf("the data is in the backend, but its result file is not (%s): cairn repository scan "+
				"would not find it", reason)
		}
	}
	if r.Outcome == task.OutcomeSucceeded {
		b.m.report(ctx, b.t, r.Name, r.Component(b.t.Repository.Driver))
	}
	return r
}

// recorded writes the result file, and tries again until ctx ends. It returns the reason why it could not, or "".
func (b *backup) recorded(ctx context.Context, r task.ComponentResult) (reason string) {
	err := recordAgain.DelayFunc().Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		err := b.record(ctx, r)
		if err == nil {
			return true, nil
		}
		reason = failure.ClassifyMove(err).Reason
		b.m.Log.Warn("write component result", "component", r.Name, "reason", reason)
		return false, nil
	})
	if err == nil {
		return ""
	}
	return cmp.Or(reason, failure.ClassifyMove(err).Reason)
}

// record writes snapshots/<snapshot>/<component>.yaml.
func (b *backup) record(ctx context.Context, r task.ComponentResult) error {
	if b.engine == nil {
		return nil // nothing is written to a repository that could not be opened
	}
	text, err := layout.ComponentResult{
		Snapshot: b.t.Snapshot.Name, SnapshotUID: string(b.t.Snapshot.UID), Component: r.Name,
		Phase: string(r.Outcome), ID: r.ID, Path: r.Path, Size: r.SizeBytes, Uploaded: r.UploadedBytes, Files: r.Files,
		Unreadable: r.Unreadable, AttributesUnreadable: r.AttributesUnreadable, Changed: r.Changed,
		Restless: r.Restless, Start: r.StartTime.Time, End: r.CompletionTime.Time, Reason: r.Reason, Error: r.Error,
		Of: metadataOf(b.t.Snapshot),
	}.Marshal()
	if err != nil {
		return fmt.Errorf("encode component result: %w", err)
	}
	return b.store.Put(ctx, layout.SnapshotComponentPath(b.directory, b.t.Snapshot.Name, r.Name), text)
}

// metadataOf returns what a scan needs to make the Snapshot again.
func metadataOf(s *task.Snapshot) layout.SnapshotMetadata {
	if s.Spec == nil {
		return layout.SnapshotMetadata{}
	}
	return layout.SnapshotMetadata{
		SnapshotID: s.Spec.SnapshotID, Session: s.Spec.Session, BackupSession: s.Spec.BackupSession,
		AppRef: layout.AppRef{
			APIGroup: s.Spec.AppRef.APIGroup, Kind: s.Spec.AppRef.Kind, Namespace: s.Spec.AppRef.Namespace,
			Name: s.Spec.AppRef.Name,
		},
		Labels: s.Labels, HalfRestored: s.HalfRestored, Components: s.Components,
	}
}

// report writes a component to the Snapshot's status. If that fails, the Result says the same later. It reports whether
// the mover's work does not count any more.
func (m *Mover) report(ctx context.Context, t task.Task, name string, c v1alpha1.Component) (fenced bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ReportWithin)
	defer cancel()
	err := m.Status.Snapshot(ctx, t.Snapshot.Object(), name, c)
	if err != nil {
		m.Log.Warn("report to the Snapshot", "component", name, "error", err)
	}
	return errors.Is(err, report.ErrFenced)
}

// ended adds times and outcome to a result.
func ended(r task.ComponentResult, f *failure.Failure, began, now time.Time) task.ComponentResult {
	took := now.Sub(began) // also right if the node's clock was put right meanwhile
	r.StartTime, r.CompletionTime = report.TimeOf(began), report.TimeOf(began.Add(took))
	r.Duration = took.Round(time.Millisecond).String()
	switch {
	case f == nil:
		r.Outcome = task.OutcomeSucceeded
	default:
		r.Outcome, r.Reason, r.Error = cmp.Or(r.Outcome, task.OutcomeFailed), f.Reason, f.Message
	}
	return r
}

// summary combines the results of several components. The first failure stands for all.
func summary(results []task.ComponentResult, verb string) task.Result {
	out := task.Result{Outcome: task.OutcomeSucceeded, Reason: v1alpha1.ReasonSucceeded, Components: results}
	var bad int
	for _, r := range results {
		if r.Outcome == task.OutcomeSucceeded {
			continue
		}
		if bad++; bad == 1 {
			out.Outcome, out.Reason, out.Message = task.OutcomeFailed, r.Reason, r.Error
		}
	}
	if bad > 0 && len(results) > 1 {
		out.Message = fmt.Sprintf("%d of %d components were not %s, first: %s", bad, len(results), verb, out.Message)
	}
	return out
}
