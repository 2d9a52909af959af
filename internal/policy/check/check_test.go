package check

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestCheckObjectsAcceptsAGoodSet(t *testing.T) {
	g := NewWithT(t)
	g.Expect(Objects(objectsOf(t, goodSet), "default", shippedCatalog(t))).To(BeEmpty())
}

func TestCheckObjects(t *testing.T) {
	repository := `
---
apiVersion: backup.cairn.dev/v1alpha1
kind: Repository
metadata: {name: old, namespace: shop}
spec:
  appRef: {kind: PersistentVolumeClaim, name: uploads}
  storageRef: {name: s3, namespace: backup}
  path: shop//uploads/
  encryptionSecret: {name: enc}
`
	tests := map[string]struct {
		replace, by   string // In goodSet; an empty replace appends.
		document      int
		field, reason string
		message       string
		more          int // Findings of the other policy, if the mistake affects both.
	}{
		"a schedule that does not parse": {
			replace: `"0 2 * * *"`, by: `"0 2 * *"`, document: 7,
			field: "spec.sessions[0].scheduler.schedule", reason: v1alpha1.ReasonInvalidSchedule,
			message: "invalid schedule",
		},
		"a schedule that never fires": {
			replace: `"17 * * * *"`, by: `"0 0 30 2 *"`, document: 8,
			field: "spec.sessions[0].scheduler.schedule", reason: v1alpha1.ReasonInvalidSchedule,
			message: "never fires",
		},
		"a time zone that is unknown": {
			replace: `"0 2 * * *"`, by: `"0 2 * * *", timeZone: Mars/Olympus`, document: 7,
			field: "spec.sessions[0].scheduler.timeZone", reason: v1alpha1.ReasonInvalidSchedule,
			message: `unknown time zone "Mars/Olympus"`,
		},
		"H beyond its field": {
			replace: `"17 * * * *"`, by: `"H(50-70) * * * *"`, document: 8,
			field: "spec.sessions[0].scheduler.schedule", reason: v1alpha1.ReasonInvalidSchedule,
			message: "the range must lie between 0 and 59",
		},
		"two policies on one directory": {
			replace: "/shop/web", by: "/shop/uploads", document: 8,
			field: "spec.sessions[0].targets[0].repositories[0].directory", reason: v1alpha1.ReasonDirectoryTaken,
			message: "belongs to Repository shop/uploads at policy.yaml:70",
		},
		"one directory spelled in two ways": {
			replace: "/shop/web", by: "shop/uploads/", document: 8,
			field: "spec.sessions[0].targets[0].repositories[0].directory", reason: v1alpha1.ReasonDirectoryTaken,
			message: `"shop/uploads/" belongs to`,
		},
		"a Repository on a policy's directory": {
			by: repository, document: 7,
			field: "spec.sessions[0].repositories[0].directory", reason: v1alpha1.ReasonDirectoryTaken,
			message: "belongs to Repository shop/old at policy.yaml:90",
		},
		"a directory in another one": {
			replace: "/shop/web", by: "shop/uploads/web", document: 8,
			field: "spec.sessions[0].targets[0].repositories[0].directory", reason: v1alpha1.ReasonDirectoryTaken,
			message: `"shop/uploads/web" overlaps with "/shop/uploads" of Repository shop/uploads at policy.yaml:70`,
		},
		"a directory around another one": {
			replace: "/shop/web", by: "/shop", document: 8,
			field: "spec.sessions[0].targets[0].repositories[0].directory", reason: v1alpha1.ReasonDirectoryTaken,
			message: `"/shop" overlaps with "/shop/uploads" of Repository shop/uploads at policy.yaml:70`,
		},
		"a Repository around two policies' directories": {
			by: strings.Replace(repository, "shop//uploads/", "shop", 1), document: 7,
			field: "spec.sessions[0].repositories[0].directory", reason: v1alpha1.ReasonDirectoryTaken,
			message: `overlaps with "shop" of Repository shop/old at policy.yaml:90`, more: 1,
		},
		"a directory with a name of the layout": {
			replace: "/shop/web", by: "/shop/kopia", document: 8,
			field:  "spec.sessions[0].targets[0].repositories[0].directory",
			reason: v1alpha1.ReasonResourceValidationFailed, message: `must not contain "kopia"`,
		},
		"a directory with a dot": {
			replace: "/shop/uploads", by: "./uploads", document: 7,
			field: "spec.sessions[0].repositories[0].directory", reason: v1alpha1.ReasonResourceValidationFailed,
			message: `must not contain "."`,
		},
		"one repository for two policies": {
			replace: "{name: web, backend: main", by: "{name: uploads, backend: main", document: 8,
			field: "spec.sessions[0].targets[0].repositories[0].directory", reason: v1alpha1.ReasonRepositoryConflict,
			message: "Repository shop/uploads has another target",
		},
		"a batch with two targets of one name": {
			replace: "  targets:\n  - {name: web,",
			by: "  targets:\n  - {name: web, appRef: {apiGroup: apps, kind: Deployment, name: web}}\n  - " +
				"{name: web,", document: 8,
			field: "spec.targets[1].name", reason: v1alpha1.ReasonResourceValidationFailed,
			message: "give each its own name",
		},
		"a missing storage": {
			replace:  "[{name: main, storageRef: {name: s3, namespace: backup}}]\n  targets",
			by:       "[{name: main, storageRef: {name: s4, namespace: backup}}]\n  targets",
			document: 8, field: "spec.backends[0].storageRef", reason: v1alpha1.ReasonStorageNotFound,
			message: "there is no BackupStorage backup/s4",
		},
		"a storage that does not allow the namespace": {
			replace: `labels: {backup: "yes"}`, by: `labels: {backup: "no"}`, document: 7,
			field: "spec.backends[0].storageRef", reason: v1alpha1.ReasonStorageNotAllowed,
			message: "does not allow the namespace shop", more: 1,
		},
		"a missing addon": {
			replace: "pvc-addon", by: "pvc-addition", document: 7,
			field: "spec.sessions[0].addon.name", reason: v1alpha1.ReasonAddonNotFound,
			message: "there is no Addon pvc-addition",
		},
		"a missing task": {
			replace: "logical-backup, params", by: "logical, params", document: 7,
			field: "spec.sessions[0].addon.tasks[0].name", reason: v1alpha1.ReasonTaskNotFound,
			message: "it has logical-backup",
		},
		"an unknown parameter": {
			replace: "exclude:", by: "excludes:", document: 7,
			field: "spec.sessions[0].addon.tasks[0].params.excludes", reason: v1alpha1.ReasonInvalidParameters,
			message: "it has paths, exclude",
		},
		"a parameter that is not a string": {
			replace: `exclude: "*.tmp"`, by: `exclude: 7`, document: 7,
			field: "spec.sessions[0].addon.tasks[0].params.exclude", reason: v1alpha1.ReasonInvalidParameters,
			message: "put it in quotes",
		},
		"an invalid pattern": {
			replace: `exclude: "*.tmp"`, by: `exclude: "*.tmp,cache/["`, document: 7,
			field: "spec.sessions[0].addon.tasks[0]", reason: v1alpha1.ReasonInvalidParameters,
			message: `the parameter "exclude" is "*.tmp,cache/[": pattern "cache/[" is not valid`,
		},
		"a missing backend": {
			replace: "{name: uploads, backend: main", by: "{name: uploads, backend: other", document: 7,
			field: "spec.sessions[0].repositories[0].backend", reason: v1alpha1.ReasonBackendNotFound,
			message: `no backend "other"`,
		},
		"two backends and no choice": {
			replace: "storageRef: {name: s3, namespace: backup}}]\n  sessions:\n",
			by: "storageRef: {name: s3, namespace: backup}}, {name: b, storageRef: {name: s3, namespace: " +
				"backup}}]\n  sessions:\n  - {name: weekly}\n",
			document: 7, field: "spec.sessions[0].repositories[0].backend", reason: v1alpha1.ReasonBackendNotFound,
			message: "has 2 backends: name one of them",
		},
		"two defaults of a namespace": {
			by: "---\n" + defaultStorage("first") + "---\n" + defaultStorage("second"), document: 10,
			field: "spec.default", reason: v1alpha1.ReasonDefaultTaken,
			message: "BackupStorage first is already the default of this namespace",
		},
		"two default RetentionPolicies of a namespace": {
			by: "---\n" + defaultStorage("first") + "---\n" + defaultPolicy("keep") + "---\n" +
				defaultPolicy("keep-more"), document: 11,
			field: "spec.default", reason: v1alpha1.ReasonDefaultTaken,
			message: "RetentionPolicy keep is already the default of this namespace",
		},
		"a missing PersistentVolumeClaim": {
			replace: "{kind: PersistentVolumeClaim, name: uploads}", by: "{kind: PersistentVolumeClaim, name: upload}",
			document: 7,
			field:    "spec.target.name", reason: v1alpha1.ReasonTargetNotFound,
			message: "there is no PersistentVolumeClaim shop/upload",
		},
		"a missing Secret": {
			replace:  "metadata: {name: s3, namespace: backup}\n---\napiVersion: v1\nkind: Secret",
			by:       "metadata: {name: s4, namespace: backup}\n---\napiVersion: v1\nkind: Secret",
			document: 2, field: "spec.storage.s3.secretName", reason: v1alpha1.ReasonBackendSecretNotAvailable,
			message: "there is no Secret backup/s3",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			set := goodSet + test.by
			if test.replace != "" {
				g.Expect(strings.Count(goodSet, test.replace)).To(Equal(1), "what is replaced must be there once")
				set = strings.Replace(goodSet, test.replace, test.by, 1)
			}

			findings := Objects(objectsOf(t, set), "default", cluster(t))

			g.Expect(findings).To(HaveLen(1+test.more), "%+v", findings)
			finding := findings[0]
			g.Expect(finding.Severity).To(Equal(SeverityError))
			g.Expect(finding.File).To(Equal("policy.yaml"))
			g.Expect(finding.Document).To(Equal(test.document))
			g.Expect(finding.Line).To(Equal(10 * test.document))
			g.Expect(finding.Field).To(Equal(test.field))
			g.Expect(finding.Reason).To(Equal(test.reason))
			g.Expect(finding.Message).To(ContainSubstring(test.message))
		})
	}
}

