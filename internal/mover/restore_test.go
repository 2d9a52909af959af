package mover_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
	"github.com/cairn-backup/cairn/internal/task"
)

// meddler changes the volume between the restore and the verification.
type meddler struct {
	repository.Driver
	after func()
}

func (d meddler) Open(ctx context.Context, r repository.Repository) (repository.Engine, error) {
	e, err := d.Driver.Open(ctx, r)
	return meddled{e, d.after}, err
}

type meddled struct {
	repository.Engine
	after func()
}

func (e meddled) Restore(ctx context.Context, id, target string, opt repository.RestoreOptions) (
	repository.RestoreResult, error,
) {
	r, err := e.Engine.Restore(ctx, id, target, opt)
	e.after()
	return r, err
}

// TestARestoreIsVerified reads back what was restored. A difference from the repository is no success.
func TestARestoreIsVerified(t *testing.T) {
	unreachable := &repository.Error{Op: "compare", Kind: repository.ErrUnreachable, Err: errors.New("no route")}
	for name, tc := range map[string]struct {
		meddle    func(g *WithT, dir string)
		compare   error
		reason    string
		outcome   task.Outcome
		different int64
		message   string
	}{
		"equal": {outcome: task.OutcomeSucceeded},
		"another content of the same size and time": {
			meddle: func(g *WithT, dir string) {
				file := filepath.Join(dir, "a/one")
				info, err := os.Stat(file)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(os.WriteFile(file, []byte("jello"), 0o644)).To(Succeed())
				g.Expect(os.Chtimes(file, info.ModTime(), info.ModTime())).To(Succeed())
			},
			reason: v1alpha1.ReasonVerificationFailed, outcome: task.OutcomeFailed, different: 1,
			message: "the volume differs from the repository in 1 entry",
		},
		"files lost": {
			meddle: func(g *WithT, dir string) { g.Expect(os.RemoveAll(filepath.Join(dir, "a"))).To(Succeed()) },
			reason: v1alpha1.ReasonVerificationFailed, outcome: task.OutcomeFailed, different: 1, message: "differ",
		},
		"a file that someone added": {
			meddle: func(g *WithT, dir string) {
				g.Expect(os.WriteFile(filepath.Join(dir, "new"), nil, 0o644)).To(Succeed())
			},
			outcome: task.OutcomeSucceeded,
		},
		"a storage that went away": {
			compare: unreachable, reason: v1alpha1.ReasonUnreachable, outcome: task.OutcomeUnknown,
			message: "could not be verified",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			p := initialised(t)
			p.write("cairn/volumes/pvc/a/one", "hello")
			p.write("cairn/volumes/pvc/two", "2")
			g.Expect(os.Symlink("two", filepath.Join(p.volume(), "link"))).To(Succeed())
			c := p.backs("snap-1", nil, "")

			out := t.TempDir()
			p.mount("new", out)
			p.mover.Driver = meddler{&comparing{kopia.Driver{}, tc.compare}, func() {
				if tc.meddle != nil {
					tc.meddle(g, out)
				}
			}}
			in := restoreTask(c.ID)
			in.Restore = &task.Restore{Verify: true}
			code, result := p.run(t.Context(), in)
			r := result.Components[0]
			g.Expect(r.Reason).To(Equal(tc.reason), r.Error)
			g.Expect(r.Outcome).To(Equal(tc.outcome))
			g.Expect(r.Different).To(Equal(tc.different))
			g.Expect(r.Error).To(ContainSubstring(tc.message))
			g.Expect(r.TargetWritten).To(BeTrue(), "another attempt may write over it")
			g.Expect(code == 0).To(Equal(tc.outcome == task.OutcomeSucceeded))
			if code == 0 {
				g.Expect(r.Verified).To(Equal(int64(3)), "two files and a link")
			}
			told := p.reports.restores["new"]
			g.Expect(told[len(told)-1].Phase == v1alpha1.RestoreSessionSucceeded).To(Equal(code == 0))
		})
	}
}

// comparing has an engine whose comparison fails.
type comparing struct {
	repository.Driver
	err error
}

func (d *comparing) Open(ctx context.Context, r repository.Repository) (repository.Engine, error) {
	e, err := d.Driver.Open(ctx, r)
	if d.err == nil || err != nil {
		return e, err
	}
	return uncomparable{e, d.err}, nil
}

type uncomparable struct {
	repository.Engine
	err error
}

func (e uncomparable) Compare(context.Context, string, string, repository.RestoreOptions) (repository.CompareResult,
	error,
) {
	return repository.CompareResult{}, e.err
}

