package repository

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

const consent = "annotation backup.cairn.dev/adopt: shop/web@drill/uid/1"

// refuses ends an init Job as one that finds a directory of another cluster.
func refuses(t testing.TB, r *v1alpha1.Repository, job *batchv1.Job) {
	t.Helper()
	kubelet.Finish(t, bed.Client, job, kubelet.Report(task.Result{
		Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonDirectoryTaken, Message: consent,
	}), now.Now())
	bed.ExpectReason(t, r, v1alpha1.PhaseNotReady, v1alpha1.ReasonDirectoryTaken, consent)
}

// stumbles ends an init Job as one that does not come as far as the owner of the directory.
func stumbles(t testing.TB, r *v1alpha1.Repository, job *batchv1.Job) {
	t.Helper()
	kubelet.Finish(t, bed.Client, job, kubelet.Report(task.Result{
		Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonUnreachable, Message: "no route",
	}), now.Now())
	bed.ExpectReason(t, r, v1alpha1.PhaseNotReady, v1alpha1.ReasonUnreachable, "no route")
}

// proves ends an init Job with success.
func proves(t testing.TB, r *v1alpha1.Repository, job *batchv1.Job) {
	t.Helper()
	kubelet.Finish(t, bed.Client, job, kubelet.Report(task.Result{
		Outcome: task.OutcomeSucceeded, Reason: v1alpha1.ReasonSucceeded,
	}), now.Now())
	expect(t, r, v1alpha1.ReasonReady)
	NewWithT(t).Expect(r.Status.TakenTime).To(BeNil())
}

// staysReady asserts that a Repository that was taken back is not doubted again.
func staysReady(t testing.TB, r *v1alpha1.Repository) {
	t.Helper()
	writes := bed.Quiet(t, r.Namespace)
	bed.Edit(t, r, func() { r.Labels = map[string]string{"touched": "x"} })
	bed.StaysQuiet(t, r.Namespace, writes, "what was found before counts no more")
	expect(t, r, v1alpha1.ReasonReady)
}

// A drill in a second cluster has adopted the directory. The Repository says so once a run has met that, and takes the
// directory back when somebody says so.
//
// The test is not parallel: it waits for a check that runs every ten seconds.
func TestADirectoryThatWasTakenIsTakenBack(t *testing.T) {
	g := NewWithT(t)
	r, first := initialised(t, storageOf(t))
	snapshot := snapshotOf(t, r, "01", true)
	failed := failedFor(t, r, "02", v1alpha1.ReasonDirectoryTaken)
	proof := kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository, first)
	g.Expect(taskOf(t, proof).Repository.MustExist).To(BeTrue(), "the init Job creates no new repository")
	g.Expect(taskOf(t, proof).Repository.Adopt).To(BeEmpty())
	bed.Eventually(t, r, func(g Gomega) { g.Expect(r.Status.TakenTime).NotTo(BeNil()) }, "before the result is known")
	expect(t, r, v1alpha1.ReasonReady)
	taken := r.Status.TakenTime
	refuses(t, r, proof)

	g.Expect(bed.Client.Delete(t.Context(), failed)).To(Succeed())
	again := kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository, first, proof)
	bed.Quiet(t, r.Namespace)
	bed.ExpectReason(t, r, v1alpha1.PhaseNotReady, v1alpha1.ReasonDirectoryTaken, consent)
	stumbles(t, r, again)
	bed.Quiet(t, r.Namespace)
	bed.ExpectReason(t, r, v1alpha1.PhaseNotReady, v1alpha1.ReasonUnreachable, "no route")
	g.Expect(r.Status.TakenTime).To(Equal(taken), "it says since when")
	failedFor(t, r, "03", v1alpha1.ReasonDirectoryTaken)
	newest := failedFor(t, r, "04", v1alpha1.ReasonDirectoryTaken)

	bed.Edit(t, r, func() { r.Annotations = map[string]string{v1alpha1.AnnotationAdopt: "shop/web@drill/uid/1"} })
	var adopting *batchv1.Job
	g.Eventually(func(g Gomega) {
		adopting = kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository, first, proof, again)
		g.Expect(taskOf(t, adopting).Repository.Adopt).To(Equal("shop/web@drill/uid/1"))
	}, testbed.Patience, testbed.Interval).Should(Succeed(), "the annotation is tried at once")
	proves(t, r, adopting)
	g.Expect(r.Status.ProvedAfter).To(Equal("04"))

	g.Expect(r.Status.MovedTime).NotTo(BeNil(), "the drill can have removed what it did not keep")
	g.Expect(conditions.GetReason(r, v1alpha1.ConditionChecked)).To(Equal(v1alpha1.ReasonNotChecked))
	g.Expect(conditions.GetMessage(r, v1alpha1.ConditionChecked)).To(ContainSubstring("belonged to another"))
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(snapshot), snapshot)).To(Succeed())
	g.Expect(snapshot.Status.LastCheckTime).To(BeNil())
	staysReady(t, r)

	moved := r.Status.MovedTime
	g.Expect(bed.Client.Delete(t.Context(), newest)).To(Succeed())
	bed.Eventually(t, r, func(g Gomega) { g.Expect(r.Status.RecentSnapshots).To(HaveLen(2)) }, "the newest one is gone")
	bed.Quiet(t, r.Namespace)
	expect(t, r, v1alpha1.ReasonReady)
	var jobs batchv1.JobList
	g.Expect(bed.Client.List(t.Context(), &jobs, client.InNamespace(r.Namespace))).To(Succeed())
	g.Expect(jobs.Items).To(BeEmpty(), "the one before it tells of a time that has passed")
	g.Expect(r.Status.MovedTime).To(Equal(moved))
}

