package restoresession

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// damage makes a check find that data of components is gone.
func (w *world) damage(snapshot string, components ...string) {
	w.T.Helper()
	s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: snapshot}}
	bed.EditStatus(w.T, s, func() {
		s.Status.Integrity = new(false)
		for _, name := range components {
			c := s.Status.Components[name]
			c.Integrity = new(false)
			s.Status.Components[name] = c
		}
	})
}

func TestLatestTakesNoDamagedSnapshot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.damage("second", "pvc")
	w.restore("restore")
	s := w.settle("restore")
	w.Expect(ending(s)).To(Equal("Succeeded/Succeeded"))
	w.Expect(s.Status.Resolved.Snapshot).To(Equal("first"))
	w.Expect(s.Status.Conditions).To(ContainElement(And(HaveField("Type", v1alpha1.ConditionPartial),
		HaveField("Reason", v1alpha1.ReasonNewerSnapshot), HaveField("Message", MatchRegexp(
			"^Snapshot second of .* is newer, but damaged: data of its components is gone: pvc")))),
		"nobody takes it for the newest backup")

	w.damage("first", "pvc")
	w.damage("pods", "pod-0")
	sessiontest.Create(t, w.Client, sessiontest.Claim(w.Namespace, "other"))
	w.restore("none", func(s *v1alpha1.RestoreSession) { s.Spec.Target.Name = "other" })
	s = w.settle("none")
	w.Expect(ending(s)).To(Equal("Invalid/SnapshotDamaged"))
	w.Expect(message(s)).To(ContainSubstring("second"))
}

// Whether a half restored target was put in order since, only its owner knows: neither the newest Snapshot nor an old
// one is taken without a word.
func TestLatestIsRefusedAfterAHalfRestore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.restore("clone", newClaims("copy"))
	w.Expect(ending(w.settle("clone"))).To(Equal("Succeeded/Succeeded"))
	second := &v1alpha1.Snapshot{}
	w.Expect(w.Client.Get(t.Context(), client.ObjectKey{Namespace: w.Namespace, Name: "second"}, second)).To(Succeed())
	second.Annotations = map[string]string{v1alpha1.AnnotationHalfRestored: "broke-off"}
	w.Expect(w.Client.Update(t.Context(), second)).To(Succeed())
	w.restore("restore")
	s := w.settle("restore")
	w.Expect(ending(s)).To(Equal("Invalid/HalfRestored"))
	w.Expect(message(s)).To(ContainSubstring("the newest Snapshot is second, but before it was made, RestoreSession " +
		"broke-off can have written into its target and did not end well; the newest from before is first: name"))
	w.forget("clone")
	w.restore("clone", newClaims("copy"))
	w.Expect(ending(w.settle("clone"))).To(Equal("Skipped/AlreadyRestored"), "a GitOps tool makes it again")
	w.restore("other", newClaims("other"))
	w.Expect(ending(w.settle("other"))).To(Equal("Invalid/HalfRestored"))
	w.restore("named", func(s *v1alpha1.RestoreSession) {
		s.Spec.DataSource = &v1alpha1.RestoreDataSource{Snapshot: "second"}
	})
	w.Expect(ending(w.settle("named"))).To(Equal("Succeeded/Succeeded"))
}

