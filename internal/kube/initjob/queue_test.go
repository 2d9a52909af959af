package initjob

import (
	"context"
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

const label, here = "test/place", "backup.s3"

// turnBed holds a Queue and the Jobs in the cache.
type turnBed struct {
	*WithT
	t     *testing.T
	turns *Queue
	clock *clocktesting.FakePassiveClock
	cache client.Client
}

func newTurnBed(t *testing.T) *turnBed {
	clock := clocktesting.NewFakePassiveClock(time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC))
	return &turnBed{
		WithT: NewWithT(t), t: t, clock: clock, cache: fake.NewClientBuilder().Build(),
		turns: &Queue{Clock: clock, Limit: 2, Label: label, Call: func(client.ObjectKey) {}},
	}
}

func owner(name string) client.ObjectKey { return client.ObjectKey{Namespace: "shop", Name: name} }

// asks reports whether an owner that was created the given minutes after eight gets its turn.
func (b *turnBed) asks(name string, minute int, again ...bool) bool {
	turn := Position{Place: here, Created: time.Date(2026, 11, 20, 8, minute, 0, 0, time.UTC), Again: len(again) > 0}
	taken, err := b.enter(b.cache, name, turn)
	b.Expect(err).NotTo(HaveOccurred())
	return taken
}

// enter asks for the turn of an owner through a cache.
func (b *turnBed) enter(cache client.Client, name string, turn Position) (bool, error) {
	o := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: owner(name).Namespace, Name: name}}
	return Runner{Client: cache, Queue: b.turns}.enter(b.t.Context(), Request{
		Owner: o, Name: "job-" + name,
		Turn: &turn,
	})
}

func (b *turnBed) next() []string {
	owners, err := b.turns.Next(b.t.Context(), b.cache, here)
	b.Expect(err).NotTo(HaveOccurred())
	names := []string{}
	for _, o := range owners {
		names = append(names, o.Name)
	}
	return names
}

// made returns the labels of a Job that Cairn made.
func made(value string) map[string]string {
	return map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, label: value}
}

func (b *turnBed) runs(name string) *batchv1.Job {
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "job-" + name,
		Labels: made(here),
	}}
	b.Expect(b.cache.Create(b.t.Context(), job)).To(Succeed())
	return job
}

func (b *turnBed) ends(job *batchv1.Job, how batchv1.JobConditionType) {
	job.Status.Conditions = []batchv1.JobCondition{{Type: how, Status: corev1.ConditionTrue}}
	b.Expect(b.cache.Status().Update(b.t.Context(), job)).To(Succeed())
}

func TestTurnsAreTakenInTheOrderOfCreation(t *testing.T) {
	b := newTurnBed(t)
	b.Expect(b.asks("c", 3)).To(BeTrue())
	b.Expect(b.asks("c", 3)).To(BeTrue(), "it keeps its turn, whatever the cache says")
	b.Expect(b.asks("d", 4)).To(BeTrue())
	b.Expect(b.asks("b", 2)).To(BeFalse(), "two are at work, although the cache lacks them")
	b.Expect(b.asks("e", 5)).To(BeFalse())
	b.Expect(b.asks("a", 2)).To(BeFalse())
	c, d := b.runs("c"), b.runs("d")
	b.Expect(b.next()).To(BeEmpty())
	b.Expect(b.asks("b", 2)).To(BeFalse())

	b.ends(c, batchv1.JobComplete)
	b.Expect(b.next()).To(Equal([]string{"a"}), "owners of the same age are ordered by name")
	b.Expect(b.next()).To(BeEmpty(), "it was called already")
	b.Expect(b.asks("e", 5)).To(BeFalse(), "the room belongs to another owner")
	b.Expect(b.asks("a", 2)).To(BeTrue())
	b.Expect(b.asks("b", 2)).To(BeFalse())
	b.ends(d, batchv1.JobFailed)
	b.Expect(b.next()).To(Equal([]string{"b"}))
}

func TestWhatFailsWaitsBehindWhatWasNeverTried(t *testing.T) {
	b := newTurnBed(t)
	x, y := b.runs("x"), b.runs("y")
	b.Expect(b.asks("old", 1, true)).To(BeFalse())
	b.clock.SetTime(b.clock.Now().Add(time.Minute))
	b.Expect(b.asks("older", 0, true)).To(BeFalse())
	for i := range 3 {
		b.Expect(b.asks(fmt.Sprintf("new-%d", i), 30+i)).To(BeFalse())
	}
	b.ends(x, batchv1.JobComplete)
	b.ends(y, batchv1.JobComplete)
	var order []string
	for range 5 {
		for _, name := range b.next() {
			order = append(order, name)
			b.Expect(b.asks(name, 0)).To(BeTrue())
			b.turns.giveBack(here, owner("job-"+name))
		}
	}
	b.Expect(order).To(Equal([]string{"new-0", "new-1", "new-2", "old", "older"}),
		"failed owners are ordered by how long they wait")
}

func TestWhoeverDoesNotComeHoldsNobodyUp(t *testing.T) {
	b := newTurnBed(t)
	x := b.runs("x")
	b.runs("y")
	b.Expect(b.asks("gone", 1)).To(BeFalse())
	b.Expect(b.asks("dead", 2)).To(BeFalse())
	b.Expect(b.asks("here", 3)).To(BeFalse())
	b.turns.Forget(here, owner("gone"))
	b.ends(x, batchv1.JobComplete)
	b.Expect(b.next()).To(Equal([]string{"dead"}))
	b.Expect(b.next()).To(BeEmpty())
	b.clock.SetTime(b.clock.Now().Add(turnCalled))
	b.Expect(b.next()).To(Equal([]string{"here"}))
	b.Expect(b.asks("here", 3)).To(BeTrue())
	b.clock.SetTime(b.clock.Now().Add(turnTaken))
	b.Expect(b.asks("dead", 2)).To(BeTrue(), "a turn with which no Job was created comes back")
}

func TestAPlaceDoesNotCountForAnother(t *testing.T) {
	b := newTurnBed(t)
	b.runs("x")
	b.runs("y")
	b.Expect(b.asks("a", 1)).To(BeFalse())
	b.Expect(b.enter(b.cache, "b", Position{Place: "backup.other"})).To(BeTrue())
}

// overtaken is a cache whose first list is overtaken: others act before the caller sees the answer.
type overtaken struct {
	client.Client
	by *func()
}

func (o overtaken) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	err := o.Client.List(ctx, list, opts...)
	if by := *o.by; by != nil {
		*o.by = nil
		by()
	}
	return err
}

// A Job that reaches the cache during a count is counted: as a taken turn or as a Job.
func TestAJobThatAppearsDuringACountIsCounted(t *testing.T) {
	b := newTurnBed(t)
	b.Expect(b.asks("a", 1)).To(BeTrue())
	b.Expect(b.asks("b", 2)).To(BeTrue())
	meanwhile := func() {
		b.runs("a")
		b.runs("b")
		// Another owner asks too, since nothing prevents it. It finds both Jobs in the cache.
		if b.turns.mu.TryLock() {
			b.turns.mu.Unlock()
			b.Expect(b.asks("c", 3)).To(BeFalse())
		}
	}
	b.Expect(b.enter(overtaken{b.cache, &meanwhile}, "d", Position{Place: here})).To(BeFalse(), "two are at work")
	b.Expect(b.asks("c", 3)).To(BeFalse())
}
