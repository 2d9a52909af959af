package e2e

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// policies are hooks that tell the listener after which outcome they ran.
var policies = func() string {
	out := ""
	for _, p := range []string{"Always", "OnSuccess", "OnFailure", "OnFinalRetryFailure"} {
		out += use(fmt.Sprintf("p%d", len(out)), "tell", ", executionPolicy: "+p+", params: {what: "+p+"}") + ", "
	}
	return out
}()

func (a *hookApp) executionPolicies(t *testing.T) {
	g := NewWithT(t)
	ended := a.run(t, "{postBackup: ["+policies+"]}")
	g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", ended.Status.Targets)
	a.hears(t, ended.Name, "Always data Succeeded", "OnSuccess data Succeeded")
	g.Expect(phasesOf(ended.Status.Hooks.PostHooks)).
		To(Equal([]v1alpha1.HookPhase{"Succeeded", "Succeeded", "Skipped", "Skipped"}))

	a.hooked(t, "policies", failingBackup(t, a, 0), "{postBackup: ["+policies+"]}")
	now := metav1.Now()
	first := &v1alpha1.BackupSession{
		ObjectMeta: a.meta(fmt.Sprintf("policies-%d", now.UnixNano())),
		Spec: v1alpha1.BackupSessionSpec{
			Invoker: v1alpha1.TypedLocalObjectReference{
				APIGroup: v1alpha1.Group, Kind: v1alpha1.BackupConfigurationKind, Name: "policies",
			},
			Session: "manual", ScheduledTime: &now, RetryLeft: 1,
		},
	}
	g.Expect(a.bed.Client.Create(t.Context(), first)).To(Succeed())
	a.hears(t, first.Name, "Always data Failed", "OnFailure data Failed")
	var again string
	g.Expect(testbed.Poll(t.Context(), patience, "the run that tries again", func(ctx contextT) (bool, error) {
		var list v1alpha1.BackupSessionList
		err := a.bed.Client.List(ctx, &list, client.InNamespace(a.namespace))
		for _, s := range list.Items {
			if s.Spec.RetryOf == first.Name {
				again = s.Name
			}
		}
		return again != "", err
	})).To(Succeed())
	g.Expect(a.ended(t, again).Status.Reason).To(Equal(v1alpha1.ReasonStepFailed))
	a.hears(t, again, "Always data Failed", "OnFailure data Failed", "OnFinalRetryFailure data Failed")
}

func phasesOf(hooks []v1alpha1.HookStatus) (out []v1alpha1.HookPhase) {
	for _, h := range hooks {
		out = append(out, h.Phase)
	}
	return out
}

// failingBackup is an addon whose first step fails after some seconds.
func failingBackup(t *testing.T, a *hookApp, seconds int) string {
	t.Helper()
	manifest := fmt.Sprintf(`
apiVersion: backup.cairn.dev/v1alpha1
kind: Function
metadata: {name: hooks-fail-%[1]d}
spec: {image: "cairn.local/shell:dev", command: [/bin/sh, -c, "sleep %[1]d; exit 3"]}
---
apiVersion: backup.cairn.dev/v1alpha1
kind: Addon
metadata: {name: hooks-fail-%[1]d}
spec:
  backupTasks:
  - name: logical-backup
    steps: [{name: hooks-fail-%[1]d}, {name: pvc-backup}]
`, seconds)
	applyToCluster(t, a.bed, manifest)
	return fmt.Sprintf("addon: {name: hooks-fail-%d, tasks: [{name: logical-backup}]}", seconds)
}

func (a *hookApp) timesOut(t *testing.T) {
	g := NewWithT(t)
	applyTo(t, a.bed, a.namespace, `
apiVersion: backup.cairn.dev/v1alpha1
kind: HookTemplate
metadata: {name: slow}
spec:
  action: {exec: {command: [sleep, "600"]}}
  executor: {type: Pod}
`)
	ended := a.run(t, pre(use("slow", "slow", ", timeout: 2s, maxRetry: 1")))
	g.Expect(ended.Status.Reason).To(Equal(v1alpha1.ReasonFailedToExecutePreBackupHooks))
	hook := ended.Status.Hooks.PreHooks[0]
	g.Expect([]any{hook.Phase, hook.Reason, hook.Attempts}).
		To(Equal([]any{v1alpha1.HookFailed, v1alpha1.ReasonHookTimeout, int32(2)}))
	g.Expect(hook.Message).To(HavePrefix("it did not end within 2s; the command can still run in its pod"))
	a.nothingBackedUp(t, ended.Name)
}

