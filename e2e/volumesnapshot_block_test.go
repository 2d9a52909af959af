package e2e

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// machine is a Deployment with a volume that has a file system and with a raw block device.
const machine = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: disk}
spec: {volumeMode: Block, accessModes: [ReadWriteOnce], resources: {requests: {storage: 16Mi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: machine}
spec:
  selector: {matchLabels: {app: machine}}
  template:
    metadata: {labels: {app: machine}}
    spec:
      terminationGracePeriodSeconds: 1
      securityContext: {runAsUser: 0} # the device is root's
      containers:
      - name: machine
        image: cairn.local/toolbox:dev
        args: [idle]
        volumeMounts: [{name: data, mountPath: /data}]
        volumeDevices: [{name: disk, devicePath: /dev/disk}]
      volumes:
      - {name: data, persistentVolumeClaim: {claimName: data}}
      - {name: disk, persistentVolumeClaim: {claimName: disk}}
---`

// filesOf backs up the files of a target; more is what follows the name of the task.
func filesOf(name, target, addon, more string) string {
	m := strings.Replace(configurationManifest(name), "{kind: PersistentVolumeClaim, name: data}", target, 1)
	return strings.Replace(m, wholeVolume, "addon: {name: "+addon+", tasks: [{name: logical-backup"+more, 1) + "---"
}

// TestVolumeSnapshotOfADevice: a raw block device is backed up by a VolumeSnapshot and comes back as one, byte for
// byte. A backup of files reports that it can't include the device, whatever else the target has.
func TestVolumeSnapshotOfADevice(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	l := &lender{volumeApp: &volumeApp{bed: bed, namespace: "e2e-devices"}}
	g := NewWithT(t)
	scratchNamespace(t, bed, l.namespace)
	spineSecrets(t, bed, l.namespace)
	const deployment = "{apiGroup: apps, kind: Deployment, name: machine}"
	const disk = "{kind: PersistentVolumeClaim, name: disk}"
	applyTo(t, bed, l.namespace,
		claimManifest("data")+"---"+machine+storageManifest("s3", l.prefix(), "s3-credentials")+"---"+
			filesOf("all-files", deployment, "workload-addon", "}]}")+
			filesOf("disk-files", disk, "pvc-addon", "}]}")+
			filesOf("disk-copied", disk, "pvc-addon", "}]}\n    copyMethod: Snapshot")+
			filesOf("some-files", deployment, "workload-addon", ", params: {paths: /data}}]}")+
			shotConfiguration("machine", "manual", "apps", "Deployment", "machine", "workload-addon", ""))
	a := &shotApp{l.volumeApp}
	pod := podOf(t, bed, l.namespace, "machine")
	g.Expect(bed.WaitPod(t.Context(), client.ObjectKey{Namespace: l.namespace, Name: pod})).To(Succeed())
	a.in(t, pod, []string{"write", "/data/note", "noted"}, []string{"fill", "/dev/disk", "what is kept"})
	before := a.in(t, pod, []string{"sum", "/dev/disk"})
	for _, name := range []string{"all-files", "disk-files", "disk-copied", "some-files", "machine"} {
		waitReady(t, bed, l.configuration(name), metav1.ConditionTrue, "")
	}

	files := map[string]string{}
	for _, name := range []string{"all-files", "disk-files", "disk-copied", "some-files"} {
		files[name] = l.start(t, name)
	}
	run := a.trigger(t, "machine")
	g.Expect(run.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", run.Status.Targets)
	stats := a.snapshot(t, run.Name).Status.Components["disk"].VolumeSnapshotterStats
	g.Expect(stats).To(ConsistOf(And(HaveField("PVCName", "disk"),
		HaveField("VolumeMode", corev1.PersistentVolumeBlock), HaveField("RestoreSize", int64(16<<20)))))
	for name, session := range files {
		ended := endOf(t, bed, l.namespace, session)
		if name == "some-files" {
			g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", ended.Status.Targets)
			continue
		}
		g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionFailed), name)
		g.Expect(ended.Status.Reason).To(Equal(v1alpha1.ReasonNoVolumes), name)
		g.Expect(ended.Status.Targets[0].Message).
			To(And(ContainSubstring("disk"), ContainSubstring("raw block device"), ContainSubstring("volume-snapshot")))
	}

	a.in(t, pod, []string{"fill", "/dev/disk", "a mistake"})
	g.Expect(a.in(t, pod, []string{"sum", "/dev/disk"})).NotTo(Equal(before))
	const source = "  dataSource: {repository: machine, snapshot: latest, components: [disk]}\n"
	s := l.restore(t, l.namespace, "as-files", source, `{metadata: {name: wrong}, spec: {volumeMode: Filesystem}}`)
	g.Expect(s.Status.Reason).To(Equal(v1alpha1.ReasonInvalidParameters))
	g.Expect(readyMessage(s)).To(And(ContainSubstring("had Block"), ContainSubstring("leave volumeMode out")))
	l.expectClaim(t, l.namespace, "wrong", nil)
	for name, spec := range map[string]string{
		"unsaid": "", "said": "volumeMode: Block, storageClassName: minihostpath-immediate",
	} {
		s = l.restore(t, l.namespace, name, source, fmt.Sprintf(`{metadata: {name: disk-%s}, spec: {%s}}`, name, spec))
		g.Expect(s.Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded), readyMessage(s))
		claim := l.expectClaim(t, l.namespace, "disk-"+name, Equal(stats[0].VolumeSnapshotName))
		g.Expect(*claim.Spec.VolumeMode).To(Equal(corev1.PersistentVolumeBlock))
		applyTo(t, bed, l.namespace, fmt.Sprintf(deviceReader, "look-"+name, "disk-"+name))
		g.Expect(bed.WaitPod(t.Context(), client.ObjectKey{Namespace: l.namespace, Name: "look-" + name})).To(Succeed())
		g.Expect(a.in(t, "look-"+name, []string{"sum", "/dev/disk"})).
			To(Equal(before), "name and size of the device, and every byte of it")
	}
}

// deviceReader is a pod with the device of a claim.
const deviceReader = `
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {runAsUser: 0}
  containers:
  - {name: c, image: "cairn.local/toolbox:dev", args: [idle], volumeDevices: [{name: disk, devicePath: /dev/disk}]}
  volumes: [{name: disk, persistentVolumeClaim: {claimName: %s}}]
`
