package restorebatch

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// fixed names a restore point, as whoever seeds a staging environment does.
func fixed(b *v1alpha1.RestoreBatch) { b.Spec.DataSource.BackupSession = "second" }

// disturbed scales web up while movers write.
func (w *world) disturbed(job *batchv1.Job) kubelet.Outcome {
	var d appsv1.Deployment
	w.Get("web", &d)
	d.Spec.Replicas = new(int32(1))
	w.Expect(w.Client.Update(w.T.Context(), &d)).To(Succeed())
	return kubelet.Succeed(job)
}

// What was restored before, perhaps months ago, does not count as restored now.
func TestATargetThatWasFilledBeforeIsNotRestored(t *testing.T) {
	t.Parallel()
	failsDB := func(job *batchv1.Job) kubelet.Outcome {
		if strings.Contains(job.Name, "db") {
			return kubelet.Fail(v1alpha1.ReasonTargetUnwritable)
		}
		return kubelet.Succeed(job)
	}
	for name, tt := range map[string]struct {
		outcome func(*batchv1.Job) kubelet.Outcome
		first   string
		between func(*world)
	}{
		"a claim is made anew": {
			kubelet.Succeed, "Succeeded/Succeeded of second", func(w *world) { w.anew("db") },
		},
		"the second try of one that failed in part": {failsDB, "Failed/TargetsFailed of second", func(*world) {}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.gone(w.deployment("kubectl"))
			w.Outcome = tt.outcome
			w.restore("seed", fixed, scalesWeb)
			b := w.settle("seed")
			w.Expect(summary(b)[0]).To(Equal(tt.first))
			w.forget("seed")
			tt.between(w)
			w.Outcome = kubelet.Succeed
			w.restore("seed", fixed, scalesWeb)
			b = w.settle("seed")
			w.Expect(summary(b)).To(Equal([]string{
				"Failed/MixedRestorePoints of ", "web: Skipped/AlreadyRestored of ",
				"uploads: Skipped/AlreadyRestored of ", "db: Succeeded/Succeeded of second",
			}))
			w.Expect(conditions.GetMessage(b, meta.ReadyCondition)).To(And(
				HavePrefix("restored db from the restore point of BackupSession second; left as an identical "+
					"RestoreBatch has filled it before: web, uploads."),
				ContainSubstring("only scale up by hand")))
			w.Expect(w.replicas()).To(BeZero(), "its pods do not start on a mix")
		})
	}
}

// A RestoreBatch that failed although all was written is not Ready when it is made again: movers find the data.
func TestARestoreBatchThatFailedAfterItWroteIsNotDone(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fails func(w *world) *v1alpha1.RestoreBatch
		first string
		gone  bool // the Snapshots, by retention
		want  string
	}{
		"pods came in between": {
			func(w *world) *v1alpha1.RestoreBatch {
				w.gone(w.deployment("kubectl"))
				w.Outcome = w.disturbed
				w.restore("back", scalesWeb)
				return w.drive()
			}, v1alpha1.ReasonReplicasChanged, false, "Invalid/ConfirmationMissing of ",
		},
		"the targets may not fit together": {
			func(w *world) *v1alpha1.RestoreBatch {
				w.restore("back")
				b := w.drive()
				w.anew("db")
				w.again(b)
				return w.drive()
			}, v1alpha1.ReasonMixedRestorePoints, false, "Failed/TargetsFailed of second",
		},
		"a postRestore hook failed": {
			hookFails, v1alpha1.ReasonFailedToExecutePostRestoreHooks, false, "Invalid/ConfirmationMissing of ",
		},
		"a postRestore hook failed, and the Snapshots are gone": {
			hookFails, v1alpha1.ReasonFailedToExecutePostRestoreHooks, true, "Invalid/SnapshotNotFound of ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			b := tt.fails(w)
			w.Expect(b.Status.Reason).To(Equal(tt.first), "%v", summary(b))
			if tt.gone {
				w.Expect(w.Client.DeleteAllOf(t.Context(), &v1alpha1.Snapshot{}, client.InNamespace(w.Namespace))).
					To(Succeed())
			}
			w.Outcome = holdsData
			w.again(b)
			b = w.drive()
			w.Expect(summary(b)[0]).To(Equal(tt.want))
			w.Expect(conditions.IsTrue(b, meta.ReadyCondition)).To(BeFalse())
		})
	}
}

