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
	"k8s.io/utils/ptr"
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

// Manager says who puts the replicas of a workload back when they are changed, so that it can follow the words "its replicas", or is
// "": an autoscaler of it; whoever set them but for kubectl; whoever applied it from a manifest that has them. kubectl is a person,
// who set a number once. What the autoscaler of before set belongs to nobody any more.
func Manager(kind string, workload metav1.Object, autoscalers []autoscalingv2.HorizontalPodAutoscaler) string {
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
	for _, e := range workload.GetManagedFields() {
		switch {
		case person(e.Manager):
		case has(e, replicas):
			return "are managed by field manager " + e.Manager
		case applies(e) && has(e, lastApplied) && manifestHasReplicas(workload.GetAnnotations()[corev1.LastAppliedConfigAnnotation]):
			return "are in what field manager " + e.Manager + " applied"
		}
	}
	return ""
}

// Taken says who may put the replicas of a workload back, as Manager does, though it does not have them: who changes a field takes it
// from whoever had it, and where a person, or an autoscaler that was, changed the replicas, the object does not tell any more whether
// the manifest of a GitOps tool has them. It may as long as Doubt has not passed, unless the tool has applied the workload since,
// which would have put them back.
func Taken(workload metav1.Object, now time.Time) string {
	taker, taken := takenBy(workload, now)
	if taker == "" || now.Sub(taken) >= Doubt {
		return ""
	}
	for _, e := range workload.GetManagedFields() {
		since := e.Time != nil && e.Time.After(taken)
		if !person(e.Manager) && applies(e) && !has(e, lastApplied) && !since {
			return fmt.Sprintf("were set by %s, perhaps less than %.0f hours ago, and field manager %s, which applies the rest of it, may put back those of its manifest",
				taker, Doubt.Hours(), e.Manager)
		}
	}
	return ""
}

// takenBy says who set the replicas of a workload last but for Cairn, and when at the latest; empty: nobody did. The API server keeps
// no time for who scales (subresource scale), and forgets who scaled to 0, or to what there was.
func takenBy(workload metav1.Object, now time.Time) (taker string, taken time.Time) {
	had := false
	for _, e := range workload.GetManagedFields() {
		if !has(e, replicas) {
			continue
		}
		if !person(e.Manager) {
			return "", time.Time{} // It has them.
		}
		had = true
		at := seen(workload, now)
		if e.Time != nil {
			at = e.Time.Time
		}
		if e.Manager != FieldManager && !at.Before(taken) {
			taker, taken = e.Manager, at
		}
	}
	if wanted, _ := state(workload); !had && wanted != 1 { // Where nobody says anything there is one.
		return "somebody", seen(workload, now)
	}
	return taker, taken
}

// seen is when the controller of a workload had seen its newest form for certain.
func seen(workload metav1.Object, now time.Time) time.Time {
	_, observed := state(workload)
	for _, e := range workload.GetManagedFields() {
		if e.Subresource == "status" && e.Manager == controllers && e.Time != nil && observed >= workload.GetGeneration() {
			return e.Time.Time
		}
	}
	return now
}

// state gives the replicas that a workload is to have, and the generation that its controller has seen.
func state(workload metav1.Object) (wanted int32, observed int64) {
	switch w := workload.(type) {
	case *appsv1.Deployment:
		return ptr.Deref(w.Spec.Replicas, 1), w.Status.ObservedGeneration
	case *appsv1.StatefulSet:
		return ptr.Deref(w.Spec.Replicas, 1), w.Status.ObservedGeneration
	default:
		return 1, 0
	}
}

// applies says whether an entry is of one who applies the workload, and not only a piece of it.
func applies(e metav1.ManagedFieldsEntry) bool {
	return e.Subresource == "" && has(e, selector)
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
