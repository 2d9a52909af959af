package e2e

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

var gitKey = client.ObjectKey{Namespace: testbed.Namespace, Name: "git"}

// noGitServer takes the Git server away before a session starts and brings it back when the session's namespace is
// gone. It needs the manager all the time.
func noGitServer(t *testing.T, bed *testbed.Testbed) {
	g := NewWithT(t)
	const namespace = "outage-git"
	a := deployVolumeApp(t, bed, namespace, 10, 10_000)
	gitServer.Lock()
	t.Cleanup(gitServer.Unlock)
	keep(t)
	a.configure(t, "run")
	ledger := systemLedger(t, bed, namespace)
	waitReady(t, bed, ledger, metav1.ConditionTrue, "")

	t.Cleanup(func() { NewWithT(t).Expect(scale(afterTest(t), bed, gitKey, 1)).To(Succeed()) })
	g.Expect(scale(t.Context(), bed, gitKey, 0)).To(Succeed())
	session := endOf(t, bed, namespace, a.start(t, "run"))
	g.Expect(session.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", session.Status.Targets)

	began := time.Now()
	gone := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	g.Expect(bed.Client.Delete(t.Context(), gone)).To(Succeed())
	waitGone(t.Context(), t, bed, gone, patience)
	t.Logf("the namespace was gone after %s, with the Git server down", time.Since(began).Round(time.Second))
	waitReady(t, bed, ledger, metav1.ConditionFalse, v1alpha1.ReasonUnreachable,
		func() bool { return ledger.Status.Pending == 1 }) // the record waits in the cluster

	began = time.Now()
	g.Expect(scale(t.Context(), bed, gitKey, 1)).To(Succeed())
	waitPushed(t, bed, ledger)
	t.Logf("the record was pushed %s after the Git server came back", time.Since(began).Round(time.Second))
	record := onlyRecord(t, bed, namespace, session.Name)
	g.Expect(record).To(ContainSubstring("phase: Succeeded"))
}

// systemLedger makes a Ledger outside of the namespace whose records it keeps, and removes it after the test.
func systemLedger(t *testing.T, bed *testbed.Testbed, namespace string) *v1alpha1.Ledger {
	t.Helper()
	ledger := &v1alpha1.Ledger{ObjectMeta: metav1.ObjectMeta{Namespace: testbed.SystemNamespace, Name: namespace}}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: testbed.SystemNamespace, Name: namespace},
		Data:       map[string][]byte{"username": []byte(bed.Git.Username), "password": []byte(bed.Git.Password)},
	}
	remove := func(ctx context.Context) {
		g := NewWithT(t)
		live := ledger.DeepCopy()
		g.Expect(client.IgnoreNotFound(bed.Client.Get(ctx, client.ObjectKeyFromObject(ledger), live))).To(Succeed())
		drop := client.RawPatch("application/merge-patch+json",
			[]byte(`{"metadata":{"annotations":{"`+v1alpha1.AnnotationDropRecords+`":"`+string(live.UID)+`"}}}`))
		g.Expect(client.IgnoreNotFound(bed.Client.Patch(ctx, ledger.DeepCopy(), drop))).To(Succeed())
		g.Expect(client.IgnoreNotFound(bed.Client.Delete(ctx, ledger.DeepCopy()))).To(Succeed())
		waitGone(ctx, t, bed, ledger.DeepCopy(), patience)
		g.Expect(client.IgnoreNotFound(bed.Client.Delete(ctx, secret.DeepCopy()))).To(Succeed())
	}
	remove(t.Context()) // what an interrupted test left
	t.Cleanup(func() { remove(afterTest(t)) })
	NewWithT(t).Expect(bed.Client.Create(t.Context(), secret.DeepCopy())).To(Succeed())
	pushPolicy(t, bed, namespace+"-"+started,
		map[string]string{"README.md": "The server has no repository before somebody pushes to it.\n"})
	applyTo(t, bed, testbed.SystemNamespace, ledgerManifest(bed, namespace, namespace, secret.Name))
	return ledger
}

// waitPushed waits until a Ledger is ready and its outbox empty.
func waitPushed(t *testing.T, bed *testbed.Testbed, ledger *v1alpha1.Ledger) {
	t.Helper()
	err := testbed.Poll(t.Context(), patience, "the records to be pushed", func(ctx contextT) (bool, error) {
		err := bed.Client.Get(ctx, client.ObjectKeyFromObject(ledger), ledger)
		return err == nil && ledger.Status.Pending == 0 && ledger.Status.Recorded > 0, err
	})
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), "%+v", ledger.Status)
	waitReady(t, bed, ledger, metav1.ConditionTrue, "")
}

