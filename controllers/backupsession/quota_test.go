package backupsession

import (
	"context"
	"net/http"
	"strings"
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
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

// A quota has room for one Job at a time: the run goes on as its targets end.
func TestARunUsesTheRoomThatItGivesBack(t *testing.T) {
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

// A webhook that does not answer makes each try slow. The pause follows the try, and nothing is tried twice in one.
func TestASlowTryIsFollowedByItsPause(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.batch()
	var tried []string
	w.Client = interceptor.NewClient(w.Client, interceptor.Funcs{Create: func(
		ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption,
	) error {
		_, snapshot := o.(*v1alpha1.Snapshot)
		_, job := o.(*batchv1.Job)
		if snapshot && strings.Contains(o.GetName(), "web") || job && strings.Contains(o.GetName(), "uploads") {
			tried = append(tried, o.GetName())
			w.Clock.SetTime(w.Clock.Now().Add(10 * time.Second))
			return testbed.Denied(http.StatusInternalServerError)
		}
		return c.Create(ctx, o, opts...)
	}})
	w.run(v1alpha1.BackupBatchKind, "shop", "run")
	r := reconciler(w.World) // it remembers what another one does not
	request := ctrl.Request{NamespacedName: client.ObjectKey{Namespace: w.Namespace, Name: "run"}}
	for len(tried) == 0 {
		_, err := r.Reconcile(t.Context(), request)
		w.Expect(err).NotTo(HaveOccurred())
	}
	w.Expect(tried).To(ConsistOf(ContainSubstring("web"), ContainSubstring("uploads")))
	_, err := r.Reconcile(t.Context(), request)
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(tried).To(HaveLen(2), "an event tries nothing")
	w.Clock.SetTime(w.Clock.Now().Add(time.Minute))
	_, err = r.Reconcile(t.Context(), request)
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(tried).To(HaveLen(4))
}
