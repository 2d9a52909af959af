package workload_test

import (
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/workload"
	"github.com/cairn-backup/cairn/internal/workload/workloadtest"
)

// unscheduled is a pod that the controller of a DaemonSet made for a node without room for it.
func unscheduled(name, node string, spec corev1.PodSpec) corev1.Pod {
	p := workloadtest.Pod(name, "", spec)
	p.Status.Phase = corev1.PodPending
	p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{
				Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node},
			}}}},
		},
	}}
	return p
}

func TestANodeWithoutAPodIsNotForgotten(t *testing.T) {
	logs := workloadtest.HostPaths("logs")
	for name, tt := range map[string]struct {
		pods    []corev1.Pod
		desired int32
		want    []string
		reason  string
	}{
		"its pod was evicted": {
			pods: []corev1.Pod{
				workloadtest.Pod("agent-x", "node-a", logs),
				inPhase(workloadtest.Pod("agent-y", "node-b", logs), corev1.PodFailed),
			},
			desired: 2, want: []string{"node-a@node-a: node-a=/logs", "node-b@node-b: node-b=/logs"},
		},
		"its pod found no room": {
			pods: []corev1.Pod{
				workloadtest.Pod("agent-x", "node-a", logs), unscheduled("agent-y", "node-b", logs),
			},
			desired: 2, want: []string{"node-a@node-a: node-a=/logs", "node-b@node-b: node-b=/logs"},
		},
		"its pod was evicted, and the next found no room": {
			pods: []corev1.Pod{
				inPhase(workloadtest.Pod("agent-x", "node-a", logs), corev1.PodFailed),
				unscheduled("agent-y", "node-a", logs),
			},
			desired: 1, want: []string{"node-a@node-a: node-a=/logs"},
		},
		"its pod was not made": {
			pods: []corev1.Pod{workloadtest.Pod("agent-x", "node-a", logs)}, desired: 2,
			reason: v1alpha1.ReasonTargetNotReady,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			agent := workloadtest.DaemonSet(logs)
			agent.Status = appsv1.DaemonSetStatus{DesiredNumberScheduled: tt.desired}
			got, refusal := workload.ResolveHosts(workload.Target{DaemonSet: agent, Privileged: true, Pods: tt.pods})
			if tt.reason != "" {
				g.Expect(refusal).To(HaveValue(HaveField("Reason", tt.reason)))
				return
			}
			g.Expect(refusal).To(BeNil())
			g.Expect(hosts(got)).To(Equal(tt.want))
		})
	}
}

func TestAVolumeIsNotLeftOutUnasked(t *testing.T) {
	nfs := corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "nas", Path: "/x"}}
	inline := corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "files.example.com"}}
	secrets := corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "secrets", ReadOnly: new(true)}}
	path := corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/srv"}}
	socket := corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{
		Path: "/run/containerd.sock", Type: ptr.To(corev1.HostPathSocket),
	}}
	scratch := corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
	for name, tt := range map[string]struct {
		beside     corev1.VolumeSource
		readOnly   bool
		paths      string
		privileged bool
		snapshots  bool
		refused    string
	}{
		"an NFS export":                         {beside: nfs, refused: "only PersistentVolumeClaims and hostPaths"},
		"an NFS export that is left out":        {beside: nfs, paths: "/data"},
		"an NFS export that is only read":       {beside: nfs, readOnly: true},
		"an inline volume of a CSI driver":      {beside: inline, refused: "only PersistentVolumeClaims"},
		"an inline volume that is only read":    {beside: secrets},
		"a hostPath without the annotation":     {beside: path, refused: v1alpha1.AnnotationPrivilegedMovers},
		"a hostPath with the annotation":        {beside: path, privileged: true},
		"a socket":                              {beside: socket},
		"an emptyDir":                           {beside: scratch},
		"an NFS export beside a VolumeSnapshot": {beside: nfs, snapshots: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			spec := workloadtest.PodSpec(workloadtest.ClaimVolume("data", "web-data"),
				corev1.Volume{Name: "more", VolumeSource: tt.beside})
			spec.Containers[0].VolumeMounts[1].ReadOnly = tt.readOnly
			_, refusal := workload.ResolveHosts(workload.Target{
				Deployment: workloadtest.Deployment(spec), Claims: []corev1.PersistentVolumeClaim{
					workloadtest.Claim("web-data"),
				},
				Paths: tt.paths, Privileged: tt.privileged, VolumeSnapshots: tt.snapshots,
				Pods: []corev1.Pod{workloadtest.Pod("web-0", "node-a", spec)},
			})
			if tt.refused == "" {
				g.Expect(refusal).To(BeNil())
				return
			}
			g.Expect(refusal).To(HaveValue(And(HaveField("Reason", v1alpha1.ReasonNoVolumes),
				HaveField("Message", And(ContainSubstring("volume more of Deployment/web"),
					ContainSubstring(tt.refused), ContainSubstring("the parameter paths"))))))
		})
	}
}
