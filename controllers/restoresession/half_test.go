package restoresession

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/dynamic"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/mover/report"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// halfRestored returns the restore that a claim is marked with.
func (w *world) halfRestored(name string) string {
	var claim corev1.PersistentVolumeClaim
	w.Get(name, &claim)
	return restore.HalfRestored(claim.Annotations, claim.UID)
}

// including restores the part of the newest Snapshot below a path.
func including(path string) func(*v1alpha1.RestoreSession) {
	return func(s *v1alpha1.RestoreSession) {
		s.Spec.Addon = &v1alpha1.AddonInfo{Name: "pvc-addon", Tasks: []v1alpha1.TaskReference{{
			Name: "logical-backup-restore", Params: catalog.NewParams(map[string]string{"include": path}),
		}}}
	}
}

// Whoever forgot the user of the volume did it no harm. A mover's own reports stand beside what the manager writes.
func TestATargetThatNoMoverTouchedIsNotHalfRestored(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		untouched []bool // by attempt
		want      string
	}{
		"in no attempt":     {[]bool{true, true}, ""},
		"in the second one": {[]bool{false, true}, "restore"},
		"in the first one":  {[]bool{true, false}, "restore"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			api, err := dynamic.NewForConfig(bed.Config)
			w.Expect(err).NotTo(HaveOccurred())
			own := report.APIStatus{Client: api, Namespace: w.Namespace}
			w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
				o, work := kubelet.Succeed(job), kubelet.TaskOf(job)
				c := &o.Result.Components[0]
				o.Result.Outcome, o.Result.Reason = task.OutcomeFailed, v1alpha1.ReasonTargetUnwritable
				c.Outcome, c.Reason = task.OutcomeFailed, v1alpha1.ReasonTargetUnwritable
				c.TargetUntouched = tt.untouched[len(w.Jobs())-1]
				for _, r := range []v1alpha1.RestoredComponent{{Phase: v1alpha1.RestoreSessionRunning}, c.Restored()} {
					w.Expect(own.Restore(t.Context(), *work.RestoreSession, c.Name, r)).To(Succeed())
				}
				return o
			}
			w.restore("restore", once)
			w.Reconcile("restore")
			w.Expect(w.halfRestored("target")).To(Equal("restore"), "its mover can be killed at any moment")
			w.Cluster()
			w.Reconcile("restore")
			w.Clock.SetTime(w.Clock.Now().Add(2 * time.Minute))
			s := w.settle("restore")
			w.Expect(ending(s)).To(Equal("Failed/TargetUnwritable"), message(s))
			w.Expect(s.Status.Attempt).To(BeEquivalentTo(2))
			w.Expect(w.halfRestored("target")).To(Equal(tt.want))
		})
	}
}

// What never begins, and what is refused after it has taken its claims, leaves them as they were.
func TestATargetWhoseMoverNeverBeganIsNotHalfRestored(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		restore func(*world) func(*v1alpha1.RestoreSession)
		late    bool // its Job was made long ago, and has no pod
		step    bool // fails
		want    string
		half    string
	}{
		"no pod is made": {late: true, want: "Failed/PodNotCreated"},
		"a step fails": {restore: func(w *world) func(*v1alpha1.RestoreSession) {
			info := w.stepsTask(v1alpha1.TargetAccessReadOnly)
			return func(s *v1alpha1.RestoreSession) { s.Spec.Addon = info }
		}, step: true, want: "Failed/StepFailed"},
		"a step that can write fails": {restore: func(w *world) func(*v1alpha1.RestoreSession) {
			info, confirm := w.stepsTask(""), w.confirmed("target")
			return func(s *v1alpha1.RestoreSession) { s.Spec.Addon = info; confirm(s) }
		}, step: true, want: "Failed/StepFailed", half: "restore"},
		"its Job is refused": {restore: func(*world) func(*v1alpha1.RestoreSession) {
			return func(s *v1alpha1.RestoreSession) {
				s.Spec.Addon = &v1alpha1.AddonInfo{
					Name: catalog.VolumeAddon, Tasks: []v1alpha1.TaskReference{{Name: catalog.RestoreTask}},
					JobTemplate: sessiontest.MoreThanItsLimit(),
				}
			}
		}, want: "Failed/InvalidTask"},
		"its other claim is in use": {restore: func(w *world) func(*v1alpha1.RestoreSession) {
			w.Killer = &sessiontest.Killer{At: 3} // right after the restore was frozen
			return w.twoClaims()
		}, want: "Failed/VolumeInUse"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if tt.step {
				w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Outcome{Step: w.Namespace + "-0"} }
			}
			edit := func(*v1alpha1.RestoreSession) {}
			if tt.restore != nil {
				edit = tt.restore(w)
			}
			w.restore("restore", edit)
			w.Reconcile("restore")
			if tt.want == "Failed/VolumeInUse" {
				sessiontest.Create(t, w.Client, sessiontest.Pod(w.Namespace, "app", "node-a", "other", nil))
				w.Reconcile("restore")
			}
			if tt.late {
				w.Expect(w.Jobs()).To(HaveLen(1))
				w.Expect(w.halfRestored("target")).To(Equal("restore"), "its mover can begin at any moment")
				w.Clock.SetTime(w.Clock.Now().Add(10 * time.Minute))
				w.Reconcile("restore")
			}
			s := w.settle("restore")
			w.Expect(ending(s)).To(Equal(tt.want), message(s))
			w.Expect(w.halfRestored("target")).To(Equal(tt.half))
		})
	}
}

// A restore of one directory broke off. The same restore puts that in order, as one of everything would.
func TestARestoreOfTheSamePartEndsTheMark(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	broken := func(job *batchv1.Job) kubelet.Outcome { return unreachable(kubelet.Succeed(job), 0) }
	for _, next := range []struct {
		name, path, snapshot string
		outcome              func(*batchv1.Job) kubelet.Outcome
		want                 string
	}{
		{"first", "/2025", "second", broken, "first"},
		{"another-part", "/2024", "second", kubelet.Succeed, "first"},
		{"of-another-day", "/2025", "first", kubelet.Succeed, "first"},
		{"again-in-vain", "/2025", "second", broken, "first"},
		{"again", "/2025", "second", kubelet.Succeed, ""},
		{"one", "/2023", "second", broken, "one"},
		{"two", "/2022", "second", broken, "one"},
		{"one-again", "/2023", "second", kubelet.Succeed, "one"},
	} {
		w.Outcome = next.outcome
		w.restore(next.name, including(next.path), w.confirmed("target"), func(s *v1alpha1.RestoreSession) {
			s.Spec.DataSource.Snapshot, s.Spec.Verify = next.snapshot, true
			s.Spec.Confirm += "/" + next.name
		})
		s := w.settle(next.name)
		w.Expect(w.halfRestored("target")).To(Equal(next.want), "%s: %s", next.name, message(s))
	}
}
