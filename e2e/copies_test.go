package e2e

import (
	"fmt"
	"strings"
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// TestCopies backs up copies of a volume that only one pod can mount, while that pod goes on writing to it. However a
// run ends, it leaves nothing temporary behind.
func TestCopies(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	a := &copiesApp{volumeApp{bed: bed, namespace: "e2e-copies"}}
	applyToCluster(t, bed, snapshotClass("copies-fail", `fail: "true"`))
	a.deploy(t)
	a.policy(t, "fails", "Snapshot", "volumeSnapshotClassName: copies-fail")
	fails := a.start(t, "fails") // it takes a minute
	for _, tt := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"the volume itself is in use", a.direct},
		{"a snapshot is consistent", func(t *testing.T) {
			a.policy(t, "snapshot", "Snapshot", "volumeSnapshotClassName: minihostpath-retain")
			a.consistent(t, "snapshot")
		}},
		{"a clone is consistent", func(t *testing.T) {
			a.policy(t, "clone", "Clone", "accessModes: [ReadOnlyMany]")
			a.consistent(t, "clone")
		}},
		{"a driver that fails", func(t *testing.T) {
			g, ended := NewWithT(t), endOf(t, bed, a.namespace, fails)
			g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionFailed))
			g.Expect(ended.Status.Reason).To(Equal(v1alpha1.ReasonVolumeSnapshotFailed))
			g.Expect(ended.Status.Targets[0].Message).To(ContainSubstring("fail"), "the driver's own words")
			a.clean(t)
		}},
	} {
		t.Run(tt.name, tt.run)
	}
}

// copiesApp is a volumeApp whose volume "data" a pod writes pairs of files to all the time.
type copiesApp struct{ volumeApp }

func (a *copiesApp) deploy(t *testing.T) {
	t.Helper()
	scratchNamespace(t, a.bed, a.namespace)
	spineSecrets(t, a.bed, a.namespace)
	applyTo(t, a.bed, a.namespace, `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOncePod], resources: {requests: {storage: 64Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: writer}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: writer
    image: cairn.local/toolbox:dev
    args: [pairs, /data/pairs]
    resources: {requests: {cpu: 10m}, limits: {cpu: 50m}}
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
---`+storageManifest("s3", a.prefix(), "s3-credentials"))
	waitReady(t, a.bed, a.storage("s3"), metav1.ConditionTrue, "")
	NewWithT(t).Expect(testbed.Poll(t.Context(), patience, "the pairs", func(ctx contextT) (bool, error) {
		_, err := a.bed.Exec(ctx, a.namespace, "writer", nil, "/toolbox", "cat", "/data/pairs/a/0000")
		return err == nil, nil
	})).To(Succeed())
}

func snapshotClass(name, parameter string) string {
	return fmt.Sprintf(`
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshotClass
metadata: {name: %s}
driver: minihostpath.csi.cairn.local
deletionPolicy: Delete
parameters: {%s}
---`, name, parameter)
}

// policy makes a BackupConfiguration that reads copies of the volume.
func (a *copiesApp) policy(t *testing.T, name, method, volume string) {
	t.Helper()
	session := wholeVolume + "\n    copyMethod: " + method + "\n    copyVolume: {" + volume + "}"
	applyTo(t, a.bed, a.namespace, strings.Replace(configurationManifest(name), wholeVolume, session, 1))
	waitReady(t, a.bed, a.configuration(name), metav1.ConditionTrue, "")
}

func (a *copiesApp) direct(t *testing.T) {
	a.configure(t, "direct")
	ended := endOf(t, a.bed, a.namespace, a.start(t, "direct"))
	NewWithT(t).Expect(ended.Status.Reason).To(Equal(v1alpha1.ReasonVolumeInUse))
	NewWithT(t).Expect(ended.Status.Targets[0].Message).To(ContainSubstring("copyMethod"))
}

