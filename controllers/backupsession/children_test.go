package backupsession

import (
	"slices"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
)

func TestChildrenOfABatch(t *testing.T) {
	t.Parallel()
	t.Run("one that is missing is waited for, then its target has failed", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.batch()
		child := &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "shop-db"}}
		w.Expect(w.Client.Delete(t.Context(), child)).To(Succeed())
		w.run(v1alpha1.BackupBatchKind, "shop", "run")
		w.Reconcile("run")
		w.Expect(w.session("run").Status.Reason).To(Equal(v1alpha1.ReasonChildrenNotReady))
		w.Clock.SetTime(w.Clock.Now().Add(run.WaitForChild))
		w.Expect(summary(w.settle("run"))).To(Equal([]string{
			"Failed/TargetsFailed", "web: Succeeded/Succeeded", "uploads: Succeeded/Succeeded",
			"db: Failed/ChildrenNotReady",
		}))
	})
	t.Run("one that belongs to somebody else is not used", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.batch()
		child := &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "shop-db"}}
		bed.Edit(t, child, func() { child.OwnerReferences = nil })
		w.run(v1alpha1.BackupBatchKind, "shop", "run")
		w.Expect(summary(w.settle("run"))[3]).To(Equal("db: Failed/NameConflict"))
	})
	t.Run("a batch that was just changed is expanded first", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		b := w.batch()
		bed.EditStatus(t, b, func() { b.Status.ObservedGeneration = 0 })
		w.run(v1alpha1.BackupBatchKind, "shop", "run")
		w.Reconcile("run")
		w.Expect(w.session("run").Status.Phase).To(Equal(v1alpha1.BackupSessionPending))
		bed.EditStatus(t, b, func() { b.Status.ObservedGeneration = b.Generation })
		w.Expect(summary(w.settle("run"))[0]).To(Equal("Succeeded/Succeeded"))
	})
}

// refuse makes the state after the API server refused to change the child of a target as the batch asks for it.
func (w *world) refuse(b *v1alpha1.BackupBatch, target string) {
	w.T.Helper()
	bed.EditStatus(w.T, b, func() {
		b.Status.ObservedGeneration = b.Generation
		b.Status.Targets = []v1alpha1.BatchTargetStatus{{
			Name: target, AppRef: uploads, Configuration: "shop-" + target, Phase: v1alpha1.PhaseNotReady,
			Reason: v1alpha1.ReasonReconcileFailed,
		}}
		conditions.MarkFalse(b, meta.ReadyCondition, v1alpha1.ReasonReconcileFailed, "policy no-nodes denies it")
	})
}

func TestAChildThatTheAPIServerRefusesToChange(t *testing.T) {
	t.Parallel()
	const missing = "BackupConfiguration shop-uploads does not exist yet"
	const outdated = "BackupConfiguration shop-uploads is not yet what BackupBatch shop asks for"
	const denied = ", because the API server refuses the change: policy no-nodes denies it"
	child := func(w *world) *v1alpha1.BackupConfiguration {
		return &v1alpha1.BackupConfiguration{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "shop-uploads"},
		}
	}
	for name, tt := range map[string]struct {
		change          func(*world)
		reason, message string
	}{
		"holds up only its target": {
			change: func(w *world) { w.refuse(w.changed(), "uploads") },
			reason: v1alpha1.ReasonReconcileFailed, message: outdated + denied,
		},
		"although nobody has said so": {
			change: func(w *world) { w.changed() }, reason: v1alpha1.ReasonChildrenNotReady, message: outdated,
		},
		"while its target enters the session": {
			change: func(w *world) { w.refuse(w.entering(), "uploads") },
			reason: v1alpha1.ReasonReconcileFailed, message: outdated + denied,
		},
		"that could not be made": {
			change: func(w *world) {
				w.refuse(w.batch(), "uploads")
				w.Expect(w.Client.Delete(w.T.Context(), child(w))).To(Succeed())
			},
			reason: v1alpha1.ReasonReconcileFailed, message: missing + denied,
		},
		"after somebody has edited it": {
			change: func(w *world) {
				w.refuse(w.batch(), "uploads")
				c := child(w)
				bed.Edit(w.T, c, func() { c.Spec.Sessions[0].Repositories[0].Directory = "/elsewhere" })
			},
			reason: v1alpha1.ReasonReconcileFailed, message: outdated + denied,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tt.change(w)
			w.run(v1alpha1.BackupBatchKind, "shop", "run")
			w.Reconcile("run")
			s := w.session("run")
			w.Expect(summary(s)).To(Equal([]string{"Pending/" + tt.reason}))
			w.Expect(conditions.GetMessage(s, meta.ReadyCondition)).
				To(Equal("waiting for target uploads: " + tt.message))
			w.Clock.SetTime(w.Clock.Now().Add(run.WaitForChild))
			s = w.settle("run")
			w.Expect(summary(s)[1:]).To(ConsistOf(
				"web: Succeeded/Succeeded", "db: Succeeded/Succeeded", "uploads: Failed/"+tt.reason))
			w.Expect(s.Status.Targets).To(ContainElement(HaveField("Message", tt.message)))
		})
	}
}

