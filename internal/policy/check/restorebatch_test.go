package check

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestCheckObjectsLooksAtARestoreBatch(t *testing.T) {
	for name, test := range map[string]struct {
		spec, metadata string
		severity       Severity // "" means no finding.
		field          string
		reason         string
		message        string
	}{
		"everything into its own place": {spec: "  targets: [{name: web}]"},
		"into another object": {
			spec: "  targets: [{name: web, target: {kind: PersistentVolumeClaim, name: uploads}}]",
		},
		"a target that the BackupBatch does not have": {
			spec: "  targets: [{name: cache}]", severity: SeverityError, field: "spec.targets[0].name",
			reason:  v1alpha1.ReasonTargetNotFound,
			message: `the BackupBatch "app" has no target "cache"`,
		},
		"a BackupBatch that is gone": {spec: "  targets: [{name: cache}]", metadata: "old"},
		"an object of another namespace": {
			spec:     "  targets: [{name: web, target: {kind: PersistentVolumeClaim, name: uploads, namespace: blog}}]",
			severity: SeverityError, field: "spec.targets[0].target.namespace", reason: v1alpha1.ReasonTargetNotFound,
			message: "restores only into its own namespace",
		},
		"a missing object": {
			spec:     "  targets: [{name: web, target: {kind: PersistentVolumeClaim, name: nothing}}]",
			severity: SeverityError, field: "spec.targets[0].target.name", reason: v1alpha1.ReasonTargetNotFound,
			message: "there is no PersistentVolumeClaim shop/nothing",
		},
		"a missing Addon": {
			spec:     "  targets: [{name: web, addon: {name: tape, tasks: [{name: x}]}}]",
			severity: SeverityError, field: "spec.targets[0].addon.name", reason: v1alpha1.ReasonAddonNotFound,
			message: "there is no Addon tape",
		},
		"a sidecar of a claim": {
			spec: "  targets: [{name: web, target: {kind: PersistentVolumeClaim, name: uploads}, executor: " +
				"Sidecar}]",
			severity: SeverityError, field: "spec.targets[0].executor", reason: v1alpha1.ReasonSidecarNotPossible,
			message: "use executor Job",
		},
		"a missing hook of a target": {
			spec:     "  targets: [{name: web, hooks: {preRestore: [{name: stop, hookTemplate: {name: nothing}}]}}]",
			severity: SeverityError, field: "spec.targets[0].hooks.preRestore[0].hookTemplate",
			reason: v1alpha1.ReasonHookTemplateNotFound, message: "nothing",
		},
		"a missing hook around all targets": {
			spec: "  targets: [{name: web}]\n  hooks: {postRestore: [{name: start, hookTemplate: {name: " +
				"nothing}}]}",
			severity: SeverityError, field: "spec.hooks.postRestore[0].hookTemplate",
			reason: v1alpha1.ReasonHookTemplateNotFound, message: "nothing",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			batch := "app"
			if test.metadata != "" {
				batch = test.metadata
			}
			set := goodSet + `
---
apiVersion: backup.cairn.dev/v1alpha1
kind: RestoreBatch
metadata: {name: back, namespace: shop}
spec:
  dataSource: {backupBatch: ` + batch + `, backupSession: latest}
` + test.spec
			findings := Objects(objectsOf(t, set), "default", cluster(t))
			if test.severity == "" {
				g.Expect(findings).To(BeEmpty())
				return
			}
			g.Expect(findings).To(HaveLen(1), "%+v", findings)
			g.Expect(findings[0].Severity).To(Equal(test.severity))
			g.Expect(findings[0].Field).To(HavePrefix(test.field))
			g.Expect(findings[0].Reason).To(Equal(test.reason))
			g.Expect(findings[0].Message).To(ContainSubstring(test.message))
		})
	}
}
