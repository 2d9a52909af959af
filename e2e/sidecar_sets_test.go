package e2e

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// sidecarSets are workloads of several pods: each has a volume of its own, or each node has a pod.
const sidecarSets = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: store}
spec:
  replicas: 2
  serviceName: store
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: store}}
  template:
    metadata: {labels: {app: store}}
    spec:
      securityContext: {runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532}
      terminationGracePeriodSeconds: 1
      containers:
      - name: store
        image: cairn.local/shell:dev
        args: [-euc, "while :; do sleep 1; done"]
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      securityContext: {runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532}
      terminationGracePeriodSeconds: 1
      containers:
      - name: agent
        image: cairn.local/shell:dev
        args: [-euc, "while :; do sleep 1; done"]
        volumeMounts: [{name: spool, mountPath: /spool}]
      volumes:
      - {name: spool, persistentVolumeClaim: {claimName: spool}}
`

const sidecarSetsBatch = `
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupBatch
metadata: {name: sets}
spec:
  backends: [{name: main, storageRef: {name: s3}}]
  targets:
  - {name: store, appRef: {apiGroup: apps, kind: StatefulSet, name: store}}
  - {name: agent, appRef: {apiGroup: apps, kind: DaemonSet, name: agent}}
  sessions:
  - name: manual
    repositories: [{name: sets, backend: main, directory: /sets, encryptionSecret: {name: encryption}}]
    targets:
    - {name: store, executor: Sidecar}
    - {name: agent, executor: Sidecar}
`

// spooled lists everything below /spool, with modes and contents.
const spooled = "cd /spool && ls -lR --time-style=+ . && cat letter a/link a/b/note"

// TestSidecarsOfSeveralPods: each pod of a StatefulSet and of a DaemonSet is backed up by its own sidecar, and its data
// comes back into the same pod.
func TestSidecarsOfSeveralPods(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	a := &volumeApp{bed: bed, namespace: "sidecar-sets"}
	g := NewWithT(t)
	scratchNamespace(t, bed, a.namespace)
	spineSecrets(t, bed, a.namespace)
	_, err := kubectl(t, bed, "", "create", "rolebinding", "cairn-sidecar-injector", "-n", a.namespace,
		"--clusterrole=cairn-sidecar-injector",
		"--serviceaccount="+testbed.SystemNamespace+":cairn-manager")
	g.Expect(err).NotTo(HaveOccurred())
	applyTo(t, bed, a.namespace,
		storageManifest("s3", a.prefix(), "s3-credentials")+"---"+claimManifest("spool")+"---"+sidecarSets)
	applyTo(t, bed, a.namespace, sidecarSetsBatch)
	waitReady(t, bed, &v1alpha1.BackupBatch{ObjectMeta: a.meta("sets")}, metav1.ConditionTrue, "")
	in := func(pod, command string) string {
		t.Helper()
		out, err := bed.Exec(t.Context(), a.namespace, pod, nil, "/bin/sh", "-euc", command)
		NewWithT(t).Expect(err).NotTo(HaveOccurred(), out)
		return out
	}
	in("store-0", "echo zero > /data/number")
	in("store-1", "echo one > /data/number")
	agent := podOf(t, bed, a.namespace, "agent")
	in(agent, "cd /spool && echo spooled > letter && mkdir -p -m 750 a/b && cd a && cp -s ../letter link && umask "+
		"077 && echo deep > b/note")
	before := in(agent, spooled)

	out, err := program(t, bed, "", "cairn", "trigger", "batch/sets", "--session", "manual", "-n", a.namespace,
		"--wait", "--timeout", patience.String())
	g.Expect(err).NotTo(HaveOccurred(), out)
	var snapshots v1alpha1.SnapshotList
	g.Expect(bed.Client.List(t.Context(), &snapshots, client.InNamespace(a.namespace))).To(Succeed())
	components := map[string]v1alpha1.Component{}
	for _, s := range snapshots.Items {
		g.Expect(s.Status.Phase).To(Equal(v1alpha1.SnapshotSucceeded))
		for name, c := range s.Status.Components {
			components[s.Spec.AppRef.Name+"/"+name] = c
		}
	}
	g.Expect(components).To(HaveLen(3), "two pods and one node: %v", components)
	g.Expect(components["store/pod-0"].ID).NotTo(Equal(components["store/pod-1"].ID))
	files := map[string]int64{}
	for name, c := range components {
		files[strings.Split(name, "/")[0]] += c.Files
	}
	g.Expect(files).To(Equal(map[string]int64{"store": 2, "agent": 2}))
	var jobs batchv1.JobList
	g.Expect(bed.Client.List(t.Context(), &jobs, client.InNamespace(a.namespace),
		client.HasLabels{v1alpha1.LabelBackupSession})).To(Succeed())
	g.Expect(jobs.Items).To(BeEmpty(), "no Job is made")

	in("store-0", "echo wrong > /data/number")
	in("store-1", "rm /data/number")
	in(agent, "echo scribbled > /spool/letter && rm -r /spool/a")
	for name, workload := range map[string]client.Object{
		"statefulset/store": &appsv1.StatefulSet{ObjectMeta: a.meta("store")},
		"daemonset/agent":   &appsv1.DaemonSet{ObjectMeta: a.meta("agent")},
	} {
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(workload), workload)).To(Succeed())
		out, err = program(t, bed, "", "cairn", "restore", "back-"+workload.GetName(), "-n", a.namespace,
			"--repository", "sets-"+workload.GetName(), "--snapshot", "latest",
			"--target", name, "--sidecar", "--confirm", string(workload.GetUID()),
			"--wait", "--timeout", patience.String())
		g.Expect(err).NotTo(HaveOccurred(), out)
	}
	g.Expect(in("store-0", "cat /data/number")).To(Equal("zero\n"))
	g.Expect(in("store-1", "cat /data/number")).To(Equal("one\n"))
	g.Expect(in(agent, spooled)).To(Equal(before), "names, modes, links and contents")
	g.Expect(podOf(t, bed, a.namespace, "agent")).To(Equal(agent), "no pod was replaced")
	g.Expect(bed.Client.List(t.Context(), &jobs, client.InNamespace(a.namespace),
		client.HasLabels{v1alpha1.LabelRestoreSession})).To(Succeed())
	g.Expect(jobs.Items).To(BeEmpty(), "no Job is made")
}