func (a *hookApp) retries(t *testing.T) {
	g := NewWithT(t)
	applyTo(t, a.bed, a.namespace, `
apiVersion: backup.cairn.dev/v1alpha1
kind: HookTemplate
metadata: {name: third-time}
spec:
  params: [{name: file, required: true}]
  action: {exec: {command: [/bin/sh, -euc, 'echo x >> "$1"; [ "$(cat "$1")" = "$(echo x; echo x; echo x)" ] || { echo not yet >&2; exit 7; }', sh, "/state/${file}"]}}
  executor: {type: Pod}
`)
	ended := a.run(t, pre(use("tried", "third-time", ", maxRetry: 2, params: {file: tries}")))
	g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", ended.Status.Targets)
	hook := ended.Status.Hooks.PreHooks[0]
	g.Expect([]any{hook.Phase, hook.Attempts, hook.Reason}).To(Equal([]any{v1alpha1.HookSucceeded, int32(3), ""}))

	ended = a.run(t, pre(use("tried", "third-time", ", maxRetry: 1, params: {file: fewer-tries}")))
	hook = ended.Status.Hooks.PreHooks[0]
	g.Expect([]any{hook.Phase, hook.Attempts, hook.Reason}).
		To(Equal([]any{v1alpha1.HookFailed, int32(2), v1alpha1.ReasonCommandFailed}))
	g.Expect(hook.Message).To(ContainSubstring("container app ended with exit code 7"))
	g.Expect(hook.Stderr).To(Equal("not yet"))
}

func (a *hookApp) failingPreBackup(t *testing.T) {
	g := NewWithT(t)
	before := len(a.inBackend(t, "hooks"))
	failing := use("freeze", "tell", `, params: {what: freeze, answer: "503"}`)
	ended := a.run(t, "{preBackup: ["+failing+", "+what("never", "tell")+"], postBackup: ["+what("thaw", "tell")+"]}")
	g.Expect([]string{string(ended.Status.Phase), ended.Status.Reason}).
		To(Equal([]string{"Failed", v1alpha1.ReasonFailedToExecutePreBackupHooks}))
	g.Expect(ended.Status.Targets[0].Phase).To(Equal(v1alpha1.BackupSessionFailed))
	g.Expect(ended.Status.Targets[0].Message).
		To(ContainSubstring("not backed up because a preBackup hook failed: hook freeze: POST " +
			"listener.${namespace}.svc:80: the answer is 503"))
	g.Expect(phasesOf(ended.Status.Hooks.PreHooks)).To(Equal([]v1alpha1.HookPhase{"Failed", "Skipped"}))
	a.hears(t, ended.Name, "freeze data Running", "thaw data Failed")
	a.nothingBackedUp(t, ended.Name)
	g.Expect(a.inBackend(t, "hooks")).To(HaveLen(before), "nothing came into the repository")
}

func (a *hookApp) failingPostBackup(t *testing.T) {
	g := NewWithT(t)
	ended := a.run(t,
		"{postBackup: ["+use("thaw", "tell", `, params: {what: thaw, answer: "500"}`)+", "+what("after", "tell")+"]}")
	g.Expect([]string{string(ended.Status.Phase), ended.Status.Reason}).
		To(Equal([]string{"Failed", v1alpha1.ReasonFailedToExecutePostBackupHooks}))
	a.hears(t, ended.Name, "thaw data Succeeded", "after data Succeeded")
	g.Expect(a.snapshot(t, ended.Name).Status.Phase).To(Equal(v1alpha1.SnapshotSucceeded), "what was backed up stays")
}
