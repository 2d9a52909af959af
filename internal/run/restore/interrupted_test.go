package restore_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/run/runtest"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// toldToStop is the Job of a mover that was told to stop while it wrote, because of what the reason says.
func toldToStop(component, reason string) run.Job {
	job := restored(component, task.ComponentResult{
		Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonCancelled, Error: "the mover was told to stop",
		TargetWritten: true,
	})
	job.Reason, job.Message = reason, "observed"
	return job
}

// A mover that is told to stop can't know why. Only the manager sees whether its node is being drained.
func TestWhyAMoverWasToldToStop(t *testing.T) {
	cancelled := v1alpha1.RestoredComponent{
		Phase: restoreFailed, Reason: v1alpha1.ReasonCancelled, Error: "the mover was told to stop",
		TargetWritten: true,
	}
	gone := func(reason string) run.Job {
		return run.Job{Finished: true, Observation: observe.Observation{
			State: observe.StateFailed, Reason: reason, Message: "observed",
		}}
	}
	for name, tt := range map[string]struct {
		job      run.Job
		reported bool
		edit     func(*restoring)
		want     string
	}{
		"its node is drained":                {toldToStop("pod-1", v1alpha1.ReasonEvicted), true, nil, ""},
		"it could not report it":             {toldToStop("pod-1", v1alpha1.ReasonEvicted), false, nil, ""},
		"its pod is deleted":                 {toldToStop("pod-1", v1alpha1.ReasonPodDeleted), true, nil, ""},
		"its node shuts down":                {toldToStop("pod-1", v1alpha1.ReasonNodeLost), true, nil, ""},
		"its pod is gone, and so its Result": {gone(v1alpha1.ReasonEvicted), true, nil, ""},
		"somebody sent a signal":             {toldToStop("pod-1", v1alpha1.ReasonCancelled), true, nil, "Cancelled"},
		"its Job had a deadline": {
			toldToStop("pod-1", v1alpha1.ReasonDeadlineExceeded), true, nil, "Cancelled",
		},
		"a later pod of a Job found the data": {gone(v1alpha1.ReasonVolumeNotEmpty), true, nil, "Cancelled"},
		"the restore is deleted": {toldToStop("pod-1", v1alpha1.ReasonPodDeleted), true, func(r *restoring) {
			r.session.DeletionTimestamp = &metav1.Time{Time: r.at}
		}, "Cancelled"},
		"the restore is late": {toldToStop("pod-1", v1alpha1.ReasonPodDeleted), true, func(r *restoring) {
			r.at = r.at.Add(time.Hour)
		}, "Cancelled"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := newRestoring(&v1alpha1.RetryConfig{MaxRetry: 1, Delay: metav1.Duration{Duration: time.Minute}})
			r.step()
			r.jobs[restore.JobName("r", "pod-0", 1)] = restored("pod-0",
				task.ComponentResult{Outcome: task.OutcomeSucceeded})
			r.jobs[restore.JobName("r", "pod-1", 1)] = tt.job
			if tt.reported {
				r.session.Status.Components["pod-1"] = cancelled
			}
			if tt.edit != nil {
				tt.edit(r)
			}
			d := r.step()
			c := d.Status.Components["pod-1"]
			g.Expect(c.TargetWritten).To(BeTrue())
			if tt.want != "" {
				g.Expect(d.Status.Phase).To(Equal(restoreFailed))
				g.Expect(c.Reason).To(Equal(tt.want))
				return
			}
			g.Expect(d.Status.Phase).To(Equal(restoreRunning))
			g.Expect(d.Status.Reason).To(Equal(v1alpha1.ReasonRetrying))
			g.Expect(c.Phase).To(Equal(restoreFailed))
			g.Expect(c.Reason).To(Equal(tt.job.Reason))
			g.Expect(c.Error).To(Equal("observed; the target may hold a part of the data"))

			r.at = r.at.Add(2 * time.Minute)
			d = r.step()
			g.Expect(d.Create).To(Equal([]int{1}))
			g.Expect(d.Status.Components["pod-1"]).To(Equal(v1alpha1.RestoredComponent{TargetWritten: true}),
				"the next attempt goes on with what this one wrote")
			r.jobs[restore.JobName("r", "pod-1", 2)] = restored("pod-1",
				task.ComponentResult{Outcome: task.OutcomeSucceeded})
			g.Expect(r.step().Status.Phase).To(Equal(restoreSucceeded))
		})
	}
}

// If the manager were killed between the two, nobody would know why the mover was told to stop.
func TestTheReasonIsWrittenDownBeforeTheJobIsDeleted(t *testing.T) {
	g := NewWithT(t)
	r := newRestoring(nil)
	r.step()
	r.session.Status.Components["pod-1"] = v1alpha1.RestoredComponent{
		Phase: restoreFailed, Reason: v1alpha1.ReasonCancelled,
	}
	job := toldToStop("pod-1", v1alpha1.ReasonEvicted)
	job.Finished = false // The Job controller is behind.
	name := restore.JobName("r", "pod-1", 1)
	r.jobs[name] = job
	d := r.step()
	g.Expect(d.Status.Components["pod-1"].Reason).To(Equal(v1alpha1.ReasonEvicted))
	g.Expect(d.Delete).To(BeEmpty())
	g.Expect(d.After).To(BeNumerically(">", 0))
	g.Expect(r.step().Delete).To(Equal([]string{name}))
}

// A mover that makes claims reports only its Result.
func TestAMoverThatMakesClaimsWasToldToStop(t *testing.T) {
	g := NewWithT(t)
	s := provisioned(runtest.Now, map[string]v1alpha1.ClaimBinding{"a": v1alpha1.BindImmediate})
	s.Spec.RetryConfig = &v1alpha1.RetryConfig{MaxRetry: 1}
	job := toldToStop("a", v1alpha1.ReasonEvicted)
	in := restore.Input{
		Now: runtest.Now, Session: s, Jobs: map[string]run.Job{restore.JobName("r", "target", 1): job},
		Claims: map[string]restore.ObservedClaim{"claim-a": {UID: "ua"}},
	}
	d := restore.Next(in)
	g.Expect(d.Status.Reason).To(Equal(v1alpha1.ReasonRetrying))
	g.Expect(d.Status.Components["a"].Reason).To(Equal(v1alpha1.ReasonEvicted))
	s.Status = d.Status
	in.Now = in.Now.Add(time.Minute)
	g.Expect(restore.Next(in).Create).To(Equal([]int{0}))
}
