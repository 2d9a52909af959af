package e2e

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// freezeTemplates stop the application's writes, as a freeze of its file system would, and let them go on.
const freezeTemplates = `
apiVersion: backup.cairn.dev/v1alpha1
kind: HookTemplate
metadata: {name: freeze}
spec:
  action:
    exec:
      command:
      - /bin/sh
      - -euc
      - |
        echo freeze >> /state/events
        rm -f /state/still
        echo yes > /state/frozen
        until [ -e /state/still ]; do sleep 0.1; done
  executor: {type: Pod, pod: {strategy: ExecuteOnAll}}
---
apiVersion: backup.cairn.dev/v1alpha1
kind: HookTemplate
metadata: {name: thaw}
spec:
  action: {exec: {command: [/bin/sh, -euc, "rm -f /state/frozen; echo thaw >> /state/events"]}}
  executor: {type: Pod, pod: {strategy: ExecuteOnAll}}
`

const freezeAndThaw = "{preBackup: [{name: freeze, timeout: 1m, hookTemplate: {name: freeze}}], postBackup: [{name: " +
	"thaw, hookTemplate: {name: thaw}}]}"

func (a *hookApp) thawedAfterKill(t *testing.T) {
	g := NewWithT(t)
	applyTo(t, a.bed, a.namespace, freezeTemplates)
	a.hooked(t, "frozen", slowly("100m"), freezeAndThaw) // there is time to kill the manager
	a.write(t)
	takeAway(t)
	killer := a.readyToKill(t)
	run := a.start(t, "frozen")
	a.waitReading(t, run)
	killer.kill(t)
	for _, pod := range a.pods {
		g.Expect(a.atExec(t, pod, "/bin/cat", "/state/events")).
			To(Equal("freeze\n"), "the backup runs, and nobody thaws")
	}
	killer.waitAnother(t)

	ended := a.ended(t, run)
	g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", ended.Status.Targets)
	a.thawedOnce(t, ended)
	snapshot := a.snapshot(t, run).Name
	left, right := a.backedUp(t, snapshot, "left"), a.backedUp(t, snapshot, "right")
	g.Expect(left).To(MatchRegexp("^[1-9][0-9]*$"))
	g.Expect(right).To(Equal(left), "the backup is of one moment")
}

func (a *hookApp) thawedAfterKillAndFailure(t *testing.T) {
	g := NewWithT(t)
	applyTo(t, a.bed, a.namespace, freezeTemplates)
	a.hooked(t, "broken", failingBackup(t, a, 15), freezeAndThaw)
	a.write(t)
	takeAway(t)
	killer := a.readyToKill(t)
	run := a.start(t, "broken")
	a.waitStep(t, run)
	killer.kill(t)
	killer.waitAnother(t)

	ended := a.ended(t, run)
	g.Expect([]string{string(ended.Status.Phase), ended.Status.Reason}).
		To(Equal([]string{"Failed", v1alpha1.ReasonStepFailed}))
	a.thawedOnce(t, ended)
	g.Expect(a.snapshot(t, run).Status.Phase).To(Equal(v1alpha1.SnapshotFailed))
	g.Expect(a.inBackend(t, "broken")).To(BeEmpty())
}

func (a *hookApp) thawedAfterCancel(t *testing.T) {
	g := NewWithT(t)
	applyTo(t, a.bed, a.namespace, freezeTemplates)
	a.hooked(t, "cancelled", failingBackup(t, a, 600), freezeAndThaw)
	a.write(t)
	run := &v1alpha1.BackupSession{ObjectMeta: a.meta(a.start(t, "cancelled"))}
	a.waitStep(t, run.Name)
	g.Expect(a.bed.Client.Delete(t.Context(), run)).To(Succeed())
	waitGone(t.Context(), t, a.bed, run, patience)
	for _, pod := range a.pods {
		g.Expect(a.events(t, pod)).To(Equal([]string{"freeze", "thaw"}), pod)
	}
}

