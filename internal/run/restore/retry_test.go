package restore_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/run/runtest"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// restoring is a frozen restore of two hosts with its observed state.
type restoring struct {
	session *v1alpha1.RestoreSession
	jobs    map[string]run.Job
	pods    int
	at      time.Time
}

func newRestoring(retry *v1alpha1.RetryConfig) *restoring {
	s := &v1alpha1.RestoreSession{
		ObjectMeta: metav1.ObjectMeta{Name: "r"}, Spec: v1alpha1.RestoreSessionSpec{RetryConfig: retry},
	}
	start := restore.Start{Timeout: time.Hour, Resolved: v1alpha1.ResolvedRestore{
		TargetUID: "uid-target", Hosts: []v1alpha1.ResolvedRestoreHost{
			restoreHost("pod-0", "pod-0"), restoreHost("pod-1", "pod-1"),
		},
	}}
	s.Status = restore.Next(restore.Input{Now: runtest.Now, Session: s, Start: &start}).Status
	return &restoring{session: s, jobs: map[string]run.Job{}, at: runtest.Now}
}

// step decides and carries the decision out, as the controller does.
func (r *restoring) step() restore.Decision {
	d := restore.Next(restore.Input{Now: r.at, Session: r.session, Jobs: r.jobs, Pods: r.pods})
	for _, name := range d.Delete {
		delete(r.jobs, name)
	}
	for _, i := range d.Create {
		r.jobs[restore.JobName("r", d.Status.Resolved.Hosts[i].Name, d.Status.Attempt)] = runtest.Running()
	}
	r.session.Status = d.Status
	return d
}

func restored(component string, c task.ComponentResult) run.Job {
	c.Name = component
	out := run.Job{
		Finished: true,
		Observation: observe.Observation{
			State:  observe.StateSucceeded,
			Result: &task.Result{Outcome: c.Outcome, Reason: c.Reason, Components: []task.ComponentResult{c}},
		},
	}
	if c.Outcome == task.OutcomeFailed {
		out.State = observe.StateFailed
	}
	return out
}

func TestWhatFailedIsRestoredAgain(t *testing.T) {
	g := NewWithT(t)
	r := newRestoring(&v1alpha1.RetryConfig{MaxRetry: 1, Delay: metav1.Duration{Duration: time.Minute}})
	r.step()
	g.Expect(r.jobs).To(HaveLen(2))
	r.jobs[restore.JobName("r", "pod-0", 1)] = restored("pod-0", task.ComponentResult{
		Outcome: task.OutcomeSucceeded,
	})
	r.jobs[restore.JobName("r", "pod-1", 1)] = restored("pod-1", task.ComponentResult{
		Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonUnreachable, TargetWritten: true,
	})
	d := r.step()
	g.Expect(d.Status.Phase).To(Equal(restoreRunning))
	g.Expect(d.Status.Reason).To(Equal(v1alpha1.ReasonRetrying))
	g.Expect(d.Status.NextRetry.Time).To(BeTemporally("==", runtest.Now.Add(time.Minute)))
	g.Expect(d.After).To(Equal(time.Minute))
	g.Expect(*d.Movers).To(BeEmpty())

	r.at, r.pods = runtest.Now.Add(2*time.Minute), 1
	g.Expect(r.step().Create).To(BeEmpty(), "its pod can still write")
	r.pods = 0
	d = r.step()
	g.Expect(d.Create).To(Equal([]int{1}), "only the failed host")
	g.Expect(d.Verify).To(BeTrue(), "an observation through a cache is not enough to write again")
	g.Expect(d.Status.Attempt).To(BeEquivalentTo(2))
	g.Expect(d.Status.Components["pod-1"]).To(
		Equal(v1alpha1.RestoredComponent{TargetWritten: true}), "the status must keep who wrote into the volume")
	g.Expect(d.Status.Components["pod-0"].Phase).To(Equal(restoreSucceeded))
	g.Expect(r.jobs).To(HaveKey(restore.JobName("r", "pod-1", 2)))

	g.Expect(*d.Movers).NotTo(ContainSubstring("pod-0"), "what is done is not written again")

	r.jobs[restore.JobName("r", "pod-1", 2)] = restored("pod-1", task.ComponentResult{
		Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonUnreachable, TargetWritten: true,
	})
	d = r.step()
	g.Expect(d.Status.Phase).To(Equal(restoreFailed), "that was the last attempt")
	g.Expect(d.Status.Reason).To(Equal(v1alpha1.ReasonUnreachable))
	g.Expect(d.Status.Retried).To(BeEquivalentTo(1))
	g.Expect(d.Status.Components["pod-1"].TargetWritten).To(BeTrue())
	g.Expect(d.Stamp).To(BeFalse())
	g.Expect(d.Release).To(BeTrue())
}

