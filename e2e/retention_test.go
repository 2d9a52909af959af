package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
	"github.com/cairn-backup/cairn/internal/retention"
)

// TestRetention follows Snapshots to their end: in the repository, in the cluster and in the records.
func TestRetention(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	a := deployVolumeApp(t, bed, "retention", 3, 4<<10)
	pushPolicy(t, bed, a.namespace+"-"+started,
		map[string]string{"README.md": "The server has no repository before somebody pushes to it.\n"})
	applyTo(t, bed, a.namespace, ledgerManifest(bed, "records", a.namespace, "git-credentials")+`
---
apiVersion: backup.cairn.dev/v1alpha1
kind: RetentionPolicy
metadata: {name: one}
spec:
  successfulSnapshots: {last: 1}
`)
	t.Run("a policy", func(t *testing.T) { a.policyLetsGo(t) })
	t.Run("a Repository is wiped", func(t *testing.T) { a.repositoryIsWiped(t) })
	t.Run("a backend that is gone", func(t *testing.T) { a.backendIsGone(t) })
}

// policyLetsGo makes three backups under the rule last: 1.
func (a *volumeApp) policyLetsGo(t *testing.T) {
	g := NewWithT(t)
	a.configure(t, "kept")
	_, err := kubectl(t, a.bed, "", "patch", "backupconfiguration", "kept", "-n", a.namespace, "--type=merge", "-p",
		`{"spec":{"backends":[{"name":"main","storageRef":{"name":"s3"},"retentionPolicy":{"name":"one"}}]}}`)
	g.Expect(err).NotTo(HaveOccurred())
	var snapshots []*v1alpha1.Snapshot
	var session *v1alpha1.BackupSession
	for range 3 {
		session = endOf(t, a.bed, a.namespace, a.start(t, "kept"))
		g.Expect(session.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), session.Status.Reason)
		var list v1alpha1.SnapshotList
		g.Expect(a.bed.Client.List(t.Context(), &list, a.ofSession(session.Name)...)).To(Succeed())
		g.Expect(list.Items).To(HaveLen(1))
		snapshots = append(snapshots, list.Items[0].DeepCopy())
	}
	for _, s := range snapshots[:2] {
		waitGone(t.Context(), t, a.bed, s.DeepCopy(), 3*patience)
	}
	g.Expect(a.bed.Client.Get(t.Context(), client.ObjectKeyFromObject(snapshots[2]), snapshots[2])).To(Succeed())
	left := a.inBackend(t, "kept")
	g.Expect(left).To(HaveLen(1), "two are gone in the repository")
	g.Expect(left[0].ID).To(Equal(snapshots[2].Status.Components["pvc"].ID))

	g.Expect(testbed.Poll(t.Context(), patience, "the run to say that retention was applied",
		func(ctx contextT) (bool, error) {
			err := a.bed.Client.Get(ctx, client.ObjectKeyFromObject(session), session)
			return err == nil && len(session.Status.RetentionPolicy) == 1 &&
				session.Status.RetentionPolicy[0].Phase == v1alpha1.RetentionApplied, err
		})).To(Succeed())
	for _, s := range snapshots[:2] {
		g.Expect(a.pruneRecord(t, s)).To(And(
			ContainSubstring("reason: NotKept"),
			ContainSubstring("RetentionPolicy retention/one: no rule of successfulSnapshots keeps it (last: 1)"),
			ContainSubstring("kind: Snapshot"), ContainSubstring(snapshots[0].Spec.Repository)))
	}
	out, err := program(t, a.bed, "", "cairn", "retention", "explain", "kept", "-n", a.namespace)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(out).To(MatchRegexp(snapshots[2].Name + ` .*Succeeded +yes +newest success, last`))
}

// pruneRecord waits for the record of a Snapshot that was removed, in the folder of its Repository. It returns the
// record on one line, because YAML folds long messages.
func (a *volumeApp) pruneRecord(t *testing.T, s *v1alpha1.Snapshot) string {
	t.Helper()
	g := NewWithT(t)
	var record string
	g.Expect(testbed.Poll(t.Context(), patience, "the record of "+s.Name, func(contextT) (bool, error) {
		clone := recordsBranch(t, a.bed, a.namespace+"-"+started)
		files := recordFiles(t, clone, "e2e")[s.Name]
		i := slices.IndexFunc(files, func(file string) bool {
			return filepath.Base(filepath.Dir(filepath.Dir(file))) == "repository."+s.Spec.Repository
		})
		if i < 0 {
			return false, nil
		}
		data, err := os.ReadFile(filepath.Join(clone.Dir, files[i]))
		record = strings.Join(strings.Fields(string(data)), " ")
		return true, err
	})).To(Succeed())
	return record
}

