package destination_test

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/workload/destination"
)

// shots returns a Snapshot that is kept as VolumeSnapshots. components maps each component to its claim.
func shots(kind string, components map[string]string) *v1alpha1.Snapshot {
	s := &v1alpha1.Snapshot{Status: v1alpha1.SnapshotStatus{Components: map[string]v1alpha1.Component{}}}
	s.Name, s.Spec.AppRef.Kind = "shots", kind
	for component, claim := range components {
		s.Status.Components[component] = v1alpha1.Component{
			Phase: v1alpha1.SnapshotSucceeded, Driver: v1alpha1.DriverVolumeSnapshotter, ID: "uid-" + claim,
			VolumeSnapshotterStats: []v1alpha1.VolumeSnapshotterStats{
				{PVCName: claim, VolumeSnapshotName: claim + "-1"},
			},
		}
	}
	return s
}

func named(name string, edit ...func(*v1alpha1.RestoreClaimTemplate)) v1alpha1.RestoreClaimTemplate {
	t := v1alpha1.RestoreClaimTemplate{Metadata: v1alpha1.ClaimMetadata{Name: name}}
	for _, e := range edit {
		e(&t)
	}
	return t
}

func ofComponent(component string) func(*v1alpha1.RestoreClaimTemplate) {
	return func(t *v1alpha1.RestoreClaimTemplate) {
		t.Metadata.Annotations = map[string]string{v1alpha1.AnnotationComponent: component}
	}
}

func fromShot(name string) func(*v1alpha1.RestoreClaimTemplate) {
	return func(t *v1alpha1.RestoreClaimTemplate) {
		t.Spec.DataSource = &corev1.TypedLocalObjectReference{Kind: "VolumeSnapshot", Name: name}
	}
}