func defaultStorage(name string) string {
	return `apiVersion: backup.cairn.dev/v1alpha1
kind: BackupStorage
metadata: {name: ` + name + `, namespace: shop}
spec:
  default: true
  encryptionSecret: {name: enc}
  storage: {provider: local, local: {persistentVolumeClaim: {claimName: uploads}, subPath: ` + name + `}}
`
}

const smallestPolicy = `apiVersion: backup.cairn.dev/v1alpha1
kind: BackupConfiguration
metadata: {name: smallest, namespace: shop}
spec:
  target: {kind: PersistentVolumeClaim, name: uploads}
  sessions: [{name: nightly, scheduler: {schedule: "0 2 * * *"}}]
`

func TestCheckObjectsTakesTheSmallestPolicy(t *testing.T) {
	g := NewWithT(t)
	g.Expect(Objects(objectsOf(t, goodSet+"---\n"+defaultStorage("first")+"---\n"+smallestPolicy), "default",
		cluster(t))).To(BeEmpty())
	findings := Objects(objectsOf(t, goodSet+"---\n"+smallestPolicy), "default", cluster(t))
	g.Expect(findings).To(HaveLen(1))
	g.Expect(findings[0].Severity).To(Equal(SeverityWarning))
	g.Expect(findings[0].Message).
		To(Equal("these files have no default BackupStorage that the namespace shop can use: only the cluster can " +
			"tell whether there is one"))
}

