package restoresession

import (
	"cmp"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	"github.com/fluxcd/pkg/runtime/conditions/check"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

func TestARestoreThatIsRefused(t *testing.T) {
	t.Parallel()
	source := func(d v1alpha1.RestoreDataSource) func(*v1alpha1.RestoreSession) {
		return func(s *v1alpha1.RestoreSession) { s.Spec.DataSource = &d }
	}
	tests := map[string]struct {
		restore func(*v1alpha1.RestoreSession)
		change  func(*world)
		// later is the time after which the test reconciles again; the restore is Pending until then.
		later   time.Duration
		want    string
		message string
	}{
		"a Snapshot that does not exist": {
			restore: source(v1alpha1.RestoreDataSource{Snapshot: "nothing"}), want: "Invalid/SnapshotNotFound",
			message: "cairn repository scan brings it back",
		},
		"a Snapshot with an invalid name": {
			restore: source(v1alpha1.RestoreDataSource{Snapshot: "a/b"}), want: "Invalid/SnapshotNotFound",
		},
		"a claim with an invalid name": {
			restore: func(s *v1alpha1.RestoreSession) { s.Spec.Target.Name = "a/b" },
			later:   waitForTarget, want: "Invalid/TargetNotFound",
		},
		"a Snapshot that failed": {
			restore: source(v1alpha1.RestoreDataSource{Snapshot: "third"}), want: "Invalid/SnapshotNotFound",
			message: "Failed",
		},
		"a Snapshot of another repository": {
			restore: source(v1alpha1.RestoreDataSource{Snapshot: "first", Repository: "other"}),
			want:    "Invalid/SnapshotNotFound", message: "not in Repository other",
		},
		"latest of a repository without Snapshots": {
			restore: source(v1alpha1.RestoreDataSource{Snapshot: "latest", Repository: "other"}),
			change: func(w *world) {
				claim := v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "other"}
				sessiontest.Create(w.T, w.Client, sessiontest.Repository(w.Namespace, "other", w.Storage, claim))
			},
			want: "Invalid/SnapshotNotFound",
			message: "Repository other has no successful Snapshot. If its backend holds backups that the cluster has " +
				"lost, bring them back: cairn repository scan other -n ",
		},
		"latest of a repository that does not exist": {
			restore: source(v1alpha1.RestoreDataSource{Snapshot: "latest", Repository: "other"}),
			want:    "Invalid/SnapshotNotFound", message: "there is no Repository other",
		},
		"a Snapshot with several components": {
			restore: source(v1alpha1.RestoreDataSource{Snapshot: "pods"}), want: "Invalid/ComponentNotFound",
			message: "pod-0, pod-1",
		},
		"one component of several": {
			restore: source(v1alpha1.RestoreDataSource{Snapshot: "pods", Components: []string{"pod-1"}}),
			want:    "Succeeded/Succeeded",
		},
		"a missing component": {
			restore: source(v1alpha1.RestoreDataSource{Snapshot: "pods", Components: []string{"pod-9"}}),
			want:    "Invalid/ComponentNotFound",
		},
		"a claim that never comes": {
			restore: func(s *v1alpha1.RestoreSession) { s.Spec.Target.Name = "nothing" },
			later:   waitForTarget, want: "Invalid/TargetNotFound",
		},
		"a repository that never becomes ready": {
			change: func(w *world) {
				repo := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "uploads"}}
				bed.EditStatus(w.T, repo, func() { repo.Status.Phase = v1alpha1.PhaseNotReady })
			},
			later: run.WaitForRepository, want: "Failed/RepositoryNotReady",
		},
		"a repository whose directory another cluster has adopted": {
			change: func(w *world) { w.lost("") }, want: "Succeeded/Succeeded",
		},
		"a repository whose directory another cluster has adopted, and which was not reached since": {
			change: func(w *world) {
				w.lost("")
				repo := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "uploads"}}
				bed.EditStatus(w.T, repo, func() {
					repo.Status.TakenTime = &metav1.Time{Time: w.Clock.Now()}
					conditions.MarkFalse(repo, meta.ReadyCondition, v1alpha1.ReasonUnreachable, "no route")
				})
			}, want: "Succeeded/Succeeded",
		},
		"a repository whose new place belongs to another cluster": {
			change: func(w *world) { w.lost("elsewhere") },
			later:  run.WaitForRepository, want: "Failed/RepositoryNotReady",
		},
		"a claim that a pod uses": {
			change: func(w *world) {
				sessiontest.Create(w.T, w.Client, sessiontest.Pod(w.Namespace, "app", "node-a", "target", nil))
			},
			want: "Failed/VolumeInUse", message: "pod app",
		},
		"a claim that a pod without a node will use": {
			change: func(w *world) {
				p := sessiontest.Pod(w.Namespace, "app", "", "target", nil)
				p.Status.Phase = corev1.PodPending
				sessiontest.Create(w.T, w.Client, p)
			},
			want: "Failed/VolumeInUse",
		},
		"a claim that a pod used": {
			change: func(w *world) {
				p := sessiontest.Pod(w.Namespace, "app", "node-a", "target", nil)
				p.Status.Phase = corev1.PodSucceeded
				sessiontest.Create(w.T, w.Client, p)
			},
			want: "Succeeded/Succeeded",
		},
		"a claim that is bound when a pod needs it": {
			change: func(w *world) {
				claim := sessiontest.Claim(w.Namespace, "target")
				bed.EditStatus(w.T, claim, func() { claim.Status.Phase = corev1.ClaimPending })
			},
			want: "Succeeded/Succeeded",
		},
		"a claim that another restore writes into": {
			change: func(w *world) {
				w.restore("other", source(v1alpha1.RestoreDataSource{Snapshot: "first"}))
				w.Reconcile("other")
			},
			want: "Failed/RestoreInProgress", message: "RestoreSession other",
		},
		"root that the namespace does not allow": {
			restore: func(s *v1alpha1.RestoreSession) {
				s.Spec.Addon = &v1alpha1.AddonInfo{
					Name: catalog.VolumeAddon, Tasks: []v1alpha1.TaskReference{{Name: catalog.RestoreTask}},
					JobTemplate: &v1alpha1.PodTemplateSpec{Spec: v1alpha1.JobPodSpec{
						SecurityContext: &v1alpha1.MoverSecurityContext{RunAsUser: new(int64(0))},
					}},
				}
			},
			want: "Invalid/PrivilegeRequired",
		},
		"a Job that the API server refuses": {
			restore: func(s *v1alpha1.RestoreSession) {
				s.Spec.Addon = &v1alpha1.AddonInfo{
					Name: catalog.VolumeAddon, Tasks: []v1alpha1.TaskReference{{Name: catalog.RestoreTask}},
					JobTemplate: sessiontest.MoreThanItsLimit(),
				}
			},
			want: "Failed/InvalidTask",
		},
		"arguments that fit into no object": {
			restore: func(s *v1alpha1.RestoreSession) {
				s.Spec.Addon = sessiontest.HugeTask(t, bed.Client, s.Namespace, true)
			},
			want: "Invalid/InvalidTask",
		},
		"a storage that does not allow the namespace": {
			change: func(w *world) {
				storage := &v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{
					Namespace: w.Storage,
					Name:      sessiontest.StorageName,
				}}
				bed.Edit(w.T, storage, func() { storage.Spec.UsagePolicy = nil })
			},
			want: "Failed/StorageNotAllowed", message: "/" + sessiontest.StorageName + " does not allow the namespace ",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if tt.change != nil {
				tt.change(w)
			}
			before := len(w.Jobs())
			var edits []func(*v1alpha1.RestoreSession)
			if tt.restore != nil {
				edits = append(edits, tt.restore)
			}
			w.restore("restore", edits...)
			w.Reconcile("restore")
			if tt.later > 0 {
				w.Expect(w.session("restore").Status.Phase).To(Equal(v1alpha1.RestoreSessionPending))
				pending := w.session("restore")
				w.Reconcile("restore")
				w.Expect(w.session("restore")).To(Equal(pending), "waiting writes nothing")
				w.Expect(w.EventReasons()).To(Equal([]string{pending.Status.Reason}),
					"one event reports what the restore waits for")
			}
			w.Clock.SetTime(w.Clock.Now().Add(tt.later))
			s := w.settle("restore")
			w.Expect(ending(s)).To(Equal(tt.want), "%v", s.Status.Conditions)
			if tt.message != "" {
				w.Expect(s.Status.Conditions).To(ContainElement(HaveField("Message", ContainSubstring(tt.message))))
			}
			if s.Status.Phase != v1alpha1.RestoreSessionSucceeded {
				w.Expect(w.Jobs()).To(HaveLen(before), "a refused restore creates no Job")
				w.Expect(w.stamp()).To(BeEmpty())
			}
			check.NewChecker(w.Client, negative).WithT(w.WithT).CheckErr(t.Context(), s)
		})
	}
}

