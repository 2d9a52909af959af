package e2e

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gstruct"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// kubestashNamespace is the namespace of the manifests in testdata/kubestash.
const kubestashNamespace = "kubestash-flow"

// kubestashVolumeFlow goes KubeStash's way for a stand-alone volume, step by step, with manifests of KubeStash in which
// only the apiVersion was changed: Secret, BackupStorage with metadata.yaml, BackupConfiguration with several sessions
// and repositories, Repository with repository.yaml, CronJob for each session, BackupSession, Snapshot in each
// Repository, Job, components; and RestoreSession.
func kubestashVolumeFlow(t *testing.T, bed *testbed.Testbed) {
	keep(t)
	f := &kubestashFlow{bed: bed, prefix: "kubestash-" + started}
	f.prepare(t)
	t.Run("the policy is taken as it is", f.policy)
	t.Run("storages and repositories are initialised, in this order", f.initialised)
	t.Run("each session has its CronJob", f.cronJobs)
	t.Run("a slot makes a BackupSession with a Snapshot in each Repository", f.backup)
	t.Run("pausing stops the schedules", f.paused)
	t.Run("a RestoreSession brings the data back", f.restore)
}

type kubestashFlow struct {
	bed      *testbed.Testbed
	prefix   string
	original string
	ended    *v1alpha1.BackupSession
}

var kubestashGroup = regexp.MustCompile(`(?m)^apiVersion: [a-z]+\.kubestash\.com/v1alpha1$`)

// manifests of KubeStash after the one change. The address and the prefix are this test's.
func (f *kubestashFlow) manifests(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/kubestash/" + file)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	out := kubestashGroup.ReplaceAllString(string(text), "apiVersion: "+v1alpha1.GroupVersion.String())
	return strings.NewReplacer("${endpoint}", f.bed.S3.URL, "${prefix}", f.prefix).Replace(out)
}

// prepare makes the volume with its data and the Secrets, with the keys that KubeStash's have.
func (f *kubestashFlow) prepare(t *testing.T) {
	t.Helper()
	scratchNamespace(t, f.bed, kubestashNamespace) // its defaults hold for every namespace
	applyTo(t, f.bed, kubestashNamespace,
		claimManifest("uploads")+"---"+claimManifest("store")+"---"+claimManifest("restored")+`
---
apiVersion: v1
kind: Secret
metadata: {name: s3-secret}
stringData: {AWS_ACCESS_KEY_ID: "`+f.bed.S3.AccessKey+`", AWS_SECRET_ACCESS_KEY: "`+f.bed.S3.SecretKey+`"}
---
apiVersion: v1
kind: Secret
metadata: {name: encrypt-secret}
stringData: {RESTIC_PASSWORD: changeit}
`)
	pod := testbed.VolumePod{Namespace: kubestashNamespace, Name: "toolbox", Claim: "uploads", User: 65534}
	NewWithT(t).Expect(f.bed.WithVolumePod(t.Context(), pod, func(ctx contextT) error {
		if _, err := f.bed.Exec(ctx, kubestashNamespace, pod.Name, nil, "/toolbox", "write", "/data/a file",
			"with text"); err != nil {
			return err
		}
		var err error
		f.original, err = f.bed.Exec(ctx, kubestashNamespace, pod.Name, nil, "/toolbox", "manifest", "--skip-root",
			"/data")
		return err
	})).To(Succeed())
}

func (f *kubestashFlow) get(t *testing.T, object client.Object, name string) {
	t.Helper()
	NewWithT(t).Expect(f.bed.Client.Get(t.Context(), client.ObjectKey{Namespace: kubestashNamespace, Name: name},
		object)).To(Succeed())
}

func (f *kubestashFlow) policy(t *testing.T) {
	out, err := kubectl(t, f.bed, f.manifests(t, "policy.yaml"), "apply", "--server-side", "-f", "-")
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), out)
	waitReady(t, f.bed,
		&v1alpha1.BackupConfiguration{
			ObjectMeta: metav1.ObjectMeta{Namespace: kubestashNamespace, Name: "uploads-backup"},
		}, metav1.ConditionTrue, "")
}

