package run_test

import (
	"path"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task/observe"
	"github.com/cairn-backup/cairn/internal/workload"
	"github.com/cairn-backup/cairn/internal/workload/workloadtest"
)

// crewed returns a pod with a running sidecar that has the volume data.
func crewed(name, node string, age time.Duration, edit ...func(*corev1.Pod)) corev1.Pod {
	p := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID("uid-" + name),
			CreationTimestamp: metav1.NewTime(time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC).Add(-age)),
		},
		Spec: corev1.PodSpec{NodeName: node, InitContainers: []corev1.Container{{
			Name: sidecar.Container, Args: []string{sidecar.Subcommand, "--id", "id"},
			VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: path.Join(sidecar.VolumesDir, "data")}},
		}}},
		Status: corev1.PodStatus{
			Phase:      corev1.PodRunning,
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
			InitContainerStatuses: []corev1.ContainerStatus{
				{Name: sidecar.Container, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
			},
		},
	}
	for _, e := range edit {
		e(&p)
	}
	return p
}

func notReady(p *corev1.Pod)  { p.Status.Conditions[0].Status = corev1.ConditionFalse }
func unheardOf(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionUnknown }
func going(p *corev1.Pod)     { p.DeletionTimestamp = &metav1.Time{} }
func crashing(p *corev1.Pod)  { p.Status.InitContainerStatuses[0].State = corev1.ContainerState{} }
func revision(hash string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Labels = map[string]string{appsv1.DefaultDeploymentUniqueLabelKey: hash} }
}
func bare(p *corev1.Pod)    { p.Spec.InitContainers[0].VolumeMounts = nil }
func foreign(p *corev1.Pod) { p.Spec.InitContainers[0].Args = []string{"sidecar", "--id", "another"} }

func TestAPodIsChosen(t *testing.T) {
	deployment := v1alpha1.TypedObjectReference{Kind: v1alpha1.KindDeployment, Name: "web"}
	set := v1alpha1.TypedObjectReference{Kind: v1alpha1.KindStatefulSet, Name: "db"}
	daemons := v1alpha1.TypedObjectReference{Kind: v1alpha1.KindDaemonSet, Name: "log"}
	for name, tt := range map[string]struct {
		app        v1alpha1.TypedObjectReference
		host, node string
		pods       []corev1.Pod
		tokenless  bool
		want       string
	}{
		"of a Deployment the oldest that is ready": {
			app: deployment, host: "target", want: "web-b",
			pods: []corev1.Pod{
				crewed("web-a", "n", time.Hour), crewed("web-b", "n", 2*time.Hour),
				crewed("web-c", "n", 3*time.Hour, notReady),
			},
		},
		"in a rollout the oldest of the new ones that are ready": {
			app: deployment, host: "target", want: "web-d",
			pods: []corev1.Pod{
				crewed("web-a", "n", 5*time.Hour, revision("1")), crewed("web-b", "n", time.Minute, revision("2")),
				crewed("web-c", "n", time.Hour, revision("2"), notReady),
				crewed("web-d", "n", 2*time.Minute, revision("2")),
			},
		},
		"in a rollout an old one until a new one is ready": {
			app: deployment, host: "target", want: "web-a",
			pods: []corev1.Pod{
				crewed("web-a", "n", 5*time.Hour, revision("1")),
				crewed("web-b", "n", time.Minute, revision("2"), notReady),
			},
		},
		"of two of the same age the first by name": {
			app: deployment, host: "target", want: "web-a",
			pods: []corev1.Pod{crewed("web-b", "n", 0), crewed("web-a", "n", 0)},
		},
		"an unready pod if none is ready": {
			app: deployment, host: "target", want: "web-a",
			pods: []corev1.Pod{crewed("web-a", "n", 0, notReady)},
		},
		"no pod that is being deleted": {
			app: deployment, host: "target", pods: []corev1.Pod{crewed("web-a", "n", 0, going)},
		},
		"no pod on a lost node": {
			app: deployment, host: "target", pods: []corev1.Pod{crewed("web-a", "n", 0, unheardOf)},
		},
		"no pod whose sidecar does not run": {
			app: deployment, host: "target", pods: []corev1.Pod{crewed("web-a", "n", 0, crashing)},
		},
		"no pod whose sidecar lacks the volume": {
			app: deployment, host: "target", pods: []corev1.Pod{crewed("web-a", "n", 0, bare)},
		},
		"no pod with another sidecar": {
			app: deployment, host: "target", pods: []corev1.Pod{crewed("web-a", "n", 0, foreign)},
		},
		"no pod without a sidecar": {
			app: deployment, host: "target", pods: []corev1.Pod{{Status: corev1.PodStatus{Phase: corev1.PodRunning}}},
		},
		"no pod while the sidecar has no token": {
			app: deployment, host: "target", tokenless: true, pods: []corev1.Pod{crewed("web-a", "n", 0)},
		},
		"of a Deployment with host paths a pod on their node": {
			app: deployment, host: "target", node: "node-b", want: "web-b",
			pods: []corev1.Pod{crewed("web-a", "node-a", time.Hour), crewed("web-b", "node-b", 0)},
		},
		"of a StatefulSet the pod with the ordinal": {
			app: set, host: "pod-1", want: "db-1",
			pods: []corev1.Pod{crewed("db-0", "n", 0), crewed("db-1", "n", 0), crewed("db-11", "n", 0)},
		},
		"of a StatefulSet no other pod": {app: set, host: "pod-2", pods: []corev1.Pod{crewed("db-0", "n", 0)}},
		"of a DaemonSet the pod on the node": {
			app: daemons, host: "node-b", node: "node-b", want: "log-y",
			pods: []corev1.Pod{crewed("log-x", "node-a", 0), crewed("log-y", "node-b", 0)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			crew := run.SidecarPods{App: tt.app, ID: "id", Pods: tt.pods, Credentials: "JTI=1"}
			if tt.tokenless {
				crew.Credentials = ""
			}
			got := crew.Choose(tt.host, tt.node, []string{"data"}, func(*corev1.Pod) bool { return true })
			if tt.want == "" {
				g.Expect(got).To(BeNil())
				return
			}
			g.Expect(got).NotTo(BeNil())
			g.Expect(got.Name).To(Equal(tt.want))
		})
	}
}

