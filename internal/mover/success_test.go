package mover_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/kopia/kopia/repo/blob"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
	"github.com/cairn-backup/cairn/internal/task"
)

// judged returns a backup task with a success policy.
func judged(snapshot string, p *v1alpha1.SuccessPolicy, components ...task.Component) task.Task {
	t := backupTask(snapshot, components...)
	t.SuccessPolicy = p
	return t
}

// snapshots returns what the repository holds, as a restore or another mover would find it.
func (p *pod) snapshots() []repository.Snapshot {
	p.t.Helper()
	g, engine := NewWithT(p.t), p.engine()
	defer func() { _ = engine.Close(p.t.Context()) }()
	all, err := engine.List(p.t.Context(), "")
	g.Expect(err).NotTo(HaveOccurred())
	return all
}

// engine opens the repository. The caller closes it.
func (p *pod) engine() repository.Engine {
	p.t.Helper()
	engine, err := kopia.Driver{}.Open(p.t.Context(), repository.Repository{
		Storage: repository.Storage{Local: &repository.Local{
			Path:   filepath.Join(p.root, "cairn/storage"),
			Prefix: "backups/shop/web/kopia",
		}},
		Password: "correct horse", WorkDir: p.t.TempDir(),
	})
	NewWithT(p.t).Expect(err).NotTo(HaveOccurred())
	return engine
}

// backs backs up one component and checks how that ends. An empty reason means success. A refused backup must have
// left nothing.
func (p *pod) backs(snapshot string, policy *v1alpha1.SuccessPolicy, reason string,
	flags ...string,
) task.ComponentResult {
	p.t.Helper()
	g := NewWithT(p.t)
	before := len(p.snapshots())
	code, result := p.run(p.t.Context(), judged(snapshot, policy), flags...)
	g.Expect(result.Components).To(HaveLen(1))
	c := result.Components[0]
	g.Expect(c.Reason).To(Equal(reason), c.Error)
	if reason == "" {
		g.Expect(code).To(BeZero())
		g.Expect(c.ID).NotTo(BeEmpty())
		g.Expect(p.snapshots()).To(HaveLen(before + 1))
		return c
	}
	g.Expect(code).To(Equal(task.ExitSource))
	g.Expect(c.ID).To(BeEmpty())
	g.Expect(p.snapshots()).To(HaveLen(before), "a refused backup leaves no snapshot")
	told := p.reports.snapshots["pvc"]
	g.Expect(told[len(told)-1].Phase).To(Equal(v1alpha1.SnapshotFailed))
	return c
}

func (p *pod) volume() string {
	p.t.Helper()
	dir := filepath.Join(p.root, "cairn/volumes/pvc")
	NewWithT(p.t).Expect(os.MkdirAll(dir, 0o755)).To(Succeed())
	return dir
}

var (
	allowEmpty   = &v1alpha1.SuccessPolicy{Empty: v1alpha1.DoubtAllow}
	allowAllLost = &v1alpha1.SuccessPolicy{Empty: v1alpha1.DoubtAllow, MaxShrinkPercent: new(int32(100))}
)

func TestAnEmptyVolumeIsNoSuccess(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	g.Expect(os.MkdirAll(filepath.Join(p.volume(), "lost+found"), 0o755)).To(Succeed())
	p.backs("snap-1", nil, v1alpha1.ReasonEmpty)
	g.Expect(os.MkdirAll(filepath.Join(p.volume(), "only/directories"), 0o755)).To(Succeed())
	p.backs("snap-1", nil, v1alpha1.ReasonEmpty)
	p.write("cairn/volumes/pvc/skip.tmp", "1")
	p.backs("snap-1", &v1alpha1.SuccessPolicy{Unreadable: v1alpha1.DoubtAllow, Changed: v1alpha1.DoubtAllow},
		v1alpha1.ReasonEmpty, "*.tmp")

	c := p.backs("snap-1", allowEmpty, "", "*.tmp")
	g.Expect(c.Files).To(BeZero())
	g.Expect(c.Directories).To(BeNumerically(">=", 3))
}

