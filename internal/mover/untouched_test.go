package mover_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
	"github.com/cairn-backup/cairn/internal/task"
)

// cutOff loses its storage before a restore, or once the restore is complete.
type cutOff struct {
	repository.Driver
	after bool
}

func (d cutOff) Open(ctx context.Context, r repository.Repository) (repository.Engine, error) {
	e, err := d.Driver.Open(ctx, r)
	return lostStorage{e, d.after}, err
}

type lostStorage struct {
	repository.Engine
	after bool
}

func (e lostStorage) Restore(ctx context.Context, id, target string, opt repository.RestoreOptions) (
	r repository.RestoreResult, err error,
) {
	if e.after {
		if r, err = e.Engine.Restore(ctx, id, target, opt); err != nil {
			return r, err
		}
	}
	return r, &repository.Error{Op: "restore", Kind: repository.ErrUnreachable, Err: errors.New("no route")}
}

// Between two attempts somebody can put data into a volume that the first one left empty. The second must not take it
// for its own.
func TestARestoreThatWroteNothingHasNothingToResume(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ after, resume, written bool }{
		"nothing was written":                          {},
		"nothing was written, and nothing was left":    {resume: true},
		"something was written":                        {after: true, written: true},
		"something was written, by the second attempt": {after: true, resume: true, written: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			p := initialised(t)
			p.write("cairn/volumes/pvc/file", "hello")
			c := p.backs("snap-1", nil, "")
			p.mount("new", t.TempDir())
			p.mover.Driver = cutOff{kopia.Driver{}, tt.after}
			in := restoreTask(c.ID)
			in.Components[0].Resume = tt.resume
			_, result := p.run(t.Context(), in)
			r := result.Components[0]
			g.Expect(r.Reason).To(Equal(v1alpha1.ReasonUnreachable), r.Error)
			g.Expect(r.TargetWritten).To(Equal(tt.written))
			g.Expect(r.TargetUntouched).To(Equal(!tt.after))
			g.Expect(r.TargetEmpty).To(BeFalse(), "it could be written to")
			told := p.reports.restores["new"]
			g.Expect(told[0].TargetWritten).To(BeTrue(), "a mover that is killed now may have written")
			g.Expect(told[0].TargetUntouched).To(BeFalse())
			g.Expect(told[len(told)-1].TargetWritten).To(Equal(tt.written))
			g.Expect(told[len(told)-1].TargetUntouched).To(Equal(!tt.after))
		})
	}
}

var unreachable = &repository.Error{Op: "test", Kind: repository.ErrUnreachable, Err: errors.New("no route")}

// A mistake in a restore into a volume that is in use must not pass for a half restore of it.
func TestAMoverTellsThatItTouchedNothing(t *testing.T) {
	if os.Geteuid() == 0 { // who can write to everything
		home := nobodysHome(t)
		for _, name := range []string{"one", "everything"} {
			othersDirectory(t, filepath.Join(home, name))
		}
		nobodyIn(t, home)
		return
	}
	one := mover.Flags{Include: []string{"/2025/one.jpg"}}
	closed := func(p *pod, _ *task.Component) {
		dir := filepath.Join(p.root, "cairn/volumes/new")
		NewWithT(p.t).Expect(os.Chmod(dir, 0o555)).To(Succeed())
		p.t.Cleanup(func() { _ = os.Chmod(dir, 0o755) })
	}
	ofOthers := func(name string) func(*pod, *task.Component) {
		return func(p *pod, _ *task.Component) { p.mount("new", filepath.Join(os.Getenv("HOME"), name)) }
	}
	for name, tt := range map[string]struct {
		flags     mover.Flags
		given     func(*pod, *task.Component)
		reason    string
		untouched bool
	}{
		"the volume is of another user":  {one, closed, v1alpha1.ReasonTargetUnwritable, true},
		"a directory is of another user": {one, ofOthers("one"), v1alpha1.ReasonTargetUnwritable, true},
		"everything, also around the directory": {
			mover.Flags{}, ofOthers("everything"), v1alpha1.ReasonTargetUnwritable, false,
		},
		"there is no such file": {
			mover.Flags{Include: []string{"/2025/on.jpg"}}, func(*pod, *task.Component) {}, v1alpha1.ReasonEmpty, true,
		},
		"the storage is out of reach": {one, func(p *pod, _ *task.Component) {
			p.faulty("open", 1, enginetest.Fault{Err: unreachable})
		}, v1alpha1.ReasonUnreachable, true},
		"the storage went away before the first file": {one, func(p *pod, _ *task.Component) {
			p.mover.Driver = cutOff{kopia.Driver{}, false}
		}, v1alpha1.ReasonUnreachable, true},
		"the storage went away": {one, func(p *pod, _ *task.Component) {
			p.mover.Driver = cutOff{kopia.Driver{}, true}
		}, v1alpha1.ReasonUnreachable, false},
		"it makes a directory": {mover.Flags{}, func(p *pod, c *task.Component) {
			p.mover.Driver, c.Path = cutOff{kopia.Driver{}, false}, "data/files"
		}, v1alpha1.ReasonUnreachable, false},
		"the directory is there": {mover.Flags{}, func(p *pod, c *task.Component) {
			p.mover.Driver, c.Path = cutOff{kopia.Driver{}, false}, "2025"
		}, v1alpha1.ReasonUnreachable, true},
		"it succeeded": {one, func(*pod, *task.Component) {}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			p := initialised(t)
			p.write("cairn/volumes/pvc/2025/one.jpg", "1")
			p.write("cairn/volumes/pvc/two.jpg", "2")
			in := restoreTask(p.backs("snap-1", nil, "").ID)
			in.Restore = &task.Restore{Overwrite: v1alpha1.OverwriteAlways}
			p.write("cairn/volumes/new/2025/one.jpg", "theirs")
			tt.given(p, &in.Components[0])
			volume, err := filepath.EvalSymlinks(filepath.Join(p.root, "cairn/volumes/new"))
			g.Expect(err).NotTo(HaveOccurred())
			before := files(t, volume)
			_, result := p.with(t.Context(), in, tt.flags)
			r := result.Components[0]
			g.Expect(r.Reason).To(Equal(tt.reason), r.Error)
			g.Expect(r.TargetUntouched).To(Equal(tt.untouched))
			told := p.reports.restores["new"]
			g.Expect(told[len(told)-1].TargetUntouched).To(Equal(tt.untouched))
			if tt.untouched {
				g.Expect(files(t, volume)).To(Equal(before))
			}
		})
	}
}

