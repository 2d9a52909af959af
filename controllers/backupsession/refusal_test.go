package backupsession

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/session"
	"github.com/cairn-backup/cairn/internal/session/sessiontest"
)

func TestARunThatCannotStart(t *testing.T) {
	t.Parallel()
	scheduled := func(at time.Time) func(*v1alpha1.BackupSession) {
		return func(s *v1alpha1.BackupSession) { s.Spec.ScheduledTime = &metav1.Time{Time: at} }
	}
	deadline := func(seconds *int64) func(*v1alpha1.BackupConfiguration) {
		return func(c *v1alpha1.BackupConfiguration) {
			c.Spec.Sessions[0].Scheduler = &v1alpha1.SchedulerSpec{Schedule: "0 * * * *", StartingDeadlineSeconds: seconds}
		}
	}
	now := time.Now()
	tests := map[string]struct {
		policy func(*v1alpha1.BackupConfiguration)
		run    func(*v1alpha1.BackupSession)
		change func(*world)
		// later is how much later it is looked at again.
		later   time.Duration
		want    string
		pending string // reason while it waits
		// snapshots that failed with it
		snapshots int
	}{
		"an invoker that does not exist": {
			run:  func(s *v1alpha1.BackupSession) { s.Spec.Invoker.Name = "nothing" },
			want: "Failed/InvokerNotFound",
		},
		"a session that the invoker does not have": {
			run: func(s *v1alpha1.BackupSession) { s.Spec.Session = "weekly" }, want: "Failed/SessionNotFound",
		},
		"an invoker of a name that no object can have": {
			run: func(s *v1alpha1.BackupSession) { s.Spec.Invoker.Name = "a/b" }, want: "Failed/InvokerNotFound",
		},
		"a session of a name that no label can have": {
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
			policy: deadline(new(int64(60))), run: scheduled(now.Add(-2 * time.Minute)), want: "Skipped/StartingDeadlineExceeded",
		},
		"a slot within the starting deadline": {
			policy: deadline(new(int64(600))), run: scheduled(now.Add(-2 * time.Minute)), want: "Succeeded/Succeeded",
		},
		"a slot after which the next one has come": {
			policy: deadline(nil), run: scheduled(now.Add(-3 * time.Hour)), want: "Skipped/StartingDeadlineExceeded",
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
					APIVersion: "core.example.com/v1", Kind: v1alpha1.BackupConfigurationKind, Name: "uploads", UID: "x", Controller: new(true),
				}}
			},
			want: "Succeeded/Succeeded",
		},
		"it belongs to something else": {
			run: func(s *v1alpha1.BackupSession) {
				s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "other", UID: "x", Controller: new(true)}}
			},
			want: "Succeeded/Succeeded",
		},
		"an addon that does not exist": {
			policy: func(c *v1alpha1.BackupConfiguration) { c.Spec.Sessions[0].Addon.Name = "nothing" }, want: "Failed/AddonNotFound",
		},
		"a Job that the API server does not take": {
			policy: func(c *v1alpha1.BackupConfiguration) {
				c.Spec.Sessions[0].Addon.JobTemplate = sessiontest.MoreThanItsLimit()
			},
			want: "Failed/InvalidTask", snapshots: 1,
		},
		"arguments that no object has room for": {
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
			change: func(w *world) { w.repositoryPhase(v1alpha1.PhaseNotReady) }, later: session.WaitForRepository,
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
			w.Expect(summary(s)[0]).To(Equal(tt.want), s.Status.Conditions)
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

// restoreInto makes a restore that writes into a claim now.
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
			Snapshot: "some", Component: "pvc", ID: "k", ClaimName: claim,
			Repository: v1alpha1.ResolvedRepository{Name: "uploads", Directory: "d", StorageRef: v1alpha1.ObjectReference{Name: "s"}, EncryptionSecret: v1alpha1.ObjectReference{Name: "e"}},
			Task:       v1alpha1.ResolvedTask{Driver: v1alpha1.DriverKopia},
		}
	})
}

func TestARepositoryThatIsMissingIsExplained(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration()
	repo := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "uploads"}}
	w.Expect(w.Client.Delete(t.Context(), repo)).To(Succeed())
	c := &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "uploads"}}
	bed.EditStatus(t, c, func() {
		conditions.MarkFalse(c, meta.ReadyCondition, v1alpha1.ReasonStorageNotFound, "BackupStorage s3 does not exist")
	})
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Reconcile("run")
	w.Expect(conditions.GetMessage(w.session("run"), meta.ReadyCondition)).To(
		Equal("waiting for target uploads: there is no Repository uploads: BackupStorage s3 does not exist"))
	w.Expect(w.Told()).To(Equal([]string{v1alpha1.ReasonRepositoryNotReady}), "it is said at once")
	w.Reconcile("run")
	w.Expect(w.Told()).To(BeEmpty(), "and once")
}

func TestARepositoryThatBecomesReadyIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration()
	w.repositoryPhase(v1alpha1.PhaseNotReady)
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Expect(w.Reconcile("run").RequeueAfter).To(BeNumerically(">", 0))
	w.repositoryPhase(v1alpha1.PhaseReady)
	w.Expect(summary(w.settle("run"))[0]).To(Equal("Succeeded/Succeeded"))
}