// The node of the mover died, and its Node object stays: its pod terminates for ever. Neither does the restore wait for
// it for ever, nor does another mover write beside it.
func TestARetryOnADeadNodeEnds(t *testing.T) {
	g := NewWithT(t)
	r := newRestoring(&v1alpha1.RetryConfig{MaxRetry: 1, Delay: metav1.Duration{Duration: time.Minute}})
	r.session.Status.RestoreDeadline, r.session.Status.Resolved.Timeout = nil, nil // the default
	r.step()
	r.jobs[restore.JobName("r", "pod-0", 1)] = restored("pod-0", task.ComponentResult{Outcome: task.OutcomeSucceeded})
	r.jobs[restore.JobName("r", "pod-1", 1)] = run.Job{Observation: observe.Observation{
		State: observe.StateFailed, Reason: v1alpha1.ReasonNodeLost, Message: "the node of the pod no longer answers",
	}}
	r.pods = 1
	d := r.step()
	g.Expect(d.Delete).To(Equal([]string{restore.JobName("r", "pod-1", 1)}))
	g.Expect(d.Status.Reason).To(Equal(v1alpha1.ReasonRetrying))
	for range 2 * 60 / 5 {
		r.at = r.at.Add(5 * time.Second)
		d = r.step()
		g.Expect(d.Create).To(BeEmpty(), "its pod can still write")
		g.Expect(d.Status.Phase).To(Equal(restoreRunning), "a node that restarts comes back")
	}
	r.at = r.session.Status.NextRetry.Add(10 * time.Minute)
	d = r.step()
	g.Expect(d.Verify).To(BeTrue(), "an observation through a cache is not enough to end the restore")
	g.Expect(d.Create).To(BeEmpty())
	g.Expect(d.Status.Phase).To(Equal(restoreFailed))
	g.Expect(d.Status.Reason).To(Equal(v1alpha1.ReasonNodeLost))
	g.Expect(d.Status.NextRetry).To(BeNil())
	g.Expect(d.Status.Attempt).To(BeEquivalentTo(1))
	g.Expect(d.Status.Components["pod-1"].Error).To(And(HavePrefix("the node of the pod no longer answers"),
		ContainSubstring("it was not tried again because a pod of this attempt has not ended")))
	g.Expect(d.Status.Components["pod-0"].Phase).To(Equal(restoreSucceeded))
	g.Expect(*d.Movers).NotTo(ContainSubstring("pod-1"), "the mover of the lost node may report nothing any more")
}

// A clock that was ahead has written when the next attempt begins: the pods get their time all the same.
func TestAClockThatWasAheadDoesNotGiveUpARetry(t *testing.T) {
	g := NewWithT(t)
	r := newRestoring(&v1alpha1.RetryConfig{MaxRetry: 1})
	r.step()
	for _, host := range []string{"pod-0", "pod-1"} {
		r.jobs[restore.JobName("r", host, 1)] = restored(host, task.ComponentResult{
			Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonUnreachable,
		})
	}
	r.step()
	r.session.Status.NextRetry.Time = r.at.AddDate(1, 0, 0)
	r.pods, r.at = 1, r.at.Add(time.Second)
	g.Expect(r.step().Status.NextRetry.Time).To(BeTemporally("==", r.at))
	r.pods, r.at = 0, r.at.Add(9*time.Minute)
	g.Expect(r.step().Create).To(HaveLen(2))
}