// lost lets the init Job of the Repository find that its directory belongs to another cluster. place is where it was
// initialised, or "" for the place that it has.
func (w *world) lost(place string) {
	w.T.Helper()
	repo := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "uploads"}}
	storage := &v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{
		Namespace: w.Storage, Name: sessiontest.StorageName,
	}}
	w.Expect(w.Client.Get(w.T.Context(), client.ObjectKeyFromObject(storage), storage)).To(Succeed())
	bed.EditStatus(w.T, repo, func() {
		repo.Status.InitializedSpec = cmp.Or(place,
			policy.RepositoryPlace(storage.Namespace, storage.Spec.Storage, repo.Spec.Path))
		repo.Status.Phase = v1alpha1.PhaseNotReady
		conditions.MarkFalse(repo, v1alpha1.ConditionRepositoryInitialized,
			v1alpha1.ReasonRepositoryInitializationFailed, "taken")
		conditions.MarkFalse(repo, meta.ReadyCondition, v1alpha1.ReasonDirectoryTaken, "taken")
	})
}

// A frozen restore finds another state when the manager comes back.
func TestAClaimThatIsNotFreeAnyMore(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*world)
		want   string
	}{
		"a pod uses it": {
			change: func(w *world) {
				sessiontest.Create(w.T, w.Client, sessiontest.Pod(w.Namespace, "app", "node-a", "target", nil))
			},
			want: "Failed/VolumeInUse",
		},
		"another restore took the claim": {
			change: func(w *world) {
				w.freezeToo("other")
				claim := sessiontest.Claim(w.Namespace, "target")
				bed.Edit(w.T, claim, func() {
					claim.Annotations = map[string]string{v1alpha1.AnnotationRestoring: string(w.session("other").UID)}
				})
			},
			want: "Failed/RestoreInProgress",
		},
		"another claim has its name": {
			change: func(w *world) {
				w.deleteClaim()
				sessiontest.Create(w.T, w.Client, sessiontest.Claim(w.Namespace, "target"))
			},
			want: "Failed/TargetNotFound",
		},
		"it is gone": {change: (*world).deleteClaim, want: "Failed/TargetNotFound"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Killer = &sessiontest.Killer{At: 3}
			w.restore("restore")
			w.Reconcile("restore")
			w.Expect(w.session("restore").Status.Resolved).NotTo(BeNil())
			tt.change(w)
			w.Expect(ending(w.settle("restore"))).To(Equal(tt.want))
			w.Expect(w.Jobs()).To(BeEmpty(), "nothing is written into it")
		})
	}
}

