package mover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/mover/failure"
	"github.com/cairn-backup/cairn/internal/mover/removal"
	"github.com/cairn-backup/cairn/internal/mover/scan"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/task"
)

// keep does the due work in one repository after another. A repository that fails does not stop the others.
func (m *Mover) keep(ctx context.Context, t task.Task) task.Result {
	// A node that the cluster has lost does not end the pod.
	ctx, cancel := context.WithTimeout(ctx, task.KeepTimeout)
	defer cancel()
	storage, err := m.storage(t)
	if err != nil {
		return Failed(failure.ClassifyInit(err))
	}
	store, err := backend.Open(storage)
	if err != nil {
		return Failed(failure.ClassifyInit(err))
	}
	var results []task.ComponentResult
	start := m.Now()
	for i := range t.Keep {
		began := m.Now()
		k := keeper{m: m, t: t, store: store, work: &t.Keep[i], began: start}
		k.t.Repository = &k.work.Repository
		r := task.ComponentResult{Name: strconv.Itoa(i)}
		err := k.do(ctx, storage, &r)
		var f *failure.Failure
		if err != nil {
			f = failure.ClassifyMove(err)
		}
		m.Log.Info("kept", "repository", k.work.Repository.Name, "removed", len(k.work.Remove), "wiped", k.work.Wipe,
			"maintained", k.work.Maintain, "failed", f != nil)
		results = append(results, ended(r, f, began, m.Now()))
	}
	return summary(results, "maintained")
}

// keeper is the work in one repository.
type keeper struct {
	m         *Mover
	t         task.Task
	store     backend.Store
	work      *task.Keep
	began     time.Time
	directory string
	engine    repository.Engine
	removals  removal.Repository
	late      bool                           // see task.Step
	lacking   func() ([]task.Witness, error) // what the repository must hold, and does not
}

func (k *keeper) do(ctx context.Context, storage repository.Storage, r *task.ComponentResult) (err error) {
	if k.directory, err = layout.NormalizeDirectory(k.work.Repository.Directory); err != nil {
		return failure.New(v1alpha1.ReasonInvalidPath, err.Error())
	}
	if k.work.Wipe {
		if gone, err := k.gone(ctx, r); gone || err != nil {
			return err
		}
	}
	if err := k.owned(ctx); err != nil {
		return err
	}
	held, lease, err := backend.TakeLease(ctx, k.store, k.directory, backend.LeaseOptions{
		Now: k.m.Now, Renew: k.m.RenewLease, Owned: k.stillOwned,
	})
	if err != nil {
		return k.lost(ctx, err)
	}
	// An adoption can have ended before the keeper had the lease.
	if err = k.owned(held); err == nil && k.work.Wipe {
		err = k.wipe(held, r)
	} else if err == nil {
		err = k.steps(held, storage, r)
	}
	if cause := context.Cause(held); cause != nil && ctx.Err() == nil {
		err = k.lost(ctx, cause)
	}
	if rerr := lease.Release(context.WithoutCancel(ctx)); rerr != nil {
		// The next keeper waits until it is sure that nobody renews the lease.
		k.m.Log.Warn("give back the lease", "repository", k.work.Repository.Name,
			"reason", failure.ClassifyMove(rerr).Reason)
	}
	return err
}

// lost returns why the keeper does not have the repository to itself.
func (k *keeper) lost(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, backend.ErrNotOwner):
		return cmp.Or(k.owned(ctx), err)
	case errors.Is(err, backend.ErrHeld):
		return failure.New(v1alpha1.ReasonKeeperRunning, "another keeper works in the repository, perhaps in a pod on "+
			"a node that the cluster has lost")
	}
	return err
}

// steps removes Snapshots, maintains the repository and checks Snapshots. A step that fails does not stop the next one:
// each has its own result. The first failure stands for all.
func (k *keeper) steps(ctx context.Context, storage repository.Storage, r *task.ComponentResult) (err error) {
	rep, err := k.m.repository(k.t, storage)
	if err != nil {
		return err
	}
	if k.engine, err = k.m.open(ctx, rep, k.work.Repository.Name); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.engine.Close(context.WithoutCancel(ctx))) }()
	maintainer, err := ownerOf(ctx, k.engine, k.directory)
	if err != nil {
		return err
	}
	if k.engine.KeyLost() || k.work.Maintain == task.MaintainFull {
		k.keepKey(ctx)
	}
	if k.work.Maintain == task.MaintainFull {
		k.keepOwner(ctx)
	}
	k.removals = removal.Repository{
		Engine: k.engine, Store: k.store, Directory: k.directory, UID: string(k.work.Repository.UID), Now: k.now,
	}
	k.lacking = sync.OnceValues(func() ([]task.Witness, error) { return k.removals.Lacking(ctx, k.work.Witnesses) })
	err = step(ctx, &r.Removal, func() error {
		return k.witnessed(false, func() error { return k.removals.Remove(ctx, k.work.Remove) })
	})
	if k.work.Scan != "" {
		err = cmp.Or(err, step(ctx, &r.Scanning, func() error { return k.scan(ctx, r) }))
	}
	if k.work.Maintain != "" {
		err = cmp.Or(err, step(ctx, &r.Maintenance, func() error {
			// Where descriptions are lost, it collects nothing that a Snapshot needs, and says which are lost.
			return k.witnessed(k.engine.Lost(), func() error { return k.maintain(ctx, maintainer, rep.Owner, r) })
		}))
	}
	if len(k.work.Check) == 0 {
		return err
	}
	err = cmp.Or(err, step(ctx, &r.Check, func() error { return k.check(ctx, r) }))
	r.Check.Late = k.late
	return err
}

