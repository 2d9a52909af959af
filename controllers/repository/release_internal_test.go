package repository

import (
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/loglines"
)

// TestTheReleaseIsLoggedOnce releases a Repository twice, as a manager that was killed in between does,
// after a write that was lost.
func TestTheReleaseIsLoggedOnce(t *testing.T) {
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	o := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "one", DeletionTimestamp: new(metav1.Now()),
		Finalizers: []string{v1alpha1.FinalizerWipe, "example.com/held"},
	}}
	lost := errors.New("lost")
	c := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(o).WithObjects(o).
		WithInterceptorFuncs(testbed.FailPatch(&lost)).Build()
	r := &Reconciler{Client: c, APIReader: c, EventRecorder: record.NewFakeRecorder(10), FieldManager: "test"}
	ctx, lines := loglines.Record(t.Context(), 0)
	g.Expect(r.release(ctx, o.DeepCopy(), "kept", "its namespace is being deleted")).To(MatchError(lost))
	lost = nil
	for range 2 {
		g.Expect(r.release(ctx, o, "kept", "its namespace is being deleted")).To(Succeed())
	}
	g.Expect(*lines).To(Equal([]string{`"level"=0 "msg"="released the Repository" ` +
		`"data"="kept" "why"="its namespace is being deleted"`}))
}
