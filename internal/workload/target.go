// Package workload resolves the target of a backup into hosts, volumes, pods and a security context. It is pure: it
// works on objects that its caller has read.
package workload

import (
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
)

// ParamPaths is the parameter of a task that limits what is backed up. For a workload it holds container paths
// separated by commas, for a PersistentVolumeClaim one directory inside the volume.
const ParamPaths = "paths"

// HostTarget is the name of the only host of a PersistentVolumeClaim, Deployment or database.
const HostTarget = "target"

// The limits of ResolvedTarget.hosts and ResolvedHost.volumes in the API.
const (
	MaxHosts   = 1000
	MaxVolumes = 32
	// MaxSnapshots is how many VolumeSnapshots one Job makes at most. Its task must fit into an annotation.
	MaxSnapshots = 250
)

// Target is what a run knows about its target when it is resolved. Exactly one of Claim, Deployment, StatefulSet,
// DaemonSet and Streams is set.
type Target struct {
	Claim       *corev1.PersistentVolumeClaim
	Deployment  *appsv1.Deployment
	StatefulSet *appsv1.StatefulSet
	DaemonSet   *appsv1.DaemonSet
	// Streams are the components of a database.
	Streams []catalog.ComponentStream
	// Server is the pod of a database, and ServerContainer its container that answers. They are nil if that is unknown
	// or another pod can answer.
	Server          *corev1.Pod
	ServerContainer *corev1.Container

	// Pods are all pods of the namespace. Those of other workloads count, too, because they can use a volume of the
	// target.
	Pods []corev1.Pod
	// Claims are the PersistentVolumeClaims of the namespace.
	Claims []corev1.PersistentVolumeClaim
	// Paths is the value of ParamPaths. Empty means everything.
	Paths string
	// Job is the session's jobTemplate.
	Job *v1alpha1.JobPodSpec
	// Privileged reports whether the namespace allows movers that run as root or mount host paths.
	Privileged bool
	// Singleton asks for one Job for the whole target.
	Singleton bool
	// Copied means that Jobs read copies of the volumes.
	Copied bool
	// Sidecar means that the sidecar in the target's pods makes the backup, not Jobs.
	Sidecar bool
	// AwaitNodes means that a volume whose pod has no node yet, or leaves it, is refused with ReasonVolumeMoving.
	AwaitNodes bool
	// VolumeSnapshots means that the storage system makes the backup, so the volumes are not mounted.
	VolumeSnapshots bool
}

// ResolveHosts returns the hosts of a target: which Jobs back it up, on which nodes, with which security context, and
// which volumes each of them reads. The result depends only on t, and its order only on names and ordinals. If it
// returns an error, no Job is made for the target.
func ResolveHosts(t Target) ([]v1alpha1.ResolvedHost, *v1alpha1.ResolvedError) {
	if !t.Privileged && wantsRoot(t.Job) {
		return nil, Fail(v1alpha1.ReasonPrivilegeRequired,
			"jobTemplate asks for runAsUser 0: set the annotation %s: \"true\" on the Namespace, or another user",
			v1alpha1.AnnotationPrivilegedMovers)
	}
	r := Resolver{Target: t, Claims: map[string]*corev1.PersistentVolumeClaim{}, whole: true}
	for i := range t.Claims {
		r.Claims[t.Claims[i].Name] = &t.Claims[i]
	}
	r.Pods = slices.SortedFunc(slices.Values(t.Pods), comparePods)
	hosts, err := r.resolve()
	switch {
	case err != nil:
	case t.Sidecar:
		err = checkForSidecars(t, hosts)
	case t.Copied:
		err = checkForCopies(hosts)
	}
	if err == nil && t.Singleton && !t.Sidecar {
		hosts, err = singleton(hosts)
	}
	if err != nil {
		return nil, err
	}
	if len(hosts) > MaxHosts {
		return nil, Fail(v1alpha1.ReasonInvalidTask, "the target has %d pods; at most %d can be backed up by one run",
			len(hosts), MaxHosts)
	}
	components := map[string]bool{}
	for _, h := range hosts {
		for _, v := range h.Volumes {
			if components[v.Component] {
				return nil, Fail(v1alpha1.ReasonInvalidTask,
					"two volumes of the target would both be component %s: choose one with the parameter paths",
					v.Component)
			}
			components[v.Component] = true
			if err := r.deviceClaim(v); err != nil {
				return nil, err
			}
		}
		if len(h.Volumes) > MaxVolumes && !t.VolumeSnapshots {
			return nil, Fail(v1alpha1.ReasonInvalidTask,
				"%s has %d volumes; at most %d can be backed up: choose some with the parameter paths", h.Name,
				len(h.Volumes), MaxVolumes)
		}
		if len(h.Volumes) > MaxSnapshots {
			return nil, Fail(v1alpha1.ReasonInvalidTask,
				"%s has %d volumes; at most %d VolumeSnapshots can be made by one Job: use a task that is not a "+
					"singleton", h.Name, len(h.Volumes), MaxSnapshots)
		}
	}
	return hosts, nil
}