func TestAnAssignmentIsObservedLikeAJob(t *testing.T) {
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	at := func(ago time.Duration) *metav1.Time { return new(metav1.NewTime(now.Add(-ago))) }
	crew := run.SidecarPods{
		ID: "id", Pods: []corev1.Pod{crewed("web-a", "n", 0)}, Trouble: "it has no token",
		Busy: map[types.UID][]types.UID{"uid-web-a": {"other"}},
	}
	idle := crew
	idle.Busy = map[types.UID][]types.UID{"uid-web-a": {"mine"}}
	given := sidecar.Assignment{Since: *at(time.Hour), Given: at(10 * time.Minute), PodUID: "uid-web-a"}
	after := given
	after.Idle = at(time.Minute)
	for name, tt := range map[string]struct {
		crew   run.SidecarPods
		a      sidecar.Assignment
		begun  bool
		state  observe.State
		reason string
		done   bool
	}{
		"no pod was found yet": {
			crew: idle, a: sidecar.Assignment{Since: *at(time.Minute)}, state: observe.StateWaiting,
			reason: v1alpha1.ReasonSidecarNotReady,
		},
		"no pod is found in time": {
			crew: idle, a: sidecar.Assignment{Since: *at(time.Hour)}, state: observe.StateFailed,
			reason: v1alpha1.ReasonSidecarNotReady,
		},
		"it has begun": {
			crew: idle, a: given, begun: true, state: observe.StateRunning, reason: v1alpha1.ReasonRunning,
		},
		"it does not begin": {
			crew: idle, a: given, state: observe.StateFailed, reason: v1alpha1.ReasonSidecarNotReady,
		},
		"it has other work first": {crew: crew, a: given, state: observe.StateRunning, reason: v1alpha1.ReasonRunning},
		"it had other work first until now": {
			crew: idle, a: after, state: observe.StateWaiting, reason: v1alpha1.ReasonSidecarNotReady,
		},
		"its pod is gone, another can repeat it": {
			crew: idle, a: sidecar.Assignment{PodUID: "gone"}, state: observe.StateFailed,
			reason: v1alpha1.ReasonPodDeleted, done: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			tt.a.AskToStop(now.Add(-time.Second))
			tt.a.AskToStop(now)
			got := tt.crew.Observe("mine", &tt.a, tt.begun, now)
			g.Expect(got.Sidecar).To(BeTrue())
			g.Expect(got.Deleted).To(Equal(at(time.Second)), "when it was asked first")
			g.Expect(got.State).To(Equal(tt.state))
			g.Expect(got.Reason).To(Equal(tt.reason))
			g.Expect(got.Finished).To(Equal(tt.done))
		})
	}
	NewWithT(t).Expect(crew.Observe("mine", &sidecar.Assignment{Since: *at(0)}, false, now).Message).To(
		Equal("it has no token"))
}

