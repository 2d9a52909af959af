package backupsession

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

func TestARunThatCannotStart(t *testing.T) {
	t.Parallel()
	// It may take many minutes until a row has its turn.
	scheduled := func(ago time.Duration) func(*v1alpha1.BackupSession) {
		return func(s *v1alpha1.BackupSession) { s.Spec.ScheduledTime = &metav1.Time{Time: time.Now().Add(-ago)} }
	}
	deadline := func(seconds *int64) func(*v1alpha1.BackupConfiguration) {
		return func(c *v1alpha1.BackupConfiguration) {
			c.Spec.Sessions[0].Scheduler = &v1alpha1.SchedulerSpec{
				Schedule: "0 * * * *", StartingDeadlineSeconds: seconds,
			}
		}
	}
	tests := map[string]struct {
		policy func(*v1alpha1.BackupConfiguration)
		run    func(*v1alpha1.BackupSession)
		change func(*world)
		// later is the time after which the test reconciles again.
		later   time.Duration
		want    string
		pending string // reason while it waits
		// Snapshots that failed with it
		snapshots int
	}{
		"an invoker that does not exist": {
			run:  func(s *v1alpha1.BackupSession) { s.Spec.Invoker.Name = "nothing" },
			want: "Failed/InvokerNotFound",
		},
		"a session that the invoker does not have": {
			run: func(s *v1alpha1.BackupSession) { s.Spec.Session = "weekly" }, want: "Failed/SessionNotFound",
		},
		"an invoker with an invalid name": {
			run: func(s *v1alpha1.BackupSession) { s.Spec.Invoker.Name = "a/b" }, want: "Failed/InvokerNotFound",
		},
		"a session whose name is no valid label value": {
			run: func(s *v1alpha1.BackupSession) { s.Spec.Session = "every week" }, want: "Failed/SessionNotFound",
		},
		"a CronJob of another session": {
			run: func(s *v1alpha1.BackupSession) {
				s.Annotations = map[string]string{v1alpha1.AnnotationCronJob: "trigger-other-nightly"}
			},
			want: "Failed/NotPermitted",
		},
		"its own CronJob": {
			run: func(s *v1alpha1.BackupSession) {
				s.Annotations = map[string]string{v1alpha1.AnnotationCronJob: "trigger-uploads-nightly"}
			},
			want: "Succeeded/Succeeded",
		},
		"a slot longer ago than the starting deadline": {
			policy: deadline(new(int64(60))), run: scheduled(2 * time.Minute),
			want: "Skipped/StartingDeadlineExceeded",
		},
		"a slot within the starting deadline": {
			policy: deadline(new(int64(600))), run: scheduled(2 * time.Minute), want: "Succeeded/Succeeded",
		},
		"a slot whose next slot has passed": {
			policy: deadline(nil), run: scheduled(3 * time.Hour), want: "Skipped/StartingDeadlineExceeded",
		},
		"a claim that does not exist": {
			change: func(w *world) {
				w.Expect(w.Client.Delete(w.T.Context(), sessiontest.Claim(w.Namespace, "uploads"))).To(Succeed())
				claim := sessiontest.Claim(w.Namespace, "uploads")
				_ = w.Client.Get(w.T.Context(), client.ObjectKeyFromObject(claim), claim)
				claim.Finalizers = nil
				_ = w.Client.Update(w.T.Context(), claim)
			},
			want: "Failed/TargetNotFound",
		},
		"it belongs to a namesake of its invoker": {
			run: func(s *v1alpha1.BackupSession) {
				s.OwnerReferences = []metav1.OwnerReference{{
					APIVersion: "core.example.com/v1", Kind: v1alpha1.BackupConfigurationKind, Name: "uploads",
					UID:        "x",
					Controller: new(true),
				}}
			},
			want: "Succeeded/Succeeded",
		},
		"it belongs to something else": {
			run: func(s *v1alpha1.BackupSession) {
				s.OwnerReferences = []metav1.OwnerReference{{
					APIVersion: "v1", Kind: "ConfigMap", Name: "other", UID: "x",
					Controller: new(true),
				}}
			},
			want: "Succeeded/Succeeded",
		},
		"an addon that does not exist": {
			policy: func(c *v1alpha1.BackupConfiguration) { c.Spec.Sessions[0].Addon.Name = "nothing" },
			want:   "Failed/AddonNotFound",
		},
		"a Job that the API server refuses": {
			policy: func(c *v1alpha1.BackupConfiguration) {
				c.Spec.Sessions[0].Addon.JobTemplate = sessiontest.MoreThanItsLimit()
			},
			want: "Failed/InvalidTask", snapshots: 1,
		},
		"arguments that fit into no object": {
			policy: func(c *v1alpha1.BackupConfiguration) {
				c.Spec.Sessions[0].Addon = sessiontest.HugeTask(t, bed.Client, c.Namespace, false)
			},
			want: "Failed/InvalidTask",
		},
		"root that the namespace does not allow": {
			policy: func(c *v1alpha1.BackupConfiguration) {
				c.Spec.Sessions[0].Addon.JobTemplate = &v1alpha1.PodTemplateSpec{Spec: v1alpha1.JobPodSpec{
					SecurityContext: &v1alpha1.MoverSecurityContext{RunAsUser: new(int64(0))},
				}}
			},
			want: "Failed/PrivilegeRequired",
		},
		"a repository that never becomes ready": {
			change: func(w *world) { w.repositoryPhase(v1alpha1.PhaseNotReady) }, later: run.WaitForRepository,
			pending: v1alpha1.ReasonRepositoryNotReady, want: "Failed/RepositoryNotReady",
		},
		"a repository that is not ready before the starting deadline": {
			// The slot is 20 s before the clock of the room, or a few seconds less on a busy machine.
			policy: deadline(new(int64(120))), run: scheduled(20 * time.Second),
			change: func(w *world) { w.repositoryPhase(v1alpha1.PhaseNotReady) }, later: 98500 * time.Millisecond,
			pending: v1alpha1.ReasonRepositoryNotReady, want: "Failed/RepositoryNotReady",
		},
		"a repository of another directory": {
			policy:  func(c *v1alpha1.BackupConfiguration) { c.Spec.Sessions[0].Repositories[0].Directory = "/other" },
			want:    "Failed/RepositoryConflict",
			pending: "",
		},
		"a restore into the claim": {
			change: func(w *world) { w.restoreInto("uploads") }, want: "Skipped/RestoreInProgress",
		},
		"a RestoreBatch that has not reached the claim yet": {
			change: func(w *world) { w.restoreBatchOf("uploads") }, want: "Skipped/RestoreInProgress",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var edits []func(*v1alpha1.BackupConfiguration)
			if tt.policy != nil {
				edits = append(edits, tt.policy)
			}
			w.configuration(edits...)
			if tt.change != nil {
				tt.change(w)
			}
			var run []func(*v1alpha1.BackupSession)
			if tt.run != nil {
				run = append(run, tt.run)
			}
			w.run(v1alpha1.BackupConfigurationKind, "uploads", "run", run...)
			w.Reconcile("run")
			if tt.pending != "" {
				w.Expect(w.session("run").Status.Phase).To(Equal(v1alpha1.BackupSessionPending))
				w.Expect(w.session("run").Status.Reason).To(Equal(tt.pending))
				before := w.session("run")
				w.Reconcile("run")
				w.Expect(w.session("run")).To(Equal(before), "waiting writes nothing")
			}
			w.Clock.SetTime(w.Clock.Now().Add(tt.later))
			s := w.settle("run")
			w.Expect(summary(s)[0]).To(Equal(tt.want), "%v", s.Status.Conditions)
			if s.Status.Phase != v1alpha1.BackupSessionSucceeded {
				w.Expect(w.Jobs()).To(BeEmpty())
				w.Expect(w.snapshots()).To(HaveLen(tt.snapshots))
			}
			w.Expect(s.Finalizers).To(ConsistOf(v1alpha1.FinalizerRecord))
		})
	}
}

