package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// TestVolumeSnapshotFailures: a CSI driver that answers errors or never gets ready fails the run within a bounded time,
// says why, and leaves no VolumeSnapshot behind. A run succeeds if the error goes away in time.
func TestVolumeSnapshotFailures(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	a := &shotApp{&volumeApp{bed: bed, namespace: "volumesnapshot-failures"}}
	g := NewWithT(t)
	scratchNamespace(t, bed, a.namespace)
	for name, parameters := range map[string]map[string]string{
		"shot-fails": {"fail": "true"}, "shot-late": {"readyAfter": "24h"}, "shot-heals": {"failTimes": "2"},
	} {
		g.Expect(bed.ApplySnapshotClass(t.Context(), testbed.SnapshotClass{Name: name, Parameters: parameters})).
			To(Succeed())
	}
	for name, class := range map[string]string{
		"fails": "shot-fails", "late": "shot-late", "heals": "shot-heals", "wrong": "no-such-class",
	} {
		wait := "10m"
		if name == "late" {
			wait = "20s"
		}
		a.configureShot(t, name, class, wait)
	}

	began := time.Now()
	runs := map[string]string{}
	for _, name := range []string{"fails", "late", "heals", "wrong"} {
		runs[name] = a.start(t, name)
	}
	a.shotFailed(t, runs["wrong"], v1alpha1.ReasonVolumeSnapshotClassNotFound,
		"there is no VolumeSnapshotClass no-such-class")
	a.shotFailed(t, runs["late"], v1alpha1.ReasonVolumeSnapshotNotReady, "raise the parameter waitTimeout")
	a.shotFailed(t, runs["fails"], v1alpha1.ReasonVolumeSnapshotFailed,
		"snapshot failure requested by the class parameter fail")
	g.Expect(time.Since(began)).To(BeNumerically("<", 3*time.Minute),
		"bounded: an error counts when it lasts for a minute")
	g.Expect(endOf(t, bed, a.namespace, runs["heals"]).Status.Phase).
		To(Equal(v1alpha1.BackupSessionSucceeded), "an error that goes away is none")
	a.leftShots(t, a.snapshot(t, runs["heals"]).Status.Components["pvc"].VolumeSnapshotterStats[0].VolumeSnapshotName)
}

// noSnapshotDriver: a CSI driver that is gone fails the run, which leaves no VolumeSnapshot behind.
func noSnapshotDriver(t *testing.T, bed *testbed.Testbed) {
	a := &shotApp{&volumeApp{bed: bed, namespace: "volumesnapshot-no-driver"}}
	g := NewWithT(t)
	scratchNamespace(t, bed, a.namespace)
	a.configureShot(t, "kept", "minihostpath", "10m")
	a.configureShot(t, "gone", "minihostpath", "20s")
	kept := endOf(t, bed, a.namespace, a.start(t, "kept"))
	g.Expect(kept.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", kept.Status.Targets)
	good := a.snapshot(t, kept.Name).Status.Components["pvc"].VolumeSnapshotterStats[0].VolumeSnapshotName

	t.Run("no driver", func(t *testing.T) {
		g := NewWithT(t)
		takeAway(t)
		t.Cleanup(func() { _ = bed.StartSnapshotDriver(afterTest(t)) }) // also where what follows fails
		g.Expect(bed.StopSnapshotDriver(t.Context())).To(Succeed())
		a.shotFailed(t, a.start(t, "gone"), v1alpha1.ReasonVolumeSnapshotNotReady, "")
		g.Expect(bed.StartSnapshotDriver(t.Context())).To(Succeed())
	})
	a.leftShots(t, good)
}

// configureShot makes a claim and a configuration of this name that backs it up by a VolumeSnapshot of the class, and
// waits for the volume. Each configuration has a claim of its own: if several VolumeSnapshots of one claim are deleted
// at once, the snapshot controller never removes its finalizer from the claim.
func (a *shotApp) configureShot(t *testing.T, name, class, waitTimeout string) {
	t.Helper()
	applyTo(t, a.bed, a.namespace,
		strings.Replace(claimManifest(name), "spec:\n", "spec:\n  storageClassName: minihostpath-immediate\n", 1)+
			fmt.Sprintf(`---
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupConfiguration
metadata: {name: %[1]s}
spec:
  target: {kind: PersistentVolumeClaim, name: %[1]s}
  sessions:
  - name: manual
    addon: {name: pvc-addon, tasks: [{name: volume-snapshot, params: {volumeSnapshotClassName: %[2]s, waitTimeout: %[3]s}}]}
`, name, class, waitTimeout))
	waitReady(t, a.bed, a.configuration(name), metav1.ConditionTrue, "")
	claim := client.ObjectKey{Namespace: a.namespace, Name: name}
	NewWithT(t).Expect(testbed.Poll(t.Context(), patience, "the volume of claim "+name,
		func(ctx contextT) (bool, error) {
			var found corev1.PersistentVolumeClaim
			err := a.bed.Client.Get(ctx, claim, &found)
			return found.Status.Phase == corev1.ClaimBound, err
		})).To(Succeed())
}

// shotFailed waits for the end of a run and checks that it failed for this reason.
func (a *shotApp) shotFailed(t *testing.T, session, reason, message string) {
	t.Helper()
	g, s := NewWithT(t), endOf(t, a.bed, a.namespace, session)
	g.Expect(s.Status.Phase).To(Equal(v1alpha1.BackupSessionFailed), session)
	g.Expect(s.Status.Targets[0]).To(And(HaveField("Reason", reason), HaveField("Message", ContainSubstring(message))),
		session)
}

// leftShots waits until the only VolumeSnapshot and VolumeSnapshotContent of the namespace are those of a run that
// succeeded.
func (a *shotApp) leftShots(t *testing.T, good string) {
	t.Helper()
	g := NewWithT(t)
	g.Expect(testbed.Poll(t.Context(), patience, "the end of what failed runs made",
		func(ctx contextT) (bool, error) {
			left := a.volumeSnapshots(t)
			_, kept := left[good]
			g.Expect(kept).To(BeTrue(), "what succeeded stays")
			var contents snapshotv1.VolumeSnapshotContentList
			err := a.bed.Client.List(ctx, &contents)
			n := 0
			for _, c := range contents.Items {
				if c.Spec.VolumeSnapshotRef.Namespace == a.namespace {
					n++
				}
			}
			return len(left) == 1 && n == 1, err
		})).To(Succeed())
}