// thawedWhileUnready freezes one pod, which is not ready from then on. Only that pod must be thawed.
func (a *hookApp) thawedWhileUnready(t *testing.T) {
	g := NewWithT(t)
	one := strings.NewReplacer("ExecuteOnAll", "ExecuteOnOne", "{name: freeze}", "{name: freeze-one}", "{name: thaw}",
		"{name: thaw-one}")
	applyTo(t, a.bed, a.namespace, one.Replace(freezeTemplates))
	a.deployPods(t, unreadyPods)
	a.hooked(t, "unready", failingBackup(t, a, 10), one.Replace(freezeAndThaw))
	a.write(t)
	run := a.start(t, "unready")
	g.Expect(testbed.Poll(t.Context(), patience, "the frozen pod to be unready", func(ctx contextT) (bool, error) {
		var pod corev1.Pod
		err := a.bed.Client.Get(ctx, client.ObjectKey{Namespace: a.namespace, Name: a.pods[0]}, &pod)
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodReady {
				return c.Status == corev1.ConditionFalse, err
			}
		}
		return false, err
	})).To(Succeed())
	ended := a.ended(t, run)
	g.Expect(ended.Status.Reason).To(Equal(v1alpha1.ReasonStepFailed), "%+v", ended.Status.Hooks)
	g.Expect(a.events(t, a.pods[0])).To(Equal([]string{"freeze", "thaw"}))
	g.Expect(a.events(t, a.pods[1])).To(BeEmpty())
}

// waitStep waits until the first step of a run's mover runs.
func (a *hookApp) waitStep(t *testing.T, run string) {
	t.Helper()
	NewWithT(t).Expect(testbed.Poll(t.Context(), patience, "the step before the mover of "+run,
		func(ctx contextT) (bool, error) {
			var pods corev1.PodList
			if err := a.bed.Client.List(ctx, &pods, a.ofSession(run)...); err != nil || len(pods.Items) == 0 {
				return false, err
			}
			steps := pods.Items[0].Status.InitContainerStatuses
			return len(steps) > 0 && steps[0].State.Running != nil, nil
		})).To(Succeed())
}

// write lets the first pod of the application write until the test ends.
func (a *hookApp) write(t *testing.T) {
	t.Helper()
	a.atExec(t, a.pods[0], "/bin/sh", "-euc", "echo yes > /state/writing; until [ -e /data/right ]; do sleep 0.1; done")
	t.Cleanup(func() {
		_, err := a.bed.Exec(afterTest(t), a.namespace, a.pods[0], nil, "/bin/rm", "-f", "/state/writing")
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
	})
}

// thawedOnce checks that every pod was frozen and thawed once by a run that has ended, and that the application writes
// again.
func (a *hookApp) thawedOnce(t *testing.T, run *v1alpha1.BackupSession) {
	t.Helper()
	g := NewWithT(t)
	for _, pod := range a.pods {
		g.Expect(a.events(t, pod)).To(Equal([]string{"freeze", "thaw"}), pod)
	}
	for _, hooks := range [][]v1alpha1.HookStatus{run.Status.Hooks.PreHooks, run.Status.Hooks.PostHooks} {
		g.Expect(hooks).To(HaveExactElements(And(HaveField("Phase", v1alpha1.HookSucceeded),
			HaveField("Attempts", BeEquivalentTo(1)))))
	}
	before := a.atExec(t, a.pods[0], "/bin/cat", "/data/right")
	g.Eventually(func() string { return a.atExec(t, a.pods[0], "/bin/cat", "/data/right") }, patience, "200ms").
		ShouldNot(Equal(before), "the application writes again")
}

// backedUp returns the content of a file in a Snapshot.
func (a *hookApp) backedUp(t *testing.T, snapshot, file string) string {
	t.Helper()
	out, err := program(t, a.bed, "", "cairn", "snapshot", "cat", snapshot, file, "-n", a.namespace, "--endpoint",
		a.bed.S3.HostURL)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return strings.TrimSpace(out)
}

