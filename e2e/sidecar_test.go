package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
	"github.com/cairn-backup/cairn/internal/sidecar"
)

// applyEvery is how often the GitOps tool of TestSidecar applies its manifest.
const applyEvery = 10 * time.Second

// sidecarWorkload is the manifest in Git. The containers of its pods share their processes, so that one can kill the
// other's.
const sidecarWorkload = `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app
  labels: {app: app}
spec:
  replicas: 1
  strategy: {type: Recreate}
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      shareProcessNamespace: true
      securityContext: {runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532}
      terminationGracePeriodSeconds: 1
      containers:
      - name: app
        image: cairn.local/shell:dev
        args: [-euc, "while :; do sleep 1; done"]
        volumeMounts: [{name: data, mountPath: /data}]
      volumes:
      - name: data
        persistentVolumeClaim: {claimName: data}
`

// sidecarApp is a Deployment that a GitOps tool applies all the time.
type sidecarApp struct {
	*volumeApp
	stop context.CancelFunc
	done sync.WaitGroup
	// failed is what went wrong with an apply.
	failed error
}

// TestSidecar follows a sidecar through its life, while a GitOps tool applies the workload's manifest by force every
// ten seconds.
func TestSidecar(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	a := &sidecarApp{volumeApp: deployVolumeApp(t, bed, "sidecars", 80, 4<<20)}
	a.gitOps(t)
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"it needs a RoleBinding", a.needsRoleBinding},
		{"a backup, in which it is killed", a.killedInBackup},
		{"a key that is changed in its Secret", a.rotates},
		{"a restore, in which it is killed", a.killedInRestore},
		{"a backup, in which its pod goes", a.podGoes},
		{"the last policy goes", a.removed},
	} {
		if !t.Run(step.name, step.run) {
			return
		}
	}
}

// gitOps applies the manifest as Flux does, at once and then every ten seconds, until stop is called.
func (a *sidecarApp) gitOps(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	ctx, cancel := context.WithCancel(t.Context())
	a.stop = func() { cancel(); a.done.Wait() }
	t.Cleanup(a.stop)
	g.Expect(a.apply(ctx)).To(Succeed())
	a.done.Go(func() {
		tick := time.NewTicker(applyEvery)
		defer tick.Stop()
		for a.failed == nil {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if err := a.apply(ctx); ctx.Err() == nil {
					a.failed = err
				}
			}
		}
	})
}

func (a *sidecarApp) apply(ctx context.Context) error {
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(sidecarWorkload), u); err != nil {
		return err
	}
	u.SetNamespace(a.namespace)
	return a.bed.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u),
		client.FieldOwner("kustomize-controller"), client.ForceOwnership)
}

func (a *sidecarApp) needsRoleBinding(t *testing.T) {
	g := NewWithT(t)
	a.policy(t, "app")
	configuration := a.configuration("app")
	waitFault(t, a.bed, configuration, patience, v1alpha1.ReasonSidecarNotPermitted, "kubectl create rolebinding")
	g.Expect(a.container(t)).To(BeNil())
	ready := ""
	for _, c := range configuration.Status.Conditions {
		if c.Type == "Ready" {
			ready = c.Message
		}
	}
	command := toDo.FindStringSubmatch(ready)
	g.Expect(command).NotTo(BeNil(), "the message gives the command that mends it: %s", ready)
	_, err := kubectl(t, a.bed, "", strings.Fields(command[1])...)
	g.Expect(err).NotTo(HaveOccurred())
	waitReady(t, a.bed, configuration, metav1.ConditionTrue, "")
	c := a.container(t)
	g.Expect(c).NotTo(BeNil())
	pod := a.pod(t)
	g.Expect(pod.Spec.InitContainers).To(HaveLen(1))
	g.Expect(pod.Status.InitContainerStatuses[0].RestartCount).To(BeZero())
}

