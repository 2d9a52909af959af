package mover_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/internal/mover"
	"github.com/cairn-backup/cairn/internal/task"
)

// reads backs the volume up and returns the id of the backup.
func (p *pod) reads(snapshot string, flags mover.Flags) string {
	p.t.Helper()
	code, result := p.with(p.t.Context(), backupTask(snapshot), flags)
	NewWithT(p.t).Expect(code).To(BeZero(), result.Message)
	return result.Components[0].ID
}

// TestAReplacedFileIsBackedUp checks a file that is replaced by one of the same size and time. Where ctime and inode
// are ignored, it is found by the next full read.
func TestAReplacedFileIsBackedUp(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), initialised(t)
	old := time.Now().Add(-time.Hour)
	write := func(content string) {
		p.write("cairn/volumes/pvc/file", content)
		g.Expect(os.Chtimes(filepath.Join(p.volume(), "file"), old, old)).To(Succeed())
	}
	content := func(id string) string {
		dir := t.TempDir()
		p.restores(id, dir, mover.Flags{})
		text, err := os.ReadFile(filepath.Join(dir, "file"))
		g.Expect(err).NotTo(HaveOccurred())
		return string(text)
	}
	write("one")
	p.reads("snap-1", mover.Flags{})
	write("two")
	g.Expect(content(p.reads("snap-2", mover.Flags{}))).To(Equal("two"))

	ignoring := mover.Flags{IgnoreInode: true, FullReadEvery: time.Hour}
	p.reads("snap-3", ignoring)
	write("six")
	g.Expect(content(p.reads("snap-4", ignoring))).To(Equal("two"), "nothing tells, and no full read is due")
	ignoring.FullReadEvery = time.Nanosecond
	g.Expect(content(p.reads("snap-5", ignoring))).To(Equal("six"))

	all := p.snapshots()
	g.Expect(all).To(HaveLen(5))
	for _, s := range all[:4] {
		g.Expect(s.FullRead).To(BeTemporally("==", all[0].FullRead))
	}
	g.Expect(all[4].FullRead).To(BeTemporally(">", all[0].FullRead))
}

// TestTheNextBackupReadsWhatACopyMayLack checks that the time of a copy reaches the engine. A file changed half a
// minute before it was copied, and the copy did not have its data.
func TestTheNextBackupReadsWhatACopyMayLack(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), initialised(t)
	old := time.Now().Add(-time.Hour)
	copied := metav1.NewTime(old.Add(30 * time.Second))
	flags := mover.Flags{IgnoreInode: true, FullReadEvery: 24 * time.Hour}
	for i, content := range []string{"one", "two"} {
		p.write("cairn/volumes/pvc/file", content)
		g.Expect(os.Chtimes(filepath.Join(p.volume(), "file"), old, old)).To(Succeed())
		code, result := p.with(t.Context(),
			backupTask(fmt.Sprint("snap-", i), task.Component{Name: "pvc", CopiedAt: &copied}), flags)
		g.Expect(code).To(BeZero(), result.Message)
		dir := t.TempDir()
		p.restores(result.Components[0].ID, dir, mover.Flags{})
		g.Expect(os.ReadFile(filepath.Join(dir, "file"))).To(BeEquivalentTo(content))
	}
}