// managerKiller is a pod that can kill the manager's process without warning.
type managerKiller struct {
	bed     *testbed.Testbed
	pod     client.ObjectKey
	manager corev1.Pod
	leader  string
}

// killScript kills the process of the pod with the UID $1 whose program is the manager's, as SIGKILL does. Where
// systemd makes the cgroups, $2 is the UID in their names.
const killScript = `
for p in /proc/[0-9]*; do
  case "$(cat "$p/cgroup" 2>/dev/null || :)" in *"pod$1"*|*"pod$2"*) ;; *) continue;; esac
  case "$(cat "$p/cmdline" 2>/dev/null || :)" in /manager*) kill -9 "${p#/proc/}"; echo "killed ${p#/proc/}";; esac
done`

// readyToKill starts such a pod on the manager's node. It sees the node's processes and runs as the manager's user.
func (a *hookApp) readyToKill(t *testing.T) *managerKiller {
	t.Helper()
	g := NewWithT(t)
	k := &managerKiller{
		bed: a.bed, pod: client.ObjectKey{Namespace: a.namespace, Name: "killer"}, manager: a.managerPod(t),
	}
	k.leader = managerLeader(t, a.bed, "")
	applyTo(t, a.bed, a.namespace, `
apiVersion: v1
kind: Pod
metadata: {name: killer}
spec:
  nodeName: `+k.manager.Spec.NodeName+`
  hostPID: true
  terminationGracePeriodSeconds: 1
  securityContext: {runAsUser: 65532, runAsGroup: 65532}
  containers: [{name: killer, image: "cairn.local/shell:dev", args: [-c, "while :; do sleep 1; done"]}]
`)
	t.Cleanup(func() {
		kill := &corev1.Pod{ObjectMeta: a.meta(k.pod.Name)}
		NewWithT(t).Expect(
			client.IgnoreNotFound(a.bed.Client.Delete(afterTest(t), kill, client.GracePeriodSeconds(0)))).To(Succeed())
	})
	g.Expect(a.bed.WaitPod(t.Context(), k.pod)).To(Succeed())
	return k
}

// managerPod is the only pod of the manager.
func (a *hookApp) managerPod(t *testing.T) corev1.Pod {
	t.Helper()
	g := NewWithT(t)
	var pods corev1.PodList
	g.Expect(a.bed.Client.List(t.Context(), &pods, client.InNamespace(managerKey.Namespace),
		client.MatchingLabels{"app.kubernetes.io/name": managerKey.Name})).To(Succeed())
	g.Expect(pods.Items).To(HaveLen(1))
	return pods.Items[0]
}

// kill kills the manager's process.
func (k *managerKiller) kill(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	uid := string(k.manager.UID)
	out, err := k.bed.Exec(t.Context(), k.pod.Namespace, k.pod.Name, nil, "/bin/sh", "-euc", killScript, "sh", uid,
		strings.ReplaceAll(uid, "-", "_"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(strings.Count(out, "killed")).To(Equal(1), "one manager was killed: %s", out)
}

// waitAnother waits until the kubelet has seen the kill and the next manager leads.
func (k *managerKiller) waitAnother(t *testing.T) {
	t.Helper()
	restarts := k.manager.Status.ContainerStatuses[0].RestartCount
	NewWithT(t).Expect(testbed.Poll(t.Context(), patience, "the end of the manager", func(ctx contextT) (bool, error) {
		var pod corev1.Pod
		if err := k.bed.Client.Get(ctx, client.ObjectKeyFromObject(&k.manager), &pod); err != nil {
			return false, err
		}
		status := pod.Status.ContainerStatuses[0]
		ended := status.LastTerminationState.Terminated
		return status.RestartCount > restarts && ended != nil && ended.ExitCode == 137, nil
	})).To(Succeed(), "it ended by SIGKILL")
	managerLeader(t, k.bed, k.leader)
}
