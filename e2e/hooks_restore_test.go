package e2e

import (
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// restore restores the newest backup into a new claim of the restore's name, with these hooks.
func (a *hookApp) restore(t *testing.T, name, hooks string) *v1alpha1.RestoreSession {
	t.Helper()
	applyTo(t, a.bed, a.namespace, claimManifest(name)+`---
apiVersion: backup.cairn.dev/v1alpha1
kind: RestoreSession
metadata: {name: `+name+`}
spec:
  target: {kind: PersistentVolumeClaim, name: `+name+`}
  dataSource: {repository: hooks, snapshot: latest}
  hooks: `+hooks+`
`)
	ended := endOfRestore(t, a.bed, a.namespace, name)
	t.Logf("%s %s: %+v", ended.Status.Phase, ended.Status.Reason, ended.Status.Hooks)
	return ended
}

func (a *hookApp) aroundRestore(t *testing.T) {
	g := NewWithT(t)
	applyTo(t, a.bed, a.namespace, `
apiVersion: backup.cairn.dev/v1alpha1
kind: HookTemplate
metadata: {name: note-app}
spec:
  params: [{name: what, required: true}]
  action: {exec: {command: [/bin/sh, -euc, 'echo "$1" >> /state/events', note, "${what}:${restoreSession}:${targetName}"]}}
  executor: {type: Pod, pod: {selector: "app=app"}}
`)
	ended := a.restore(t, "around",
		"{preRestore: ["+what("stop", "note-app")+", "+what("before", "tell")+"], postRestore: ["+
			what("start", "note-app")+", "+policies+"]}")
	g.Expect(ended.Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded), ended.Status.Reason)
	g.Expect(ended.Status.Components["pvc"].Files).To(BeEquivalentTo(a.files))
	a.hears(t, "around", "before around Running", "Always around Succeeded", "OnSuccess around Succeeded")
	g.Expect(a.events(t, a.pods[0])).To(Equal([]string{"stop:around:around", "start:around:around"}))
}

func (a *hookApp) failingPreRestore(t *testing.T) {
	g := NewWithT(t)
	ended := a.restore(t, "stopped", "{preRestore: ["+use("before", "tell", `, params: {what: before, answer: "500"}`)+
		"], postRestore: ["+policies+"]}")
	g.Expect([]string{string(ended.Status.Phase), ended.Status.Reason}).
		To(Equal([]string{"Failed", v1alpha1.ReasonFailedToExecutePreRestoreHooks}))
	a.hears(t, "stopped", "before stopped Running", "Always stopped Failed", "OnFailure stopped Failed",
		"OnFinalRetryFailure stopped Failed")
	var jobs batchv1.JobList
	g.Expect(a.bed.Client.List(t.Context(), &jobs, client.InNamespace(a.namespace))).To(Succeed())
	for _, job := range jobs.Items {
		for _, o := range job.OwnerReferences {
			g.Expect(o.UID).NotTo(Equal(ended.UID), "no mover was made")
		}
	}
}