// step does one step, unless the work was stopped, and writes how it went.
func step(ctx context.Context, into **task.Step, do func() error) error {
	err := context.Cause(ctx)
	if err == nil {
		err = do()
	}
	*into = &task.Step{}
	if err == nil {
		return nil
	}
	f := failure.ClassifyMove(err)
	if cause := context.Cause(ctx); cause != nil && f.Reason == v1alpha1.ReasonFailed {
		f = stopped(cause) // It says nothing of the step, which can succeed the next time.
	}
	(*into).Reason, (*into).Error = f.Reason, f.Message
	return f
}

// stopped is the failure of a step that was not begun, or not ended, because the work was stopped.
func stopped(cause error) *failure.Failure {
	why := cause.Error()
	if errors.Is(cause, context.DeadlineExceeded) {
		why = "it had no time left"
	}
	return failure.New(v1alpha1.ReasonCancelled, "the keeper was stopped before this was done: "+why)
}

// maintain compacts the repository and measures it. The directory belongs to this cluster, so its maintenance does too:
// an adoption can have ended before it took the repository over.
func (k *keeper) maintain(ctx context.Context, maintainer, own string, r *task.ComponentResult) (err error) {
	if maintainer != own {
		if err := k.engine.TakeOwnership(ctx); err != nil {
			return err
		}
		k.m.Log.Info("took over the maintenance", "repository", k.work.Repository.Name, "from", maintainer)
	}
	opt := repository.MaintainOptions{
		Full:   k.work.Maintain == task.MaintainFull,
		Needed: k.needed,
	}
	k.keepStorageMetadata(ctx)
	if opt.Full {
		k.sweep(ctx)
	}
	if err := k.engine.Maintain(ctx, opt); err != nil {
		if errors.Is(err, repository.ErrStorageFull) && !opt.Full {
			k.sweep(ctx)
		}
		return err
	}
	r.SizeBytes, err = k.engine.Usage(ctx)
	return err
}

const (
	// checkTimeout bounds a check. A check that takes longer is given up: it has failed.
	checkTimeout = 2 * time.Hour
	// maxDamaged is the number of damaged components for which the result of a repository has room.
	maxDamaged = 16
)

// check finds out which components have all their data in the repository. If more are damaged than the result has
// room for, it covers only the components up to the last one that fits.
func (k *keeper) check(ctx context.Context, r *task.ComponentResult) error {
	ids := make([]string, len(k.work.Check))
	for i, c := range k.work.Check {
		ids[i] = c.ID
	}
	limit, began := cmp.Or(k.m.CheckTimeout, checkTimeout), k.m.Now()
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	damaged, err := k.engine.Check(bounded, ids)
	checked := len(ids)
	if part, ok := errors.AsType[*repository.CheckedPart](err); ok && ctx.Err() == nil {
		k.m.Log.Info("gave up the check after a part, which is damaged", "repository", k.work.Repository.Name,
			"components", part.Count, "of", len(ids))
		checked, err = part.Count, nil
	}
	// A check that had half of its time when the keeper had none left is too large, too. With less, it says nothing. Of
	// one that can't be smaller, nobody knows.
	late := errors.Is(context.Cause(ctx), context.DeadlineExceeded) && k.m.Now().Sub(began) >= limit/2
	if err != nil && bounded.Err() != nil && (ctx.Err() == nil || late) {
		k.m.Log.Info("give up the check, which took too long", "repository", k.work.Repository.Name, "components",
			len(ids))
		if k.late = late && len(ids) == 1; k.late {
			return failure.New(v1alpha1.ReasonCancelled, "the keeper had no time left for the check: "+
				afterSlowCheck(k.work.Check, "the keeper has so much else to do"))
		}
		return failure.New(v1alpha1.ReasonDeadlineExceeded, "the check took too long and was given up: "+
			afterSlowCheck(k.work.Check, "the storage is slow"))
	}
	if err != nil {
		return err
	}
	r.Verified = int64(checked)
	for i, id := range ids[:checked] {
		if !slices.Contains(damaged, id) {
			continue
		}
		if r.Damaged = append(r.Damaged, i); len(r.Damaged) == maxDamaged {
			r.Verified = int64(i + 1)
			break
		}
	}
	return nil
}

// afterSlowCheck says what comes after a check that took too long. A check has at least one Snapshot. why is what makes
// one of a single component take so long.
func afterSlowCheck(checked []task.Checked, why string) string {
	switch first := checked[0]; {
	case len(checked) == 1:
		return "it had only Snapshot " + first.Snapshot + ", component " + first.Component +
			", which is not checked for four weeks if there are others: find out why " + why
	case first.Snapshot == checked[len(checked)-1].Snapshot:
		return "the next one has half as many components"
	}
	return "the next one has half as many Snapshots"
}