func TestARunOfAChildThatTheAPIServerRefusesToChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.changed()
	w.refuse(b, "uploads")
	w.run(v1alpha1.BackupConfigurationKind, "shop-web", "other")
	w.Expect(summary(w.settle("other"))[0]).To(Equal("Succeeded/Succeeded"))
	w.run(v1alpha1.BackupConfigurationKind, "shop-uploads", "run")
	w.Reconcile("run")
	w.Expect(summary(w.session("run"))).To(Equal([]string{"Pending/ReconciliationFailed"}))
	w.Clock.SetTime(w.Clock.Now().Add(run.WaitForChild))
	s := w.settle("run")
	w.Expect(summary(s)).To(Equal([]string{"Failed/ReconciliationFailed", "shop-uploads: Failed/ReconciliationFailed"}))
	w.Expect(conditions.GetMessage(s, meta.ReadyCondition)).To(ContainSubstring("policy no-nodes denies it"))
}

// changed creates a batch and changes how it backs up a target, which does not reach the child.
func (w *world) changed() *v1alpha1.BackupBatch {
	w.T.Helper()
	b := w.batch()
	bed.Edit(w.T, b, func() {
		b.Spec.Sessions[0].Targets[1].Addon.JobTemplate = &v1alpha1.PodTemplateSpec{
			Spec: v1alpha1.JobPodSpec{NodeSelector: map[string]string{"disk": "fast"}},
		}
	})
	bed.EditStatus(w.T, b, func() { b.Status.ObservedGeneration = b.Generation })
	return b
}

// entering creates a batch and moves a target into a session, which does not reach the child.
func (w *world) entering() *v1alpha1.BackupBatch {
	w.T.Helper()
	var enters v1alpha1.BatchSessionTarget
	b := w.batch(func(b *v1alpha1.BackupBatch) {
		weekly := *b.Spec.Sessions[0].DeepCopy()
		weekly.Name, weekly.Targets = "weekly", weekly.Targets[1:2]
		enters = *weekly.Targets[0].DeepCopy()
		b.Spec.Sessions[0].Targets = slices.Delete(b.Spec.Sessions[0].Targets, 1, 2)
		b.Spec.Sessions = append(b.Spec.Sessions, weekly)
	})
	bed.Edit(w.T, b, func() { b.Spec.Sessions[0].Targets = append(b.Spec.Sessions[0].Targets, enters) })
	return b
}

// What a run does not take from a child cannot be outdated in it.
func TestAChildThatIsRefusedForAnotherSession(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*v1alpha1.BackupBatch){
		"whose target leaves another session": func(b *v1alpha1.BackupBatch) {
			b.Spec.Sessions[1].Targets = slices.Delete(b.Spec.Sessions[1].Targets, 1, 2)
		},
		"for a timeout": func(b *v1alpha1.BackupBatch) { b.Spec.Sessions[0].BackupTimeout.Duration *= 2 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			b := w.batch(func(b *v1alpha1.BackupBatch) {
				s := *b.Spec.Sessions[0].DeepCopy()
				s.Name = "weekly"
				b.Spec.Sessions = append(b.Spec.Sessions, s)
			})
			bed.Edit(t, b, func() { change(b) })
			w.refuse(b, "uploads")
			w.run(v1alpha1.BackupBatchKind, "shop", "run")
			w.Expect(summary(w.settle("run"))[0]).To(Equal("Succeeded/Succeeded"))
		})
	}
}

// The children that were made before stay in force.
func TestARunOfABatchWithAMistake(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.batch()
	bed.Edit(t, b, func() { b.Spec.Sessions[0].Targets[1].Addon = addon("nothing") })
	bed.EditStatus(t, b, func() {
		b.Status.ObservedGeneration, b.Status.Phase = b.Generation, v1alpha1.PhaseInvalid
	})
	w.run(v1alpha1.BackupBatchKind, "shop", "run")
	w.Expect(summary(w.settle("run"))[0]).To(Equal("Succeeded/Succeeded"))
}
