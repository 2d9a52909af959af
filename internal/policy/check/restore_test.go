package check

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// restoreOf returns a restore of the good set's volume as a further document.
func restoreOf(spec string) string {
	return `
---
apiVersion: backup.cairn.dev/v1alpha1
kind: RestoreSession
metadata: {name: back, namespace: shop}
spec:
  target: {kind: PersistentVolumeClaim, name: uploads}
` + spec
}

func TestCheckObjectsFollowsTheReferencesOfARestore(t *testing.T) {
	const repositories = `
---
apiVersion: backup.cairn.dev/v1alpha1
kind: Repository
metadata: {name: old, namespace: shop}
spec:
  appRef: {kind: PersistentVolumeClaim, name: uploads}
  storageRef: {name: s3, namespace: backup}
  path: /old
  encryptionSecret: {name: enc}`
	tests := map[string]struct {
		spec     string
		lookup   func(testing.TB) Lookup
		severity Severity // "" means no finding.
		field    string
		reason   string
		message  string
	}{
		"the latest Snapshot of a policy's Repository": {
			spec: "  dataSource: {repository: uploads, snapshot: latest}", lookup: cluster,
		},
		"the latest Snapshot of a batch's Repository": {
			spec: "  dataSource: {repository: web, snapshot: latest}", lookup: cluster,
		},
		"the latest Snapshot of a Repository": {
			spec: "  dataSource: {repository: old, snapshot: latest}" + repositories, lookup: cluster,
		},
		"a sidecar of a claim": {
			spec: "  dataSource: {repository: uploads, snapshot: latest}\n  executor: Sidecar", lookup: cluster,
			severity: SeverityError, field: "spec.executor", reason: v1alpha1.ReasonSidecarNotPossible,
			message: "use executor Job",
		},
		"a Repository that the cluster can have": {
			spec: "  dataSource: {repository: upload, snapshot: latest}", lookup: shippedCatalog,
			severity: SeverityWarning, field: "spec.dataSource.repository", reason: v1alpha1.ReasonRepositoryNotFound,
			message: "Repository shop/upload is not among these files",
		},
		"a missing Repository": {
			spec: "  dataSource: {repository: upload, snapshot: latest}", lookup: cluster,
			severity: SeverityError, field: "spec.dataSource.repository", reason: v1alpha1.ReasonRepositoryNotFound,
			message: "there is no Repository shop/upload",
		},
		"a Snapshot that the cluster can have": {
			spec: "  dataSource: {repository: uploads, snapshot: uploads-1}", lookup: shippedCatalog,
			severity: SeverityWarning, field: "spec.dataSource.snapshot", reason: v1alpha1.ReasonSnapshotNotFound,
			message: "Snapshot shop/uploads-1 is not among these files: only the cluster can tell whether it exists",
		},
		"a missing Snapshot": {
			spec: "  dataSource: {snapshot: uploads-1}", lookup: cluster,
			severity: SeverityError, field: "spec.dataSource.snapshot", reason: v1alpha1.ReasonSnapshotNotFound,
			message: "there is no Snapshot shop/uploads-1",
		},
		"a Snapshot of its Repository": {
			spec: "  dataSource: {repository: web, snapshot: web-1}", lookup: withSnapshot,
		},
		"a Snapshot of any Repository": {spec: "  dataSource: {snapshot: web-1}", lookup: withSnapshot},
		"a Snapshot of another Repository": {
			spec: "  dataSource: {repository: uploads, snapshot: web-1}", lookup: withSnapshot,
			severity: SeverityError, field: "spec.dataSource.repository", reason: v1alpha1.ReasonSnapshotNotFound,
			message: `the Snapshot "web-1" is in the Repository "web", not in "uploads"`,
		},
		"a Repository of another namespace": {
			spec: "  dataSource: {namespace: blog, repository: uploads, snapshot: latest}", lookup: cluster,
			severity: SeverityError, field: "spec.dataSource.repository", reason: v1alpha1.ReasonRepositoryNotFound,
			message: "there is no Repository blog/uploads",
		},
		"a time": {
			spec: `  dataSource: {repository: uploads, pitr: {targetTime: "2026-11-20T00:00:00Z"}}`, lookup: cluster,
		},
		"a missing addon": {
			spec:     "  dataSource: {repository: web, snapshot: latest}\n  addon: {name: tape, tasks: [{name: x}]}",
			lookup:   cluster,
			severity: SeverityError, field: "spec.addon.name", reason: v1alpha1.ReasonAddonNotFound,
			message: "there is no Addon tape",
		},
		"a task for backups": {
			spec: "  dataSource: {repository: web, snapshot: latest}\n  addon: {name: pvc-addon, tasks: [{name: " +
				"logical-backup}]}", lookup: cluster,
			severity: SeverityError, field: "spec.addon.tasks[0].name", reason: v1alpha1.ReasonTaskNotFound,
			message: `has no restore task "logical-backup"; it has logical-backup-restore`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			findings := Objects(objectsOf(t, goodSet+restoreOf(test.spec)), "default", test.lookup(t))
			if test.severity == "" {
				g.Expect(findings).To(BeEmpty())
				return
			}
			g.Expect(findings).To(HaveLen(1), "%+v", findings)
			finding := findings[0]
			g.Expect(finding.Severity).To(Equal(test.severity))
			g.Expect(finding.Document).To(Equal(9))
			g.Expect(finding.Line).To(Equal(90))
			g.Expect(finding.Field).To(Equal(test.field))
			g.Expect(finding.Reason).To(Equal(test.reason))
			g.Expect(finding.Message).To(ContainSubstring(test.message))
		})
	}
}

