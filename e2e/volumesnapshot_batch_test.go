package e2e

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// shotSets are a DaemonSet, whose pods share a claim, and the policy of it and of a stand-alone volume as one
// application.
const shotSets = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      securityContext: {runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532}
      terminationGracePeriodSeconds: 1
      containers:
      - {name: agent, image: "cairn.local/toolbox:dev", args: [idle], volumeMounts: [{name: spool, mountPath: /data}]}
      volumes: [{name: spool, persistentVolumeClaim: {claimName: spool}}]
---
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupBatch
metadata: {name: sets}
spec:
  targets:
  - {name: agent, appRef: {apiGroup: apps, kind: DaemonSet, name: agent}}
  - {name: photos, appRef: {kind: PersistentVolumeClaim, name: photos}}
  sessions:
  - name: manual
    repositories: [{name: sets}]
    targets:
    - {name: agent, addon: {name: workload-addon, tasks: [{name: volume-snapshot}]}}
    - {name: photos, addon: {name: pvc-addon, tasks: [{name: volume-snapshot}]}}
`

// restoreOfShotSets makes new claims from the newest restore point.
const restoreOfShotSets = `
apiVersion: backup.cairn.dev/v1alpha1
kind: RestoreBatch
metadata: {name: back}
spec:
  dataSource: {backupBatch: sets, backupSession: latest}
  targets:
  - name: agent
    addon:
      name: pvc-addon
      tasks:
      - {name: volume-snapshot-restore, targetVolumes: {volumeClaimTemplates: [{metadata: {name: spool-back}, spec: {}}]}}
  - name: photos
    addon:
      name: pvc-addon
      tasks:
      - {name: volume-snapshot-restore, targetVolumes: {volumeClaimTemplates: [{metadata: {name: photos-back}, spec: {}}]}}
`

// TestVolumeSnapshotsOfABatch: a BackupBatch of a DaemonSet and a stand-alone volume is one restore point of
// VolumeSnapshots, and a RestoreBatch makes new claims of it without being told size, modes or class.
func TestVolumeSnapshotsOfABatch(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	a := &shotApp{&volumeApp{bed: bed, namespace: "volumesnapshot-sets"}}
	g := NewWithT(t)
	scratchNamespace(t, bed, a.namespace)
	applyTo(t, bed, a.namespace, claimManifest("spool")+"---"+claimManifest("photos")+"---"+shotSets)
	agent := podOf(t, bed, a.namespace, "agent")
	g.Expect(bed.WaitPod(t.Context(), client.ObjectKey{Namespace: a.namespace, Name: agent})).To(Succeed())
	a.in(t, agent, scribble("spooled")...)
	a.inClaim(t, "photos", scribble("a photo")...)
	spool, photos := a.in(t, agent, everything), a.inClaim(t, "photos", everything)
	waitReady(t, bed, &v1alpha1.BackupBatch{ObjectMeta: a.meta("sets")}, metav1.ConditionTrue, "")

	run := endOf(t, bed, a.namespace, startSession(t, bed, a.namespace, "sets", "manual"))
	g.Expect(states(run)).To(Equal([]string{"agent: Succeeded/Succeeded", "photos: Succeeded/Succeeded"}))
	g.Expect(a.volumeSnapshots(t)).To(HaveLen(2), "the pods of a DaemonSet share one claim")
	a.in(t, agent, []string{"write", "/data/note", "forged"})
	a.inClaim(t, "photos", []string{"write", "/data/note", "lost"})

	applyTo(t, bed, a.namespace, restoreOfShotSets)
	waitReady(t, bed, &v1alpha1.RestoreBatch{ObjectMeta: a.meta("back")}, metav1.ConditionTrue, "Succeeded")
	g.Expect(a.inClaim(t, "spool-back", everything)).To(Equal(spool))
	g.Expect(a.inClaim(t, "photos-back", everything)).To(Equal(photos))
	var restores v1alpha1.RestoreSessionList
	g.Expect(bed.Client.List(t.Context(), &restores, client.InNamespace(a.namespace))).To(Succeed())
	g.Expect(restores.Items).To(HaveLen(2))
}