func TestChildrenOfABatch(t *testing.T) {
	t.Parallel()
	t.Run("one that is missing is waited for, then its target has failed", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.batch()
		child := &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "shop-db"}}
		w.Expect(w.Client.Delete(t.Context(), child)).To(Succeed())
		w.run(v1alpha1.BackupBatchKind, "shop", "run")
		w.Reconcile("run")
		w.Expect(w.session("run").Status.Reason).To(Equal(v1alpha1.ReasonChildrenNotReady))
		w.Clock.SetTime(w.Clock.Now().Add(session.WaitForChild))
		w.Expect(summary(w.settle("run"))).To(Equal([]string{
			"Failed/TargetsFailed", "web: Succeeded/Succeeded", "uploads: Succeeded/Succeeded", "db: Failed/ChildrenNotReady",
		}))
	})
	t.Run("one that belongs to somebody else is not used", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.batch()
		child := &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "shop-db"}}
		bed.Edit(t, child, func() { child.OwnerReferences = nil })
		w.run(v1alpha1.BackupBatchKind, "shop", "run")
		w.Expect(summary(w.settle("run"))[3]).To(Equal("db: Failed/NameConflict"))
	})
	t.Run("a batch that was just changed is expanded first", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		b := w.batch()
		bed.EditStatus(t, b, func() { b.Status.ObservedGeneration = 0 })
		w.run(v1alpha1.BackupBatchKind, "shop", "run")
		w.Reconcile("run")
		w.Expect(w.session("run").Status.Phase).To(Equal(v1alpha1.BackupSessionPending))
		bed.EditStatus(t, b, func() { b.Status.ObservedGeneration = b.Generation })
		w.Expect(summary(w.settle("run"))[0]).To(Equal("Succeeded/Succeeded"))
	})
}

func TestTheRevisionInForceIsFrozen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sync := &v1alpha1.PolicySync{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "policy"},
		Spec:       v1alpha1.PolicySyncSpec{URL: "https://git.example.com/policy.git", Interval: metav1.Duration{Duration: time.Minute}},
	}
	sessiontest.Create(t, w.Client, sync)
	applying := func(attempted string, reconciling metav1.ConditionStatus, reason string) {
		bed.EditStatus(t, sync, func() {
			sync.Status.LastAppliedRevision, sync.Status.LastAttemptedRevision = "main@sha1:aaaa", attempted
			sync.Status.Conditions = []metav1.Condition{{Type: "Reconciling", Status: reconciling, Reason: reason, LastTransitionTime: metav1.Now()}}
		})
	}
	applying("main@sha1:bbbb", metav1.ConditionTrue, v1alpha1.ReasonProgressing)
	w.configuration(func(c *v1alpha1.BackupConfiguration) {
		c.Labels = map[string]string{v1alpha1.LabelSyncName: "policy", v1alpha1.LabelSyncNamespace: w.Namespace}
		for i := range c.Spec.Sessions {
			c.Spec.Sessions[i].Scheduler = &v1alpha1.SchedulerSpec{Schedule: "*/5 * * * *"}
		}
	})
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Reconcile("run")
	w.Expect(w.session("run").Status.Phase).To(Equal(v1alpha1.BackupSessionPending), "it waits for a revision that is being applied")

	applying("main@sha1:aaaa", metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	s := w.settle("run")
	w.Expect(s.Status.Resolved.Policy.Revision).To(Equal("main@sha1:aaaa"))
	w.Expect(s.Status.Resolved.Schedule).To(Equal("*/5 * * * *"), "the folder of the record depends on it")
	w.Expect(s.Status.Resolved.Policy.Source).To(Equal("PolicySync/" + w.Namespace + "/policy"))

	// A revision that failed is tried again for as long as it takes: no run waits for that.
	applying("main@sha1:bbbb", metav1.ConditionTrue, v1alpha1.ReasonProgressingWithRetry)
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "second")
	w.Reconcile("second")
	w.Expect(w.session("second").Status.Phase).NotTo(Equal(v1alpha1.BackupSessionPending))
	w.Expect(w.settle("second").Status.Resolved.Policy.Revision).To(Equal("main@sha1:aaaa"))
}

func TestARunOfABatchsChildNamesTheBatchsPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	batch := w.batch()
	sync := &v1alpha1.PolicySync{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "policy"},
		Spec:       v1alpha1.PolicySyncSpec{URL: "https://git.example.com/policy.git", Interval: metav1.Duration{Duration: time.Minute}},
	}
	sessiontest.Create(t, w.Client, sync)
	bed.EditStatus(t, sync, func() { sync.Status.LastAppliedRevision = "main@sha1:aaaa" })
	bed.Edit(t, batch, func() {
		batch.Labels = map[string]string{v1alpha1.LabelSyncName: "policy", v1alpha1.LabelSyncNamespace: w.Namespace}
	})
	w.run(v1alpha1.BackupConfigurationKind, "shop-db", "run")
	w.Expect(w.settle("run").Status.Resolved.Policy.Revision).To(Equal("main@sha1:aaaa"))
}