func TestAPathThatMatchesNothingIsNoSuccess(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	p.write("cairn/volumes/pvc/f", "1")
	code, result := p.run(t.Context(), judged("snap-1", allowAllLost, task.Component{Name: "pvc", Path: "absent"}))
	g.Expect(code).To(Equal(task.ExitSource))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonPathNotFound))
	g.Expect(p.snapshots()).To(BeEmpty())
}

func TestAVolumeThatLostItsFilesIsNoSuccess(t *testing.T) {
	t.Parallel()
	p := initialised(t)
	p.write("cairn/volumes/pvc/big", strings.Repeat("b", 100_000))
	for i := range 49 {
		p.write(fmt.Sprintf("cairn/volumes/pvc/small/%d", i), "x")
	}
	p.backs("snap-1", nil, "")
	for i := range 36 {
		p.remove(fmt.Sprintf("cairn/volumes/pvc/small/%d", i))
	}
	p.backs("snap-2", nil, "") // 28 % are left
	p.remove("cairn/volumes/pvc/small")
	lost := p.backs("snap-3", nil, v1alpha1.ReasonShrunk)
	NewWithT(t).Expect(lost.Error).
		To(ContainSubstring("only 97.656 KiB in 1 file are left of the 97.669 KiB in 14 files"))
	p.backs("snap-3", &v1alpha1.SuccessPolicy{MaxShrinkPercent: new(int32(100))}, "")
	p.backs("snap-4", nil, "")
}

func TestAVolumeThatCameUpEmptyIsNoSuccess(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	p.write("cairn/volumes/pvc/a", strings.Repeat("a", 6000))
	p.write("cairn/volumes/pvc/b", strings.Repeat("b", 4000))
	first := p.backs("snap-1", nil, "")
	g.Expect(first.PreviousSizeBytes).To(BeZero())

	p.remove("cairn/volumes/pvc/a")
	shrunk := p.backs("snap-2", &v1alpha1.SuccessPolicy{MaxShrinkPercent: new(int32(59))}, v1alpha1.ReasonShrunk)
	g.Expect(shrunk.PreviousSizeBytes).To(Equal(int64(10_000)))
	g.Expect(shrunk.SizeBytes).To(Equal(int64(4000)))
	p.remove("cairn/volumes/pvc/b")
	c := p.backs("snap-2", nil, v1alpha1.ReasonEmpty)
	g.Expect(c.Error).To(ContainSubstring("but its last backup holds 9.766 KiB"))
	g.Expect(c.PreviousSizeBytes).To(Equal(int64(10_000)))
	p.write("cairn/volumes/pvc/skip.tmp", "1")
	c = p.backs("snap-2", nil, v1alpha1.ReasonEmpty, "*.tmp")
	g.Expect(c.Error).NotTo(ContainSubstring("last backup"), "other files were excluded then")
	p.remove("cairn/volumes/pvc/skip.tmp")
	p.backs("snap-2", allowEmpty, v1alpha1.ReasonShrunk)
	g.Expect(p.snapshots()[0].ID).To(Equal(first.ID), "the latest is what it was")

	p.write("cairn/volumes/pvc/b", strings.Repeat("b", 4000))
	p.backs("snap-2", &v1alpha1.SuccessPolicy{MaxShrinkPercent: new(int32(60))}, "")
	p.write("cairn/volumes/pvc/b", "")
	p.backs("snap-3", nil, v1alpha1.ReasonShrunk)
	p.remove("cairn/volumes/pvc/b")
	p.backs("snap-3", allowAllLost, "")
	p.backs("snap-4", allowEmpty, "")
}

