package restorebatch

import (
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// scalingBatch returns a frozen RestoreBatch of one target that scales down a Deployment with two replicas.
func scalingBatch(phase v1alpha1.ScalePhase) *v1alpha1.RestoreBatch {
	b := restoreBatchOf("web")
	b.Status.ScaledDown = []v1alpha1.ScaledWorkload{
		{Kind: "Deployment", Name: "web", UID: "u", Before: 2, Replicas: 2, Phase: phase},
	}
	return b
}

// decideScaling decides with the present state of the workload, and checks that the decision asked for it first.
func decideScaling(g Gomega, in Input, is Workload) Decision {
	if in.Now.IsZero() {
		in.Now = time.Unix(60, 0)
	}
	d := Next(in)
	g.Expect(d.Look).To(BeTrue(), "the workloads must be read before anything is decided")
	g.Expect(d.Create).To(BeEmpty())
	g.Expect(d.Scale).To(BeEmpty())
	in.Workloads = map[string]Workload{in.Batch.Status.ScaledDown[0].String(): is}
	d = Next(in)
	g.Expect(d.Look).To(BeFalse())
	return d
}

func TestScalingDown(t *testing.T) {
	for name, tt := range map[string]struct {
		is     Workload
		scale  map[string]int32
		phase  v1alpha1.ScalePhase
		reason string // of the target
	}{
		"it has pods": {
			is: Workload{UID: "u", Replicas: 2, Pods: 2}, scale: map[string]int32{"Deployment/web": 0},
			phase: v1alpha1.ScalePending,
		},
		"its pods end":             {is: Workload{UID: "u", Pods: 1}, phase: v1alpha1.ScalePending},
		"its controller is behind": {is: Workload{UID: "u"}, phase: v1alpha1.ScalePending},
		"its pods have ended":      {is: Workload{UID: "u", Settled: true}, phase: v1alpha1.ScaleDownDone},
		"somebody scales it in the meantime": {
			is: Workload{UID: "u", Replicas: 5}, phase: v1alpha1.ScaleLeft, reason: v1alpha1.ReasonReplicasChanged,
		},
		"it does not exist": {phase: v1alpha1.ScaleLeft, reason: v1alpha1.ReasonReplicasChanged},
		"it was replaced": {
			is: Workload{UID: "v", Replicas: 2}, phase: v1alpha1.ScaleLeft, reason: v1alpha1.ReasonReplicasChanged,
		},
		"somebody manages it now": {
			is:    Workload{UID: "u", Replicas: 2, Managed: "are managed by HorizontalPodAutoscaler busy"},
			phase: v1alpha1.ScaleLeft, reason: v1alpha1.ReasonReplicasManaged,
		},
		"somebody manages it now and has scaled it": {
			is:    Workload{UID: "u", Replicas: 5, Managed: "are managed by HorizontalPodAutoscaler busy"},
			phase: v1alpha1.ScaleLeft, reason: v1alpha1.ReasonReplicasManaged,
		},
		"scaling it is no longer allowed": {
			is: Workload{UID: "u", Replicas: 2, Refused: "no"}, phase: v1alpha1.ScaleLeft,
			reason: v1alpha1.ReasonScalingNotPermitted,
		},
		"its pods would take their claims with them": {
			is: Workload{UID: "u", Replicas: 2, DeletesClaims: true}, phase: v1alpha1.ScaleLeft,
			reason: v1alpha1.ReasonScalingDeletesClaims,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			d := decideScaling(g, Input{Batch: scalingBatch(v1alpha1.ScalePending)}, tt.is)
			g.Expect(d.Scale).To(Equal(tt.scale))
			g.Expect(d.Status.ScaledDown[0].Phase).To(Equal(tt.phase))
			g.Expect(d.Create).To(BeEmpty(), "the status must say that the pods are gone before anything is restored")
			if tt.reason != "" {
				g.Expect(d.Status.Phase).To(Equal(v1alpha1.RestoreSessionFailed))
				g.Expect(d.Status.Targets[0].Reason).To(Equal(tt.reason))
			} else {
				g.Expect(d.After).To(BeNumerically(">", 0))
			}
		})
	}
	t.Run("somebody manages it when it is down: it is scaled up again", func(t *testing.T) {
		g := NewWithT(t)
		is := Workload{UID: "u", Managed: "are managed by HorizontalPodAutoscaler busy"}
		b := scalingBatch(v1alpha1.ScalePending)
		d := decideScaling(g, Input{Batch: b}, is)
		g.Expect(d.Status.Targets[0].Reason).To(Equal(v1alpha1.ReasonReplicasManaged))
		g.Expect(d.Status.ScaledDown[0].Phase).To(Equal(v1alpha1.ScalingUp))
		b.Status = d.Status
		d = decideScaling(g, Input{Batch: b}, is)
		g.Expect(d.Scale).To(Equal(map[string]int32{"Deployment/web": 2}))
		g.Expect(d.Status.Phase).To(Equal(v1alpha1.RestoreSessionFailed))
	})
	t.Run("then targets are restored", func(t *testing.T) {
		g := NewWithT(t)
		d := Next(Input{Now: time.Unix(60, 0), Batch: scalingBatch(v1alpha1.ScaleDownDone)})
		g.Expect(d.Create).To(Equal([]int{0}))
		g.Expect(d.Look).To(BeFalse())
	})
}

