// Package destination resolves the target of a restore into hosts, claims and volumes, and plans the claims that have
// to be created. It is pure.
package destination

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/workload"
)

// Target is what a restore knows about its target and its data when it is resolved. Either Target names existing
// objects, or Templates describe new claims.
type Target struct {
	workload.Target
	// Templates are those of the claims to make.
	Templates []v1alpha1.RestoreClaimTemplate
	// Snapshot is the Snapshot to restore.
	Snapshot *v1alpha1.Snapshot
	// Components are those of the Snapshot that restore.ChooseComponents returned.
	Components []string
	// Sources maps components to the component of the Snapshot that they are restored from, as restore.ApplyRules
	// returned them.
	Sources map[string]string
	// Unpacker is the program that creates the files in the volumes, nil where the mover does it.
	Unpacker *v1alpha1.ResolvedStream
}

// Resolve returns the hosts of a restore: which Jobs restore the Snapshot, on which nodes, with which security
// context, and which component goes into which volume. A component of a workload goes into the volume from which it was
// backed up. The result depends only on t. If it returns an error, no Job is made.
func Resolve(t Target) ([]v1alpha1.ResolvedRestoreHost, *v1alpha1.ResolvedError) {
	if _, err := workload.SecurityContextOfRestore(t.Job, t.Privileged); err != nil {
		return nil, err
	}
	claims := map[string]*corev1.PersistentVolumeClaim{}
	r := resolver{Target: t, resolver: workload.Resolver{Target: t.Target, Claims: claims}, claims: claims}
	for i := range t.Claims {
		r.claims[t.Claims[i].Name] = &t.Claims[i]
	}
	if t.Claim != nil {
		r.claims[t.Claim.Name] = t.Claim
	}
	hosts, err := r.hosts()
	if err != nil {
		return nil, err
	}
	if len(hosts) > workload.MaxHosts {
		return nil, workload.Fail(v1alpha1.ReasonInvalidTask,
			"the restore needs %d Jobs; at most %d are possible: name components in dataSource.components", len(hosts),
			workload.MaxHosts)
	}
	return hosts, r.check(hosts)
}

type resolver struct {
	Target
	resolver workload.Resolver
	claims   map[string]*corev1.PersistentVolumeClaim
}

// hosts returns the hosts of the restore without their nodes.
func (r *resolver) hosts() ([]v1alpha1.ResolvedRestoreHost, *v1alpha1.ResolvedError) {
	switch {
	case len(r.Streams) > 0:
		return r.intoDatabase()
	case len(r.Templates) > 0:
		return r.intoTemplates()
	case r.Claim != nil:
		return r.intoClaim()
	case r.Deployment != nil:
		return r.intoDeployment()
	case r.StatefulSet != nil:
		return r.intoStatefulSet()
	case r.DaemonSet != nil:
		return r.intoDaemonSet()
	default:
		return nil, workload.Fail(v1alpha1.ReasonTargetNotFound, "the target does not exist")
	}
}

// volume returns the volume that receives a component.
func (r *resolver) volume(component string, v v1alpha1.ResolvedVolume) v1alpha1.ResolvedRestoreVolume {
	c := r.Snapshot.Status.Components[cmp.Or(r.Sources[component], component)]
	return v1alpha1.ResolvedRestoreVolume{
		Component: component, Source: r.Sources[component], ID: c.ID, Path: c.Path, ClaimName: v.ClaimName,
		HostPath: v.HostPath, Volume: v.Volume, Mounts: v.Mounts,
		Files: c.Files, Bytes: c.SizeBytes, Stream: r.Unpacker,
	}
}

// intoDatabase gives every component to its program, one after the other in one Job.
func (r *resolver) intoDatabase() ([]v1alpha1.ResolvedRestoreHost, *v1alpha1.ResolvedError) {
	context, err := workload.SecurityContextOfRestore(r.Job, r.Privileged)
	if err != nil {
		return nil, err
	}
	host := v1alpha1.ResolvedRestoreHost{Name: workload.HostTarget, SecurityContext: context}
	for _, s := range r.Streams {
		v := r.volume(s.Component, v1alpha1.ResolvedVolume{})
		v.Stream = s.Stream
		host.Volumes = append(host.Volumes, v)
	}
	return []v1alpha1.ResolvedRestoreHost{host}, nil
}

func (r *resolver) intoClaim() ([]v1alpha1.ResolvedRestoreHost, *v1alpha1.ResolvedError) {
	if len(r.Components) > 1 {
		return nil, workload.Fail(v1alpha1.ReasonComponentNotFound,
			"a PersistentVolumeClaim takes one component, and Snapshot %s has several: name one of them in "+
				"dataSource.components: %s",
			r.Snapshot.Name, strings.Join(r.Components, ", "))
	}
	context, err := workload.SecurityContextOfRestore(r.Job, r.Privileged)
	if err != nil {
		return nil, err
	}
	v := r.volume(r.Components[0], v1alpha1.ResolvedVolume{ClaimName: r.Claim.Name})
	return []v1alpha1.ResolvedRestoreHost{{
		Name: workload.HostTarget, SecurityContext: context,
		Volumes: []v1alpha1.ResolvedRestoreVolume{v},
	}}, nil
}