func TestOnlyTheSamePathIsCompared(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	p.write("cairn/volumes/pvc/big/f", strings.Repeat("a", 1<<20))
	p.write("cairn/volumes/pvc/small/f", "1")
	p.backs("snap-1", nil, "")
	code, result := p.run(t.Context(), judged("snap-2", nil, task.Component{Name: "pvc", Path: "small"}))
	g.Expect(code).To(BeZero(), result.Message)
	g.Expect(result.Components[0].PreviousSizeBytes).To(BeZero())
	p.backs("snap-3", nil, "", "big")
}

func TestFilesThatChangeWhileTheyAreReadAreNoSuccess(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	content := noise(48 << 20) // two packs and more
	writes := 0
	write := func() {
		for i := 0; i < len(content); i += 64 << 10 {
			content[i]++
		}
		writes++
		g.Expect(os.WriteFile(filepath.Join(p.volume(), fmt.Sprint("log-", writes)), nil, 0o644)).To(Succeed())
		f, err := os.OpenFile(filepath.Join(p.volume(), "database"), os.O_WRONLY|os.O_CREATE, 0o644)
		g.Expect(err).NotTo(HaveOccurred())
		defer func() { _ = f.Close() }()
		_, err = f.WriteAt(content, 0)
		g.Expect(err).NotTo(HaveOccurred())
	}
	write()
	p.mover.Driver = kopia.Driver{
		Wrap: func(s blob.Storage) blob.Storage { return &whilePacked{Storage: s, do: write} },
	}
	c := p.backs("snap-1", nil, v1alpha1.ReasonChanged)
	g.Expect(c.Changed).To(Equal(int64(1)))
	g.Expect(c.Error).NotTo(ContainSubstring("database"))
	c = p.backs("snap-1", &v1alpha1.SuccessPolicy{Changed: v1alpha1.DoubtAllow}, "")
	g.Expect([]int64{c.Changed, c.Restless}).To(Equal([]int64{1, 1}))
	told := p.reports.snapshots["pvc"]
	g.Expect([]int64{told[len(told)-1].Changed, told[len(told)-1].Restless}).To(Equal([]int64{1, 1}))
	p.mover.Driver = kopia.Driver{}
	c = p.backs("snap-2", nil, "")
	g.Expect([]int64{c.Changed, c.Restless}).To(Equal([]int64{0, 0}))
}

// whilePacked does something whenever a pack of file contents is stored: in the middle of a file of several packs.
type whilePacked struct {
	blob.Storage
	mu sync.Mutex
	do func()
}

func (s *whilePacked) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, o blob.PutOptions) error {
	if id[0] == 'p' {
		s.mu.Lock()
		s.do()
		s.mu.Unlock()
	}
	return s.Storage.PutBlob(ctx, id, data, o)
}

// noise can't be compressed.
func noise(size int) []byte {
	out := make([]byte, size)
	for i := range out {
		out[i] = byte(rand.Uint32())
	}
	return out
}

