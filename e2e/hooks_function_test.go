package e2e

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// hookFunction is a Function as a user writes it, in an image without anything of Cairn's.
const hookFunction = `
apiVersion: backup.cairn.dev/v1alpha1
kind: Function
metadata: {name: hooks-export}
spec:
  image: cairn.local/shell:dev
  command: [/bin/sh, -euc]
  args:
  - |
    if [ "$MODE" = wrong ]; then echo "no such mode" >&2; exit 4; fi
    for secret in /cairn/credentials /cairn/encryption /cairn/task /var/run/secrets/kubernetes.io; do
      if [ -e "$secret" ]; then echo "a hook sees $secret" >&2; exit 3; fi
    done
    echo "$MODE export of $TARGET, opened with $PASSWORD" > /volume/export
`

const hookOfFunction = `
apiVersion: backup.cairn.dev/v1alpha1
kind: HookTemplate
metadata: {name: export}
spec:
  params: [{name: mode, default: full}]
  executor:
    type: Function
    function:
      name: hooks-export
      env: [{name: MODE, value: "${mode}"}, {name: TARGET, value: "${targetName}"}]
---
apiVersion: v1
kind: Secret
metadata: {name: export}
stringData: {password: sesame}
`

func (a *hookApp) runsFunction(t *testing.T) {
	g := NewWithT(t)
	applyToCluster(t, a.bed, hookFunction)
	applyTo(t, a.bed, a.namespace, hookOfFunction)
	const how = `, params: {mode: MODE}, variables: [{name: PASSWORD, valueFrom: {secretKeyRef: {name: export, key: password}}}],
      volumes: [{name: data, persistentVolumeClaim: {claimName: data}}], volumeMounts: [{name: data, mountPath: /volume}]`
	ended := a.run(t, pre(use("export", "export", strings.Replace(how, "MODE", yamlString(`$(id) "odd"`), 1))))
	g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", ended.Status.Targets)
	g.Expect(a.backedUp(t, a.snapshot(t, ended.Name).Name, "export")).
		To(Equal(`$(id) "odd" export of data, opened with sesame`),
			"the Function ran before the backup, and nothing read its parameter as anything else")
	job := &batchv1.Job{}
	g.Expect(a.bed.Client.Get(t.Context(),
		client.ObjectKey{Namespace: a.namespace, Name: ended.Status.Hooks.PreHooks[0].Job}, job)).To(Succeed())
	g.Expect(job.Status.Succeeded).To(BeEquivalentTo(1))

	ended = a.run(t, "{preBackup: ["+use("export", "export", strings.Replace(how, "MODE", "wrong", 1))+
		"], postBackup: ["+what("thaw", "tell")+"]}")
	g.Expect([]string{string(ended.Status.Phase), ended.Status.Reason}).
		To(Equal([]string{"Failed", v1alpha1.ReasonFailedToExecutePreBackupHooks}))
	hook := ended.Status.Hooks.PreHooks[0]
	g.Expect(hook.Phase).To(Equal(v1alpha1.HookFailed))
	g.Expect(hook.Message).To(ContainSubstring("in the Job " + hook.Job))
	g.Expect(hook.Stderr).To(ContainSubstring("no such mode"))
	a.hears(t, ended.Name, "thaw data Failed")
	var snapshots v1alpha1.SnapshotList
	g.Expect(a.bed.Client.List(t.Context(), &snapshots, a.ofSession(ended.Name)...)).To(Succeed())
	g.Expect(snapshots.Items).To(BeEmpty(), "nothing was backed up")
}
