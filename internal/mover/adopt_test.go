package mover_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/blob"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/mover/judge"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
	"github.com/cairn-backup/cairn/internal/task"
)

// calendar is a clock that jumps. The storage gives the files that kopia writes its times.
type calendar struct {
	mu      sync.Mutex
	offset  time.Duration
	written map[blob.ID]time.Time
}

func (c *calendar) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

func (c *calendar) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}

// lives lets the pod live by a calendar.
func (p *pod) lives() *calendar {
	c := &calendar{written: map[blob.ID]time.Time{}}
	p.mover.Now = c.now
	p.mover.Driver = kopia.Driver{Now: c.now, Wrap: func(s blob.Storage) blob.Storage { return dated{s, c} }}
	return c
}

type dated struct {
	blob.Storage
	*calendar
}

func (d dated) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, opts blob.PutOptions) error {
	err := d.Storage.PutBlob(ctx, id, data, opts)
	at := d.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.written[id] = at
	if opts.GetModTime != nil {
		*opts.GetModTime = at
	}
	return err
}

func (d dated) date(m blob.Metadata) blob.Metadata {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at, ok := d.written[m.BlobID]; ok {
		m.Timestamp = at
	}
	return m
}

func (d dated) GetMetadata(ctx context.Context, id blob.ID) (blob.Metadata, error) {
	m, err := d.Storage.GetMetadata(ctx, id)
	return d.date(m), err
}

func (d dated) ListBlobs(ctx context.Context, prefix blob.ID, each func(blob.Metadata) error) error {
	return d.Storage.ListBlobs(ctx, prefix, func(m blob.Metadata) error { return each(d.date(m)) })
}

// adopting makes a task one of another cluster, which has adopted the directory.
func adopting(t task.Task) task.Task {
	t.Cluster = "cluster-2"
	if t.Repository != nil {
		t.Repository.UID = "uid-adopted"
	}
	for i := range t.Keep {
		t.Keep[i].Repository.UID = "uid-adopted"
	}
	return t
}

// consent returns the words that allow somebody to adopt a directory from the present owner of shop/web.
func (p *pod) consent(directory string) string {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.root, "cairn/storage/backups/shop/web/repository.yaml"))
	NewWithT(p.t).Expect(err).NotTo(HaveOccurred())
	owner, err := layout.ParseRepositoryMetadata(text)
	NewWithT(p.t).Expect(err).NotTo(HaveOccurred())
	return owner.Consent(directory)
}

// adoption returns the init of another cluster that adopts the directory from its present owner.
func (p *pod) adoption() task.Task {
	p.t.Helper()
	t := adopting(repositoryTask())
	t.Repository.Adopt = p.consent("shop/web")
	return t
}

// checking adds a check of all Snapshots to a keeper's work.
func (p *pod) checking(work task.Task) task.Task {
	for _, s := range p.snapshots() {
		uid := s.Tags[judge.TagSnapshotUID]
		work.Keep[0].Check = append(work.Keep[0].Check, task.Checked{
			Snapshot: strings.TrimPrefix(uid, "uid-"), UID: types.UID(uid), Component: s.Tags[judge.TagComponent],
			ID: s.ID,
		})
	}
	return work
}

// noise writes data that no other day has. That of the first week fills packs: kopia collects what is in short ones
// together first, and frees it later.
func (p *pod) noise(day int) {
	data := make([]byte, 300<<10)
	if day < 7 {
		data = make([]byte, 17<<20)
	}
	_, _ = rand.NewChaCha8([32]byte{byte(day)}).Read(data)
	p.write("cairn/volumes/pvc/file", string(data))
}

func (p *pod) packed() int {
	bytes := 0
	NewWithT(p.t).Expect(filepath.Walk(filepath.Join(p.root, "cairn/storage/backups/shop/web/kopia"),
		func(_ string, info os.FileInfo, err error) error {
			if err == nil && info.Mode().IsRegular() {
				bytes += int(info.Size())
			}
			return err
		})).To(Succeed())
	return bytes
}

