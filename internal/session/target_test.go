package session_test

import (
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/session"
)

var appLabels = map[string]string{"app": "web"}

func selector() *metav1.LabelSelector { return &metav1.LabelSelector{MatchLabels: appLabels} }

// claim returns a bound claim.
func claim(name string, modes ...corev1.PersistentVolumeAccessMode) corev1.PersistentVolumeClaim {
	if len(modes) == 0 {
		modes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	}
	return corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PersistentVolumeClaimSpec{AccessModes: modes},
		Status:     corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
}

func claimVolume(name, claim string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
	}}
}

func mount(volume, path string) corev1.VolumeMount {
	return corev1.VolumeMount{Name: volume, MountPath: path}
}

// podSpec mounts the volume data at /data.
func podSpec(volumes ...corev1.Volume) corev1.PodSpec {
	spec := corev1.PodSpec{Volumes: volumes, Containers: []corev1.Container{{Name: "app"}}}
	for _, v := range volumes {
		spec.Containers[0].VolumeMounts = append(spec.Containers[0].VolumeMounts, mount(v.Name, "/"+v.Name))
	}
	return spec
}

func pod(name, node string, spec corev1.PodSpec) corev1.Pod {
	spec.NodeName = node
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: appLabels},
		Spec:       spec,
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
}

// hostPaths has a hostPath volume for each name.
func hostPaths(names ...string) corev1.PodSpec {
	var volumes []corev1.Volume
	for _, n := range names {
		volumes = append(volumes, corev1.Volume{
			Name: n, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/" + n}},
		})
	}
	return podSpec(volumes...)
}

func inPhase(p corev1.Pod, phase corev1.PodPhase) corev1.Pod {
	p.Status.Phase = phase
	return p
}

func deleted(p corev1.Pod) corev1.Pod {
	p.DeletionTimestamp = &metav1.Time{}
	return p
}

func deployment(spec corev1.PodSpec) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       appsv1.DeploymentSpec{Selector: selector(), Template: corev1.PodTemplateSpec{Spec: spec}},
	}
}

func statefulSet(replicas int32, spec corev1.PodSpec, templates ...string) *appsv1.StatefulSet {
	s := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "db"},
		Spec: appsv1.StatefulSetSpec{
			Replicas: &replicas, Selector: selector(), Template: corev1.PodTemplateSpec{Spec: spec},
		},
	}
	for _, t := range templates {
		s.Spec.VolumeClaimTemplates = append(s.Spec.VolumeClaimTemplates, corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Name: t},
		})
	}
	return s
}

func daemonSet(spec corev1.PodSpec) *appsv1.DaemonSet {
	return &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "agent"},
		Spec:       appsv1.DaemonSetSpec{Selector: selector(), Template: corev1.PodTemplateSpec{Spec: spec}},
	}
}