// onlyRecord is the record of a session, which must be in the branch once and have been committed once.
func onlyRecord(t *testing.T, bed *testbed.Testbed, namespace, session string) string {
	t.Helper()
	g := NewWithT(t)
	clone := recordsBranch(t, bed, namespace+"-"+started)
	files := recordFiles(t, clone, "e2e")
	g.Expect(files).To(HaveKeyWithValue(session, HaveLen(1)), "exactly one record")
	file := files[session][0]
	commits, err := clone.Git(t.Context(), "log", "--format=%H", "--", file)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(commits).To(HaveLen(40), "one commit")
	data, err := os.ReadFile(filepath.Join(clone.Dir, file))
	g.Expect(err).NotTo(HaveOccurred())
	return string(data)
}

// killedManagerInSession kills the manager at several moments of a session.
func killedManagerInSession(t *testing.T, bed *testbed.Testbed) {
	const namespace = "outage-manager"
	a := deployVolumeApp(t, bed, namespace, 300, 1<<20)
	gitServer.Lock()
	t.Cleanup(gitServer.Unlock)
	ledger := systemLedger(t, bed, namespace)
	for _, moment := range []struct {
		name string
		kill func(t *testing.T, session string)
	}{
		{"created", func(t *testing.T, _ string) { killManager(t, bed) }},
		{"running", func(t *testing.T, session string) {
			waitPhase(t, a, session, v1alpha1.BackupSessionRunning)
			killManager(t, bed)
		}},
		{"reading", func(t *testing.T, session string) {
			a.waitReading(t, session)
			killManager(t, bed)
		}},
		{"jobs-ended", func(t *testing.T, session string) {
			a.waitReading(t, session)
			killManager(t, bed)
			t.Cleanup(func() { NewWithT(t).Expect(scale(afterTest(t), bed, managerKey, 1)).To(Succeed()) })
			NewWithT(t).Expect(scale(t.Context(), bed, managerKey, 0)).To(Succeed())
			waitJobs(t, a, session)
			NewWithT(t).Expect(scale(t.Context(), bed, managerKey, 1)).To(Succeed())
		}},
	} {
		t.Run(moment.name, func(t *testing.T) {
			g := NewWithT(t)
			takeAway(t)
			a.configureSlow(t, moment.name)
			leader := managerLeader(t, bed, "")
			session := a.start(t, moment.name)
			moment.kill(t, session)
			ended := endOf(t, bed, namespace, session)
			t.Logf("the session took %s", ended.Status.Duration)
			managerLeader(t, bed, leader)
			g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", ended.Status.Targets)
			a.backedUpOnce(t, moment.name, session)
			var jobs batchv1.JobList
			g.Expect(bed.Client.List(t.Context(), &jobs, a.ofSession(session)...)).To(Succeed())
			g.Expect(jobs.Items).To(HaveLen(1), "one Job for the only target")
			recorded(t, bed, namespace, ledger.Namespace+"/"+ledger.Name)
			waitPushed(t, bed, ledger)
			g.Expect(onlyRecord(t, bed, namespace, session)).To(ContainSubstring("phase: Succeeded"))
		})
	}
}

// backedUpOnce checks that a session has one complete Snapshot, and that the repository of its configuration, which no
// other session used, holds just that.
func (a *volumeApp) backedUpOnce(t *testing.T, configuration, session string) {
	t.Helper()
	g := NewWithT(t)
	component := a.snapshot(t, session).Status.Components["pvc"]
	g.Expect(component.Phase).To(Equal(v1alpha1.SnapshotSucceeded), component.Error)
	g.Expect(component.Files).To(BeEquivalentTo(a.files), "every file of the volume")
	stored := a.inBackend(t, configuration)
	g.Expect(stored).To(HaveLen(1), "one backup, not several")
	g.Expect(stored[0].ID).To(Equal(component.ID))
	g.Expect(stored[0].Files).To(BeEquivalentTo(a.files))
}

func waitPhase(t *testing.T, a *volumeApp, session string, phase v1alpha1.BackupSessionPhase) {
	t.Helper()
	NewWithT(t).Expect(testbed.Poll(t.Context(), patience, "phase "+string(phase), func(ctx contextT) (bool, error) {
		s := &v1alpha1.BackupSession{}
		err := a.bed.Client.Get(ctx, client.ObjectKey{Namespace: a.namespace, Name: session}, s)
		return err == nil && s.Status.Phase == phase, err
	})).To(Succeed())
}