// hookFails restores with a postRestore hook that fails.
func hookFails(w *world) *v1alpha1.RestoreBatch {
	l := sessiontest.Listen(w.T)
	l.Answer = sessiontest.Refuse("/start", 500)
	w.hooked(l)
	return w.drive()
}

// The stamps go before the status says that the RestoreBatch failed. Whoever looks then sees both, or neither.
func TestTheStampsGoWithTheManagerKilled(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, killer *sessiontest.Killer) *world {
		w := newWorld(t)
		w.Killer = killer
		w.gone(w.deployment("kubectl"))
		w.Outcome = w.disturbed
		w.restore("back", scalesWeb, w.database())
		return w
	}
	check := func(w *world) {
		w.Expect(w.settle("back").Status.Reason).To(Equal(v1alpha1.ReasonReplicasChanged))
		service := &corev1.Service{}
		w.Get("db", service)
		for name, o := range map[string]client.Object{
			"web": &corev1.PersistentVolumeClaim{}, read.DatabaseMarkName(service.UID): &coordinationv1.Lease{},
		} {
			w.Get(name, o)
			stamp := o.GetAnnotations()[v1alpha1.AnnotationRestored]
			w.Expect(restore.ParseStamp(stamp)).To(Equal(restore.Stamp{Digest: stamp}), name)
			w.Expect(stamp).NotTo(BeEmpty(), name)
		}
	}
	undisturbed := &sessiontest.Killer{}
	check(start(t, undisturbed))
	for name, killer := range sessiontest.KillPoints(undisturbed.Count()) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(start(t, killer))
		})
	}
}

// A confirmation that was used does not count again, so nothing is overwritten either.
func TestAConfirmedRestoreBatchThatFailedAfterItWroteIsNotDone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.gone(w.deployment("kubectl"))
	w.Outcome = w.disturbed
	claim := &corev1.PersistentVolumeClaim{}
	w.Get("web", claim)
	w.restore("back", scalesWeb, of(v1alpha1.RestoreBatchTarget{Name: "web", Confirm: string(claim.UID)}))
	b := w.settle("back")
	w.Expect(b.Status.Reason).To(Equal(v1alpha1.ReasonReplicasChanged))
	w.again(b)
	w.Expect(summary(w.settle("back"))).To(Equal([]string{"Invalid/ConfirmationUsed of "}))
}

// While the workloads come up, another restore fills one of the claims: what that one says stays.
func TestTheStampOfAnotherRestoreStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := sessiontest.Listen(t)
	other := restore.Stamp{Digest: "sha256:other", Target: "1", Volume: "2", Claims: 1, Name: "other"}.String()
	l.Answer = func(path string) int {
		if path != "/start" {
			return 200
		}
		claim := &corev1.PersistentVolumeClaim{}
		w.Get("db", claim)
		bed.Edit(t, claim, func() { claim.Annotations[v1alpha1.AnnotationRestored] = other })
		return 500
	}
	w.hooked(l)
	w.Expect(w.drive().Status.Reason).To(Equal(v1alpha1.ReasonFailedToExecutePostRestoreHooks))
	for name, want := range map[string]bool{"web": false, "uploads": false, "db": true} {
		claim := &corev1.PersistentVolumeClaim{}
		w.Get(name, claim)
		w.Expect(claim.Annotations[v1alpha1.AnnotationRestored] == other).To(Equal(want), name)
	}
}