// hosts formats the result of ResolveHosts as "<host>@<node>: <component>=<claim or host path>[/<path>]".
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
	data := podSpec(claimVolume("data", "web-data"))
	two := podSpec(claimVolume("data", "web-data"), claimVolume("cache", "web-cache"))
	block := claim("web-data")
	device := corev1.PersistentVolumeBlock
	block.Spec.VolumeMode = &device
	beside := podSpec(claimVolume("data", "web-data"), claimVolume("raw", "web-raw"))
	beside.Containers[0].VolumeMounts = []corev1.VolumeMount{mount("data", "/data")}
	beside.Containers[0].VolumeDevices = []corev1.VolumeDevice{{Name: "raw", DevicePath: "/dev/raw"}}
	early := podSpec(claimVolume("data", "web-data"))
	early.InitContainers = []corev1.Container{
		{Name: "format", VolumeDevices: []corev1.VolumeDevice{{Name: "data", DevicePath: "/dev/raw"}}},
	}
	unbound := claim("web-data")
	unbound.Status.Phase = corev1.ClaimPending
	own := claim("web-data")
	mover := pod("backup-x", "node-b", data)
	mover.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn}
	ended := pod("web-0", "node-a", data)
	ended.Status.Phase = corev1.PodSucceeded
	ephemeral := podSpec(corev1.Volume{
		Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}},
	})
	host := podSpec(corev1.Volume{
		Name: "logs", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/var/log"}},
	})
	empty := podSpec(corev1.Volume{
		Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
	})
	ordinals := statefulSet(2, podSpec(), "data")
	ordinals.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 5}
	mounted := podSpec()
	mounted.Containers[0].VolumeMounts = []corev1.VolumeMount{mount("data", "/data")}

	tests := map[string]struct {
		target session.Target
		want   []string
		reason string
	}{
		"a claim that nothing uses is backed up anywhere": {
			target: session.Target{Claim: &own}, want: []string{"target@: pvc=web-data"},
		},
		"a claim in use is backed up on the node that has it": {
			target: session.Target{Claim: &own, Pods: []corev1.Pod{pod("web-0", "node-a", data)}},
			want:   []string{"target@node-a: pvc=web-data"},
		},
		"a claim that another run reads is on that run's node": {
			target: session.Target{Claim: &own, Pods: []corev1.Pod{mover}},
			want:   []string{"target@node-b: pvc=web-data"},
		},
		"a pod that has ended mounts nothing": {
			target: session.Target{Claim: &own, Pods: []corev1.Pod{ended}}, want: []string{"target@: pvc=web-data"},
		},
		"one directory of a claim": {
			target: session.Target{Claim: &own, Paths: "/a//b/"}, want: []string{"target@: pvc=web-data//a/b"},
		},
		"several directories of a claim are refused": {
			target: session.Target{Claim: &own, Paths: "a,b"}, reason: v1alpha1.ReasonInvalidParameters,
		},
		"a directory that leads out of a claim is refused": {
			target: session.Target{Claim: &own, Paths: "a/../../etc"}, reason: v1alpha1.ReasonInvalidParameters,
		},
		"an unbound claim": {
			target: session.Target{Claim: &unbound}, reason: v1alpha1.ReasonVolumeNotBound,
		},
		"a raw block device": {
			target: session.Target{Claim: &block}, reason: v1alpha1.ReasonNoVolumes,
		},
		"a raw block device, by a VolumeSnapshot": {
			target: session.Target{Claim: &block, VolumeSnapshots: true}, want: []string{"target@: pvc=web-data"},
		},
		"a raw block device beside files is not left out unasked": {
			target: session.Target{Deployment: deployment(beside)}, reason: v1alpha1.ReasonNoVolumes,
		},
		"a raw block device beside the files that are asked for": {
			target: session.Target{Deployment: deployment(beside), Paths: "/data",
				Claims: []corev1.PersistentVolumeClaim{own}}, want: []string{"target@: data=web-data"},
		},
		"a raw block device beside files, by VolumeSnapshots": {
			target: session.Target{Deployment: deployment(beside), VolumeSnapshots: true,
				Claims: []corev1.PersistentVolumeClaim{own, claim("web-raw")}}, want: []string{
				"target@: data=web-data raw=web-raw",
			},
		},
		"a raw block device of an init container": {
			target: session.Target{Deployment: deployment(early)}, reason: v1alpha1.ReasonNoVolumes,
		},
		"a raw block device that no container uses": {
			target: session.Target{Deployment: deployment(data), Claims: []corev1.PersistentVolumeClaim{block}},
			reason: v1alpha1.ReasonNoVolumes,
		},
		"a ReadWriteOncePod claim in use": {
			target: session.Target{
				Claim: new(claim("web-data", corev1.ReadWriteOncePod)),
				Pods:  []corev1.Pod{pod("web-0", "node-a", data)},
			},
			reason: v1alpha1.ReasonVolumeInUse,
		},
		"a ReadWriteOncePod claim that nothing uses": {
			target: session.Target{Claim: new(claim("web-data", corev1.ReadWriteOncePod))}, want: []string{
				"target@: pvc=web-data",
			},
		},
		"a shared claim on several nodes is backed up anywhere": {
			target: session.Target{
				Claim: new(claim("web-data", corev1.ReadWriteMany)),
				Pods:  []corev1.Pod{pod("web-0", "node-a", data), pod("web-1", "node-b", data)},
			},
			want: []string{"target@: pvc=web-data"},
		},
		"a target that does not exist": {reason: v1alpha1.ReasonTargetNotFound},

		"a Deployment has a component per volume": {
			target: session.Target{
				Deployment: deployment(two), Claims: []corev1.PersistentVolumeClaim{
					claim("web-data"), claim("web-cache"),
				},
				Pods: []corev1.Pod{pod("web-0", "node-a", two)},
			},
			want: []string{"target@node-a: data=web-data cache=web-cache"},
		},
		"a Deployment without pods": {
			target: session.Target{
				Deployment: deployment(data), Claims: []corev1.PersistentVolumeClaim{claim("web-data")},
			},
			want: []string{"target@: data=web-data"},
		},
		"a Deployment whose volume another workload mounts": {
			target: session.Target{
				Deployment: deployment(two), Claims: []corev1.PersistentVolumeClaim{
					claim("web-data"), claim("web-cache"),
				},
				Pods: []corev1.Pod{
					pod("web-0", "node-a", data), pod("other", "node-b", podSpec(claimVolume("x", "web-cache"))),
				},
			},
			reason: v1alpha1.ReasonVolumeInUse,
		},
		"a Deployment with a claim that does not exist": {
			target: session.Target{Deployment: deployment(data)}, reason: v1alpha1.ReasonVolumeNotBound,
		},
		"a Deployment with two volumes of one claim backs it up once": {
			target: session.Target{
				Deployment: deployment(podSpec(claimVolume("a", "web-data"), claimVolume("b", "web-cache"),
					claimVolume("c", "web-data"))),
				Claims: []corev1.PersistentVolumeClaim{claim("web-data"), claim("web-cache")},
			},
			want: []string{"target@: a=web-data b=web-cache"},
		},
		"a Deployment with an ephemeral volume and one pod": {
			target: session.Target{
				Deployment: deployment(ephemeral), Claims: []corev1.PersistentVolumeClaim{claim("web-0-scratch")},
				Pods: []corev1.Pod{pod("web-0", "node-a", ephemeral)},
			},
			want: []string{"target@node-a: scratch=web-0-scratch"},
		},
		"a Deployment with an ephemeral volume and two pods": {
			target: session.Target{
				Deployment: deployment(ephemeral), Pods: []corev1.Pod{
					pod("web-0", "node-a", ephemeral), pod("web-1", "node-a", ephemeral),
				},
			},
			reason: v1alpha1.ReasonNoVolumes,
		},
		"a Deployment without volumes that can be backed up": {
			target: session.Target{Deployment: deployment(empty)}, reason: v1alpha1.ReasonNoVolumes,
		},
		"a host path needs the annotation": {
			target: session.Target{Deployment: deployment(host)}, reason: v1alpha1.ReasonNoVolumes,
		},

		"a StatefulSet has a host per pod": {
			target: session.Target{
				StatefulSet: statefulSet(2, podSpec(), "data"),
				Claims:      []corev1.PersistentVolumeClaim{claim("data-db-0"), claim("data-db-1")},
				Pods:        []corev1.Pod{pod("db-0", "node-a", podSpec(claimVolume("data", "data-db-0")))},
			},
			want: []string{"pod-0@node-a: pod-0=data-db-0", "pod-1@: pod-1=data-db-1"},
		},
		"a StatefulSet with several volumes names them": {
			target: session.Target{
				StatefulSet: statefulSet(1, podSpec(), "data", "wal"),
				Claims:      []corev1.PersistentVolumeClaim{claim("data-db-0"), claim("wal-db-0")},
			},
			want: []string{"pod-0@: pod-0-data=data-db-0 pod-0-wal=wal-db-0"},
		},
		"the ordinals of a StatefulSet need not start at 0": {
			target: session.Target{
				StatefulSet: ordinals, Claims: []corev1.PersistentVolumeClaim{claim("data-db-5"), claim("data-db-6")},
			},
			want: []string{"pod-5@: pod-5=data-db-5", "pod-6@: pod-6=data-db-6"},
		},
		"a StatefulSet with a claim that was never made": {
			target: session.Target{
				StatefulSet: statefulSet(2, podSpec(), "data"),
				Claims:      []corev1.PersistentVolumeClaim{claim("data-db-0")},
			},
			reason: v1alpha1.ReasonVolumeNotBound,
		},
		"a StatefulSet without replicas": {
			target: session.Target{StatefulSet: statefulSet(0, podSpec(), "data")}, reason: v1alpha1.ReasonNoRunningPod,
		},
		"a path of a StatefulSet is looked up on its claim template": {
			target: session.Target{
				StatefulSet: statefulSet(1, mounted, "data"),
				Claims:      []corev1.PersistentVolumeClaim{claim("data-db-0")}, Paths: "/data/base",
			},
			want: []string{"pod-0@: pod-0=data-db-0//base"},
		},

		"a DaemonSet has a host per node with a pod": {
			target: session.Target{
				DaemonSet: daemonSet(host), Privileged: true,
				Pods: []corev1.Pod{
					pod("agent-y", "node-b", host), pod("agent-x", "node-a", host), pod("agent-z", "node-a", host),
				},
			},
			want: []string{"node-a@node-a: node-a=/var/log", "node-b@node-b: node-b=/var/log"},
		},
		"a node whose pod starts or is being deleted is backed up, too": {
			target: session.Target{
				DaemonSet: daemonSet(host), Privileged: true,
				Pods: []corev1.Pod{
					pod("agent-w", "node-a", host), inPhase(pod("agent-x", "node-b", host), corev1.PodPending),
					deleted(pod("agent-y", "node-c", host)), inPhase(pod("agent-z", "node-d", host), corev1.PodFailed),
				},
			},
			want: []string{
				"node-a@node-a: node-a=/var/log", "node-b@node-b: node-b=/var/log", "node-c@node-c: node-c=/var/log",
			},
		},
		"two volumes of a DaemonSet that would be one component": {
			target: session.Target{
				DaemonSet: daemonSet(hostPaths("b-c", "c")), Privileged: true,
				Pods: []corev1.Pod{
					pod("agent-1", "a", hostPaths("b-c", "c")), pod("agent-2", "a-b", hostPaths("b-c", "c")),
				},
			},
			reason: v1alpha1.ReasonInvalidTask,
		},
		"a DaemonSet without pods": {
			target: session.Target{DaemonSet: daemonSet(host), Privileged: true}, reason: v1alpha1.ReasonNoRunningPod,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, err := session.ResolveHosts(tt.target)
			if tt.reason != "" {
				g.Expect(err).NotTo(BeNil())
				g.Expect(err.Reason).To(Equal(tt.reason), err.Message)
				g.Expect(got).To(BeEmpty())
				return
			}
			g.Expect(err).To(BeNil())
			g.Expect(hosts(got)).To(Equal(tt.want))
		})
	}
}

