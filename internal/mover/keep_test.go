package mover_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/keeper"
	"github.com/cairn-backup/cairn/internal/mover/judge"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
	"github.com/cairn-backup/cairn/internal/task"
)

// keepTask lets a keeper remove Snapshots that backupTask made.
func keepTask(snapshots ...string) task.Task {
	t := storageTask()
	t.Kind = task.KindKeep
	k := task.Keep{Repository: *repositoryTask().Repository}
	for _, s := range snapshots {
		k.Remove = append(k.Remove, task.Removed{
			Name: s, UID: types.UID("uid-" + s), SnapshotID: "01", BackupSession: "run-1",
		})
	}
	t.Keep = []task.Keep{k}
	return t
}

// backedUp returns a pod whose repository has these Snapshots, each with two components.
func backedUp(t *testing.T, snapshots ...string) *pod {
	t.Helper()
	g, p := NewWithT(t), newPod(t)
	for _, init := range []task.Task{storageTask(), repositoryTask()} {
		code, r := p.run(t.Context(), init)
		g.Expect(code).To(BeZero(), "%+v", r)
	}
	p.write("cairn/volumes/pvc/file", "content of a file")
	p.write("cairn/volumes/logs/file", "content of another")
	for _, s := range snapshots {
		code, r := p.run(t.Context(), backupTask(s, task.Component{Name: "pvc"}, task.Component{Name: "logs"}))
		g.Expect(code).To(BeZero(), "%+v", r)
	}
	return p
}

// held returns the UIDs of the Snapshots whose data is in the repository.
func (p *pod) held() []string {
	var out []string
	for _, s := range p.snapshots() {
		out = append(out, s.Tags[judge.TagSnapshotUID])
	}
	slices.Sort(out)
	return out
}

