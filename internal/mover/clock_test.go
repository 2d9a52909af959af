package mover_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/blob"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// ahead is the driver of a node whose clock is a year ahead, as the clock of its storage is.
func ahead() kopia.Driver {
	c := &calendar{offset: 365 * 24 * time.Hour, written: map[blob.ID]time.Time{}}
	return kopia.Driver{Now: c.now, Wrap: func(s blob.Storage) blob.Storage { return dated{s, c} }}
}

// One backup was made on a node whose clock was a year ahead. What was lost since the last real one is still a loss.
func TestAWrongClockDoesNotSwitchTheShrinkGuardOff(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	p.write("cairn/volumes/pvc/first", strings.Repeat("x", 1000))
	p.mover.Driver = ahead()
	p.backs("snap-1", nil, "")
	p.mover.Driver = kopia.Driver{}
	for i := range 200 {
		p.write(fmt.Sprintf("cairn/volumes/pvc/dir/%d", i), strings.Repeat("y", 1000))
	}
	p.backs("snap-2", nil, "")
	p.backs("snap-3", nil, "")
	g.Expect(os.RemoveAll(filepath.Join(p.volume(), "dir"))).To(Succeed())
	p.backs("snap-4", nil, v1alpha1.ReasonShrunk)
}

// The clock of this node is a year behind: all backups seem to be from the future, and a loss is still a loss.
func TestAClockThatIsBehindDoesNotSwitchTheShrinkGuardOff(t *testing.T) {
	p := initialised(t)
	for i := range 200 {
		p.write(fmt.Sprintf("cairn/volumes/pvc/dir/%d", i), strings.Repeat("y", 1000))
	}
	p.backs("snap-1", nil, "")
	NewWithT(t).Expect(os.RemoveAll(filepath.Join(p.volume(), "dir"))).To(Succeed())
	p.write("cairn/volumes/pvc/first", "x")
	p.mover.Now = func() time.Time { return time.Now().AddDate(-1, 0, 0) }
	p.backs("snap-2", nil, v1alpha1.ReasonShrunk)
}

// The other way round, a loss that somebody accepted is not refused again and again.
func TestAWrongClockDoesNotRefuseGoodBackups(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	for i := range 200 {
		p.write(fmt.Sprintf("cairn/volumes/pvc/dir/%d", i), strings.Repeat("y", 1000))
	}
	p.mover.Driver = ahead()
	p.backs("snap-1", nil, "")
	p.mover.Driver = kopia.Driver{}
	p.write("cairn/volumes/pvc/first", "x")
	g.Expect(os.RemoveAll(filepath.Join(p.volume(), "dir"))).To(Succeed())
	p.backs("snap-2", allowAllLost, "")
	p.backs("snap-3", nil, "")
}