// TestOverwriteFollowsThePolicy restores into a volume with data. Without the confirmation of a user nothing in the
// volume changes; with it the policy applies. All changes of existing files are counted.
func TestOverwriteFollowsThePolicy(t *testing.T) {
	before := map[string]string{"older": "theirs", "newer": "theirs", "sub/extra": "theirs"}
	for name, tc := range map[string]struct {
		rules                      task.Restore
		want                       map[string]string
		reason                     string
		overwritten, kept, deleted int64
	}{
		"nothing said": {want: before, reason: v1alpha1.ReasonVolumeNotEmpty},
		"extra files, and nothing else said": {
			rules: task.Restore{DeleteExtra: true}, want: before, reason: v1alpha1.ReasonVolumeNotEmpty,
		},
		"Overwrite": {
			rules: task.Restore{Overwrite: v1alpha1.OverwriteAlways, Verify: true}, overwritten: 2,
			want: map[string]string{"older": "ours", "newer": "ours", "missing": "ours", "sub/extra": "theirs"},
		},
		"IfNewer": {
			rules: task.Restore{Overwrite: v1alpha1.OverwriteIfNewer, Verify: true}, overwritten: 1, kept: 1,
			want: map[string]string{"older": "ours", "newer": "theirs", "missing": "ours", "sub/extra": "theirs"},
		},
		"Never": {
			rules: task.Restore{Overwrite: v1alpha1.OverwriteNever}, kept: 2,
			want: map[string]string{"older": "theirs", "newer": "theirs", "missing": "ours", "sub/extra": "theirs"},
		},
		"Overwrite, extra files deleted": {
			rules: task.Restore{Overwrite: v1alpha1.OverwriteAlways, DeleteExtra: true, Verify: true}, overwritten: 2,
			deleted: 2,
			want:    map[string]string{"older": "ours", "newer": "ours", "missing": "ours"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			p := initialised(t)
			now := time.Now().Truncate(time.Second)
			for _, file := range []string{"older", "newer", "missing"} {
				p.write("cairn/volumes/pvc/"+file, "ours")
				g.Expect(os.Chtimes(filepath.Join(p.volume(), file), now, now)).To(Succeed())
			}
			c := p.backs("snap-1", nil, "")

			for file, content := range before {
				p.write("cairn/volumes/new/"+file, content)
			}
			used := filepath.Join(p.root, "cairn/volumes/new")
			for file, by := range map[string]time.Duration{"older": -time.Hour, "newer": time.Hour} {
				g.Expect(os.Chtimes(filepath.Join(used, file), now.Add(by), now.Add(by))).To(Succeed())
			}
			in := restoreTask(c.ID)
			in.Restore = &tc.rules
			_, result := p.run(t.Context(), in)
			r := result.Components[0]
			g.Expect(r.Reason).To(Equal(tc.reason), r.Error)
			g.Expect(files(t, used)).To(Equal(tc.want))
			g.Expect([]int64{r.Overwritten, r.Kept, r.Deleted}).To(Equal([]int64{tc.overwritten, tc.kept, tc.deleted}))
			g.Expect(r.TargetWritten).To(BeFalse(), "it was not empty: no attempt may take what is in it for its own")
			told := p.reports.restores["new"]
			last := told[len(told)-1]
			g.Expect(last.Phase == v1alpha1.RestoreSessionSucceeded).To(Equal(tc.reason == ""))
			g.Expect([]int64{last.Overwritten, last.Kept, last.Deleted}).
				To(Equal([]int64{tc.overwritten, tc.kept, tc.deleted}),
					"the status says it")
		})
	}
}

// TestFullVolumeAndMissingRightsDiffer: the message contains the system's own error, because the two need
// different remedies.
func TestFullVolumeAndMissingRightsDiffer(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	p.write("cairn/volumes/pvc/private-name", strings.Repeat("0123456789abcdef", 1<<17))
	code, result := p.run(t.Context(), backupTask("snap-1"))
	g.Expect(code).To(BeZero(), result.Message)

	volume := filepath.Join(p.root, "cairn/volumes/new")
	g.Expect(os.MkdirAll(volume, 0o755)).To(Succeed())
	if err := unix.Mount("tmpfs", volume, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("needs the right to mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(volume, unix.MNT_DETACH) })
	code, result = p.run(t.Context(), restoreTask(result.Components[0].ID))
	g.Expect(code).To(Equal(task.ExitTarget))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonTargetUnwritable))
	g.Expect(result.Components[0].Error).To(MatchRegexp(
		`^the target is full: give it more room \([01] MiB left, and a file needs 2 MiB\): no space left on device$`))
	g.Expect(result.Message).NotTo(ContainSubstring("private-name"))
}