// TestAMonthAfterAnAdoption keeps a week of daily backups of a repository that another cluster made.
func TestAMonthAfterAnAdoption(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), initialised(t)
	days := p.lives()
	p.noise(0)
	code, r := p.run(t.Context(), backupTask("day-0"))
	g.Expect(code).To(BeZero(), "%+v", r)
	code, r = p.run(t.Context(), p.adoption())
	g.Expect(code).To(BeZero(), "%+v", r)

	const month, week = 30, 7
	for day := 1; day <= month; day++ {
		days.pass(24 * time.Hour)
		p.noise(day)
		backup := adopting(backupTask(fmt.Sprintf("day-%d", day)))
		backup.SuccessPolicy = &v1alpha1.SuccessPolicy{MaxShrinkPercent: new(int32(100))} // the noise changes its size
		code, r := p.run(t.Context(), backup)
		g.Expect(code).To(BeZero(), "%+v", r)
		work := adopting(keepTask())
		if day >= week {
			work = adopting(keepTask(fmt.Sprintf("day-%d", day-week)))
		}
		work.Keep[0].Maintain = task.MaintainQuick
		if day%week == 0 {
			work.Keep[0].Maintain = task.MaintainFull
			work = p.checking(work)
			work.Keep[0].Check = work.Keep[0].Check[len(work.Keep[0].Remove):]
		}
		code, r = p.run(t.Context(), work)
		g.Expect(code).To(BeZero(), "day %d: %+v", day, r)
		k := r.Components[0]
		g.Expect(k.Removal).To(Equal(&task.Step{}))
		g.Expect(k.Maintenance).To(Equal(&task.Step{}))
		if day%week == 0 {
			g.Expect(k.Check).To(Equal(&task.Step{}))
			g.Expect(k.Verified).To(BeEquivalentTo(week))
			g.Expect(k.Damaged).To(BeEmpty())
		}
		g.Expect(p.held()).To(HaveLen(min(day+1, week)))
	}
	g.Expect(p.packed()).To(BeNumerically("<", 17<<20), "what was removed was also freed")

	// The old cluster comes back, with its old work.
	before := p.held()
	for name, old := range map[string]task.Task{
		"backup": backupTask("day-31"), "keep": keepTask("day-30"), "wipe": wipeTask(), "init": repositoryTask(),
	} {
		code, r = p.run(t.Context(), old)
		g.Expect(code).To(Equal(task.ExitRepository), name)
		g.Expect(r.Reason).To(Equal(v1alpha1.ReasonDirectoryTaken), name)
		g.Expect(p.held()).To(Equal(before), name)
	}
}

// An annotation stays in Git, and goes along when an object is exported: it must not take the directory from anybody
// but the owner of whom its author knew.
func TestAConsentCountsForTheOwnerThatItNamed(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), initialised(t)
	consent := p.consent("shop/web")
	third := repositoryTask()
	third.Cluster, third.Repository.UID, third.Repository.Adopt = "cluster-3", "uid-third", consent
	for name, wrong := range map[string]string{
		"the directory alone": "shop/web", "another directory": p.consent("shop"),
		"another owner": "shop/web@cluster-9/x/1",
	} {
		t := adopting(repositoryTask())
		t.Repository.Adopt = wrong
		_, r := p.run(p.t.Context(), t)
		g.Expect(r.Reason).To(Equal(v1alpha1.ReasonDirectoryTaken), name)
		g.Expect(r.Message).To(HaveSuffix("annotation backup.cairn.dev/adopt: "+consent), "it says what to write")
	}
	code, r := p.run(t.Context(), p.adoption())
	g.Expect(code).To(BeZero(), "%+v", r)
	_, r = p.run(t.Context(), third)
	g.Expect(r.Reason).To(Equal(v1alpha1.ReasonDirectoryTaken), "the owner is another by now")
}

// Not even the same owner is meant again, once it has lost the directory and got it back.
func TestAUsedConsentNeverCountsAgain(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), initialised(t)
	first := p.adoption()
	code, r := p.run(t.Context(), first)
	g.Expect(code).To(BeZero(), "%+v", r)
	back := repositoryTask()
	back.Repository.Adopt = p.consent("shop/web")
	code, r = p.run(t.Context(), back)
	g.Expect(code).To(BeZero(), "%+v", r)
	_, r = p.run(t.Context(), first)
	g.Expect(r.Reason).To(Equal(v1alpha1.ReasonDirectoryTaken))
	code, r = p.run(t.Context(), back)
	g.Expect(code).To(BeZero(), "the owner needs no consent: %+v", r)
}

