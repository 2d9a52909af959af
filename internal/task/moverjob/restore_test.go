package moverjob_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

// What the mover does not know, its result file does not tell a scan.
func TestATaskTellsThatItsTargetIsHalfRestored(t *testing.T) {
	t.Parallel()
	g, in := NewWithT(t), backupInput()
	g.Expect(moverjob.BackupTask(in).Snapshot.HalfRestored).To(BeEmpty())
	in.Snapshot.Annotations = map[string]string{v1alpha1.AnnotationHalfRestored: "broke-off"}
	g.Expect(moverjob.BackupTask(in).Snapshot.HalfRestored).To(Equal("broke-off"))
	in.Snapshot.Annotations[v1alpha1.AnnotationHalfRestored] = "no\nname"
	g.Expect(moverjob.BackupTask(in).Snapshot.HalfRestored).To(Equal("unknown"))
}

// A mover must know whose Secret holds a password that does not fit.
func TestATaskNamesTheSecretThatARestoreNames(t *testing.T) {
	g := NewWithT(t)
	in := restoreInput()
	in.Session.Spec.DataSource = &v1alpha1.RestoreDataSource{}
	g.Expect(moverjob.RestoreTask(in).Restore.EncryptionSecret).To(BeEmpty(), "the Repository's own")
	in.Session.Spec.DataSource.EncryptionSecret = &v1alpha1.ObjectReference{Name: "enc"}
	g.Expect(moverjob.RestoreTask(in).Restore.EncryptionSecret).To(Equal("shop/enc"))
	in.Session.Spec.DataSource.EncryptionSecret.Namespace = "storage"
	g.Expect(moverjob.RestoreTask(in).Restore.EncryptionSecret).To(Equal("storage/enc"))
	g.Expect(in.Restore.EncryptionSecret).To(BeEmpty(), "the input stays as it is")
}
