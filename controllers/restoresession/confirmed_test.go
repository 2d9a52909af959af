package restoresession

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// of restores the Snapshot with this name.
func of(snapshot string) func(*v1alpha1.RestoreSession) {
	return func(s *v1alpha1.RestoreSession) { s.Spec.DataSource = &v1alpha1.RestoreDataSource{Snapshot: snapshot} }
}

// confirmedAnew confirms once more what an identical restore has confirmed: see restore.Confirmation.
func confirmedAnew(s *v1alpha1.RestoreSession) { s.Spec.Confirm += "/2" }

// noJob fails the test if a restore made a Job.
func (w *world) noJob(name string) {
	w.T.Helper()
	for _, job := range w.Jobs() {
		w.Expect(metav1.IsControlledBy(&job, w.session(name))).To(BeFalse(), "%s writes with overwrite %q", name,
			restoreOf(&job).Overwrite)
	}
}

// unreadable writes everything and can't read it back.
func unreadable(o kubelet.Outcome) kubelet.Outcome {
	o.Result.Outcome, o.Result.Reason = task.OutcomeFailed, v1alpha1.ReasonUnreadable
	for i := range o.Result.Components {
		c := &o.Result.Components[i]
		c.Outcome, c.Reason, c.TargetWritten = task.OutcomeUnknown, v1alpha1.ReasonUnreadable, true
	}
	return o
}

// brokenOff writes a part.
func brokenOff(o kubelet.Outcome) kubelet.Outcome {
	o = unreadable(o)
	o.Result.Components[0].Outcome = task.OutcomeFailed
	return o
}

// Somebody deletes all RestoreSessions, and a GitOps tool makes them again.
func TestAConfirmationDoesNotCountAgainAfterAnotherRestore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	confirmed := w.confirmed("target")
	for _, name := range []string{"march", "june"} {
		snapshot := map[string]string{"march": "first", "june": "second"}[name]
		w.restore(name, confirmed, of(snapshot))
		w.Expect(ending(w.settle(name))).To(Equal("Succeeded/Succeeded"))
	}
	w.forget("march")
	w.forget("june")
	w.restore("june", confirmed, of("second"))
	w.Expect(ending(w.settle("june"))).To(Equal("Skipped/AlreadyRestored"))
	w.restore("march", confirmed, of("first"))
	s := w.settle("march")
	w.noJob("march")
	w.Expect(ending(s)).To(Equal("Invalid/ConfirmationUsed"))
	w.Expect(message(s)).To(HaveSuffix("create another RestoreSession with spec.confirm: " +
		string(w.claim("target").UID) + "/3 (cairn restore --confirm)"))

	w.restore("wanted", confirmed, of("first"), confirmedAnew)
	w.Expect(ending(w.settle("wanted"))).To(Equal("Succeeded/Succeeded"))
	w.restore("other", confirmed, of("first"), confirmedAnew)
	w.Expect(ending(w.settle("other"))).To(Equal("Invalid/ConfirmationUsed"), "another name is no new word")
	w.forget("wanted")
	w.restore("wanted", confirmed, of("first"), confirmedAnew)
	w.Expect(ending(w.settle("wanted"))).To(Equal("Skipped/AlreadyRestored"))
}

// The application goes on with what such a restore has left, and a GitOps tool makes the restore again.
func TestAConfirmationOfARestoreThatDidNotSucceedDoesNotCountAgain(t *testing.T) {
	t.Parallel()
	for want, end := range map[string]func(kubelet.Outcome) kubelet.Outcome{
		"Unknown/Unreadable": unreadable,
		"Failed/Unreadable":  brokenOff,
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Outcome = broken("march", end)
			w.restore("march", w.confirmed("target"))
			w.Expect(ending(w.settle("march"))).To(Equal(want))
			w.restore("again", w.confirmed("target"))
			s := w.settle("again")
			w.noJob("again")
			w.Expect(ending(s)).To(Equal("Invalid/ConfirmationUsed"))
		})
	}
}

func TestAConfirmationOfARestoreWhosePostRestoreHookFailedDoesNotCountAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := sessiontest.Listen(t)
	l.Answer = sessiontest.Refuse("/start", 500)
	hooks := w.RestoreHooks(l)
	hooked := func(s *v1alpha1.RestoreSession) { s.Spec.Hooks = hooks }
	w.restore("march", w.confirmed("target"), hooked)
	w.Expect(ending(w.drive("march"))).To(Equal("Failed/FailedToExecutePostRestoreHooks"))
	l.Answer = nil
	w.restore("again", w.confirmed("target"), hooked)
	s := w.drive("again")
	w.noJob("again")
	w.Expect(ending(s)).To(Equal("Invalid/ConfirmationUsed"))
}

