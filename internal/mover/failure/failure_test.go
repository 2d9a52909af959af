package failure_test

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover/failure"
	"github.com/cairn-backup/cairn/internal/repository"
)

// TestNoFailureNamesAFile classifies errors of a restore that name files. A status can have more readers than a volume.
func TestNoFailureNamesAFile(t *testing.T) {
	t.Parallel()
	for kind, want := range map[error]struct{ reason, advice string }{
		repository.ErrInTheWay: {v1alpha1.ReasonTargetUnwritable, "overwritePolicy: Overwrite"},
		repository.ErrSameName: {v1alpha1.ReasonFileNamesCollide, "whose file system tells them apart"},
		repository.ErrTarget:   {v1alpha1.ReasonTargetUnwritable, "--run-as-user, or jobTemplate.spec.securityContext"},
	} {
		g := NewWithT(t)
		f := failure.ClassifyMove(fmt.Errorf("salaries: %w",
			&repository.Error{Op: "restore", Kind: kind, Err: errors.New(`"salaries/A" and "salaries/a"`)}))
		g.Expect(f.Reason).To(Equal(want.reason))
		g.Expect(f.Message).To(And(ContainSubstring(want.advice), Not(ContainSubstring("salaries"))))
	}
}

// TestARepositoryWithoutAKey names the files that are missing, and nothing of kopia's.
func TestARepositoryWithoutAKey(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	f := failure.ClassifyOpen(&repository.Error{
		Op: "open", Kind: repository.ErrNotInitialized,
		Err: errors.New("unable to create format manager: BLOB not found"),
	}, "")
	g.Expect(f.Reason).To(Equal(v1alpha1.ReasonRepositoryDamaged))
	g.Expect(f.Message).To(And(ContainSubstring("kopia/kopia.repository"), ContainSubstring("kopia/kopia.key.copy"),
		HaveSuffix("look at the Repository")))
}

// TestAnArchivedRepository doubts no credential.
func TestAnArchivedRepository(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	f := failure.ClassifyMove(&repository.Error{
		Op: "backup", Kind: repository.S3Kind("InvalidObjectState"), Err: errors.New("403 Forbidden"),
	})
	g.Expect(f.Reason).To(Equal(v1alpha1.ReasonArchived))
	g.Expect(f.Message).To(ContainSubstring("lifecycle rule"))
}

// TestAFullTarget says how much room is left, and which error the system gave.
func TestAFullTarget(t *testing.T) {
	t.Parallel()
	const full = "the target is full: give it more room"
	for want, err := range map[string]error{
		full + ": no space left on device": syscall.ENOSPC,
		full + ": disk quota exceeded": &repository.TargetFull{
			Needs: 4 << 20, Left: -1, Err: syscall.EDQUOT,
		},
		full + " (7 MiB left): no space left on device": &repository.TargetFull{
			Left: 7 << 20, Err: syscall.ENOSPC,
		},
		full + " (7 MiB left, and a file needs 10 MiB): no space left on device": &repository.TargetFull{
			Needs: 9<<20 + 1, Left: 7 << 20, Err: syscall.ENOSPC,
		},
		full + " (7 MiB left, old files with hard links take room until all their names are replaced): " +
			"no space left on device": &repository.TargetFull{Left: 7 << 20, Links: true, Err: syscall.ENOSPC},
	} {
		g := NewWithT(t)
		f := failure.ClassifyMove(&repository.Error{
			Op: "restore", Kind: repository.ErrTarget, Err: fmt.Errorf("salaries: %w", err),
		})
		g.Expect(f.Reason).To(Equal(v1alpha1.ReasonTargetUnwritable))
		g.Expect(f.Message).To(Equal(want))
	}
}

// TestAReadOnlyTarget doubts no user: another one could not write there either.
func TestAReadOnlyTarget(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	f := failure.ClassifyMove(&repository.Error{
		Op: "restore", Kind: repository.ErrTarget, Err: fmt.Errorf(".snapshot/salaries: %w", syscall.EROFS),
	})
	g.Expect(f.Reason).To(Equal(v1alpha1.ReasonTargetUnwritable))
	g.Expect(f.Message).To(And(ContainSubstring("exclude"), HaveSuffix(": read-only file system"),
		Not(ContainSubstring("run-as-user")), Not(ContainSubstring("salaries"))))
}
