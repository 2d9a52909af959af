package snapshot

import (
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/loglines"
)

// TestTheLineOfARelease checks what the release of a Snapshot logs, and what becomes of a write that fails: an API
// server does not lose a write on demand.
func TestTheLineOfARelease(t *testing.T) {
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "snapshots"}, "one", errors.New("changed"))
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		write  error
		result ctrl.Result
		err    error
		want   string
	}{
		"released": {
			want: `"level"=0 "msg"="released the Snapshot" "why"="its deletionPolicy is not WipeOut"`,
		},
		"changed meanwhile": {
			write: conflict, result: ctrl.Result{RequeueAfter: soon},
			want: `"level"=1 "msg"="decides again, because the object changed meanwhile"`,
		},
		"the write fails": {write: broken, err: broken},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			scheme := runtime.NewScheme()
			g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
			g.Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
			s := &v1alpha1.Snapshot{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: "shop", Name: "one", DeletionTimestamp: new(metav1.Now()),
					Finalizers: []string{v1alpha1.FinalizerWipe, v1alpha1.FinalizerRecord},
				},
				Spec: v1alpha1.SnapshotSpec{DeletionPolicy: v1alpha1.DeletionPolicy("Delete")},
			}
			c := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(s).WithObjects(s).
				WithInterceptorFuncs(testbed.FailPatch(&tt.write)).Build()
			ctx, lines := loglines.Record(t.Context(), 1)
			r := &Reconciler{
				Client: c, APIReader: c, EventRecorder: record.NewFakeRecorder(10), FieldManager: "test",
				Clock: clock.RealClock{},
			}
			result, err := r.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(s)})
			g.Expect(result).To(Equal(tt.result))
			if tt.err != nil {
				g.Expect(err).To(MatchError(tt.err))
				g.Expect(*lines).NotTo(ContainElement(ContainSubstring("released")))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(*lines).To(ContainElement(ContainSubstring(tt.want)))
			if tt.write == nil {
				err := c.Get(t.Context(), client.ObjectKeyFromObject(s), s)
				g.Expect(apierrors.IsNotFound(err)).To(BeTrue(), "no finalizer holds the Snapshot")
			}
		})
	}
}