func TestAConfirmationOfADatabaseDoesNotCountAgain(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(kubelet.Outcome) kubelet.Outcome{
		"after another restore":     func(o kubelet.Outcome) kubelet.Outcome { return o },
		"after it could not verify": unreadable,
		"after it broke off":        brokenOff,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, service := databaseWorld(t, true)
			w.Outcome = broken("march", end)
			confirm := func(s *v1alpha1.RestoreSession) { s.Spec.Confirm = string(service.UID) }
			w.restore("march", intoService(auth), confirm)
			w.Expect(w.settle("march").Status.Phase.Terminal()).To(BeTrue())
			if name == "after another restore" {
				w.restore("june", intoService(`{"secretName":"db-auth","args":"--no-owner"}`), confirm)
				w.Expect(ending(w.settle("june"))).To(Equal("Succeeded/Succeeded"))
			}
			w.restore("again", intoService(auth), confirm)
			s := w.settle("again")
			w.noJob("again")
			w.Expect(ending(s)).To(Equal("Invalid/ConfirmationUsed"))
			w.restore("wanted", intoService(auth), confirm, confirmedAnew)
			w.Expect(ending(w.settle("wanted"))).To(Equal("Succeeded/Succeeded"))
		})
	}
}

// Nothing was overwritten, so nobody has to confirm again: the person has mended what kept the restore from its work.
func TestAConfirmationOfARestoreThatWroteNothingCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Outcome = broken("restore", func(o kubelet.Outcome) kubelet.Outcome {
		c := &o.Result.Components[0]
		o.Result.Outcome, o.Result.Reason = task.OutcomeFailed, v1alpha1.ReasonTargetUnwritable
		c.Outcome, c.Reason, c.TargetUntouched = task.OutcomeFailed, v1alpha1.ReasonTargetUnwritable, true
		return o
	})
	w.restore("restore", w.confirmed("target"))
	w.Reconcile("restore")
	w.Expect(w.claim("target").Annotations).To(HaveKey(v1alpha1.AnnotationConfirmed), "its mover can be killed")
	w.Expect(ending(w.settle("restore"))).To(Equal("Failed/TargetUnwritable"))
	w.Expect(w.claim("target").Annotations).NotTo(HaveKey(v1alpha1.AnnotationConfirmed))
	w.restore("again", w.confirmed("target"))
	w.Expect(ending(w.settle("again"))).To(Equal("Succeeded/Succeeded"))
}

// Both were frozen before either took the claim. The one that comes second must not count on the same word.
func TestOfTwoIdenticalRestoresOfTheSameMomentOneUsesTheConfirmation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	confirmed := w.confirmed("target")
	frozen := func(name string) {
		w.Killer = &sessiontest.Killer{At: 3} // right after the restore was frozen
		w.restore(name, confirmed)
		w.Reconcile(name)
		w.Expect(w.session(name).Status.Resolved).NotTo(BeNil())
	}
	frozen("one")
	other := w.session("one").DeepCopy()
	other.ObjectMeta = metav1.ObjectMeta{Namespace: w.Namespace, Name: "two"}
	status := other.Status
	sessiontest.Create(t, w.Client, other)
	bed.EditStatus(t, other, func() { other.Status = status })
	first, second := "one", "two"
	if restore.Older(w.session("two"), w.session("one")) {
		first, second = second, first
	}
	w.Killer = &sessiontest.Killer{}
	w.Expect(ending(w.settle(first))).To(Equal("Succeeded/Succeeded"))
	s := w.settle(second)
	w.noJob(second)
	w.Expect(ending(s)).To(Equal("Failed/ConfirmationUsed"))
}

// An earlier version has stamped the claim, and knew only its last restore. The next one must not make that forgotten.
func TestAConfirmationThatAnEarlierVersionKnowsDoesNotCountAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	confirmed := w.confirmed("target")
	w.restore("march", confirmed, of("first"))
	w.Expect(ending(w.settle("march"))).To(Equal("Succeeded/Succeeded"))
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "target"}}
	bed.Edit(t, claim, func() { delete(claim.Annotations, v1alpha1.AnnotationConfirmed) })
	w.restore("june", of("second"), confirmed)
	w.Expect(ending(w.settle("june"))).To(Equal("Succeeded/Succeeded"))
	w.restore("march-again", confirmed, of("first"))
	w.Expect(ending(w.settle("march-again"))).To(Equal("Invalid/ConfirmationUsed"))
}
