package restoresession

import (
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// With caches that lag and watches that wake it, a restore completes without further requests.
func TestAManagerRunsARestore(t *testing.T) {
	w := newWorld(t)
	sessiontest.Manager(t, bed.Config, testbed.Scheme(), func(mgr ctrl.Manager) error {
		r := &Reconciler{
			Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), EventRecorder: w.Events, Clock: clock.RealClock{},
			MoverImage: "mover:test", ClusterUID: "cluster", FieldManager: "cairn-manager",
			Hooks: sessiontest.Hooks(w.World, bed.Config),
		}
		return r.SetupWithManager(mgr, controller.Options{SkipNameValidation: new(true)})
	}, w.Namespace, w.Storage)
	w.restore("restore")
	w.Eventually(func() string {
		w.Cluster()
		return ending(w.session("restore"))
	}).WithTimeout(testbed.Patience).Should(Equal("Succeeded/Succeeded"), "the Job ended")
	w.Expect(w.Jobs()).To(HaveLen(1))
	w.Expect(w.stamp()).NotTo(BeEmpty())
}