// The default of somebody who is no administrator is none, whatever its usagePolicy says.
func TestCheckSetNamesWhatIsUsedFromOtherNamespaces(t *testing.T) {
	t.Parallel()
	const everybody = "usagePolicy: {allowedNamespaces: {from: All}}\n"
	storage := func(namespace string) string {
		return `---
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupStorage
metadata: {name: shared, namespace: ` + namespace + `}
spec:
  default: true
  storage: {provider: s3, s3: {bucket: b, secretName: s3}}
  encryptionSecret: {name: s3}
  ` + everybody
	}
	keep := func(namespace string) string {
		return `---
apiVersion: backup.cairn.dev/v1alpha1
kind: RetentionPolicy
metadata: {name: keep, namespace: ` + namespace + `}
spec:
  maxRetentionPeriod: 1y
  default: true
  ` + everybody
	}
	for name, tt := range map[string]struct {
		set  string
		uses []string
	}{
		"a storage by name": {goodSet, []string{"BackupStorage backup/s3"}},
		"the defaults of administrators": {
			storage("backup") + keep("backup") + "---\n" + smallestPolicy,
			[]string{"BackupStorage backup/shared", "RetentionPolicy backup/keep"},
		},
		"the defaults of a tenant": {storage("evil") + keep("evil") + "---\n" + smallestPolicy, nil},
		"nothing but its own":      {storage("shop") + keep("shop") + "---\n" + smallestPolicy, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var names []string
			for _, r := range Set(objectsOf(t, tt.set), Options{
				Lookup: shippedCatalog(t), Administrators: []string{"backup"},
			}).Foreign {
				names = append(names, r.String())
			}
			NewWithT(t).Expect(names).To(Equal(tt.uses))
		})
	}
}

