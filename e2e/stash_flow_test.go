package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gstruct"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// stashVolumeFlow goes Stash's way for a stand-alone volume, step by step: Secret, Repository made by the user,
// BackupConfiguration with a Task, CronJob, BackupSession, Task and Functions resolved into a Job with the volume,
// metrics pushed to a Pushgateway beside the manager, status of BackupSession and Repository; and RestoreSession in the
// same way.
func stashVolumeFlow(t *testing.T, bed *testbed.Testbed) {
	f := &stashFlow{volumeApp: &volumeApp{bed: bed, namespace: "stash-flow"}}
	f.prepare(t)
	takeAway(t) // the Pushgateway is in the manager's pod
	t.Cleanup(func() { NewWithT(t).Expect(bed.RemovePushgateway(afterTest(t))).To(Succeed()) })
	NewWithT(t).Expect(bed.DeployPushgateway(t.Context())).To(Succeed())
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"a Repository with its backend inside is refused", f.refused},
		{"the user's Repository is initialised in a BackupStorage", f.initialised},
		{"a BackupConfiguration with a Task takes the Repository", f.configured},
		{"the CronJob fires and makes a BackupSession", f.fired},
		{"Task and Functions are resolved into a Job with the volume", f.job},
		{"BackupSession, Snapshot and Repository say what was done", f.status},
		{"the metrics of the backup are pushed", f.backupMetrics},
		{"a RestoreSession brings the data back", f.restore},
		{"the metrics of the restore are pushed", f.restoreMetrics},
		{"a failure keeps when the last success was", f.failure},
		{"a Pushgateway that is down harms no backup", f.gatewayDown},
	} {
		if !t.Run(step.name, step.run) {
			return
		}
	}
}

type stashFlow struct {
	*volumeApp
	original string
	ended    *v1alpha1.BackupSession // the run of the slot
	restored *v1alpha1.RestoreSession
}

func (f *stashFlow) manifests(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/stash/" + file)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return strings.NewReplacer("${endpoint}", f.bed.S3.URL, "${prefix}", f.prefix()).Replace(string(text))
}

func (f *stashFlow) get(t *testing.T, object client.Object, name string) {
	t.Helper()
	NewWithT(t).Expect(f.bed.Client.Get(t.Context(), client.ObjectKey{Namespace: f.namespace, Name: name}, object)).
		To(Succeed())
}

// prepare makes the volume with its data, and the Secret as Stash has it.
func (f *stashFlow) prepare(t *testing.T) {
	t.Helper()
	scratchNamespace(t, f.bed, f.namespace)
	applyTo(t, f.bed, f.namespace, claimManifest("uploads")+"---"+claimManifest("restored")+`
---
apiVersion: v1
kind: Secret
metadata: {name: s3-secret}
stringData:
  AWS_ACCESS_KEY_ID: "`+f.bed.S3.AccessKey+`"
  AWS_SECRET_ACCESS_KEY: "`+f.bed.S3.SecretKey+`"
  RESTIC_PASSWORD: changeit
`)
	applyToCluster(t, f.bed, f.manifests(t, "task.yaml"))
	pod := testbed.VolumePod{Namespace: f.namespace, Name: "toolbox", Claim: "uploads", User: 65532}
	NewWithT(t).Expect(f.bed.WithVolumePod(t.Context(), pod, func(ctx contextT) (err error) {
		for _, file := range []string{"a file", "folder/another"} {
			if _, err := f.bed.Exec(ctx, f.namespace, pod.Name, nil, "/toolbox", "write", "/data/"+file,
				"with text"); err != nil {
				return err
			}
		}
		if f.original, err = f.bed.Exec(ctx, f.namespace, pod.Name, nil, "/toolbox", "manifest", "--skip-root",
			"/data"); err != nil {
			return err
		}
		_, err = f.bed.Exec(ctx, f.namespace, pod.Name, nil, "/toolbox", "write", "/data/left-out.tmp",
			"which the Task excludes")
		return err
	})).To(Succeed())
}

func (f *stashFlow) refused(t *testing.T) {
	_, err := kubectl(t, f.bed, f.manifests(t, "repository-of-stash.yaml"), "apply", "--server-side", "-n", f.namespace,
		"-f", "-")
	g := NewWithT(t)
	g.Expect(err).To(MatchError(
		ContainSubstring("a Repository has no backend: create a BackupStorage with this backend and its Secret, " +
			"name it in spec.storageRef, and put the prefix or subPath below it into spec.path")))
	var list v1alpha1.RepositoryList
	g.Expect(f.bed.Client.List(t.Context(), &list, client.InNamespace(f.namespace))).To(Succeed())
	g.Expect(list.Items).To(BeEmpty())
}

