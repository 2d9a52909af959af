package e2e

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// hookRequests are templates of requests and connections. Those of executor Pod go to the listener's pod.
const hookRequests = `
apiVersion: backup.cairn.dev/v1alpha1
kind: HookTemplate
metadata: {name: post}
spec:
  params: [{name: channel, default: ops}]
  action:
    httpPost:
      host: listener.${namespace}.svc
      port: 80
      path: /post/${channel}/${region}
      httpHeaders: [{name: Authorization, value: "Bearer ${TOKEN}"}, {name: Content-Type, value: text/plain}]
      body: '${invokerKind}/${invokerName} {{ .Target.Kind | lower }} {{ .Target.Name | upper }}: {{ .Status.Phase }}{{ with .Status.Error }} {{ . }}{{ end }}, ${session} in ${backupSession}'
  executor: {type: Operator}
---
apiVersion: backup.cairn.dev/v1alpha1
kind: HookTemplate
metadata: {name: form}
spec:
  action:
    containerName: listener
    httpPost: {port: web, path: /form, form: [{key: target, values: ["${targetName}", "& co"]}]}
  executor: {type: Pod, pod: {selector: "app=listener"}}
---
apiVersion: backup.cairn.dev/v1alpha1
kind: HookTemplate
metadata: {name: get}
spec:
  action:
    containerName: listener
    httpGet: {port: web, path: "/get/${targetName}"}
  executor: {type: Pod, pod: {selector: "app=listener"}}
---
apiVersion: backup.cairn.dev/v1alpha1
kind: HookTemplate
metadata: {name: connect}
spec:
  action: {containerName: listener, tcpSocket: {port: web}}
  executor: {type: Pod, pod: {selector: "app=listener"}}
---
apiVersion: backup.cairn.dev/v1alpha1
kind: HookTemplate
metadata: {name: connect-host}
spec:
  params: [{name: port, required: true}]
  action: {tcpSocket: {host: "listener.${namespace}.svc", port: "${port}"}}
  executor: {type: Operator}
---
apiVersion: v1
kind: Secret
metadata: {name: listener}
stringData: {token: canary-of-a-hook}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: site}
data: {region: eu}
`

func (a *hookApp) posts(t *testing.T) {
	g := NewWithT(t)
	applyTo(t, a.bed, a.namespace, hookRequests)
	variables := `, variables: [{name: TOKEN, valueFrom: {secretKeyRef: {name: listener, key: token}}}, {name: region, valueFrom: {configMapKeyRef: {name: site, key: region}}}]`
	ended := a.run(t, "{preBackup: ["+use("form", "form", "")+"], postBackup: ["+use("post", "post", variables)+"]}")
	g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", ended.Status.Targets)
	g.Eventually(func(g Gomega) []told { all, _ := a.heard(t, g, ""); return all }, patience, "200ms").
		Should(ContainElements(
			told{
				Method: "POST", Path: "/form", Type: "application/x-www-form-urlencoded",
				Body: "target=data&target=%26+co",
			},
			told{
				Method: "POST", Path: "/post/ops/eu", Type: "text/plain", Authorization: "Bearer canary-of-a-hook",
				Body: "BackupConfiguration/hooks persistentvolumeclaim DATA: Succeeded, manual in " + ended.Name,
			}))
	kept, err := kubectl(t, a.bed, "", "get", "backupsessions,backupconfigurations,snapshots,events", "-n", a.namespace,
		"-o", "yaml")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(kept).NotTo(ContainSubstring("canary-of-a-hook"), "what a Secret holds stands nowhere")
}

func (a *hookApp) connects(t *testing.T) {
	g := NewWithT(t)
	ended := a.run(t, "{preBackup: ["+use("get", "get", "")+", "+use("pod", "connect", "")+", "+
		use("host", "connect-host", `, params: {port: "80"}`)+"]}")
	g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", ended.Status.Targets)
	g.Eventually(func(g Gomega) []told { all, _ := a.heard(t, g, ""); return all }, patience, "200ms").
		Should(ContainElement(told{Method: "GET", Path: "/get/data"}))

	ended = a.run(t, pre(use("host", "connect-host", `, timeout: 5s, params: {port: "81"}`)))
	g.Expect(ended.Status.Reason).To(Equal(v1alpha1.ReasonFailedToExecutePreBackupHooks))
	hook := ended.Status.Hooks.PreHooks[0]
	g.Expect(hook.Reason).To(BeElementOf(v1alpha1.ReasonRequestFailed, v1alpha1.ReasonHookTimeout),
		"nobody listens there")
	a.nothingBackedUp(t, ended.Name)
}