func TestPathsOfAWorkload(t *testing.T) {
	spec := podSpec(claimVolume("data", "web-data"), claimVolume("cache", "web-cache"))
	spec.Volumes = append(spec.Volumes, corev1.Volume{
		Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
	})
	spec.Containers[0].VolumeMounts = []corev1.VolumeMount{
		mount("cache", "/var/www/cache/"), mount("data", "/var/www"), mount("tmp", "/var/www/tmp"),
		{Name: "data", MountPath: "/etc/app", SubPath: "config/app"},
		{Name: "cache", MountPath: "/odd", SubPathExpr: "$(POD)"},
	}
	tests := map[string]struct {
		paths, want, message string
	}{
		"the root of a volume": {paths: "/var/www", want: "target@: data=web-data"},
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
			got, err := session.ResolveHosts(session.Target{
				Deployment: deployment(spec),
				Claims:     []corev1.PersistentVolumeClaim{claim("web-data"), claim("web-cache")}, Paths: tt.paths,
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
		s := podSpec(claimVolume("data", "web-data"))
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
		"root asked for and allowed wins": {pod: new(asPod(new(int64(1000)), nil, nil)),
			job: asJob(new(int64(0)), nil), privileged: true, user: 0, group: 0},
		"root asked for and not allowed": {job: asJob(new(int64(0)), nil), refused: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			target := session.Target{Claim: new(claim("web-data")), Job: tt.job, Privileged: tt.privileged}
			if tt.pod != nil {
				target.Pods = []corev1.Pod{pod("web-0", "node-a", *tt.pod)}
			}
			got, err := session.ResolveHosts(target)
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
	spec := podSpec(claimVolume("data", "web-data"))
	spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: new(int64(1000))}
	mover := pod("a-mover", "node-a", spec)
	mover.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn}
	got, err := session.ResolveHosts(session.Target{Claim: new(claim("web-data")), Pods: []corev1.Pod{mover}})
	g.Expect(err).To(BeNil())
	g.Expect(*got[0].SecurityContext.RunAsUser).To(BeEquivalentTo(65532))
}

func TestRestoreSecurityContext(t *testing.T) {
	g := NewWithT(t)
	got, err := session.RestoreSecurityContext(nil, true)
	g.Expect(err).To(BeNil())
	g.Expect(*got.RunAsUser).To(BeEquivalentTo(65532), "root is never taken unasked")

	root := &v1alpha1.JobPodSpec{SecurityContext: &v1alpha1.MoverSecurityContext{RunAsUser: new(int64(0))}}
	_, err = session.RestoreSecurityContext(root, false)
	g.Expect(err.Reason).To(Equal(v1alpha1.ReasonPrivilegeRequired))
	got, err = session.RestoreSecurityContext(root, true)
	g.Expect(err).To(BeNil())
	g.Expect(*got.RunAsUser).To(BeZero())
}