// othersDirectory makes a volume that every user can write to, but for the directory 2025 in it.
func othersDirectory(t *testing.T, volume string) {
	t.Helper()
	g := NewWithT(t)
	dir := filepath.Join(volume, "2025")
	g.Expect(os.MkdirAll(dir, 0o755)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(dir, "one.jpg"), []byte("theirs"), 0o644)).To(Succeed())
	for path, mode := range map[string]os.FileMode{volume: 0o777, dir: 0o755} {
		g.Expect(os.Chmod(path, mode)).To(Succeed(), "whatever the umask")
	}
}

// The program of a database can change it as soon as it runs.
func TestOnlyAProgramThatNeverRanTouchedNothing(t *testing.T) {
	t.Parallel()
	p := streaming(t)
	id := p.backUp("snap-1", dumpOf("echo rows"))
	for name, tt := range map[string]struct {
		change    func(*task.Component)
		untouched bool
	}{
		"the database is away": {func(c *task.Component) {
			c.Stream.Probe = &v1alpha1.ResolvedProbe{
				ResolvedProgram: v1alpha1.ResolvedProgram{Command: []string{"/bin/sh", "-c", "exit 2"}},
			}
		}, true},
		"there is no such program": {func(c *task.Component) { c.Stream.Command = []string{"/no/such/program"} }, true},
		"the program fails":        {func(*task.Component) {}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := dumpOf("exit 3")
			tt.change(&c)
			result := p.restoreInto(id, c)
			g := NewWithT(t)
			g.Expect(result.Outcome).To(Equal(task.OutcomeFailed), result.Message)
			g.Expect(result.Components[0].TargetUntouched).To(Equal(tt.untouched), result.Message)
		})
	}
}

// What cannot be unpacked leaves the directory as it was.
func TestWithoutAnArchiveNothingIsTouched(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		content             []byte
		away, by, untouched bool
	}{
		"the storage went away":                 {content: archive(t), away: true, untouched: true},
		"the storage of a program's files went": {content: archive(t), away: true, by: true},
		"the archive is cut off":                {content: archive(t)[:1600]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			p := streaming(t)
			id := p.archived("snap-1", tt.content)
			g.Expect(os.MkdirAll(p.in("data"), 0o755)).To(Succeed())
			if tt.away {
				p.faulty("restorestream", 1, enginetest.Fault{Err: unreachable})
			}
			result := p.unpacks(id, mover.Flags{}, func(in *task.Task) {
				in.Restore.Overwrite = v1alpha1.OverwriteAlways
				if tt.by {
					in.Components[0].Stream = dumpOf("cat").Stream
				}
			})
			g.Expect(result.Outcome).To(Equal(task.OutcomeFailed))
			g.Expect(result.Components[0].TargetUntouched).To(Equal(tt.untouched), result.Message)
		})
	}
}
