package mover_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// contents returns the digests of all files of a storage, by path.
func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	NewWithT(t).Expect(filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		sum := sha256.Sum256(b)
		out[p] = hex.EncodeToString(sum[:])
		return err
	})).To(Succeed())
	return out
}

// TestAPasswordThatDoesNotFitDamagesNothing: with a wrong or missing password, a mover reports which of the two it
// is, whatever its task, and changes no byte of the storage. With the right password everything works.
func TestAPasswordThatDoesNotFitDamagesNothing(t *testing.T) {
	g, ctx := NewWithT(t), t.Context()
	p := initialised(t)
	p.write("cairn/volumes/pvc/file", "text")
	code, first := p.run(ctx, backupTask("snap-1"))
	g.Expect(code).To(BeZero(), "%+v", first)
	storage := filepath.Join(p.root, "cairn/storage")
	before := contents(t, storage)
	g.Expect(before).NotTo(BeEmpty())

	restore := restoreTask(first.Components[0].ID)
	named := restoreTask(first.Components[0].ID)
	named.Restore = &task.Restore{EncryptionSecret: "elsewhere/enc"}
	other := repositoryTask()
	other.Repository.KeyID = "shop/other"
	for name, c := range map[string]struct {
		password string
		task     task.Task
		reason   string
		code     int
	}{
		"backup, changed": {
			"changed", backupTask("snap-2"), v1alpha1.ReasonPasswordChanged,
			task.ExitRepository,
		},
		"restore, changed":                 {"changed", restore, v1alpha1.ReasonPasswordChanged, task.ExitRepository},
		"restore, wrong in its own Secret": {"wrong", named, v1alpha1.ReasonWrongPassword, task.ExitRepository},
		"init, changed": {
			"changed", repositoryTask(), v1alpha1.ReasonPasswordChanged, task.ExitRepository,
		},
		"init, wrong in another Secret": {"wrong", other, v1alpha1.ReasonWrongPassword, task.ExitRepository},
		"backup, none": {
			"", backupTask("snap-2"), v1alpha1.ReasonEncryptionSecretNotAvailable,
			task.ExitCredentials,
		},
		"restore, none": {"", restore, v1alpha1.ReasonEncryptionSecretNotAvailable, task.ExitCredentials},
		"init, none":    {"", repositoryTask(), v1alpha1.ReasonEncryptionSecretNotAvailable, task.ExitCredentials},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			p.write("cairn/encryption/password", c.password)
			code, result := p.run(ctx, c.task)
			g.Expect(result.Reason).To(Equal(c.reason), "%+v", result)
			g.Expect(code).To(Equal(c.code))
			if c.task.Restore != nil {
				g.Expect(result.Message).To(ContainSubstring("Secret " + c.task.Restore.EncryptionSecret))
			}
			g.Expect(result.Message).NotTo(Or(ContainSubstring("correct horse"),
				ContainSubstring(" "+c.password+" password")))
			g.Expect(contents(t, storage)).To(Equal(before), "no byte of the storage changed")
		})
	}

	p.write("cairn/encryption/password", "correct horse")
	code, again := p.run(ctx, backupTask("snap-2"))
	g.Expect(code).To(BeZero(), "%+v", again)
	p.write("cairn/volumes/new/.keep", "")
	p.remove("cairn/volumes/new/.keep")
	code, restored := p.run(ctx, restore)
	g.Expect(code).To(BeZero(), "%+v", restored)
	g.Expect(os.ReadFile(filepath.Join(p.root, "cairn/volumes/new/file"))).To(BeEquivalentTo("text"))
}