// Without a timeout neither the movers nor the attempts are bounded.
func TestARestoreWithoutATimeoutIsNeverTooLate(t *testing.T) {
	g := NewWithT(t)
	r := newRestoring(&v1alpha1.RetryConfig{MaxRetry: 1, Delay: metav1.Duration{Duration: 24 * time.Hour}})
	r.session.Status = v1alpha1.RestoreSessionStatus{}
	start := restore.Start{Resolved: v1alpha1.ResolvedRestore{
		Hosts: []v1alpha1.ResolvedRestoreHost{restoreHost("pod-0", "pod-0")},
	}}
	r.session.Status = restore.Next(restore.Input{Now: runtest.Now, Session: r.session, Start: &start}).Status
	g.Expect(r.session.Status.RestoreDeadline).To(BeNil())
	g.Expect(r.session.Status.Resolved.Timeout).To(BeNil())
	g.Expect(restore.DeadlineOf(r.session).IsZero()).To(BeTrue())
	r.step()
	r.at = runtest.Now.AddDate(0, 0, 30)
	g.Expect(r.step().Status.Phase).To(Equal(restoreRunning))
	r.jobs[restore.JobName("r", "pod-0", 1)] = restored("pod-0", task.ComponentResult{
		Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonUnreachable,
	})
	g.Expect(r.step().Status.NextRetry).NotTo(BeNil())
	r.at = r.at.AddDate(0, 0, 2)
	g.Expect(r.step().Create).To(Equal([]int{0}))
}

// A clock that is a year ahead for a minute puts off neither the next attempt nor the end.
func TestARestoreOfAClockThatWasAheadGoesOn(t *testing.T) {
	const year = 365 * 24 * time.Hour
	g := NewWithT(t)
	r := newRestoring(&v1alpha1.RetryConfig{MaxRetry: 1, Delay: metav1.Duration{Duration: time.Minute}})
	r.step()
	for _, host := range []string{"pod-0", "pod-1"} {
		r.jobs[restore.JobName("r", host, 1)] = restored(host, task.ComponentResult{
			Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonUnreachable,
		})
	}
	g.Expect(r.step().Status.NextRetry).NotTo(BeNil())
	s := &r.session.Status
	for _, at := range []*metav1.Time{s.StartTime, s.RestoreDeadline, s.NextRetry} {
		at.Time = at.Add(year)
	}
	g.Expect(r.step().Create).To(HaveLen(2))
	g.Expect(r.session.Status.StartTime.Time).To(BeTemporally("==", r.at))
	r.at = r.at.Add(time.Hour)
	g.Expect(r.step().Status.Reason).To(Equal(v1alpha1.ReasonDeadlineExceeded))
}

func TestWhatNoRepetitionMendsIsNotRepeated(t *testing.T) {
	for name, tt := range map[string]struct {
		retry   *v1alpha1.RetryConfig
		confirm string
		result  task.ComponentResult
	}{
		"a directory that is not empty and was confirmed": {
			confirm: "uid-target", result: task.ComponentResult{Reason: v1alpha1.ReasonVolumeNotEmpty},
		},
		"without retryConfig": {result: task.ComponentResult{Reason: v1alpha1.ReasonUnreachable}},
		"a volume that is not empty": {
			retry:  &v1alpha1.RetryConfig{MaxRetry: 3},
			result: task.ComponentResult{Reason: v1alpha1.ReasonVolumeNotEmpty},
		},
		"data that differs from the repository": {
			retry:  &v1alpha1.RetryConfig{MaxRetry: 3},
			result: task.ComponentResult{Reason: v1alpha1.ReasonVerificationFailed, TargetWritten: true},
		},
		"a component that does not exist": {
			retry:  &v1alpha1.RetryConfig{MaxRetry: 3},
			result: task.ComponentResult{Reason: v1alpha1.ReasonComponentNotFound},
		},
		"patterns that leave nothing": {
			retry:  &v1alpha1.RetryConfig{MaxRetry: 3},
			result: task.ComponentResult{Reason: v1alpha1.ReasonEmpty},
		},
		"names that the volume takes for one": {
			retry:  &v1alpha1.RetryConfig{MaxRetry: 3},
			result: task.ComponentResult{Reason: v1alpha1.ReasonFileNamesCollide, TargetEmpty: true},
		},
		"a confirmation that was used": {
			retry:  &v1alpha1.RetryConfig{MaxRetry: 3},
			result: task.ComponentResult{Reason: v1alpha1.ReasonConfirmationUsed},
		},
		"a delay that is after the deadline": {
			retry:  &v1alpha1.RetryConfig{MaxRetry: 3, Delay: metav1.Duration{Duration: time.Hour}},
			result: task.ComponentResult{Reason: v1alpha1.ReasonUnreachable},
		},
		"a volume that is not empty and can't be written to": {
			result: task.ComponentResult{Reason: v1alpha1.ReasonTargetUnwritable},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := newRestoring(tt.retry)
			r.session.Spec.Confirm = tt.confirm
			r.step()
			tt.result.Outcome = task.OutcomeFailed
			r.jobs[restore.JobName("r", "pod-0", 1)] = restored("pod-0", tt.result)
			r.jobs[restore.JobName("r", "pod-1", 1)] = restored("pod-1", tt.result)
			d := r.step()
			g.Expect(d.Status.Phase).To(Equal(restoreFailed))
			g.Expect(d.Status.Reason).To(Equal(tt.result.Reason))
			switch advice := ContainSubstring("spec.confirm: uid-target"); {
			case tt.confirm != "":
				g.Expect(d.Status.Components["pod-0"].Error).NotTo(advice, "the confirmation was given")
			case tt.result.Reason == v1alpha1.ReasonVolumeNotEmpty:
				g.Expect(d.Status.Components["pod-0"].Error).To(advice, "the message must say what to write")
			}
		})
	}
}

