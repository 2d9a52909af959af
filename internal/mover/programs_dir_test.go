package mover_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover"
	"github.com/cairn-backup/cairn/internal/task"
)

// TestAProgramOfAnotherContainerUnpacks checks that a program gets a directory that its own container has: a descriptor
// of the mover leads nowhere there.
func TestAProgramOfAnotherContainerUnpacks(t *testing.T) {
	t.Run("into an empty volume", func(t *testing.T) {
		g := NewWithT(t)
		p := streaming(t)
		p.isolated()
		id := p.archived("snap-1", []byte("what was kept"))
		result := p.unpacks(id, mover.Flags{}, by("cat >kept", ""))
		g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), result.Message)
		g.Expect(os.ReadFile(p.in("data/kept"))).To(BeEquivalentTo("what was kept"))
	})
	t.Run("in place of what is there", func(t *testing.T) {
		g := NewWithT(t)
		p := streaming(t)
		p.isolated()
		id := p.archived("snap-1", []byte("what was kept"))
		p.write("cairn/volumes/dump/data/ibdata1", "the only copy of today")
		result := p.unpacks(id, mover.Flags{}, by("cat >kept", "", confirmed(task.Restore{DeleteExtra: true})))
		g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), result.Message)
		g.Expect(p.in("data/ibdata1")).NotTo(BeAnExistingFile())
	})
}

// TestAProgramWhoseAnswerIsLostMayHaveWritten checks what is said of the target if the container starts the
// program, and ends before it says so, for example because it has too little memory.
func TestAProgramWhoseAnswerIsLostMayHaveWritten(t *testing.T) {
	g := NewWithT(t)
	p := streaming(t)
	id := p.archived("snap-1", []byte("rows"))
	socket := filepath.Join(p.root, task.ProgramSocket)
	g.Expect(os.Remove(socket)).To(Succeed())
	dir, err := os.Open(filepath.Dir(socket))
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = dir.Close() }()
	l, err := net.ListenUnix("unix", &net.UnixAddr{
		Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(socket)),
	})
	g.Expect(err).NotTo(HaveOccurred())
	l.SetUnlinkOnClose(false)
	defer func() { _ = l.Close() }()
	asked := false
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.AcceptUnix()
		if err != nil {
			return
		}
		_, _ = conn.Read(make([]byte, 1<<16))
		asked = true // "mariadb --init-command='DROP ...'" can have dropped something by now
		_ = conn.Close()
	}()
	code, result := p.load(t.Context(), id, "cat >/dev/null")
	<-done
	g.Expect(code).NotTo(BeZero())
	c := result.Components[0]
	g.Expect(asked).To(BeTrue())
	g.Expect(c.TargetUntouched).To(BeFalse(), "a program was started")
}
