package restorebatch

import (
	"cmp"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestScalingUp(t *testing.T) {
	const good, bad = v1alpha1.RestoreSessionSucceeded, v1alpha1.RestoreSessionFailed
	down := Workload{UID: "u"}
	up := map[string]int32{"Deployment/web": 2}
	for name, tt := range map[string]struct {
		was       v1alpha1.ScalePhase // empty: ScaleDownDone
		child     v1alpha1.RestoreSessionPhase
		is        Workload
		edit      func(*v1alpha1.ScaledWorkload)
		scale     map[string]int32
		phase     v1alpha1.ScalePhase
		message   string
		want      string // empty: Running
		partial   bool
		untouched bool // the deadline passed before the target began
		refused   bool // the RestoreSession was refused
		hooked    bool // a hook ran before the restore
		ready     string
	}{
		"all is restored: the status is written before it is scaled up": {
			child: good, is: down, phase: v1alpha1.ScalingUp,
		},
		"then it is scaled up": {
			was: v1alpha1.ScalingUp, child: good, is: down, scale: up, phase: v1alpha1.ScaleUpDone,
			want: "Succeeded/Succeeded",
		},
		"it is up already": {
			was: v1alpha1.ScalingUp, child: good, is: Workload{UID: "u", Replicas: 2}, phase: v1alpha1.ScaleUpDone,
			want: "Succeeded/Succeeded",
		},
		"another number is requested": {
			was: v1alpha1.ScalingUp, child: good, is: down, edit: func(w *v1alpha1.ScaledWorkload) { w.Replicas = 3 },
			scale: map[string]int32{"Deployment/web": 3}, phase: v1alpha1.ScaleUpDone, want: "Succeeded/Succeeded",
		},
		"it had none before": {
			child: good, is: down, edit: func(w *v1alpha1.ScaledWorkload) { w.Before, w.Replicas = 0, 0 },
			phase: v1alpha1.ScaleLeft, message: "no replicas before", want: "Succeeded/Succeeded",
			ready: "still have none: Deployment/web",
		},
		"it had none and gets some": {
			child: good, is: down, edit: func(w *v1alpha1.ScaledWorkload) { w.Before = 0 }, phase: v1alpha1.ScalingUp,
		},
		"not all is restored": {
			child: bad, is: down, phase: v1alpha1.ScaleLeft,
			message: "kubectl scale -n shop deployment/web --replicas=2", want: "Failed/TargetsFailed",
			ready: "Deployment/web: it stays without replicas because the restore did not end well, and its pods " +
				"could start on data that is incomplete or does not fit together: scale it up with " +
				"\"kubectl scale -n shop deployment/web --replicas=2\"",
		},
		"nothing was touched": {
			was: v1alpha1.ScalingUp, is: down, untouched: true, scale: up, phase: v1alpha1.ScaleUpDone,
			want: "Failed/DeadlineExceeded",
		},
		"what was to be restored was refused": {
			was: v1alpha1.ScalingUp, child: v1alpha1.RestoreSessionInvalid, refused: true, is: down, scale: up,
			phase: v1alpha1.ScaleUpDone, want: "Failed/TargetsFailed",
		},
		"what was to be restored was refused, but a hook had run": {
			child: v1alpha1.RestoreSessionInvalid, refused: true, hooked: true, is: down, phase: v1alpha1.ScaleLeft,
			message: "its pods could start on data that is incomplete", want: "Failed/TargetsFailed",
		},
		"nothing was touched, and another number is requested": {
			was: v1alpha1.ScalingUp, is: down, edit: func(w *v1alpha1.ScaledWorkload) { w.Replicas = 3 },
			untouched: true, scale: up, phase: v1alpha1.ScaleUpDone, want: "Failed/DeadlineExceeded",
		},
		"nothing was touched, and an earlier restore left it without replicas": {
			is: down, edit: func(w *v1alpha1.ScaledWorkload) { w.Before = 0 }, untouched: true,
			phase: v1alpha1.ScaleLeft, message: "nothing was restored, and it had no replicas before",
			want: "Failed/DeadlineExceeded",
		},
		"nothing was touched, and somebody scaled it up meanwhile": {
			is: Workload{UID: "u", Replicas: 1}, untouched: true, phase: v1alpha1.ScaleUpDone,
			want: "Failed/DeadlineExceeded",
		},
		"nothing was touched, and somebody changed it meanwhile": {
			is: Workload{UID: "u", Generation: 9}, untouched: true, phase: v1alpha1.ScalingUp,
		},
		"somebody scaled it up meanwhile": {
			child: good, is: Workload{UID: "u", Replicas: 1}, phase: v1alpha1.ScaleDisturbed,
			message: "may have written", want: "Failed/ReplicasChanged", partial: true,
		},
		"somebody scaled it up and down": {
			child: good, is: Workload{UID: "u", Generation: 9}, phase: v1alpha1.ScaleDisturbed,
			message: "if it had pods", want: "Failed/ReplicasChanged", partial: true,
		},
		"somebody scaled it up after that": {
			was: v1alpha1.ScalingUp, child: good, is: Workload{UID: "u", Replicas: 1}, phase: v1alpha1.ScaleUpDone,
			want: "Succeeded/Succeeded",
		},
		"it does not exist": {
			child: good, phase: v1alpha1.ScaleLeft, message: "deleted", want: "Succeeded/Succeeded", partial: true,
		},
		"scaling it is no longer allowed": {
			was: v1alpha1.ScalingUp, child: good, is: Workload{UID: "u", Refused: "no"}, phase: v1alpha1.ScaleLeft,
			message: "kubectl scale", want: "Succeeded/Succeeded", partial: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			b := scalingBatch(cmp.Or(tt.was, v1alpha1.ScaleDownDone))
			if tt.edit != nil {
				tt.edit(&b.Status.ScaledDown[0])
			}
			in := Input{Batch: b}
			if tt.untouched {
				in.Now = time.Unix(3601, 0)
			} else {
				in.Children = map[string]*v1alpha1.RestoreSession{
					"back-web": restoredChild("back-web", tt.child, "Why"),
				}
				if tt.refused {
					in.Children["back-web"].Status.Resolved = nil
				}
			}
			if tt.hooked {
				b.Status.Hooks = &v1alpha1.HookStatuses{PreHooks: []v1alpha1.HookStatus{
					{Phase: v1alpha1.HookSucceeded, Attempts: 1},
				}}
			}
			d := decideScaling(g, in, tt.is)
			g.Expect(d.Scale).To(Equal(tt.scale))
			g.Expect(d.Disown).To(Equal(d.Status.Reason == v1alpha1.ReasonReplicasChanged))
			g.Expect(d.Status.ScaledDown[0].Phase).To(Equal(tt.phase))
			g.Expect(d.Status.ScaledDown[0].Message).To(ContainSubstring(tt.message))
			g.Expect(string(d.Status.Phase) + "/" + d.Status.Reason).To(Equal(cmp.Or(tt.want, "Running/")))
			partial := ContainElement(And(HaveField("Type", "Partial"), HaveField("Status", metav1.ConditionTrue)))
			if !tt.partial {
				partial = Not(partial)
			}
			g.Expect(d.Status.Conditions).To(partial)
			if tt.ready != "" {
				g.Expect(d.Status.Conditions).To(ContainElement(And(HaveField("Type", "Ready"),
					HaveField("Message", ContainSubstring(tt.ready)))))
				g.Expect(d.Event.Message).To(ContainSubstring(tt.ready))
			}
		})
	}
	t.Run("a webhook that says very much about why it is not scaled", func(t *testing.T) {
		g := NewWithT(t)
		d := decideScaling(g, Input{
			Batch:    scalingBatch(v1alpha1.ScalingUp),
			Children: map[string]*v1alpha1.RestoreSession{"back-web": restoredChild("back-web", good, "Why")},
		}, Workload{UID: "u", Refused: strings.Repeat("no ", 1000)})
		g.Expect(d.Status.ScaledDown[0].Message).To(HaveSuffix("--replicas=2\""))
		g.Expect(len(d.Status.ScaledDown[0].Message)).To(Equal(1024), "the API server takes no more")
	})
	t.Run("targets that can come from different restore points", func(t *testing.T) {
		g := NewWithT(t)
		b := restoreBatchOf("web", "db")
		b.Status.ScaledDown = scalingBatch(v1alpha1.ScaleDownDone).Status.ScaledDown
		d := decideScaling(g, Input{Batch: b, Children: map[string]*v1alpha1.RestoreSession{
			"back-web": restoredChild("back-web", good, "Why"),
			"back-db":  restoredChild("back-db", v1alpha1.RestoreSessionSkipped, "Why"),
		}}, down)
		g.Expect(d.Status.Reason).To(Equal(v1alpha1.ReasonMixedRestorePoints))
		g.Expect(d.Status.ScaledDown[0].Phase).To(Equal(v1alpha1.ScaleLeft))
		g.Expect(d.Scale).To(BeEmpty())
		g.Expect(d.Event.Message).To(ContainSubstring("only scale up by hand what scaleDown has left"))
	})
	t.Run("a RestoreBatch that is deleted before anything was restored", func(t *testing.T) {
		g := NewWithT(t)
		b := scalingBatch(v1alpha1.ScalePending)
		b.DeletionTimestamp = &metav1.Time{Time: time.Unix(50, 0)}
		d := decideScaling(g, Input{Batch: b}, Workload{UID: "u", Pods: 1})
		g.Expect(d.Status.ScaledDown[0].Phase).To(Equal(v1alpha1.ScalingUp))
		b.Status = d.Status
		d = decideScaling(g, Input{Batch: b}, Workload{UID: "u", Pods: 1})
		g.Expect(d.Scale).To(Equal(up))
		g.Expect(d.Status.Reason).To(Equal(v1alpha1.ReasonCancelled))
	})
	t.Run("a workload that was never scaled down", func(t *testing.T) {
		g := NewWithT(t)
		b := scalingBatch(v1alpha1.ScalePending)
		b.DeletionTimestamp = &metav1.Time{Time: time.Unix(50, 0)}
		d := decideScaling(g, Input{Batch: b}, Workload{UID: "u", Replicas: 2, Pods: 2})
		g.Expect(d.Scale).To(BeEmpty())
		g.Expect(d.Status.ScaledDown[0].Message).To(Equal("it was not scaled down"))
	})
}
