package workload_test

import (
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/workload"
	"github.com/cairn-backup/cairn/internal/workload/workloadtest"
)

func inPhase(p corev1.Pod, phase corev1.PodPhase) corev1.Pod {
	p.Status.Phase = phase
	return p
}

func deleted(p corev1.Pod) corev1.Pod {
	p.DeletionTimestamp = &metav1.Time{}
	return p
}

func lost(p corev1.Pod) corev1.Pod {
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionUnknown}}
	return p
}

// hosts formats the result of workload.ResolveHosts as "<host>@<node>: <component>=<claim or host path>[/<path>]".
func hosts(in []v1alpha1.ResolvedHost) []string {
	var out []string
	for _, h := range in {
		line := h.Name + "@" + h.Node + ":"
		for _, v := range h.Volumes {
			line += " " + v.Component + "=" + v.ClaimName + v.HostPath
			if v.Path != "" {
				line += "//" + v.Path
			}
		}
		out = append(out, line)
	}
	return out
}

func TestResolveHosts(t *testing.T) {
	data := workloadtest.PodSpec(workloadtest.ClaimVolume("data", "web-data"))
	two := workloadtest.PodSpec(workloadtest.ClaimVolume("data", "web-data"),
		workloadtest.ClaimVolume("cache", "web-cache"))
	block := workloadtest.Claim("web-data")
	device := corev1.PersistentVolumeBlock
	block.Spec.VolumeMode = &device
	beside := workloadtest.PodSpec(workloadtest.ClaimVolume("data", "web-data"),
		workloadtest.ClaimVolume("raw", "web-raw"))
	beside.Containers[0].VolumeMounts = []corev1.VolumeMount{workloadtest.Mount("data", "/data")}
	beside.Containers[0].VolumeDevices = []corev1.VolumeDevice{{Name: "raw", DevicePath: "/dev/raw"}}
	early := workloadtest.PodSpec(workloadtest.ClaimVolume("data", "web-data"))
	early.InitContainers = []corev1.Container{
		{Name: "format", VolumeDevices: []corev1.VolumeDevice{{Name: "data", DevicePath: "/dev/raw"}}},
	}
	unbound := workloadtest.Claim("web-data")
	unbound.Status.Phase = corev1.ClaimPending
	going := workloadtest.Claim("web-data")
	going.DeletionTimestamp = &metav1.Time{}
	own, alone := workloadtest.Claim("web-data"), workloadtest.Claim("web-data", corev1.ReadWriteOncePod)
	mover := workloadtest.Pod("backup-x", "node-b", data)
	mover.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn}
	ended := workloadtest.Pod("web-0", "node-a", data)
	ended.Status.Phase = corev1.PodSucceeded
	ephemeral := workloadtest.PodSpec(corev1.Volume{
		Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}},
	})
	host := workloadtest.PodSpec(corev1.Volume{
		Name: "logs", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/var/log"}},
	})
	empty := workloadtest.PodSpec(corev1.Volume{
		Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
	})
	ordinals := workloadtest.StatefulSet(2, workloadtest.PodSpec(), "data")
	ordinals.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 5}
	mounted := workloadtest.PodSpec()
	mounted.Containers[0].VolumeMounts = []corev1.VolumeMount{workloadtest.Mount("data", "/data")}

	tests := map[string]struct {
		target workload.Target
		want   []string
		reason string
		// message is a part of the message with the reason.
		message string
	}{
		"a claim that nothing uses is backed up anywhere": {
			target: workload.Target{Claim: &own}, want: []string{"target@: pvc=web-data"},
		},
		"a claim in use is backed up on the node that has it": {
			target: workload.Target{Claim: &own, Pods: []corev1.Pod{workloadtest.Pod("web-0", "node-a", data)}},
			want:   []string{"target@node-a: pvc=web-data"},
		},
		"a claim that another run reads is on that run's node": {
			target: workload.Target{Claim: &own, Pods: []corev1.Pod{mover}},
			want:   []string{"target@node-b: pvc=web-data"},
		},
		"a claim whose reader stays on a node that was lost": {
			target: workload.Target{Claim: &own, Pods: []corev1.Pod{deleted(mover)}},
			want:   []string{"target@: pvc=web-data"},
		},
		"a shared claim whose reader stays on a node that was lost": {
			target: workload.Target{
				Claim: new(workloadtest.Claim("web-data", corev1.ReadWriteMany)), Pods: []corev1.Pod{deleted(mover)},
			},
			want: []string{"target@: pvc=web-data"},
		},
		"a claim whose pod has no node yet": {
			target: workload.Target{
				Claim: &own, AwaitNodes: true, Pods: []corev1.Pod{workloadtest.Pod("web-0", "", data)},
			},
			reason:  v1alpha1.ReasonVolumeMoving,
			message: "pod web-0 uses PersistentVolumeClaim web-data and has no node",
		},
		"a claim whose pod is on a node that was lost": {
			target: workload.Target{
				Claim: &own, AwaitNodes: true, Pods: []corev1.Pod{lost(workloadtest.Pod("web-0", "node-a", data))},
			},
			reason: v1alpha1.ReasonVolumeMoving, message: "is on a node that no longer answers",
		},
		"a claim whose pod has found no node in time": {
			target: workload.Target{Claim: &own, Pods: []corev1.Pod{workloadtest.Pod("web-0", "", data)}},
			want:   []string{"target@: pvc=web-data"},
		},
		"a claim whose pod leaves its node": {
			target: workload.Target{
				Claim: &own, AwaitNodes: true,
				Pods: []corev1.Pod{deleted(workloadtest.Pod("web-0", "node-a", data)), mover},
			},
			reason: v1alpha1.ReasonVolumeMoving, message: "is being deleted",
		},
		"a claim whose pod starts on another node": {
			target: workload.Target{
				Claim: &own, AwaitNodes: true, Pods: []corev1.Pod{
					deleted(workloadtest.Pod("web-0", "node-a", data)),
					inPhase(workloadtest.Pod("web-1", "node-b", data), corev1.PodPending),
				},
			},
			want: []string{"target@node-b: pvc=web-data"},
		},
		"a shared claim whose pod has no node yet": {
			target: workload.Target{
				Claim: new(workloadtest.Claim("web-data", corev1.ReadWriteMany)), AwaitNodes: true,
				Pods: []corev1.Pod{workloadtest.Pod("web-0", "", data)},
			},
			want: []string{"target@: pvc=web-data"},
		},
		"a copy of a claim whose pod has no node yet": {
			target: workload.Target{
				Claim: &own, AwaitNodes: true, Copied: true, Pods: []corev1.Pod{workloadtest.Pod("web-0", "", data)},
			},
			want: []string{"target@: pvc=web-data"},
		},
		"a claim for one pod that another run reads is backed up in turn": {
			target: workload.Target{Claim: &alone, Pods: []corev1.Pod{mover}}, want: []string{"target@: pvc=web-data"},
		},
		"a pod that has ended mounts nothing": {
			target: workload.Target{Claim: &own, Pods: []corev1.Pod{ended}}, want: []string{"target@: pvc=web-data"},
		},
		"one directory of a claim": {
			target: workload.Target{Claim: &own, Paths: "/a//b/"}, want: []string{"target@: pvc=web-data//a/b"},
		},
		"a directory of a claim, as in KubeStash": {
			target: workload.Target{Claim: &own, Paths: "/kubestash-data/a"},
			want:   []string{"target@: pvc=web-data//a"},
		},
		"a whole claim, as in Stash": {
			target: workload.Target{Claim: &own, Paths: "/stash-data"}, want: []string{"target@: pvc=web-data"},
		},
		"several directories of a claim are refused": {
			target: workload.Target{Claim: &own, Paths: "a,b"}, reason: v1alpha1.ReasonInvalidParameters,
		},
		"a directory that leads out of a claim is refused": {
			target: workload.Target{Claim: &own, Paths: "a/../../etc"}, reason: v1alpha1.ReasonInvalidParameters,
		},
		"an unbound claim": {
			target: workload.Target{Claim: &unbound}, reason: v1alpha1.ReasonVolumeNotBound,
			message: "is not bound to a volume",
		},
		"a claim that is being deleted": {
			target: workload.Target{Claim: &going}, reason: v1alpha1.ReasonVolumeNotBound,
			message: "PersistentVolumeClaim web-data is being deleted, so nothing else can use it",
		},
		"a claim that is being deleted while pods hold it": {
			target: workload.Target{Claim: &going, Pods: []corev1.Pod{
				ended, workloadtest.Pod("waits", "", data), mover, workloadtest.Pod("other", "node-a", empty),
			}},
			reason: v1alpha1.ReasonVolumeNotBound, message: "It goes when these pods are gone: backup-x, web-0",
		},
		"a claim that is being deleted while many pods hold it": {
			target: workload.Target{Claim: &going, Pods: []corev1.Pod{
				workloadtest.Pod("d", "n", data), workloadtest.Pod("c", "n", data), workloadtest.Pod("b", "n", data),
				workloadtest.Pod("a", "n", data),
			}},
			reason: v1alpha1.ReasonVolumeNotBound, message: "these pods are gone: a, b, c, and others",
		},
		"a copy of a claim that is being deleted": {
			target: workload.Target{Claim: &going, Copied: true}, reason: v1alpha1.ReasonVolumeNotBound,
			message: "is being deleted",
		},
		"a claim that is being deleted, by a VolumeSnapshot": {
			target: workload.Target{Claim: &going, VolumeSnapshots: true}, reason: v1alpha1.ReasonVolumeNotBound,
			message: "is being deleted",
		},
		"a claim that is being deleted, and whose pod waits for the next one": {
			target: workload.Target{
				Claim: &going, AwaitNodes: true, Pods: []corev1.Pod{workloadtest.Pod("web-0", "", data)},
			},
			reason:  v1alpha1.ReasonVolumeMoving,
			message: "pod web-0 uses PersistentVolumeClaim web-data and has no node",
		},
		"a claim that is being deleted, by the sidecar of its pod": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(data), Sidecar: true, Claims: []corev1.PersistentVolumeClaim{going},
				Pods: []corev1.Pod{workloadtest.Pod("web-0", "node-a", data)},
			},
			want: []string{"target@: data=web-data"},
		},
		"a raw block device": {
			target: workload.Target{Claim: &block}, reason: v1alpha1.ReasonNoVolumes,
		},
		"a raw block device, by a VolumeSnapshot": {
			target: workload.Target{Claim: &block, VolumeSnapshots: true}, want: []string{"target@: pvc=web-data"},
		},
		"a raw block device beside files is not left out unasked": {
			target: workload.Target{Deployment: workloadtest.Deployment(beside)}, reason: v1alpha1.ReasonNoVolumes,
		},
		"a raw block device beside the files that are asked for": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(beside), Paths: "/data",
				Claims: []corev1.PersistentVolumeClaim{own},
			}, want: []string{"target@: data=web-data"},
		},
		"a raw block device beside files, by VolumeSnapshots": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(beside), VolumeSnapshots: true,
				Claims: []corev1.PersistentVolumeClaim{own, workloadtest.Claim("web-raw")},
			}, want: []string{
				"target@: data=web-data raw=web-raw",
			},
		},
		"a raw block device of an init container": {
			target: workload.Target{Deployment: workloadtest.Deployment(early)}, reason: v1alpha1.ReasonNoVolumes,
		},
		"a raw block device that no container uses": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(data), Claims: []corev1.PersistentVolumeClaim{block},
			},
			reason: v1alpha1.ReasonNoVolumes,
		},
		"a ReadWriteOncePod claim in use": {
			target: workload.Target{
				Claim: new(workloadtest.Claim("web-data", corev1.ReadWriteOncePod)),
				Pods:  []corev1.Pod{workloadtest.Pod("web-0", "node-a", data)},
			},
			reason: v1alpha1.ReasonVolumeInUse,
		},
		"a ReadWriteOncePod claim that nothing uses": {
			target: workload.Target{Claim: new(workloadtest.Claim("web-data", corev1.ReadWriteOncePod))},
			want: []string{
				"target@: pvc=web-data",
			},
		},
		"a shared claim on several nodes is backed up anywhere": {
			target: workload.Target{
				Claim: new(workloadtest.Claim("web-data", corev1.ReadWriteMany)),
				Pods: []corev1.Pod{
					workloadtest.Pod("web-0", "node-a", data), workloadtest.Pod("web-1", "node-b", data),
				},
			},
			want: []string{"target@: pvc=web-data"},
		},
		"a target that does not exist": {reason: v1alpha1.ReasonTargetNotFound},

		"a Deployment has a component per volume": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(two), Claims: []corev1.PersistentVolumeClaim{
					workloadtest.Claim("web-data"), workloadtest.Claim("web-cache"),
				},
				Pods: []corev1.Pod{workloadtest.Pod("web-0", "node-a", two)},
			},
			want: []string{"target@node-a: data=web-data cache=web-cache"},
		},
		"a Deployment without pods": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(data),
				Claims:     []corev1.PersistentVolumeClaim{workloadtest.Claim("web-data")},
			},
			want: []string{"target@: data=web-data"},
		},
		"a Deployment whose volume another workload mounts": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(two), Claims: []corev1.PersistentVolumeClaim{
					workloadtest.Claim("web-data"), workloadtest.Claim("web-cache"),
				},
				Pods: []corev1.Pod{
					workloadtest.Pod("web-0", "node-a", data),
					workloadtest.Pod("other", "node-b",
						workloadtest.PodSpec(workloadtest.ClaimVolume("x", "web-cache"))),
				},
			},
			reason: v1alpha1.ReasonVolumeInUse,
		},
		"a Deployment with a claim that does not exist": {
			target: workload.Target{Deployment: workloadtest.Deployment(data)}, reason: v1alpha1.ReasonVolumeNotBound,
			message: "there is no PersistentVolumeClaim web-data",
		},
		"a Deployment with two volumes of one claim backs it up once": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(workloadtest.PodSpec(workloadtest.ClaimVolume("a", "web-data"),
					workloadtest.ClaimVolume("b", "web-cache"),
					workloadtest.ClaimVolume("c", "web-data"))),
				Claims: []corev1.PersistentVolumeClaim{workloadtest.Claim("web-data"), workloadtest.Claim("web-cache")},
			},
			want: []string{"target@: a=web-data b=web-cache"},
		},
		"a Deployment with an ephemeral volume and one pod": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(ephemeral),
				Claims:     []corev1.PersistentVolumeClaim{workloadtest.Claim("web-0-scratch")},
				Pods:       []corev1.Pod{workloadtest.Pod("web-0", "node-a", ephemeral)},
			},
			want: []string{"target@node-a: scratch=web-0-scratch"},
		},
		"a Deployment with an ephemeral volume and two pods": {
			target: workload.Target{
				Deployment: workloadtest.Deployment(ephemeral), Pods: []corev1.Pod{
					workloadtest.Pod("web-0", "node-a", ephemeral), workloadtest.Pod("web-1", "node-a", ephemeral),
				},
			},
			reason: v1alpha1.ReasonNoVolumes,
		},
		"a Deployment without volumes that can be backed up": {
			target: workload.Target{Deployment: workloadtest.Deployment(empty)}, reason: v1alpha1.ReasonNoVolumes,
		},
		"a host path needs the annotation": {
			target: workload.Target{Deployment: workloadtest.Deployment(host)}, reason: v1alpha1.ReasonNoVolumes,
		},

		"a StatefulSet has a host per pod": {
			target: workload.Target{
				StatefulSet: workloadtest.StatefulSet(2, workloadtest.PodSpec(), "data"),
				Claims: []corev1.PersistentVolumeClaim{
					workloadtest.Claim("data-db-0"), workloadtest.Claim("data-db-1"),
				},
				Pods: []corev1.Pod{
					workloadtest.Pod("db-0", "node-a",
						workloadtest.PodSpec(workloadtest.ClaimVolume("data", "data-db-0"))),
				},
			},
			want: []string{"pod-0@node-a: pod-0=data-db-0", "pod-1@: pod-1=data-db-1"},
		},
		"a StatefulSet with several volumes names them": {
			target: workload.Target{
				StatefulSet: workloadtest.StatefulSet(1, workloadtest.PodSpec(), "data", "wal"),
				Claims: []corev1.PersistentVolumeClaim{
					workloadtest.Claim("data-db-0"), workloadtest.Claim("wal-db-0"),
				},
			},
			want: []string{"pod-0@: pod-0-data=data-db-0 pod-0-wal=wal-db-0"},
		},
		"the ordinals of a StatefulSet need not start at 0": {
			target: workload.Target{
				StatefulSet: ordinals,
				Claims: []corev1.PersistentVolumeClaim{
					workloadtest.Claim("data-db-5"), workloadtest.Claim("data-db-6"),
				},
			},
			want: []string{"pod-5@: pod-5=data-db-5", "pod-6@: pod-6=data-db-6"},
		},
		"a StatefulSet with a claim that was never made": {
			target: workload.Target{
				StatefulSet: workloadtest.StatefulSet(2, workloadtest.PodSpec(), "data"),
				Claims:      []corev1.PersistentVolumeClaim{workloadtest.Claim("data-db-0")},
			},
			reason: v1alpha1.ReasonVolumeNotBound,
		},
		"a StatefulSet without replicas": {
			target: workload.Target{StatefulSet: workloadtest.StatefulSet(0, workloadtest.PodSpec(), "data")},
			reason: v1alpha1.ReasonNoRunningPod,
		},
		"a path of a StatefulSet is looked up on its claim template": {
			target: workload.Target{
				StatefulSet: workloadtest.StatefulSet(1, mounted, "data"),
				Claims:      []corev1.PersistentVolumeClaim{workloadtest.Claim("data-db-0")}, Paths: "/data/base",
			},
			want: []string{"pod-0@: pod-0=data-db-0//base"},
		},

		"a DaemonSet has a host per node with a pod": {
			target: workload.Target{
				DaemonSet: workloadtest.DaemonSet(host), Privileged: true,
				Pods: []corev1.Pod{
					workloadtest.Pod("agent-y", "node-b", host), workloadtest.Pod("agent-x", "node-a", host),
					workloadtest.Pod("agent-z", "node-a", host),
				},
			},
			want: []string{"node-a@node-a: node-a=/var/log", "node-b@node-b: node-b=/var/log"},
		},
		"a node whose pod starts or is being deleted is backed up, too": {
			target: workload.Target{
				DaemonSet: workloadtest.DaemonSet(host), Privileged: true,
				Pods: []corev1.Pod{
					workloadtest.Pod("agent-w", "node-a", host),
					inPhase(workloadtest.Pod("agent-x", "node-b", host), corev1.PodPending),
					deleted(workloadtest.Pod("agent-y", "node-c", host)),
					inPhase(workloadtest.Pod("agent-z", "node-d", host), corev1.PodFailed),
				},
			},
			want: []string{
				"node-a@node-a: node-a=/var/log", "node-b@node-b: node-b=/var/log", "node-c@node-c: node-c=/var/log",
				"node-d@node-d: node-d=/var/log",
			},
		},
		"two volumes of a DaemonSet that would be one component": {
			target: workload.Target{
				DaemonSet: workloadtest.DaemonSet(workloadtest.HostPaths("b-c", "c")), Privileged: true,
				Pods: []corev1.Pod{
					workloadtest.Pod("agent-1", "a", workloadtest.HostPaths("b-c", "c")),
					workloadtest.Pod("agent-2", "a-b", workloadtest.HostPaths("b-c", "c")),
				},
			},
			reason: v1alpha1.ReasonInvalidTask,
		},
		"a DaemonSet without pods": {
			target: workload.Target{DaemonSet: workloadtest.DaemonSet(host), Privileged: true},
			reason: v1alpha1.ReasonNoRunningPod,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, err := workload.ResolveHosts(tt.target)
			if tt.reason != "" {
				g.Expect(err).NotTo(BeNil())
				g.Expect(err.Reason).To(Equal(tt.reason), err.Message)
				g.Expect(err.Message).To(ContainSubstring(tt.message))
				g.Expect(got).To(BeEmpty())
				return
			}
			g.Expect(err).To(BeNil())
			g.Expect(hosts(got)).To(Equal(tt.want))
		})
	}
}

