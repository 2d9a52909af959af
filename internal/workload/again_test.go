package workload_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/workload"
	"github.com/cairn-backup/cairn/internal/workload/workloadtest"
)

func TestTheNodeOfALaterJob(t *testing.T) {
	now := time.Date(2026, 7, 1, 2, 0, 0, 0, time.UTC)
	const limit = 3 * time.Minute
	ago := func(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }
	claims := map[string]*corev1.PersistentVolumeClaim{}
	for _, c := range []corev1.PersistentVolumeClaim{
		workloadtest.Claim("pages"), workloadtest.Claim("uploads"),
		workloadtest.Claim("once", corev1.ReadWriteOncePod), workloadtest.Claim("many", corev1.ReadWriteMany),
	} {
		claims[c.Name] = &c
	}
	pod := func(name, node, claim string, edit ...func(*corev1.Pod)) corev1.Pod {
		p := workloadtest.Pod(name, node, workloadtest.PodSpec(workloadtest.ClaimVolume("x", claim)))
		p.CreationTimestamp = ago(24 * time.Hour)
		for _, e := range edit {
			e(&p)
		}
		return p
	}
	created := func(at time.Duration) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.CreationTimestamp = ago(at) }
	}
	// Its deletion was asked for at that time, with a grace period of ten minutes.
	leaves := func(at time.Duration) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.DeletionTimestamp = new(ago(at - 10*time.Minute))
			p.DeletionGracePeriodSeconds = new(int64(600))
		}
	}
	lost := func(since time.Duration) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{
				Type: corev1.PodReady, Status: corev1.ConditionUnknown, LastTransitionTime: ago(since),
			}}
		}
	}
	mover := func(p *corev1.Pod) { p.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn} }
	tests := map[string]struct {
		frozen string
		claims []string
		pods   []corev1.Pod
		want   string
		// moving is a part of the message if the Job has to wait.
		moving string
		// waited says that it has waited for so long that it waits for nothing more.
		waited bool
	}{
		"no pod uses the claim any more": {frozen: "n1", claims: []string{"pages"}},
		"its pod stays": {
			frozen: "n1", claims: []string{"pages"}, pods: []corev1.Pod{pod("a", "n1", "pages")}, want: "n1",
		},
		"its pod begins to leave the frozen node": {
			frozen: "n1", claims: []string{"pages"}, pods: []corev1.Pod{pod("a", "n1", "pages", leaves(time.Minute))},
			moving: "pod a uses PersistentVolumeClaim pages and is being deleted",
		},
		"its pod does not leave the frozen node": {
			frozen: "n1", claims: []string{"pages"}, pods: []corev1.Pod{pod("a", "n1", "pages", leaves(limit))},
		},
		"its pod moved": {
			frozen: "n1", claims: []string{"pages"}, want: "n2",
			pods: []corev1.Pod{pod("a", "n1", "pages", leaves(time.Minute)), pod("b", "n2", "pages")},
		},
		"its next pod has no node yet": {
			frozen: "n1", claims: []string{"pages"}, pods: []corev1.Pod{
				pod("a", "n1", "pages", leaves(time.Hour)), pod("b", "", "pages", created(time.Minute)),
			},
			moving: "pod b uses PersistentVolumeClaim pages and has no node yet",
		},
		"no node takes its next pod": {
			frozen: "n1", claims: []string{"pages"}, pods: []corev1.Pod{pod("b", "", "pages", created(limit))},
		},
		"another one is made each time": {
			frozen: "n1", claims: []string{"pages"}, waited: true,
			pods: []corev1.Pod{pod("b", "", "pages", created(time.Second))},
		},
		"a node is lost again each time": {
			frozen: "n1", claims: []string{"pages"}, waited: true,
			pods: []corev1.Pod{pod("a", "n1", "pages", lost(time.Second)), pod("b", "n2", "pages")}, want: "n2",
		},
		"a clock of the future has dated its next pod": {
			frozen: "n1", claims: []string{"pages"}, pods: []corev1.Pod{pod("b", "", "pages", created(-time.Hour))},
		},
		"the node of its pod was lost lately": {
			frozen: "n1", claims: []string{"pages"}, moving: "is on a node that no longer answers",
			pods: []corev1.Pod{pod("a", "n1", "pages", lost(6*time.Minute))},
		},
		"the node of its pod was lost long ago": {
			frozen: "n1", claims: []string{"pages"}, pods: []corev1.Pod{pod("a", "n1", "pages", lost(8*time.Minute))},
		},
		"a pod has started to use a claim": {
			claims: []string{"pages"}, pods: []corev1.Pod{pod("b", "n2", "pages")}, want: "n2",
		},
		"a pod on the frozen node stays": {
			frozen: "n1", claims: []string{"pages"}, want: "n1",
			pods: []corev1.Pod{pod("b", "n2", "pages"), pod("c", "n1", "pages")},
		},
		"two claims are in use on different nodes": {
			frozen: "n1", claims: []string{"pages", "uploads"}, want: "n1",
			pods: []corev1.Pod{pod("b", "n2", "pages"), pod("c", "n3", "uploads")},
		},
		"one of two claims moves": {
			frozen: "n1", claims: []string{"pages", "uploads"}, moving: "PersistentVolumeClaim uploads",
			pods: []corev1.Pod{pod("b", "n2", "pages"), pod("c", "", "uploads", created(time.Second))},
		},
		"the claim is gone": {frozen: "n1", claims: []string{"gone"}, want: "n1"},
		"the pod of a shared claim moves": {
			frozen: "n1", claims: []string{"many"}, pods: []corev1.Pod{pod("b", "", "many", created(time.Second))},
		},
		"the pod of a shared claim moved": {
			frozen: "n1", claims: []string{"many"}, pods: []corev1.Pod{pod("b", "n2", "many")}, want: "n2",
		},
		"a shared claim is in use on several nodes": {
			frozen: "n1", claims: []string{"many"},
			pods: []corev1.Pod{pod("b", "n1", "many"), pod("c", "n2", "many")},
		},
		"a pod has started to use a claim of one pod": {
			claims: []string{"once"}, pods: []corev1.Pod{pod("b", "n2", "once")},
		},
		"only another mover uses the claim": {
			claims: []string{"pages"}, pods: []corev1.Pod{pod("m", "n2", "pages", mover)},
		},
		"another mover has no node yet": {
			claims: []string{"pages"}, pods: []corev1.Pod{pod("m", "", "pages", mover, created(time.Second))},
		},
		"a database has no claim": {claims: []string{""}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			h := v1alpha1.ResolvedHost{Node: tt.frozen}
			for _, c := range tt.claims {
				h.Volumes = append(h.Volumes, v1alpha1.ResolvedVolume{ClaimName: c})
			}
			wait := limit
			if tt.waited {
				wait = 0
			}
			node, moving := workload.NodeAgain(&h, claims, tt.pods, now, wait)
			g.Expect(h.Node).To(Equal(tt.frozen))
			if tt.moving != "" {
				g.Expect(moving).NotTo(BeNil())
				g.Expect(moving.Reason).To(Equal(v1alpha1.ReasonVolumeMoving))
				g.Expect(moving.Message).To(ContainSubstring(tt.moving))
				return
			}
			g.Expect(moving).To(BeNil())
			g.Expect(node).To(Equal(tt.want))
		})
	}
}
