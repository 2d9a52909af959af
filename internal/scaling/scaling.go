// Package scaling says who manages the replicas of a workload, from what its object and the autoscalers of its namespace say.
package scaling

import (
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// FieldManager is in the managed fields of a workload that Cairn scaled.
const FieldManager = "cairn-scaler"

// replicas is the field that is managed.
var replicas = fieldpath.MakePathOrDie("spec", "replicas")

// Manager names who puts the replicas of a workload back when they are changed, or is "": an autoscaler of it, or whoever set them
// but for kubectl. kubectl is a person, who set a number once. What the autoscaler of before set belongs to nobody any more.
func Manager(kind string, workload metav1.Object, autoscalers []autoscalingv2.HorizontalPodAutoscaler) string {
	for i := range autoscalers {
		h := &autoscalers[i]
		if h.Spec.ScaleTargetRef.Kind != kind || h.Spec.ScaleTargetRef.Name != workload.GetName() || !strings.HasPrefix(h.Spec.ScaleTargetRef.APIVersion, "apps/") {
			continue
		}
		if owner := metav1.GetControllerOf(h); owner != nil {
			return owner.Kind + " " + owner.Name + " (by its HorizontalPodAutoscaler " + h.Name + ")"
		}
		return "HorizontalPodAutoscaler " + h.Name
	}
	for _, e := range workload.GetManagedFields() {
		if owns(e) && !person(e.Manager) {
			return "field manager " + e.Manager
		}
	}
	return ""
}

// person says whether a field manager is nobody who comes back to a field.
func person(manager string) bool {
	return strings.HasPrefix(manager, "kubectl") || manager == FieldManager || manager == "before-first-apply" || manager == "kube-controller-manager"
}

// owns says whether an entry of managed fields has the replicas. One that can't be read has them: better to refuse than to fight.
func owns(e metav1.ManagedFieldsEntry) bool {
	if e.FieldsV1 == nil {
		return false
	}
	var set fieldpath.Set
	if err := set.FromJSON(e.FieldsV1.GetRawReader()); err != nil {
		return true
	}
	return set.Has(replicas)
}
