package scaling

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Field sets of entries in managed fields.
const (
	only     = `{"f:spec":{"f:replicas":{}}}`
	template = `{"f:spec":{"f:template":{}}}`
	rest     = `{"f:spec":{"f:selector":{},"f:template":{}}}`
	all      = `{"f:spec":{"f:replicas":{},"f:selector":{},"f:template":{}}}`
	client   = `{"f:metadata":{"f:annotations":{"f:kubectl.kubernetes.io/last-applied-configuration":{}}},"f:spec":{"f:selector":{}}}`
)

var now = time.Unix(1_800_000_000, 0)

// managed returns an entry of managed fields that was written the given time ago; zero: the entry has no time.
func managed(manager, fields string, ago time.Duration) metav1.ManagedFieldsEntry {
	e := metav1.ManagedFieldsEntry{
		Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate,
		FieldsV1: metav1.NewFieldsV1(fields),
	}
	if ago > 0 {
		e.Time = &metav1.Time{Time: now.Add(-ago)}
	}
	return e
}

func of(subresource string, e metav1.ManagedFieldsEntry) metav1.ManagedFieldsEntry {
	e.Subresource = subresource
	return e
}

func autoscaler(kind, name, version string, owners ...metav1.OwnerReference) autoscalingv2.HorizontalPodAutoscaler {
	return autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "busy", OwnerReferences: owners},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{Kind: kind, Name: name, APIVersion: version},
		},
	}
}

