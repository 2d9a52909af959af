package workload

import (
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Selection finds the pods of a Deployment, StatefulSet or DaemonSet. Charts often give the pods of a CronJob or of a
// second workload the labels of the first: so its selector alone does not tell whose they are.
type Selection struct {
	// Selector is that of the workload. All of its pods match it, and perhaps others.
	Selector labels.Selector
	kind     string
	name     string
}

// SelectionOf returns the selection of a workload's pods. It selects nothing for an object of another kind.
func SelectionOf(o metav1.Object) Selection {
	out := Selection{Selector: labels.Nothing(), name: o.GetName()}
	var selector *metav1.LabelSelector
	switch o := o.(type) {
	case *appsv1.Deployment:
		out.kind, selector = v1alpha1.KindDeployment, o.Spec.Selector
	case *appsv1.StatefulSet:
		out.kind, selector = v1alpha1.KindStatefulSet, o.Spec.Selector
	case *appsv1.DaemonSet:
		out.kind, selector = v1alpha1.KindDaemonSet, o.Spec.Selector
	}
	// The API server accepts no workload whose selector does not parse.
	if s, err := metav1.LabelSelectorAsSelector(selector); err == nil {
		out.Selector = s
	}
	return out
}

// Has reports whether a pod is one of the workload: its selector matches, and nothing else controls the pod. A pod that
// nothing controls counts: the workload is about to adopt it.
func (s Selection) Has(p *corev1.Pod) bool {
	if !s.Selector.Matches(labels.Set(p.Labels)) {
		return false
	}
	kind, name := controllerOf(p)
	switch {
	case kind == schema.GroupKind{}:
		return true
	case s.kind == v1alpha1.KindDeployment:
		// A ReplicaSet has the name of its Deployment and the hash that its pods have. What others make, such as an
		// Argo Rollout that takes its template from the Deployment, has no such hash.
		hash := revisionOf(p)
		return kind == schema.GroupKind{Group: appsv1.GroupName, Kind: "ReplicaSet"} &&
			(hash == "" || name == s.name+"-"+hash)
	default:
		return kind == schema.GroupKind{Group: appsv1.GroupName, Kind: s.kind} && name == s.name
	}
}

// transientOwners are the kinds whose pods do a piece of work and end.
var transientOwners = map[schema.GroupKind]bool{
	{Group: batchv1.GroupName, Kind: "Job"}:  true,
	{Group: "argoproj.io", Kind: "Workflow"}: true,
	{Group: "tekton.dev", Kind: "TaskRun"}:   true,
}

// Transient reports whether a pod comes and goes, as that of a CronJob, of a workflow, or one that somebody starts for
// a single command. It can use a volume of an application, but is not the application, unless there is no other pod.
// The pods of other controllers are applications, also where nothing restarts them: a virtual machine of KubeVirt is
// one.
func Transient(p *corev1.Pod) bool {
	kind, name := controllerOf(p)
	if name == "" {
		return p.Spec.RestartPolicy == corev1.RestartPolicyNever
	}
	return transientOwners[kind]
}

// controllerOf returns the kind and name of what controls a pod. They are empty if nothing does.
func controllerOf(p *corev1.Pod) (schema.GroupKind, string) {
	owner := metav1.GetControllerOfNoCopy(p)
	if owner == nil {
		return schema.GroupKind{}, ""
	}
	return schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind).GroupKind(), owner.Name
}
