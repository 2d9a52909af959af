package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/e2e/testbed"
)

// afterTest is a context for cleanups, which run after the test's own context has ended.
func afterTest(t *testing.T) context.Context { return context.WithoutCancel(t.Context()) }

// waitFault waits until an object's condition Ready is False and a warning event was sent, both for this reason, and
// checks that both hold the message. Then it reads the object again.
func waitFault(t *testing.T, bed *testbed.Testbed, object conditioned, within time.Duration, reason, message string) {
	t.Helper()
	g := NewWithT(t)
	var ready *metav1.Condition
	err := testbed.Poll(t.Context(), within, fmt.Sprintf("%T %s to be refused", object, object.GetName()),
		func(ctx contextT) (bool, error) {
			if err := bed.Client.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
				return false, client.IgnoreNotFound(err)
			}
			ready = apimeta.FindStatusCondition(object.GetConditions(), "Ready")
			return ready != nil && ready.Status == metav1.ConditionFalse && ready.Reason == reason, nil
		})
	g.Expect(err).NotTo(HaveOccurred(), "last seen: %+v", ready)
	g.Expect(ready.Message).To(ContainSubstring(message))
	t.Logf("%s %s: %s", object.GetName(), ready.Reason, ready.Message)

	var said []string
	g.Expect(testbed.Poll(t.Context(), patience, "the event", func(ctx contextT) (bool, error) {
		said, err = warnings(ctx, bed, object, reason)
		return len(said) > 0, err
	})).To(Succeed())
	g.Expect(said).To(HaveEach(ContainSubstring(message)))
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(object), object)).To(Succeed())
}

// warnings returns the different messages of an object's warning events with this reason.
func warnings(ctx context.Context, bed *testbed.Testbed, object client.Object, reason string) ([]string, error) {
	var events corev1.EventList
	if err := bed.Client.List(ctx, &events, client.InNamespace(object.GetNamespace())); err != nil {
		return nil, err
	}
	var messages []string
	for _, e := range events.Items {
		if e.InvolvedObject.UID == object.GetUID() && e.Type == corev1.EventTypeWarning && e.Reason == reason &&
			!slices.Contains(messages, e.Message) {
			messages = append(messages, e.Message)
		}
	}
	return messages, nil
}

// setSecret changes one key of a Secret.
func setSecret(t *testing.T, bed *testbed.Testbed, namespace, name, key, value string) {
	t.Helper()
	g := NewWithT(t)
	secret := &corev1.Secret{}
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, secret)).To(Succeed())
	secret.Data[key] = []byte(value)
	g.Expect(bed.Client.Update(t.Context(), secret)).To(Succeed())
}

// scale sets the replicas of a Deployment and waits until exactly so many are there and ready.
func scale(ctx context.Context, bed *testbed.Testbed, key client.ObjectKey, replicas int32) error {
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas))
	if err := bed.Client.Patch(ctx, deployment, patch); err != nil {
		return fmt.Errorf("scale %s: %w", key, err)
	}
	return waitReplicas(ctx, bed, key)
}

func waitReplicas(ctx context.Context, bed *testbed.Testbed, key client.ObjectKey) error {
	return testbed.Poll(ctx, patience, "the replicas of "+key.Name, func(ctx context.Context) (bool, error) {
		deployment := &appsv1.Deployment{}
		if err := bed.Client.Get(ctx, key, deployment); err != nil {
			return false, err
		}
		pods := &corev1.PodList{}
		if err := bed.Client.List(ctx, pods, client.InNamespace(key.Namespace),
			client.MatchingLabels(deployment.Spec.Selector.MatchLabels)); err != nil {
			return false, err
		}
		want := ptr.Deref(deployment.Spec.Replicas, 1)
		return deployment.Status.ObservedGeneration >= deployment.Generation && int32(len(pods.Items)) == want &&
			deployment.Status.UpdatedReplicas == want && deployment.Status.AvailableReplicas == want, nil
	})
}

// kill deletes a pod without its grace period.
func kill(t *testing.T, bed *testbed.Testbed, pod *corev1.Pod) {
	t.Helper()
	NewWithT(t).Expect(client.IgnoreNotFound(bed.Client.Delete(t.Context(), pod, client.GracePeriodSeconds(0)))).
		To(Succeed())
}

var managerKey = client.ObjectKey{Namespace: testbed.SystemNamespace, Name: "cairn-manager"}

// killManager kills the manager's pod. Its Deployment makes another one.
func killManager(t *testing.T, bed *testbed.Testbed) {
	t.Helper()
	g := NewWithT(t)
	var pods corev1.PodList
	g.Expect(bed.Client.List(t.Context(), &pods, client.InNamespace(managerKey.Namespace),
		client.MatchingLabels{"app.kubernetes.io/name": managerKey.Name})).To(Succeed())
	g.Expect(pods.Items).NotTo(BeEmpty())
	for i := range pods.Items {
		kill(t, bed, &pods.Items[i])
	}
}

// managerLeader waits until a manager whose pod exists holds the lease, and another manager than the given one. It
// returns the holder.
func managerLeader(t *testing.T, bed *testbed.Testbed, not string) string {
	t.Helper()
	var leader string
	NewWithT(t).Expect(testbed.Poll(t.Context(), patience, "another manager than "+not,
		func(ctx contextT) (bool, error) {
			var leases coordinationv1.LeaseList
			if err := bed.Client.List(ctx, &leases, client.InNamespace(managerKey.Namespace)); err != nil {
				return false, err
			}
			if len(leases.Items) != 1 {
				return false, fmt.Errorf("there are %d leases", len(leases.Items))
			}
			leader = ptr.Deref(leases.Items[0].Spec.HolderIdentity, "")
			pod, _, _ := strings.Cut(leader, "_")
			err := bed.Client.Get(ctx, client.ObjectKey{Namespace: managerKey.Namespace, Name: pod}, &corev1.Pod{})
			return err == nil && leader != not, client.IgnoreNotFound(err)
		})).To(Succeed(), "a manager that was not killed proves nothing")
	return leader
}

// waitGone waits until an object is gone.
func waitGone(ctx context.Context, t *testing.T, bed *testbed.Testbed, object client.Object, within time.Duration) {
	t.Helper()
	NewWithT(t).Expect(testbed.Poll(ctx, within, fmt.Sprintf("the end of %T %s", object, object.GetName()),
		func(ctx contextT) (bool, error) {
			err := bed.Client.Get(ctx, client.ObjectKeyFromObject(object), object)
			return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
		})).To(Succeed())
}
