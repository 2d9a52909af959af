package initjob

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

func TestRetriesAreSpread(t *testing.T) {
	g := NewWithT(t)
	least, most := time.Hour, time.Duration(0)
	for i := range 1000 {
		j := jitter(types.UID(fmt.Sprintf("uid-%d", i)))
		g.Expect(j).To(And(BeNumerically(">=", 0), BeNumerically("<", retryJitter)))
		least, most = min(least, j), max(most, j)
	}
	g.Expect(least).To(BeNumerically("<", time.Second))
	g.Expect(most).To(BeNumerically(">", 14*time.Second), "all of the 15 s is used")
}

func TestRetryAt(t *testing.T) {
	at := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{UID: "u", CreationTimestamp: metav1.NewTime(at)}}
	g := NewWithT(t)
	g.Expect(retryAt(job, at)).To(Equal(at.Add(stuckAfter+jitter("u"))), "a Job that cannot start")
	job.Status.Conditions = []batchv1.JobCondition{
		{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(at.Add(time.Hour))},
	}
	g.Expect(retryAt(job, at)).To(Equal(at.Add(time.Hour+retryAfter+jitter("u"))), "a Job that failed")
	g.Expect(retryAt(job, at)).To(Equal(retryAt(job, at)), "a restarted manager computes the same time")
	job.Status.Conditions[0].LastTransitionTime = metav1.NewTime(at.AddDate(1, 0, 0))
	g.Expect(retryAt(job, at)).To(Equal(at.Add(retryAfter+jitter("u"))), "the controller-manager's clock was ahead")
	year := at.AddDate(-1, 0, 0)
	g.Expect(retryAt(job, year)).To(Equal(year), "a clock that was a year ahead has dated the failure")
}

// A mark that lasts for longer than any init holds nobody up, and takes no turn.
func TestAMarkDoesNotLastForEver(t *testing.T) {
	b := newTurnBed(t)
	for _, name := range []string{"x", "y"} {
		job := b.runs(name)
		job.CreationTimestamp = metav1.NewTime(b.clock.Now())
		b.Expect(b.cache.Update(t.Context(), job)).To(Succeed())
	}
	b.Expect(b.asks("a", 0)).To(BeFalse(), "two others run")
	b.clock.SetTime(b.clock.Now().Add(longest))
	b.Expect(b.asks("a", 0)).To(BeTrue())
}

func TestWhatInitialises(t *testing.T) {
	g := NewWithT(t)
	g.Expect(initialises(nil)).To(BeFalse())
	g.Expect(initialises(map[string]string{v1alpha1.AnnotationTask: "{}"})).To(BeFalse())
	t.Run("a real task", func(t *testing.T) {
		text, err := task.Encode(task.Task{
			Kind: task.KindInitStorage, Cluster: "c", Namespace: "shop",
			Storage: task.Storage{Name: "s3", Spec: v1alpha1.Storage{Provider: v1alpha1.ProviderS3}},
		})
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		NewWithT(t).Expect(initialises(map[string]string{v1alpha1.AnnotationTask: text})).To(BeTrue())
	})
}