// policy backs the workload up with its sidecar into a repository of this name.
func (a *sidecarApp) policy(t *testing.T, name string) {
	t.Helper()
	session := "executor: Sidecar\n    addon: {name: workload-addon, tasks: [{name: logical-backup}], " +
		"containerRuntimeSettings: {resources: {limits: {cpu: 250m}}}}"
	applyTo(t, a.bed, a.namespace, strings.NewReplacer("{kind: PersistentVolumeClaim, name: data}",
		"{apiGroup: apps, kind: Deployment, name: app}",
		wholeVolume, session).Replace(configurationManifest(name)))
}

// container returns the sidecar in the workload, nil without one.
func (a *sidecarApp) container(t *testing.T) *corev1.Container {
	t.Helper()
	d := a.deployment(t)
	for i := range d.Spec.Template.Spec.InitContainers {
		if c := &d.Spec.Template.Spec.InitContainers[i]; c.Name == sidecar.Container {
			return c
		}
	}
	return nil
}

func (a *sidecarApp) deployment(t *testing.T) *appsv1.Deployment {
	t.Helper()
	d := &appsv1.Deployment{}
	NewWithT(t).Expect(a.bed.Client.Get(t.Context(), client.ObjectKey{Namespace: a.namespace, Name: "app"}, d)).
		To(Succeed())
	return d
}

// pod waits until the workload has one pod, which is not being deleted, and returns it.
func (a *sidecarApp) pod(t *testing.T) *corev1.Pod {
	t.Helper()
	var out *corev1.Pod
	NewWithT(t).Expect(testbed.Poll(t.Context(), patience, "one pod", func(ctx contextT) (bool, error) {
		var pods corev1.PodList
		if err := a.bed.Client.List(ctx, &pods, client.InNamespace(a.namespace),
			client.MatchingLabels{"app": "app"}); err != nil {
			return false, err
		}
		if len(pods.Items) == 1 && pods.Items[0].DeletionTimestamp == nil {
			out = &pods.Items[0]
		}
		return out != nil, nil
	})).To(Succeed())
	return out
}

// runs backs up, and checks that the repository then has this many backups.
func (a *sidecarApp) runs(t *testing.T, backups int) *v1alpha1.BackupSession {
	t.Helper()
	g := NewWithT(t)
	ended := endOf(t, a.bed, a.namespace, a.start(t, "app"))
	g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", ended.Status.Targets)
	g.Expect(a.inBackend(t, "app")).To(HaveLen(backups))
	return ended
}

func (a *sidecarApp) rotates(t *testing.T) {
	g := NewWithT(t)
	before := a.pod(t)
	secret := &corev1.Secret{ObjectMeta: a.meta("s3-credentials")}
	g.Expect(a.bed.Client.Get(t.Context(), client.ObjectKeyFromObject(secret), secret)).To(Succeed())
	right := secret.Data[v1alpha1.S3SecretAccessKey]
	write := func(value []byte) {
		t.Helper()
		body := fmt.Sprintf(`{"stringData":{%q:%q}}`, v1alpha1.S3SecretAccessKey, value)
		g.Expect(a.bed.Client.Patch(t.Context(), secret,
			client.RawPatch("application/merge-patch+json", []byte(body)))).To(Succeed())
	}
	write([]byte("a-key-of-yesterday"))
	ended := endOf(t, a.bed, a.namespace, a.start(t, "app"))
	g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionFailed), "the new key is what it works with")
	write(right)
	waitReady(t, a.bed, a.configuration("app"), metav1.ConditionTrue, "")
	a.runs(t, 2)
	after := a.pod(t)
	g.Expect(after.UID).To(Equal(before.UID), "no pod was replaced for that")
	g.Expect(after.Status.InitContainerStatuses[0].RestartCount).
		To(Equal(before.Status.InitContainerStatuses[0].RestartCount))
}

// killSidecar ends the sidecar's process from the other container of the pod.
const killSidecar = `for p in /proc/[0-9]*; do
	IFS= read -r line < $p/cmdline 2>/dev/null || true
	case "$line" in *sh*-euc*) ;; *sidecar*--id*) kill -9 ${p#/proc/};; esac
done`