// waitJobs waits until Kubernetes is done with every Job of a session.
func waitJobs(t *testing.T, a *volumeApp, session string) {
	t.Helper()
	NewWithT(t).Expect(testbed.Poll(t.Context(), patience, "the Jobs to end", func(ctx contextT) (bool, error) {
		var jobs batchv1.JobList
		if err := a.bed.Client.List(ctx, &jobs, a.ofSession(session)...); err != nil || len(jobs.Items) == 0 {
			return false, err
		}
		for _, job := range jobs.Items {
			if job.Status.CompletionTime == nil {
				return false, nil
			}
		}
		return true, nil
	})).To(Succeed())
}

// TestOutageMover deletes a mover's pod while it reads: with notice, as a drained node does, and without. One more
// mover must make the backup whole.
func TestOutageMover(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	a := deployVolumeApp(t, bed, "outage-mover", 300, 1<<20)
	for name, grace := range map[string]client.GracePeriodSeconds{"drained": 30, "killed": 0} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			a.configureSlow(t, name)
			session := a.start(t, name)
			a.waitReading(t, session)
			pod := a.runningPod(t, session)
			g.Expect(bed.Client.Delete(t.Context(), pod, grace)).To(Succeed())
			ended := endOf(t, bed, a.namespace, session)
			g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", ended.Status.Targets)
			a.backedUpOnce(t, name, session)
			var jobs batchv1.JobList
			g.Expect(bed.Client.List(t.Context(), &jobs, a.ofSession(session)...)).To(Succeed())
			var others []string // the killed one may be gone
			for _, job := range jobs.Items {
				if job.Name != pod.Labels[batchv1.JobNameLabel] {
					others = append(others, job.Name)
				}
			}
			g.Expect(others).To(HaveLen(1), "one more mover")
		})
	}
}

// runningPod is the only pod of a session. Its mover may report before the kubelet has said that the pod runs.
func (a *volumeApp) runningPod(t *testing.T, session string) *corev1.Pod {
	t.Helper()
	g := NewWithT(t)
	var pods corev1.PodList
	g.Expect(testbed.Poll(t.Context(), patience, "the pod of "+session, func(ctx contextT) (bool, error) {
		err := a.bed.Client.List(ctx, &pods, a.ofSession(session)...)
		return err == nil && len(pods.Items) == 1 && pods.Items[0].Status.Phase != corev1.PodPending, err
	})).To(Succeed())
	g.Expect(pods.Items[0].Status.Phase).To(Equal(corev1.PodRunning), "killed too late, the test proves nothing")
	return &pods.Items[0]
}

// TestCancel deletes a session while its mover reads, and then its namespace.
func TestCancel(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	g := NewWithT(t)
	const namespace = "outage-cancel"
	a := deployVolumeApp(t, bed, namespace, 300, 1<<20)
	ledger := systemLedger(t, bed, namespace)
	a.configureSlow(t, "run")
	session := &v1alpha1.BackupSession{ObjectMeta: a.meta(a.start(t, "run"))}
	a.waitReading(t, session.Name)
	began := time.Now()
	g.Expect(bed.Client.Delete(t.Context(), session.DeepCopy())).To(Succeed())
	waitGone(t.Context(), t, bed, session, time.Minute)
	t.Logf("the session was gone after %s", time.Since(began).Round(time.Second))
	var jobs batchv1.JobList
	var pods corev1.PodList
	g.Expect(bed.Client.List(t.Context(), &jobs, a.ofSession(session.Name)...)).To(Succeed())
	g.Expect(bed.Client.List(t.Context(), &pods, a.ofSession(session.Name)...)).To(Succeed())
	g.Expect([]int{len(jobs.Items), len(pods.Items)}).To(Equal([]int{0, 0}), "its Jobs and pods went before it")
	component := a.snapshot(t, session.Name).Status.Components["pvc"]
	g.Expect([]string{string(component.Phase), component.Reason}).
		To(Equal([]string{"Failed", v1alpha1.ReasonCancelled}))
	g.Expect(a.inBackend(t, "run")).To(BeEmpty(), "what was cancelled must not look like a backup")
	waitPushed(t, bed, ledger)
	g.Expect(onlyRecord(t, bed, namespace, session.Name)).
		To(And(ContainSubstring("phase: Failed"), ContainSubstring("reason: Cancelled")))

	gone := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	g.Expect(bed.Client.Delete(t.Context(), gone)).To(Succeed())
	waitGone(t.Context(), t, bed, gone, patience)
}
