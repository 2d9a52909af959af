package backupsession

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/controllers/restoresession"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// newRestoringWorld has a backup of the claim uploads, the run "run" of its policy, and the restore "restore" of an
// older Snapshot into that claim. Neither has begun.
func newRestoringWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.configuration()
	sessiontest.Create(t, w.Client, &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "old"},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: "old", Repository: "uploads", Session: "nightly", BackupSession: "older",
			Version: v1alpha1.SnapshotLayoutVersion, AppRef: uploads,
		},
		Status: v1alpha1.SnapshotStatus{
			Phase: v1alpha1.SnapshotSucceeded, SnapshotTime: new(metav1.Now()),
			Components: map[string]v1alpha1.Component{
				"pvc": {Phase: v1alpha1.SnapshotSucceeded, Driver: v1alpha1.DriverKopia, ID: "k"},
			},
		},
	}, &v1alpha1.RestoreSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "restore"},
		Spec: v1alpha1.RestoreSessionSpec{
			Target: new(uploads), DataSource: &v1alpha1.RestoreDataSource{Snapshot: "old"},
		},
	})
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	return w
}

// reconcileRestore reconciles the restore once, as a worker of the same manager.
func (w *world) reconcileRestore(killer *sessiontest.Killer, live client.Reader) error {
	r := &restoresession.Reconciler{
		Client: killer.Client(w.Client), APIReader: live, EventRecorder: w.Events, Clock: w.Clock,
		MoverImage: "mover:test", ClusterUID: "cluster", FieldManager: "cairn-manager",
		Hooks: sessiontest.Hooks(w.World, bed.Config),
	}
	_, err := r.Reconcile(w.T.Context(), ctrl.Request{
		NamespacedName: client.ObjectKey{Namespace: w.Namespace, Name: "restore"},
	})
	return err
}

func (w *world) restoreSession() *v1alpha1.RestoreSession {
	w.T.Helper()
	s := &v1alpha1.RestoreSession{}
	w.Get("restore", s)
	return s
}

// atWork returns whether a Job of the backup and one of the restore work now.
func (w *world) atWork() (backup, restore bool) {
	w.T.Helper()
	for _, job := range w.Jobs() {
		if job.Status.CompletionTime != nil {
			continue
		}
		backup = backup || job.Labels[v1alpha1.LabelBackupSession] != ""
		restore = restore || job.Labels[v1alpha1.LabelRestoreSession] != ""
	}
	return backup, restore
}

// TestOfABackupAndARestoreOfTheSameMomentOneWorks: whatever the order of their steps, a backup never reads what a
// restore writes.
func TestOfABackupAndARestoreOfTheSameMomentOneWorks(t *testing.T) {
	t.Parallel()
	backs := func(w *world) { w.Reconcile("run") }
	restores := func(w *world) { w.Expect(w.reconcileRestore(&sessiontest.Killer{}, w.Client)).To(Succeed()) }
	freezeBoth := func(w *world) {
		w.Killer = &sessiontest.Killer{At: 3}
		w.Reconcile("run")
		before := interceptor.NewClient(w.Client, interceptor.Funcs{List: func(
			ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption,
		) error {
			if _, ok := list.(*v1alpha1.BackupSessionList); ok {
				return nil // the restore looked a moment before the backup was frozen
			}
			return c.List(ctx, list, opts...)
		}})
		w.Expect(w.reconcileRestore(&sessiontest.Killer{At: 3}, before)).To(MatchError(sessiontest.ErrKilled))
		w.Expect(w.session("run").Status.Resolved).NotTo(BeNil())
		w.Expect(w.restoreSession().Status.Resolved).NotTo(BeNil())
	}
	atOnce := func(w *world) {
		r := reconciler(w.World)
		var both sync.WaitGroup
		both.Go(func() {
			_, _ = r.Reconcile(w.T.Context(), ctrl.Request{
				NamespacedName: client.ObjectKey{Namespace: w.Namespace, Name: "run"},
			})
		})
		both.Go(func() { _ = w.reconcileRestore(&sessiontest.Killer{}, w.Client) })
		both.Wait()
	}
	for name, tt := range map[string]struct {
		steps []func(*world)
		want  []string // how they can end; nothing where that depends on who was first
	}{
		"the backup is first": {
			[]func(*world){backs, restores}, []string{"Succeeded/Succeeded", "Succeeded/Succeeded"},
		},
		"the restore is first": {
			[]func(*world){restores, backs}, []string{"Skipped/RestoreInProgress", "Succeeded/Succeeded"},
		},
		"both are frozen, and the backup goes on first": {
			[]func(*world){freezeBoth, backs, restores}, []string{"Failed/RestoreInProgress", "Succeeded/Succeeded"},
		},
		"both are frozen, and the restore goes on first": {
			[]func(*world){freezeBoth, restores, backs}, []string{"Failed/RestoreInProgress", "Succeeded/Succeeded"},
		},
		"both are frozen, and go on at once": {
			[]func(*world){freezeBoth, atOnce}, []string{"Failed/RestoreInProgress", "Succeeded/Succeeded"},
		},
		"both begin at once": {[]func(*world){atOnce}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newRestoringWorld(t)
			w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Outcome{Hang: true} }
			never := func() {
				backup, restore := w.atWork()
				w.Expect(backup && restore).To(BeFalse(), "a backup reads what a restore writes")
			}
			for _, step := range tt.steps {
				step(w)
				never()
			}
			w.Outcome = kubelet.Succeed
			var run *v1alpha1.BackupSession
			var restore *v1alpha1.RestoreSession
			for range 30 {
				backs(w)
				never()
				restores(w)
				never()
				w.Cluster()
				w.Clock.SetTime(w.Clock.Now().Add(10 * time.Second))
				run, restore = w.session("run"), w.restoreSession()
				if run.Status.Phase.Terminal() && restore.Status.Phase.Terminal() {
					break
				}
			}
			w.Expect(restore.Status.Reason).To(Equal(v1alpha1.ReasonSucceeded), "it waits, and then restores")
			if tt.want != nil {
				w.Expect([]string{summary(run)[0], string(restore.Status.Phase) + "/" + restore.Status.Reason}).
					To(Equal(tt.want))
			}
		})
	}
}

