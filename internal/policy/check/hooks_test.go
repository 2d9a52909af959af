package check

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// templates are HookTemplates of two namespaces.
const templates = `
---
apiVersion: backup.cairn.dev/v1alpha1
kind: HookTemplate
metadata: {name: freeze, namespace: shop}
spec:
  params: [{name: user, required: true}]
  action: {exec: {command: [freeze, "--user=${user}", "--of=${targetName:=all}"]}}
  executor: {type: Pod, pod: {selector: "app=web"}}
---
apiVersion: backup.cairn.dev/v1alpha1
kind: HookTemplate
metadata: {name: own-pods, namespace: shop}
spec:
  action: {exec: {command: [sync]}}
  executor: {type: Pod}
---
apiVersion: backup.cairn.dev/v1alpha1
kind: HookTemplate
metadata: {name: tell, namespace: hooks}
spec:
  usagePolicy: {allowedNamespaces: {from: Selector, selector: {matchLabels: {backup: "yes"}}}}
  action: {httpPost: {host: chat.example.com, port: 443, scheme: HTTPS, body: '{"text": {{ toJson .Status.Error }}, "token": "${TOKEN}"}'}}
  executor: {type: Operator}
---
apiVersion: backup.cairn.dev/v1alpha1
kind: HookTemplate
metadata: {name: private, namespace: hooks}
spec:
  action: {tcpSocket: {host: chat.example.com, port: 443}}
  executor: {type: Operator}
---
apiVersion: backup.cairn.dev/v1alpha1
kind: HookTemplate
metadata: {name: flush, namespace: shop}
spec:
  params: [{name: mode, default: soft}]
  executor: {type: Function, function: {name: flush}}
---
apiVersion: backup.cairn.dev/v1alpha1
kind: Function
metadata: {name: flush}
spec: {image: "flush:${mode}", args: ["${backupSession:=}", "${restoreSession:=}", "${targetName}"]}
---
apiVersion: backup.cairn.dev/v1alpha1
kind: HookTemplate
metadata: {name: lost, namespace: shop}
spec: {executor: {type: Function, function: {name: nowhere}}}`

// with puts hooks into the first session of the good set's configuration or batch.
func with(session, hooks string) string {
	return strings.Replace(goodSet, "- name: "+session, "- name: "+session+"\n    hooks: "+hooks, 1) + templates
}

