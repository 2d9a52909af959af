package sidecar

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/managedfields"
	"github.com/cairn-backup/cairn/internal/policy"
)

// Found describes the sidecar of a workload.
type Found struct {
	// Image of our container; "" if there is none.
	Image string
	// Anything reports whether our field manager owns a field of the workload.
	Anything bool
	// Foreign names a container or volume that has one of our names and is not ours.
	Foreign string
	// Theirs is the digest of the pod template without our parts: it changes with every rollout that others begin.
	Theirs string
	// Rolling reports that pods are being replaced now. The caller of Find sets it from the workload's status.
	Rolling bool
	// Ours is the digest of our parts of the workload, as the API server has them.
	Ours string
}

// Find looks for the sidecar in a workload. The object must have its managedFields.
func Find(workload metav1.Object, template *corev1.PodTemplateSpec) (Found, error) {
	owned, err := managedfields.AppliedBy(FieldManager, workload)
	if err != nil {
		return Found{}, err
	}
	out := Found{Anything: !owned.Empty()}
	spec := &template.Spec
	if slices.ContainsFunc(spec.Containers, func(c corev1.Container) bool { return c.Name == Container }) {
		out.Foreign = "container " + Container
	}
	var ours struct {
		Label     string
		Container *corev1.Container
		Volumes   []corev1.Volume
	}
	ours.Label = workload.GetLabels()[v1alpha1.LabelSidecar]
	theirs := template.DeepCopy()
	theirs.Spec.InitContainers = nil
	for _, c := range spec.InitContainers {
		switch {
		case c.Name != Container:
			theirs.Spec.InitContainers = append(theirs.Spec.InitContainers, c)
		case owns(owned, "initContainers", c.Name):
			ours.Container, out.Image = &c, c.Image
		default:
			out.Foreign = "init container " + Container
		}
	}
	theirs.Spec.Volumes = nil
	for _, v := range spec.Volumes {
		switch {
		case !slices.Contains(ownVolumes, v.Name):
			theirs.Spec.Volumes = append(theirs.Spec.Volumes, v)
		case owns(owned, "volumes", v.Name):
			ours.Volumes = append(ours.Volumes, v)
		default:
			out.Foreign = "volume " + v.Name
		}
	}
	out.Theirs, out.Ours = policy.Digest(theirs), policy.Digest(ours)
	return out, nil
}

// owns reports whether the fields include the entry of this name in a list of the pod template.
func owns(fields *fieldpath.Set, list, name string) bool {
	p := fieldpath.MakePathOrDie("spec", "template", "spec", list, fieldpath.KeyByFields("name", name))
	return fields.Has(p)
}
