package movers

import (
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// idleEvery is how often the status records that a sidecar has other work first.
const idleEvery = time.Minute

// ReadSidecarWork reads the work that sidecars were given for a Snapshot or RestoreSession. Work that can't be decoded
// counts as missing, and is written anew.
func ReadSidecarWork(o metav1.Object) sidecar.Work {
	work, err := sidecar.Decode(o.GetAnnotations()[v1alpha1.AnnotationSidecarTask])
	if err != nil {
		return sidecar.Work{}
	}
	return work
}

// AssignInput is what ChoosePods needs to know about existing assignments.
type AssignInput struct {
	// Object is the UID of the object that holds the assignments.
	Object types.UID
	// Now is the time of the decision.
	Now time.Time
	// Node returns the node of a host.
	Node func(host string) string
	// Begun reports whether an assignment has begun.
	Begun func(*sidecar.Assignment) bool
	// Fits reports whether a pod has the volumes that were resolved for an assignment.
	Fits func(*corev1.Pod, *sidecar.Assignment) bool
}

// ChoosePods finds a pod for each assignment without one, and records which assignments wait because their sidecar has
// other work first.
func ChoosePods(work *sidecar.Work, crew *run.SidecarPods, in AssignInput) {
	now := metav1.NewTime(in.Now).Rfc3339Copy()
	for i := range work.Assignments {
		a := &work.Assignments[i]
		if a.PodUID == "" && a.Stop {
			continue // it was given up
		}
		if a.PodUID != "" {
			if !in.Begun(a) && crew.Occupied(a.PodUID, in.Object) &&
				(a.Idle == nil || now.Sub(a.Idle.Time) >= idleEvery) {
				a.Idle = &now
			}
			continue
		}
		var volumes []string
		for _, c := range a.Components {
			volumes = append(volumes, c.Volume)
		}
		fits := func(p *corev1.Pod) bool { return in.Fits(p, a) }
		if pod := crew.Choose(a.Host, in.Node(a.Host), volumes, fits); pod != nil {
			a.Pod, a.PodUID, a.Given = pod.Name, pod.UID, &now
			a.Restarts = observe.ContainerStatus(pod, sidecar.Container).RestartCount
		}
	}
}

// Post writes the work into the metadata of o, or removes it if there is none. It refuses work that does not fit, and
// then leaves o unchanged.
func Post(o metav1.Object, app v1alpha1.TypedObjectReference, work sidecar.Work, credentials string) error {
	annotations, labels := maps.Clone(o.GetAnnotations()), maps.Clone(o.GetLabels())
	if len(work.Assignments) == 0 {
		delete(annotations, v1alpha1.AnnotationSidecarTask)
		delete(annotations, v1alpha1.AnnotationSidecarCredentials)
		delete(labels, v1alpha1.LabelSidecar)
		o.SetAnnotations(annotations)
		o.SetLabels(labels)
		return nil
	}
	text, err := sidecar.Encode(work)
	if err != nil {
		return Refuse(v1alpha1.ReasonInvalidTask, "%v", err)
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	if labels == nil {
		labels = map[string]string{}
	}
	annotations[v1alpha1.AnnotationSidecarTask], annotations[v1alpha1.AnnotationSidecarCredentials] = text, credentials
	labels[v1alpha1.LabelSidecar] = sidecar.Name(app.Kind, app.Name)
	o.SetAnnotations(annotations)
	o.SetLabels(labels)
	return nil
}