func TestCheckObjectsFollowsTheReferencesOfHooks(t *testing.T) {
	for name, tt := range map[string]struct {
		manifests string
		lookup    func(testing.TB) Lookup
		severity  Severity // "" means no finding.
		field     string
		reason    string
		message   string
	}{
		"all is well": {
			manifests: with("nightly",
				`{preBackup: [{name: a, hookTemplate: {name: freeze}, params: {user: root}}], postBackup: [{name: b, hookTemplate: {name: tell, namespace: hooks}, variables: [{name: TOKEN, valueFrom: {secretKeyRef: {name: enc, key: t}}}]}]}`),
			lookup: shippedCatalog,
		},
		"a missing template": {
			manifests: with("nightly", `{preBackup: [{name: a, hookTemplate: {name: none}}]}`), lookup: cluster,
			severity: SeverityError, field: "spec.sessions[0].hooks.preBackup[0].hookTemplate",
			reason:  v1alpha1.ReasonHookTemplateNotFound,
			message: "there is no HookTemplate shop/none",
		},
		"a template that the cluster may have": {
			manifests: with("nightly", `{postBackup: [{name: a, hookTemplate: {name: none}}]}`), lookup: shippedCatalog,
			severity: SeverityWarning, field: "spec.sessions[0].hooks.postBackup[0].hookTemplate",
			reason:  v1alpha1.ReasonHookTemplateNotFound,
			message: "only the cluster can tell whether it exists",
		},
		"a template of another namespace": {
			manifests: with("nightly", `{preBackup: [{name: a, hookTemplate: {name: private, namespace: hooks}}]}`),
			lookup:    shippedCatalog,
			severity:  SeverityError, field: "spec.sessions[0].hooks.preBackup[0].hookTemplate",
			reason:  v1alpha1.ReasonHookTemplateNotAllowed,
			message: "the usagePolicy of HookTemplate hooks/private does not allow the namespace shop",
		},
		"a Function": {
			manifests: with("nightly",
				`{preBackup: [{name: a, hookTemplate: {name: flush}, volumes: [{name: v, emptyDir: {}}], volumeMounts: [{name: v, mountPath: /v}]}]}`), lookup: shippedCatalog,
		},
		"a missing Function": {
			manifests: with("nightly", `{preBackup: [{name: a, hookTemplate: {name: lost}}]}`), lookup: cluster,
			severity: SeverityError, field: "spec.sessions[0].hooks.preBackup[0].hookTemplate",
			reason:  v1alpha1.ReasonFunctionNotFound,
			message: "there is no Function nowhere",
		},
		"a mount of a missing volume": {
			manifests: with("nightly",
				`{preBackup: [{name: a, hookTemplate: {name: flush}, volumeMounts: [{name: v, mountPath: /v}]}]}`),
			lookup:   shippedCatalog,
			severity: SeverityError, field: "spec.sessions[0].hooks.preBackup[0].hookTemplate",
			reason:  v1alpha1.ReasonInvalidHook,
			message: `function "flush": volumeMounts: there is no volume "v"`,
		},
		"a setting of the pod that does not exist": {
			manifests: with("nightly",
				`{preBackup: [{name: a, hookTemplate: {name: flush}, runtimeSettings: {pod: {nodeSelectr: {a: b}}}}]}`),
			lookup:   shippedCatalog,
			severity: SeverityError, field: "spec.sessions[0].hooks.preBackup[0].runtimeSettings.pod",
			reason:  v1alpha1.ReasonInvalidHook,
			message: `unknown field "nodeSelectr"`,
		},
		"a parameter is missing": {
			manifests: with("nightly", `{preBackup: [{name: a, hookTemplate: {name: freeze}}]}`),
			lookup:    shippedCatalog,
			severity:  SeverityError, field: "spec.sessions[0].hooks.preBackup[0].params",
			reason:  v1alpha1.ReasonInvalidHook,
			message: `the HookTemplate "freeze" needs the parameter "user"`,
		},
		"a Secret that does not exist": {
			manifests: with("nightly",
				`{postBackup: [{name: b, hookTemplate: {name: tell, namespace: hooks}, variables: [{name: TOKEN, valueFrom: {secretKeyRef: {name: none, key: t}}}]}]}`),
			lookup: cluster, severity: SeverityError,
			field:   "spec.sessions[0].hooks.postBackup[0].variables[0].valueFrom.secretKeyRef",
			reason:  v1alpha1.ReasonSecretNotFound,
			message: "there is no Secret shop/none",
		},
		"a batch of one target sets the target's variables": {
			manifests: with("hourly", `{preBackup: [{name: a, hookTemplate: {name: own-pods}}]}`),
			lookup:    shippedCatalog,
		},
		"a batch of two targets": {
			manifests: strings.NewReplacer(
				"- {name: web, appRef",
				"- {name: two, appRef: {kind: PersistentVolumeClaim, name: uploads}}\n  - {name: web, appRef",
				"    targets:\n",
				"    targets:\n    - name: two\n      addon: {name: pvc-addon, tasks: [{name: logical-backup}]}\n    "+
					"  repositories: [{name: two, backend: main, directory: /shop/two, encryptionSecret: {name: "+
					"enc}}]\n",
			).Replace(with("hourly",
				`{preBackup: [{name: a, hookTemplate: {name: own-pods}}, {name: b, hookTemplate: {name: freeze}, params: {user: root}}]}`)),
			lookup: shippedCatalog, severity: SeverityError, field: "spec.sessions[0].hooks.preBackup[0].hookTemplate",
			reason:  v1alpha1.ReasonInvalidHook,
			message: `the HookTemplate "own-pods" names no pods, but the session has several targets`,
		},
		"a hook of one target": {
			manifests: strings.Replace(goodSet, "    - name: web\n",
				"    - name: web\n      hooks: {preBackup: [{name: a, hookTemplate: {name: own-pods}}, {name: b, "+
					"hookTemplate: {name: freeze}}]}\n", 1) + templates,
			lookup: shippedCatalog, severity: SeverityError,
			field:   "spec.sessions[0].targets[0].hooks.preBackup[1].params",
			reason:  v1alpha1.ReasonInvalidHook,
			message: `the HookTemplate "freeze" needs the parameter "user"`,
		},
		"a restore": {
			manifests: goodSet +
				restoreOf("  dataSource: {repository: uploads, snapshot: latest}\n  hooks: {postRestore: [{name: a, "+
					"hookTemplate: {name: freeze}, params: {user: root, pass: x}}]}") + templates,
			lookup: shippedCatalog, severity: SeverityError, field: "spec.hooks.postRestore[0].params.pass",
			reason:  v1alpha1.ReasonInvalidHook,
			message: `has no parameter "pass"; it has: user`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			findings := Objects(objectsOf(t, tt.manifests), "default", tt.lookup(t))
			if tt.severity == "" {
				g.Expect(findings).To(BeEmpty())
				return
			}
			g.Expect(findings).To(HaveLen(1), "%+v", findings)
			g.Expect(findings[0].Severity).To(Equal(tt.severity))
			g.Expect(findings[0].Field).To(Equal(tt.field))
			g.Expect(findings[0].Reason).To(Equal(tt.reason))
			g.Expect(findings[0].Message).To(ContainSubstring(tt.message))
			g.Expect(findings[0].Line).NotTo(BeZero())
		})
	}
}
