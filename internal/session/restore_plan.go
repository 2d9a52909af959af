package session

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// PlannedClaim is a claim that a restore is to make of a VolumeSnapshot.
type PlannedClaim struct {
	// Host whose Job makes it.
	Host string
	// Component that the claim is, and Source the component of the Snapshot where it is that of another pod.
	Component, Source string
	// Claim is its name, and Template the number of its template, from 1.
	Claim    string
	Template int32
	// VolumeSnapshot that it is made of, and UID that this must have; "" where the user named it.
	VolumeSnapshot string
	UID            types.UID
	// Stats of the Snapshot's component; nil where the user named the VolumeSnapshot.
	Stats *v1alpha1.VolumeSnapshotterStats
}

// FromVolumeSnapshots says whether a Snapshot is kept as VolumeSnapshots.
func FromVolumeSnapshots(s *v1alpha1.Snapshot) bool {
	for _, c := range s.Status.Components {
		if c.Driver == v1alpha1.DriverVolumeSnapshotter {
			return true
		}
	}
	return false
}

// PlanClaims says which claims a restore makes of which VolumeSnapshots: of those of the Snapshot's components, or without a Snapshot
// of those that the templates name, for so many replicas. The result depends on nothing but the arguments.
func PlanClaims(t RestoreTarget, replicas int32) ([]PlannedClaim, *v1alpha1.ResolvedError) {
	plan, err := planOf(t, replicas)
	if err != nil {
		return nil, err
	}
	volumes, taken := map[string]int{}, map[string]string{}
	for _, p := range plan {
		if other, twice := taken[p.Claim]; twice {
			return nil, fail(v1alpha1.ReasonInvalidParameters, "components %s and %s would both become PersistentVolumeClaim %s: name one of them in dataSource.components, or use %s or %s in the template's name",
				other, p.Component, p.Claim, varPodOrdinal, varComponentName)
		}
		taken[p.Claim] = p.Component
		if volumes[p.Host]++; volumes[p.Host] > maxVolumes {
			return nil, fail(v1alpha1.ReasonInvalidTask, "one Job would make more than %d claims: restore a part of them (dataSource.components), and the others with another RestoreSession", maxVolumes)
		}
	}
	if len(volumes) > maxHosts {
		return nil, fail(v1alpha1.ReasonInvalidTask, "the restore needs %d Jobs; at most %d are possible", len(volumes), maxHosts)
	}
	return plan, nil
}

func planOf(t RestoreTarget, replicas int32) ([]PlannedClaim, *v1alpha1.ResolvedError) {
	if t.Snapshot == nil {
		return planTemplates(t.Templates, replicas)
	}
	r := restoreResolver{RestoreTarget: t}
	var plan []PlannedClaim
	for _, component := range t.Components {
		source := t.Sources[component]
		c := t.Snapshot.Status.Components[cmp.Or(source, component)]
		if c.Driver != v1alpha1.DriverVolumeSnapshotter || len(c.VolumeSnapshotterStats) != 1 {
			return nil, fail(v1alpha1.ReasonComponentNotFound, "component %s of Snapshot %s is not a VolumeSnapshot: leave it out with dataSource.components", cmp.Or(source, component), t.Snapshot.Name)
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
			Host: planHost(t.Snapshot, component), Component: component, Source: source, Claim: name, Template: int32(i + 1),
			VolumeSnapshot: stats.VolumeSnapshotName, UID: types.UID(c.ID), Stats: &stats,
		})
	}
	return plan, nil
}

// claimTemplate is the number of the template that a component's claim is made of. Of several it is the one whose annotation names
// the component or the claim that was backed up, else the one whose name is that of this claim.
func (r *restoreResolver) claimTemplate(component, claim string) (int, *v1alpha1.ResolvedError) {
	if len(r.Templates) == 1 {
		return 0, nil
	}
	ordinal := podOrdinal(component)
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
	return 0, fail(v1alpha1.ReasonInvalidParameters, "no volumeClaimTemplate is for component %s, which was PersistentVolumeClaim %s: give one of them the annotation %s: %s, or leave the component out with dataSource.components",
		component, claim, v1alpha1.AnnotationComponent, component)
}

// planHost is the host of a component: its pod, or its node, where the target had several, for what belongs to one pod must be
// mountable together; else all are one host.
func planHost(s *v1alpha1.Snapshot, component string) string {
	if ordinal := podOrdinal(component); ordinal != "" {
		return "pod-" + ordinal
	}
	if s.Spec.AppRef.Kind == v1alpha1.KindDaemonSet {
		return component
	}
	return HostTarget
}

// planTemplates makes a claim of each template, and of one with ${POD_ORDINAL} in its name one for each replica.
func planTemplates(templates []v1alpha1.RestoreClaimTemplate, replicas int32) ([]PlannedClaim, *v1alpha1.ResolvedError) {
	var plan []PlannedClaim
	for i := range templates {
		t := &templates[i]
		source := sourceName(t)
		if !strings.Contains(t.Metadata.Name, varPodOrdinal) {
			if strings.Contains(source, varPodOrdinal) {
				return nil, fail(v1alpha1.ReasonInvalidParameters, "volumeClaimTemplate %q: its dataSource has %s, and its name has not: each number is a claim of its own", t.Metadata.Name, varPodOrdinal)
			}
			p, err := planNamed(t.Metadata.Name, source, HostTarget, int32(i+1))
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
		return PlannedClaim{}, fail(v1alpha1.ReasonInvalidParameters, "volumeClaimTemplate %q: the name of its VolumeSnapshot knows only %s", name, varPodOrdinal)
	}
	return PlannedClaim{Host: host, Component: name, Claim: name, Template: template, VolumeSnapshot: source}, nil
}

// sourceName is the VolumeSnapshot that a template names, "" where it names none.
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

// ClaimTemplates are those of the claims that a restore makes.
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

// NamedSnapshots are the VolumeSnapshots of its own namespace that a restore without a Snapshot is to make claims of, each once.
func NamedSnapshots(s *v1alpha1.RestoreSession) []string {
	if s.Spec.DataSource != nil {
		return nil
	}
	plan, _ := planTemplates(ClaimTemplates(s), Replicas(s)) // What can't be planned is refused, and makes none.
	var out []string
	for _, p := range plan {
		if p.VolumeSnapshot != "" && !slices.Contains(out, p.VolumeSnapshot) {
			out = append(out, p.VolumeSnapshot)
		}
	}
	return out
}

// Replicas is how many numbers ${POD_ORDINAL} stands for in the templates of a restore without Snapshot.
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
