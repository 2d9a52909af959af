package mover_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
	"github.com/cairn-backup/cairn/internal/task"
)

// faulty makes the n-th call of one operation of the pod's engine fail.
func (p *pod) faulty(op string, n int, fault enginetest.Fault) *enginetest.Faults {
	f := &enginetest.Faults{Driver: kopia.Driver{}, Plan: func(called string, times int) enginetest.Fault {
		if called == op && times == n {
			return fault
		}
		return enginetest.Fault{}
	}}
	p.mover.Driver = f
	return f
}

// TestNoFaultPassesForSuccess fails every call of the engine that a backup and a restore make, with every kind of
// error.
func TestNoFaultPassesForSuccess(t *testing.T) {
	p := initialised(t)
	p.write("cairn/volumes/pvc/f", "1")
	_, good := p.run(t.Context(), backupTask("good"))
	for kind, reason := range map[error]string{
		repository.ErrUnreachable: v1alpha1.ReasonUnreachable, repository.ErrStorageFull: v1alpha1.ReasonStorageFull,
		repository.ErrAccessDenied:         v1alpha1.ReasonAccessDenied,
		repository.ErrCorrupt:              v1alpha1.ReasonRepositoryDamaged,
		repository.ErrBusy:                 v1alpha1.ReasonRepositoryNotReady,
		errors.New("something unheard of"): v1alpha1.ReasonFailed,
	} {
		for _, op := range []string{"open", "list", "backup", "restore"} {
			t.Run(op+" "+kind.Error(), func(t *testing.T) {
				g := NewWithT(t)
				var in task.Task
				err := &repository.Error{Op: "test", Kind: kind, Err: kind}
				if op != "open" { // when it is opened no user's file is at hand
					err.Err = fmt.Errorf("/volumes/private-name: %w", kind)
				}
				if op == "restore" {
					in = restoreTask(good.Components[0].ID)
					g.Expect(os.MkdirAll(filepath.Join(p.root, "cairn/volumes/new"), 0o755)).To(Succeed())
				} else {
					in = backupTask("bad")
				}
				faults := p.faulty(op, 1, enginetest.Fault{Err: err})
				code, result := p.run(t.Context(), in)
				g.Expect(faults.Calls(op)).To(Equal(1))
				g.Expect(code).NotTo(BeZero())
				g.Expect(result.Outcome).To(Equal(task.OutcomeFailed))
				g.Expect(result.Reason).To(Equal(reason))
				g.Expect(result.Components[0].Outcome).To(Equal(task.OutcomeFailed))
				g.Expect(p.log.String()).NotTo(ContainSubstring("private-name"))
				g.Expect(p.snapshots()).To(HaveLen(1), "only the good one")
			})
		}
	}
}

// TestALostReplyMakesNoSecondBackup: the data is complete, but the mover got an error.
func TestALostReplyMakesNoSecondBackup(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	p.write("cairn/volumes/pvc/f", "1")
	lost := &repository.Error{Op: "backup", Kind: repository.ErrUnreachable, Err: errors.New("reply lost")}
	p.faulty("backup", 1, enginetest.Fault{Lose: lost})
	code, result := p.run(t.Context(), backupTask("snap-1"))
	g.Expect(code).To(Equal(task.ExitStorage))
	g.Expect(result.Components[0].ID).To(BeEmpty())
	all := p.snapshots()
	g.Expect(all).To(HaveLen(1))

	faults := p.faulty("backup", 0, enginetest.Fault{})
	code, result = p.run(t.Context(), backupTask("snap-1"))
	g.Expect(code).To(BeZero(), result.Message)
	g.Expect(result.Components[0].ID).To(Equal(all[0].ID))
	g.Expect(result.Components[0].Files).To(Equal(int64(1)))
	g.Expect(faults.Calls("backup")).To(BeZero())
}

// TestAnEngineThatCannotCloseFailsNoBackup: the data is in the repository.
func TestAnEngineThatCannotCloseFailsNoBackup(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	p.write("cairn/volumes/pvc/f", "1")
	p.faulty("close", 1, enginetest.Fault{Lose: errors.New("no")})
	code, result := p.run(t.Context(), backupTask("snap-1"))
	g.Expect(code).To(BeZero(), result.Message)
	g.Expect(p.snapshots()).To(HaveLen(1))
}