// The restore breaks off in the middle. The next backup of its target is made, and is no good state to restore.
func TestABackupOfAHalfRestoredTargetIsNotTheLatest(t *testing.T) {
	t.Parallel()
	w := newRestoringWorld(t)
	w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Fail(v1alpha1.ReasonUnreachable) }
	for range 10 {
		w.Expect(w.reconcileRestore(&sessiontest.Killer{}, w.Client)).To(Succeed())
		w.Cluster()
	}
	w.Expect(w.restoreSession().Status.Phase).To(Equal(v1alpha1.RestoreSessionFailed))
	w.Outcome = kubelet.Succeed
	run := w.settle("run")
	w.Expect(summary(run)[0]).To(Equal("Succeeded/Succeeded"), "data is data")
	var list v1alpha1.SnapshotList
	w.Expect(w.Client.List(t.Context(), &list, client.InNamespace(w.Namespace))).To(Succeed())
	w.Expect(list.Items).To(HaveLen(2))
	for i := range list.Items {
		s := &list.Items[i]
		w.Expect(retention.FromSnapshot(s, "").Damaged).To(Equal(s.Name != "old"), "the good one must stay")
		w.Expect(restore.HalfRestoredOf(s) != "").To(Equal(s.Name != "old"))
	}
	w.Expect(w.EventReasons()).To(ContainElement(v1alpha1.ReasonHalfRestored))
}

// A batch can have hundreds of targets, each with several claims and Repositories.
func TestARunLooksOnceForTheMarksOfAllItsClaims(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.batch()
	w.run(v1alpha1.BackupBatchKind, "shop", "run")
	gets, lists := 0, 0
	r := reconciler(w.World)
	r.APIReader = interceptor.NewClient(w.Client, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object,
			opts ...client.GetOption,
		) error {
			if _, ok := o.(*corev1.PersistentVolumeClaim); ok {
				gets++
			}
			return c.Get(ctx, key, o, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if _, ok := list.(*corev1.PersistentVolumeClaimList); ok {
				lists++
			}
			return c.List(ctx, list, opts...)
		},
	})
	for len(w.snapshots()) == 0 {
		_, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{
			Namespace: w.Namespace, Name: "run",
		}})
		w.Expect(err).NotTo(HaveOccurred())
	}
	w.Expect(w.snapshots()).To(HaveLen(3))
	w.Expect(gets).To(Equal(1+4), "of the target that is a claim, for its start, and of each claim of the targets")
	w.Expect(lists).To(Equal(2), "for the start and for the Jobs")

	gets, lists = 0, 0
	claims := r.claimsByName(t.Context(), w.Namespace)
	for range 2 {
		for i := range fewClaims {
			found, err := claims([]string{"uploads", fmt.Sprint("gone-", i)})
			w.Expect(err).NotTo(HaveOccurred())
			w.Expect(found["uploads"]).NotTo(BeNil())
			w.Expect(found[fmt.Sprint("gone-", i)]).To(BeNil())
		}
	}
	w.Expect(gets).To(Equal(fewClaims))
	w.Expect(lists).To(Equal(1), "rather than still more")
}
