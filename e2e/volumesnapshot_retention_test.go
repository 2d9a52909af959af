package e2e

import (
	"slices"
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// TestVolumeSnapshotRetention lets a policy remove VolumeSnapshots beside a user's own, and then wipes their
// Repository. Only Cairn can delete the data, because the class says Retain.
func TestVolumeSnapshotRetention(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	a := &snapshotsApp{volumeApp: volumeApp{bed: bed, namespace: "e2e-snapshots-kept", files: 3}}
	a.before = a.contents(t)
	scratchNamespace(t, bed, a.namespace)
	applyTo(t, bed, a.namespace, claimManifest("data"))
	a.fill(t, "data", a.files, 1000)
	applyTo(t, bed, a.namespace, `
apiVersion: backup.cairn.dev/v1alpha1
kind: RetentionPolicy
metadata: {name: keep}
spec: {maxRetentionPeriod: 1y, successfulSnapshots: {last: 1}}
---
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupConfiguration
metadata: {name: kept}
spec:
  target: {kind: PersistentVolumeClaim, name: data}
  backends: [{name: rules, retentionPolicy: {name: keep}}]
  sessions:
  - name: manual
    addon: {name: pvc-addon, tasks: [{name: volume-snapshot, params: {volumeSnapshotClassName: minihostpath-retain}}]}
`)
	waitReady(t, bed, a.configuration("kept"), metav1.ConditionTrue, "")

	first := a.backup(t)
	foreign := volumesnapshot.New(a.namespace, first+"0", "data", "minihostpath", nil, nil)
	lookalike := volumesnapshot.New(a.namespace, "data-1", "data", "minihostpath",
		map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn}, nil)
	g := NewWithT(t)
	g.Expect(bed.Client.Create(t.Context(), foreign)).To(Succeed())
	g.Expect(bed.Client.Create(t.Context(), lookalike)).To(Succeed())
	a.are(t, "before anything goes", foreign.Name, lookalike.Name, first)

	second := a.backup(t)
	a.are(t, "the policy keeps one", foreign.Name, lookalike.Name, second)
	waitReady(t, bed, a.repository("kept"), metav1.ConditionTrue, "")

	g.Expect(bed.Client.Delete(t.Context(), a.configuration("kept"))).To(Succeed())
	waitGone(t.Context(), t, bed, a.configuration("kept"), patience)
	a.are(t, "policy that goes takes no data along", foreign.Name, lookalike.Name, second)
	a.deleteWithData(t, "kept")
	waitGone(t.Context(), t, bed, a.repository("kept"), patience)
	a.are(t, "what is not Cairn's stays", foreign.Name, lookalike.Name)
}

// snapshotsApp is a volumeApp whose volume "data" is kept as VolumeSnapshots.
type snapshotsApp struct {
	volumeApp
	// before are the VolumeSnapshotContents of the cluster before the test: a class that retains leaves some of earlier
	// ones.
	before map[string]bool
}

// contents are the VolumeSnapshotContents of the cluster.
func (a *snapshotsApp) contents(t *testing.T) map[string]bool {
	t.Helper()
	var list snapshotv1.VolumeSnapshotContentList
	NewWithT(t).Expect(a.bed.Client.List(t.Context(), &list)).To(Succeed())
	out := map[string]bool{}
	for _, c := range list.Items {
		out[c.Name] = true
	}
	return out
}

// backup returns the name of the VolumeSnapshot that a run makes.
func (a *snapshotsApp) backup(t *testing.T) string {
	t.Helper()
	g := NewWithT(t)
	ended := endOf(t, a.bed, a.namespace, a.start(t, "kept"))
	g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", ended.Status.Targets)
	var snapshot v1alpha1.Snapshot
	g.Expect(a.bed.Client.Get(t.Context(),
		client.ObjectKey{Namespace: a.namespace, Name: ended.Status.Snapshots[0].Name}, &snapshot)).To(Succeed())
	for _, c := range snapshot.Status.Components {
		g.Expect(c.VolumeSnapshotterStats).To(HaveLen(1))
		return c.VolumeSnapshotterStats[0].VolumeSnapshotName
	}
	t.Fatalf("Snapshot %s has no component", snapshot.Name)
	return ""
}

// are waits until the namespace has exactly these VolumeSnapshots, and the cluster no other new contents of the
// namespace than theirs.
func (a *snapshotsApp) are(t *testing.T, why string, want ...string) {
	t.Helper()
	slices.Sort(want)
	var have, contents []string
	err := testbed.Poll(t.Context(), patience, "the VolumeSnapshots", func(ctx contextT) (bool, error) {
		var snapshots snapshotv1.VolumeSnapshotList
		var all snapshotv1.VolumeSnapshotContentList
		if err := a.bed.Client.List(ctx, &snapshots, client.InNamespace(a.namespace)); err != nil {
			return false, err
		}
		if err := a.bed.Client.List(ctx, &all); err != nil {
			return false, err
		}
		have, contents = nil, nil
		for _, s := range snapshots.Items {
			if s.DeletionTimestamp != nil {
				return false, nil
			}
			have = append(have, s.Name)
		}
		for _, c := range all.Items {
			if c.Spec.VolumeSnapshotRef.Namespace == a.namespace && !a.before[c.Name] {
				contents = append(contents, c.Spec.VolumeSnapshotRef.Name)
			}
		}
		slices.Sort(have)
		slices.Sort(contents)
		return slices.Equal(have, want) && slices.Equal(contents, want), nil
	})
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), "%s: VolumeSnapshots %v, contents %v, want %v", why, have,
		contents, want)
}
