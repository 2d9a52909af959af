package destination

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task/observe"
	"github.com/cairn-backup/cairn/internal/workload"
)

// The variables in the name of a volumeClaimTemplate.
const (
	varPodOrdinal    = "${POD_ORDINAL}"
	varComponentName = "${COMPONENT_NAME}"
)

// intoTemplates puts every component into its own claim, which is made from a template.
func (r *resolver) intoTemplates() ([]v1alpha1.ResolvedRestoreHost, *v1alpha1.ResolvedError) {
	context, err := workload.SecurityContextOfRestore(r.Job, r.Privileged)
	if err != nil {
		return nil, err
	}
	for _, t := range r.Templates {
		if t.Spec.VolumeMode != nil && *t.Spec.VolumeMode != corev1.PersistentVolumeFilesystem {
			return nil, workload.Fail(v1alpha1.ReasonInvalidParameters,
				"volumeClaimTemplate %q: files can only be restored into a file system: leave volumeMode out",
				t.Metadata.Name)
		}
	}
	var hosts []v1alpha1.ResolvedRestoreHost
	for _, component := range r.Components {
		i, err := r.templateOf(component)
		if err != nil {
			return nil, err
		}
		name, err := claimName(r.Templates[i].Metadata.Name, component)
		if err != nil {
			return nil, err
		}
		v := r.volume(component, v1alpha1.ResolvedVolume{ClaimName: name})
		v.Template = int32(i + 1)
		hosts = append(hosts, v1alpha1.ResolvedRestoreHost{
			Name: component, SecurityContext: context, Volumes: []v1alpha1.ResolvedRestoreVolume{v},
		})
	}
	return hosts, nil
}

// templateOf returns the index of the template from which a component's claim is made.
func (r *resolver) templateOf(component string) (int, *v1alpha1.ResolvedError) {
	if len(r.Templates) == 1 {
		return 0, nil
	}
	i := slices.IndexFunc(r.Templates, func(t v1alpha1.RestoreClaimTemplate) bool {
		return t.Metadata.Annotations[v1alpha1.AnnotationComponent] == component
	})
	if i < 0 {
		return 0, workload.Fail(v1alpha1.ReasonInvalidParameters,
			"no volumeClaimTemplate is for component %s: give one of them the annotation %s: %s, or leave the "+
				"component out with dataSource.components",
			component, v1alpha1.AnnotationComponent, component)
	}
	return i, nil
}

// claimName returns a template's name with its variables filled in.
func claimName(template, component string) (string, *v1alpha1.ResolvedError) {
	ordinal := PodOrdinal(component)
	if ordinal == "" && strings.Contains(template, varPodOrdinal) {
		return "", workload.Fail(v1alpha1.ReasonInvalidParameters,
			"volumeClaimTemplate %q: component %s belongs to no numbered pod: use %s", template, component,
			varComponentName)
	}
	name := strings.NewReplacer(varPodOrdinal, ordinal, varComponentName, component).Replace(template)
	if strings.Contains(name, "${") {
		return "", workload.Fail(v1alpha1.ReasonInvalidParameters,
			"volumeClaimTemplate %q: the only variables in a name are %s and %s", template, varPodOrdinal,
			varComponentName)
	}
	if bad := content.IsDNS1123Subdomain(name); len(bad) > 0 {
		return "", workload.Fail(v1alpha1.ReasonInvalidParameters, "volumeClaimTemplate %q gives the name %q: %s",
			template,
			name, bad[0])
	}
	return name, nil
}

// check refuses volumes that can't be restored into, and finds the node of each host.
func (r *resolver) check(hosts []v1alpha1.ResolvedRestoreHost) *v1alpha1.ResolvedError {
	taken := map[string]string{}
	for i := range hosts {
		h := &hosts[i]
		if len(h.Volumes) > workload.MaxVolumes {
			return workload.Fail(v1alpha1.ReasonInvalidTask,
				"%s has %d volumes; at most %d can be restored at once: name components in dataSource.components",
				h.Name, len(h.Volumes), workload.MaxVolumes)
		}
		for j := range h.Volumes {
			v := &h.Volumes[j]
			if !v.Mounted() {
				continue
			}
			if v.HostPath != "" {
				return workload.Fail(v1alpha1.ReasonNoVolumes,
					"component %s is the backup of a host path, and nothing is restored into host paths: restore it "+
						"into a PersistentVolumeClaim", v.Component)
			}
			if other, twice := taken[v.ClaimName]; twice {
				return workload.Fail(v1alpha1.ReasonInvalidParameters,
					"components %s and %s would both go into PersistentVolumeClaim %s: name one of them in "+
						"dataSource.components, or use %s in the template's name", other, v.Component, v.ClaimName,
					varComponentName)
			}
			taken[v.ClaimName] = v.Component
			if err := r.checkClaim(v); err != nil {
				return err
			}
		}
		if r.Sidecar {
			continue // a sidecar runs where its pod is
		}
		node, err := r.node(h)
		if err != nil {
			return err
		}
		if h.Node == "" {
			h.Node = node
		}
	}
	return nil
}

