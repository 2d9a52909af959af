package repository

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

// sideBySide calls a function with each number below n, several at a time.
func sideBySide(n int, do func(i int)) {
	var wait sync.WaitGroup
	for worker := range 8 {
		wait.Go(func() {
			for i := worker; i < n; i += 8 {
				do(i)
			}
		})
	}
	wait.Wait()
}

// The test is not parallel: other tests would wait for a worker for minutes.
func TestManyRepositoriesAreInitialisedTenAtATime(t *testing.T) {
	const many = 200 // twenty turns
	g := NewWithT(t)
	s := storageOf(t)
	namespaces := []string{s.Namespace, bed.Namespace(t, nil)}
	for _, namespace := range namespaces {
		bed.Create(t, testbed.Secret(namespace, "enc", map[string]string{"password": "p"}))
	}
	sideBySide(many, func(i int) {
		bed.Create(t, &v1alpha1.Repository{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: namespaces[i%2], Name: fmt.Sprintf("r-%04d", i),
				Finalizers: []string{v1alpha1.FinalizerWipe},
			},
			Spec: v1alpha1.RepositorySpec{
				AppRef: v1alpha1.TypedObjectReference{
					Kind: v1alpha1.KindPersistentVolumeClaim, Name: fmt.Sprintf("c-%04d", i),
				},
				StorageRef:       v1alpha1.ObjectReference{Namespace: s.Namespace, Name: s.Name},
				Path:             fmt.Sprintf("/many/%04d", i),
				EncryptionSecret: v1alpha1.ObjectReference{Name: "enc"},
			},
		})
	})

	// The first ten Repositories that get a Job fail. They must not block the others.
	ended, failed, most := map[string]bool{}, 0, 0
	place := client.MatchingLabels{v1alpha1.LabelInitStorage: policy.StorageLabelValue(s.Namespace, s.Name)}
	g.Eventually(func(g Gomega) {
		var jobs batchv1.JobList
		g.Expect(bed.Client.List(t.Context(), &jobs, place)).To(Succeed())
		var running []*batchv1.Job
		for i := range jobs.Items {
			if !ended[string(jobs.Items[i].UID)] {
				running = append(running, &jobs.Items[i])
			}
		}
		most = max(most, len(running))
		if len(ended) == 0 {
			g.Expect(len(running)).To(BeNumerically(">=", 10), "no turn is left unused")
		}
		results := make([]task.Result, len(running))
		for i := range results {
			results[i] = task.Result{Outcome: task.OutcomeSucceeded, Reason: v1alpha1.ReasonSucceeded}
			if failed < 10 {
				failed++
				results[i] = task.Result{
					Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonAccessDenied, Message: "no",
				}
			}
			ended[string(running[i].UID)] = true
		}
		sideBySide(len(running), func(i int) {
			kubelet.Finish(t, bed.Client, running[i], kubelet.Report(results[i]),
				now.Now())
		})
		g.Expect(ended).To(HaveLen(many))
	}, testbed.Patience, 20*time.Millisecond).Should(Succeed(), "each Repository gets its Job")
	g.Expect(most).To(Equal(10))

	g.Eventually(func(g Gomega) {
		ready, refused := 0, 0
		for _, namespace := range namespaces {
			var list v1alpha1.RepositoryList
			g.Expect(bed.Client.List(t.Context(), &list, client.InNamespace(namespace))).To(Succeed())
			for i := range list.Items {
				switch {
				case list.Items[i].Status.Phase == v1alpha1.PhaseReady:
					ready++
				case conditions.GetReason(&list.Items[i], meta.ReadyCondition) == v1alpha1.ReasonAccessDenied:
					refused++
				}
			}
		}
		g.Expect([]int{ready, refused}).To(Equal([]int{many - 10, 10}))
		var jobs batchv1.JobList
		g.Expect(bed.Client.List(t.Context(), &jobs, place)).To(Succeed())
		g.Expect(jobs.Items).To(HaveLen(10))
	}, testbed.Patience, time.Second).Should(Succeed(),
		"failed Repositories report why, all others are ready and their Jobs are gone")
}