func (w *world) repositoryPhase(phase string) {
	w.T.Helper()
	repo := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "uploads"}}
	bed.EditStatus(w.T, repo, func() { repo.Status.Phase = phase })
}

// restoreInto creates a restore that writes into a claim now.
func (w *world) restoreInto(claim string) {
	w.T.Helper()
	restore := &v1alpha1.RestoreSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "restore"},
		Spec: v1alpha1.RestoreSessionSpec{
			Target:     &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: claim},
			DataSource: &v1alpha1.RestoreDataSource{Snapshot: "some"},
		},
	}
	sessiontest.Create(w.T, w.Client, restore)
	bed.EditStatus(w.T, restore, func() {
		restore.Status.Phase = v1alpha1.RestoreSessionRunning
		restore.Status.Resolved = &v1alpha1.ResolvedRestore{
			Snapshot: "some",
			Hosts: []v1alpha1.ResolvedRestoreHost{{
				Name:    "target",
				Volumes: []v1alpha1.ResolvedRestoreVolume{{Component: "pvc", ID: "k", ClaimName: claim}},
			}},
			Repository: v1alpha1.ResolvedRepository{
				Name: "uploads", Directory: "d",
				StorageRef: v1alpha1.ObjectReference{Name: "s"}, EncryptionSecret: v1alpha1.ObjectReference{Name: "e"},
			},
			Task: v1alpha1.ResolvedTask{Driver: v1alpha1.DriverKopia},
		}
	})
}

