package check

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestPriorityClassesOfTheSystem(t *testing.T) {
	const line = `addon: {name: pvc-addon, tasks: [{name: logical-backup, params: {exclude: "*.tmp"}}]`
	for name, tc := range map[string]struct {
		old, set string
		severity Severity
		field    string
		says     string
	}{
		"of a Job that moves data": {
			old: line, set: line + `, jobTemplate: {spec: {priorityClassName: system-node-critical}}`,
			severity: SeverityWarning, field: "spec.sessions[0].addon.jobTemplate.spec.priorityClassName",
			says: "priorityClassName system-node-critical needs the annotation " + v1alpha1.AnnotationPrivilegedMovers,
		},
		"of the Jobs of a storage": {
			old: "bucket: backups, secretName: s3}}",
			set: "bucket: backups, secretName: s3}}\n" +
				"  runtimeSettings: {pod: {priorityClassName: system-cluster-critical}}",
			severity: SeverityWarning, field: "spec.runtimeSettings.pod.priorityClassName",
			says: "needs the annotation",
		},
		"of the pod that starts a run": {
			old:      `scheduler: {schedule: "0 2 * * *"}`,
			set:      `scheduler: {schedule: "0 2 * * *", jobTemplate: {template: {spec: {priorityClassName: system-x}}}}`,
			severity: SeverityError,
			field:    "spec.sessions[0].scheduler.jobTemplate.template.spec.priorityClassName",
			says:     "priorityClassName system-x is for components of Kubernetes",
		},
		"another class": {old: line, set: line + `, jobTemplate: {spec: {priorityClassName: systematic}}`},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			set := strings.Replace(goodSet, tc.old, tc.set, 1)
			findings := Objects(objectsOf(t, set), "default", shippedCatalog(t))
			if tc.says == "" {
				g.Expect(findings).To(BeEmpty())
				return
			}
			g.Expect(findings).To(HaveLen(1))
			g.Expect(findings[0].Severity).To(Equal(tc.severity))
			g.Expect(findings[0].Field).To(Equal(tc.field))
			g.Expect(findings[0].Reason).To(Equal(v1alpha1.ReasonPrivilegeRequired))
			g.Expect(findings[0].Message).To(ContainSubstring(tc.says))
		})
	}
}
