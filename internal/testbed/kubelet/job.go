package kubelet

import (
	"testing"
	"time"

	"github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// patience is how long Job waits.
	patience = time.Minute
	interval = 50 * time.Millisecond
)

// Job waits for a Job in the namespace that has the label and is none of the objects in not. It removes deleted Jobs.
func Job(t testing.TB, c client.Client, namespace, label string, not ...client.Object) *batchv1.Job {
	t.Helper()
	var found *batchv1.Job
	gomega.NewWithT(t).Eventually(func(g gomega.Gomega) {
		var list batchv1.JobList
		g.Expect(c.List(t.Context(), &list, client.InNamespace(namespace), client.HasLabels{label})).
			To(gomega.Succeed())
		found = nil
		for i := range list.Items {
			job := &list.Items[i]
			if job.DeletionTimestamp != nil {
				g.Expect(remove(t.Context(), c, job)).To(gomega.Succeed())
				continue
			}
			known := false
			for _, o := range not {
				known = known || o.GetUID() == job.UID
			}
			if !known {
				found = job
			}
		}
		g.Expect(found).NotTo(gomega.BeNil())
	}, patience, interval).Should(gomega.Succeed(), "a Job with the label %s is created", label)
	return found
}

// Start makes the pod of a Job run.
func Start(t testing.TB, c client.Client, job *batchv1.Job) *corev1.Pod {
	t.Helper()
	pod, _, err := start(t.Context(), c, job)
	gomega.NewWithT(t).Expect(err).NotTo(gomega.HaveOccurred())
	return pod
}

// Finish ends a Job at a time.
func Finish(t testing.TB, c client.Client, job *batchv1.Job, o Outcome, at time.Time) {
	t.Helper()
	g := gomega.NewWithT(t)
	pod, _, err := schedule(t.Context(), c, job)
	g.Expect(err).NotTo(gomega.HaveOccurred())
	g.Expect(end(t.Context(), c, job, pod, o, metav1.NewTime(at))).To(gomega.Succeed())
}