func (f *kubestashFlow) initialised(t *testing.T) {
	g := NewWithT(t)
	var configuration v1alpha1.BackupConfiguration
	f.get(t, &configuration, "uploads-backup")
	g.Expect(configuration.Status.Phase).To(Equal(v1alpha1.PhaseReady))
	g.Expect(configuration.Status.Backends).To(HaveLen(2))
	for storage, repository := range map[string]string{"s3-storage": "s3-repo", "volume-storage": "volume-repo"} {
		var s v1alpha1.BackupStorage
		f.get(t, &s, storage)
		g.Expect(s.Status.Phase).To(Equal(v1alpha1.PhaseReady), storage)
		var r v1alpha1.Repository
		f.get(t, &r, repository)
		g.Expect(r.Status.Phase).To(Equal(v1alpha1.PhaseReady), repository)
		g.Expect(r.Spec.Path).To(Equal("/uploads"))
		g.Expect(r.Spec.StorageRef).To(Equal(v1alpha1.ObjectReference{Namespace: kubestashNamespace, Name: storage}))
		first, second := since(t, &s, v1alpha1.ConditionBackendInitialized),
			since(t, &r, v1alpha1.ConditionRepositoryInitialized)
		g.Expect(second.Before(&first)).To(BeFalse(), "a repository is initialised in a storage that is")
	}
	c, err := f.bed.S3Client()
	g.Expect(err).NotTo(HaveOccurred())
	for _, file := range []string{"metadata.yaml", "uploads/repository.yaml"} {
		_, err := c.StatObject(t.Context(), testbed.Bucket, f.prefix+"/"+file, minio.StatObjectOptions{})
		g.Expect(err).NotTo(HaveOccurred(), file)
	}
}

func (f *kubestashFlow) cronJobs(t *testing.T) {
	g := NewWithT(t)
	for session, schedule := range map[string]string{"frequent-backup": "*/1 * * * *", "weekly-backup": "0 3 * * 0"} {
		var job batchv1.CronJob
		f.get(t, &job, "trigger-uploads-backup-"+session)
		g.Expect(job.Spec.Schedule).To(Equal(schedule))
		g.Expect(*job.Spec.JobTemplate.Spec.BackoffLimit).To(Equal(int32(1)))
		g.Expect(metav1.IsControlledBy(&job, f.configuration(t))).To(BeTrue())
	}
}

func (f *kubestashFlow) configuration(t *testing.T) *v1alpha1.BackupConfiguration {
	t.Helper()
	configuration := &v1alpha1.BackupConfiguration{}
	f.get(t, configuration, "uploads-backup")
	return configuration
}