// Resolver resolves one target. Claims are the claims of the target's namespace by name.
type Resolver struct {
	Target
	Claims map[string]*corev1.PersistentVolumeClaim
	// whole means that a volume must not be left out unasked: the result would look like a complete backup.
	whole bool
}

func (r *Resolver) resolve() ([]v1alpha1.ResolvedHost, *v1alpha1.ResolvedError) {
	switch {
	case r.Claim != nil:
		return r.ofClaim()
	case r.Deployment != nil:
		return r.ofDeployment()
	case r.StatefulSet != nil:
		return r.ofStatefulSet()
	case r.DaemonSet != nil:
		return r.ofDaemonSet()
	case len(r.Streams) > 0:
		return r.ofDatabase()
	default:
		return nil, Fail(v1alpha1.ReasonTargetNotFound, "the target does not exist")
	}
}

func (r *Resolver) ofClaim() ([]v1alpha1.ResolvedHost, *v1alpha1.ResolvedError) {
	dir, err := claimPath(r.Paths)
	if err != nil {
		return nil, err
	}
	r.Claims[r.Claim.Name] = r.Claim
	host := v1alpha1.ResolvedHost{
		Name:    HostTarget,
		Volumes: []v1alpha1.ResolvedVolume{{Component: "pvc", ClaimName: r.Claim.Name, Path: dir}},
	}
	if host.Node, err = r.node(host.Volumes, "", ""); err != nil {
		return nil, err
	}
	pod := r.mounter(r.Claim.Name)
	if pod == nil {
		host.SecurityContext = r.SecurityContext(nil, "")
	} else {
		host.SecurityContext = r.SecurityContext(&pod.Spec, volumeOf(&pod.Spec, r.Claim.Name))
	}
	return []v1alpha1.ResolvedHost{host}, nil
}

func (r *Resolver) ofDeployment() ([]v1alpha1.ResolvedHost, *v1alpha1.ResolvedError) {
	d := r.Deployment
	all := r.podsOf(d)
	pods := slices.DeleteFunc(slices.Clone(all), func(p *corev1.Pod) bool { return !keepsMounted(p) })
	volumes, err := r.Volumes("Deployment/"+d.Name, &d.Spec.Template.Spec)
	if err != nil {
		return nil, err
	}
	spec, podName := &d.Spec.Template.Spec, ""
	if len(pods) > 0 {
		spec, podName = &pods[0].Spec, pods[0].Name
	}
	host := v1alpha1.ResolvedHost{Name: HostTarget}
	for _, v := range volumes {
		if v.PerPod && len(pods) != 1 {
			return nil, Fail(v1alpha1.ReasonNoVolumes,
				"volume %s of Deployment/%s is ephemeral, and the number of its pods is %d, not one: leave the "+
					"volume out with the parameter paths, or use a StatefulSet",
				v.Name, d.Name, len(pods))
		}
		host.Volumes = append(host.Volumes, r.Resolved(v, v.Name, podName))
	}
	at, wish, err := r.nodeOfHostPaths("Deployment/"+d.Name, &d.Spec.Template.Spec, host.Volumes, all)
	if err != nil {
		return nil, err
	}
	if host.Node, err = r.node(host.Volumes, at, wish); err != nil {
		return nil, err
	}
	host.SecurityContext = r.SecurityContext(spec, volumes[0].Name)
	return []v1alpha1.ResolvedHost{host}, nil
}

