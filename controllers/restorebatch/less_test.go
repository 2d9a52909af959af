package restorebatch

import (
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// The newest whole restore point lacks a component that another, newer one has.
func TestLatestTellsWhatItLacks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "shop-web-third"}}
	bed.EditStatus(t, s, func() { s.Status.Components["more"] = s.Status.Components["pvc"] })
	w.restore("back")
	b := w.settle("back")
	w.Expect(summary(b)).To(Equal(whole("second")))
	w.Expect(conditions.GetReason(b, v1alpha1.ConditionPartial)).To(Equal(v1alpha1.ReasonNewerSnapshot))
	w.Expect(conditions.GetMessage(b, v1alpha1.ConditionPartial)).To(HaveSuffix("target web: Snapshot " +
		"shop-web-second holds less than Snapshot shop-web-third of session hourly, which has component more"))
}