// repositoryIsWiped deletes what TestRetention has backed up, with its data.
func (a *volumeApp) repositoryIsWiped(t *testing.T) {
	g := NewWithT(t)
	snapshot := &v1alpha1.SnapshotList{}
	g.Expect(a.bed.Client.List(t.Context(), snapshot, client.InNamespace(a.namespace))).To(Succeed())
	g.Expect(snapshot.Items).To(HaveLen(1))
	g.Expect(a.bed.Client.Delete(t.Context(), a.configuration("kept"))).To(Succeed())
	waitGone(t.Context(), t, a.bed, a.configuration("kept"), patience)
	files, err := a.bed.ObjectCount(t.Context(), testbed.Bucket, a.prefix()+"/kept/")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).To(BeNumerically(">", 3), "policy that goes takes no data along")

	a.deleteWithData(t, "kept")
	waitGone(t.Context(), t, a.bed, a.repository("kept"), 3*patience)
	files, err = a.bed.ObjectCount(t.Context(), testbed.Bucket, a.prefix()+"/kept/")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).To(BeZero())
	g.Expect(a.pruneRecord(t, &snapshot.Items[0])).To(ContainSubstring("reason: RepositoryWiped"))
	files, err = a.bed.ObjectCount(t.Context(), testbed.Bucket, a.prefix()+"/")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).To(Equal(1), "metadata.yaml of the storage")
}

func (a *volumeApp) deleteWithData(t *testing.T, name string) {
	t.Helper()
	g := NewWithT(t)
	_, err := kubectl(t, a.bed, "", "patch", "repository", name, "-n", a.namespace, "--type=merge", "-p",
		`{"spec":{"deletionPolicy":"WipeOut"}}`)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(a.bed.Client.Delete(t.Context(), a.repository(name))).To(Succeed())
}

// backendIsGone deletes a Repository whose storage no longer takes the credential.
func (a *volumeApp) backendIsGone(t *testing.T) {
	g := NewWithT(t)
	a.configure(t, "lost")
	g.Expect(a.bed.Client.Delete(t.Context(), a.configuration("lost"))).To(Succeed())
	waitGone(t.Context(), t, a.bed, a.configuration("lost"), patience)
	setSecret(t, a.bed, a.namespace, "s3-credentials", v1alpha1.S3SecretAccessKey, "not the key any more")
	a.deleteWithData(t, "lost")
	repository := a.repository("lost")
	g.Expect(testbed.Poll(t.Context(), 3*patience, "the Repository to say why it stays",
		func(ctx contextT) (bool, error) {
			err := a.bed.Client.Get(ctx, client.ObjectKeyFromObject(repository), repository)
			return err == nil && conditions.IsFalse(repository, v1alpha1.ConditionWiped), err
		})).To(Succeed())
	g.Expect(conditions.GetReason(repository, v1alpha1.ConditionWiped)).
		To(BeElementOf(v1alpha1.ReasonBadCredentials, v1alpha1.ReasonAccessDenied))
	g.Expect(conditions.GetMessage(repository, v1alpha1.ConditionWiped)).
		To(ContainSubstring(retention.GiveUp(repository)))
	_, err := kubectl(t, a.bed, "", "annotate", "repository", "lost", "-n", a.namespace,
		retention.GiveUp(repository))
	g.Expect(err).NotTo(HaveOccurred())
	waitGone(t.Context(), t, a.bed, repository.DeepCopy(), patience)
	g.Expect(testbed.Poll(t.Context(), patience, "the event, which is sent beside the rest",
		func(ctx contextT) (bool, error) {
			said, err := warnings(ctx, a.bed, repository, v1alpha1.ReasonDataKept)
			return len(said) > 0, err
		})).To(Succeed())
}