// consistent backs up while pairs are written, restores, and checks that all pairs are of one moment.
func (a *copiesApp) consistent(t *testing.T, name string) {
	t.Helper()
	g := NewWithT(t)
	ended := endOf(t, a.bed, a.namespace, a.start(t, name))
	g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", ended.Status.Targets)
	a.clean(t)
	if !a.pointInTime(t) {
		t.Log("snapshots of this cluster are copies made file by file: they prove nothing about pairs")
		return
	}
	restored := "restored-" + name
	applyTo(t, a.bed, a.namespace, claimManifest(restored))
	out, err := program(t, a.bed, "", "cairn", "restore", restored, "-n", a.namespace, "--repository", name,
		"--snapshot", "latest",
		"--target", restored, "--run-as-user", "65532", "--wait", "--timeout", patience.String())
	g.Expect(err).NotTo(HaveOccurred(), out)
	checker := testbed.VolumePod{Namespace: a.namespace, Name: "checker-" + name, Claim: restored, User: 65532}
	g.Expect(a.bed.WithVolumePod(t.Context(), checker, func(ctx contextT) error {
		out, err := a.bed.Exec(ctx, a.namespace, checker.Name, nil, "/toolbox", "check-pairs", "/data/pairs")
		t.Log(out)
		return err
	})).To(Succeed())
}

// pointInTime reports whether the cluster's driver makes snapshots of one moment.
func (a *copiesApp) pointInTime(t *testing.T) bool {
	t.Helper()
	var driver storagev1.CSIDriver
	NewWithT(t).Expect(a.bed.Client.Get(t.Context(), client.ObjectKey{Name: "minihostpath.csi.cairn.local"}, &driver)).
		To(Succeed())
	return driver.Annotations["cairn.local/snapshots"] == "point-in-time"
}

// killedManagerInCopy kills the manager while the driver makes the snapshot.
func killedManagerInCopy(t *testing.T, bed *testbed.Testbed) {
	g := NewWithT(t)
	a := &copiesApp{volumeApp{bed: bed, namespace: "e2e-copies-killed"}}
	applyToCluster(t, bed, snapshotClass("copies-slow", "readyAfter: 8s"))
	a.deploy(t)
	takeAway(t)
	a.policy(t, "killed", "Snapshot", "volumeSnapshotClassName: copies-slow")
	name := a.start(t, "killed")
	g.Expect(testbed.Poll(t.Context(), patience, "the temporary VolumeSnapshot", func(ctx contextT) (bool, error) {
		var list snapshotv1.VolumeSnapshotList
		err := a.bed.Client.List(ctx, &list, client.InNamespace(a.namespace),
			client.MatchingLabels{v1alpha1.LabelCopy: name})
		return len(list.Items) > 0, err
	})).To(Succeed())
	killManager(t, a.bed)
	ended := endOf(t, a.bed, a.namespace, name)
	g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", ended.Status.Targets)
	g.Expect(a.inBackend(t, "killed")).To(HaveLen(1))
	a.clean(t)
}

// clean waits until runs that have ended leave nothing temporary: no claims, no VolumeSnapshots, and nothing in the
// storage system. The run with the failing driver may still be at work.
func (a *copiesApp) clean(t *testing.T) {
	t.Helper()
	var left []string
	err := testbed.Poll(t.Context(), patience, "the end of what is temporary", func(ctx contextT) (bool, error) {
		left = nil
		var sessions v1alpha1.BackupSessionList
		var claims corev1.PersistentVolumeClaimList
		var snapshots snapshotv1.VolumeSnapshotList
		var contents snapshotv1.VolumeSnapshotContentList
		marks := []client.ListOption{client.InNamespace(a.namespace), client.HasLabels{v1alpha1.LabelCopy}}
		for list, options := range map[client.ObjectList][]client.ListOption{
			&sessions: {client.InNamespace(a.namespace)}, &claims: marks, &snapshots: marks, &contents: nil,
		} {
			if err := a.bed.Client.List(ctx, list, options...); err != nil {
				return false, err
			}
		}
		running := map[string]bool{}
		for _, s := range sessions.Items {
			running[s.Name] = !s.Status.Phase.Terminal()
		}
		taken := map[string]bool{}
		for _, s := range snapshots.Items {
			if taken[s.Name] = running[s.Labels[v1alpha1.LabelCopy]]; !taken[s.Name] {
				left = append(left, "VolumeSnapshot "+s.Name)
			}
		}
		for _, c := range claims.Items {
			if !running[c.Labels[v1alpha1.LabelCopy]] {
				left = append(left, "claim "+c.Name)
			}
		}
		for _, c := range contents.Items {
			if ref := c.Spec.VolumeSnapshotRef; ref.Namespace == a.namespace && !taken[ref.Name] {
				left = append(left, "content of "+ref.Name)
			}
		}
		return len(left) == 0, nil
	})
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), "left: "+strings.Join(left, ", "))
}
