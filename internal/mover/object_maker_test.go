package mover_test

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover"
	"github.com/cairn-backup/cairn/internal/mover/report"
	"github.com/cairn-backup/cairn/internal/task"
)

// objectMaker is a mover that makes objects with the rights of its pod. The test plays the controllers of these
// objects.
type objectMaker struct {
	testing.TB
	*WithT
	namespace string
	pod       *pod
	task      task.Task
}

// newObjectMaker returns the mover of a Job's pod in a namespace.
func newObjectMaker(t testing.TB, namespace, job string, work task.Task) *objectMaker {
	t.Helper()
	m := &objectMaker{TB: t, WithT: NewWithT(t), namespace: namespace, pod: newPod(t), task: work}
	m.task.Cluster, m.task.Namespace = "cluster", namespace
	api := as(t, namespace, v1alpha1.SnapshotterServiceAccount, job+"-abcde")
	m.pod.mover.Client, m.pod.mover.Job = api, job
	m.pod.mover.Status = report.APIStatus{Client: api, Namespace: namespace}
	return m
}

// run does the task and returns the mover's Result.
func (m *objectMaker) run(ctx context.Context, wait time.Duration) *task.Result {
	m.Helper()
	_, result := m.pod.with(ctx, m.task, mover.Flags{WaitTimeout: wait})
	return result
}

// meanwhile does something with an object of a name as soon as it exists.
func meanwhile[T any, O interface {
	*T
	client.Object
}](m *objectMaker, name string, do func(context.Context, O) error) {
	m.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	m.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			found := O(new(T))
			if err := bed.Client.Get(ctx, client.ObjectKey{Namespace: m.namespace, Name: name}, found); err == nil &&
				do(ctx, found) == nil {
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
}

// admitted: the API server accepts an object from a mover, which can't delete it, or refuses it.
func admitted(t *testing.T, api dynamic.NamespaceableResourceInterface, object client.Object, refusal string) {
	t.Helper()
	g := NewWithT(t)
	err := create(t, api, object)
	if refusal != "" {
		g.Expect(err).To(MatchError(ContainSubstring(refusal)))
		return
	}
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(api.Namespace(object.GetNamespace()).Delete(t.Context(), object.GetName(), metav1.DeleteOptions{})).
		NotTo(Succeed(), "it deletes nothing")
}

// create creates an object.
func create(t *testing.T, api dynamic.NamespaceableResourceInterface, object client.Object) error {
	t.Helper()
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	_, err = api.Namespace(object.GetNamespace()).
		Create(t.Context(), &unstructured.Unstructured{Object: fields}, metav1.CreateOptions{})
	return err
}