// files returns the names in a directory of the repository.
func (p *pod) files(directory string) []string {
	p.t.Helper()
	entries, err := os.ReadDir(filepath.Join(p.root, "cairn/storage/backups/shop/web", directory))
	if os.IsNotExist(err) {
		return nil
	}
	NewWithT(p.t).Expect(err).NotTo(HaveOccurred())
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestKeepRemovesSnapshots(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one", "two", "three")
	g.Expect(p.held()).To(Equal([]string{"uid-one", "uid-one", "uid-three", "uid-three", "uid-two", "uid-two"}))

	for range 2 { // the second time there is nothing left to do, which is no failure
		code, r := p.run(t.Context(), keepTask("one", "two"))
		g.Expect(code).To(BeZero(), "%+v", r)
		g.Expect(r.Components).To(HaveLen(1))
		g.Expect(p.held()).To(Equal([]string{"uid-three", "uid-three"}))
		g.Expect(p.files("snapshots")).To(Equal([]string{"three"}))
		g.Expect(p.files("removed")).To(Equal([]string{"uid-one.yaml", "uid-two.yaml"}), "they can come back")
	}
	now := time.Now().Add(73 * time.Hour)
	p.mover.Now = func() time.Time { return now }
	work := keepTask()
	work.Keep[0].Maintain = task.MaintainQuick
	code, r := p.run(t.Context(), work)
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(p.files("removed")).To(BeEmpty(), "after three days nobody brings them back")
	g.Expect(r.Components[0].SizeBytes).To(BeNumerically(">", 1000), "what the repository takes in the storage")
}

// A keeper on a node whose clock is a year ahead forgets nothing: data that was removed can still come back.
func TestAWrongNodeClockForgetsNoRemoval(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one", "two")
	work := keepTask("one")
	work.Time = &metav1.Time{Time: time.Now()}
	code, r := p.run(t.Context(), work)
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(p.files("removed")).To(Equal([]string{"uid-one.yaml"}))

	p.mover.Now = func() time.Time { return time.Now().AddDate(1, 0, 0) }
	again := keepTask()
	again.Time, again.Keep[0].Maintain = work.Time, task.MaintainQuick
	code, r = p.run(t.Context(), again)
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(p.files("removed")).To(Equal([]string{"uid-one.yaml"}), "it was removed a moment ago")

	again.Time = &metav1.Time{Time: work.Time.Add(73 * time.Hour)}
	code, r = p.run(t.Context(), again)
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(p.files("removed")).To(BeEmpty())
}

// A driver whose deleted data comes back, as with kopia while others write.
type comesBack struct {
	repository.Driver
	times *int
}

type comesBackEngine struct {
	repository.Engine
	times *int
}

func (d comesBack) Open(ctx context.Context, r repository.Repository) (repository.Engine, error) {
	e, err := d.Driver.Open(ctx, r)
	return comesBackEngine{e, d.times}, err
}

func (e comesBackEngine) Delete(ctx context.Context, ids ...string) error {
	if *e.times--; *e.times >= 0 {
		return nil
	}
	return e.Engine.Delete(ctx, ids...)
}

func TestKeepDeletesAgainWhatComesBack(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one", "two")
	times := 2
	p.mover.Driver = comesBack{kopia.Driver{}, &times}
	code, r := p.run(t.Context(), keepTask("one"))
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(p.held()).To(Equal([]string{"uid-two", "uid-two"}))

	times = 100
	code, r = p.run(t.Context(), keepTask("two"))
	g.Expect(code).To(Equal(task.ExitFailed))
	g.Expect(r.Reason).To(Equal(v1alpha1.ReasonRemovalPending))
	g.Expect(p.files("snapshots")).To(Equal([]string{"two"}), "existing data is not reported as gone")
	times = 0
	code, r = p.run(t.Context(), keepTask("two"))
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(p.held()).To(BeEmpty())
}

func TestKeepWipesADirectory(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one")
	p.write("cairn/storage/backups/shop/web2/repository.yaml", "a neighbour's")
	work := keepTask()
	work.Keep[0].Wipe = true
	for range 2 {
		code, r := p.run(t.Context(), work)
		g.Expect(code).To(BeZero(), "%+v", r)
		g.Expect(p.files("")).To(BeEmpty())
		g.Expect(p.files("../web2")).To(Equal([]string{"repository.yaml"}))
		g.Expect(p.files("../..")).To(ContainElement("metadata.yaml"))
	}
}

func TestKeepTouchesOnlyItsOwn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*pod, *task.Task)
		reason string
	}{
		"another Repository": {
			func(_ *pod, t *task.Task) { t.Keep[0].Repository.UID = "other" },
			v1alpha1.ReasonDirectoryTaken,
		},
		"another cluster": {func(_ *pod, t *task.Task) { t.Cluster = "other" }, v1alpha1.ReasonDirectoryTaken},
		"nobody says whose": {
			func(p *pod, _ *task.Task) { p.remove("cairn/storage/backups/shop/web/repository.yaml") },
			v1alpha1.ReasonRepositoryNotFound,
		},
		"a volume that is gone": {
			func(p *pod, _ *task.Task) { p.remove("cairn/storage") }, v1alpha1.ReasonBucketNotFound,
		},
	} {
		for _, wipe := range []bool{false, true} {
			if c.reason == v1alpha1.ReasonRepositoryNotFound && !wipe { // it is written again
				continue
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				g, p := NewWithT(t), backedUp(t, "one")
				work := keepTask("one")
				work.Keep[0].Wipe = wipe
				before := p.files("kopia")
				c.change(p, &work)
				code, r := p.run(t.Context(), work)
				g.Expect(code).NotTo(BeZero())
				g.Expect(r.Reason).To(Equal(c.reason), r.Message)
				if c.reason != v1alpha1.ReasonBucketNotFound {
					g.Expect(p.files("kopia")).To(Equal(before))
				}
			})
		}
	}
}

