package check

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/policy/policytest"
)

// selectingBatch selects objects by the labels that they have here.
const selectingBatch = `
---
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupBatch
metadata: {name: all, namespace: shop}
spec:
  backends: [{name: main, storageRef: {name: s3, namespace: backup}}]
  targets:
  - {name: found, selector: {kinds: [Deployment, StatefulSet, PersistentVolumeClaim], labelSelector: {matchLabels: {app: forum}}}}
  sessions:
  - name: hourly
    scheduler: {schedule: "17 * * * *"}
    repositories: [{name: forum, backend: main, directory: /forum, encryptionSecret: {name: enc}}]
    targets: [{name: found}]
`

const forum = `
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: forum, namespace: shop, labels: {app: forum}}
spec: {template: {spec: {volumes: [{name: posts, persistentVolumeClaim: {claimName: posts}}]}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: cache, namespace: shop, labels: {app: forum}}
spec: {template: {spec: {volumes: [{name: tmp, emptyDir: {}}]}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: posts, namespace: shop, labels: {app: forum}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: images, namespace: shop, labels: {app: forum}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: images, namespace: elsewhere, labels: {app: forum}}
`

func TestCheckObjectsFindsWhatSelectorsFind(t *testing.T) {
	// directory is a Repository that overlaps only with directories of found targets.
	directory := func(path string) string {
		return `
---
apiVersion: backup.cairn.dev/v1alpha1
kind: Repository
metadata: {name: old, namespace: shop}
spec:
  storageRef: {name: s3, namespace: backup}
  path: ` + path + `
  encryptionSecret: {name: enc}
`
	}
	tests := map[string]struct {
		set      string
		severity Severity
		field    string
		message  string
	}{
		"an object that is found for two targets": {
			set: strings.Replace(strings.Replace(selectingBatch, "  sessions:",
				"  - {name: again, selector: {kinds: [PersistentVolumeClaim]}}\n  sessions:", 1), "[{name: found}]",
				"[{name: found}, {name: again}]", 1) + forum,
			severity: SeverityWarning, field: "spec.sessions[0].targets",
			message: "session \"hourly\" backs up PersistentVolumeClaim/images twice: for target found and for " +
				"target again",
		},
		"nothing among the files": {
			set: selectingBatch, severity: SeverityWarning, field: "spec.targets[0].selector",
			message: "only the cluster can tell what it finds",
		},
		"objects among the files": {set: selectingBatch + forum},
		"the directory of an object is taken": {
			set:      selectingBatch + forum + directory("/forum/found-persistentvolumeclaim-images"),
			severity: SeverityError,
			field:    "spec.sessions[0].repositories[0].directory",
			message:  "two repositories cannot share a directory",
		},
		"a claim that its workload backs up needs no directory": {
			set: selectingBatch + forum + directory("/forum/found-persistentvolumeclaim-posts"),
		},
		"a workload without data needs no directory": {
			set: selectingBatch + forum + directory("/forum/found-statefulset-cache"),
		},
		"a missing Secret": {
			set: strings.Replace(selectingBatch, "encryptionSecret: {name: enc}", "encryptionSecret: {name: none}",
				1) + forum,
			severity: SeverityError, field: "spec.sessions[0].repositories[0].encryptionSecret",
			message: "there is no Secret shop/none",
		},
		"a missing Addon": {
			set: strings.Replace(selectingBatch, "{name: found}]",
				"{name: found, addon: {name: none, tasks: [{name: x}]}}]", 1) + forum, severity: SeverityError,
			field: "spec.sessions[0].targets[0].addon.name", message: "there is no Addon none",
		},
		"copies that a sidecar can't read": {
			set: strings.Replace(selectingBatch, "{name: found}]",
				"{name: found, executor: Sidecar, copyMethod: Snapshot}]", 1) + forum, severity: SeverityError,
			field: "spec.sessions[0].targets[0].copyMethod", message: "use executor Job with copyMethod",
		},
		"copies": {
			set: strings.Replace(selectingBatch, "{name: found}]",
				"{name: found, copyMethod: Clone, copyVolume: {storageClassName: fast}}]", 1) + forum,
		},
		"too many objects": {
			set:      strings.Replace(selectingBatch, "kinds:", "maxTargets: 1, kinds:", 1) + forum,
			severity: SeverityError, field: "spec.targets[0].selector", message: "maxTargets, 1",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			findings := Objects(objectsOf(t, goodSet+tt.set), "default", cluster(t))
			if tt.message == "" {
				g.Expect(findings).To(BeEmpty())
				return
			}
			g.Expect(findings).NotTo(BeEmpty())
			g.Expect(findings[0].Severity).To(Equal(tt.severity))
			g.Expect(findings[0].Field).To(Equal(tt.field))
			g.Expect(findings[0].Message).To(ContainSubstring(tt.message))
		})
	}
}

func TestVolumesOfWorkloads(t *testing.T) {
	const pod = `spec: {template: {spec: {containers: [{name: c, volumeDevices: [{name: raw, devicePath: /dev/x}]}], volumes: [`
	claimed := func(name string) string {
		return `{name: ` + name + `, persistentVolumeClaim: {claimName: ` + name + `}}`
	}
	tests := map[string]struct {
		manifest string
		want     *policy.PodVolumes
	}{
		"claims, without those of raw devices": {
			"kind: Deployment\n" + pod + claimed("a") + ", " + claimed("raw") + ", {name: t, emptyDir: {}}]}}}",
			&policy.PodVolumes{Claims: []string{"a"}},
		},
		"no data": {
			"kind: DaemonSet\n" + pod +
				"{name: t, emptyDir: {}}, {name: c, configMap: {name: c}}, {name: s, secret: {secretName: s}}, " +
				"{name: p, projected: {}}]}}}",
			&policy.PodVolumes{None: true},
		},
		"data on the node": {"kind: DaemonSet\n" + pod + "{name: h, hostPath: {path: /x}}]}}}", &policy.PodVolumes{}},
		"templates for each replica": {
			"kind: StatefulSet\nmetadata: {name: db}\nspec: {replicas: 2, ordinals: {start: 3}, " +
				"volumeClaimTemplates: [{metadata: {name: data}}], template: {spec: {volumes: [" +
				claimed("data") + ", " + claimed("shared") + "]}}}",
			&policy.PodVolumes{Claims: []string{"shared", "data-db-3", "data-db-4"}},
		},
		"no replicas": {
			"kind: StatefulSet\nmetadata: {name: db}\nspec: {replicas: 0, volumeClaimTemplates: [{metadata: {name: " +
				"data}}]}", &policy.PodVolumes{},
		},
		"no workload": {"kind: ReplicaSet", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := objectsOf(t, "apiVersion: apps/v1\n"+tt.manifest)[0]
			NewWithT(t).Expect(volumesIn(&o)).To(Equal(tt.want))
		})
	}
}

func TestMostTargets(t *testing.T) {
	g := NewWithT(t)
	batch := policytest.Selecting(policytest.BatchOf("a", "b"), "all", v1alpha1.TargetSelector{})
	g.Expect(policy.MaxBatchTargets(batch)).To(Equal(102), "a selector without maxTargets finds at most 100")
	for range 3 {
		policytest.Selecting(batch, "more", v1alpha1.TargetSelector{MaxTargets: 500})
	}
	g.Expect(policy.MaxBatchTargets(batch)).To(Equal(1000))
}
