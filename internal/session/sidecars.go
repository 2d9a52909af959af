package session

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task"
)

// forSidecars refuses what only Jobs can do.
func forSidecars(t Target, hosts []v1alpha1.ResolvedHost) *v1alpha1.ResolvedError {
	switch {
	case t.Claim != nil:
		return fail(v1alpha1.ReasonSidecarNotPossible, "a PersistentVolumeClaim has no pods that a sidecar could run in: take executor Job")
	case t.Singleton && len(hosts) > 1:
		return fail(v1alpha1.ReasonSidecarNotPossible, "the task is a singleton, but the sidecar of one pod can't reach the volumes of the others: take executor Job")
	}
	for i := range hosts {
		for _, v := range hosts[i].Volumes {
			if !validName(v.Volume) {
				return fail(v1alpha1.ReasonSidecarNotPossible, "component %s has no volume of its pod: take executor Job", v.Component)
			}
		}
	}
	return nil
}

func validName(volume string) bool { return volume != "" && !strings.Contains(volume, "/") }

// IsSidecar says whether sidecars back the target up.
func IsSidecar(t *v1alpha1.ResolvedTarget) bool { return t.Executor == v1alpha1.ExecutorSidecar }

// Crew are the pods of a workload with a sidecar, as they are now.
type Crew struct {
	// App is the workload.
	App v1alpha1.TypedObjectReference
	// ID of the sidecar.
	ID string
	// Pods of the workload.
	Pods []corev1.Pod
	// Credentials are the value that v1alpha1.AnnotationSidecarCredentials must have on what the sidecar has work in. Empty: the
	// sidecar has no token, and can't be given anything.
	Credentials string
	// Trouble says what is wrong with the sidecar. Empty: nothing that is known.
	Trouble string
	// Busy says which objects the sidecars of pods, by their UIDs, work on now.
	Busy map[types.UID][]types.UID
}

// Occupied says whether the pod's sidecar works on something of another object.
func (c *Crew) Occupied(pod, object types.UID) bool {
	return slices.ContainsFunc(c.Busy[pod], func(o types.UID) bool { return o != object })
}

// pod finds a pod by its UID.
func (c *Crew) pod(uid types.UID) *corev1.Pod {
	for i := range c.Pods {
		if c.Pods[i].UID == uid {
			return &c.Pods[i]
		}
	}
	return nil
}

// Choose finds the pod whose sidecar does the work of a host, nil where there is none now: of a StatefulSet the one with the
// host's ordinal, of a DaemonSet the one on its node, of a Deployment one that is ready, and in a rollout one that stays. fits
// leaves pods out. The answer depends on nothing but the pods.
func (c *Crew) Choose(host, node string, volumes []string, fits func(*corev1.Pod) bool) *corev1.Pod {
	var fit []*corev1.Pod
	for i := range c.Pods {
		p := &c.Pods[i]
		if belongs(p, c.App, host, node) && c.able(p, volumes) && fits(p) {
			fit = append(fit, p)
		}
	}
	if c.Credentials == "" || len(fit) == 0 {
		return nil
	}
	older := func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	}
	revision := slices.MaxFunc(fit, older).Labels[appsv1.DefaultDeploymentUniqueLabelKey]
	rank := func(p *corev1.Pod) (n int) {
		if !isReady(p) {
			n += 2
		}
		if p.Labels[appsv1.DefaultDeploymentUniqueLabelKey] != revision {
			n++
		}
		return n
	}
	return slices.MinFunc(fit, func(a, b *corev1.Pod) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), older(a, b)) })
}

func belongs(p *corev1.Pod, app v1alpha1.TypedObjectReference, host, node string) bool {
	switch app.Kind {
	case v1alpha1.KindStatefulSet:
		ordinal, ok := strings.CutPrefix(host, "pod-")
		return ok && p.Name == app.Name+"-"+ordinal
	case v1alpha1.KindDaemonSet:
		return p.Spec.NodeName == node
	default:
		return true
	}
}

