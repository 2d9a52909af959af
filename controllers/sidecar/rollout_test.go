package sidecar

import (
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The message says what a user must do before the sidecar is in all pods.
func TestARolloutThatWaitsForAPerson(t *testing.T) {
	stale := metav1.ObjectMeta{Generation: 2}
	onDelete := appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}
	partition := appsv1.StatefulSetUpdateStrategy{RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{
		Partition: new(int32(1)),
	}}
	for name, tt := range map[string]struct {
		workload client.Object
		want     string
	}{
		"a Deployment": {&appsv1.Deployment{}, ""},
		"a paused Deployment": {
			&appsv1.Deployment{Spec: appsv1.DeploymentSpec{Paused: true}},
			"the Deployment is paused",
		},
		"a StatefulSet that is not observed yet": {&appsv1.StatefulSet{
			ObjectMeta: stale,
			Spec:       appsv1.StatefulSetSpec{UpdateStrategy: onDelete},
		}, ""},
		"a StatefulSet with OnDelete": {
			&appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{UpdateStrategy: onDelete}},
			"its updateStrategy is OnDelete: delete its pods, one after the other",
		},
		"a StatefulSet whose pods are new": {&appsv1.StatefulSet{
			Spec:   appsv1.StatefulSetSpec{UpdateStrategy: onDelete},
			Status: appsv1.StatefulSetStatus{UpdatedReplicas: 1},
		}, ""},
		"a StatefulSet with a partition": {
			&appsv1.StatefulSet{
				Spec:   appsv1.StatefulSetSpec{Replicas: new(int32(3)), UpdateStrategy: partition},
				Status: appsv1.StatefulSetStatus{UpdatedReplicas: 2},
			},
			"its updateStrategy has the partition 1: pods with smaller numbers are not replaced",
		},
		"a StatefulSet that is scaled down": {&appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{
			Replicas:       new(int32(0)),
			UpdateStrategy: onDelete,
		}}, ""},
		"a DaemonSet with OnDelete": {
			&appsv1.DaemonSet{
				Spec: appsv1.DaemonSetSpec{UpdateStrategy: appsv1.DaemonSetUpdateStrategy{
					Type: appsv1.OnDeleteDaemonSetStrategyType,
				}},
				Status: appsv1.DaemonSetStatus{DesiredNumberScheduled: 2, UpdatedNumberScheduled: 1},
			}, "its updateStrategy is OnDelete: delete its pods, one after the other",
		},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(waiting(tt.workload)).To(Equal(tt.want))
		})
	}
}