// killedInBackup is the first backup, which has most to do.
func (a *sidecarApp) killedInBackup(t *testing.T) {
	g := NewWithT(t)
	pod := a.pod(t)
	run := a.start(t, "app")
	a.waitReading(t, run)
	_, err := a.bed.Exec(t.Context(), a.namespace, pod.Name, nil, "/bin/sh", "-euc", killSidecar)
	g.Expect(err).NotTo(HaveOccurred())
	ended := endOf(t, a.bed, a.namespace, run)
	g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", ended.Status.Targets)
	after := a.pod(t)
	g.Expect(after.UID).To(Equal(pod.UID))
	g.Expect(after.Status.InitContainerStatuses[0].RestartCount).To(BeEquivalentTo(1), "it was killed")
	g.Expect(a.inBackend(t, "app")).To(HaveLen(1), "and backed up once")
	snapshot := a.snapshot(t, run)
	g.Expect(snapshot.Status.Components).To(HaveLen(1))
	for _, c := range snapshot.Status.Components {
		g.Expect(c.Files).To(BeEquivalentTo(a.files))
	}
	var jobs batchv1.JobList
	g.Expect(a.bed.Client.List(t.Context(), &jobs, a.ofSession(run)...)).To(Succeed())
	g.Expect(jobs.Items).To(BeEmpty(), "no Job is made")
}

// podGoes is the first backup into another repository, by a second policy that shares the sidecar.
func (a *sidecarApp) podGoes(t *testing.T) {
	g := NewWithT(t)
	a.policy(t, "other")
	waitReady(t, a.bed, a.configuration("other"), metav1.ConditionTrue, "")
	pod := a.pod(t)
	run := a.start(t, "other")
	a.waitReading(t, run)
	g.Expect(a.bed.Client.Delete(t.Context(), pod)).To(Succeed())
	ended := endOf(t, a.bed, a.namespace, run)
	g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "the next pod does it: %+v",
		ended.Status.Targets)
	g.Expect(a.pod(t).UID).NotTo(Equal(pod.UID))
	g.Expect(a.inBackend(t, "other")).To(HaveLen(1), "once")
	g.Expect(a.bed.Client.Delete(t.Context(), a.configuration("other"))).To(Succeed())
}

func (a *sidecarApp) removed(t *testing.T) {
	g := NewWithT(t)
	g.Expect(a.bed.Client.Delete(t.Context(), a.configuration("app"))).To(Succeed())
	var d *appsv1.Deployment
	g.Expect(testbed.Poll(t.Context(), patience, "the workload as it was", func(contextT) (bool, error) {
		d = a.deployment(t)
		return len(d.Spec.Template.Spec.InitContainers) == 0 && d.Labels[v1alpha1.LabelSidecar] == "", nil
	})).To(Succeed())
	for _, f := range d.ManagedFields {
		g.Expect(f.Manager).NotTo(Equal(sidecar.FieldManager))
	}
	secret := &corev1.Secret{ObjectMeta: a.meta(sidecar.Name("Deployment", "app"))}
	g.Expect(a.bed.Client.Get(t.Context(), client.ObjectKeyFromObject(secret), secret)).
		To(MatchError(ContainSubstring("not found")))
	a.stop()
	g.Expect(a.failed).NotTo(HaveOccurred(), "the GitOps tool could apply its manifest all along")
	// The status changes until the pod without a sidecar is ready, and kubectl diff would show that.
	g.Expect(testbed.Poll(t.Context(), patience, "the end of the rollout", func(contextT) (bool, error) {
		d = a.deployment(t)
		return d.Status.ObservedGeneration == d.Generation && d.Status.UpdatedReplicas == 1 &&
			d.Status.AvailableReplicas == 1 && ptr.Deref(d.Status.TerminatingReplicas, 0) == 0, nil
	})).To(Succeed())
	out, err := kubectl(t, a.bed, sidecarWorkload, "diff", "--server-side", "--field-manager", "kustomize-controller",
		"-n", a.namespace, "-f", "-")
	g.Expect(err).NotTo(HaveOccurred(), out)
	g.Expect(out).To(BeEmpty())
}