func TestPathsOfAWorkload(t *testing.T) {
	spec := workloadtest.PodSpec(workloadtest.ClaimVolume("data", "web-data"),
		workloadtest.ClaimVolume("cache", "web-cache"))
	spec.Volumes = append(spec.Volumes, corev1.Volume{
		Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
	})
	spec.Containers[0].VolumeMounts = []corev1.VolumeMount{
		workloadtest.Mount("cache", "/var/www/cache/"), workloadtest.Mount("data", "/var/www"),
		workloadtest.Mount("tmp", "/var/www/tmp"),
		{Name: "data", MountPath: "/etc/app", SubPath: "config/app"},
		{Name: "cache", MountPath: "/odd", SubPathExpr: "$(POD)"},
	}
	tests := map[string]struct {
		paths, want, message string
	}{
		"the root of a volume": {paths: "/var/www,!/var/www/cache", want: "target@: data=web-data"},
		"the root of a volume, with another below it": {
			paths: "/var/www", message: "/var/www/cache is on volume cache, which would be left out",
		},
		"a directory below it": {
			paths: "/var/www/html/", want: "target@: data=web-data//html",
		},
		"the longest mount wins": {
			paths: "/var/www/cache/a", want: "target@: cache=web-cache//a",
		},
		"a name that only begins like a mount is below /": {paths: "/var/www2", message: "is on no volume"},
		"the subPath of a mount counts": {
			paths: "/etc/app/x", want: "target@: data=web-data//config/app/x",
		},
		"two volumes": {
			paths: "/var/www/cache , /var/www/html", want: "target@: data=web-data//html cache=web-cache",
		},
		"two paths on one volume": {
			paths: "/var/www/a,/var/www/b", message: "name one directory per volume",
		},
		"the same path twice": {
			paths: "/var/www/a,/var/www/a", message: "name one directory per volume",
		},
		"a path on an emptyDir": {
			paths: "/var/www/tmp/x", message: "is on no volume that can be backed up; the target has: data, cache",
		},
		"a path on no volume":                 {paths: "/opt", message: "is on no volume"},
		"a relative path":                     {paths: "var/www", message: "not an absolute path"},
		"an empty element":                    {paths: "/var/www,", message: "not an absolute path"},
		"a path that climbs out of its mount": {paths: "/var/www/../../etc", message: "is on no volume"},
		"a mount with subPathExpr":            {paths: "/odd/x", message: "subPathExpr"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, err := workload.ResolveHosts(workload.Target{
				Deployment: workloadtest.Deployment(spec),
				Claims: []corev1.PersistentVolumeClaim{
					workloadtest.Claim("web-data"), workloadtest.Claim("web-cache"),
				}, Paths: tt.paths,
			})
			if tt.message != "" {
				g.Expect(err).NotTo(BeNil())
				g.Expect(err.Reason).To(Equal(v1alpha1.ReasonInvalidParameters))
				g.Expect(err.Message).To(ContainSubstring(tt.message))
				return
			}
			g.Expect(err).To(BeNil())
			g.Expect(hosts(got)).To(Equal([]string{tt.want}))
		})
	}
}

