package initjob

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task/observe"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// An owner whose Job the API server refuses says why it waits, and leaves its turn to others.
func TestARefusedJobSaysWhyAndHoldsNobodyUp(t *testing.T) {
	g := NewWithT(t)
	b := newTurnBed(t)
	owner := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u"}}
	denied := testbed.Denied(403)
	cache := interceptor.NewClient(fake.NewClientBuilder().Build(), testbed.Deny("Job", "", &denied))
	r := Runner{
		Client: cache, Reader: cache, Clock: clocktesting.NewFakePassiveClock(time.Now()), Queue: b.turns,
	}
	build := func(context.Context) (*batchv1.Job, error) {
		return &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "init", Labels: made("web"),
		}}, nil
	}
	request := Request{Owner: owner, Label: label, Name: "init", Build: build, Turn: &Position{Place: here}}
	progress, err := r.Run(t.Context(), request)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(progress.State).To(Equal(observe.StateRunning))
	g.Expect(progress.Reason).To(Equal(v1alpha1.ReasonCreationRefused))
	g.Expect(progress.Words).To(ContainSubstring("not here"))
	g.Expect(progress.After).To(Equal(refusedAgain))
	g.Expect(b.turns.places[here].taken).To(BeEmpty())

	denied = nil
	progress, err = r.Run(t.Context(), request)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(progress).To(Equal(Progress{State: observe.StateRunning}))
	g.Expect(cache.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "init"}, &batchv1.Job{})).To(Succeed())
}

// Where something like Kueue lets Jobs in, each begins suspended. One that stays so says it.
func TestAJobThatStaysSuspendedSaysWhy(t *testing.T) {
	t.Parallel()
	created := metav1.NewTime(time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC))
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "init", UID: "j", CreationTimestamp: created},
		Spec:       batchv1.JobSpec{Suspend: new(true)},
	}
	c := fake.NewClientBuilder().WithObjects(job).Build()
	for after, reason := range map[time.Duration]string{
		time.Second: "", suspendedLimit + time.Second: v1alpha1.ReasonSuspended,
	} {
		r := Runner{Client: c, Reader: c, Clock: clocktesting.NewFakePassiveClock(created.Add(after))}
		progress, err := r.observe(t.Context(), job)
		g := NewWithT(t)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(progress.State).To(Equal(observe.StateRunning))
		g.Expect(progress.Reason).To(Equal(reason))
		g.Expect(progress.Message).To(ContainSubstring("suspended"))
	}
}