func TestADamagedSnapshotNeedsAWordOfConsent(t *testing.T) {
	t.Parallel()
	named := func(snapshot string, allow bool, components ...string) func(*v1alpha1.RestoreSession) {
		return func(s *v1alpha1.RestoreSession) {
			s.Spec.DataSource = &v1alpha1.RestoreDataSource{
				Snapshot: snapshot, AllowDamaged: allow, Components: components,
			}
		}
	}
	for name, tt := range map[string]struct {
		edit func(*v1alpha1.RestoreSession)
		want string
	}{
		"without":             {named("second", false), "Invalid/SnapshotDamaged"},
		"with":                {named("second", true), "Succeeded/Succeeded"},
		"a damaged component": {named("pods", false, "pod-0"), "Invalid/SnapshotDamaged"},
		"a whole component":   {named("pods", false, "pod-1"), "Succeeded/Succeeded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.damage("second", "pvc")
			w.damage("pods", "pod-0")
			w.restore("restore", tt.edit)
			s := w.settle("restore")
			w.Expect(ending(s)).To(Equal(tt.want), message(s))
			if tt.want != "Succeeded/Succeeded" {
				w.Expect(message(s)).To(ContainSubstring("dataSource.allowDamaged"))
				w.Expect(w.Jobs()).To(BeEmpty())
			}
		})
	}
	t.Run("which latest does not take", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		s := &v1alpha1.RestoreSession{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "restore"},
			Spec: v1alpha1.RestoreSessionSpec{
				Target: new(uploads), DataSource: &v1alpha1.RestoreDataSource{
					Repository: "uploads", Snapshot: v1alpha1.LatestSnapshot, AllowDamaged: true,
				},
			},
		}
		w.Expect(w.Client.Create(t.Context(), s)).To(MatchError(
			ContainSubstring("allowDamaged needs the name of a Snapshot")))
	})
}

// The Snapshot is being deleted: its data can be gone in the middle of the restore.
func TestASnapshotThatIsBeingDeletedIsNotRestored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	snap := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "second"}}
	bed.Edit(t, snap, func() { snap.Finalizers = []string{v1alpha1.FinalizerWipe} })
	w.Expect(w.Client.Delete(t.Context(), snap)).To(Succeed())
	w.restore("restore", func(s *v1alpha1.RestoreSession) {
		s.Spec.DataSource = &v1alpha1.RestoreDataSource{Snapshot: "second"}
	})
	w.Expect(ending(w.settle("restore"))).To(Equal("Invalid/SnapshotDamaged"))
}

// The check finds the damage after the restore was frozen, and before its Job.
func TestDamageThatIsFoundBeforeTheJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Killer = &sessiontest.Killer{At: 3}
	w.restore("restore")
	w.Reconcile("restore")
	w.Expect(w.session("restore").Status.Resolved.Snapshot).To(Equal("second"))
	w.damage("second", "pvc")
	w.Expect(ending(w.settle("restore"))).To(Equal("Failed/SnapshotDamaged"))
	w.Expect(w.Jobs()).To(BeEmpty())
}

// No restore and no batch has held the Snapshot, for whatever reason: the Job would read what a keeper removes.
func TestARemovalThatBeganBeforeTheJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Killer = &sessiontest.Killer{At: 3}
	w.restore("restore")
	w.Reconcile("restore")
	w.Expect(w.session("restore").Status.Resolved.Snapshot).To(Equal("second"))
	snap := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "second"}}
	bed.Edit(t, snap, func() { snap.Finalizers = []string{v1alpha1.FinalizerWipe} })
	w.Expect(w.Client.Delete(t.Context(), snap)).To(Succeed())
	bed.EditStatus(t, snap, func() { retention.MarkRemovalBegan(snap) })
	s := w.settle("restore")
	w.Expect(ending(s)).To(Equal("Failed/SnapshotDamaged"))
	w.Expect(message(s)).To(ContainSubstring("a part of its data can be gone already"))
	w.Expect(w.Jobs()).To(BeEmpty())
}

// Without consent, nobody learns that a Snapshot of another namespace exists, that it is damaged, and which components
// it has.
func TestDamageElsewhereIsASecret(t *testing.T) {
	t.Parallel()
	w, source := newWorld(t), newWorld(t)
	source.damage("pods", "pod-0")
	w.restore("restore", func(s *v1alpha1.RestoreSession) {
		s.Spec.DataSource = &v1alpha1.RestoreDataSource{Namespace: source.Namespace, Snapshot: "pods"}
	})
	s := w.settle("restore")
	w.Expect(ending(s)).To(Equal("Failed/RestoreNotAllowed"), message(s))
}
