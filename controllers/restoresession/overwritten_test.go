package restoresession

import (
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

// broken makes the restore of this name end so, after its mover began to write.
func broken(name string, end func(kubelet.Outcome) kubelet.Outcome) func(*batchv1.Job) kubelet.Outcome {
	return func(job *batchv1.Job) kubelet.Outcome {
		o := kubelet.Succeed(job)
		if kubelet.TaskOf(job).RestoreSession.Name == name {
			return end(o)
		}
		return o
	}
}

// Another restore overwrites a part of what a restore has filled, and fails. The volume then holds a mix of two
// Snapshots, and the first restore, made again, has not filled it.
func TestAStampDoesNotOutliveAnotherRestore(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(kubelet.Outcome) kubelet.Outcome{
		"it failed half-way": func(o kubelet.Outcome) kubelet.Outcome {
			c := &o.Result.Components[0]
			o.Result.Outcome, o.Result.Reason = task.OutcomeFailed, v1alpha1.ReasonTargetUnwritable
			c.Outcome, c.Reason, c.Overwritten = task.OutcomeFailed, v1alpha1.ReasonTargetUnwritable, 1000
			return o
		},
		"it wrote all and could not verify": func(o kubelet.Outcome) kubelet.Outcome {
			c := &o.Result.Components[0]
			o.Result.Outcome, o.Result.Reason = task.OutcomeFailed, v1alpha1.ReasonUnreachable
			c.Outcome, c.Reason, c.Overwritten = task.OutcomeUnknown, v1alpha1.ReasonUnreachable, 1000
			return o
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Outcome = broken("older", end)
			w.restore("newest")
			w.Expect(ending(w.settle("newest"))).To(Equal("Succeeded/Succeeded"))
			w.restore("older", w.confirmed("target"), func(s *v1alpha1.RestoreSession) {
				s.Spec.DataSource = &v1alpha1.RestoreDataSource{Snapshot: "first"}
			})
			s := w.settle("older")
			w.Expect(ending(s)).NotTo(HavePrefix("Succeeded"))
			w.forget("newest")
			w.restore("newest")
			s = w.settle("newest")
			w.Expect(ending(s)).NotTo(Equal("Skipped/AlreadyRestored"), message(s))
		})
	}
}

func TestAStampOfADatabaseDoesNotOutliveAnotherRestore(t *testing.T) {
	t.Parallel()
	w, service := databaseWorld(t, true)
	w.Outcome = broken("older", func(o kubelet.Outcome) kubelet.Outcome {
		o.Result.Outcome, o.Result.Reason = task.OutcomeFailed, v1alpha1.ReasonLoadFailed
		for i := range o.Result.Components {
			c := &o.Result.Components[i]
			c.Outcome, c.Reason, c.TargetWritten = task.OutcomeFailed, v1alpha1.ReasonLoadFailed, true
		}
		return o
	})
	w.restore("newest", intoService(auth))
	w.Expect(ending(w.settle("newest"))).To(Equal("Succeeded/Succeeded"))
	w.restore("older", intoService(auth), func(s *v1alpha1.RestoreSession) {
		s.Spec.Confirm = string(service.UID) // pg_restore --clean drops what is there
	})
	s := w.settle("older")
	w.Expect(ending(s)).NotTo(HavePrefix("Succeeded"))
	w.forget("newest")
	w.restore("newest", intoService(auth))
	s = w.settle("newest")
	w.Expect(ending(s)).NotTo(Equal("Skipped/AlreadyRestored"), message(s))
}

// The cache of a manager still shows the first restore before its end, and another restore holds the volume by now.
func TestAStaleCacheStampsNoVolumeOfAnotherRestore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.restore("newest")
	old := w.settle("newest").DeepCopy()
	old.Status.Phase = v1alpha1.RestoreSessionRunning
	w.restore("older", w.confirmed("target"), func(s *v1alpha1.RestoreSession) {
		s.Spec.DataSource = &v1alpha1.RestoreDataSource{Snapshot: "first"}
	})
	w.Reconcile("older")
	w.Reconcile("older")
	r := reconciler(w.World)
	w.Expect(r.stamp(t.Context(), old)).To(Succeed())
	claim := &corev1.PersistentVolumeClaim{}
	w.Get("target", claim)
	w.Expect(claim.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationRestoring, string(w.session("older").UID)))
	w.Expect(restore.ParseStamp(claim.Annotations[v1alpha1.AnnotationRestored]).Target).To(BeEmpty())
}
