package scaling

import (
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	has   = `{"f:spec":{"f:replicas":{}}}`
	lacks = `{"f:spec":{"f:template":{}}}`
)

// managed is an entry of managed fields.
func managed(manager, fields string) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, FieldsV1: metav1.NewFieldsV1(fields)}
}

func autoscaler(kind, name, version string, owners ...metav1.OwnerReference) autoscalingv2.HorizontalPodAutoscaler {
	return autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "busy", OwnerReferences: owners},
		Spec:       autoscalingv2.HorizontalPodAutoscalerSpec{ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{Kind: kind, Name: name, APIVersion: version}},
	}
}

func TestManager(t *testing.T) {
	controller := true
	for name, tt := range map[string]struct {
		fields      []metav1.ManagedFieldsEntry
		autoscalers []autoscalingv2.HorizontalPodAutoscaler
		want        string
	}{
		"nobody":                           {},
		"who applied the rest":             {fields: []metav1.ManagedFieldsEntry{managed("kustomize-controller", lacks)}},
		"a GitOps tool":                    {fields: []metav1.ManagedFieldsEntry{managed("kubectl", has), managed("kustomize-controller", has)}, want: "field manager kustomize-controller"},
		"an operator":                      {fields: []metav1.ManagedFieldsEntry{managed("shop-operator", has)}, want: "field manager shop-operator"},
		"a person":                         {fields: []metav1.ManagedFieldsEntry{managed("kubectl-client-side-apply", has)}},
		"Cairn itself":                     {fields: []metav1.ManagedFieldsEntry{managed(FieldManager, has)}},
		"the autoscaler that was":          {fields: []metav1.ManagedFieldsEntry{managed("kube-controller-manager", has)}},
		"fields that can't be read":        {fields: []metav1.ManagedFieldsEntry{managed("someone", "{")}, want: "field manager someone"},
		"an autoscaler":                    {autoscalers: []autoscalingv2.HorizontalPodAutoscaler{autoscaler("Deployment", "web", "apps/v1")}, want: "HorizontalPodAutoscaler busy"},
		"the autoscaler of another":        {autoscalers: []autoscalingv2.HorizontalPodAutoscaler{autoscaler("Deployment", "shop", "apps/v1"), autoscaler("StatefulSet", "web", "apps/v1")}},
		"the autoscaler of another's kind": {autoscalers: []autoscalingv2.HorizontalPodAutoscaler{autoscaler("Deployment", "web", "example.com/v1")}},
		"KEDA": {
			autoscalers: []autoscalingv2.HorizontalPodAutoscaler{autoscaler("Deployment", "web", "apps/v1", metav1.OwnerReference{Kind: "ScaledObject", Name: "queue", Controller: &controller})},
			want:        "ScaledObject queue (by its HorizontalPodAutoscaler busy)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web", ManagedFields: tt.fields}}
			g.Expect(Manager("Deployment", d, tt.autoscalers)).To(Equal(tt.want))
		})
	}
}
