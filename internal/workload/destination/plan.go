package destination

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/workload"
)

// PlannedClaim is a claim that a restore will make from a VolumeSnapshot.
type PlannedClaim struct {
	// Host is the host whose Job makes the claim.
	Host string
	// Component is what the claim will hold. Source is the component of the Snapshot if the data is that of another
	// pod.
	Component, Source string
	// Claim is the name of the claim, and Template the number of its template, from 1.
	Claim    string
	Template int32
	// VolumeSnapshot is what the claim is made from. UID is the UID that it must have; "" where the user named it.
	VolumeSnapshot string
	UID            types.UID
	// Stats are those of the Snapshot's component. They are nil where the user named the VolumeSnapshot.
	Stats *v1alpha1.VolumeSnapshotterStats
}

// FromVolumeSnapshots reports whether a Snapshot is kept as VolumeSnapshots.
func FromVolumeSnapshots(s *v1alpha1.Snapshot) bool {
	for _, c := range s.Status.Components {
		if c.Driver == v1alpha1.DriverVolumeSnapshotter {
			return true
		}
	}
	return false
}

// PlanClaims returns the claims that a restore makes, and the VolumeSnapshot for each. With a Snapshot these are the
// VolumeSnapshots of its components. Without a Snapshot they are those that the templates name, for this number of
// replicas. The result depends only on the arguments.
func PlanClaims(t Target, replicas int32) ([]PlannedClaim, *v1alpha1.ResolvedError) {
	plan, err := planOf(t, replicas)
	if err != nil {
		return nil, err
	}
	volumes, taken := map[string]int{}, map[string]string{}
	for _, p := range plan {
		if other, twice := taken[p.Claim]; twice {
			return nil, workload.Fail(v1alpha1.ReasonInvalidParameters,
				"components %s and %s would both become PersistentVolumeClaim %s: name one of them in "+
					"dataSource.components, or use %s or %s in the template's name",
				other, p.Component, p.Claim, varPodOrdinal, varComponentName)
		}
		taken[p.Claim] = p.Component
		if volumes[p.Host]++; volumes[p.Host] > workload.MaxVolumes {
			return nil, workload.Fail(v1alpha1.ReasonInvalidTask,
				"one Job would make more than %d PersistentVolumeClaims: restore a part of them "+
					"(dataSource.components), and the others with another RestoreSession", workload.MaxVolumes)
		}
	}
	if len(volumes) > workload.MaxHosts {
		return nil, workload.Fail(v1alpha1.ReasonInvalidTask, "the restore needs %d Jobs; at most %d are possible",
			len(volumes),
			workload.MaxHosts)
	}
	return plan, nil
}

func planOf(t Target, replicas int32) ([]PlannedClaim, *v1alpha1.ResolvedError) {
	if t.Snapshot == nil {
		return planTemplates(t.Templates, replicas)
	}
	r := resolver{Target: t}
	var plan []PlannedClaim
	for _, component := range t.Components {
		source := t.Sources[component]
		c := t.Snapshot.Status.Components[cmp.Or(source, component)]
		if c.Driver != v1alpha1.DriverVolumeSnapshotter || len(c.VolumeSnapshotterStats) != 1 {
			return nil, workload.Fail(v1alpha1.ReasonComponentNotFound,
				"component %s of Snapshot %s is not a VolumeSnapshot: leave it out with dataSource.components",
				cmp.Or(source, component), t.Snapshot.Name)
		}
		stats := c.VolumeSnapshotterStats[0]
		i, err := r.claimTemplate(component, stats.PVCName)
		if err != nil {
			return nil, err
		}
		name, err := claimName(t.Templates[i].Metadata.Name, component)
		if err != nil {
			return nil, err
		}
		plan = append(plan, PlannedClaim{
			Host: planHost(t.Snapshot, component), Component: component, Source: source, Claim: name,
			Template:       int32(i + 1),
			VolumeSnapshot: stats.VolumeSnapshotName, UID: types.UID(c.ID), Stats: &stats,
		})
	}
	return plan, nil
}

// claimTemplate returns the index of the template for a component's claim. Among several templates, one whose
// annotation names the component or the backed-up claim comes first, then one whose name is that of this claim.
func (r *resolver) claimTemplate(component, claim string) (int, *v1alpha1.ResolvedError) {
	if len(r.Templates) == 1 {
		return 0, nil
	}
	ordinal := PodOrdinal(component)
	filled := func(text string) string {
		return strings.NewReplacer(varPodOrdinal, ordinal, varComponentName, component).Replace(text)
	}
	for _, names := range []func(v1alpha1.RestoreClaimTemplate) bool{
		func(t v1alpha1.RestoreClaimTemplate) bool {
			named := filled(t.Metadata.Annotations[v1alpha1.AnnotationComponent])
			return named == component || named == claim && claim != ""
		},
		func(t v1alpha1.RestoreClaimTemplate) bool {
			return t.Metadata.Annotations[v1alpha1.AnnotationComponent] == "" && filled(t.Metadata.Name) == claim
		},
	} {
		if i := slices.IndexFunc(r.Templates, names); i >= 0 {
			return i, nil
		}
	}
	return 0, workload.Fail(v1alpha1.ReasonInvalidParameters,
		"no volumeClaimTemplate is for component %s, which was PersistentVolumeClaim %s: give one of them the "+
			"annotation %s: %s, or leave the component out with dataSource.components",
		component, claim, v1alpha1.AnnotationComponent, component)
}

