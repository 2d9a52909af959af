package destination_test

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/workload"
	"github.com/cairn-backup/cairn/internal/workload/destination"
	"github.com/cairn-backup/cairn/internal/workload/workloadtest"
)

// into lists where components go: host[@node]: component>claim …
func into(hosts []v1alpha1.ResolvedRestoreHost) []string {
	var out []string
	for _, h := range hosts {
		line := h.Name
		if h.Node != "" {
			line += "@" + h.Node
		}
		line += ":"
		for _, v := range h.Volumes {
			line += fmt.Sprintf(" %s>%s", v.Component, v.ClaimName)
		}
		out = append(out, line)
	}
	return out
}

func TestWhereComponentsAreRestoredTo(t *testing.T) {
	claims := []corev1.PersistentVolumeClaim{
		workloadtest.Claim("pages"), workloadtest.Claim("uploads"), workloadtest.Claim("data-db-0"),
		workloadtest.Claim("data-db-1"),
		workloadtest.Claim("logs-db-0"),
		workloadtest.Claim("once", corev1.ReadWriteOncePod), workloadtest.Claim("many", corev1.ReadWriteMany),
	}
	both := workloadtest.PodSpec(workloadtest.ClaimVolume("pages", "pages"),
		workloadtest.ClaimVolume("uploads", "uploads"))
	template := func(name, component string) v1alpha1.RestoreClaimTemplate {
		out := v1alpha1.RestoreClaimTemplate{Metadata: v1alpha1.ClaimMetadata{Name: name}}
		if component != "" {
			out.Metadata.Annotations = map[string]string{v1alpha1.AnnotationComponent: component}
		}
		return out
	}
	mover := workloadtest.Pod("m", "n1", workloadtest.PodSpec(workloadtest.ClaimVolume("x", "once")))
	mover.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn}
	leaving := workloadtest.Pod("a", "n1", workloadtest.PodSpec(workloadtest.ClaimVolume("x", "pages")))
	leaving.DeletionTimestamp = &metav1.Time{}
	going := workloadtest.Claim("pages")
	going.DeletionTimestamp = &metav1.Time{}
	tests := map[string]struct {
		components string
		target     destination.Target
		pods       []corev1.Pod
		want       []string
		reason     string
		message    string
	}{
		"one component into a claim": {
			components: "pod-7",
			target:     destination.Target{Target: workload.Target{Claim: new(workloadtest.Claim("new"))}},
			want:       []string{"target: pod-7>new"},
		},
		"several components into a claim": {
			components: "pod-0 pod-1",
			target:     destination.Target{Target: workload.Target{Claim: new(workloadtest.Claim("new"))}},
			reason:     v1alpha1.ReasonComponentNotFound, message: "pod-0, pod-1",
		},
		"a claim that is in use, on its node": {
			components: "pvc",
			target:     destination.Target{Target: workload.Target{Claim: new(workloadtest.Claim("pages"))}},
			pods: []corev1.Pod{
				workloadtest.Pod("a", "n1", workloadtest.PodSpec(workloadtest.ClaimVolume("x", "pages"))),
			}, want: []string{
				"target@n1: pvc>pages",
			},
		},
		"a shared claim that is in use, anywhere": {
			components: "pvc", target: destination.Target{
				Target: workload.Target{Claim: new(workloadtest.Claim("many", corev1.ReadWriteMany))},
			},
			pods: []corev1.Pod{
				workloadtest.Pod("a", "n1", workloadtest.PodSpec(workloadtest.ClaimVolume("x", "many"))),
			}, want: []string{"target: pvc>many"},
		},
		"a claim of one pod that is in use": {
			components: "pvc", target: destination.Target{
				Target: workload.Target{Claim: new(workloadtest.Claim("once", corev1.ReadWriteOncePod))},
			},
			pods: []corev1.Pod{
				workloadtest.Pod("a", "n1", workloadtest.PodSpec(workloadtest.ClaimVolume("x", "once"))),
			}, reason: v1alpha1.ReasonVolumeInUse,
		},
		"a claim of one pod that a mover uses, which ends": {
			components: "pvc", target: destination.Target{
				Target: workload.Target{Claim: new(workloadtest.Claim("once", corev1.ReadWriteOncePod))},
			},
			pods: []corev1.Pod{mover}, want: []string{"target: pvc>once"},
		},
		"a claim whose pod moves to another node": {
			components: "pvc",
			target:     destination.Target{Target: workload.Target{Claim: new(workloadtest.Claim("pages"))}},
			pods: []corev1.Pod{
				leaving, workloadtest.Pod("b", "n2", workloadtest.PodSpec(workloadtest.ClaimVolume("x", "pages"))),
			}, want: []string{"target@n2: pvc>pages"},
		},
		"a claim that is being deleted": {
			components: "pvc", target: destination.Target{Target: workload.Target{Claim: &going}},
			pods: []corev1.Pod{
				workloadtest.Pod("b", "n2", workloadtest.PodSpec(workloadtest.ClaimVolume("x", "pages"))),
			},
			reason: v1alpha1.ReasonTargetNotFound,
			message: "PersistentVolumeClaim pages is being deleted, so nothing else can use it: try again when " +
				"another one has its place. It goes when these pods are gone: b",
		},
		"volumes of a Deployment": {
			components: "pages uploads",
			target:     destination.Target{Target: workload.Target{Deployment: workloadtest.Deployment(both)}},
			want:       []string{"target: pages>pages uploads>uploads"},
		},
		"a component without a volume of its name in a Deployment": {
			components: "pvc",
			target:     destination.Target{Target: workload.Target{Deployment: workloadtest.Deployment(both)}},
			reason:     v1alpha1.ReasonComponentNotFound, message: "pages, uploads",
		},
		"the only component into the only volume": {
			components: "pvc", target: destination.Target{Target: workload.Target{Deployment: workloadtest.Deployment(
				workloadtest.PodSpec(workloadtest.ClaimVolume("pages", "pages")))}},
			want: []string{"target: pvc>pages"},
		},
		"pods of a StatefulSet without replicas": {
			components: "pod-0 pod-1", target: destination.Target{
				Target: workload.Target{StatefulSet: workloadtest.StatefulSet(0, workloadtest.PodSpec(), "data")},
			},
			want: []string{"pod-0: pod-0>data-db-0", "pod-1: pod-1>data-db-1"},
		},
		"volumes of one pod, in one Job": {
			components: "pod-0-data pod-0-logs", target: destination.Target{
				Target: workload.Target{
					StatefulSet: workloadtest.StatefulSet(1, workloadtest.PodSpec(), "data", "logs"),
				},
			},
			want: []string{"pod-0: pod-0-data>data-db-0 pod-0-logs>logs-db-0"},
		},
		"a pod whose claim does not exist": {
			components: "pod-9",
			target: destination.Target{Target: workload.Target{StatefulSet: workloadtest.StatefulSet(
				1, workloadtest.PodSpec(), "data")}}, reason: v1alpha1.ReasonTargetNotFound, message: "data-db-9",
		},
		"a component without a volume in its name, of several": {
			components: "pod-0",
			target: destination.Target{Target: workload.Target{StatefulSet: workloadtest.StatefulSet(
				1, workloadtest.PodSpec(), "data", "logs")}}, reason: v1alpha1.ReasonComponentNotFound,
			message: "data, logs",
		},
		"nodes of a DaemonSet that share a claim": {
			components: "n1 n2", target: destination.Target{Target: workload.Target{DaemonSet: workloadtest.DaemonSet(
				workloadtest.PodSpec(workloadtest.ClaimVolume("many", "many")))}},
			reason:  v1alpha1.ReasonInvalidParameters,
			message: "both go into",
		},
		"a node of a DaemonSet": {
			components: "n1", target: destination.Target{Target: workload.Target{DaemonSet: workloadtest.DaemonSet(
				workloadtest.PodSpec(workloadtest.ClaimVolume("many", "many")))}}, want: []string{"n1@n1: n1>many"},
		},
		"volumes of a DaemonSet of which one ends like another": {
			components: "n-data n-big-data",
			target: destination.Target{Target: workload.Target{DaemonSet: workloadtest.DaemonSet(workloadtest.PodSpec(
				workloadtest.ClaimVolume("data", "pages"), workloadtest.ClaimVolume("big-data", "uploads")))}},
			want: []string{"n@n: n-data>pages n-big-data>uploads"},
		},
		"a component that can be of two nodes": {
			components: "n-big-data",
			target: destination.Target{Target: workload.Target{DaemonSet: workloadtest.DaemonSet(workloadtest.PodSpec(
				workloadtest.ClaimVolume("data", "pages"), workloadtest.ClaimVolume("big-data", "uploads")))}},
			reason: v1alpha1.ReasonComponentNotFound, message: "does not name a volume",
		},
		"a host path": {
			components: "n1", target: destination.Target{Target: workload.Target{DaemonSet: workloadtest.DaemonSet(
				workloadtest.HostPaths("state")), Privileged: true}}, reason: v1alpha1.ReasonNoVolumes,
			message: "host path",
		},
		"new claims of pods": {
			components: "pod-0 pod-1", target: destination.Target{
				Templates: []v1alpha1.RestoreClaimTemplate{template("copy-${POD_ORDINAL}", "")},
			},
			want: []string{"pod-0: pod-0>copy-0", "pod-1: pod-1>copy-1"},
		},
		"new claims of one template each": {
			components: "pages uploads", target: destination.Target{
				Templates: []v1alpha1.RestoreClaimTemplate{template("u", "uploads"), template("p", "pages")},
			},
			want: []string{"pages: pages>p", "uploads: uploads>u"},
		},
		"a component without a template": {
			components: "pages other", target: destination.Target{
				Templates: []v1alpha1.RestoreClaimTemplate{template("u", "uploads"), template("p", "pages")},
			},
			reason: v1alpha1.ReasonInvalidParameters, message: "component other",
		},
		"one name for two components": {
			components: "pages uploads",
			target:     destination.Target{Templates: []v1alpha1.RestoreClaimTemplate{template("new", "")}},
			reason:     v1alpha1.ReasonInvalidParameters, message: "${COMPONENT_NAME}",
		},
		"a number that the component does not have": {
			components: "pages", target: destination.Target{Templates: []v1alpha1.RestoreClaimTemplate{template(
				"new-${POD_ORDINAL}", "")}}, reason: v1alpha1.ReasonInvalidParameters,
		},
		"an unknown variable": {
			components: "pages", target: destination.Target{Templates: []v1alpha1.RestoreClaimTemplate{template(
				"new-${OTHER}", "")}}, reason: v1alpha1.ReasonInvalidParameters,
			message: "the only variables in a name are",
		},
		"a name that no claim can have": {
			components: "pages", target: destination.Target{Templates: []v1alpha1.RestoreClaimTemplate{template(
				"New", "")}}, reason: v1alpha1.ReasonInvalidParameters,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			in := tt.target
			in.Claims, in.Pods, in.Components = claims, tt.pods, strings.Fields(tt.components)
			in.Snapshot = &v1alpha1.Snapshot{
				Status: v1alpha1.SnapshotStatus{Components: map[string]v1alpha1.Component{}},
			}
			for _, c := range in.Components {
				in.Snapshot.Status.Components[c] = v1alpha1.Component{ID: "k-" + c, Path: "sub"}
			}
			got, err := destination.Resolve(in)
			if tt.reason != "" {
				g.Expect(err).NotTo(BeNil())
				g.Expect(err.Reason).To(Equal(tt.reason), err.Message)
				g.Expect(err.Message).To(ContainSubstring(tt.message))
				return
			}
			g.Expect(err).To(BeNil())
			g.Expect(into(got)).To(Equal(tt.want))
			for _, h := range got {
				for _, v := range h.Volumes {
					g.Expect(v.ID).To(Equal("k-" + v.Component))
					g.Expect(v.Path).To(Equal("sub"))
				}
			}
		})
	}
}