// A repository that fails does not keep the others from being maintained.
func TestKeepDoesTheOthers(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one")
	work := keepTask("one")
	bad := work.Keep[0]
	bad.Repository.Encryption = "7" // no such password
	work.Keep = []task.Keep{bad, work.Keep[0]}
	code, r := p.run(t.Context(), work)
	g.Expect(code).To(Equal(task.ExitCredentials))
	g.Expect(r.Components).To(HaveLen(2))
	g.Expect(r.Components[0].Reason).To(Equal(v1alpha1.ReasonEncryptionSecretNotAvailable))
	g.Expect(r.Components[1].Outcome).To(Equal(task.OutcomeSucceeded))
	g.Expect(p.held()).To(BeEmpty())
}

func TestKeepMaintains(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one")
	work := keepTask()
	for _, how := range []task.Maintenance{task.MaintainQuick, task.MaintainFull} {
		work.Keep[0].Maintain = how
		code, r := p.run(t.Context(), work)
		g.Expect(code).To(BeZero(), "%+v", r)
	}
	g.Expect(p.held()).To(HaveLen(2))
}

// A mover that was killed while it wrote a pack.
func TestKeepRemovesPartsOfPacks(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one")
	const part, young = "p/a12/34567890abcdef01.f.tmp.0123456789abcdef", "q/b12/34567890abcdef01.f.tmp.0123456789abcdef"
	const engine = "cairn/storage/backups/shop/web/kopia/"
	p.write(engine+part, "a part")
	p.write(engine+young, "a part")
	then := time.Now().Add(-25 * time.Hour)
	g.Expect(os.Chtimes(filepath.Join(p.root, engine+part), then, then)).To(Succeed())
	work := keepTask()
	work.Keep[0].Maintain = task.MaintainFull
	code, r := p.run(t.Context(), work)
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(filepath.Join(p.root, engine+part)).NotTo(BeAnExistingFile())
	g.Expect(filepath.Join(p.root, engine+young)).To(BeAnExistingFile())
	g.Expect(p.log.String()).To(ContainSubstring(`"files":1,"bytes":6`))
	g.Expect(p.held()).To(HaveLen(2))
}

func TestKeepChecksWhatItIsToldTo(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one", "two")
	work := keepTask()
	work.Keep[0].Maintain = task.MaintainFull
	for _, snapshot := range []string{"one", "two"} {
		for _, s := range p.snapshots() {
			if s.Tags[judge.TagSnapshotUID] == "uid-"+snapshot {
				work.Keep[0].Check = append(work.Keep[0].Check, task.Checked{
					Snapshot: snapshot, UID: types.UID("uid-" + snapshot), Component: s.Tags[judge.TagComponent],
					ID: s.ID,
				})
			}
		}
	}
	g.Expect(work.Keep[0].Check).To(HaveLen(4))
	code, r := p.run(t.Context(), work)
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(r.Components[0].Verified).To(BeEquivalentTo(4))
	g.Expect(r.Components[0].Damaged).To(BeEmpty())

	work.Keep[0].Check[2].ID = "00000000000000000000000000000000"
	code, r = p.run(t.Context(), work)
	g.Expect(code).To(BeZero(), "the keeper did its work: %+v", r)
	g.Expect(r.Components[0].Verified).To(BeEquivalentTo(4))
	g.Expect(r.Components[0].Damaged).To(Equal([]int{2}))

	for range 20 { // more than the result has room for
		work.Keep[0].Check = append(work.Keep[0].Check, work.Keep[0].Check[2])
	}
	_, r = p.run(t.Context(), work)
	g.Expect(r.Components[0].Damaged).To(HaveLen(16))
	g.Expect(r.Components[0].Verified).To(BeEquivalentTo(19), "nothing is reported about the rest")

	p.mover.Driver = cannotCheck{kopia.Driver{}}
	code, r = p.run(t.Context(), work)
	g.Expect(code).NotTo(BeZero())
	g.Expect(r.Components[0].Reason).To(Equal(v1alpha1.ReasonUnreachable))
	g.Expect(r.Components[0].Verified).To(BeZero())
	g.Expect(r.Components[0].Damaged).To(BeEmpty(), "unreadable data does not count as damaged")
}

// cannotCheck is a driver whose storage goes away.
type cannotCheck struct{ repository.Driver }