func (f *stashFlow) initialised(t *testing.T) {
	g := NewWithT(t)
	applyTo(t, f.bed, f.namespace, f.manifests(t, "repository.yaml"))
	r := f.repository("uploads")
	waitReady(t, f.bed, r, metav1.ConditionTrue, "", func() bool { return r.Status.Phase == v1alpha1.PhaseReady })
	g.Expect(r.Spec.AppRef).To(BeZero(), "nobody uses it yet")
	var s v1alpha1.BackupStorage
	f.get(t, &s, "s3")
	g.Expect(s.Status.Phase).To(Equal(v1alpha1.PhaseReady))
	first, second := since(t, &s, v1alpha1.ConditionBackendInitialized),
		since(t, r, v1alpha1.ConditionRepositoryInitialized)
	g.Expect(second.Before(&first)).To(BeFalse(), "a repository is initialised in a storage that is")
	f.inBucket(t, "metadata.yaml", "uploads/repository.yaml")
}

// inBucket looks for files below the test's prefix.
func (f *stashFlow) inBucket(t *testing.T, files ...string) {
	t.Helper()
	g := NewWithT(t)
	c, err := f.bed.S3Client()
	g.Expect(err).NotTo(HaveOccurred())
	for _, file := range files {
		_, err := c.StatObject(t.Context(), testbed.Bucket, f.prefix()+"/"+file, minio.StatObjectOptions{})
		g.Expect(err).NotTo(HaveOccurred(), file)
	}
}

func (f *stashFlow) configured(t *testing.T) {
	g := NewWithT(t)
	applyTo(t, f.bed, f.namespace, f.manifests(t, "policy.yaml"))
	c := f.configuration("uploads")
	waitReady(t, f.bed, c, metav1.ConditionTrue, "",
		func() bool { return c.Status.Phase == v1alpha1.PhaseReady && len(c.Status.Repositories) == 1 })
	g.Expect(c.Spec.Backends).To(BeEmpty(), "what was inferred stands in status alone")
	info := c.Status.Resolved.Sessions[0].Repositories[0]
	g.Expect([]string{info.Name, info.Backend, info.Directory, info.EncryptionSecret.Name}).
		To(Equal([]string{"uploads", "s3", "uploads", "s3-secret"}))
	var list v1alpha1.RepositoryList
	g.Expect(f.bed.Client.List(t.Context(), &list, client.InNamespace(f.namespace))).To(Succeed())
	g.Expect(list.Items).To(HaveLen(1), "no other is made beside the user's")
	g.Expect(list.Items[0].Spec.AppRef).To(Equal(*c.Spec.Target))
	g.Expect(list.Items[0].OwnerReferences).To(BeEmpty(), "the Repository outlives policy")
	var job batchv1.CronJob
	f.get(t, &job, "trigger-uploads-backup")
	g.Expect(job.Spec.Schedule).To(Equal("* * * * *"))
	g.Expect(job.Spec.JobTemplate.Spec.BackoffLimit).To(gstruct.PointTo(Equal(int32(1))))
	g.Expect(metav1.IsControlledBy(&job, c)).To(BeTrue())
}

func (f *stashFlow) fired(t *testing.T) {
	g := NewWithT(t)
	var name string
	newest := func(ctx contextT) (bool, error) {
		var list v1alpha1.BackupSessionList
		err := f.bed.Client.List(ctx, &list, client.InNamespace(f.namespace))
		for i := range list.Items {
			name = max(name, list.Items[i].Name)
		}
		return name != "", err
	}
	g.Expect(testbed.Poll(t.Context(), patience, "the BackupSession of a slot", newest)).To(Succeed())
	_, err := program(t, f.bed, "", "cairn", "pause", "bc/uploads", "-n", f.namespace)
	g.Expect(err).NotTo(HaveOccurred())
	var job batchv1.CronJob
	g.Expect(testbed.Poll(t.Context(), patience, "the CronJob to be suspended with no pod on its way",
		func(contextT) (bool, error) {
			f.get(t, &job, "trigger-uploads-backup")
			return *job.Spec.Suspend && len(job.Status.Active) == 0, nil
		})).To(Succeed())
	g.Expect(newest(t.Context())).To(BeTrue())
	g.Expect(name).To(MatchRegexp(`^uploads-backup-\d+$`))
	g.Expect(job.Status.LastScheduleTime).NotTo(BeNil())
	f.ended = endOf(t, f.bed, f.namespace, name)
	g.Expect(f.ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%s: %+v", f.ended.Status.Reason,
		f.ended.Status.Targets)
	g.Expect(f.ended.Spec.ScheduledTime.Second()).To(BeZero(), "it is a slot's")
	g.Expect(f.ended.Spec.ScheduledTime.After(job.Status.LastScheduleTime.Time)).
		To(BeFalse(), "the CronJob fired, nobody else")
	g.Expect(metav1.IsControlledBy(f.ended, f.current(t))).To(BeTrue())
}

