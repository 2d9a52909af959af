package restoresession

import (
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// holdsData makes movers find data in their target, and refuse it unless somebody has confirmed that.
func holdsData(job *batchv1.Job) kubelet.Outcome {
	if restoreOf(job).Overwrite == "" {
		return kubelet.Fail(v1alpha1.ReasonVolumeNotEmpty)
	}
	return kubelet.Succeed(job)
}

// A runbook restores the latest Snapshot into a volume. In March it did. The application has gone on since, and in
// October somebody applies the runbook under another name: nobody has looked at what the volume holds by then.
func TestARestoreOfAnotherNameLooksAtItsTarget(t *testing.T) {
	t.Parallel()
	for want, now := range map[string]func(*batchv1.Job) kubelet.Outcome{
		"Succeeded/Succeeded":   kubelet.Succeed, // somebody has emptied it
		"Failed/VolumeNotEmpty": holdsData,
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.restore("march")
			w.Expect(ending(w.settle("march"))).To(Equal("Succeeded/Succeeded"))
			sessiontest.Create(t, w.Client, w.newSnapshot("october", v1alpha1.SnapshotSucceeded, 4, "pvc"))
			w.Outcome = now
			w.restore("october")
			s := w.settle("october")
			w.Expect(ending(s)).To(Equal(want))
			w.Expect(s.Status.Resolved.Snapshot).To(Equal("october"))
			w.Expect(conditions.IsTrue(s, meta.ReadyCondition)).To(Equal(want == "Succeeded/Succeeded"))
			w.Expect(restoreOf(w.jobOf("october")).Overwrite).To(BeEmpty())
		})
	}
}

func TestARestoreOfAnotherNameLooksAtItsDatabase(t *testing.T) {
	t.Parallel()
	w, _ := databaseWorld(t, true)
	w.restore("march", intoService(auth))
	w.Expect(ending(w.settle("march"))).To(Equal("Succeeded/Succeeded"))
	w.Outcome = holdsData
	w.restore("october", intoService(auth))
	s := w.settle("october")
	w.Expect(ending(s)).To(Equal("Failed/VolumeNotEmpty"))
	w.Expect(conditions.IsFalse(s, meta.ReadyCondition)).To(BeTrue())
}

// A confirmation goes by what it allows, whatever the name.
func TestARestoreOfAnotherNameNeedsAnotherConfirmation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.restore("march", w.confirmed("target"))
	w.Expect(ending(w.settle("march"))).To(Equal("Succeeded/Succeeded"))
	w.restore("october", w.confirmed("target"))
	w.Expect(ending(w.settle("october"))).To(Equal("Invalid/ConfirmationUsed"))
	w.noJob("october")
	w.restore("wanted", w.confirmed("target"), confirmedAnew)
	w.Expect(ending(w.settle("wanted"))).To(Equal("Succeeded/Succeeded"))
}

// What the volume holds by now is what the restore of another name has written, so that of the first name looks, too.
func TestARestoreThatIsMadeAgainAfterOneOfAnotherNameLooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"march", "october"} {
		w.restore(name)
		w.Expect(ending(w.settle(name))).To(Equal("Succeeded/Succeeded"))
	}
	w.Outcome = holdsData
	w.forget("march")
	w.restore("march")
	w.Expect(ending(w.settle("march"))).To(Equal("Failed/VolumeNotEmpty"))
}

// A preRestore hook can delete what the target holds, and runs before a mover looks at that.
func TestARestoreOfAnotherNameRunsNoHookUnconfirmed(t *testing.T) {
	t.Parallel()
	claim := func(t *testing.T) (*world, func(*v1alpha1.RestoreSession), client.Object) {
		target := &corev1.PersistentVolumeClaim{}
		w := newWorld(t)
		w.Get("target", target)
		return w, func(*v1alpha1.RestoreSession) {}, target
	}
	database := func(t *testing.T) (*world, func(*v1alpha1.RestoreSession), client.Object) {
		w, service := databaseWorld(t, true)
		return w, intoService(auth), service
	}
	for name, tt := range map[string]struct {
		world func(t *testing.T) (*world, func(*v1alpha1.RestoreSession), client.Object)
		name  string
		edit  func(w *world, target client.Object) // after the first restore
		want  string
	}{
		"a claim":             {claim, "october", nil, "Invalid/ConfirmationMissing"},
		"a database":          {database, "october", nil, "Invalid/ConfirmationMissing"},
		"of the same name":    {claim, "march", nil, "Skipped/AlreadyRestored"},
		"a database, as well": {database, "march", nil, "Skipped/AlreadyRestored"},
		"nobody vouches for it": {claim, "march", func(w *world, target client.Object) {
			w.Get(target.GetName(), target)
			bed.Edit(w.T, target, func() {
				target.GetAnnotations()[v1alpha1.AnnotationRestored] = w.stamp()
			})
		}, "Invalid/ConfirmationMissing"},
		"somebody has emptied it and said so": {claim, "october", func(w *world, target client.Object) {
			w.Get(target.GetName(), target)
			bed.Edit(w.T, target, func() { delete(target.GetAnnotations(), v1alpha1.AnnotationRestored) })
		}, "Succeeded/Succeeded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, into, target := tt.world(t)
			l := sessiontest.Listen(t)
			hooks := w.RestoreHooks(l)
			hooked := func(s *v1alpha1.RestoreSession) { s.Spec.Hooks = hooks }
			w.restore("march", into, hooked)
			w.Expect(ending(w.drive("march"))).To(Equal("Succeeded/Succeeded"))
			w.forget("march")
			if tt.edit != nil {
				tt.edit(w, target)
			}
			heard := l.Heard()
			w.restore(tt.name, into, hooked)
			w.Expect(ending(w.drive(tt.name))).To(Equal(tt.want))
			if tt.want == "Succeeded/Succeeded" {
				return
			}
			w.Expect(l.Heard()).To(Equal(heard))
			w.restore("wanted", into, hooked, func(s *v1alpha1.RestoreSession) {
				s.Spec.Confirm = string(target.GetUID())
			})
			w.Expect(ending(w.drive("wanted"))).To(Equal("Succeeded/Succeeded"), "somebody has looked")
		})
	}
}