func TestAnEmptyVolumeIsGivenToTheMoversGroupOnce(t *testing.T) {
	g := NewWithT(t)
	r := newRestoring(nil)
	r.step()
	unwritable := task.ComponentResult{
		Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonTargetUnwritable, TargetEmpty: true,
	}
	r.jobs[restore.JobName("r", "pod-0", 1)] = restored("pod-0", unwritable)
	r.jobs[restore.JobName("r", "pod-1", 1)] = restored("pod-1", unwritable)
	g.Expect(r.step().Status.NextRetry).NotTo(BeNil())
	r.at = runtest.Now.Add(time.Second)
	d := r.step()
	g.Expect(d.Create).To(Equal([]int{0, 1}))
	g.Expect(d.Status.Components["pod-0"].TargetEmpty).To(BeTrue())
	g.Expect(d.Status.Retried).To(BeZero(), "it does not count as a retry")
	// A second mover without the group finds the same again. The restore must end all the same.
	r.jobs[restore.JobName("r", "pod-0", 2)] = restored("pod-0", unwritable)
	r.jobs[restore.JobName("r", "pod-1", 2)] = restored("pod-1", unwritable)
	g.Expect(r.step().Status.Phase).To(Equal(restoreFailed))
}

func TestARestoreThatCouldNotBeVerifiedIsUnknown(t *testing.T) {
	g := NewWithT(t)
	r := newRestoring(nil)
	r.step()
	r.jobs[restore.JobName("r", "pod-0", 1)] = restored("pod-0", task.ComponentResult{
		Outcome: task.OutcomeSucceeded,
	})
	r.jobs[restore.JobName("r", "pod-1", 1)] = restored("pod-1", task.ComponentResult{
		Outcome: task.OutcomeUnknown, Reason: v1alpha1.ReasonUnreadable, Error: "could not be verified",
	})
	d := r.step()
	g.Expect(d.Status.Phase).To(Equal(v1alpha1.RestoreSessionUnknown))
	g.Expect(d.Status.Reason).To(Equal(v1alpha1.ReasonUnreadable))
	g.Expect(d.Stamp).To(BeFalse())
}

func TestOfTwoRestoresFrozenAtOnceTheOlderOneWins(t *testing.T) {
	g := NewWithT(t)
	make := func(uid string, age time.Duration) v1alpha1.RestoreSession {
		r := newRestoring(nil)
		r.session.UID, r.session.CreationTimestamp = types.UID(uid), metav1.NewTime(runtest.Now.Add(-age))
		return *r.session
	}
	older, newer := make("b", time.Minute), make("a", time.Second)
	all := []v1alpha1.RestoreSession{newer, older}
	g.Expect(restore.ClaimBlockedBy(all, &older, "pod-0", "")).To(BeNil())
	g.Expect(restore.ClaimBlockedBy(all, &newer, "pod-0", "")).To(HaveField("UID", older.UID))
	g.Expect(restore.ClaimBlockedBy(all, &newer, "other", "")).To(BeNil(), "another claim")
	g.Expect(restore.ClaimBlockedBy(all, &older, "pod-0", "a")).
		To(HaveField("UID", newer.UID), "a taken claim stays taken")
	g.Expect(restore.ClaimBlockedBy(all, &newer, "pod-0", "a")).To(BeNil())
	g.Expect(restore.ClaimBlockedBy(all, &older, "pod-0", "gone")).
		To(BeNil(), "a holder that does not exist holds nothing")
	newer.Status.Phase = restoreFailed
	g.Expect(restore.ClaimBlockedBy([]v1alpha1.RestoreSession{newer, older}, &older, "pod-0", "a")).To(
		BeNil(), "a holder that has ended holds nothing")
}