// now is the manager's time, as far as the task tells it. Keepers run on different nodes, and compare these times: a
// clock that is years ahead would forget every removal at once.
func (k *keeper) now() time.Time {
	now := k.m.Now()
	if k.t.Time == nil {
		return now
	}
	return k.t.Time.Add(now.Sub(k.began))
}

// gone reports whether the repository was wiped before. Data without a RepositoryMetadata is an error: nobody knows
// whose it is. So is an empty place without the metadata of its storage: a volume that is not mounted, or another one.
func (k *keeper) gone(ctx context.Context, r *task.ComponentResult) (bool, error) {
	_, err := k.store.Get(ctx, layout.RepositoryPath(k.directory))
	if !errors.Is(err, backend.ErrNotFound) {
		return false, err
	}
	left, own, err := backend.Inspect(ctx, k.store, k.directory)
	if err != nil {
		return false, wipeFailure(err)
	}
	if own {
		return false, failure.New(v1alpha1.ReasonRepositoryNotFound, fmt.Sprintf("directory %s holds files but no "+
			"repository.yaml that names their owner: bring that file back, or remove it by hand", k.directory))
	}
	if err := k.inStorage(ctx); err != nil {
		return false, err
	}
	k.left(r, left)
	return true, nil
}

// wipe removes the parts of the repository. repository.yaml, which names the owner, goes last, so that an interrupted
// wipe can go on, and goes under the lease: from then on the directory can belong to another Repository.
func (k *keeper) wipe(ctx context.Context, r *task.ComponentResult) error {
	left, err := backend.Wipe(ctx, k.store, k.directory, k.owned)
	if err != nil {
		return wipeFailure(err)
	}
	k.left(r, left)
	if err := k.owned(ctx); err != nil {
		return err
	}
	return k.store.Delete(ctx, layout.RepositoryPath(k.directory))
}

// wipeFailure says what to do about a wipe that can't be done.
func wipeFailure(err error) error {
	switch {
	case errors.Is(err, backend.ErrForeign):
		return failure.New(v1alpha1.ReasonDirectoryTaken, err.Error()+", which has a repository.yaml or "+
			"metadata.yaml: nothing was removed. Move the other one away")
	case errors.Is(err, backend.ErrLink):
		return failure.New(v1alpha1.ReasonInvalidPath, err.Error()+", such as a symbolic link, which hides where the "+
			"data is: move the data to the place of the link, or remove both by hand")
	case errors.Is(err, backend.ErrComesBack):
		return failure.New(v1alpha1.ReasonRemovalPending, err.Error()+": somebody still writes to the repository")
	}
	return err
}

// left reports what a wipe has left.
func (k *keeper) left(r *task.ComponentResult, left backend.Left) {
	if r.LeftFiles = int64(left.Files); left.Files == 0 {
		return
	}
	r.LeftPlaces = left.Places[:min(len(left.Places), maxPlaces)]
	k.m.Log.Warn("left files that are not the repository's", "repository", k.work.Repository.Name,
		"directory", k.directory, "files", left.Files, "places", len(left.Places))
}

// maxPlaces is the number of places of others for which the result of a repository has room.
const maxPlaces = 3

// scan finds out which Snapshots lie in the repository, and stores the answer in ConfigMaps.
func (k *keeper) scan(ctx context.Context, r *task.ComponentResult) error {
	pages := task.PageWriter{Write: func(page int, content []byte) error { return k.page(ctx, page, content) }}
	unreadable, unknown, err := scan.Repository{
		Engine: k.engine, Store: k.store, Directory: k.directory, Removals: k.removals,
		Driver: k.work.Repository.Driver, Log: k.m.Log,
	}.Find(ctx, pages.Add)
	var count int
	var digest string
	if err == nil {
		count, digest, err = pages.Close()
	}
	if errors.Is(err, task.ErrTooManyFound) {
		return failure.New(v1alpha1.ReasonFailed, err.Error())
	}
	if err != nil {
		return err
	}
	r.Scan = &task.Scan{Pages: count, Digest: digest, Unreadable: unreadable + pages.Dropped, Unknown: unknown}
	return nil
}

// page stores a page of the answer. A page of that name is the one of an earlier try, whose answer was lost; the
// manager compares the digest.
func (k *keeper) page(ctx context.Context, page int, content []byte) error {
	maker := k.m.objectMaker(k.t, corev1.SchemeGroupVersion.WithResource("configmaps"))
	_, err := maker.create(ctx, &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: k.t.Namespace, Name: task.PageName(k.m.Job, page),
			Labels: map[string]string{
				v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelScan: k.m.Job,
			},
		},
		Immutable:  new(true),
		BinaryData: map[string][]byte{task.PageKey: content},
	})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return failure.New(v1alpha1.ReasonFailed, fmt.Sprintf("can't store what was found in the repository: %v", err))
	}
	return nil
}