// TestAReadOnlyDirectoryOfTheTarget fails the restore, and the log of the mover names it: the status may not.
func TestAReadOnlyDirectoryOfTheTarget(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	p := initialised(t)
	p.write("cairn/volumes/pvc/.snapshot/nightly", "old")
	p.write("cairn/volumes/pvc/a", "new")
	c := p.backs("snap-1", nil, "")
	out := t.TempDir()
	p.mount("new", out)
	shown := filepath.Join(out, ".snapshot")
	g.Expect(os.Mkdir(shown, 0o755)).To(Succeed())
	if err := unix.Mount(t.TempDir(), shown, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("needs the right to mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(shown, unix.MNT_DETACH) })
	g.Expect(unix.Mount("", shown, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")).To(Succeed())
	in := restoreTask(c.ID)
	in.Restore = &task.Restore{Overwrite: v1alpha1.OverwriteAlways}
	code, result := p.run(t.Context(), in)
	g.Expect(code).To(Equal(task.ExitTarget))
	r := result.Components[0]
	g.Expect(r.Error).To(And(ContainSubstring("parameter exclude"), Not(ContainSubstring("nightly"))))
	g.Expect(filepath.Join(out, "a")).To(BeAnExistingFile())
	g.Expect(p.log.String()).To(ContainSubstring(`\".snapshot/nightly\": read-only file system`))
}

// TestAReadOnlyVolume says nothing of directories and of a log: the restore begins with none.
func TestAReadOnlyVolume(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	p := initialised(t)
	p.write("cairn/volumes/pvc/a", "new")
	c := p.backs("snap-1", nil, "")
	out := filepath.Join(p.root, "cairn/volumes/new")
	g.Expect(os.Mkdir(out, 0o755)).To(Succeed())
	if err := unix.Mount(out, out, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("needs the right to mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(out, unix.MNT_DETACH) })
	g.Expect(unix.Mount("", out, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")).To(Succeed())
	for path, says := range map[string]string{
		"": "the volume can't be written to: it is read-only: mount it", "data": "it is read-only: mount it",
	} {
		in := restoreTask(c.ID)
		in.Components[0].Path = path
		code, result := p.run(t.Context(), in)
		g.Expect(code).To(Equal(task.ExitTarget))
		g.Expect(result.Components[0].Error).To(And(ContainSubstring(says), Not(ContainSubstring("the log"))))
	}
}

// files returns the files below a directory.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	NewWithT(t).Expect(filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		read := os.ReadFile
		if d.Type() == fs.ModeSymlink {
			read = func(name string) ([]byte, error) {
				to, err := os.Readlink(name)
				return []byte(to), err
			}
		}
		content, err := read(name)
		out[strings.TrimPrefix(name, dir+"/")] = string(content)
		return err
	})).To(Succeed())
	return out
}

// killedAt is where the restoring mover is killed: in the middle of the big file.
const killedAt = 1 << 20

// TestAKilledRestoreIsResumed: a mover that died leaves half a volume with a torn file. The next mover is allowed to
// go on only if it knows that the volume was empty before, and then completes it.
func TestAKilledRestoreIsResumed(t *testing.T) {
	if root := os.Getenv("MOVER_KILLED_ROOT"); root != "" {
		restoreUntilKilled(t, root, os.Getenv("MOVER_KILLED_ID"))
		return
	}
	t.Parallel()
	g := NewWithT(t)
	p := initialised(t)
	enginetest.Tree(t, filepath.Join(p.volume(), "tree"), 60)
	enginetest.Incompressible(t, filepath.Join(p.volume(), "big"), 1, 2*killedAt)
	c := p.backs("snap-1", nil, "")

	out := filepath.Join(p.root, "cairn/volumes/new")
	g.Expect(os.MkdirAll(out, 0o755)).To(Succeed())
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAKilledRestoreIsResumed$")
	cmd.Env = append(os.Environ(), rerun+"=1", "MOVER_KILLED_ROOT="+p.root, "MOVER_KILLED_ID="+c.ID)
	said, err := cmd.CombinedOutput()
	g.Expect(err).To(MatchError(ContainSubstring("file size limit exceeded")), string(said))
	torn, err := filepath.Glob(filepath.Join(out, "big/0/.cairn~r-[0-9a-f]*"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(torn).To(HaveLen(1))
	info, err := os.Stat(torn[0])
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.Size()).To(And(BeNumerically(">", 0), BeNumerically("<", 2*killedAt)))
	half := files(t, out)

	code, result := p.run(t.Context(), restoreTask(c.ID))
	g.Expect(code).To(Equal(task.ExitTarget))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonVolumeNotEmpty))
	g.Expect(files(t, out)).To(Equal(half), "nothing was touched")

	in := restoreTask(c.ID)
	in.Components[0].Resume = true
	in.Restore = &task.Restore{Verify: true}
	code, result = p.run(t.Context(), in)
	g.Expect(code).To(BeZero(), result.Message)
	g.Expect(result.Components[0].TargetWritten).To(BeTrue())
	enginetest.Same(t, p.volume(), out)
}

// TestAResumedRestoreKeepsNothingOfAnEarlierAttempt: what a killed mover left half-written is newer than its backup.
func TestAResumedRestoreKeepsNothingOfAnEarlierAttempt(t *testing.T) {
	t.Parallel()
	for _, overwrite := range []v1alpha1.OverwritePolicy{
		"", v1alpha1.OverwriteIfNewer, v1alpha1.OverwriteNever, v1alpha1.OverwriteAlways,
	} {
		t.Run("overwrite "+string(overwrite), func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			p := initialised(t)
			p.write("cairn/volumes/pvc/one", "hello")
			c := p.backs("snap-1", nil, "")
			out := t.TempDir()
			p.mount("new", out)
			torn := filepath.Join(out, "one")
			g.Expect(os.WriteFile(torn, []byte("he"), 0o644)).To(Succeed())
			newer := time.Now().Add(time.Hour)
			g.Expect(os.Chtimes(torn, newer, newer)).To(Succeed())
			in := restoreTask(c.ID)
			in.Components[0].Resume, in.Restore = true, &task.Restore{Overwrite: overwrite}
			code, result := p.run(t.Context(), in)
			g.Expect(code).To(BeZero(), result.Message)
			g.Expect(os.ReadFile(torn)).To(BeEquivalentTo("hello"))
		})
	}
}

// TestAnotherAttemptComparesWhatItKept: what a killed mover wrote has the times of the Snapshot, so the next one keeps
// it. A disk that lost it meanwhile must not pass for a user's file.
func TestAnotherAttemptComparesWhatItKept(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		again   bool
		content string
		outcome task.Outcome
	}{
		"the first attempt":       {false, "torn!", task.OutcomeSucceeded},
		"the second":              {true, "torn!", task.OutcomeUnknown},
		"the second, all is well": {true, "hello", task.OutcomeSucceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			p := initialised(t)
			now := time.Now().Truncate(time.Second)
			p.write("cairn/volumes/pvc/one", "hello")
			p.write("cairn/volumes/new/one", tc.content)
			p.write("cairn/volumes/new/theirs", "of the user")
			for _, volume := range []string{"pvc", "new"} {
				g.Expect(os.Chtimes(filepath.Join(p.root, "cairn/volumes", volume, "one"), now, now)).To(Succeed())
			}
			in := restoreTask(p.backs("snap-1", nil, "").ID)
			in.Restore = &task.Restore{Overwrite: v1alpha1.OverwriteIfNewer, Verify: true, Again: tc.again}
			_, result := p.run(t.Context(), in)
			r := result.Components[0]
			g.Expect(r.Outcome).To(Equal(tc.outcome), r.Error)
			g.Expect(r.Kept).To(BeEquivalentTo(1))
			if tc.outcome == task.OutcomeUnknown {
				g.Expect(r.Reason).To(Equal(v1alpha1.ReasonVerificationFailed))
				g.Expect(r.Error).To(ContainSubstring("1 entry with the time of the Snapshot"))
			}
		})
	}
}

// restoreUntilKilled is a mover that the kernel kills when a file grows beyond killedAt.
func restoreUntilKilled(t *testing.T, root, id string) {
	g := NewWithT(t)
	p := newPod(t)
	p.root, p.mover.Root = root, root
	var kill [32]byte // struct sigaction with SIG_DFL; Go would go on
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGXFSZ), uintptr(unsafe.Pointer(&kill)),
		0, 8, 0,
		0)
	g.Expect(errno).To(BeZero())
	g.Expect(unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})).To(Succeed())
	g.Expect(unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: killedAt, Max: killedAt})).To(Succeed())
	p.run(t.Context(), restoreTask(id))
}
