package sidecar_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/sidecar"
)

// The message says what a user must do before the sidecar is in all pods.
func TestARolloutThatWaitsForAPerson(t *testing.T) {
	stale := metav1.ObjectMeta{Generation: 2}
	onDelete := appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}
	partition := appsv1.StatefulSetUpdateStrategy{RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{
		Partition: new(int32(1)),
	}}
	for name, tt := range map[string]struct {
		workload sidecar.Workload
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
			g := NewWithT(t)
			rollout, err := sidecar.RolloutOf(tt.workload)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(rollout.Waits).To(Equal(tt.want))
		})
	}
}

func TestTheProgressOfARollout(t *testing.T) {
	deployment := func(status appsv1.DeploymentStatus) *appsv1.Deployment {
		return &appsv1.Deployment{
			TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
			ObjectMeta: metav1.ObjectMeta{Name: "web", Generation: 2},
			Spec:       appsv1.DeploymentSpec{Replicas: new(int32(1))}, Status: status,
		}
	}
	for name, tt := range map[string]struct {
		status appsv1.DeploymentStatus
		want   sidecar.Rollout
	}{
		"its controller has not seen it": {status: appsv1.DeploymentStatus{ObservedGeneration: 1}},
		"all pods are new": {
			status: appsv1.DeploymentStatus{
				ObservedGeneration: 2, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1,
				Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentAvailable, Status: "True"}},
			},
			want: sidecar.Rollout{Done: true},
		},
		"Kubernetes gave up": {
			status: appsv1.DeploymentStatus{
				ObservedGeneration: 2, Replicas: 1, UpdatedReplicas: 1,
				Conditions: []appsv1.DeploymentCondition{{
					Type: appsv1.DeploymentProgressing, Status: "False", Reason: "ProgressDeadlineExceeded",
				}},
			},
			want: sidecar.Rollout{Failed: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			rollout, err := sidecar.RolloutOf(deployment(tt.status))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(rollout).To(Equal(tt.want))
		})
	}
}

func TestFollowingARollout(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ago := func(d time.Duration) *metav1.Time { return &metav1.Time{Time: now.Add(-d)} }
	for name, tt := range map[string]struct {
		since   *metav1.Time
		rollout sidecar.Rollout
		reason  string
		message string
	}{
		"it has just begun": {reason: v1alpha1.ReasonSidecarRolloutInProgress, message: "are being replaced"},
		"it is done":        {since: ago(time.Hour), rollout: sidecar.Rollout{Done: true}},
		"it waits for a person": {
			since: ago(time.Hour), rollout: sidecar.Rollout{Waits: "the Deployment is paused"},
			reason: v1alpha1.ReasonSidecarRolloutInProgress, message: "the Deployment is paused",
		},
		"it takes long": {
			since: ago(10*time.Minute + 1), reason: v1alpha1.ReasonSidecarRolloutFailed, message: "executor Job",
		},
		"it failed": {
			rollout: sidecar.Rollout{Failed: true}, reason: v1alpha1.ReasonSidecarRolloutFailed,
			message: "executor Job",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := sidecar.State{Record: sidecar.Record{Since: tt.since}}
			after := s.Follow(tt.rollout, "Deployment shop/web", now)
			g.Expect(s.Reason).To(Equal(tt.reason))
			g.Expect(s.Message).To(ContainSubstring(tt.message))
			g.Expect(s.RolledOut).To(Equal(tt.rollout.Done))
			if tt.rollout.Done {
				g.Expect(after).To(BeZero())
				g.Expect(s.Since).To(BeNil())
			} else {
				g.Expect(after).To(BeNumerically(">", 0))
				g.Expect(s.Since).NotTo(BeNil())
			}
		})
	}
}
