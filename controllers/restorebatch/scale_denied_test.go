package restorebatch

import (
	"context"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// denyScale makes the API server fail to call a webhook for the writes of replicas that it is about, while away is set.
func (w *world) denyScale(away *bool, about func(replicas int32, dryRun bool) bool) {
	w.Client = interceptor.NewClient(w.Client, interceptor.Funcs{SubResourceUpdate: func(
		ctx context.Context, c client.Client, name string, o client.Object, opts ...client.SubResourceUpdateOption,
	) error {
		all := (&client.SubResourceUpdateOptions{}).ApplyOptions(opts)
		scale, ok := all.SubResourceBody.(*autoscalingv1.Scale)
		if ok && *away && about(scale.Spec.Replicas, len(all.DryRun) > 0) {
			return testbed.Denied(500)
		}
		return c.SubResource(name).Update(ctx, o, opts...)
	}})
}

// A webhook that must be asked before replicas change does not answer.
func TestAWebhookThatIsAwayKeepsAWorkloadFromBeingScaled(t *testing.T) {
	t.Parallel()
	start := func(_ int32, dryRun bool) bool { return dryRun }
	down := func(replicas int32, dryRun bool) bool { return !dryRun && replicas == 0 }
	up := func(replicas int32, dryRun bool) bool { return !dryRun && replicas > 0 }
	for name, tt := range map[string]struct {
		about    func(int32, bool) bool
		waited   time.Duration
		comes    bool
		deletion bool
		want     string
		replicas int32
	}{
		"at the start, for a while": {start, time.Minute, true, false, "Succeeded/Succeeded of second", 2},
		"at the start, for ever":    {start, run.WaitForRefused, false, false, "Failed/CreationRefused of ", 2},
		"down, for a while":         {down, time.Minute, true, false, "Succeeded/Succeeded of second", 2},
		"down, for ever":            {down, run.WaitForRefused, false, false, "Failed/TargetsFailed of second", 2},
		"up, for a day":             {up, 24 * time.Hour, true, false, "Succeeded/Succeeded of second", 2},
		"up, and deleted":           {up, 24 * time.Hour, false, true, "Succeeded/Succeeded of second", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, away := newWorld(t), true
			w.gone(w.deployment("kubectl"))
			w.denyScale(&away, tt.about)
			w.restore("back", scalesWeb)
			w.until(func() bool {
				b := w.batch("back")
				return b.Status.Reason == v1alpha1.ReasonCreationRefused ||
					conditions.IsTrue(b, v1alpha1.ConditionCreationRefused)
			})
			w.Clock.SetTime(w.Clock.Now().Add(tt.waited - time.Second))
			w.Reconcile("back")
			b := w.batch("back")
			w.Expect(b.Status.Phase.Terminal()).To(BeFalse())
			w.Expect(conditions.GetMessage(b, meta.ReadyCondition)).To(And(HavePrefix("waiting: "),
				ContainSubstring("rules.example.com"), ContainSubstring("web")))
			away = !tt.comes
			if tt.deletion {
				w.Expect(w.Client.Delete(t.Context(), b)).To(Succeed())
				w.Clock.SetTime(w.Clock.Now().Add(run.WaitForRefused))
			}
			w.Clock.SetTime(w.Clock.Now().Add(time.Minute))
			b = w.settle("back")
			w.Expect(summary(b)[0]).To(Equal(tt.want))
			w.Expect(w.replicas()).To(Equal(tt.replicas))
			if tt.deletion {
				w.Expect(b.Status.ScaledDown[0].Message).To(And(ContainSubstring("rules.example.com"),
					ContainSubstring("kubectl scale")))
			}
		})
	}
}
