package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// hookPods are the application, two pods on the volume data, and the listener. While /state/writing exists and
// /state/frozen does not, a pod writes the same number to two files, again and again. Once it sees /state/frozen it
// writes /state/still.
const hookPods = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 2
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      terminationGracePeriodSeconds: 1
      securityContext: {runAsUser: 65532, runAsGroup: 65532}
      containers:
      - name: app
        image: cairn.local/shell:dev
        args:
        - -euc
        - |
          n=0
          while :; do
            pause=1 # each sleep is a process
            if [ -e /state/frozen ]; then echo still > /state/still
            elif [ -e /state/writing ]; then
              rm -f /state/still
              n=$((n+1)); echo $n > /data/left; echo $n > /data/right
              pause=0.1
            fi
            sleep $pause
          done
        volumeMounts: [{name: data, mountPath: /data}, {name: state, mountPath: /state}]
      volumes:
      - {name: data, persistentVolumeClaim: {claimName: data}}
      - {name: state, emptyDir: {}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: listener}
spec:
  selector: {matchLabels: {app: listener}}
  template:
    metadata: {labels: {app: listener}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: listener
        image: cairn.local/listener:dev
        ports: [{name: web, containerPort: 8080}]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, timeoutSeconds: 30}
---
apiVersion: v1
kind: Service
metadata: {name: listener}
spec: {selector: {app: listener}, ports: [{port: 80, targetPort: 8080}]}
`

// unreadyPods are the same, but a pod is not ready while /state/frozen exists. Each probe starts a program: those of a
// second in all applications took a third of two processors.
var unreadyPods = strings.Replace(hookPods, "        volumeMounts: [{name: data", `        readinessProbe:
          exec: {command: [/bin/sh, -c, "[ ! -e /state/frozen ]"]}
          periodSeconds: 1
          timeoutSeconds: 30 # so that a busy node does not make the pod look frozen
          failureThreshold: 1
        volumeMounts: [{name: data`, 1)

// hookTemplates are the HookTemplates of most hooks of the scenario.
const hookTemplates = `
apiVersion: backup.cairn.dev/v1alpha1
kind: HookTemplate
metadata: {name: note}
spec:
  params: [{name: what, required: true}]
  action: {exec: {command: [/bin/sh, -euc, 'echo "$1" >> /state/events', note, "${what}"]}}
  executor: {type: Pod}
---
apiVersion: backup.cairn.dev/v1alpha1
kind: HookTemplate
metadata: {name: note-all}
spec:
  params: [{name: what, required: true}]
  action: {containerName: app, exec: {command: [/bin/sh, -euc, 'echo "$1" >> /state/events', note, "${what}"]}}
  executor: {type: Pod, pod: {strategy: ExecuteOnAll}}
---
apiVersion: backup.cairn.dev/v1alpha1
kind: HookTemplate
metadata: {name: tell}
spec:
  params: [{name: what, required: true}, {name: answer, default: "200"}]
  action:
    httpPost:
      host: listener.${namespace}.svc
      port: 80
      path: /${what}?answer=${answer}
      body: '{"run": "{{ .Name }}", "target": "{{ .Target.Name }}", "phase": "{{ .Status.Phase }}"}'
  executor: {type: Operator}
`

// hookApp is a volume in use by two pods, beside a listener.
type hookApp struct {
	*volumeApp
	pods []string // of the application, ordered by name
}

func deployHookApp(t *testing.T, bed *testbed.Testbed, namespace string) *hookApp {
	t.Helper()
	a := &hookApp{volumeApp: deployVolumeApp(t, bed, namespace, 128, 1<<20)}
	applyTo(t, bed, a.namespace, hookTemplates)
	a.deployPods(t, hookPods)
	return a
}

// deployPods makes or replaces the pods of the application and the listener, and waits until the new ones are ready.
func (a *hookApp) deployPods(t *testing.T, manifests string) {
	t.Helper()
	g := NewWithT(t)
	applyTo(t, a.bed, a.namespace, manifests)
	for _, name := range []string{"app", "listener"} {
		g.Expect(waitReplicas(t.Context(), a.bed, client.ObjectKey{Namespace: a.namespace, Name: name})).To(Succeed())
	}
	var pods corev1.PodList
	g.Expect(a.bed.Client.List(t.Context(), &pods, client.InNamespace(a.namespace),
		client.MatchingLabels{"app": "app"})).To(Succeed())
	a.pods = nil
	for _, p := range pods.Items { // The API server lists them by name.
		a.pods = append(a.pods, p.Name)
	}
	g.Expect(a.pods).To(HaveLen(2))
}

// hooked applies a configuration with this addon and these hooks, and waits until it is ready.
func (a *hookApp) hooked(t *testing.T, name, addon, hooks string) {
	t.Helper()
	session := addon + "\n    sessionHistoryLimit: 100\n    hooks: " + hooks
	applyTo(t, a.bed, a.namespace, strings.Replace(configurationManifest(name), wholeVolume, session, 1))
	waitReady(t, a.bed, a.configuration(name), metav1.ConditionTrue, "")
}

// run backs the volume up with these hooks and returns the run when it has ended.
func (a *hookApp) run(t *testing.T, hooks string) *v1alpha1.BackupSession {
	t.Helper()
	a.hooked(t, "hooks", wholeVolume, hooks)
	return a.ended(t, a.start(t, "hooks"))
}

// ended waits for the end of a run, and until all of its status is written.
func (a *hookApp) ended(t *testing.T, session string) *v1alpha1.BackupSession {
	t.Helper()
	ended := endOf(t, a.bed, a.namespace, session)
	t.Logf("%s %s after %s: %+v", ended.Status.Phase, ended.Status.Reason, ended.Status.Duration, ended.Status.Hooks)
	return ended
}

// atExec runs a program in a pod of the application.
func (a *hookApp) atExec(t *testing.T, pod string, command ...string) string {
	t.Helper()
	out, err := a.bed.Exec(t.Context(), a.namespace, pod, nil, command...)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return out
}

// events returns what hooks wrote in a pod since the last call.
func (a *hookApp) events(t *testing.T, pod string) []string {
	t.Helper()
	return strings.Fields(a.atExec(t, pod, "/bin/sh", "-euc",
		"if [ -e /state/events ]; then cat /state/events; rm /state/events; fi"))
}

// told is a request that the listener had.
type told struct {
	Method, Path, Type, Authorization, Body string
}

// heard returns all requests that the listener had, and of those of one run the paths, targets and phases.
func (a *hookApp) heard(t *testing.T, g Gomega, run string) (all []told, ofRun []string) {
	t.Helper()
	out, err := kubectl(t, a.bed, "", "logs", "-n", a.namespace, "deployment/listener")
	g.Expect(err).NotTo(HaveOccurred())
	for line := range strings.Lines(out) {
		var request told
		g.Expect(json.Unmarshal([]byte(line), &request)).To(Succeed(), line)
		all = append(all, request)
		var body struct{ Run, Target, Phase string }
		if json.Unmarshal([]byte(request.Body), &body) == nil && body.Run == run {
			ofRun = append(ofRun,
				strings.Join([]string{strings.TrimPrefix(request.Path, "/"), body.Target, body.Phase}, " "))
		}
	}
	return all, ofRun
}

// hears waits until a run has sent exactly these requests to the listener.
func (a *hookApp) hears(t *testing.T, run string, want ...string) {
	t.Helper()
	NewWithT(t).Eventually(func(g Gomega) []string { _, told := a.heard(t, g, run); return told }, patience, "200ms").
		Should(HaveExactElements(want), "what hooks of %s told the listener", run)
}

// nothingBackedUp checks that a run made neither a Snapshot nor a Job.
func (a *hookApp) nothingBackedUp(t *testing.T, run string) {
	t.Helper()
	g := NewWithT(t)
	var snapshots v1alpha1.SnapshotList
	g.Expect(a.bed.Client.List(t.Context(), &snapshots, a.ofSession(run)...)).To(Succeed())
	g.Expect(snapshots.Items).To(BeEmpty(), "nothing was backed up")
	var pods corev1.PodList
	g.Expect(a.bed.Client.List(t.Context(), &pods, a.ofSession(run)...)).To(Succeed())
	g.Expect(pods.Items).To(BeEmpty(), "no mover was made")
}

// pre and post are the only hook of a run that runs before or after the backup.
func pre(hook string) string  { return "{preBackup: [" + hook + "]}" }
func post(hook string) string { return "{postBackup: [" + hook + "]}" }

// use is a hook that uses a template; more is the rest of the hook.
func use(name, template, more string) string {
	return fmt.Sprintf("{name: %s, hookTemplate: {name: %s}%s}", name, template, more)
}

// what is use with the parameter "what", which is the hook's name.
func what(name, template string) string {
	return use(name, template, ", params: {what: "+name+"}")
}