func TestTheNodeOfALaterAttempt(t *testing.T) {
	claims := []corev1.PersistentVolumeClaim{
		workloadtest.Claim("pages"), workloadtest.Claim("uploads"),
		workloadtest.Claim("once", corev1.ReadWriteOncePod), workloadtest.Claim("many", corev1.ReadWriteMany),
	}
	pod := func(name, node, claim string) corev1.Pod {
		return workloadtest.Pod(name, node, workloadtest.PodSpec(workloadtest.ClaimVolume("x", claim)))
	}
	leaving := pod("a", "n1", "pages")
	leaving.DeletionTimestamp = &metav1.Time{}
	lost := pod("a", "n1", "pages")
	lost.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionUnknown}}
	tests := map[string]struct {
		frozen string
		claims []string
		pods   []corev1.Pod
		want   string
	}{
		"no pod uses the claim any more": {frozen: "n1", claims: []string{"pages"}},
		"its pod leaves the frozen node": {frozen: "n1", claims: []string{"pages"}, pods: []corev1.Pod{leaving}},
		"the frozen node was lost":       {frozen: "n1", claims: []string{"pages"}, pods: []corev1.Pod{lost}},
		"its next pod has no node yet": {
			frozen: "n1", claims: []string{"pages"}, pods: []corev1.Pod{pod("b", "", "pages")},
		},
		"the claim is gone": {
			frozen: "n1", claims: []string{"gone"}, pods: []corev1.Pod{pod("b", "n2", "gone")},
		},
		"the claim is shared": {claims: []string{"many"}, pods: []corev1.Pod{pod("b", "n2", "many")}},
		"a pod has started to use a claim": {
			claims: []string{"pages"}, pods: []corev1.Pod{pod("b", "n2", "pages")}, want: "n2",
		},
		"its pod moved": {
			frozen: "n1", claims: []string{"pages"}, pods: []corev1.Pod{leaving, pod("b", "n2", "pages")}, want: "n2",
		},
		"a pod on the frozen node stays": {
			frozen: "n1", claims: []string{"pages"}, want: "n1",
			pods: []corev1.Pod{pod("b", "n2", "pages"), pod("c", "n1", "pages")},
		},
		"two claims are in use on different nodes": {
			frozen: "n1", claims: []string{"pages", "uploads"}, want: "n1",
			pods: []corev1.Pod{pod("b", "n2", "pages"), pod("c", "n3", "uploads")},
		},
		"a claim of one pod is in use": {
			frozen: "n1", claims: []string{"once"}, pods: []corev1.Pod{pod("b", "n2", "once")}, want: "n1",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := v1alpha1.ResolvedRestoreHost{Node: tt.frozen}
			for _, c := range tt.claims {
				h.Volumes = append(h.Volumes, v1alpha1.ResolvedRestoreVolume{ClaimName: c})
			}
			NewWithT(t).Expect(destination.NodeAgain(&h, claims, tt.pods)).To(Equal(tt.want))
			NewWithT(t).Expect(h.Node).To(Equal(tt.frozen))
		})
	}
}
