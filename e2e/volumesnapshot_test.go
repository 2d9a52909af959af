package e2e

import (
	"fmt"
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// shotNotes is a Deployment with one volume.
const shotNotes = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: notes}
spec:
  selector: {matchLabels: {app: notes}}
  template:
    metadata: {labels: {app: notes}}
    spec:
      securityContext: {runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532}
      terminationGracePeriodSeconds: 1
      containers:
      - {name: notes, image: "cairn.local/toolbox:dev", args: [idle], volumeMounts: [{name: data, mountPath: /data}]}
      volumes: [{name: data, persistentVolumeClaim: {claimName: notes}}]
`

// toolboxSet is a StatefulSet of three pods that do nothing, each with a volume of its own at /data.
func toolboxSet(name string) string {
	return fmt.Sprintf(`
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: %[1]s}
spec:
  replicas: 3
  serviceName: %[1]s
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      securityContext: {runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532}
      terminationGracePeriodSeconds: 1
      containers:
      - {name: toolbox, image: "cairn.local/toolbox:dev", args: [idle], volumeMounts: [{name: data, mountPath: /data}]}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
`, name)
}

// shotConfiguration is a policy without any storage, Secret or Repository.
func shotConfiguration(name, session, group, kind, target, addon, more string) string {
	return fmt.Sprintf(`
---
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupConfiguration
metadata: {name: %s}
spec:
  target: {apiGroup: %q, kind: %s, name: %s}
  sessions:
  - name: %s
    addon: {name: %s, tasks: [{name: volume-snapshot}]}