// Where a policy of the cluster forbids to change claims, the RestoreBatch says so and ends. A webhook that is away
// comes back: until then the RestoreBatch, made again, would be Skipped, and Ready.
func TestARestoreBatchWhoseStampsNobodyCanTake(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		code          int32
		comes, delete bool // after an hour
		waits         bool
	}{
		"a policy":               {code: 403},
		"an expression":          {code: 422},
		"a webhook":              {code: 500, waits: true, comes: true},
		"a webhook, and deleted": {code: 500, waits: true, delete: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.gone(w.deployment("kubectl"))
			w.Outcome = w.disturbed
			w.restore("back", scalesWeb)
			whole, away, refused := w.Client, true, 0
			w.Client = interceptor.NewClient(whole, interceptor.Funcs{Patch: func(
				ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption,
			) error {
				stamp := restore.ParseStamp(o.GetAnnotations()[v1alpha1.AnnotationRestored])
				if away && o.GetName() == "db" && stamp.Digest != "" && stamp.Target == "" {
					refused++
					return testbed.Denied(tt.code)
				}
				return c.Patch(ctx, o, p, opts...)
			}})
			w.until(func() bool { return refused > 0 })
			for range 60 {
				w.Reconcile("back")
				w.Clock.SetTime(w.Clock.Now().Add(time.Minute))
			}
			b := w.batch("back")
			w.Expect(b.Status.Phase.Terminal()).To(Equal(!tt.waits))
			w.Expect(conditions.GetMessage(b, meta.ReadyCondition)).To(ContainSubstring("rules.example.com"))
			w.Expect(conditions.Has(b, v1alpha1.ConditionCreationRefused)).To(Equal(tt.waits))
			w.Expect(w.holdsStamp("uploads")).To(BeFalse(), "one claim holds up no other")
			away = !tt.comes
			if tt.delete {
				w.Expect(whole.Delete(t.Context(), b)).To(Succeed())
				w.Reconcile("back")
				w.Clock.SetTime(w.Clock.Now().Add(run.WaitForRefused))
			}
			b = w.settle("back")
			w.Expect(b.Status.Reason).To(Equal(v1alpha1.ReasonReplicasChanged))
			w.Expect(w.holdsStamp("db")).To(Equal(!tt.comes))
			w.Expect(strings.Contains(conditions.GetMessage(b, meta.ReadyCondition), "of its targets stays")).
				To(Equal(!tt.comes))
			w.Expect(conditions.Has(b, v1alpha1.ConditionCreationRefused)).To(BeFalse())
		})
	}
}

// until reconciles and lets the cluster work until something is so.
func (w *world) until(is func() bool) {
	w.T.Helper()
	for range 50 {
		if w.Reconcile("back"); is() {
			return
		}
		w.Cluster()
	}
	w.T.Fatalf("it never came: %v", summary(w.batch("back")))
}

// holdsStamp reports whether the stamp of a claim is whole.
func (w *world) holdsStamp(name string) bool {
	w.T.Helper()
	claim := &corev1.PersistentVolumeClaim{}
	w.Get(name, claim)
	return restore.ParseStamp(claim.Annotations[v1alpha1.AnnotationRestored]).Target != ""
}

// Pods came in between, and another target could not be written: what the others hold is in doubt, too.
func TestTheStampsGoAlsoIfATargetFailed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.gone(w.deployment("kubectl"))
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		if kubelet.TaskOf(job).RestoreSession.Name == "back-db" {
			return kubelet.Fail(v1alpha1.ReasonTargetUnwritable)
		}
		return w.disturbed(job)
	}
	mixed := func(b *v1alpha1.RestoreBatch) { b.Spec.DataSource.Mixed = true }
	w.restore("back", scalesWeb, mixed)
	b := w.settle("back")
	w.Expect(b.Status.Reason).To(Equal(v1alpha1.ReasonTargetsFailed))
	w.Outcome = kubelet.Succeed
	w.again(b)
	w.Expect(w.settle("back").Status.Phase).NotTo(Equal(v1alpha1.RestoreSessionSucceeded))
}
