package e2e

import (
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/backend/layout"
)

// scanApp is a volume with two backups, and what the volume held when each was made.
type scanApp struct {
	*volumeApp
	snapshots []string
	held      map[string]string
}

// TestScan brings back the Snapshots of a Repository that somebody deleted, and of a directory that another cluster
// wrote. Each restores what was backed up.
func TestScan(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	a := &scanApp{volumeApp: deployVolumeApp(t, bed, "scan", 20, 100_000), held: map[string]string{}}
	a.configure(t, "data")
	for range 2 {
		a.fill(t, "data", a.files, 100_000-len(a.snapshots))
		ended := endOf(t, bed, a.namespace, a.start(t, "data"))
		NewWithT(t).Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", ended.Status.Targets)
		name := a.snapshot(t, ended.Name).Name
		a.snapshots, a.held[name] = append(a.snapshots, name), a.manifest(t, a.namespace, "data")
	}
	NewWithT(t).Expect(a.held[a.snapshots[0]]).NotTo(Equal(a.held[a.snapshots[1]]), "the volume changed in between")
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"a Repository that was deleted", a.deleted},
		{"a directory of another cluster", a.adopted},
	} {
		if !t.Run(step.name, step.run) {
			return
		}
	}
}

// manifest lists everything in a volume.
func (a *scanApp) manifest(t *testing.T, namespace, claim string) (out string) {
	t.Helper()
	pod := testbed.VolumePod{Namespace: namespace, Name: "reader", Claim: claim, User: 65532}
	NewWithT(t).Expect(a.bed.WithVolumePod(t.Context(), pod, func(ctx contextT) (err error) {
		out, err = a.bed.Exec(ctx, namespace, pod.Name, nil, "/toolbox", "manifest", "--skip-root", "/data")
		return err
	})).To(Succeed())
	return out
}

// scan brings both Snapshots back, and restores each.
func (a *scanApp) scan(t *testing.T, namespace string) {
	t.Helper()
	g := NewWithT(t)
	out, err := program(t, a.bed, "", "cairn", "repository", "scan", "data", "-n", namespace, "--wait")
	g.Expect(err).NotTo(HaveOccurred(), out)
	g.Expect(out).To(ContainSubstring("scan of repository/data succeeded: 2 Snapshots in the backend, 2 rebuilt\n"))
	for i, name := range a.snapshots {
		var s v1alpha1.Snapshot
		g.Expect(a.bed.Client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &s)).To(Succeed())
		g.Expect(s.Status.Phase).To(Equal(v1alpha1.SnapshotSucceeded))
		claim := "again-" + []string{"one", "two"}[i]
		out, err := program(t, a.bed, "", "cairn", "restore", claim, "-n", namespace, "--snapshot", name,
			"--new-claim", claim, "--size", "1Gi", "--verify", "--wait")
		g.Expect(err).NotTo(HaveOccurred(), out)
		_, entries, err := testbed.SameTree(a.held[name], a.manifest(t, namespace, claim))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(entries).To(Equal(a.files))
	}
}

func (a *scanApp) deleted(t *testing.T) {
	g := NewWithT(t)
	_, err := kubectl(t, a.bed, "", "delete", "repository/data", "-n", a.namespace, "--timeout="+patience.String())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(testbed.Poll(t.Context(), patience, "the policy to make the Repository again",
		func(ctx contextT) (bool, error) {
			var r v1alpha1.Repository
			err := a.bed.Client.Get(ctx, client.ObjectKeyFromObject(a.repository("data")), &r)
			return err == nil && r.Status.Phase == v1alpha1.PhaseReady, client.IgnoreNotFound(err)
		})).To(Succeed())
	var left v1alpha1.SnapshotList
	g.Expect(a.bed.Client.List(t.Context(), &left, client.InNamespace(a.namespace))).To(Succeed())
	g.Expect(left.Items).To(BeEmpty(), "the Snapshots went with the Repository")
	a.scan(t, a.namespace)
}

// adopted takes over a directory whose repository.yaml names another cluster, in a namespace that has nothing but the
// credentials.
func (a *scanApp) adopted(t *testing.T) {
	g := NewWithT(t)
	const other = "scan-other"
	for _, object := range []string{"backupconfiguration/data", "repository/data", "backupstorage/s3"} {
		_, err := kubectl(t, a.bed, "", "delete", object, "-n", a.namespace, "--timeout="+patience.String())
		g.Expect(err).NotTo(HaveOccurred())
	}
	owner := a.ownedByAnotherCluster(t)
	scratchNamespace(t, a.bed, other)
	spineSecrets(t, a.bed, other)
	applyTo(t, a.bed, other, storageManifest("s3", a.prefix(), "s3-credentials")+`---
apiVersion: backup.cairn.dev/v1alpha1
kind: Repository
metadata: {name: data}
spec:
  appRef: {kind: PersistentVolumeClaim, name: data}
  storageRef: {name: s3}
  path: data
  encryptionSecret: {name: encryption}
`)
	repository := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: other, Name: "data"}}
	waitReady(t, a.bed, repository, metav1.ConditionFalse, v1alpha1.ReasonDirectoryTaken)
	g.Expect(conditions.GetMessage(repository, meta.ReadyCondition)).To(ContainSubstring(owner.Consent("data")))
	_, err := kubectl(t, a.bed, "", "annotate", "repository/data", "-n", other,
		v1alpha1.AnnotationAdopt+"="+owner.Consent("data"))
	g.Expect(err).NotTo(HaveOccurred())
	waitReady(t, a.bed, repository, metav1.ConditionTrue, "")
	a.scan(t, other)
}

// ownedByAnotherCluster rewrites repository.yaml, and returns what it says.
func (a *scanApp) ownedByAnotherCluster(t *testing.T) layout.RepositoryMetadata {
	t.Helper()
	g := NewWithT(t)
	store, err := backend.Open(a.backend(t))
	g.Expect(err).NotTo(HaveOccurred())
	path := layout.RepositoryPath("data")
	text, err := store.Get(t.Context(), path)
	g.Expect(err).NotTo(HaveOccurred())
	owner, err := layout.ParseRepositoryMetadata(text)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(store.Put(t.Context(), path,
		[]byte(strings.ReplaceAll(string(text), owner.ClusterUID, "another-cluster")))).To(Succeed())
	owner.ClusterUID = "another-cluster"
	return owner
}