// A drill in a second cluster adopts the directory of a cluster that still lives. Its owner takes it back, and neither
// of them has it again without a word of its own.
func TestADirectoryIsTakenBackFromADrill(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), initialised(t)
	p.write("cairn/volumes/pvc/file", "data")
	code, r := p.run(t.Context(), backupTask("before"))
	g.Expect(code).To(BeZero(), "%+v", r)
	drill := p.adoption()
	code, r = p.run(t.Context(), drill)
	g.Expect(code).To(BeZero(), "%+v", r)
	code, r = p.run(t.Context(), adopting(backupTask("drill")))
	g.Expect(code).To(BeZero(), "%+v", r)

	_, r = p.run(t.Context(), backupTask("refused"))
	g.Expect(r.Message).To(ContainSubstring("now belongs to Repository shop/shop-web of another cluster: nothing was " +
		"backed up. The condition Ready of the Repository will say how to take the directory back"))
	g.Expect(p.files("snapshots")).To(ConsistOf("before", "drill"))
	back := repositoryTask()
	back.Repository.MustExist = true
	_, r = p.run(t.Context(), back)
	g.Expect(r.Reason).To(Equal(v1alpha1.ReasonDirectoryTaken), "an init Job takes nothing by itself")
	g.Expect(r.Message).To(HaveSuffix("annotation backup.cairn.dev/adopt: " + p.consent("shop/web")))
	back.Repository.Adopt = p.consent("shop/web")
	code, r = p.run(t.Context(), back)
	g.Expect(code).To(BeZero(), "%+v", r)
	code, r = p.run(t.Context(), backupTask("after"))
	g.Expect(code).To(BeZero(), "%+v", r)
	work := keepTask("before")
	work.Keep[0].Maintain = task.MaintainFull
	code, r = p.run(t.Context(), work)
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(p.held()).To(ConsistOf("uid-drill", "uid-after"), "a scan finds the Snapshot of the drill")

	for name, late := range map[string]task.Task{
		"its consent stays in Git": drill, "backup": adopting(backupTask("late")), "keep": adopting(keepTask("after")),
	} {
		_, r = p.run(t.Context(), late)
		g.Expect(r.Reason).To(Equal(v1alpha1.ReasonDirectoryTaken), name)
	}
	g.Expect(p.held()).To(ConsistOf("uid-drill", "uid-after"))
}

// An adoption that ended after it changed the engine's owner leaves the directory to the owner in repository.yaml.
func TestAnInterruptedAdoption(t *testing.T) {
	t.Parallel()
	interrupted := func(t *testing.T) *pod {
		g, p := NewWithT(t), backedUp(t, "one")
		e, err := kopia.Driver{}.Open(t.Context(), repository.Repository{
			Storage: repository.Storage{Local: &repository.Local{
				Path: filepath.Join(p.root, "cairn/storage"), Prefix: "backups/shop/web/kopia",
			}},
			Password: "correct horse", Owner: "cairn@cluster-2", WorkDir: t.TempDir(),
		})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(e.TakeOwnership(t.Context())).To(Succeed())
		g.Expect(e.Close(t.Context())).To(Succeed())
		return p
	}
	maintain := func() task.Task {
		work := keepTask()
		work.Keep[0].Maintain = task.MaintainFull
		return work
	}
	t.Run("is given up", func(t *testing.T) {
		t.Parallel()
		g, p := NewWithT(t), interrupted(t)
		code, r := p.run(t.Context(), maintain())
		g.Expect(code).To(BeZero(), "the owner in repository.yaml maintains: %+v", r)
		code, r = p.run(t.Context(), adopting(maintain()))
		g.Expect(r.Reason).To(Equal(v1alpha1.ReasonDirectoryTaken), "%d", code)
	})
	t.Run("is repeated", func(t *testing.T) {
		t.Parallel()
		g, p := NewWithT(t), interrupted(t)
		code, r := p.run(t.Context(), p.adoption())
		g.Expect(code).To(BeZero(), "%+v", r)
		code, r = p.run(t.Context(), adopting(maintain()))
		g.Expect(code).To(BeZero(), "%+v", r)
	})
	t.Run("by an older version, which left the engine to the old cluster", func(t *testing.T) {
		t.Parallel()
		g, p := NewWithT(t), backedUp(t, "one")
		file := "cairn/storage/backups/shop/web/repository.yaml"
		text := string(must(os.ReadFile(filepath.Join(p.root, file))))
		p.write(file, strings.NewReplacer("cluster-1", "cluster-2", "uid-repository", "uid-adopted").Replace(text))
		code, r := p.run(t.Context(), adopting(maintain()))
		g.Expect(code).To(BeZero(), "%+v", r)
	})
}