type cannotCheckEngine struct{ repository.Engine }

func (d cannotCheck) Open(ctx context.Context, r repository.Repository) (repository.Engine, error) {
	e, err := d.Driver.Open(ctx, r)
	return cannotCheckEngine{e}, err
}

func (cannotCheckEngine) Check(context.Context, []string) ([]string, error) {
	return nil, &repository.Error{Op: "check", Kind: repository.ErrUnreachable, Err: os.ErrDeadlineExceeded}
}

// slowCheck is a driver whose checks never end.
type slowCheck struct{ repository.Driver }

type slowCheckEngine struct{ repository.Engine }

func (d slowCheck) Open(ctx context.Context, r repository.Repository) (repository.Engine, error) {
	e, err := d.Driver.Open(ctx, r)
	return slowCheckEngine{e}, err
}

func (slowCheckEngine) Check(ctx context.Context, _ []string) ([]string, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

// partlyChecked is a driver whose checks have time for one component, which is damaged.
type partlyChecked struct{ repository.Driver }

type partlyCheckedEngine struct{ repository.Engine }

func (d partlyChecked) Open(ctx context.Context, r repository.Repository) (repository.Engine, error) {
	e, err := d.Driver.Open(ctx, r)
	return partlyCheckedEngine{e}, err
}

func (partlyCheckedEngine) Check(ctx context.Context, ids []string) ([]string, error) {
	<-ctx.Done()
	return ids[:1], &repository.CheckedPart{Count: 1, Err: context.Cause(ctx)}
}

func TestACheckThatFoundDamageTellsItAlsoWithoutTime(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one")
	p.mover.Driver, p.mover.CheckTimeout = partlyChecked{kopia.Driver{}}, time.Millisecond
	work := p.checking(keepTask())
	work.Keep[0].Maintain = task.MaintainFull
	work.Keep[0].Check = append(work.Keep[0].Check, work.Keep[0].Check...)
	_, r := p.run(t.Context(), work)
	k := r.Components[0]
	g.Expect(k.Check).To(Or(BeNil(), HaveField("Reason", BeEmpty())))
	g.Expect(k.Damaged).To(Equal([]int{0}))
	g.Expect(k.Verified).To(BeEquivalentTo(1), "the others are checked the next time")
}

func TestACheckThatWasGivenUpIsNotChecked(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one")
	p.mover.Driver, p.mover.CheckTimeout = slowCheck{kopia.Driver{}}, time.Millisecond
	work := p.checking(keepTask())
	work.Keep[0].Maintain = task.MaintainFull
	code, r := p.run(t.Context(), work)
	g.Expect(code).NotTo(BeZero())
	k := r.Components[0]
	g.Expect(k.Maintenance.Reason).To(BeEmpty(), "the maintenance counts")
	g.Expect(k.Check.Reason).To(Equal(v1alpha1.ReasonDeadlineExceeded))
	g.Expect(k.Check.Error).To(HaveSuffix("the next one has half as many components"))
	g.Expect(k.Verified).To(BeZero())

	other := work.Keep[0].Check[0]
	work.Keep[0].Check = work.Keep[0].Check[:1]
	_, r = p.run(t.Context(), work)
	g.Expect(r.Components[0].Check.Error).To(ContainSubstring("only Snapshot one, component " + other.Component))

	other.Snapshot = "two"
	work.Keep[0].Check = append(work.Keep[0].Check, other)
	_, r = p.run(t.Context(), work)
	g.Expect(r.Components[0].Check.Error).To(HaveSuffix("the next one has half as many Snapshots"))
}

// stopping is a driver whose check or maintenance is when the work is stopped.
type stopping struct {
	repository.Driver
	in   string
	stop func()
}

type stoppingEngine struct {
	repository.Engine
	stopping
}

func (d stopping) Open(ctx context.Context, r repository.Repository) (repository.Engine, error) {
	e, err := d.Driver.Open(ctx, r)
	return stoppingEngine{e, d}, err
}

func (e stoppingEngine) Maintain(ctx context.Context, o repository.MaintainOptions) error {
	if e.in == "maintenance" {
		defer e.stop()
	}
	return e.Engine.Maintain(ctx, o)
}

func (e stoppingEngine) Check(ctx context.Context, ids []string) ([]string, error) {
	e.stop()
	return e.Engine.Check(ctx, ids)
}

// A check for which a keeper has no time left, or that it may not do any more, was not tried.
func TestACheckThatWasStoppedWasNotTried(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		why    error
		reason string
	}{
		"the time of the keeper is over": {context.DeadlineExceeded, v1alpha1.ReasonCancelled},
		"it was told to stop":            {context.Canceled, v1alpha1.ReasonCancelled},
		"another keeper has the lease":   {backend.ErrHeld, v1alpha1.ReasonCancelled},
		"the directory was taken":        {backend.ErrNotOwner, v1alpha1.ReasonCancelled},
		"the storage is gone": {
			&repository.Error{Op: "renew lease", Kind: repository.ErrUnreachable, Err: os.ErrDeadlineExceeded},
			v1alpha1.ReasonUnreachable,
		},
	} {
		for _, in := range []string{"maintenance", "check"} {
			t.Run(name+", in the "+in, func(t *testing.T) {
				t.Parallel()
				g, p := NewWithT(t), backedUp(t, "one")
				k := p.stopped(in, tt.why)
				g.Expect(k.Check.Reason).To(Equal(tt.reason), k.Check.Error)
				g.Expect((&keeper.Work{Checks: true}).TriedCheck(k)).To(BeFalse())
			})
		}
	}
}

