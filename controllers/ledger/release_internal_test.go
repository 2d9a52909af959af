package ledger

import (
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/loglines"
)

// A release that is lost is tried again, and is no line of the log.
func TestALostReleaseOfALedgerIsAnError(t *testing.T) {
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	l := &v1alpha1.Ledger{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "one", UID: "l", DeletionTimestamp: new(metav1.Now()),
		Finalizers: []string{v1alpha1.FinalizerFlush, "example.com/held"},
	}}
	lost := errors.New("lost")
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(l).
		WithInterceptorFuncs(testbed.FailPatch(&lost)).Build()
	r := &Reconciler{Client: c, APIReader: c, FieldManager: "test", DataDir: t.TempDir()}
	ctx, lines := loglines.Record(t.Context(), 0)
	g.Expect(r.finish(ctx, l.DeepCopy())).To(MatchError(lost))
	g.Expect(*lines).To(BeEmpty())
	lost = nil
	for range 2 { // a manager that was killed does it again
		g.Expect(r.finish(ctx, l)).To(Succeed())
	}
	g.Expect(l.Finalizers).To(Equal([]string{"example.com/held"}))
	g.Expect(*lines).To(HaveExactElements(ContainSubstring("released the Ledger")))
}