func TestSecurityContext(t *testing.T) {
	asPod := func(user, group, fsGroup *int64, supplemental ...int64) corev1.PodSpec {
		s := workloadtest.PodSpec(workloadtest.ClaimVolume("data", "web-data"))
		s.SecurityContext = &corev1.PodSecurityContext{
			RunAsUser: user, RunAsGroup: group, FSGroup: fsGroup, SupplementalGroups: supplemental,
		}
		return s
	}
	asJob := func(user, group *int64) *v1alpha1.JobPodSpec {
		return &v1alpha1.JobPodSpec{SecurityContext: &v1alpha1.MoverSecurityContext{RunAsUser: user, RunAsGroup: group}}
	}
	withContainer := asPod(new(int64(1000)), nil, nil)
	withContainer.Containers[0].SecurityContext = &corev1.SecurityContext{
		RunAsUser: new(int64(33)), RunAsGroup: new(int64(34)), SELinuxOptions: &corev1.SELinuxOptions{Level: "s0:c1"},
	}
	tests := map[string]struct {
		pod        *corev1.PodSpec
		job        *v1alpha1.JobPodSpec
		privileged bool
		user       int64
		group      int64
		groups     []int64
		level      string
		refused    bool
	}{
		"the pod's user": {
			pod: new(asPod(new(int64(1000)), new(int64(2000)), nil)), user: 1000, group: 2000,
		},
		"the group defaults to the user": {pod: new(asPod(new(int64(1000)), nil, nil)), user: 1000, group: 1000},
		"fsGroup becomes a supplemental group": {
			pod: new(asPod(new(int64(1000)), nil, new(int64(7)), 9, 7, 8)), user: 1000, group: 1000,
			groups: []int64{7, 8, 9},
		},
		"the container that mounts it wins": {pod: &withContainer, user: 33, group: 34, level: "s0:c1"},
		"without a pod the jobTemplate's":   {job: asJob(new(int64(5)), new(int64(6))), user: 5, group: 6},
		"without either the default":        {user: 65532, group: 65532},
		"the pod's user before the jobTemplate": {
			pod: new(asPod(new(int64(1000)), nil, nil)), job: asJob(new(int64(5)), nil), user: 1000, group: 1000,
		},
		"a pod that names no user": {
			pod: new(asPod(nil, nil, new(int64(7)))), job: asJob(new(int64(5)), nil), user: 5, group: 5,
			groups: []int64{7},
		},
		"a pod that runs as root, not allowed": {
			pod: new(asPod(new(int64(0)), nil, new(int64(7)))), user: 65532, group: 65532, groups: []int64{7},
		},
		"a pod that runs as root, allowed": {
			pod: new(asPod(new(int64(0)), nil, nil)), privileged: true, user: 0, group: 0,
		},
		"root asked for and allowed wins": {
			pod: new(asPod(new(int64(1000)), nil, nil)),
			job: asJob(new(int64(0)), nil), privileged: true, user: 0, group: 0,
		},
		"root asked for and not allowed": {job: asJob(new(int64(0)), nil), refused: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			target := workload.Target{
				Claim: new(workloadtest.Claim("web-data")), Job: tt.job, Privileged: tt.privileged,
			}
			if tt.pod != nil {
				target.Pods = []corev1.Pod{workloadtest.Pod("web-0", "node-a", *tt.pod)}
			}
			got, err := workload.ResolveHosts(target)
			if tt.refused {
				g.Expect(err).NotTo(BeNil())
				g.Expect(err.Reason).To(Equal(v1alpha1.ReasonPrivilegeRequired))
				return
			}
			g.Expect(err).To(BeNil())
			sc := got[0].SecurityContext
			g.Expect(*sc.RunAsUser).To(Equal(tt.user))
			g.Expect(*sc.RunAsGroup).To(Equal(tt.group))
			g.Expect(sc.SupplementalGroups).To(Equal(tt.groups))
			if tt.level != "" {
				g.Expect(sc.SELinuxOptions.Level).To(Equal(tt.level))
			}
		})
	}
}