// Otherwise the next check would be as large, and would never come to an end either.
func TestACheckThatHadMostOfItsTimeIsTooLarge(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one", "two")
	p.mover.CheckTimeout = time.Nanosecond
	k := p.stopped("check", context.DeadlineExceeded)
	g.Expect(k.Check.Reason).To(Equal(v1alpha1.ReasonDeadlineExceeded), k.Check.Error)
	g.Expect(k.Check.Late).To(BeFalse())
	g.Expect((&keeper.Work{Checks: true}).TriedCheck(k)).To(BeTrue())
}

// It can be cut by each keeper that has as much else to do. Nobody knows whether it would have been in time otherwise.
func TestACheckOfOneComponentThatHadMostOfItsTimeIsLate(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		limit time.Duration
		why   error
		late  bool
	}{
		"it had half of its time":     {time.Nanosecond, context.DeadlineExceeded, true},
		"it had less":                 {time.Hour, context.DeadlineExceeded, false},
		"the keeper was told to stop": {time.Nanosecond, context.Canceled, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, p := NewWithT(t), backedUp(t, "one")
			p.mover.CheckTimeout = tt.limit
			k := p.stopped("check", tt.why, func(k *task.Keep) { k.Check = k.Check[:1] })
			g.Expect(k.Check.Reason).To(Equal(v1alpha1.ReasonCancelled), k.Check.Error)
			g.Expect(k.Check.Late).To(Equal(tt.late))
			g.Expect((&keeper.Work{Checks: true}).TriedCheck(k)).To(Equal(tt.late))
		})
	}
}

// stopped returns the result of a keeper that is stopped in its maintenance or in its check.
func (p *pod) stopped(in string, why error, change ...func(*task.Keep)) task.ComponentResult {
	p.t.Helper()
	g := NewWithT(p.t)
	ctx, cancel := context.WithCancelCause(p.t.Context())
	p.mover.Driver = stopping{kopia.Driver{}, in, func() { cancel(why) }}
	work := p.checking(keepTask())
	work.Keep[0].Maintain = task.MaintainFull
	for _, f := range change {
		f(&work.Keep[0])
	}
	code, r := p.run(ctx, work)
	g.Expect(code).NotTo(BeZero())
	g.Expect(r.Components[0].Check).NotTo(BeNil(), "it was asked for")
	return r.Components[0]
}
