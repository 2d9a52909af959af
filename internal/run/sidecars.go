package run

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
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// SidecarPods is the present state of the pods of a workload with a sidecar.
type SidecarPods struct {
	// App is the workload.
	App v1alpha1.TypedObjectReference
	// ID is the ID of the sidecar.
	ID string
	// Pods are the pods of the workload.
	Pods []corev1.Pod
	// Credentials is the value that v1alpha1.AnnotationSidecarCredentials must have on objects with work for the
	// sidecar. If it is empty, the sidecar has no token and can't be given work.
	Credentials string
	// Trouble explains what is wrong with the sidecar. It is empty if nothing is known to be wrong.
	Trouble string
	// Busy holds the objects that the sidecars of pods work on now, by the UID of the pod.
	Busy map[types.UID][]types.UID
}

// Occupied reports whether the pod's sidecar works on another object.
func (c *SidecarPods) Occupied(pod, object types.UID) bool {
	return slices.ContainsFunc(c.Busy[pod], func(o types.UID) bool { return o != object })
}

// pod finds a pod by its UID.
func (c *SidecarPods) pod(uid types.UID) *corev1.Pod {
	for i := range c.Pods {
		if c.Pods[i].UID == uid {
			return &c.Pods[i]
		}
	}
	return nil
}

// Choose returns the pod whose sidecar does the work of a host, or nil if there is none now. For a StatefulSet that is
// the pod with the host's ordinal, for a DaemonSet the pod on the node, and for a Deployment a ready pod, during a
// rollout one of the newest revision. fits excludes pods. The answer depends only on the pods.
func (c *SidecarPods) Choose(host, node string, volumes []string, fits func(*corev1.Pod) bool) *corev1.Pod {
	var fit []*corev1.Pod
	for i := range c.Pods {
		p := &c.Pods[i]
		if isPodOfHost(p, c.App, host, node) && c.able(p, volumes) && fits(p) {
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
		if !observe.PodReady(p) {
			n += 2
		}
		if p.Labels[appsv1.DefaultDeploymentUniqueLabelKey] != revision {
			n++
		}
		return n
	}
	return slices.MinFunc(fit, func(a, b *corev1.Pod) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), older(a, b)) })
}

func isPodOfHost(p *corev1.Pod, app v1alpha1.TypedObjectReference, host, node string) bool {
	switch app.Kind {
	case v1alpha1.KindStatefulSet:
		ordinal, ok := strings.CutPrefix(host, "pod-")
		return ok && p.Name == app.Name+"-"+ordinal
	case v1alpha1.KindDaemonSet:
		return p.Spec.NodeName == node
	default:
		return node == "" || p.Spec.NodeName == node // only there are the host paths that the run has resolved
	}
}

// able reports whether the pod's sidecar runs and mounts the volumes. A pod from before the volumes were configured
// does not mount them.
func (c *SidecarPods) able(p *corev1.Pod, volumes []string) bool {
	status := observe.ContainerStatus(p, sidecar.Container)
	if p.DeletionTimestamp != nil || p.Status.Phase != corev1.PodRunning || status == nil ||
		status.State.Running == nil || isLost(p) {
		return false
	}
	i := slices.IndexFunc(p.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == sidecar.Container })
	if i < 0 || !slices.Contains(p.Spec.InitContainers[i].Args, c.ID) {
		return false
	}
	for _, v := range volumes {
		at := path.Join(sidecar.VolumesDir, v)
		if !slices.ContainsFunc(p.Spec.InitContainers[i].VolumeMounts,
			func(m corev1.VolumeMount) bool { return m.MountPath == at && m.Name == v }) {
			return false
		}
	}
	return true
}

// isLost reports whether the pod's node has stopped reporting.
func isLost(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionUnknown
	})
}

// Observe returns the state of an assignment of an object as if it were a Job. begun reports whether a component of the
// assignment has begun or is done.
func (c *SidecarPods) Observe(object types.UID, a *sidecar.Assignment, begun bool, now time.Time) Job {
	if a.PodUID == "" {
		return Job{Sidecar: true, Created: a.Since.Time, Deleted: a.Stopped, Observation: observe.NoSidecar(
			a.Since.Time, c.nobody(a.Host), now)}
	}
	work := observe.SidecarAtWork{
		Container: sidecar.Container, Since: a.Since.Time, Begun: begun || c.Occupied(a.PodUID, object),
		Restarts: a.Restarts,
	}
	if a.Given != nil {
		work.Since = a.Given.Time
	}
	if a.Idle != nil && a.Idle.After(work.Since) {
		work.Since = a.Idle.Time
	}
	pod := c.pod(a.PodUID)
	o := observe.ObserveSidecar(pod, work, now)
	// If the sidecar's pod disappeared, the sidecar of another pod can do the work, or find that it was done.
	return Job{
		Sidecar: true, Observation: o, Created: a.Since.Time, Deleted: a.Stopped,
		Finished: o.State == observe.StateFailed && o.Reason != v1alpha1.ReasonSidecarNotReady,
	}
}

// nobody explains why no pod can do the work of a host.
func (c *SidecarPods) nobody(host string) string {
	ordinal, _ := strings.CutPrefix(host, "pod-")
	name := c.App.Name + "-" + ordinal
	switch {
	case c.Trouble != "":
		return c.Trouble
	case len(c.Pods) == 0:
		return fmt.Sprintf("%s has no pods: scale it up, or use executor Job", c.App)
	case c.App.Kind == v1alpha1.KindStatefulSet &&
		!slices.ContainsFunc(c.Pods, func(p corev1.Pod) bool { return p.Name == name }):
		return fmt.Sprintf("%s has no pod %s: scale it up, or use executor Job", c.App, name)
	case c.App.Kind == v1alpha1.KindStatefulSet:
		return fmt.Sprintf(
			"the sidecar of pod %s does not run, or lacks volumes that the workload has now: restart the pod if it "+
				"is older than the last change", name)
	case c.App.Kind == v1alpha1.KindDaemonSet:
		return fmt.Sprintf("%s has no pod on node %s with a running sidecar that has all volumes of the workload",
			c.App, host)
	default:
		return fmt.Sprintf("%s has no pod with a running sidecar that has all volumes of the workload", c.App)
	}
}

// RestoredBySidecars reports whether sidecars carry out a frozen restore.
func RestoredBySidecars(s *v1alpha1.RestoreSession) bool {
	return s.Status.Resolved != nil && s.Status.Resolved.Executor == v1alpha1.ExecutorSidecar
}