// A repository that lost its repository.yaml still names the cluster that maintains it.
func TestAnotherClustersRepositoryWithoutMetadataIsNotTakenSilently(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one")
	p.remove("cairn/storage/backups/shop/web/repository.yaml")
	p.remove("cairn/storage/backups/shop/web/kopia/kopia.owner.copy")
	other := repositoryTask()
	other.Cluster = "cluster-2"
	_, r := p.run(t.Context(), other)
	g.Expect(r.Reason).To(Equal(v1alpha1.ReasonDirectoryTaken), r.Message)
	g.Expect(p.files("")).NotTo(ContainElement("repository.yaml"))
	other.Repository.Adopt = "shop/web"
	_, r = p.run(t.Context(), other)
	g.Expect(r.Reason).To(Equal(v1alpha1.ReasonDirectoryTaken), "the consent names no owner")
	g.Expect(r.Message).To(HaveSuffix("annotation backup.cairn.dev/adopt: shop/web@cairn@cluster-1"))
	other.Repository.Adopt = "shop/web@cairn@cluster-1"
	code, r := p.run(t.Context(), other)
	g.Expect(code).To(BeZero(), "%+v", r)
}

// failing is a driver whose engine can't do some steps.
type failing struct {
	repository.Driver
	steps map[string]bool
}

type failingEngine struct {
	repository.Engine
	steps map[string]bool
}

func (d failing) Open(ctx context.Context, r repository.Repository) (repository.Engine, error) {
	e, err := d.Driver.Open(ctx, r)
	return failingEngine{e, d.steps}, err
}

func (e failingEngine) fail(step string) error {
	if e.steps[step] {
		return &repository.Error{Op: step, Kind: repository.ErrUnreachable, Err: os.ErrDeadlineExceeded}
	}
	return nil
}

func (e failingEngine) Delete(ctx context.Context, ids ...string) error {
	if err := e.fail("removal"); err != nil {
		return err
	}
	return e.Engine.Delete(ctx, ids...)
}

func (e failingEngine) Maintain(ctx context.Context, o repository.MaintainOptions) error {
	if err := e.fail("maintenance"); err != nil {
		return err
	}
	return e.Engine.Maintain(ctx, o)
}

func (e failingEngine) Check(ctx context.Context, ids []string) ([]string, error) {
	if err := e.fail("check"); err != nil {
		return nil, err
	}
	return e.Engine.Check(ctx, ids)
}

// A step of a keeper that fails neither stops the others nor makes them fail.
func TestAStepOfAKeeperFailsAlone(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"removal", "maintenance", "check"} {
		t.Run(bad, func(t *testing.T) {
			t.Parallel()
			g, p := NewWithT(t), backedUp(t, "one", "two")
			p.mover.Driver = failing{kopia.Driver{}, map[string]bool{bad: true}}
			work := p.checking(keepTask("one"))
			work.Keep[0].Maintain = task.MaintainFull
			code, r := p.run(t.Context(), work)
			g.Expect(code).To(Equal(task.ExitStorage))
			k := r.Components[0]
			g.Expect(k.Reason).To(Equal(v1alpha1.ReasonUnreachable))
			for name, step := range map[string]*task.Step{
				"removal": k.Removal, "maintenance": k.Maintenance, "check": k.Check,
			} {
				g.Expect(step).NotTo(BeNil(), name)
				g.Expect(step.Reason != "").To(Equal(name == bad), "%s: %+v", name, step)
			}
			g.Expect(p.held()).To(HaveLen(map[bool]int{true: 4, false: 2}[bad == "removal"]))
			g.Expect(k.SizeBytes > 0).To(Equal(bad != "maintenance"))
			g.Expect(k.Verified > 0).To(Equal(bad != "check"))
		})
	}
}

// Two keepers at once: the cluster has lost sight of one whose node is cut off, and starts another.
func TestOneKeeperAtATime(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one")
	p.mover.RenewLease = time.Second
	storage := repository.Storage{Local: &repository.Local{
		Path: filepath.Join(p.root, "cairn/storage"), Prefix: "backups",
	}}
	store, err := backend.Open(storage)
	g.Expect(err).NotTo(HaveOccurred())
	_, lease, err := backend.TakeLease(t.Context(), store, "shop/web",
		backend.LeaseOptions{Now: time.Now, Renew: time.Second})
	g.Expect(err).NotTo(HaveOccurred())
	for _, work := range []task.Task{keepTask("one"), wipeTask()} {
		_, r := p.run(t.Context(), work)
		g.Expect(r.Reason).To(Equal(v1alpha1.ReasonKeeperRunning), r.Message)
		g.Expect(p.held()).To(HaveLen(2))
	}
	g.Expect(lease.Release(t.Context())).To(Succeed())
	code, r := p.run(t.Context(), keepTask("one"))
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(p.files("keeper")).To(BeEmpty())
}