func TestAnotherRunsMoverSaysNothingAboutTheUser(t *testing.T) {
	g := NewWithT(t)
	spec := workloadtest.PodSpec(workloadtest.ClaimVolume("data", "web-data"))
	spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: new(int64(1000))}
	mover := workloadtest.Pod("a-mover", "node-a", spec)
	mover.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn}
	got, err := workload.ResolveHosts(
		workload.Target{Claim: new(workloadtest.Claim("web-data")), Pods: []corev1.Pod{mover}})
	g.Expect(err).To(BeNil())
	g.Expect(*got[0].SecurityContext.RunAsUser).To(BeEquivalentTo(65532))
}

func TestRestoreSecurityContext(t *testing.T) {
	g := NewWithT(t)
	got, err := workload.SecurityContextOfRestore(nil, true)
	g.Expect(err).To(BeNil())
	g.Expect(*got.RunAsUser).To(BeEquivalentTo(65532), "root is never taken unasked")

	root := &v1alpha1.JobPodSpec{SecurityContext: &v1alpha1.MoverSecurityContext{RunAsUser: new(int64(0))}}
	_, err = workload.SecurityContextOfRestore(root, false)
	g.Expect(err.Reason).To(Equal(v1alpha1.ReasonPrivilegeRequired))
	got, err = workload.SecurityContextOfRestore(root, true)
	g.Expect(err).To(BeNil())
	g.Expect(*got.RunAsUser).To(BeZero())
}