func (r *Resolver) ofStatefulSet() ([]v1alpha1.ResolvedHost, *v1alpha1.ResolvedError) {
	s := r.StatefulSet
	replicas, first := int32(1), int32(0)
	if s.Spec.Replicas != nil {
		replicas = *s.Spec.Replicas
	}
	if s.Spec.Ordinals != nil {
		first = s.Spec.Ordinals.Start
	}
	if replicas == 0 {
		return nil, Fail(v1alpha1.ReasonNoRunningPod,
			"StatefulSet/%s has no replicas: scale it up, or back up its PersistentVolumeClaims", s.Name)
	}
	volumes, err := r.Volumes("StatefulSet/"+s.Name, &s.Spec.Template.Spec, s.Spec.VolumeClaimTemplates...)
	if err != nil {
		return nil, err
	}
	hosts := make([]v1alpha1.ResolvedHost, 0, replicas)
	for n := first; n < first+replicas; n++ {
		ordinal := strconv.Itoa(int(n))
		host, err := r.hostOfPod("pod-"+ordinal, s.Name+"-"+ordinal, &s.Spec.Template.Spec, volumes)
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, host)
	}
	return hosts, nil
}

func (r *Resolver) ofDaemonSet() ([]v1alpha1.ResolvedHost, *v1alpha1.ResolvedError) {
	d := r.DaemonSet
	volumes, err := r.Volumes("DaemonSet/"+d.Name, &d.Spec.Template.Spec)
	if err != nil {
		return nil, err
	}
	var hosts []v1alpha1.ResolvedHost
	seen := map[string]bool{}
	for _, p := range r.podsOf(d) {
		// A pod in any phase counts: one that starts, is being replaced, was evicted, or waits for room on its node.
		// Its node has data, and a run without it would not mention the gap.
		node := nodeOfDaemonPod(p)
		if node == "" || seen[node] {
			continue
		}
		seen[node] = true
		host, err := r.hostOfPod(node, p.Name, &d.Spec.Template.Spec, volumes)
		if err != nil {
			return nil, err
		}
		host.Node = node
		hosts = append(hosts, host)
	}
	if len(hosts) == 0 {
		return nil, Fail(v1alpha1.ReasonNoRunningPod, "no node has a pod of DaemonSet/%s", d.Name)
	}
	if int(d.Status.DesiredNumberScheduled) > len(hosts) {
		return nil, Fail(v1alpha1.ReasonTargetNotReady, "DaemonSet/%s has no pod on some of its nodes, so their data "+
			"can't be found: see why its pods are not made (kubectl describe daemonset %s)", d.Name, d.Name)
	}
	slices.SortFunc(hosts, func(a, b v1alpha1.ResolvedHost) int { return strings.Compare(a.Name, b.Name) })
	return hosts, nil
}

// ofDatabase returns the one host of a database. Its mover runs on any node with the user that the policy names,
// because the database asks for a password and not for a system user. A mover that reads the server's files runs where
// they are, with the user that wrote them.
func (r *Resolver) ofDatabase() ([]v1alpha1.ResolvedHost, *v1alpha1.ResolvedError) {
	host := v1alpha1.ResolvedHost{Name: HostTarget, SecurityContext: r.SecurityContext(nil, "")}
	for _, s := range r.Streams {
		v := v1alpha1.ResolvedVolume{Component: s.Component, Stream: s.Stream}
		if s.Stream.DataDirectory != "" {
			mount, err := r.filesOfServer(s.Stream.DataDirectory, &v)
			if err != nil {
				return nil, err
			}
			host.SecurityContext = r.SecurityContext(&r.Server.Spec, mount)
		}
		host.Volumes = append(host.Volumes, v)
	}
	var err *v1alpha1.ResolvedError
	host.Node, err = r.node(host.Volumes, "", "")
	return []v1alpha1.ResolvedHost{host}, err
}

// hostOfPod returns the host of one pod of a StatefulSet or DaemonSet. The pod need not exist: then template provides
// the security context.
func (r *Resolver) hostOfPod(
	name, podName string, template *corev1.PodSpec, volumes []Volume,
) (v1alpha1.ResolvedHost, *v1alpha1.ResolvedError) {
	host := v1alpha1.ResolvedHost{Name: name}
	for _, v := range volumes {
		component := name
		if len(volumes) > 1 {
			component += "-" + v.Name
		}
		host.Volumes = append(host.Volumes, r.Resolved(v, component, podName))
	}
	at, wish, err := r.nodeOfPod(podName, host.Volumes)
	if err != nil {
		return host, err
	}
	if host.Node, err = r.node(host.Volumes, at, wish); err != nil {
		return host, err
	}
	spec := template
	for i := range r.Pods {
		if r.Pods[i].Name == podName {
			spec = &r.Pods[i].Spec
		}
	}
	host.SecurityContext = r.SecurityContext(spec, volumes[0].Name)
	return host, nil
}