func TestManagerAndTaken(t *testing.T) {
	const (
		flux = "kustomize-controller"
		argo = "argocd-controller"
	)
	const hour, second = time.Hour, time.Second
	const perhaps = ", perhaps less than 2 hours ago, and field manager kustomize-controller, which applies the rest " +
		"of it, may reset them from its manifest"
	scaled := of("scale", managed("kubectl", only, 0)) // The API server records no time for it.
	status := func(ago time.Duration) metav1.ManagedFieldsEntry {
		return of("status", managed("kube-controller-manager", template, ago))
	}
	controller := true
	for name, tt := range map[string]struct {
		fields      []metav1.ManagedFieldsEntry
		applied     string
		autoscalers []autoscalingv2.HorizontalPodAutoscaler
		unseen      bool // the workload's controller has not seen the newest generation
		replicas    *int32
		want        string
	}{
		"no manager":                      {},
		"a manager that applied the rest": {fields: []metav1.ManagedFieldsEntry{managed(flux, rest, hour)}},
		"a GitOps tool": {
			fields: []metav1.ManagedFieldsEntry{managed("kubectl", only, hour), managed(flux, all, hour)},
			want:   "are managed by field manager kustomize-controller",
		},
		"an operator": {
			fields: []metav1.ManagedFieldsEntry{managed("shop-operator", only, 0)},
			want:   "are managed by field manager shop-operator",
		},
		"a person": {
			fields: []metav1.ManagedFieldsEntry{managed("kubectl-client-side-apply", all, second)},
		},
		"Cairn itself": {fields: []metav1.ManagedFieldsEntry{managed(FieldManager, only, second)}},
		"a former autoscaler": {
			fields: []metav1.ManagedFieldsEntry{managed("kube-controller-manager", only, second)},
		},
		"fields that can't be read": {
			fields: []metav1.ManagedFieldsEntry{managed("someone", "{", hour)},
			want:   "are managed by field manager someone",
		},
		"an autoscaler": {
			autoscalers: []autoscalingv2.HorizontalPodAutoscaler{autoscaler("Deployment", "web", "apps/v1")},
			want:        "are managed by HorizontalPodAutoscaler busy",
		},
		"an autoscaler of another workload": {
			autoscalers: []autoscalingv2.HorizontalPodAutoscaler{
				autoscaler("Deployment", "shop", "apps/v1"), autoscaler("StatefulSet", "web", "apps/v1"),
			},
		},
		"an autoscaler of another group's kind": {
			autoscalers: []autoscalingv2.HorizontalPodAutoscaler{autoscaler("Deployment", "web", "example.com/v1")},
		},
		"KEDA": {
			autoscalers: []autoscalingv2.HorizontalPodAutoscaler{
				autoscaler("Deployment", "web", "apps/v1", metav1.OwnerReference{
					Kind: "ScaledObject", Name: "queue",
					Controller: &controller,
				}),
			},
			want: "are managed by ScaledObject queue (by its HorizontalPodAutoscaler busy)",
		},

		"a person perhaps took them from a GitOps tool": {
			fields: []metav1.ManagedFieldsEntry{
				managed(flux, rest, 9*hour), managed("kubectl-edit", only, hour), managed("kubectl", template, second),
			},
			want: "were set by kubectl-edit" + perhaps,
		},
		"a former autoscaler perhaps took them": {
			fields: []metav1.ManagedFieldsEntry{
				managed(flux, rest, 9*hour), of("scale", managed("kube-controller-manager", only, 0)), status(hour),
			},
			want: "were set by kube-controller-manager" + perhaps,
		},
		"both in the same second": {
			fields: []metav1.ManagedFieldsEntry{managed(flux, rest, hour), managed("kubectl", only, hour)},
			want:   "were set by kubectl" + perhaps,
		},
		"the last of several persons": {
			fields: []metav1.ManagedFieldsEntry{
				managed("kubectl-patch", only, second), managed(flux, rest, hour), managed("kubectl", only, 9*hour),
			},
			want: "were set by kubectl-patch" + perhaps,
		},
		"the tool does not say when": {
			fields: []metav1.ManagedFieldsEntry{managed(flux, rest, 0), managed("kubectl", only, hour)},
			want:   "were set by kubectl" + perhaps,
		},
		"the tool has applied it since": {
			fields: []metav1.ManagedFieldsEntry{managed(flux, rest, hour-second), managed("kubectl", only, hour)},
		},
		"the tool had time to reset them": {
			fields: []metav1.ManagedFieldsEntry{managed(flux, rest, 9*hour), managed("kubectl", only, 2*hour)},
		},
		"kubectl scale, and the status changed afterwards": {
			fields: []metav1.ManagedFieldsEntry{managed(flux, rest, 9*hour), scaled, status(hour)},
			want:   "were set by kubectl" + perhaps,
		},
		"kubectl scale, and the status last changed long ago": {
			fields: []metav1.ManagedFieldsEntry{managed(flux, rest, 9*hour), scaled, status(2 * hour)},
		},
		"kubectl scale, and the controller has not seen it": {
			fields: []metav1.ManagedFieldsEntry{managed(flux, rest, 9*hour), scaled, status(9 * hour)}, unseen: true,
			want: "were set by kubectl" + perhaps,
		},
		"kubectl scale, and somebody else wrote into the status": {
			fields: []metav1.ManagedFieldsEntry{
				managed(flux, rest, 9*hour), scaled,
				of("status", managed("kubectl", template, 9*hour)),
			}, want: "were set by kubectl" + perhaps,
		},
		"kubectl scale to 0, which leaves no trace": {
			fields: []metav1.ManagedFieldsEntry{managed(flux, rest, 9*hour), status(hour)}, replicas: new(int32(0)),
			want: "were set by somebody" + perhaps,
		},
		"kubectl scale to 0, long ago": {
			fields: []metav1.ManagedFieldsEntry{managed(flux, rest, 9*hour), status(2 * hour)}, replicas: new(int32(0)),
		},
		"kubectl scale to what a person had set": {
			fields: []metav1.ManagedFieldsEntry{managed(flux, rest, 9*hour), status(hour)}, replicas: new(int32(2)),
			want: "were set by somebody" + perhaps,
		},
		"the default number": {
			fields: []metav1.ManagedFieldsEntry{managed(flux, rest, 9*hour), status(hour)}, replicas: new(int32(1)),
		},
		"a person applied 0": {
			fields: []metav1.ManagedFieldsEntry{managed("kubectl", all, hour), status(hour)}, replicas: new(int32(0)),
		},
		"Cairn took them from nobody": {
			fields: []metav1.ManagedFieldsEntry{
				managed(flux, rest, 9*hour), of("scale", managed(FieldManager, only, 0)), status(second),
			},
		},
		"a tool that applies a part": {
			fields: []metav1.ManagedFieldsEntry{
				managed("cairn-sidecar", template, 9*hour), managed("kubectl", only, second),
			},
		},
		"a tool that writes the status": {
			fields: []metav1.ManagedFieldsEntry{
				of("status", managed("rollouts", rest, 9*hour)), managed("kubectl", only, second),
			},
		},
		"a person who applied the workload without them": {
			fields: []metav1.ManagedFieldsEntry{
				managed("kubectl", rest, 9*hour), managed("kubectl-scale", only, second),
			},
		},

		"they are in the manifest that was applied": {
			fields:  []metav1.ManagedFieldsEntry{managed(argo, client, 9*hour), managed("kubectl", only, 9*hour)},
			applied: `{"kind": "Deployment", "spec": {"replicas": 2}}`,
			want:    "are in what field manager argocd-controller applied",
		},
		"they are not in the manifest that was applied": {
			fields:  []metav1.ManagedFieldsEntry{managed(argo, client, 9*hour), managed("kubectl", only, second)},
			applied: `{"spec": {"template": {}}}`,
		},
		"an unreadable manifest": {
			fields: []metav1.ManagedFieldsEntry{managed(argo, client, 9*hour)}, applied: "{",
			want: "are in what field manager argocd-controller applied",
		},
		"they are in the manifest that a person applied": {
			fields:  []metav1.ManagedFieldsEntry{managed("kubectl-client-side-apply", client, 9*hour)},
			applied: `{"spec": {"replicas": 2}}`,
		},
		"they are in the manifest that a person applied earlier": {
			fields: []metav1.ManagedFieldsEntry{
				managed("kubectl-client-side-apply", client, 9*hour),
				managed(flux, rest, hour),
			}, applied: `{"spec": {"replicas": 2}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web", ManagedFields: tt.fields}}
			if d.Generation = 2; !tt.unseen {
				d.Status.ObservedGeneration = 2
			}
			if tt.applied != "" {
				d.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: tt.applied}
			}
			d.Spec.Replicas = tt.replicas
			manager, taken := ManagerOfReplicas("Deployment", d, tt.autoscalers), PossibleManager(d, now)
			if strings.Contains(tt.want, "perhaps") {
				g.Expect(manager).To(BeEmpty())
				g.Expect(taken).To(Equal(tt.want))
			} else {
				g.Expect(manager).To(Equal(tt.want))
				g.Expect(taken).To(BeEmpty())
			}
		})
	}
}

func TestTakenOfAStatefulSet(t *testing.T) {
	g := NewWithT(t)
	s := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{
		Name: "db", Generation: 3,
		ManagedFields: []metav1.ManagedFieldsEntry{
			managed("kustomize-controller", rest, 9*time.Hour),
			of("status", managed(controllers, template, 3*time.Hour)),
		},
	}}
	s.Status.ObservedGeneration = 3
	g.Expect(PossibleManager(s, now)).To(BeEmpty(), "it has the default number")
	s.Spec.Replicas = new(int32(0))
	g.Expect(PossibleManager(s, now)).To(BeEmpty(), "the tool had time to reset them")
	s.Generation = 4
	g.Expect(PossibleManager(s, now)).To(HavePrefix("were set by somebody, perhaps"),
		"its controller has not seen it yet")
}