// TestMountsOfAVolume checks under which paths patterns can name the files of a volume.
func TestMountsOfAVolume(t *testing.T) {
	g := NewWithT(t)
	spec := workloadtest.PodSpec(workloadtest.ClaimVolume("data", "web-data"))
	spec.Containers[0].VolumeMounts = []corev1.VolumeMount{
		{Name: "data", MountPath: "/var/www/"},
		{Name: "data", MountPath: "/srv", SubPath: "files"},
		{Name: "data", MountPath: "/odd", SubPathExpr: "$(POD)"},
		{Name: "other", MountPath: "/other"},
	}
	spec.InitContainers = []corev1.Container{{VolumeMounts: []corev1.VolumeMount{
		{Name: "data", MountPath: "/var/www"}, {Name: "data", MountPath: "/init"},
	}}}
	got, err := workload.ResolveHosts(workload.Target{
		Deployment: workloadtest.Deployment(spec), Paths: "/srv/today",
		Claims: []corev1.PersistentVolumeClaim{workloadtest.Claim("web-data")},
	})
	g.Expect(err).To(BeNil())
	v := got[0].Volumes[0]
	g.Expect(v.Path).To(Equal("files/today"))
	g.Expect(v.Mounts).To(Equal([]v1alpha1.ResolvedMount{
		{Path: "/var/www"}, {Path: "/srv", SubPath: "files"}, {Path: "/init"},
	}))
}

