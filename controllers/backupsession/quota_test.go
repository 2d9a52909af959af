package backupsession

import (
	"context"
	"net/http"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task/observe"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

// A quota has room for one Job at a time. When a target ends, the time of a refusal and its pauses begin again.
func TestTheEndOfATargetBringsATrySooner(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.batch()
	refused, whole := 0, w.Client
	w.Client = interceptor.NewClient(whole, interceptor.Funcs{Create: func(
		ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption,
	) error {
		if _, ok := o.(*batchv1.Job); ok {
			for _, job := range w.Jobs() {
				if !observe.Ended(&job) {
					refused++
					return &apierrors.StatusError{ErrStatus: metav1.Status{
						Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden,
						Message: "exceeded quota: jobs, requested: count/jobs.batch=1",
					}}
				}
			}
		}
		return c.Create(ctx, o, opts...)
	}})
	w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Outcome{Hang: true} }
	w.run(v1alpha1.BackupBatchKind, "shop", "run")
	r := reconciler(w.World) // it remembers what another one does not
	request := ctrl.Request{NamespacedName: client.ObjectKey{Namespace: w.Namespace, Name: "run"}}
	look := func() (again time.Duration) {
		for range 3 {
			result, err := r.Reconcile(t.Context(), request)
			w.Expect(err).NotTo(HaveOccurred())
			again = result.RequeueAfter
			w.Cluster()
		}
		return again
	}
	for len(w.Jobs()) == 0 {
		look()
	}
	w.Expect(refused).To(Equal(2), "the other two")
	hang := w.Outcome
	for n := 2; n <= 3; n++ { // the Jobs of a test are as old as the clock says: it does not go far
		w.Clock.SetTime(w.Clock.Now().Add(2 * time.Minute))
		w.Expect(look()).To(BeNumerically(">", 30*time.Second), "the pauses have grown")
		w.Outcome = kubelet.Succeed
		w.Cluster()
		w.Outcome = hang
		w.Expect(look()).To(BeNumerically("<=", 5*time.Second))
		w.Clock.SetTime(w.Clock.Now().Add(5 * time.Second))
		look()
		w.Expect(len(w.Jobs())).To(Equal(n), "%v", summary(w.session("run")))
	}
	w.Outcome = kubelet.Succeed
	w.Expect(summary(w.settle("run"))[0]).To(Equal("Succeeded/Succeeded"))
}
