package mover_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/mover"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
	"github.com/cairn-backup/cairn/internal/task"
)

// lateDriver is the driver of a mover that stands still after it has looked, while meanwhile happens.
type lateDriver struct {
	repository.Driver
	meanwhile func()
}

func (d lateDriver) Open(ctx context.Context, r repository.Repository) (repository.Engine, error) {
	e, err := d.Driver.Open(ctx, r)
	return lateEngine{e, d.meanwhile}, err
}

type lateEngine struct {
	repository.Engine
	meanwhile func()
}

func (e lateEngine) Backup(
	ctx context.Context, src repository.Source, opt repository.BackupOptions,
) (repository.Snapshot, error) {
	e.meanwhile()
	return e.Engine.Backup(ctx, src, opt)
}

// The second mover backs the volume up, and the Snapshot succeeds. Then a restore begins to write into the volume. The
// first mover, whom the manager gave up, comes back: its backup of a half-restored volume does not take the place of
// the good one in the backend, from which a scan makes the Snapshot again.
func TestALateMoverDoesNotReplaceTheResult(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	p.write("cairn/volumes/pvc/file", "whole")
	var good *task.Result
	p.mover.Driver = lateDriver{kopia.Driver{}, func() {
		late := p.mover.Driver
		p.mover.Driver = kopia.Driver{}
		_, good = p.run(t.Context(), backupTask("snap-1"))
		p.write("cairn/volumes/pvc/file", "half of a restore")
		p.mover.Driver = late
	}}
	_, _ = p.run(t.Context(), backupTask("snap-1"))
	g.Expect(good.Outcome).To(Equal(task.OutcomeSucceeded))
	text, err := os.ReadFile(filepath.Join(p.root, "cairn/storage/backups/shop/web/snapshots/snap-1/pvc.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	result, err := layout.ParseComponentResult(text)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.ID).To(Equal(good.Components[0].ID))
}

// The manager gives a mover up before it begins, or while it works.
func TestABackupThatWasGivenUpLeavesNothing(t *testing.T) {
	for name, reports := range map[string]int{"before it begins": 0, "before it is complete": 1} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			p := initialised(t)
			p.write("cairn/volumes/pvc/file", "1")
			p.reports.accepts = &reports
			code, result := p.run(t.Context(), backupTask("snap-1"))
			g.Expect(code).To(Equal(task.ExitCancelled))
			g.Expect(result.Components[0].ID).To(BeEmpty())
			_, err := os.Stat(filepath.Join(p.root, "cairn/storage/backups/shop/web/snapshots/snap-1"))
			g.Expect(err).To(MatchError(os.ErrNotExist))
			p.reports.accepts = nil
			g.Expect(p.backs("snap-2", nil, "").Outcome).To(Equal(task.OutcomeSucceeded))
		})
	}
}

// A failure of a late mover does not take the place of what another one left in the backend.
func TestAFailureOfALateMoverIsNotRecorded(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	p.reports.accepts = new(int)
	p.volume() // it is empty
	code, result := p.run(t.Context(), backupTask("snap-1"))
	g.Expect(code).NotTo(BeZero())
	g.Expect(result.Components[0].Reason).To(Equal(v1alpha1.ReasonEmpty))
	_, err := os.Stat(filepath.Join(p.root, "cairn/storage/backups/shop/web/snapshots/snap-1"))
	g.Expect(err).To(MatchError(os.ErrNotExist))
}

// The restore was given up before its Job had a pod: an application can use the volume by now.
func TestARestoreThatWasGivenUpWritesNothing(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	p.write("cairn/volumes/pvc/file", "1")
	id := p.backs("snap-1", nil, "").ID
	out := t.TempDir()
	p.mount("new", out)
	p.reports.accepts = new(int)
	code, _ := p.with(t.Context(), restoreTask(id), mover.Flags{})
	g.Expect(code).To(Equal(task.ExitCancelled))
	g.Expect(os.ReadDir(out)).To(BeEmpty())
}

// A program can change its database before it is given any data.
func TestARestoreThatWasGivenUpStartsNoProgram(t *testing.T) {
	g := NewWithT(t)
	p := streaming(t)
	_, backup := p.run(t.Context(), backupTask("snap-1", dumpOf("echo some rows")))
	changed := filepath.Join(t.TempDir(), "changed")
	p.reports.accepts = new(int)
	p.reports.told = func() {
		g.Consistently(func() error { _, err := os.Stat(changed); return err }, time.Second).
			Should(MatchError(os.ErrNotExist), "no program has started when the mover asks whether it may begin")
	}
	code, _ := p.load(t.Context(), backup.Components[0].ID, "touch "+changed+"; cat")
	g.Expect(code).To(Equal(task.ExitCancelled))
	g.Expect(changed).NotTo(BeAnExistingFile())
}

// The storage takes the data but not the result file.
func TestABackupThatNoScanFindsSaysSo(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	p.write("cairn/volumes/pvc/file", "1")
	p.write("cairn/storage/backups/shop/web/snapshots", "in the way")
	code, result := p.run(t.Context(), backupTask("snap-1"))
	g.Expect(code).To(BeZero())
	g.Expect(result.Components[0].Error).To(ContainSubstring("cairn repository scan would not find it"))
}