// A keeper meets the new owner before the next run does, or after the last one.
func TestADirectoryThatAKeeperFoundTaken(t *testing.T) {
	g := NewWithT(t)
	r, first := initialised(t, storageOf(t))
	at := metav1.NewTime(now.Now())
	bed.EditStatus(t, r, func() {
		conditions.MarkFalse(r, v1alpha1.ConditionMaintained, v1alpha1.ReasonDirectoryTaken, "nothing was removed")
		conditions.MarkFalse(r, v1alpha1.ConditionScanned, v1alpha1.ReasonUnreachable, "later")
		r.Status.LastBackupTime = &at
	})
	proof := kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository, first)
	refuses(t, r, proof)
	bed.Edit(t, r, func() { r.Annotations = map[string]string{v1alpha1.AnnotationAdopt: "shop/web@drill/uid/1"} })
	proves(t, r, kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository, first, proof))
	g.Expect(r.Status.ProvedAfter).To(BeEmpty())
	g.Expect(r.Status.MovedTime).NotTo(BeNil())
	g.Expect(conditions.Has(r, v1alpha1.ConditionMaintained)).To(BeFalse(), "the next keeper writes it")
	g.Expect(conditions.GetReason(r, v1alpha1.ConditionScanned)).To(Equal(v1alpha1.ReasonUnreachable))
	staysReady(t, r)

	bed.EditStatus(t, r, func() {
		conditions.MarkFalse(r, v1alpha1.ConditionChecked, v1alpha1.ReasonDirectoryTaken, "nothing was removed")
	})
	refuses(t, r, kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository, first, proof))
}

// A policy that keeps no failed Snapshot lets one go before the Repository sees how it ended.
func TestASnapshotThatGoesTellsThatTheDirectoryWasTaken(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r, first := initialised(t, storageOf(t))
	s := &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: r.Namespace, Name: "failed", Finalizers: []string{v1alpha1.FinalizerWipe},
		},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: "01", Repository: r.Name, Session: "nightly", BackupSession: "b", Version: "v1",
			AppRef: r.Spec.AppRef,
		},
	}
	bed.Create(t, s)
	g.Expect(bed.Client.Delete(t.Context(), s)).To(Succeed())
	bed.EditStatus(t, s, func() {
		s.Status.Phase = v1alpha1.SnapshotFailed
		s.Status.Components = map[string]v1alpha1.Component{
			"pvc": {Phase: v1alpha1.SnapshotFailed, Reason: v1alpha1.ReasonDirectoryTaken},
		}
	})
	proof := kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository, first)
	bed.Eventually(t, r, func(g Gomega) { g.Expect(r.Status.TakenTime).NotTo(BeNil()) }, "it is doubted")
	g.Expect(r.Status.RecentSnapshots).To(BeEmpty())
	bed.Edit(t, s, func() { s.Finalizers = nil })
	again := kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository, first, proof)
	kubelet.Finish(t, bed.Client, again, kubelet.Report(task.Result{
		Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonUnreachable, Message: "no route",
	}), now.Now().Add(-time.Hour))
	kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository, first, proof, again)
	expect(t, r, v1alpha1.ReasonReady) // nobody has said yet who the owner is
	g.Expect(r.Status.TakenTime).NotTo(BeNil(), "it is gone, and the doubt stays")
}

// The init Job was made because of another problem, so at first only the condition says what it found.
func TestWhatAnInitJobFoundTakenStaysTaken(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r, first := initialised(t, storageOf(t))
	failedFor(t, r, "01", v1alpha1.ReasonPasswordChanged)
	proof := kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository, first)
	g.Expect(r.Status.TakenTime).To(BeNil())
	refuses(t, r, proof)
	g.Expect(r.Status.TakenTime).NotTo(BeNil())

	bed.EditStatus(t, r, func() { r.Status.TakenTime = nil })
	bed.Eventually(t, r, func(g Gomega) { g.Expect(r.Status.TakenTime).NotTo(BeNil()) }, "the condition is enough")
}

// A Snapshot changes while the Repository forgets what was known of it: the manager does it again.
func TestWhatKeepersFoundIsForgottenLast(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r, _ := initialised(t, storageOf(t))
	stale := snapshotOf(t, r, "01", true)
	live := stale.DeepCopy()
	bed.EditStatus(t, live, func() { live.Status.Size = "1 MiB" })
	conditions.MarkFalse(r, v1alpha1.ConditionMaintained, v1alpha1.ReasonDirectoryTaken, "nothing was removed")
	m := &Reconciler{Client: bed.Manager.GetClient(), EventRecorder: &events, Clock: now, FieldManager: "cairn-manager"}
	leave := func(s *v1alpha1.Snapshot) error {
		return m.leave(t.Context(), r, r.Status.InitializedSpec, doubts{taken: true}, []*v1alpha1.Snapshot{s})
	}
	g.Expect(apierrors.IsConflict(leave(stale))).To(BeTrue())
	g.Expect(foundTaken(r, v1alpha1.ConditionMaintained)).To(BeTrue())
	g.Expect(leave(live)).To(Succeed())
	g.Expect(conditions.Has(r, v1alpha1.ConditionMaintained)).To(BeFalse())
	g.Expect(r.Status.MovedTime).NotTo(BeNil())
}