func TestWhichClaimsAreMadeOfWhichVolumeSnapshots(t *testing.T) {
	set := map[string]string{
		"pod-0-data": "data-web-0", "pod-0-logs": "logs-web-0", "pod-1-data": "data-web-1", "pod-1-logs": "logs-web-1",
	}
	for name, tc := range map[string]struct {
		snapshot  *v1alpha1.Snapshot
		asked     []string
		rules     []v1alpha1.RestoreRule
		templates []v1alpha1.RestoreClaimTemplate
		replicas  int32
		want      []string // host: claim of VolumeSnapshot
		refusal   string
	}{
		"a claim": {
			snapshot:  shots("PersistentVolumeClaim", map[string]string{"pvc": "photos"}),
			templates: []v1alpha1.RestoreClaimTemplate{named("back")},
			want:      []string{"target: back of photos-1"},
		},
		"two volumes of a Deployment, by their components": {
			snapshot: shots("Deployment", map[string]string{"data": "web", "cache": "web-cache"}),
			templates: []v1alpha1.RestoreClaimTemplate{
				named("c", ofComponent("cache")), named("d", ofComponent("data")),
			},
			want: []string{"target: c of web-cache-1", "target: d of web-1"},
		},
		"by the claims that were backed up": {
			snapshot:  shots("Deployment", map[string]string{"data": "web", "cache": "web-cache"}),
			templates: []v1alpha1.RestoreClaimTemplate{named("c", ofComponent("web-cache")), named("web")},
			want:      []string{"target: c of web-cache-1", "target: web of web-1"},
		},
		"two volumes of each pod, by annotations with a variable": {
			snapshot: shots("StatefulSet", set),
			templates: []v1alpha1.RestoreClaimTemplate{
				named("l-${POD_ORDINAL}", ofComponent("pod-${POD_ORDINAL}-logs")),
				named("d-${POD_ORDINAL}", ofComponent("data-web-${POD_ORDINAL}")),
			},
			want: []string{
				"pod-0: d-0 of data-web-0-1", "pod-0: l-0 of logs-web-0-1", "pod-1: d-1 of data-web-1-1",
				"pod-1: l-1 of logs-web-1-1",
			},
		},
		"under their old names": {
			snapshot: shots("StatefulSet", set),
			templates: []v1alpha1.RestoreClaimTemplate{
				named("logs-web-${POD_ORDINAL}"), named("data-web-${POD_ORDINAL}"),
			},
			want: []string{
				"pod-0: data-web-0 of data-web-0-1", "pod-0: logs-web-0 of logs-web-0-1",
				"pod-1: data-web-1 of data-web-1-1", "pod-1: logs-web-1 of logs-web-1-1",
			},
		},
		"more pods than before": {
			snapshot:  shots("StatefulSet", map[string]string{"pod-0": "data-web-0"}),
			rules:     []v1alpha1.RestoreRule{{TargetHosts: []string{"pod-0", "pod-1"}, SourceHost: "pod-0"}},
			templates: []v1alpha1.RestoreClaimTemplate{named("w-${POD_ORDINAL}")},
			want:      []string{"pod-0: w-0 of data-web-0-1", "pod-1: w-1 of data-web-0-1"},
		},
		"fewer pods than before": {
			snapshot: shots("StatefulSet", set), asked: []string{"pod-1-data"},
			templates: []v1alpha1.RestoreClaimTemplate{named("w-${POD_ORDINAL}")},
			want:      []string{"pod-1: w-1 of data-web-1-1"},
		},
		"nodes": {
			snapshot:  shots("DaemonSet", map[string]string{"node-a": "a", "node-b": "b"}),
			templates: []v1alpha1.RestoreClaimTemplate{named("on-${COMPONENT_NAME}")},
			want:      []string{"node-a: on-node-a of a-1", "node-b: on-node-b of b-1"},
		},
		"VolumeSnapshots that templates name": {
			templates: []v1alpha1.RestoreClaimTemplate{
				named("data-${POD_ORDINAL}", fromShot("data-${POD_ORDINAL}-9")),
				named("one", fromShot("one-9")),
			}, replicas: 2,
			want: []string{"pod-0: data-0 of data-0-9", "pod-1: data-1 of data-1-9", "target: one of one-9"},
		},
		"one VolumeSnapshot for all pods": {
			templates: []v1alpha1.RestoreClaimTemplate{named("data-${POD_ORDINAL}", fromShot("seed"))}, replicas: 2,
			want: []string{"pod-0: data-0 of seed", "pod-1: data-1 of seed"},
		},
		"a template for an unknown component": {
			snapshot: shots("Deployment", map[string]string{"data": "web", "cache": "web-cache"}),
			templates: []v1alpha1.RestoreClaimTemplate{
				named("a", ofComponent("data")), named("b", ofComponent("other")),
			},
			refusal: "no volumeClaimTemplate is for component cache, which was PersistentVolumeClaim web-cache",
		},
		"one claim for two components": {
			snapshot: shots("StatefulSet", set), templates: []v1alpha1.RestoreClaimTemplate{named("w-${POD_ORDINAL}")},
			refusal: "would both become PersistentVolumeClaim w-0",
		},
		"a number only in the source": {
			templates: []v1alpha1.RestoreClaimTemplate{named("w", fromShot("data-${POD_ORDINAL}"))},
			refusal:   "each number needs its own claim",
		},
		"an unknown variable": {
			templates: []v1alpha1.RestoreClaimTemplate{named("w", fromShot("${NAME}"))},
			refusal:   "the only variable in the name of its VolumeSnapshot is ${POD_ORDINAL}",
		},
		"no name": {
			templates: []v1alpha1.RestoreClaimTemplate{named("W_", fromShot("a"))}, refusal: "gives the name",
		},
		"files beside VolumeSnapshots": {
			snapshot: func() *v1alpha1.Snapshot {
				s := shots("Deployment", map[string]string{"data": "web"})
				s.Status.Components["files"] = v1alpha1.Component{
					Phase: v1alpha1.SnapshotSucceeded, Driver: v1alpha1.DriverKopia, ID: "k1",
				}
				return s
			}(),
			templates: []v1alpha1.RestoreClaimTemplate{named("w-${COMPONENT_NAME}")},
			refusal:   "component files of Snapshot shots is not a VolumeSnapshot",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			in := destination.Target{Templates: tc.templates, Snapshot: tc.snapshot}
			var refusal *v1alpha1.ResolvedError
			if tc.snapshot != nil {
				in.Components, refusal = restore.ChooseComponents(tc.snapshot, tc.asked)
				g.Expect(refusal).To(BeNil())
			}
			if tc.rules != nil {
				in.Components, in.Sources, refusal = restore.ApplyRules(tc.rules, in.Components)
				g.Expect(refusal).To(BeNil())
			}
			plan, refusal := destination.PlanClaims(in, tc.replicas)
			if tc.refusal != "" {
				g.Expect(refusal).NotTo(BeNil())
				g.Expect(refusal.Message).To(ContainSubstring(tc.refusal))
				return
			}
			g.Expect(refusal).To(BeNil())
			var got []string
			for _, p := range plan {
				got = append(got, fmt.Sprintf("%s: %s of %s", p.Host, p.Claim, p.VolumeSnapshot))
			}
			g.Expect(got).To(ConsistOf(tc.want))
		})
	}
}