func TestCheckObjectsLooksForTheTargetOfARestore(t *testing.T) {
	g := NewWithT(t)
	restore := strings.Replace(restoreOf("  dataSource: {repository: web, snapshot: latest}"), "name: uploads",
		"name: empty", 1)
	findings := Objects(objectsOf(t, goodSet+restore), "default", shippedCatalog(t))
	g.Expect(findings).To(HaveLen(1))
	g.Expect(findings[0].Severity).To(Equal(SeverityWarning))
	g.Expect(findings[0].Field).To(Equal("spec.target.name"))
	g.Expect(findings[0].Message).To(ContainSubstring("PersistentVolumeClaim shop/empty"))
}

// What a restore would refuse only when it starts, and a RestoreBatch when it looks at its targets.
func TestCheckObjectsLooksAtTheArgumentsOfARestore(t *testing.T) {
	const server = `
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
`
	for args, message := range map[string]string{
		"--list":     "with the argument \"--list\", pg_restore would load nothing",
		"--no-owner": "", "-t items": "", // in a dump of everything -t does no harm
		"--dbname=shop":              "", // in a dump of shop neither
		"--dbname=shop --dbname=web": "with the argument \"--dbname\", pg_restore would load the dump into another",
		"-d shop":                    "with the argument \"-d\", pg_restore would load the dump into another",
	} {
		g := NewWithT(t)
		restore := strings.Replace(restoreOf("  dataSource: {repository: web, snapshot: latest}\n  addon: {name: "+
			"postgres-addon, tasks: [{name: logical-backup-restore, params: {secretName: db, args: "+args+"}}]}\n"),
			"{kind: PersistentVolumeClaim, name: uploads}", "{kind: Service, name: db}", 1)
		findings := Objects(objectsOf(t, goodSet+restore+server), "default", cluster(t))
		if message == "" {
			g.Expect(findings).To(BeEmpty(), args)
			continue
		}
		g.Expect(findings).To(HaveLen(1), "%+v", findings)
		g.Expect(findings[0].Severity).To(Equal(SeverityError))
		g.Expect(findings[0].Field).To(Equal("spec.addon.tasks[0]"))
		g.Expect(findings[0].Message).To(ContainSubstring(message))
	}
}

func TestCheckObjectsTakesTheNamespaceOfARestoresTarget(t *testing.T) {
	g := NewWithT(t)
	restore := restoreOf("  dataSource: {repository: web, snapshot: latest}")
	own := strings.Replace(restore, "name: uploads}", "name: uploads, namespace: shop}", 1)
	g.Expect(Objects(objectsOf(t, goodSet+own), "default", cluster(t))).To(BeEmpty())
	other := strings.Replace(restore, "name: uploads}", "name: uploads, namespace: blog}", 1)
	findings := Objects(objectsOf(t, goodSet+other), "default", cluster(t))
	g.Expect(findings).To(HaveLen(1))
	g.Expect(findings[0].Field).To(Equal("spec.target.namespace"))
	g.Expect(findings[0].Message).To(ContainSubstring(`leave the namespace "blog" out`))
}

// withSnapshot knows a cluster that has the Snapshot web-1 in the Repository web.
func withSnapshot(t testing.TB) Lookup {
	inner := cluster(t)
	snapshot := objectsOf(t, `
apiVersion: backup.cairn.dev/v1alpha1
kind: Snapshot
metadata: {name: web-1, namespace: shop}
spec: {repository: web}
`)[0].Unstructured
	return func(r Reference) (*unstructured.Unstructured, bool) {
		if r.Kind == snapshot.GetKind() && r.Namespace == snapshot.GetNamespace() && r.Name == snapshot.GetName() {
			return snapshot, true
		}
		return inner(r)
	}
}