func TestNothingIsNotSuccess(t *testing.T) {
	g := NewWithT(t)
	r := newRestoring(nil)
	r.session.Status.TotalComponents = 0
	r.session.Status.Components = map[string]v1alpha1.RestoredComponent{
		"pod-0": {Phase: restoreFailed}, "pod-1": {Phase: restoreSucceeded},
	}
	g.Expect(r.step().Status.Phase).To(Equal(restoreFailed), "only the frozen components count")
	r = newRestoring(nil)
	r.session.Status.Resolved.Hosts = nil
	d := r.step()
	g.Expect(d.Status.Phase).To(Equal(restoreFailed))
	g.Expect(d.Stamp).To(BeFalse())
}

// A mover that found the volume empty and could not begin leaves it as it was: the next attempt must look again.
func TestAMoverThatWroteNothingLeavesNothingToResume(t *testing.T) {
	g := NewWithT(t)
	r := newRestoring(&v1alpha1.RetryConfig{MaxRetry: 1})
	r.step()
	r.session.Status.Components["pod-0"] = v1alpha1.RestoredComponent{
		Phase: restoreRunning, TargetWritten: true, ClaimUID: "uid-claim",
	}
	r.jobs[restore.JobName("r", "pod-0", 1)] = restored("pod-0", task.ComponentResult{
		Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonUnreachable,
	})
	c := r.step().Status.Components["pod-0"]
	g.Expect(c.Phase).To(Equal(restoreFailed))
	g.Expect(c.TargetWritten).To(BeFalse())
	g.Expect(c.ClaimUID).To(BeEquivalentTo("uid-claim"))
}

// A mover that refused its task names no component, and has touched none.
func TestAMoverThatRefusedItsTaskTouchedNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		before  v1alpha1.RestoredComponent
		reason  string
		omitted int
		want    bool
	}{
		"it began with none":      {reason: v1alpha1.ReasonInvalidTask, want: true},
		"it says nothing of them": {reason: v1alpha1.ReasonUnreachable},
		"another mover had begun": {reason: v1alpha1.ReasonInvalidTask, before: v1alpha1.RestoredComponent{
			Phase: restoreRunning, StartTime: &metav1.Time{Time: runtest.Now},
		}},
		"the Result had no room for them": {reason: v1alpha1.ReasonInvalidTask, omitted: 1},
	} {
		t.Run(name, func(t *testing.T) {
			g, r := NewWithT(t), newRestoring(nil)
			r.step()
			r.session.Status.Components["pod-0"] = tt.before
			job := restored("pod-0", task.ComponentResult{Outcome: task.OutcomeFailed})
			job.Result = &task.Result{
				Outcome: task.OutcomeFailed, Reason: tt.reason, Omitted: tt.omitted,
			}
			r.jobs[restore.JobName("r", "pod-0", 1)] = job
			c := r.step().Status.Components["pod-0"]
			g.Expect(c.Reason).To(Equal(tt.reason))
			g.Expect(c.TargetUntouched).To(Equal(tt.want))
		})
	}
}

// The pod of a Job that was suspended was killed in the middle. The next one could not begin.
func TestWhatAnotherMoverOfTheAttemptBeganIsNotUntouched(t *testing.T) {
	began, later := metav1.NewTime(runtest.Now), metav1.NewTime(runtest.Now.Add(time.Minute))
	for name, tt := range map[string]struct {
		now  *metav1.Time
		want bool
	}{"the same mover": {&began, true}, "another one": {&later, false}} {
		t.Run(name, func(t *testing.T) {
			g, r := NewWithT(t), newRestoring(nil)
			r.step()
			r.session.Status.Components["pod-0"] = v1alpha1.RestoredComponent{Phase: restoreRunning, StartTime: &began}
			r.jobs[restore.JobName("r", "pod-0", 1)] = restored("pod-0", task.ComponentResult{
				Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonUnreachable, TargetUntouched: true,
				StartTime: tt.now,
			})
			g.Expect(r.step().Status.Components["pod-0"].TargetUntouched).To(Equal(tt.want))
		})
	}
}
