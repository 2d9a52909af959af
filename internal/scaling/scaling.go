// Package scaling finds out who manages the replicas of a workload, from the managed fields of its object and the
// autoscalers of its namespace. It is pure.
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

// FieldManager is the field manager under which Cairn scales workloads.
const FieldManager = "cairn-scaler"

// controllers is the field manager of the workload controllers and of the autoscaler.
const controllers = "kube-controller-manager"

// ResetWindow is how long a tool that applies a workload can take to reset replicas that somebody else set. Tools that
// apply on their own do so within minutes, or an hour. A tool that has not reset the replicas by then has none in its
// manifest, or does not apply the workload at present.
const ResetWindow = 2 * time.Hour

var (
	// replicas is the field whose manager is sought.
	replicas = fieldpath.MakePathOrDie("spec", "replicas")
	// selector is in every manifest of a workload and cannot be changed: a manager that has it applies the whole
	// workload and not only a part.
	selector = fieldpath.MakePathOrDie("spec", "selector")
	// lastApplied holds the manifest that a tool with client-side apply applied last.
	lastApplied = fieldpath.MakePathOrDie("metadata", "annotations", corev1.LastAppliedConfigAnnotation)
)

// ManagerOfReplicas explains who would reset the replicas of a workload, as the end of a sentence that begins "its
// replicas". It returns "" if nobody would. A manager is an autoscaler of the workload, a field manager other than
// kubectl that set the replicas, or a field manager that applied the workload from a manifest that has them. kubectl
// stands for a person who set a number once. Nobody manages replicas that a former autoscaler set.
func ManagerOfReplicas(
	kind string, workload metav1.Object, autoscalers []autoscalingv2.HorizontalPodAutoscaler,
) string {
	for i := range autoscalers {
		h := &autoscalers[i]
		if h.Spec.ScaleTargetRef.Kind != kind || h.Spec.ScaleTargetRef.Name != workload.GetName() ||
			!strings.HasPrefix(h.Spec.ScaleTargetRef.APIVersion, "apps/") {
			continue
		}
		if owner := metav1.GetControllerOf(h); owner != nil {
			return "are managed by " + owner.Kind + " " + owner.Name + " (by its HorizontalPodAutoscaler " + h.Name +
				")"
		}
		return "are managed by HorizontalPodAutoscaler " + h.Name
	}
	for _, e := range workload.GetManagedFields() {
		switch {
		case neverResets(e.Manager):
		case hasField(e, replicas):
			return "are managed by field manager " + e.Manager
		case applies(e) && hasField(e, lastApplied) &&
			manifestHasReplicas(workload.GetAnnotations()[corev1.LastAppliedConfigAnnotation]):
			return "are in what field manager " + e.Manager + " applied"
		}
	}
	return ""
}

// PossibleManager explains who can still reset the replicas of a workload although its managed fields do not list the
// replicas as theirs. Whoever changes a field takes it from its manager. So after a person, or a former autoscaler,
// changed the replicas, the object no longer shows whether the manifest of a GitOps tool has them. PossibleManager
// assumes that it has until ResetWindow has passed, unless the tool has applied the workload since the change, which
// would have reset the replicas.
func PossibleManager(workload metav1.Object, now time.Time) string {
	taker, taken := takenBy(workload, now)
	if taker == "" || now.Sub(taken) >= ResetWindow {
		return ""
	}
	for _, e := range workload.GetManagedFields() {
		since := e.Time != nil && e.Time.After(taken)
		if !neverResets(e.Manager) && applies(e) && !hasField(e, lastApplied) && !since {
			return fmt.Sprintf("were set by %s, perhaps less than %.0f hours ago, and field manager %s, which "+
				"applies the rest of it, may reset them from its manifest",
				taker, ResetWindow.Hours(), e.Manager)
		}
	}
	return ""
}

// takenBy returns who last set the replicas of a workload, except Cairn, and the latest time at which that can have
// happened; "" if nobody did. The API server keeps no time for the subresource scale, and keeps no manager for a change
// to 0 or to the current number.
func takenBy(workload metav1.Object, now time.Time) (taker string, taken time.Time) {
	had := false
	for _, e := range workload.GetManagedFields() {
		if !hasField(e, replicas) {
			continue
		}
		if !neverResets(e.Manager) {
			return "", time.Time{} // This manager has the replicas.
		}
		had = true
		at := lastObserved(workload, now)
		if e.Time != nil {
			at = e.Time.Time
		}
		if e.Manager != FieldManager && !at.Before(taken) {
			taker, taken = e.Manager, at
		}
	}
	if wanted, _ := state(workload); !had && wanted != 1 { // The default is 1.
		return "somebody", lastObserved(workload, now)
	}
	return taker, taken
}

// lastObserved returns the latest time at which the workload's controller is known to have seen its newest generation.
func lastObserved(workload metav1.Object, now time.Time) time.Time {
	_, observed := state(workload)
	for _, e := range workload.GetManagedFields() {
		if e.Subresource == "status" && e.Manager == controllers && e.Time != nil &&
			observed >= workload.GetGeneration() {
			return e.Time.Time
		}
	}
	return now
}

// state returns the wanted replicas of a workload and the generation that its controller has seen.
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

// applies reports whether an entry belongs to a manager that applies the whole workload.
func applies(e metav1.ManagedFieldsEntry) bool {
	return e.Subresource == "" && hasField(e, selector)
}

// manifestHasReplicas reports whether the manifest that was applied last sets the replicas. An unreadable manifest
// counts as one that does: see hasField.
func manifestHasReplicas(manifest string) bool {
	var m struct {
		Spec struct {
			Replicas *json.RawMessage `json:"replicas"`
		} `json:"spec"`
	}
	return json.Unmarshal([]byte(manifest), &m) != nil || m.Spec.Replicas != nil
}

// neverResets reports whether a field manager never resets a field that it has set.
func neverResets(manager string) bool {
	return strings.HasPrefix(manager, "kubectl") || manager == FieldManager || manager == "before-first-apply" ||
		manager == controllers
}

// hasField reports whether an entry of managed fields includes the field. An unreadable entry includes every field:
// refusing to scale is better than fighting over the replicas.
func hasField(e metav1.ManagedFieldsEntry, field fieldpath.Path) bool {
	if e.FieldsV1 == nil {
		return false
	}
	var set fieldpath.Set
	if err := set.FromJSON(e.FieldsV1.GetRawReader()); err != nil {
		return true
	}
	return set.Has(field)
}
