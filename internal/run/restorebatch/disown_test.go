package restorebatch

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
)

// A RestoreBatch ends, and can be deleted, although the API server lets nobody change its claims.
func TestTheStampsThatNobodyCanTake(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	d := Next(Input{
		Now: time.Unix(60, 0), Batch: restoreBatchOf("web", "db"),
		Children: map[string]*v1alpha1.RestoreSession{
			"back-web": restoredChild("back-web", v1alpha1.RestoreSessionSucceeded, "Why"),
			"back-db":  restoredChild("back-db", v1alpha1.RestoreSessionSkipped, "Why"),
		},
		DisownRefused: &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonInvalidTask, Message: "it says no"},
	})
	g.Expect(d.Disown).To(BeFalse())
	g.Expect(d.Status.Phase).To(Equal(v1alpha1.RestoreSessionFailed))
	g.Expect(d.Event.Message).To(And(HavePrefix("restored web"), ContainSubstring("it says no")))
}

// A manager that starts anew while the end waits must not run the hooks again.
func TestTheEndOfTheHooksIsWrittenWhileTheEndWaits(t *testing.T) {
	t.Parallel()
	g, b := NewWithT(t), restoreBatchOf("web")
	b.Status.Resolved.Hooks = &v1alpha1.ResolvedHooks{Post: []v1alpha1.ResolvedHook{{Name: "h"}}}
	b.Status.Hooks = &v1alpha1.HookStatuses{
		PostHooks: []v1alpha1.HookStatus{{Name: "h", Phase: v1alpha1.HookRunning, Attempts: 1}},
	}
	d := Next(Input{
		Now: time.Unix(60, 0), Batch: b,
		Children: map[string]*v1alpha1.RestoreSession{
			"back-web": restoredChild("back-web", v1alpha1.RestoreSessionSucceeded, "Why"),
		},
		DisownRefused: &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonCreationRefused, Message: "it says no"},
		Hooks: func(hookstage.Attempt) *hookstage.Outcome {
			return &hookstage.Outcome{Reason: "No", Message: "no", Final: true}
		},
	})
	g.Expect(d.Status.Phase).To(Equal(v1alpha1.RestoreSessionRunning))
	g.Expect(d.Status.Hooks.PostHooks[0].Phase).To(Equal(v1alpha1.HookFailed))
}

// A workload that an admission webhook holds is not looked at each second.
func TestAHeldWorkloadIsTriedAtItsOwnPace(t *testing.T) {
	t.Parallel()
	held := &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonCreationRefused, Message: "it is away"}
	for name, tt := range map[string]struct {
		workloads []string
		soon      bool
	}{
		"alone":        {[]string{"web"}, false},
		"with another": {[]string{"web", "cron"}, true},
	} {
		g, b := NewWithT(t), restoreBatchOf("web")
		in := Input{
			Now: time.Unix(60, 0), Batch: b, Workloads: map[string]Workload{},
			Children: map[string]*v1alpha1.RestoreSession{
				"back-web": restoredChild("back-web", v1alpha1.RestoreSessionSucceeded, "Why"),
			},
		}
		for _, workload := range tt.workloads {
			w := v1alpha1.ScaledWorkload{
				Kind: "Deployment", Name: workload, UID: "1", Replicas: 2, Phase: v1alpha1.ScaleDownDone,
			}
			b.Status.ScaledDown = append(b.Status.ScaledDown, w)
			in.Workloads[w.String()] = Workload{UID: "1"}
		}
		in.Workloads[b.Status.ScaledDown[0].String()] = Workload{UID: "1", Held: held}
		d := Next(in)
		g.Expect(d.After > 0).To(Equal(tt.soon), name)
		g.Expect(d.Again).To(BeNumerically(">=", 5*time.Second), name)
	}
}
