package restorebatch

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/testbed"
)

func TestARefusalIsTriedAgainAfterAPauseAndNotAtEachEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tried := 0
	w.Client = interceptor.NewClient(w.Client, testbed.DenyEach(v1alpha1.RestoreSessionKind, &tried))
	w.restore("restore")
	r := reconciler(w.World) // it remembers what another one does not
	look := func() (pause time.Duration) {
		for range 4 {
			result, err := r.Reconcile(t.Context(), ctrl.Request{
				NamespacedName: client.ObjectKey{Namespace: w.Namespace, Name: "restore"},
			})
			w.Expect(err).NotTo(HaveOccurred())
			pause = result.RequeueAfter
		}
		return pause
	}
	for n := 1; n <= 4; n++ {
		pause := look()
		w.Expect(tried).To(Equal(n*len(names)), "events try nothing")
		w.Clock.SetTime(w.Clock.Now().Add(pause))
	}
	w.Clock.SetTime(w.Clock.Now().Add(run.WaitForRefused))
	w.Expect(w.settle("restore").Status.Phase).To(Equal(v1alpha1.RestoreSessionFailed))
}
