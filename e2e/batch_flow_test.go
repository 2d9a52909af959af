package e2e

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// blogPods is the workload of the application, with a volume of its own; the volume data stands alone.
const blogPods = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      securityContext: {runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532}
      containers:
      - name: web
        image: cairn.local/shell:dev
        args: [-euc, "echo hello > /pages/index.html; while :; do sleep 1; done"]
        startupProbe: # a readiness probe would start a program each second as long as the pod runs
          exec: {command: [/bin/sh, -c, "[ -e /pages/index.html ]"]}
          periodSeconds: 1
          timeoutSeconds: 30
          failureThreshold: 300
        volumeMounts: [{name: pages, mountPath: /pages}, {name: state, mountPath: /state}]
      volumes:
      - {name: pages, persistentVolumeClaim: {claimName: pages}}
      - {name: state, emptyDir: {}}
`

const blogHooks = `
apiVersion: backup.cairn.dev/v1alpha1
kind: HookTemplate
metadata: {name: note}
spec:
  action: {exec: {command: [/bin/sh, -euc, 'echo "$1" >> /state/events', note, "${what} ${targetName}"]}}
  params: [{name: what, required: true}]
  executor: {type: Pod}
`

// blogBatch backs the workload up first, frozen, then the volume, and then the database.
func blogBatch() string {
	return `
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupBatch
metadata: {name: blog}
spec:
  backends: [{name: main, storageRef: {name: s3}}]
  targets:
  - {name: files, appRef: {kind: PersistentVolumeClaim, name: data}}
  - {name: web, appRef: {apiGroup: apps, kind: Deployment, name: web}}
  - {name: rows, appRef: {kind: Service, name: mariadb}}
  sessions:
  - name: manual
    executionOrder: Sequential
    sessionHistoryLimit: 10
    retryConfig: {maxRetry: 1, delay: 2m} # beside other scenarios, a killed database is slow to start
    targets:
    - name: web
      executor: Sidecar
      backupTimeout: 3m
      addon:
        name: workload-addon
        tasks: [{name: logical-backup, params: {paths: /pages}}]
      repositories: [{name: blog-web, backend: main, directory: /blog/web, encryptionSecret: {name: encryption}}]
      hooks:
        preBackup: [{name: freeze, hookTemplate: {name: note}, params: {what: freeze}}]
        postBackup: [{name: thaw, hookTemplate: {name: note}, params: {what: thaw}}]
    - name: files
      repositories: [{name: blog-files, backend: main, directory: /blog/files, encryptionSecret: {name: encryption}}]
    - name: rows
      addon:
        name: mariadb-addon
        tasks: [{name: logical-backup, params: {secretName: server}}]
      repositories: [{name: blog-rows, backend: main, directory: /blog/rows, encryptionSecret: {name: encryption}}]