// restoreBatchOf creates a running RestoreBatch with the claim as a target that has not begun.
func (w *world) restoreBatchOf(claim string) {
	w.T.Helper()
	batch := &v1alpha1.RestoreBatch{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "back"},
		Spec: v1alpha1.RestoreBatchSpec{
			DataSource: v1alpha1.RestoreBatchDataSource{
				BackupBatch: "shop", BackupSession: v1alpha1.LatestBackupSession,
			},
			Targets: []v1alpha1.RestoreBatchTarget{{Name: claim}},
		},
		Status: v1alpha1.RestoreBatchStatus{
			Phase: v1alpha1.RestoreSessionRunning,
			Resolved: &v1alpha1.ResolvedRestoreBatch{Targets: []v1alpha1.ResolvedRestoreTarget{{
				Name: claim, RestoreSession: "back-" + claim, Repository: "shop-" + claim, Snapshot: "s",
				RestorePoint: "run",
				Target:       &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: claim},
			}}},
		},
	}
	sessiontest.Create(w.T, w.Client, batch)
}

// A person made the run, without a slot. Velero and "kubectl get -o yaml" keep its metadata and not its status.
func TestAnOldRunThatComesBackDoesNotRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration()
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	old := w.settle("run")
	w.Expect(old.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded))
	held := w.session("run")
	bed.Edit(t, held, func() { held.Finalizers = nil })
	w.Expect(w.Client.Delete(t.Context(), held)).To(Succeed())
	jobs := len(w.Jobs())

	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run", func(s *v1alpha1.BackupSession) {
		s.Labels, s.Annotations, s.Finalizers = old.Labels, old.Annotations, old.Finalizers
	})
	s := w.settle("run")
	w.Expect(s.Status.Phase).To(Equal(v1alpha1.BackupSessionSkipped))
	w.Expect(s.Status.Reason).To(Equal(v1alpha1.ReasonCopyOfRun))
	w.Expect(w.Jobs()).To(HaveLen(jobs), "nothing is backed up")
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "another")
	w.Expect(w.settle("another").Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded))
}