func TestWhyNobodyDoesIt(t *testing.T) {
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	app := func(kind, name string) v1alpha1.TypedObjectReference {
		return v1alpha1.TypedObjectReference{Kind: kind, Name: name}
	}
	for name, tt := range map[string]struct {
		crew run.SidecarPods
		host string
		want string
	}{
		"scaled to 0": {
			run.SidecarPods{App: app("Deployment", "web")}, "target", "Deployment/web has no pods: scale it up",
		},
		"an ordinal that does not exist": {
			run.SidecarPods{App: app("StatefulSet", "db"), Pods: []corev1.Pod{crewed("db-0", "n", 0)}},
			"pod-1",
			"StatefulSet/db has no pod db-1: scale it up",
		},
		"an ordinal that crashes": {
			run.SidecarPods{App: app("StatefulSet", "db"), Pods: []corev1.Pod{crewed("db-1", "n", 0, crashing)}},
			"pod-1",
			"the sidecar of pod db-1 does not run",
		},
		"a node that was removed": {
			run.SidecarPods{App: app("DaemonSet", "log"), Pods: []corev1.Pod{crewed("log-x", "n", 0)}},
			"node-b",
			"DaemonSet/log has no pod on node node-b",
		},
		"pods without the volume": {
			run.SidecarPods{App: app("Deployment", "web"), Pods: []corev1.Pod{crewed("web-a", "n", 0, bare)}},
			"target",
			"no pod with a running sidecar that has all volumes",
		},
		"known trouble comes first": {
			run.SidecarPods{App: app("Deployment", "web"), Trouble: "it has no token"}, "target", "it has no token",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got := tt.crew.Observe("mine", &sidecar.Assignment{Host: tt.host, Since: metav1.NewTime(now)}, false, now)
			g.Expect(got.Message).To(ContainSubstring(tt.want))
		})
	}
}

// A pod from before its workload was changed can have another claim under the same name. It must not be backed up
// instead.
func TestAPodHasWhatWasResolved(t *testing.T) {
	g := NewWithT(t)
	p := workloadtest.Pod("web-a", "n", workloadtest.PodSpec(workloadtest.ClaimVolume("data", "old"), corev1.Volume{
		Name: "logs", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/var/log"}},
	},
		corev1.Volume{Name: "tmp", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}}))
	mounted := func(volumes ...v1alpha1.ResolvedVolume) bool {
		return workload.Mounted(&p, &v1alpha1.ResolvedHost{Volumes: volumes})
	}
	old := v1alpha1.ResolvedVolume{Volume: "data", ClaimName: "old"}
	g.Expect(mounted(old, v1alpha1.ResolvedVolume{Volume: "logs", HostPath: "/var/log"},
		v1alpha1.ResolvedVolume{Volume: "tmp", ClaimName: "web-a-tmp"})).To(BeTrue())
	g.Expect(mounted(old, v1alpha1.ResolvedVolume{Volume: "data", ClaimName: "new"})).To(BeFalse())
	g.Expect(mounted(v1alpha1.ResolvedVolume{Volume: "logs", HostPath: "/var"})).To(BeFalse())
	g.Expect(mounted(v1alpha1.ResolvedVolume{Volume: "data"})).To(BeFalse())
	g.Expect(mounted()).To(BeFalse())
}

func TestHostsOfSidecars(t *testing.T) {
	g := NewWithT(t)
	set := workloadtest.StatefulSet(2, workloadtest.PodSpec(workloadtest.ClaimVolume("logs", "shared")), "data")
	held := workloadtest.Pod("other", "node-z", workloadtest.PodSpec(workloadtest.ClaimVolume("x", "shared")))
	held.Labels = nil
	target := workload.Target{
		StatefulSet: set, Sidecar: true,
		Claims: []corev1.PersistentVolumeClaim{workloadtest.Claim("shared", corev1.ReadWriteOncePod)},
		Pods:   []corev1.Pod{held},
	}
	got, err := workload.ResolveHosts(target)
	g.Expect(err).To(BeNil())
	g.Expect(got).To(HaveLen(2))
	g.Expect(got[1].Node).To(BeEmpty(), "sidecars run where their pods are")
	g.Expect(got[1].Volumes).To(Equal([]v1alpha1.ResolvedVolume{
		{Component: "pod-1-data", ClaimName: "data-db-1", Volume: "data"}, {
			Component: "pod-1-logs", ClaimName: "shared", Volume: "logs",
			Mounts: []v1alpha1.ResolvedMount{{Path: "/logs"}},
		},
	}))
	target.Paths = "/logs/today"
	got, err = workload.ResolveHosts(target)
	g.Expect(err).To(BeNil())
	g.Expect(got[0].Volumes).To(Equal([]v1alpha1.ResolvedVolume{
		{
			Component: "pod-0", ClaimName: "shared", Path: "today", Volume: "logs",
			Mounts: []v1alpha1.ResolvedMount{{Path: "/logs"}},
		},
	}))

	target.Singleton = true
	_, err = workload.ResolveHosts(target)
	g.Expect(err.Reason).To(Equal(v1alpha1.ReasonSidecarNotPossible))
	_, err = workload.ResolveHosts(workload.Target{Claim: new(workloadtest.Claim("web-data")), Sidecar: true})
	g.Expect(err.Reason).To(Equal(v1alpha1.ReasonSidecarNotPossible))
}
