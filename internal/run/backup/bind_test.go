package backup_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/run/runtest"
)

// A volume that binds to its first consumer is made once the scheduler has chosen a node. If that takes longer than the
// scheduler waits, it calls the pod unschedulable.
func TestAMoverWaitsForTheVolumeThatIsMadeForIt(t *testing.T) {
	t.Parallel()
	chosen := map[string]string{"volume.kubernetes.io/selected-node": "a"}
	const pending, bound = corev1.ClaimPending, corev1.ClaimBound
	for name, tt := range map[string]struct {
		after time.Duration
		nodes map[string]string
		phase corev1.PersistentVolumeClaimPhase
		made  time.Duration // before the look
		edit  func(*backup.Copy)
		ahead time.Duration
		why   string
		says  string
	}{
		"it is being made": {after: 59 * time.Minute, nodes: chosen, phase: pending},
		"it is not made in time": {
			after: time.Hour, nodes: chosen, phase: pending, why: v1alpha1.ReasonCopyFailed,
			says: "was not made within 1h0m0s: observed",
		},
		"its Job is dated ahead": {
			after: 59 * time.Minute, nodes: chosen, phase: pending, ahead: 365 * 24 * time.Hour,
		},
		"its Job is dated ahead, and the time has passed": {
			after: time.Hour, nodes: chosen, phase: pending, ahead: 365 * 24 * time.Hour,
			why: v1alpha1.ReasonCopyFailed,
		},
		"no node suits the pod": {
			after: 6 * time.Minute, phase: pending, why: v1alpha1.ReasonUnschedulable, says: "observed",
		},
		"it was made a short while ago": {
			after: 30 * time.Minute, nodes: chosen, phase: bound, made: 4 * time.Minute,
		},
		"it was made long ago": {
			after: 30 * time.Minute, nodes: chosen, phase: bound, made: 6 * time.Minute,
			why: v1alpha1.ReasonUnschedulable,
		},
		"it can't be made": {
			after: 30 * time.Minute, nodes: chosen, phase: pending, why: v1alpha1.ReasonCopyFailed,
			edit: func(c *backup.Copy) { c.Trouble = "the pool is full" }, says: "the pool is full",
		},
		"it can't be made, and the node was taken back": {
			after: 30 * time.Minute, phase: pending, why: v1alpha1.ReasonCopyFailed,
			edit: func(c *backup.Copy) { c.Trouble = "the pool is full" }, says: "the pool is full",
		},
		"somebody deletes it": {
			after: 30 * time.Minute, nodes: chosen, phase: pending, why: v1alpha1.ReasonUnschedulable,
			edit: func(c *backup.Copy) { c.Claim.DeletionTimestamp = &metav1.Time{Time: runtest.Now} },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, f := NewWithT(t), copiedRun("", "pod-0")
			f.session.Status.BackupDeadline = nil
			f.session.Status.Resolved.Targets[0].Copies[0].Immediate = false
			f.claim("copy-pod-0", pending)
			f.step()
			began := f.session.Status.Targets[0].StartTime.Time
			f.at = began.Add(tt.after)
			have := f.copies["copy-pod-0"]
			have.Claim.Annotations, have.Claim.Status.Phase = tt.nodes, tt.phase
			if tt.phase == bound {
				have.Made = f.at.Add(-tt.made)
			}
			if tt.edit != nil {
				tt.edit(&have)
			}
			f.copies["copy-pod-0"] = have
			job := runtest.Died(v1alpha1.ReasonUnschedulable, false)
			job.Created = began.Add(tt.ahead)
			f.jobs[runtest.Job("a", "pod-0", 1)] = job
			d := f.step()
			c := f.component("a", "pod-0")
			g.Expect(c.Reason).To(Equal(tt.why))
			g.Expect(c.Error).To(ContainSubstring(tt.says))
			if tt.why == "" {
				g.Expect(c.Phase).To(Equal(v1alpha1.SnapshotPending))
				g.Expect(d.Delete).To(BeEmpty())
				g.Expect(d.After).To(Equal(run.PollInterval))
			}
		})
	}
}

// A run that ends does not wait for a volume.
func TestADeadlineEndsTheWaitForAVolume(t *testing.T) {
	t.Parallel()
	g, f := NewWithT(t), copiedRun("", "pod-0")
	f.session.Status.Resolved.Targets[0].Copies[0].Immediate = false
	f.claim("copy-pod-0", corev1.ClaimPending)
	f.step()
	f.copies["copy-pod-0"].Claim.Annotations = map[string]string{"volume.kubernetes.io/selected-node": "a"}
	f.at = f.session.Status.BackupDeadline.Time
	job := runtest.Died(v1alpha1.ReasonUnschedulable, false)
	job.Created = f.at.Add(-30 * time.Minute)
	f.jobs[runtest.Job("a", "pod-0", 1)] = job
	f.step()
	g.Expect(f.component("a", "pod-0").Reason).To(Equal(v1alpha1.ReasonDeadlineExceeded))
}