func (r *resolver) intoDeployment() ([]v1alpha1.ResolvedRestoreHost, *v1alpha1.ResolvedError) {
	d := r.Deployment
	volumes, err := r.resolver.Volumes("Deployment/"+d.Name, &d.Spec.Template.Spec)
	if err != nil {
		return nil, err
	}
	host := v1alpha1.ResolvedRestoreHost{
		Name: workload.HostTarget, SecurityContext: r.resolver.SecurityContext(&d.Spec.Template.Spec, volumes[0].Name),
	}
	for _, component := range r.Components {
		i := slices.IndexFunc(volumes, func(v workload.Volume) bool { return v.Name == component })
		if i < 0 && len(volumes) == 1 && len(r.Components) == 1 {
			i = 0
		}
		switch {
		case i < 0:
			return nil, r.noPlace(component, "Deployment/"+d.Name, volumes)
		case volumes[i].PerPod:
			return nil, workload.Fail(v1alpha1.ReasonNoVolumes,
				"volume %s of Deployment/%s is ephemeral and is deleted with its pod: restore the component into a "+
					"PersistentVolumeClaim", volumes[i].Name, d.Name)
		}
		host.Volumes = append(host.Volumes, r.volume(component, r.resolver.Resolved(volumes[i], component, "")))
	}
	return []v1alpha1.ResolvedRestoreHost{host}, nil
}

func (r *resolver) intoStatefulSet() ([]v1alpha1.ResolvedRestoreHost, *v1alpha1.ResolvedError) {
	s := r.StatefulSet
	volumes, err := r.resolver.Volumes("StatefulSet/"+s.Name, &s.Spec.Template.Spec, s.Spec.VolumeClaimTemplates...)
	if err != nil {
		return nil, err
	}
	return r.perHost("StatefulSet/"+s.Name, &s.Spec.Template.Spec, volumes,
		func(component string) (host, pod, rest string) {
			ordinal := PodOrdinal(component)
			if ordinal == "" {
				return "", "", ""
			}
			host = "pod-" + ordinal
			return host, s.Name + "-" + ordinal, strings.TrimPrefix(strings.TrimPrefix(component, host), "-")
		})
}

func (r *resolver) intoDaemonSet() ([]v1alpha1.ResolvedRestoreHost, *v1alpha1.ResolvedError) {
	d := r.DaemonSet
	volumes, err := r.resolver.Volumes("DaemonSet/"+d.Name, &d.Spec.Template.Spec)
	if err != nil {
		return nil, err
	}
	hosts, err := r.perHost("DaemonSet/"+d.Name, &d.Spec.Template.Spec, volumes,
		func(component string) (host, pod, rest string) {
			if len(volumes) == 1 {
				return component, "", ""
			}
			node, volume := r.onNode(component, volumes)
			return node, "", volume
		})
	for i := range hosts {
		hosts[i].Node = hosts[i].Name
	}
	return hosts, err
}

// onNode takes the name <node>-<volume> of a component of a DaemonSet apart. With volumes such as data and big-data a
// name can have two meanings. Then the node counts of which the Snapshot has all volumes. If there are several, or
// none, onNode returns an empty node: a guess could put the data of one node into the volume of another.
func (r *resolver) onNode(component string, volumes []workload.Volume) (node, volume string) {
	whole := func(node string) bool {
		return !slices.ContainsFunc(volumes, func(v workload.Volume) bool {
			_, there := r.Snapshot.Status.Components[node+"-"+v.Name]
			return !there
		})
	}
	type meaning struct{ node, volume string }
	var all []meaning
	for _, v := range volumes {
		if node, ok := strings.CutSuffix(component, "-"+v.Name); ok {
			all = append(all, meaning{node, v.Name})
		}
	}
	if len(all) > 1 {
		all = slices.DeleteFunc(all, func(m meaning) bool { return !whole(m.node) })
	}
	if len(all) != 1 {
		return "", ""
	}
	return all[0].node, all[0].volume
}

// perHost puts components into the volumes of their hosts. Such components are named after a host, and after a volume
// where the host has several. split takes the name of a component apart; an empty host means that the name has no such
// form.
func (r *resolver) perHost(
	target string, spec *corev1.PodSpec, volumes []workload.Volume, split func(string) (host, pod, rest string),
) ([]v1alpha1.ResolvedRestoreHost, *v1alpha1.ResolvedError) {
	var hosts []v1alpha1.ResolvedRestoreHost
	for _, component := range r.Components {
		name, pod, rest := split(component)
		i := slices.IndexFunc(volumes, func(v workload.Volume) bool { return v.Name == rest })
		if rest == "" && len(volumes) == 1 {
			i = 0
		}
		if name == "" || i < 0 {
			return nil, r.noPlace(component, target, volumes)
		}
		at := slices.IndexFunc(hosts, func(h v1alpha1.ResolvedRestoreHost) bool { return h.Name == name })
		if at < 0 {
			at = len(hosts)
			hosts = append(hosts, v1alpha1.ResolvedRestoreHost{
				Name: name, SecurityContext: r.resolver.SecurityContext(spec, volumes[0].Name),
			})
		}
		hosts[at].Volumes = append(hosts[at].Volumes,
			r.volume(component, r.resolver.Resolved(volumes[i], component, pod)))
	}
	return hosts, nil
}

// noPlace refuses a component for which the target has no volume.
func (r *resolver) noPlace(component, target string, volumes []workload.Volume) *v1alpha1.ResolvedError {
	return workload.Fail(v1alpha1.ReasonComponentNotFound,
		"component %s of Snapshot %s does not name a volume of %s (it has: %s): restore it into a "+
			"PersistentVolumeClaim, or leave it out with dataSource.components",
		component, r.Snapshot.Name, target, workload.Names(volumes))
}

// PodOrdinal returns the number in a component's name pod-<n> or pod-<n>-<volume>, or "".
func PodOrdinal(component string) string {
	rest, ok := strings.CutPrefix(component, "pod-")
	if !ok {
		return ""
	}
	n := strings.IndexFunc(rest, func(c rune) bool { return c < '0' || c > '9' })
	switch {
	case n < 0:
		return rest
	case n > 0 && rest[n] == '-':
		return rest[:n]
	default:
		return ""
	}
}
