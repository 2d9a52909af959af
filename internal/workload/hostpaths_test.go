package workload_test

import (
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/workload"
	"github.com/cairn-backup/cairn/internal/workload/workloadtest"
)

// Each node can have a directory with the name of a host path, and only one of them holds the data of the target.
func TestAHostPathIsReadOnTheNodeOfItsPod(t *testing.T) {
	logs := workloadtest.HostPaths("logs")
	both := workloadtest.HostPaths("logs")
	both.Volumes = append(both.Volumes, workloadtest.ClaimVolume("data", "web-data"))
	other := workloadtest.PodSpec(workloadtest.ClaimVolume("x", "web-data"))
	elsewhere := workloadtest.Pod("other", "node-b", other)
	elsewhere.Labels = nil
	a, b := workloadtest.Pod("web-0", "node-a", logs), workloadtest.Pod("web-1", "node-b", logs)
	shared := workloadtest.Claim("web-data", corev1.ReadWriteMany)
	pending, leaves := workloadtest.Pod("web-2", "", logs), workloadtest.Pod("web-3", "node-a", logs)
	leaves.DeletionTimestamp = &metav1.Time{}
	zone := workloadtest.HostPaths("zone")
	zone.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "zone", MountPath: "/etc/localtime", ReadOnly: true}}
	zoned := *both.DeepCopy()
	zoned.Containers[0].VolumeMounts[0].ReadOnly = true
	rev := func(hash string, ready corev1.ConditionStatus, p corev1.Pod) corev1.Pod {
		p.Labels = map[string]string{"app": "web", appsv1.DefaultDeploymentUniqueLabelKey: hash}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
		return p
	}
	for name, tt := range map[string]struct {
		target workload.Target
		want   []string
		reason string
		says   string
	}{
		"a Deployment with one pod": {
			target: workload.Target{Deployment: workloadtest.Deployment(logs), Pods: []corev1.Pod{a}},
			want:   []string{"target@node-a: logs=/logs"},
		},
		"a Deployment with several pods on one node": {
			target: workload.Target{Deployment: workloadtest.Deployment(logs), Pods: []corev1.Pod{
				a, workloadtest.Pod("web-1", "node-a", logs),
			}},
			want: []string{"target@node-a: logs=/logs"},
		},
		"a Deployment on several nodes": {
			target: workload.Target{Deployment: workloadtest.Deployment(logs), Pods: []corev1.Pod{a, b}},
			reason: v1alpha1.ReasonNoVolumes, says: "such as node-a and node-b, each with files of its own",
		},
		"a Deployment on several nodes, in sidecars": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(logs), Pods: []corev1.Pod{a, b}, Sidecar: true,
			},
			reason: v1alpha1.ReasonNoVolumes, says: "use a DaemonSet, or leave the volume out with the parameter paths",
		},
		"a Deployment with one pod, in its sidecar": {
			target: workload.Target{Deployment: workloadtest.Deployment(logs), Pods: []corev1.Pod{b}, Sidecar: true},
			want:   []string{"target@node-b: logs=/logs"},
		},
		"a Deployment without pods": {
			target: workload.Target{Deployment: workloadtest.Deployment(logs)},
			reason: v1alpha1.ReasonNoRunningPod, says: "scale it up",
		},
		"a Deployment whose pods have ended": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(logs), Pods: []corev1.Pod{inPhase(a, corev1.PodFailed)},
			},
			reason: v1alpha1.ReasonNoRunningPod, says: "no running pod of Deployment/web",
		},
		"a pod that has no node yet": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(logs), Pods: []corev1.Pod{leaves, pending}, AwaitNodes: true,
			},
			reason: v1alpha1.ReasonVolumeMoving, says: "pod web-3 has no node yet, or leaves it",
		},
		"a pod that finds no node": {
			target: workload.Target{Deployment: workloadtest.Deployment(logs), Pods: []corev1.Pod{leaves, pending}},
			want:   []string{"target@node-a: logs=/logs"},
		},
		"a pod that takes the place of another": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(logs), Pods: []corev1.Pod{leaves, b}, AwaitNodes: true,
			},
			want: []string{"target@node-b: logs=/logs"},
		},
		"a time zone, on several nodes": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(zone), Pods: []corev1.Pod{
					workloadtest.Pod("web-0", "node-a", zone), workloadtest.Pod("web-1", "node-b", zone),
				},
			},
			want: []string{"target@: zone=/zone"},
		},
		"a time zone, without pods": {
			target: workload.Target{Deployment: workloadtest.Deployment(zone)},
			want:   []string{"target@: zone=/zone"},
		},
		"files that are only read": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(zone),
				Pods:       []corev1.Pod{workloadtest.Pod("web-0", "node-a", zone)},
			},
			want: []string{"target@node-a: zone=/zone"},
		},
		"files that are only read, in sidecars": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(zone), Pods: []corev1.Pod{leaves}, Sidecar: true, AwaitNodes: true,
			},
			want: []string{"target@: zone=/zone"},
		},
		"files that are only read, by a pod that has no node yet": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(zone), Pods: []corev1.Pod{pending}, AwaitNodes: true,
			},
			reason: v1alpha1.ReasonVolumeMoving, says: "pod web-2 has no node yet",
		},
		"files that are only read, and a claim on another node": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(zoned), Pods: []corev1.Pod{a, elsewhere},
				Claims: []corev1.PersistentVolumeClaim{workloadtest.Claim("web-data")},
			},
			want: []string{"target@node-b: logs=/logs data=web-data"},
		},
		"files that are only read, and a claim that another node can mount, too": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(zoned), Pods: []corev1.Pod{a, elsewhere},
				Claims: []corev1.PersistentVolumeClaim{shared},
			},
			want: []string{"target@node-a: logs=/logs data=web-data"},
		},
		"files that each pod of a StatefulSet only reads": {
			target: workload.Target{
				StatefulSet: workloadtest.StatefulSet(2, zone), Pods: []corev1.Pod{
					workloadtest.Pod("db-0", "node-a", zone), workloadtest.Pod("db-1", "node-b", zone),
				},
			},
			want: []string{"pod-0@node-a: pod-0=/zone", "pod-1@node-b: pod-1=/zone"},
		},
		"files that each pod of a StatefulSet only reads, in one Job": {
			target: workload.Target{
				StatefulSet: workloadtest.StatefulSet(2, zone), Singleton: true, Pods: []corev1.Pod{
					workloadtest.Pod("db-0", "node-a", zone), workloadtest.Pod("db-1", "node-b", zone),
				},
			},
			want: []string{"target@: pod-0=/zone pod-1=/zone"},
		},
		"a rollout whose new pod is not ready": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(logs),
				Pods:       []corev1.Pod{rev("1", corev1.ConditionTrue, a), rev("2", corev1.ConditionFalse, b)},
			},
			want: []string{"target@node-a: logs=/logs"},
		},
		"a rollout whose old pod is still there": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(logs), AwaitNodes: true,
				Pods: []corev1.Pod{rev("1", corev1.ConditionTrue, a), rev("2", corev1.ConditionTrue, b)},
			},
			reason: v1alpha1.ReasonVolumeMoving, says: "component logs is the host path /logs, and pod web-0",
		},
		"a rollout that does not end": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(logs),
				Pods:       []corev1.Pod{rev("1", corev1.ConditionTrue, a), rev("2", corev1.ConditionTrue, b)},
			},
			reason: v1alpha1.ReasonNoVolumes, says: "such as node-a and node-b",
		},
		"a Deployment on several nodes, one of whose pods is not ready": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(logs), AwaitNodes: true,
				Pods: []corev1.Pod{rev("1", corev1.ConditionTrue, a), rev("1", corev1.ConditionFalse, b)},
			},
			reason: v1alpha1.ReasonNoVolumes, says: "such as node-a and node-b",
		},
		"a claim on another node": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(both), Pods: []corev1.Pod{a, elsewhere},
				Claims: []corev1.PersistentVolumeClaim{workloadtest.Claim("web-data")},
			},
			reason: v1alpha1.ReasonVolumeInUse, says: "in use on node node-b, but the host paths are those of node-a",
		},
		"a claim on the same node": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(both),
				Pods:       []corev1.Pod{workloadtest.Pod("web-0", "node-a", both)},
				Claims:     []corev1.PersistentVolumeClaim{workloadtest.Claim("web-data")},
			},
			want: []string{"target@node-a: logs=/logs data=web-data"},
		},
		"a claim that another node can mount, too": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(both), Pods: []corev1.Pod{a, elsewhere},
				Claims: []corev1.PersistentVolumeClaim{shared},
			},
			want: []string{"target@node-a: logs=/logs data=web-data"},
		},
		"a host path that is left out": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(mounting(both, "data", "/data")), Pods: []corev1.Pod{a, b},
				Claims: []corev1.PersistentVolumeClaim{workloadtest.Claim("web-data")}, Paths: "/data",
			},
			want: []string{"target@: data=web-data"},
		},
		"the pods of a StatefulSet": {
			target: workload.Target{
				StatefulSet: workloadtest.StatefulSet(2, logs),
				Pods: []corev1.Pod{
					workloadtest.Pod("db-0", "node-a", logs), workloadtest.Pod("db-1", "node-b", logs),
				},
			},
			want: []string{"pod-0@node-a: pod-0=/logs", "pod-1@node-b: pod-1=/logs"},
		},
		"a StatefulSet without one of its pods": {
			target: workload.Target{
				StatefulSet: workloadtest.StatefulSet(2, logs),
				Pods:        []corev1.Pod{workloadtest.Pod("db-0", "node-a", logs)},
			},
			reason: v1alpha1.ReasonNoRunningPod, says: "component pod-1 is the host path /logs",
		},
		"a StatefulSet whose pods do it themselves": {
			target: workload.Target{StatefulSet: workloadtest.StatefulSet(1, logs), Sidecar: true},
			want:   []string{"pod-0@: pod-0=/logs"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			tt.target.Privileged = true
			got, refusal := workload.ResolveHosts(tt.target)
			if tt.reason != "" {
				g.Expect(refusal).To(HaveValue(And(HaveField("Reason", tt.reason),
					HaveField("Message", ContainSubstring(tt.says)))))
				return
			}
			g.Expect(refusal).To(BeNil())
			g.Expect(hosts(got)).To(Equal(tt.want))
		})
	}
}

// mounting adds a mount to a copy of a pod's first container.
func mounting(spec corev1.PodSpec, volume, path string) corev1.PodSpec {
	out := *spec.DeepCopy()
	out.Containers[0].VolumeMounts = append(out.Containers[0].VolumeMounts, workloadtest.Mount(volume, path))
	return out
}
