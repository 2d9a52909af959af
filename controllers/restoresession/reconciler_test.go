package restoresession

import (
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions/check"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// negative holds the conditions that exist only while they matter.
var negative = &check.Conditions{NegativePolarity: []string{"Stalled", "Partial", "Reconciling"}}

func TestARestoreSucceeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.restore("restore")
	w.Reconcile("restore")
	s := w.session("restore")
	w.Expect(s.Status.Phase).To(Equal(v1alpha1.RestoreSessionRunning))
	w.Expect(s.Finalizers).To(ConsistOf(v1alpha1.FinalizerCancel, v1alpha1.FinalizerRecord))
	w.Expect(s.Status.Resolved.Snapshot).To(Equal("second"), "the newest successful Snapshot")
	w.Expect(s.Status.Resolved.Hosts).To(HaveLen(1))
	w.Expect(s.Status.Resolved.Hosts[0].Volumes[0].ID).To(Equal("k-second-pvc"))
	w.Expect(*s.Status.Resolved.Hosts[0].SecurityContext.RunAsUser).To(Equal(moverjob.DefaultUser))
	w.Expect(s.Status.Resolved.Task.Image).To(Equal("mover:test"))
	jobs := w.Jobs()
	w.Expect(jobs).To(HaveLen(1))
	w.Expect(metav1.IsControlledBy(&jobs[0], s)).To(BeTrue())
	w.Expect(s.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationMovers, "pvc="+jobs[0].Name))
	w.Expect(kubelet.TaskOf(&jobs[0]).Components[0].ID).To(Equal("k-second-pvc"))
	w.Expect(w.stamp()).To(BeEmpty())

	s = w.settle("restore")
	w.Expect(ending(s)).To(Equal("Succeeded/Succeeded"))
	w.Expect(s.Status.Components["pvc"].Size).To(Equal("2.000 MiB"))
	w.Expect(s.Finalizers).To(ConsistOf(v1alpha1.FinalizerRecord), "the ledger's collector still needs it")
	w.Expect(w.stamp()).To(Equal(s.Status.Resolved.SpecDigest))
	check.NewChecker(w.Client, negative).WithT(w.WithT).CheckErr(t.Context(), s)
	w.Expect(w.EventReasons()).To(Equal([]string{"Started", "Succeeded"}))

	w.Clock.SetTime(w.Clock.Now().Add(24 * time.Hour))
	w.Reconcile("restore")
	w.Expect(w.session("restore")).To(Equal(s), "an ended restore never changes")

	// A GitOps tool creates the same restore again: it restores nothing, whatever the target holds by now.
	w.forget("restore")
	w.restore("restore")
	s = w.settle("restore")
	w.Expect(ending(s)).To(Equal("Skipped/AlreadyRestored"))
	w.Expect(message(s)).To(ContainSubstring("nobody has looked at what they hold now"))
	w.Expect(w.Jobs()).To(BeEmpty())
	check.NewChecker(w.Client, negative).WithT(w.WithT).CheckErr(t.Context(), s)
}

// The volume that an earlier restore filled can be gone or terminating. It then does not count as restored.
func TestAStampOnAVolumeThatGoesSaysNothing(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		spoil func(w *world, claim *corev1.PersistentVolumeClaim)
		jobs  int
	}{
		"deleted": {func(w *world, claim *corev1.PersistentVolumeClaim) {
			w.Expect(w.Client.Delete(w.T.Context(), claim)).To(Succeed())
		}, 0},
		"lost": {func(w *world, claim *corev1.PersistentVolumeClaim) {
			claim.Status.Phase = corev1.ClaimLost
			w.Expect(w.Client.Status().Update(w.T.Context(), claim)).To(Succeed())
		}, 0},
		"created again with its annotations, as an export or Velero does": {
			func(w *world, claim *corev1.PersistentVolumeClaim) { w.createAgain(claim) }, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.restore("first")
			w.Expect(ending(w.settle("first"))).To(Equal("Succeeded/Succeeded"))
			tt.spoil(w, w.claim("target"))
			w.forget("first")
			w.restore("first")
			w.Reconcile("first")
			w.Reconcile("first")
			s := w.session("first")
			w.Expect(s.Status.Phase).NotTo(BeEmpty())
			w.Expect(s.Status.Phase).NotTo(Equal(v1alpha1.RestoreSessionSkipped), message(s))
			w.Expect(len(w.Jobs())).To(Equal(tt.jobs))
		})
	}
}

// createAgain deletes a claim and creates it as it was exported: with its annotations, and with a new, empty volume.
func (w *world) createAgain(claim *corev1.PersistentVolumeClaim) {
	w.T.Helper()
	w.remove(claim)
	again := sessiontest.Claim(claim.Namespace, claim.Name)
	again.Annotations, again.Labels = claim.Annotations, claim.Labels
	sessiontest.Create(w.T, w.Client, again)
	w.Expect(again.UID).NotTo(Equal(claim.UID))
}

// remove deletes a claim, which nothing protects.
func (w *world) remove(claim *corev1.PersistentVolumeClaim) {
	w.T.Helper()
	bed.Edit(w.T, claim, func() { claim.Finalizers = nil })
	w.Expect(w.Client.Delete(w.T.Context(), claim)).To(Succeed())
}

func TestARestoreThatFailsStampsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Fail(v1alpha1.ReasonVolumeNotEmpty) }
	w.restore("restore")
	w.Expect(ending(w.settle("restore"))).To(Equal("Failed/VolumeNotEmpty"))
	w.Expect(w.stamp()).To(BeEmpty())
	w.Outcome = kubelet.Succeed
	w.restore("again")
	w.Expect(ending(w.settle("again"))).To(Equal("Succeeded/Succeeded"))
}

func TestARestoreThatLostOwners(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		o := kubelet.Succeed(job)
		o.Result.Components[0].OwnersNotRestored = 12
		return o
	}
	w.restore("restore")
	s := w.settle("restore")
	w.Expect(ending(s)).To(Equal("Succeeded/Succeeded"))
	w.Expect(s.Status.Conditions).
		To(ContainElement(And(HaveField("Type", v1alpha1.ConditionPartial),
			HaveField("Message", ContainSubstring("owners (entries: 12)")))))
}

// The API server refuses a status with a longer text. No report of a mover must therefore hold up its restore.
func TestAMoverThatReportsAnythingHoldsUpNothing(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		report func(*task.Result)
		want   string
	}{
		"a reason of two words": {func(r *task.Result) {
			r.Components[0].Outcome, r.Components[0].Reason = task.OutcomeFailed, "two words\nof a mover"
		}, "Failed/Failed"},
		"a long error": {func(r *task.Result) {
			r.Components[0].Outcome, r.Components[0].Error = task.OutcomeFailed, strings.Repeat("e", 2500)
		}, "Failed/Failed"},
		"a long ID": {func(r *task.Result) { r.Components[0].ID = strings.Repeat("k", 129) }, "Failed/Failed"},
		"a long duration": {func(r *task.Result) {
			r.Components[0].Duration = strings.Repeat("1", 40)
		}, "Succeeded/Succeeded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
				o := kubelet.Succeed(job)
				tt.report(o.Result)
				return o
			}
			w.restore("restore")
			w.Expect(ending(w.settle("restore"))).To(Equal(tt.want))
		})
	}
}

func TestAMoverThatDiedIsNotRunAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Outcome{} }
	w.restore("restore")
	w.Expect(ending(w.settle("restore"))).To(Equal("Failed/JobFailed"))
	w.Expect(w.Jobs()).To(HaveLen(1))
}

// Users can write the annotation with the movers.
func TestTheLogNamesOnlyMoversOfTheRestore(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		edit func(movers string) string
		want int
	}{
		"beside the mover of the restore":      {func(m string) string { return m + ",x=removed-namespace-prod" }, 1},
		"in place of the mover of the restore": {func(string) string { return "pvc=removed-namespace-prod" }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Outcome{Hang: true} }
			w.restore("restore")
			w.Reconcile("restore")
			w.Cluster()
			s := w.session("restore")
			s.Annotations[v1alpha1.AnnotationMovers] = tt.edit(s.Annotations[v1alpha1.AnnotationMovers])
			w.Expect(w.Client.Update(t.Context(), s)).To(Succeed())
			w.Clock.SetTime(w.Clock.Now().Add(time.Hour))
			lines := w.Logged("restore", "fenced movers")
			w.Expect(lines).To(HaveLen(tt.want))
			w.Expect(lines).NotTo(ContainElement(ContainSubstring("prod")))
		})
	}
}

func TestTheDeadlineEndsARestore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Outcome{Hang: true} }
	w.restore("restore")
	w.Reconcile("restore")
	w.Cluster()
	w.Expect(w.Reconcile("restore").RequeueAfter).To(BeNumerically("~", time.Hour, time.Minute))
	w.Clock.SetTime(w.Clock.Now().Add(time.Hour))
	s := w.settle("restore")
	w.Expect(ending(s)).To(Equal("Failed/DeadlineExceeded"))
	w.Expect(s.Annotations[v1alpha1.AnnotationMovers]).To(BeEmpty())
	w.Cluster()
	w.Expect(w.Jobs()).To(BeEmpty())
}

func TestARestoreThatIsDeletedIsCancelled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Outcome{Hang: true} }
	w.restore("restore")
	w.Reconcile("restore")
	w.Cluster()
	w.Expect(w.Client.Delete(t.Context(), w.session("restore"))).To(Succeed())
	w.Reconcile("restore")
	w.Expect(w.session("restore").Status.Phase).To(Equal(v1alpha1.RestoreSessionRunning), "its pod still exists")
	s := w.settle("restore")
	w.Expect(ending(s)).To(Equal("Failed/Cancelled"))
	w.Expect(w.Jobs()).To(BeEmpty())
	w.Expect(s.Finalizers).To(Equal([]string{v1alpha1.FinalizerRecord}), "the restore stays until it is recorded")
}

func TestAClaimOfTheSameNameIsNotStamped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.restore("restore")
	w.Reconcile("restore")
	s := w.session("restore")
	before := s.DeepCopy()
	s.Status.Resolved.Hosts[0].Volumes[0].ClaimUID = "another"
	w.Expect(w.Client.Status().Patch(t.Context(), s, client.MergeFrom(before))).To(Succeed())
	w.Expect(ending(w.settle("restore"))).To(Equal("Failed/TargetNotFound"))
	w.Expect(w.stamp()).To(BeEmpty())
}

func TestARecordStartsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.restore("restore", func(s *v1alpha1.RestoreSession) {
		s.Annotations = map[string]string{v1alpha1.AnnotationRecord: "cluster"}
	})
	before := w.session("restore")
	w.Reconcile("restore")
	w.Expect(w.session("restore")).To(Equal(before))
}
