package oneshot

import (
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/status"
)

// store returns an API server that has a session.
func store(t *testing.T, s *v1alpha1.BackupSession) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	NewWithT(t).Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(s).Build()
}

// The Ledger removes the other finalizer, once the object is recorded.
func TestReleaseLeavesTheFinalizerOfTheLedger(t *testing.T) {
	g := NewWithT(t)
	s := session(func(s *v1alpha1.BackupSession) { AddFinalizers(s) })
	c := store(t, s)
	g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(s), s)).To(Succeed())
	g.Expect(Release(t.Context(), status.Writer{Client: c}, s)).To(Succeed())
	g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(s), s)).To(Succeed())
	g.Expect(s.Finalizers).To(Equal([]string{v1alpha1.FinalizerRecord}))
}

// A cache that is behind can hide that the object has ended: its work would be done again.
func TestNewest(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.BackupSession){
		"it is the newest":           nil,
		"it was written since":       func(s *v1alpha1.BackupSession) { s.ResourceVersion = "8" },
		"another object of its name": func(s *v1alpha1.BackupSession) { s.UID = "2" },
		"it is gone":                 func(s *v1alpha1.BackupSession) { s.Name = "gone" },
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := session(func(s *v1alpha1.BackupSession) { s.ResourceVersion = "9" })
			c := store(t, s.DeepCopy())
			if change == nil {
				g.Expect(Newest(t.Context(), c, s)).To(Succeed())
				return
			}
			change(s)
			g.Expect(Newest(t.Context(), c, s)).To(MatchError(apierrors.IsConflict, "IsConflict"))
		})
	}
}

// A writer whose cache is behind must not take back what another has written.
func TestHoldTakesNoOutdatedObject(t *testing.T) {
	g := NewWithT(t)
	s := session(func(s *v1alpha1.BackupSession) { s.ResourceVersion = "9" })
	c := store(t, s.DeepCopy())
	s.ResourceVersion = "8"
	g.Expect(Hold(t.Context(), status.Writer{Client: c}, s)).To(MatchError(apierrors.IsConflict, "IsConflict"))
	g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(s), s)).To(Succeed())
	g.Expect(s.Finalizers).To(BeEmpty())
}