// able says whether the pod's sidecar runs and has the volumes. One that was made before they were asked for has not.
func (c *Crew) able(p *corev1.Pod, volumes []string) bool {
	status := task.ContainerStatus(p, sidecar.Container)
	if p.DeletionTimestamp != nil || p.Status.Phase != corev1.PodRunning || status == nil || status.State.Running == nil || isLost(p) {
		return false
	}
	i := slices.IndexFunc(p.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == sidecar.Container })
	if i < 0 || !slices.Contains(p.Spec.InitContainers[i].Args, c.ID) {
		return false
	}
	for _, v := range volumes {
		at := path.Join(sidecar.VolumesDir, v)
		if !slices.ContainsFunc(p.Spec.InitContainers[i].VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == at && m.Name == v }) {
			return false
		}
	}
	return true
}

func isReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// isLost says whether the pod's node is not heard of.
func isLost(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionUnknown
	})
}

// Observe tells how an assignment of an object is, as if it were a Job. begun says whether a component of it was begun, or is done.
func (c *Crew) Observe(object types.UID, a *sidecar.Assignment, begun bool, now time.Time) Job {
	if a.PodUID == "" {
		return Job{Sidecar: true, Created: a.Since.Time, Observation: task.NoSidecar(a.Since.Time,
			c.nobody(a.Host), now)}
	}
	work := task.SidecarAtWork{Container: sidecar.Container, Since: a.Since.Time, Begun: begun || c.Occupied(a.PodUID, object), Restarts: a.Restarts}
	if a.Given != nil {
		work.Since = a.Given.Time
	}
	if a.Idle != nil && a.Idle.After(work.Since) {
		work.Since = a.Idle.Time
	}
	pod := c.pod(a.PodUID)
	o := task.ObserveSidecar(pod, work, now)
	// What its pod took along another pod's sidecar may do, or find that it was done.
	return Job{Sidecar: true, Observation: o, Created: a.Since.Time, Finished: o.State == task.StateFailed && o.Reason != v1alpha1.ReasonSidecarNotReady}
}

// nobody says why there is no pod that could do the work of a host.
func (c *Crew) nobody(host string) string {
	ordinal, _ := strings.CutPrefix(host, "pod-")
	name := c.App.Name + "-" + ordinal
	switch {
	case c.Trouble != "":
		return c.Trouble
	case len(c.Pods) == 0:
		return fmt.Sprintf("%s has no pods: scale it up, or take executor Job", c.App)
	case c.App.Kind == v1alpha1.KindStatefulSet && !slices.ContainsFunc(c.Pods, func(p corev1.Pod) bool { return p.Name == name }):
		return fmt.Sprintf("%s has no pod %s: scale it up, or take executor Job", c.App, name)
	case c.App.Kind == v1alpha1.KindStatefulSet:
		return fmt.Sprintf("the sidecar of pod %s does not run, or has not the volumes that the workload has now: was the pod made before it was changed?", name)
	case c.App.Kind == v1alpha1.KindDaemonSet:
		return fmt.Sprintf("%s has no pod on node %s whose sidecar runs and has the volumes that the workload has now", c.App, host)
	default:
		return fmt.Sprintf("%s has no pod whose sidecar runs and has the volumes that the workload has now", c.App)
	}
}

// MountsAs says whether a pod has the claim as the volume of this name.
func MountsAs(p *corev1.Pod, volume, claim string) bool {
	return slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == volume && claimOf(v, p.Name) == claim })
}

// Mounted says whether a pod has all volumes of a host as they were resolved. One that was made before the workload was given
// other claims has others under the same names: they would be backed up in their place.
func Mounted(p *corev1.Pod, h *v1alpha1.ResolvedHost) bool {
	return len(h.Volumes) > 0 && !slices.ContainsFunc(h.Volumes, func(v v1alpha1.ResolvedVolume) bool {
		return !slices.ContainsFunc(p.Spec.Volumes, func(has corev1.Volume) bool {
			return has.Name == v.Volume && claimOf(has, p.Name) == v.ClaimName && hostPathOf(has) == v.HostPath
		})
	})
}

func hostPathOf(v corev1.Volume) string {
	if v.HostPath == nil {
		return ""
	}
	return v.HostPath.Path
}

// RestoredBySidecars says whether sidecars do a frozen restore.
func RestoredBySidecars(s *v1alpha1.RestoreSession) bool {
	return s.Status.Resolved != nil && s.Status.Resolved.Executor == v1alpha1.ExecutorSidecar
}