func (f *kubestashFlow) backup(t *testing.T) {
	g := NewWithT(t)
	var name string
	g.Expect(testbed.Poll(t.Context(), patience, "the BackupSession of a slot", func(ctx contextT) (bool, error) {
		var list v1alpha1.BackupSessionList
		if err := f.bed.Client.List(ctx, &list, client.InNamespace(kubestashNamespace)); err != nil ||
			len(list.Items) == 0 {
			return false, err
		}
		name = list.Items[0].Name
		return true, nil
	})).To(Succeed())
	g.Expect(name).To(MatchRegexp(`^uploads-backup-frequent-backup-\d+$`))
	f.ended = endOf(t, f.bed, kubestashNamespace, name)
	s := &f.ended.Status
	g.Expect(s.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%s: %+v", s.Reason, s.Targets)
	g.Expect(metav1.IsControlledBy(f.ended, f.configuration(t))).To(BeTrue())
	g.Expect(f.ended.Spec.RetryLeft).To(Equal(int32(2)))
	g.Expect(s.TotalSnapshots).To(gstruct.PointTo(Equal(int32(2))))
	g.Expect(s.BackupDeadline.Sub(s.StartTime.Time).Minutes()).To(Equal(30.0))
	g.Expect(s.Duration).NotTo(BeEmpty())
	g.Expect(s.Snapshots).To(HaveLen(2))
	for _, repository := range []string{"s3-repo", "volume-repo"} {
		f.snapshot(t, repository)
	}
}

// snapshot checks what a run left in one repository.
func (f *kubestashFlow) snapshot(t *testing.T, repository string) {
	t.Helper()
	g := NewWithT(t)
	var r v1alpha1.Repository
	f.get(t, &r, repository)
	var snapshot v1alpha1.Snapshot
	f.get(t, &snapshot, repository+"-"+f.ended.Name)
	g.Expect(metav1.IsControlledBy(&snapshot, &r)).To(BeTrue())
	g.Expect(snapshot.Spec.BackupSession).To(Equal(f.ended.Name))
	g.Expect(snapshot.Status.Phase).To(Equal(v1alpha1.SnapshotSucceeded))
	g.Expect(snapshot.Status.TotalComponents).To(Equal(int32(1)))
	g.Expect(snapshot.Status.Components).To(HaveLen(1))
	for _, c := range snapshot.Status.Components {
		g.Expect(c.Phase).To(Equal(v1alpha1.SnapshotSucceeded))
		g.Expect(c.Files).To(Equal(int64(1)))
		g.Expect(c.Driver).To(Equal(v1alpha1.DriverKopia))
		g.Expect(c.ID).NotTo(BeEmpty())
		g.Expect(c.Duration).NotTo(BeEmpty())
	}
	var jobs batchv1.JobList
	g.Expect(f.bed.Client.List(t.Context(), &jobs, client.InNamespace(kubestashNamespace),
		client.MatchingLabels{v1alpha1.LabelSnapshot: snapshot.Name})).To(Succeed())
	g.Expect(jobs.Items).To(HaveLen(1))
	g.Expect(metav1.IsControlledBy(&jobs.Items[0], f.ended)).To(BeTrue())
	waitReady(t, f.bed, &r, metav1.ConditionTrue, "", func() bool {
		return r.Status.LastBackupTime != nil && r.Status.SnapshotCount != nil && *r.Status.SnapshotCount > 0
	})
	g.Expect(r.Status.RecentSnapshots).NotTo(BeEmpty())
}

func (f *kubestashFlow) paused(t *testing.T) {
	_, err := kubectl(t, f.bed, "", "patch", "backupconfiguration", "uploads-backup", "-n", kubestashNamespace,
		"--type=merge", "-p", `{"spec":{"paused":true}}`)
	g := NewWithT(t)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(testbed.Poll(t.Context(), patience, "the CronJobs to be suspended", func(ctx contextT) (bool, error) {
		var jobs batchv1.CronJobList
		if err := f.bed.Client.List(ctx, &jobs, client.InNamespace(kubestashNamespace)); err != nil {
			return false, err
		}
		for _, job := range jobs.Items {
			if job.Spec.Suspend == nil || !*job.Spec.Suspend {
				return false, nil
			}
		}
		return len(jobs.Items) == 2, nil
	})).To(Succeed())
}

func (f *kubestashFlow) restore(t *testing.T) {
	g := NewWithT(t)
	out, err := kubectl(t, f.bed, f.manifests(t, "restore.yaml"), "apply", "--server-side", "-f", "-")
	g.Expect(err).NotTo(HaveOccurred(), out)
	restore := &v1alpha1.RestoreSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubestashNamespace, Name: "restore-uploads"},
	}
	waitReady(t, f.bed, restore, metav1.ConditionTrue, v1alpha1.ReasonSucceeded,
		func() bool { return restore.Status.Phase.Terminal() })
	g.Expect(restore.Status.TotalComponents).To(Equal(int32(1)))
	for _, c := range restore.Status.Components {
		g.Expect(c.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded))
		g.Expect(c.Files).To(Equal(int64(1)))
	}
	pod := testbed.VolumePod{Namespace: kubestashNamespace, Name: "toolbox", Claim: "restored", User: 65534}
	var restored string
	g.Expect(f.bed.WithVolumePod(t.Context(), pod, func(ctx contextT) (err error) {
		restored, err = f.bed.Exec(ctx, kubestashNamespace, pod.Name, nil, "/toolbox", "manifest", "--skip-root",
			"/data")
		return err
	})).To(Succeed())
	_, entries, err := testbed.SameTree(f.original, restored)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entries).To(BeNumerically(">", 0))
}