// A batch that could scale one of its workloads down and not the other restores nothing, so it brings the first back.
func TestScalingDownOfOneOfTwo(t *testing.T) {
	const first, second = "Deployment/web", "Deployment/worker"
	down := Workload{UID: "u", Settled: true}
	for name, tt := range map[string]struct {
		web    Workload
		worker Workload
		swap   bool // spec.scaleDown names the worker first
		reason string
	}{
		"the other is not allowed": {
			web: down, worker: Workload{UID: "v", Replicas: 3, Pods: 3, Refused: "no"},
			reason: v1alpha1.ReasonScalingNotPermitted,
		},
		"the other is not allowed and comes first": {
			web: down, worker: Workload{UID: "v", Replicas: 3, Pods: 3, Refused: "no"}, swap: true,
			reason: v1alpha1.ReasonScalingNotPermitted,
		},
		"the pods of the first still end": {
			web: Workload{UID: "u", Pods: 1}, worker: Workload{UID: "v", Replicas: 3, Refused: "no"},
			reason: v1alpha1.ReasonScalingNotPermitted,
		},
		"an autoscaler came for the other": {
			web: down, worker: Workload{UID: "v", Replicas: 3, Managed: "are managed by HorizontalPodAutoscaler busy"},
			reason: v1alpha1.ReasonReplicasManaged,
		},
		"somebody scaled the other": {
			web: down, worker: Workload{UID: "v", Replicas: 4}, reason: v1alpha1.ReasonReplicasChanged,
		},
		"somebody replaced the other": {
			web: down, worker: Workload{UID: "w", Replicas: 3}, reason: v1alpha1.ReasonReplicasChanged,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			b := scalingBatch(v1alpha1.ScalePending)
			b.Status.ScaledDown = append(b.Status.ScaledDown, v1alpha1.ScaledWorkload{
				Kind: "Deployment", Name: "worker", UID: "v", Before: 3, Replicas: 3, Phase: v1alpha1.ScalePending,
			})
			if tt.swap {
				slices.Reverse(b.Status.ScaledDown)
			}
			phases := func(s *v1alpha1.RestoreBatchStatus) map[string]v1alpha1.ScalePhase {
				out := map[string]v1alpha1.ScalePhase{}
				for i := range s.ScaledDown {
					out[s.ScaledDown[i].String()] = s.ScaledDown[i].Phase
				}
				return out
			}
			in := Input{
				Now: time.Unix(60, 0), Batch: b,
				Workloads: map[string]Workload{first: tt.web, second: tt.worker},
			}
			d := Next(in)
			g.Expect(d.Status.Targets[0].Reason).To(Equal(tt.reason))
			g.Expect(d.Status.Phase).To(Equal(v1alpha1.RestoreSessionRunning))
			g.Expect(d.Create).To(BeEmpty())
			g.Expect(d.Scale).To(BeEmpty(), "the status is written before the workload is scaled up")
			g.Expect(phases(&d.Status)).To(Equal(map[string]v1alpha1.ScalePhase{
				first: v1alpha1.ScalingUp, second: v1alpha1.ScaleLeft,
			}))
			g.Expect(d.After).To(BeNumerically(">", 0))

			b.Status = d.Status
			// The manager forgets what the API server refused.
			tt.worker.Refused = ""
			in.Workloads = map[string]Workload{first: tt.web, second: tt.worker}
			d = Next(in)
			g.Expect(d.Scale).To(Equal(map[string]int32{first: 2}))
			g.Expect(d.Status.Phase).To(Equal(v1alpha1.RestoreSessionFailed))
			g.Expect(phases(&d.Status)).To(Equal(map[string]v1alpha1.ScalePhase{
				first: v1alpha1.ScaleUpDone, second: v1alpha1.ScaleLeft,
			}))
		})
	}
}

// The status would say that it was not scaled down.
func TestNoWorkloadIsScaledDownBesideOneThatCannotBe(t *testing.T) {
	g := NewWithT(t)
	b := scalingBatch(v1alpha1.ScalePending)
	b.Status.ScaledDown = append(b.Status.ScaledDown, v1alpha1.ScaledWorkload{
		Kind: "Deployment", Name: "worker", UID: "v", Before: 3, Replicas: 3, Phase: v1alpha1.ScalePending,
	})
	d := Next(Input{Now: time.Unix(60, 0), Batch: b, Workloads: map[string]Workload{
		"Deployment/web":    {UID: "u", Replicas: 2, Pods: 2, Settled: true},
		"Deployment/worker": {UID: "v", Replicas: 3, DeletesClaims: true},
	}})
	g.Expect(d.Status.Targets[0].Reason).To(Equal(v1alpha1.ReasonScalingDeletesClaims))
	g.Expect(d.Scale).To(BeEmpty())
	g.Expect(d.Status.ScaledDown[0].Message).To(Equal(notScaledDown))
}

func TestScales(t *testing.T) {
	web := v1alpha1.ScaleDown{Kind: "Deployment", Name: "web"}
	for name, tt := range map[string]struct {
		group, kind, target string
		want                bool
	}{
		"the workload":                       {"apps", "Deployment", "web", true},
		"the workload without its API group": {"", "Deployment", "web", true},
		"another kind":                       {"apps", "StatefulSet", "web", false},
		"another name":                       {"apps", "Deployment", "db", false},
	} {
		t.Run(name, func(t *testing.T) {
			target := v1alpha1.TypedObjectReference{APIGroup: tt.group, Kind: tt.kind, Name: tt.target}
			NewWithT(t).Expect(Scales(web, target)).To(Equal(tt.want))
		})
	}
}
