package check

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/policy/policytest"
)

const snapshotSet = `apiVersion: backup.cairn.dev/v1alpha1
kind: Addon
metadata: {name: own}
spec:
  backupTasks:
  - {name: volume-snapshot, function: pvc-backup, driver: VolumeSnapshotter, parameters: [{name: volumeSnapshotClassName}]}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: uploads, namespace: shop}
---
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshotClass
metadata: {name: keeps}
driver: hostpath.csi.example.com
deletionPolicy: Retain
---
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshotClass
metadata: {name: deletes}
driver: hostpath.csi.example.com
deletionPolicy: Delete
---
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupConfiguration
metadata: {name: snaps, namespace: shop}
spec:
  target: {kind: PersistentVolumeClaim, name: uploads}
  backends: [{name: main, storageRef: {name: no-such-storage}}]
  sessions:
  - name: hourly
    scheduler: {schedule: "0 * * * *"}
    addon: {name: own, tasks: [{name: volume-snapshot, params: {volumeSnapshotClassName: keeps}}]}
    repositories: [{name: snaps, backend: main, directory: /shop/uploads, encryptionSecret: {name: no-such-secret}}]
---
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupBatch
metadata: {name: all, namespace: shop}
spec:
  targets: [{name: uploads, appRef: {kind: PersistentVolumeClaim, name: uploads}}]
  sessions:
  - name: hourly
    repositories: [{name: batch}]
    targets: [{name: uploads, addon: {name: own, tasks: [{name: volume-snapshot}]}}]
`

func TestCheckObjectsOfVolumeSnapshots(t *testing.T) {
	const repository = "\n---\napiVersion: backup.cairn.dev/v1alpha1\nkind: Repository\nmetadata: {name: NAME, " +
		"namespace: shop}\nspec: {driver: DRIVER, " +
		"appRef: {kind: PersistentVolumeClaim, name: uploads}MORE}\n"
	for name, tc := range map[string]struct {
		replace, by     string // In snapshotSet; an empty replace appends.
		severity        Severity
		field, reason   string
		message         string
		isRight, sample bool
	}{
		"missing backends do not matter": {isRight: true},
		"a Repository of VolumeSnapshots": {
			by: strings.NewReplacer("NAME", "snaps", "DRIVER", "VolumeSnapshotter", "MORE",
				"").Replace(repository),
			isRight: true,
		},
		"a class that deletes": {
			replace: "volumeSnapshotClassName: keeps", by: "volumeSnapshotClassName: deletes",
			severity: SeverityWarning,
			field:    "spec.sessions[0].addon.tasks[0].params.volumeSnapshotClassName",
			reason:   v1alpha1.ReasonVolumeSnapshotClassDeletes,
			message: "VolumeSnapshotClass deletes has deletionPolicy Delete: whoever deletes a VolumeSnapshot or " +
				"the namespace deletes the data",
		},
		"a missing class": {
			replace: "volumeSnapshotClassName: keeps", by: "volumeSnapshotClassName: none", severity: SeverityError,
			field:   "spec.sessions[0].addon.tasks[0].params.volumeSnapshotClassName",
			reason:  v1alpha1.ReasonVolumeSnapshotClassNotFound,
			message: "there is no VolumeSnapshotClass none",
		},
		"a sidecar": {
			replace:  "addon: {name: own, tasks: [{name: volume-snapshot, params",
			by:       "executor: Sidecar\n    addon: {name: own, tasks: [{name: volume-snapshot, params",
			severity: SeverityError,
			field:    "spec.sessions[0].executor", reason: v1alpha1.ReasonSidecarNotPossible,
			message: "makes VolumeSnapshots",
		},
		"copies": {
			replace:  "addon: {name: own, tasks: [{name: volume-snapshot, params",
			by:       "copyMethod: Clone\n    addon: {name: own, tasks: [{name: volume-snapshot, params",
			severity: SeverityError,
			field:    "spec.sessions[0].copyMethod", reason: v1alpha1.ReasonCopyNotPossible,
			message: "makes VolumeSnapshots",
		},
		"a Repository of another driver": {
			by: strings.NewReplacer("NAME", "batch-uploads", "DRIVER", "Kopia", "MORE",
				", storageRef: {name: s3}, path: /x, encryptionSecret: {name: e}").Replace(repository),
			severity: SeverityError, field: "spec.sessions[0].repositories[0]",
			reason:  v1alpha1.ReasonRepositoryConflict,
			message: "has driver Kopia", sample: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			set := snapshotSet + tc.by
			if tc.replace != "" {
				g.Expect(strings.Count(snapshotSet, tc.replace)).To(Equal(1))
				set = strings.Replace(snapshotSet, tc.replace, tc.by, 1)
			}
			findings := Objects(objectsOf(t, strings.TrimSuffix(set, "\n")), "default", cluster(t))
			if tc.isRight {
				g.Expect(findings).To(BeEmpty())
				return
			}
			g.Expect(findings).To(ContainElement(SatisfyAll(
				HaveField("Severity", tc.severity), HaveField("Field", tc.field), HaveField("Reason", tc.reason),
				HaveField("Message", ContainSubstring(tc.message)),
			)))
			if !tc.sample && name != "a sidecar" {
				g.Expect(findings).To(HaveLen(1))
			}
		})
	}
}

func TestASidecarMakesNoVolumeSnapshots(t *testing.T) {
	g := NewWithT(t)
	addon := &v1alpha1.Addon{Spec: v1alpha1.AddonSpec{BackupTasks: []v1alpha1.Task{{
		Name:     "volume-snapshot",
		Function: "f", Driver: v1alpha1.DriverVolumeSnapshotter,
	}}}}
	session := policytest.OfSnapshots()
	target := v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: v1alpha1.KindDeployment, Name: "web"}
	g.Expect(catalog.SidecarMistakes("spec", target, &session, addon, nil)).To(ConsistOf(HaveField("Message",
		ContainSubstring("makes VolumeSnapshots"))))
}