// TestALongMountPathStopsNoOtherTarget: the API server takes a mount path of any length, but a run is one object.
func TestALongMountPathStopsNoOtherTarget(t *testing.T) {
	g := NewWithT(t)
	spec := workloadtest.PodSpec(workloadtest.ClaimVolume("data", "web-data"))
	mounts := []corev1.VolumeMount{{Name: "data", MountPath: "/" + strings.Repeat("a", 5000)}}
	for i := range 16 {
		mounts = append(mounts, corev1.VolumeMount{
			Name: "data", MountPath: "/srv", SubPath: strings.Repeat("b", 300) + strconv.Itoa(i),
		})
		mounts[len(mounts)-1].MountPath += strconv.Itoa(i)
	}
	spec.Containers[0].VolumeMounts = append(mounts, corev1.VolumeMount{Name: "data", MountPath: "/var/www"})
	got, err := workload.ResolveHosts(workload.Target{
		Deployment: workloadtest.Deployment(spec),
		Claims:     []corev1.PersistentVolumeClaim{workloadtest.Claim("web-data")},
	})
	g.Expect(err).To(BeNil())
	known := got[0].Volumes[0].Mounts
	g.Expect(known).To(HaveLen(4))
	g.Expect(known[3]).To(Equal(v1alpha1.ResolvedMount{Path: "/var/www"}), "what has room is known")
}