// checkClaim refuses a claim that can't be restored into, and notes its UID.
func (r *resolver) checkClaim(v *v1alpha1.ResolvedRestoreVolume) *v1alpha1.ResolvedError {
	if v.Template > 0 {
		return nil // Whether the name is free is checked when the claim is made.
	}
	claim := r.claims[v.ClaimName]
	if claim == nil {
		return workload.Fail(v1alpha1.ReasonTargetNotFound,
			"there is no PersistentVolumeClaim %s for component %s: create it, or leave the component out with "+
				"dataSource.components", v.ClaimName, v.Component)
	}
	v.ClaimUID = claim.UID
	return UsableClaim(claim, r.Pods)
}

// UsableClaim explains why nothing can be restored into a claim, regardless of what uses it. Nil means that it can be
// used. pods are those of the namespace, as far as they are known.
func UsableClaim(claim *corev1.PersistentVolumeClaim, pods []corev1.Pod) *v1alpha1.ResolvedError {
	if going := workload.Going(claim, pods); going != "" {
		return workload.Fail(v1alpha1.ReasonTargetNotFound, "%s", going)
	}
	switch {
	case claim.Status.Phase == corev1.ClaimLost:
		return workload.Fail(v1alpha1.ReasonVolumeNotBound, "PersistentVolumeClaim %s has lost its volume", claim.Name)
	case claim.Spec.VolumeMode != nil && *claim.Spec.VolumeMode == corev1.PersistentVolumeBlock:
		return workload.Fail(v1alpha1.ReasonNoVolumes,
			"PersistentVolumeClaim %s is a raw block device: only file systems can be restored", claim.Name)
	}
	return nil
}

// node returns the node on which all volumes of a host can be mounted while others use them, or "" if any node will do.
func (r *resolver) node(h *v1alpha1.ResolvedRestoreHost) (string, *v1alpha1.ResolvedError) {
	node, decidedBy := "", ""
	for _, v := range h.Volumes {
		claim := r.claims[v.ClaimName]
		nodes := r.resolver.NodesOf(v.ClaimName)
		switch {
		case claim == nil, len(nodes) == 0:
		case slices.Contains(claim.Spec.AccessModes, corev1.ReadWriteOncePod):
			if InUse(r.Pods, v.ClaimName, IsMover) == nil {
				continue // only a mover uses it, and CheckUnused waits for that
			}
			return "", workload.Fail(v1alpha1.ReasonVolumeInUse,
				"PersistentVolumeClaim %s is ReadWriteOncePod and in use, so no second pod can mount it: restore it "+
					"while no pod uses it", v.ClaimName)
		case workload.IsShared(claim):
		case node != "" && node != nodes[0]:
			return "", workload.Fail(v1alpha1.ReasonVolumeInUse,
				"PersistentVolumeClaims %s and %s are in use on different nodes, so no pod can mount both: stop what "+
					"uses one of them", decidedBy, v.ClaimName)
		default:
			node, decidedBy = nodes[0], v.ClaimName
		}
	}
	return node, nil
}

// NodeAgain returns the node of the Job of a later attempt: the one on which the pods that stay use the host's claims
// by now, or "" for any node. A pod that leaves does not count, because its node can be the one that is drained or was
// lost. The frozen node is kept if a pod that uses the claim stays on it, or if no single node fits.
func NodeAgain(
	h *v1alpha1.ResolvedRestoreHost, claims []corev1.PersistentVolumeClaim, pods []corev1.Pod,
) string {
	target := workload.Target{Pods: workload.Staying(pods, h.Node)}
	r := resolver{
		Target: Target{Target: target}, resolver: workload.Resolver{Target: target},
		claims: map[string]*corev1.PersistentVolumeClaim{},
	}
	for i := range claims {
		r.claims[claims[i].Name] = &claims[i]
	}
	node, err := r.node(h)
	if err != nil {
		return h.Node
	}
	return node
}

// InUse returns the first pod, by name, that has not ended and uses a claim, except pods for which except returns true.
// It returns nil if there is none.
func InUse(pods []corev1.Pod, claim string, except func(*corev1.Pod) bool) *corev1.Pod {
	var found *corev1.Pod
	for i := range pods {
		p := &pods[i]
		if observe.PodEnded(p) || !workload.Mounts(p, claim) || except != nil && except(p) {
			continue
		}
		if found == nil || p.Name < found.Name {
			found = p
		}
	}
	return found
}

// IsMover reports whether Cairn made a pod.
func IsMover(p *corev1.Pod) bool { return workload.IsMover(p) }