`
}

// TestBackupBatchFlow backs up an application of several parts in one session: a workload with a volume from within its
// pod, a volume that stands alone, and a database. Each part has its own status. The database is killed in the middle
// of its dump: it alone fails, and a retry heals it. A RestoreBatch brings rows and files back in another namespace.
func TestBackupBatchFlow(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	loadDatabases(t, bed, "mariadb")
	a := &batchApp{volumeApp: deployVolumeApp(t, bed, "batch-flow", 16, 1<<20)}
	a.database = a.startDatabase(t, a.namespace)
	a.database.say(t, a.database.fill...)
	applyTo(t, bed, a.namespace, claimManifest("pages")+"---"+blogPods+"---"+blogHooks)
	_, err := kubectl(t, bed, "", "create", "rolebinding", "cairn-hook", "-n", a.namespace,
		"--clusterrole=cairn-hook-exec", "--serviceaccount="+a.namespace+":cairn-hook")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(waitReplicas(t.Context(), bed, client.ObjectKey{Namespace: a.namespace, Name: "web"})).
		To(Succeed())
	_, err = kubectl(t, bed, "", "create", "rolebinding", "cairn-sidecar-injector", "-n", a.namespace,
		"--clusterrole=cairn-sidecar-injector",
		"--serviceaccount="+testbed.SystemNamespace+":cairn-manager")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	applyTo(t, bed, a.namespace, blogBatch())
	waitReady(t, bed, &v1alpha1.BackupBatch{ObjectMeta: a.meta("blog")}, metav1.ConditionTrue, "")
	pod := &corev1.Pod{}
	NewWithT(t).Expect(bed.Client.Get(t.Context(),
		client.ObjectKey{Namespace: a.namespace, Name: podOf(t, bed, a.namespace, "web")}, pod)).To(Succeed())
	NewWithT(t).Expect(pod.Spec.InitContainers).
		To(ContainElement(HaveField("Name", "cairn")), "the workload has its sidecar")
	t.Run("one target fails alone", a.oneFails)
	t.Run("a retry heals it", a.healed)
	t.Run("all of it", a.whole)
	t.Run("all of it back, in another namespace", a.restored)
}

type batchApp struct {
	*volumeApp
	database *databaseServer
	failed   *v1alpha1.BackupSession
}

// startDatabase starts a server, with its Secret, in a namespace.
func (a *batchApp) startDatabase(t *testing.T, namespace string) *databaseServer {
	t.Helper()
	databaseSecret(t, a.bed, namespace)
	server := newMariaDB(a.bed, namespace)
	server.start(t)
	return server
}

// begin starts a run of the batch that has one retry.
func (a *batchApp) begin(t *testing.T) string {
	t.Helper()
	now := metav1.Now()
	session := &v1alpha1.BackupSession{
		ObjectMeta: a.meta(fmt.Sprintf("blog-manual-%d", now.UnixNano())),
		Spec: v1alpha1.BackupSessionSpec{
			Invoker: v1alpha1.TypedLocalObjectReference{
				APIGroup: v1alpha1.Group, Kind: v1alpha1.BackupBatchKind, Name: "blog",
			},
			Session: "manual", ScheduledTime: &now, RetryLeft: 1,
		},
	}
	NewWithT(t).Expect(a.bed.Client.Create(t.Context(), session)).To(Succeed())
	return session.Name
}

// noted returns what hooks wrote in the workload's pod since the last call.
func (a *batchApp) noted(t *testing.T) []string {
	t.Helper()
	out, err := a.bed.Exec(t.Context(), a.namespace, podOf(t, a.bed, a.namespace, "web"), nil,
		"/bin/sh", "-euc", "if [ -e /state/events ]; then cat /state/events; rm /state/events; fi")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return strings.FieldsFunc(out, func(r rune) bool { return r == '\n' })
}

// states returns the states of the targets of a run, as "<name>: <phase>/<reason>".
func states(s *v1alpha1.BackupSession) []string {
	var out []string
	for _, t := range s.Status.Targets {
		out = append(out, fmt.Sprintf("%s: %s/%s", t.Name, t.Phase, t.Reason))
	}
	return out
}

func (a *batchApp) oneFails(t *testing.T) {
	g := NewWithT(t)
	a.database.lock(t)
	run := &v1alpha1.BackupSession{ObjectMeta: a.meta(a.begin(t))}
	a.database.waits(t)
	g.Expect(a.bed.Client.Get(t.Context(), client.ObjectKeyFromObject(run), run)).To(Succeed())
	g.Expect(states(run)).
		To(Equal([]string{"web: Succeeded/Succeeded", "files: Succeeded/Succeeded", "rows: Running/Running"}),
			"one after the other")
	a.database.kill(t)

	a.failed = endOf(t, a.bed, a.namespace, run.Name)
	s := &a.failed.Status
	g.Expect(states(a.failed)).
		To(Equal([]string{"web: Succeeded/Succeeded", "files: Succeeded/Succeeded", "rows: Failed/DumpFailed"}))
	g.Expect([]string{string(s.Phase), s.Reason}).To(Equal([]string{"Failed", v1alpha1.ReasonTargetsFailed}))
	g.Expect(apimeta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionPartial)).To(BeTrue())
	g.Expect(apimeta.FindStatusCondition(s.Conditions, "Ready").Message).
		To(ContainSubstring("rows: component dump: mariadb-dump ended with exit code"))
	var jobs batchv1.JobList
	g.Expect(a.bed.Client.List(t.Context(), &jobs, a.ofSession(run.Name)...)).To(Succeed())
	g.Expect(jobs.Items).To(HaveLen(2), "the workload was backed up by its sidecar, the others by a Job each")
	web, files, rows := s.Targets[0], s.Targets[1], s.Targets[2]
	g.Expect(files.StartTime.Before(web.CompletionTime)).
		To(BeFalse(), "the second target begins when the first has ended")
	g.Expect(phasesOf(web.Hooks.PostHooks)).To(Equal([]v1alpha1.HookPhase{v1alpha1.HookSucceeded}))
	g.Expect(rows.StartTime.Before(files.CompletionTime)).To(BeFalse())
	g.Expect(files.Hooks).To(BeNil())
	broken := &v1alpha1.Snapshot{ObjectMeta: a.meta("blog-rows-" + run.Name)}
	g.Expect(a.bed.Client.Get(t.Context(), client.ObjectKeyFromObject(broken), broken)).To(Succeed())
	g.Expect([]any{broken.Status.Phase, broken.Status.Components["dump"].ID}).
		To(Equal([]any{v1alpha1.SnapshotFailed, ""}), "nothing of the dump is kept as a backup")
	g.Expect(a.noted(t)).To(Equal([]string{"freeze web", "thaw web"}))
	out, err := program(t, a.bed, "", "cairn", "get", "backupsession", run.Name, "-n", a.namespace)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(out).To(And(ContainSubstring("2/3"), ContainSubstring("target web: succeeded"),
		ContainSubstring("target rows: failed (DumpFailed)")))
}

func (a *batchApp) healed(t *testing.T) {
	g := NewWithT(t)
	g.Expect(a.bed.WaitPod(t.Context(), client.ObjectKey{Namespace: a.namespace, Name: a.database.Pod()})).To(Succeed())
	g.Expect(testbed.Poll(t.Context(), patience, "the retry", func(ctx contextT) (bool, error) {
		err := a.bed.Client.Get(ctx, client.ObjectKey{Namespace: a.namespace, Name: a.failed.Name + "-r1"},
			&v1alpha1.BackupSession{})
		return err == nil, client.IgnoreNotFound(err)
	})).To(Succeed())
	retry := endOf(t, a.bed, a.namespace, a.failed.Name+"-r1")
	g.Expect(states(retry)).To(Equal([]string{"rows: Succeeded/Succeeded"}), "only what failed is tried again")
	g.Expect(retry.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded))
	g.Expect(a.noted(t)).To(BeEmpty(), "without the hooks of what had succeeded")
	var point v1alpha1.SnapshotList
	g.Expect(a.bed.Client.List(t.Context(), &point, client.InNamespace(a.namespace),
		client.MatchingLabels{v1alpha1.LabelRestorePoint: a.failed.Name})).To(Succeed())
	g.Expect(point.Items).To(HaveLen(4), "what succeeded, what failed and what healed it are one restore point")
}

func (a *batchApp) whole(t *testing.T) {
	g := NewWithT(t)
	out, err := program(t, a.bed, "", "cairn", "trigger", "batch/blog", "--session", "manual", "-n", a.namespace,
		"--wait", "--timeout", patience.String())
	g.Expect(err).NotTo(HaveOccurred(), out)
	t.Log(out)
	g.Expect(out).To(And(ContainSubstring("target web: succeeded"), ContainSubstring("target files: succeeded"),
		ContainSubstring("target rows: succeeded")))
	g.Expect(a.noted(t)).To(Equal([]string{"freeze web", "thaw web"}))
}