func TestALogThatIsAppendedToIsWhole(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	stop := p.disturb("log", func(f *os.File) {
		_, err := f.Write([]byte("one more line\n"))
		g.Expect(err).NotTo(HaveOccurred())
	})
	c := p.backs("snap-1", nil, "")
	stop()
	g.Expect(c.Changed).To(BeZero())
	g.Expect(os.Mkdir(filepath.Join(p.root, "cairn/volumes/new"), 0o755)).To(Succeed())
	code, result := p.run(t.Context(), restoreTask(c.ID))
	g.Expect(code).To(BeZero(), result.Message)
	got, err := os.ReadFile(filepath.Join(p.root, "cairn/volumes/new/log"))
	g.Expect(err).NotTo(HaveOccurred())
	whole, err := os.ReadFile(filepath.Join(p.volume(), "log"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(strings.HasPrefix(string(whole), string(got))).To(BeTrue(), "it is as the log was at one moment")
}

// disturb writes to a big file of the volume without a pause, until it is told to stop or the test ends.
func (p *pod) disturb(name string, write func(f *os.File)) (stop func()) {
	p.t.Helper()
	g := NewWithT(p.t)
	p.mount("pvc", enginetest.InMemory(p.t))
	file := filepath.Join(p.volume(), name)
	g.Expect(os.WriteFile(file, noise(48<<20), 0o644)).To(Succeed())
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = f.Seek(0, 2)
	g.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(p.t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			write(f)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		done.Wait()
		_ = f.Close()
	})
	p.t.Cleanup(stop)
	return stop
}

func TestUnreadableFilesAreNoSuccess(t *testing.T) {
	if os.Geteuid() == 0 {
		asNobody(t)
		return
	}
	g := NewWithT(t)
	p := initialised(t)
	p.write("cairn/volumes/pvc/open", "1")
	p.write("cairn/volumes/pvc/closed/f", "1")
	p.write("cairn/volumes/pvc/secret", "1")
	g.Expect(os.Chmod(filepath.Join(p.volume(), "secret"), 0)).To(Succeed())
	g.Expect(os.Chmod(filepath.Join(p.volume(), "closed"), 0)).To(Succeed())
	defer func() { _ = os.Chmod(filepath.Join(p.volume(), "closed"), 0o700) }()
	c := p.backs("snap-1", nil, v1alpha1.ReasonUnreadable)
	g.Expect(c.Unreadable).To(Equal(int64(2)))
	g.Expect(c.Files).To(Equal(int64(1)))

	allow := &v1alpha1.SuccessPolicy{Unreadable: v1alpha1.DoubtAllow}
	c = p.backs("snap-1", allow, "")
	g.Expect(c.Unreadable).To(Equal(int64(2)))
	g.Expect(c.Files).To(Equal(int64(1)))
	record, err := os.ReadFile(filepath.Join(p.root, "cairn/storage/backups/shop/web/snapshots/snap-1/pvc.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(record)).To(ContainSubstring("unreadable: 2"))

	// The mover after a mover that was killed before it could report says the same.
	code, result := p.run(t.Context(), judged("snap-1", allow))
	g.Expect(code).To(BeZero())
	g.Expect(result.Components[0].Unreadable).To(Equal(int64(2)))
	g.Expect(result.Components[0].ID).To(Equal(c.ID))

	p.remove("cairn/volumes/pvc/open")
	p.backs("snap-2", &v1alpha1.SuccessPolicy{
		Unreadable: v1alpha1.DoubtAllow, Empty: v1alpha1.DoubtAllow,
		MaxShrinkPercent: new(int32(100)),
	}, v1alpha1.ReasonUnreadable)
}

// TestComponentCounts counts what is in the component and what was left out.
func TestComponentCounts(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	p.write("cairn/volumes/pvc/dir/a", "1")
	dir := p.volume()
	g.Expect(os.Link(filepath.Join(dir, "dir/a"), filepath.Join(dir, "b"))).To(Succeed())
	g.Expect(os.Symlink("dir/a", filepath.Join(dir, "c"))).To(Succeed())
	p.special()
	c := p.backs("snap-1", nil, "")
	g.Expect(c.ComponentCounts).To(
		Equal(v1alpha1.ComponentCounts{Files: 2, Directories: 2, Symlinks: 1, HardLinks: 2, Special: 1, Sockets: 1}))
	// The next run finds the same counts.
	_, again := p.run(t.Context(), judged("snap-1", nil))
	g.Expect(again.Components[0].ComponentCounts).To(Equal(c.ComponentCounts))
}

// special makes a FIFO and a socket, below a path that is short enough.
func (p *pod) special() {
	p.t.Helper()
	g := NewWithT(p.t)
	g.Expect(syscall.Mkfifo(filepath.Join(p.volume(), "fifo"), 0o600)).To(Succeed())
	fd, err := syscall.Open(p.volume(), syscall.O_RDONLY, 0)
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = syscall.Close(fd) }()
	l, err := net.Listen("unix", fmt.Sprintf("/proc/self/fd/%d/socket", fd))
	g.Expect(err).NotTo(HaveOccurred())
	p.t.Cleanup(func() { _ = l.Close() })
}
