// Package scaling says who manages the replicas of a workload, from what its object and the autoscalers of its namespace say.
package scaling

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// FieldManager is in the managed fields of a workload that Cairn scaled.
const FieldManager = "cairn-scaler"

// controllers is the field manager of the controllers of workloads, and of autoscalers.
const controllers = "kube-controller-manager"

// Doubt is how long a tool that applies a workload may take to put back replicas that somebody else set: those that work by
// themselves do it within minutes, or an hour. Who has not done it by then has none in its manifest, or does not apply it at present.
const Doubt = 2 * time.Hour

var (
	// replicas is the field that is managed.
	replicas = fieldpath.MakePathOrDie("spec", "replicas")
	// selector is in every manifest of a workload, and can't be changed: who has it applies the workload, and not only a piece of it.
	selector = fieldpath.MakePathOrDie("spec", "selector")
	// lastApplied is the manifest as a tool that applies on its own side applied it.
	lastApplied = fieldpath.MakePathOrDie("metadata", "annotations", corev1.LastAppliedConfigAnnotation)
)

// Managed says who puts the replicas of a workload back when they are changed, so that it can follow the words "its replicas", or is
// "": an autoscaler of it; whoever set them but for kubectl; whoever applied it from a manifest that has them. kubectl is a person,
// who set a number once. What the autoscaler of before set belongs to nobody any more.
//
// Who changes a field takes it: where a person, or an autoscaler that was, changed the replicas, the object does not tell any more
// whether the manifest of a GitOps tool has them. They count as managed then for as long as Doubt, unless the tool has applied the
// workload since, which would have put them back.
func Managed(kind string, workload metav1.Object, autoscalers []autoscalingv2.HorizontalPodAutoscaler, now time.Time) string {
	for i := range autoscalers {
		h := &autoscalers[i]
		if h.Spec.ScaleTargetRef.Kind != kind || h.Spec.ScaleTargetRef.Name != workload.GetName() || !strings.HasPrefix(h.Spec.ScaleTargetRef.APIVersion, "apps/") {
			continue
		}
		if owner := metav1.GetControllerOf(h); owner != nil {
			return "are managed by " + owner.Kind + " " + owner.Name + " (by its HorizontalPodAutoscaler " + h.Name + ")"
		}
		return "are managed by HorizontalPodAutoscaler " + h.Name
	}
	taker := ""
	var taken time.Time
	for _, e := range workload.GetManagedFields() {
		switch {
		case !has(e, replicas):
		case !person(e.Manager):
			return "are managed by field manager " + e.Manager
		case e.Manager != FieldManager:
			if at := latest(e, workload, now); !at.Before(taken) {
				taker, taken = e.Manager, at
			}
		}
	}
	return behind(workload, taker, taken, now)
}

// latest is when somebody changed the replicas at the latest. The API server keeps no time for who scales (subresource scale): it was
// before the controller of the workload wrote its status last, where that has seen the newest form.
func latest(e metav1.ManagedFieldsEntry, workload metav1.Object, now time.Time) time.Time {
	if e.Time != nil {
		return e.Time.Time
	}
	var observed int64
	switch w := workload.(type) {
	case *appsv1.Deployment:
		observed = w.Status.ObservedGeneration
	case *appsv1.StatefulSet:
		observed = w.Status.ObservedGeneration
	}
	for _, e := range workload.GetManagedFields() {
		if e.Subresource == "status" && e.Manager == controllers && e.Time != nil && observed >= workload.GetGeneration() {
			return e.Time.Time
		}
	}
	return now
}

// behind says who may have the replicas in the manifest that it applies, though it does not have the field. taker took that at the
// latest at a time; empty: nobody did.
func behind(workload metav1.Object, taker string, taken, now time.Time) string {
	for _, e := range workload.GetManagedFields() {
		if person(e.Manager) || e.Subresource != "" || !has(e, selector) {
			continue
		}
		if has(e, lastApplied) {
			if manifestHasReplicas(workload.GetAnnotations()[corev1.LastAppliedConfigAnnotation]) {
				return "are in what field manager " + e.Manager + " applied"
			}
			continue
		}
		since := e.Time != nil && e.Time.After(taken)
		if taker != "" && now.Sub(taken) < Doubt && !since {
			return fmt.Sprintf("were set by %s, perhaps less than %.0f hours ago, and field manager %s, which applies the rest of it, may put back those of its manifest",
				taker, Doubt.Hours(), e.Manager)
		}
	}
	return ""
}

// manifestHasReplicas says whether the manifest that was applied last has them. One that can't be read has: see has.
func manifestHasReplicas(manifest string) bool {
	var m struct {
		Spec struct {
			Replicas *json.RawMessage `json:"replicas"`
		} `json:"spec"`
	}
	return json.Unmarshal([]byte(manifest), &m) != nil || m.Spec.Replicas != nil
}

// person says whether a field manager is nobody who comes back to a field.
func person(manager string) bool {
	return strings.HasPrefix(manager, "kubectl") || manager == FieldManager || manager == "before-first-apply" || manager == controllers
}

// has says whether an entry of managed fields has a field. One that can't be read has it: better to refuse than to fight.
func has(e metav1.ManagedFieldsEntry, field fieldpath.Path) bool {
	if e.FieldsV1 == nil {
		return false
	}
	var set fieldpath.Set
	if err := set.FromJSON(e.FieldsV1.GetRawReader()); err != nil {
		return true
	}
	return set.Has(field)
}