// freezeToo creates a restore that was frozen at the same moment as the restore named restore.
func (w *world) freezeToo(name string) {
	w.T.Helper()
	w.restore(name)
	other, resolved := w.session(name), w.session("restore").Status.Resolved
	bed.EditStatus(w.T, other, func() {
		other.Status.Phase, other.Status.Resolved, other.Status.Attempt = v1alpha1.RestoreSessionRunning, resolved, 1
		other.Status.RestoreDeadline = w.session("restore").Status.RestoreDeadline
		other.Status.StartTime = w.session("restore").Status.StartTime
	})
}

func TestOfTwoRestoresOfTheSameMomentOneWrites(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Killer = &sessiontest.Killer{At: 3}
	w.restore("restore")
	w.Reconcile("restore")
	w.Expect(w.session("restore").Status.Resolved).NotTo(BeNil())
	w.freezeToo("other")
	loser, winner := "other", "restore"
	if a, b := w.session("restore"), w.session("other"); restore.Older(b, a) {
		loser, winner = winner, loser
	}
	w.Expect(ending(w.settle(loser))).To(Equal("Failed/RestoreInProgress"))
	w.Expect(ending(w.settle(winner))).To(Equal("Succeeded/Succeeded"))
	w.Expect(w.Jobs()).To(HaveLen(1))
	var claim corev1.PersistentVolumeClaim
	w.Get("target", &claim)
	w.Expect(claim.Annotations).NotTo(HaveKey(v1alpha1.AnnotationRestoring), "the restore released the claim")
}

// deleteClaim deletes the claim target, which nothing protects.
func (w *world) deleteClaim() {
	w.T.Helper()
	claim := sessiontest.Claim(w.Namespace, "target")
	bed.Edit(w.T, claim, func() { claim.Finalizers = nil })
	w.Expect(w.Client.Delete(w.T.Context(), claim)).To(Succeed())
}