// planHost returns the host of a component. If the target had several hosts it is the pod or node of the component,
// because the volumes of one pod must be mountable together. Otherwise all components share one host.
func planHost(s *v1alpha1.Snapshot, component string) string {
	if ordinal := PodOrdinal(component); ordinal != "" {
		return "pod-" + ordinal
	}
	if s.Spec.AppRef.Kind == v1alpha1.KindDaemonSet {
		return component
	}
	return workload.HostTarget
}

// planTemplates plans one claim for each template. A template with ${POD_ORDINAL} in its name gives one claim for each
// replica.
func planTemplates(
	templates []v1alpha1.RestoreClaimTemplate, replicas int32,
) ([]PlannedClaim, *v1alpha1.ResolvedError) {
	var plan []PlannedClaim
	for i := range templates {
		t := &templates[i]
		source := sourceName(t)
		if !strings.Contains(t.Metadata.Name, varPodOrdinal) {
			if strings.Contains(source, varPodOrdinal) {
				return nil, workload.Fail(v1alpha1.ReasonInvalidParameters,
					"volumeClaimTemplate %q: its dataSource has %s but its name does not: add it to the name, "+
						"because each number needs its own claim", t.Metadata.Name, varPodOrdinal)
			}
			p, err := planNamed(t.Metadata.Name, source, workload.HostTarget, int32(i+1))
			if err != nil {
				return nil, err
			}
			plan = append(plan, p)
			continue
		}
		for n := range max(replicas, 1) {
			ordinal := strconv.Itoa(int(n))
			filled := strings.NewReplacer(varPodOrdinal, ordinal)
			p, err := planNamed(filled.Replace(t.Metadata.Name), filled.Replace(source), "pod-"+ordinal, int32(i+1))
			if err != nil {
				return nil, err
			}
			plan = append(plan, p)
		}
	}
	return plan, nil
}

func planNamed(name, source, host string, template int32) (PlannedClaim, *v1alpha1.ResolvedError) {
	if _, err := claimName(name, ""); err != nil {
		return PlannedClaim{}, err
	}
	if strings.Contains(source, "${") {
		return PlannedClaim{}, workload.Fail(v1alpha1.ReasonInvalidParameters,
			"volumeClaimTemplate %q: the only variable in the name of its VolumeSnapshot is %s", name, varPodOrdinal)
	}
	return PlannedClaim{Host: host, Component: name, Claim: name, Template: template, VolumeSnapshot: source}, nil
}

// sourceName returns the VolumeSnapshot that a template names, or "".
func sourceName(t *v1alpha1.RestoreClaimTemplate) string {
	switch {
	case t.Spec.DataSource != nil:
		return t.Spec.DataSource.Name
	case t.Spec.DataSourceRef != nil:
		return t.Spec.DataSourceRef.Name
	default:
		return ""
	}
}

// ClaimTemplates returns the templates of the claims that a restore makes.
func ClaimTemplates(s *v1alpha1.RestoreSession) []v1alpha1.RestoreClaimTemplate {
	if s.Spec.Addon == nil {
		return nil
	}
	for _, t := range s.Spec.Addon.Tasks {
		if t.TargetVolumes != nil && len(t.TargetVolumes.VolumeClaimTemplates) > 0 {
			return t.TargetVolumes.VolumeClaimTemplates
		}
	}
	return nil
}

// NamedSnapshots returns the VolumeSnapshots of its own namespace from which a restore without a Snapshot makes claims,
// each once.
func NamedSnapshots(s *v1alpha1.RestoreSession) []string {
	if s.Spec.DataSource != nil {
		return nil
	}
	plan, _ := planTemplates(ClaimTemplates(s), Replicas(s)) // A restore without a plan is refused.
	var out []string
	for _, p := range plan {
		if p.VolumeSnapshot != "" && !slices.Contains(out, p.VolumeSnapshot) {
			out = append(out, p.VolumeSnapshot)
		}
	}
	return out
}

// Replicas returns how many numbers ${POD_ORDINAL} stands for in the templates of a restore without a Snapshot.
func Replicas(s *v1alpha1.RestoreSession) int32 {
	if s.Spec.Addon != nil {
		for _, t := range s.Spec.Addon.Tasks {
			if t.TargetVolumes != nil && t.TargetVolumes.Replicas != nil {
				return ptr.Deref(t.TargetVolumes.Replicas, 1)
			}
		}
	}
	return 1
}