func TestCheckObjectsWantsDirectoriesBelowThePrefixOfTheirStorage(t *testing.T) {
	t.Parallel()
	for prefix, bad := range map[string]bool{
		"/{namespace}": false, "/{cluster}/{namespace}": true, "/{cluster}": false, "/other": true,
	} {
		t.Run(prefix, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			set := strings.Replace(goodSet, `matchLabels: {backup: "yes"}}}}`,
				`matchLabels: {backup: "yes"}}}, directoryPrefix: "`+prefix+`"}`, 1)
			g.Expect(set).NotTo(Equal(goodSet))
			findings := Objects(objectsOf(t, set), "default", shippedCatalog(t))
			g.Expect(len(findings) > 0).To(Equal(bad), "%+v", findings)
			for _, f := range findings {
				g.Expect(f.Severity).To(Equal(SeverityError))
				g.Expect(f.Reason).To(Equal(v1alpha1.ReasonDirectoryNotAllowed))
				g.Expect(f.Message).To(HavePrefix("the usagePolicy of BackupStorage backup/s3 allows the namespace " +
					"shop only directories at or below /"))
			}
		})
	}
}

func TestCheckObjectsAcceptsNeighbouringDirectories(t *testing.T) {
	for _, directory := range []string{"/shop/uploads2", "/shop/up", "/sho", "/web/shop/uploads", "/shop/uploads.old"} {
		t.Run(directory, func(t *testing.T) {
			set := strings.Replace(goodSet, "/shop/web", directory, 1)
			NewWithT(t).Expect(Objects(objectsOf(t, set), "default", shippedCatalog(t))).To(BeEmpty())
		})
	}
}

func TestCheckObjectsAcceptsNestedDirectoriesOfTwoStorages(t *testing.T) {
	other := `
---
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupStorage
metadata: {name: local, namespace: shop}
spec:
  storage: {provider: local, local: {persistentVolumeClaim: {claimName: uploads}}}
---
apiVersion: backup.cairn.dev/v1alpha1
kind: Repository
metadata: {name: old, namespace: shop}
spec:
  appRef: {kind: PersistentVolumeClaim, name: uploads}
  storageRef: {name: local}
  path: /shop
  encryptionSecret: {name: enc}
`
	NewWithT(t).Expect(Objects(objectsOf(t, goodSet+other), "default", shippedCatalog(t))).To(BeEmpty())
}

func TestCheckObjectsWarnsOfWhatOnlyAClusterKnows(t *testing.T) {
	g := NewWithT(t)
	objects := objectsOf(t, goodSet)
	configuration := objects[6:7]

	findings := Objects(configuration, "default", shippedCatalog(t))

	var messages []string
	for _, finding := range findings {
		g.Expect(finding.Severity).To(Equal(SeverityWarning), finding.Message)
		messages = append(messages, finding.Message)
	}
	g.Expect(messages).To(ConsistOf(
		ContainSubstring("BackupStorage backup/s3"), ContainSubstring("PersistentVolumeClaim shop/uploads"),
		ContainSubstring("Secret shop/enc"),
	))
}

func TestCheckObjectsWarnsOfUnknownNamespaceLabels(t *testing.T) {
	g := NewWithT(t)
	findings := Objects(objectsOf(t, goodSet)[1:], "default", shippedCatalog(t))
	g.Expect(findings).To(HaveLen(2), "one finding for the configuration and one for the batch")
	for _, finding := range findings {
		g.Expect(finding.Severity).To(Equal(SeverityWarning))
		g.Expect(finding.Message).To(ContainSubstring("only the cluster knows the labels of shop"))
	}
}

func TestCheckObjectsTakesTheDefaultNamespace(t *testing.T) {
	g := NewWithT(t)
	bare := strings.ReplaceAll(goodSet, ", namespace: shop", "")
	g.Expect(Objects(objectsOf(t, bare), "shop", shippedCatalog(t))).To(BeEmpty())
}

// defaultPolicy returns a RetentionPolicy that is a default.
func defaultPolicy(name string) string {
	return `apiVersion: backup.cairn.dev/v1alpha1
kind: RetentionPolicy
metadata: {name: ` + name + `, namespace: shop}
spec: {default: true, maxRetentionPeriod: 1y}
`
}