func (f *stashFlow) current(t *testing.T) *v1alpha1.BackupConfiguration {
	t.Helper()
	c := &v1alpha1.BackupConfiguration{}
	f.get(t, c, "uploads")
	return c
}

func (f *stashFlow) job(t *testing.T) {
	g := NewWithT(t)
	var jobs batchv1.JobList
	g.Expect(f.bed.Client.List(t.Context(), &jobs, f.ofSession(f.ended.Name)...)).To(Succeed())
	g.Expect(jobs.Items).To(HaveLen(1))
	g.Expect(metav1.IsControlledBy(&jobs.Items[0], f.ended)).To(BeTrue())
	spec := jobs.Items[0].Spec.Template.Spec
	g.Expect(spec.ServiceAccountName).To(Equal(v1alpha1.MoverServiceAccount))
	volume := ""
	for _, v := range spec.Volumes {
		if v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == "uploads" {
			volume = v.Name
		}
	}
	mounted := gstruct.MatchFields(gstruct.IgnoreExtras, gstruct.Fields{
		"Name": Equal(volume), "MountPath": Equal("/cairn/volumes/pvc"), "ReadOnly": BeTrue(),
	})
	g.Expect(spec.InitContainers).To(HaveLen(1))
	step, mover := spec.InitContainers[0], spec.Containers[0]
	g.Expect(step.Name).To(Equal("stash-flow-check-0"))
	g.Expect(step.Env).To(ContainElements(corev1.EnvVar{Name: "VERDICT", Value: "good"},
		corev1.EnvVar{Name: "WHAT", Value: "PersistentVolumeClaim/uploads of " + f.namespace}),
		"parameters and variables are filled in")
	g.Expect(step.VolumeMounts).To(ContainElement(mounted))
	g.Expect(mover.Args).To(ContainElements("backup", "--exclude=*.tmp"), "with a parameter of the Task's step")
	g.Expect(mover.VolumeMounts).To(ContainElement(mounted))

	var pod *corev1.Pod
	g.Expect(testbed.Poll(t.Context(), patience, "the end of the Job's pod, which reports before",
		func(ctx contextT) (bool, error) {
			pods, err := f.podsOf(ctx, jobs.Items[0].Name)
			if err != nil || len(pods) != 1 {
				return false, err
			}
			pod = &pods[0]
			return pod.Status.Phase == corev1.PodSucceeded, nil
		})).To(Succeed())
	prepared, moved := pod.Status.InitContainerStatuses[0].State.Terminated,
		pod.Status.ContainerStatuses[0].State.Terminated
	g.Expect(moved.StartedAt.Before(&prepared.FinishedAt)).To(BeFalse(), "one step after the other")
}

func (f *stashFlow) status(t *testing.T) {
	g := NewWithT(t)
	s := &f.ended.Status
	g.Expect(s.TotalSnapshots).To(gstruct.PointTo(Equal(int32(1))))
	g.Expect(s.Snapshots).To(HaveLen(1))
	g.Expect(s.Targets).To(HaveLen(1))
	g.Expect(s.Targets[0].Phase).To(Equal(v1alpha1.BackupSessionSucceeded))
	g.Expect(s.BackupDeadline.Sub(s.StartTime.Time).Minutes()).To(Equal(10.0))
	g.Expect(s.Duration).NotTo(BeEmpty())
	g.Expect(s.Resolved.Targets[0].Task.Steps).To(HaveLen(1), "what ran stands in status")
	snapshot := f.snapshot(t, f.ended.Name)
	r := f.repository("uploads")
	waitReady(t, f.bed, r, metav1.ConditionTrue, "", func() bool { return r.Status.LastBackupTime != nil })
	g.Expect(metav1.IsControlledBy(snapshot, r)).To(BeTrue())
	g.Expect(snapshot.Status.Phase).To(Equal(v1alpha1.SnapshotSucceeded))
	component := snapshot.Status.Components["pvc"]
	g.Expect(component.Files).To(BeEquivalentTo(2), "without the file that the Task excludes")
	g.Expect(component.SizeBytes).To(BeNumerically(">", 0))
	g.Expect(r.Status.SnapshotCount).To(gstruct.PointTo(BeNumerically(">=", 1)))
	g.Expect(r.Status.RecentSnapshots).To(ContainElement(HaveField("Name", snapshot.Name)))
	g.Expect(r.Status.Size).NotTo(BeEmpty())
	f.inBucket(t, "uploads/snapshots/"+snapshot.Name+"/pvc.yaml")
}