%s`, name, group, kind, target, session, addon, more)
}

// shotApp is a namespace with volumes that VolumeSnapshots are made of.
type shotApp struct{ *volumeApp }

func deployShotApp(t *testing.T, bed *testbed.Testbed) *shotApp {
	t.Helper()
	a := &shotApp{&volumeApp{bed: bed, namespace: "volumesnapshots"}}
	scratchNamespace(t, bed, a.namespace)
	applyTo(t, bed, a.namespace,
		claimManifest("notes")+"---"+claimManifest("photos")+"---"+shotNotes+toolboxSet("ledger"))
	pods := []string{podOf(t, bed, a.namespace, "notes"), "ledger-0", "ledger-1", "ledger-2"}
	for _, name := range pods {
		NewWithT(t).Expect(bed.WaitPod(t.Context(), client.ObjectKey{Namespace: a.namespace, Name: name})).To(Succeed())
	}
	return a
}

// in runs the toolbox in a pod, once for each command.
func (a *shotApp) in(t *testing.T, pod string, commands ...[]string) (out string) {
	t.Helper()
	for _, command := range commands {
		var err error
		out, err = a.bed.Exec(t.Context(), a.namespace, pod, nil, append([]string{"/toolbox"}, command...)...)
		NewWithT(t).Expect(err).NotTo(HaveOccurred(), out)
	}
	return out
}

// inClaim runs the toolbox in a new pod with this claim.
func (a *shotApp) inClaim(t *testing.T, claim string, commands ...[]string) (out string) {
	t.Helper()
	pod := testbed.VolumePod{Namespace: a.namespace, Name: "look-" + claim, Claim: claim, User: 65532}
	NewWithT(t).Expect(a.bed.WithVolumePod(t.Context(), pod, func(contextT) error {
		out = a.in(t, pod.Name, commands...)
		return nil
	})).To(Succeed())
	return out
}

// everything is all that there is in a volume: names, types, modes, owners, times, sizes, links and contents.
var everything = []string{"manifest", "--skip-root", "/data"}

// scribble puts different things into a volume.
func scribble(text string) [][]string {
	return [][]string{{"write", "/data/a/b/deep", text + ", deep down"}, {"write", "/data/note", text}}
}

// volumeSnapshots of the namespace, by name.
func (a *shotApp) volumeSnapshots(t *testing.T) map[string]snapshotv1.VolumeSnapshot {
	t.Helper()
	var list snapshotv1.VolumeSnapshotList
	NewWithT(t).Expect(a.bed.Client.List(t.Context(), &list, client.InNamespace(a.namespace))).To(Succeed())
	out := map[string]snapshotv1.VolumeSnapshot{}
	for _, s := range list.Items {
		out[s.Name] = s
	}
	return out
}

// expectVolumeSnapshots checks what a run made of its claims: the exact names, and what is kept of each.
func (a *shotApp) expectVolumeSnapshots(
	t *testing.T, configuration string, s *v1alpha1.BackupSession, claims map[string]string,
) *v1alpha1.Snapshot {
	t.Helper()
	g := NewWithT(t)
	g.Expect(s.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), s.Status.Reason)
	snap := a.snapshot(t, s.Name)
	g.Expect(snap.Name).To(Equal(configuration + "-" + s.Name))
	g.Expect(snap.Status.Components).To(HaveLen(len(claims)))
	found := a.volumeSnapshots(t)
	for component, claim := range claims {
		name := fmt.Sprintf("%s-%d", claim, s.CreationTimestamp.Unix())
		g.Expect(found).To(HaveKey(name))
		vs := found[name]
		g.Expect(volumesnapshot.Ready(&vs)).To(BeTrue())
		g.Expect(vs.OwnerReferences).To(BeEmpty())
		c := snap.Status.Components[component]
		g.Expect(c.Driver).To(Equal(v1alpha1.DriverVolumeSnapshotter))
		g.Expect(c.ID).To(Equal(string(vs.UID)))
		g.Expect(c.VolumeSnapshotterStats).To(HaveLen(1))
		stats := c.VolumeSnapshotterStats[0]
		g.Expect(stats).To(And(HaveField("PVCName", claim), HaveField("VolumeSnapshotName", name),
			HaveField("RestoreSize", int64(1<<30)),
			HaveField("DeletionPolicy", "Delete"), HaveField("SnapshotHandle", Not(BeEmpty()))))
		content := &snapshotv1.VolumeSnapshotContent{}
		g.Expect(a.bed.Client.Get(t.Context(), client.ObjectKey{Name: stats.VolumeSnapshotContentName}, content)).
			To(Succeed())
		g.Expect(volumesnapshot.Handle(content)).To(Equal(stats.SnapshotHandle))
		g.Expect(content.Spec.Driver).To(Equal(stats.Driver))
	}
	return snap
}

// TestVolumeSnapshotFlow: a Deployment, a StatefulSet of three pods and a stand-alone volume are backed up by
// VolumeSnapshots, without a storage, a Secret or a Repository of the user's, and come back as new claims.
func TestVolumeSnapshotFlow(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	a := deployShotApp(t, bed)
	g := NewWithT(t)

	notes := podOf(t, bed, a.namespace, "notes")
	a.in(t, notes, scribble("noted")...)
	for n := range 3 {
		a.in(t, fmt.Sprintf("ledger-%d", n), scribble(fmt.Sprintf("page-%d", n))...)
	}
	a.inClaim(t, "photos", scribble("a photo")...)
	before := map[string]string{"notes": a.in(t, notes, everything), "photos": a.inClaim(t, "photos", everything)}
	for n := range 3 {
		before[fmt.Sprintf("data-ledger-%d", n)] = a.in(t, fmt.Sprintf("ledger-%d", n), everything)
	}

	applyTo(t, bed, a.namespace,
		shotConfiguration("notes", "nightly", "apps", "Deployment", "notes", "workload-addon",
			"    scheduler: {schedule: \"* * * * *\"}\n")+
			shotConfiguration("ledger", "manual", "apps", "StatefulSet", "ledger", "workload-addon", "")+
			shotConfiguration("photos", "manual", "", "PersistentVolumeClaim", "photos", "pvc-addon", ""))
	for _, name := range []string{"notes", "ledger", "photos"} {
		waitReady(t, bed, a.configuration(name), metav1.ConditionTrue, "")
		repository := a.repository(name)
		waitReady(t, bed, repository, metav1.ConditionTrue, "")
		g.Expect(repository.Spec).To(And(HaveField("Driver", v1alpha1.DriverVolumeSnapshotter),
			HaveField("StorageRef", BeZero()), HaveField("Path", BeEmpty())))
	}
	var cron batchv1.CronJobList
	g.Expect(bed.Client.List(t.Context(), &cron, client.InNamespace(a.namespace))).To(Succeed())
	g.Expect(cron.Items).To(HaveLen(1))

	ledger := a.trigger(t, "ledger")
	photos := a.trigger(t, "photos")
	a.expectVolumeSnapshots(t, "ledger", ledger,
		map[string]string{"pod-0": "data-ledger-0", "pod-1": "data-ledger-1", "pod-2": "data-ledger-2"})
	a.expectVolumeSnapshots(t, "photos", photos, map[string]string{"pvc": "photos"})
	var first *v1alpha1.BackupSession
	g.Expect(testbed.Poll(t.Context(), patience, "the run that the CronJob starts",
		func(ctx contextT) (bool, error) {
			var runs v1alpha1.BackupSessionList
			err := bed.Client.List(ctx, &runs, client.InNamespace(a.namespace),
				client.MatchingLabels{v1alpha1.LabelInvokerName: "notes"})
			for i := range runs.Items {
				if runs.Items[i].Status.Phase.Terminal() {
					first = &runs.Items[i]
				}
			}
			return first != nil, err
		})).To(Succeed())
	quiet := a.expectVolumeSnapshots(t, "notes", first, map[string]string{"data": "notes"})
	g.Expect(first.Name).To(MatchRegexp(`^notes-nightly-[0-9]+$`))
	_, err := kubectl(t, bed, "", "patch", "backupconfiguration", "notes", "-n", a.namespace, "--type=merge", "-p",
		`{"spec":{"paused":true}}`)
	g.Expect(err).NotTo(HaveOccurred())
	a.jobsAreConfined(t, ledger)

	// What happens to the originals now is not in the backups.
	a.in(t, notes, []string{"write", "/data/note", "later"}, []string{"write", "/data/more", "later"})
	a.in(t, "ledger-1", []string{"write", "/data/note", "forged"})
	a.inClaim(t, "photos", []string{"write", "/data/note", "lost"})

	// The next slot can have begun before the pause, and then has what came later.
	applyTo(t, bed, a.namespace, shotRestore("notes-back", "notes", quiet.Name, "restored-notes")+
		shotRestore("ledger-back", "ledger", "latest", "data-restored-ledger-${POD_ORDINAL}")+
		shotRestore("photos-back", "photos", "latest", "restored-photos"))
	for _, name := range []string{"notes-back", "ledger-back", "photos-back"} {
		waitReady(t, bed, &v1alpha1.RestoreSession{ObjectMeta: a.meta(name)}, metav1.ConditionTrue, "Succeeded")
	}
	g.Expect(a.inClaim(t, "restored-notes", everything)).To(Equal(before["notes"]))
	g.Expect(a.inClaim(t, "restored-photos", everything)).To(Equal(before["photos"]))
	for n := range 3 {
		name := fmt.Sprintf("data-restored-ledger-%d", n)
		g.Expect(a.inClaim(t, name, everything)).To(Equal(before[fmt.Sprintf("data-ledger-%d", n)]))
		claim := &corev1.PersistentVolumeClaim{}
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: a.namespace, Name: name}, claim)).To(Succeed())
		g.Expect(claim.Spec.DataSource).To(And(HaveField("Kind", volumesnapshot.Kind),
			HaveField("Name", fmt.Sprintf("data-ledger-%d-%d", n, ledger.CreationTimestamp.Unix()))))
	}
	applyTo(t, bed, a.namespace, toolboxSet("restored-ledger"))
	for n := range 3 {
		pod := fmt.Sprintf("restored-ledger-%d", n)
		g.Expect(bed.WaitPod(t.Context(), client.ObjectKey{Namespace: a.namespace, Name: pod})).To(Succeed())
		g.Expect(a.in(t, pod, []string{"cat", "/data/note"})).
			To(Equal(fmt.Sprintf("page-%d\n", n)), "each pod finds what the pod of its number had")
	}
}

// trigger starts a run by hand and waits for its end.
func (a *shotApp) trigger(t *testing.T, configuration string) *v1alpha1.BackupSession {
	t.Helper()
	return endOf(t, a.bed, a.namespace, a.start(t, configuration))
}

// jobsAreConfined: the Job of a run has an account of its own, no volume and no credential.
func (a *shotApp) jobsAreConfined(t *testing.T, s *v1alpha1.BackupSession) {
	t.Helper()
	g := NewWithT(t)
	var jobs batchv1.JobList
	g.Expect(a.bed.Client.List(t.Context(), &jobs, a.ofSession(s.Name)...)).To(Succeed())
	g.Expect(jobs.Items).To(HaveLen(1), "one Job makes the VolumeSnapshots of all pods")
	pod := jobs.Items[0].Spec.Template.Spec
	g.Expect(pod.ServiceAccountName).To(Equal("cairn-snapshotter"))
	for _, v := range pod.Volumes {
		g.Expect(v.VolumeSource).To(And(HaveField("PersistentVolumeClaim", BeNil()), HaveField("Secret", BeNil())))
	}
}

// shotRestore makes new claims of a Snapshot of a repository.
func shotRestore(name, repository, snapshot, claim string) string {
	return fmt.Sprintf(`
---
apiVersion: backup.cairn.dev/v1alpha1
kind: RestoreSession
metadata: {name: %s}
spec:
  dataSource: {repository: %s, snapshot: %s}
  addon:
    name: pvc-addon
    tasks:
    - name: volume-snapshot-restore
      targetVolumes:
        volumeClaimTemplates:
        - metadata: {name: %q}
          spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
`, name, repository, snapshot, claim)
}
