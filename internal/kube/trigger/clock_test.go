package trigger

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// yearAhead is a time that a clock wrote which was a year ahead.
func yearAhead(t testing.TB, s string) *metav1.Time {
	return new(metav1.NewTime(at(t, s).AddDate(1, 0, 0)))
}

// A clock that is ahead for a minute writes times that lie a year away. They must not stop the schedule until then.
func TestAClockThatWasAheadStopsNoSchedule(t *testing.T) {
	t.Parallel()
	slot := func(b *sessionFacts) { b.previous.LastScheduleTime = yearAhead(t, "11-20T09:17:00") }
	since := func(b *sessionFacts) { b.previous.ScheduledSince = yearAhead(t, "11-20T09:00:00") }
	all := func(b *sessionFacts) {
		slot(b)
		since(b)
		b.previous.LastMissedTime = yearAhead(t, "11-20T09:17:00")
		b.previous.LastSuccessTime = yearAhead(t, "11-20T09:17:00")
	}
	tests := map[string]struct {
		facts       sessionFacts
		start, last string
	}{
		"the last slot": {hourly(t, "11-20T09:18:00", byController, slot), "09:17", "09:17"},
		"the last slot, whose run exists": {
			hourly(t, "11-20T09:18:00", byController, slot, func(b *sessionFacts) {
				b.runs = append(b.runs, runOf(t, "11-20T09:17:00", v1alpha1.BackupSessionSucceeded))
			}), "", "09:17",
		},
		"the last slot, with a CronJob": {hourly(t, "11-20T09:18:00", slot), "", "08:17"},
		"since when there is a schedule": {
			hourly(t, "11-20T09:18:00", byController, since), "09:17", "09:17",
		},
		"everything": {hourly(t, "11-20T09:18:00", byController, all), "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			short := func(at time.Time) string {
				if at.IsZero() {
					return ""
				}
				return at.Format("15:04")
			}
			j := judge(tt.facts)
			g.Expect(j.skewed).To(ContainSubstring("the clock of the manager was ahead"))
			g.Expect(short(j.start)).To(Equal(tt.start))
			if tt.last == "" {
				g.Expect(j.status.LastScheduleTime).To(BeNil())
			} else {
				g.Expect(short(j.status.LastScheduleTime.Time)).To(Equal(tt.last))
			}
			g.Expect(j.missed).To(BeEmpty(), "nobody knows what was missed")

			again := tt.facts
			again.previous, again.now = j.status, again.now.Add(time.Hour)
			second := judge(again)
			g.Expect(second.skewed).To(BeEmpty(), "it is said once")
			if again.byController() {
				g.Expect(short(second.start)).To(Equal("10:17"), "the schedule goes on")
			}
		})
	}
}

// What a clock that was ahead has called a success of next year is none that protects until then.
func TestASuccessOfTheFutureProtectsNothing(t *testing.T) {
	t.Parallel()
	future := func(b *sessionFacts) {
		s := runOf(t, "11-20T09:17:00", v1alpha1.BackupSessionSucceeded)
		s.CreationTimestamp = metav1.NewTime(at(t, "11-20T09:17:00"))
		s.Spec.ScheduledTime, s.Status.CompletionTime = yearAhead(t, "11-20T09:17:00"), yearAhead(t, "11-20T09:18:00")
		b.runs = append(b.runs, s)
		b.previous.LastSuccessTime = yearAhead(t, "11-20T09:18:00")
	}
	g := NewWithT(t)
	g.Expect(judge(hourly(t, "11-20T15:16:00", future)).protection.late).To(BeFalse(), "its run was made at 09:17")
	late := judge(hourly(t, "11-20T16:18:00", future))
	g.Expect(late.protection.late).To(BeTrue())
	g.Expect(late.status.LastSuccessTime.Time).To(Equal(at(t, "11-20T09:17:00")))
}

// The last look at the invoker before a run is made must not believe that clock, either.
func TestARunStartsAlthoughTheLastSlotLiesAhead(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	facts := hourly(t, "11-20T09:18:00", byController)
	c := &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "1"}}
	c.Status.Sessions = []v1alpha1.SessionStatus{{
		Name: "hourly", LastScheduleTime: yearAhead(t, "11-20T09:17:00"),
	}}
	api := fake.NewClientBuilder().WithScheme(scheme).WithObjects(c).WithStatusSubresource(c).Build()
	k := &Scheduler{Client: api, Reader: api, FieldManager: "test"}
	v, err := viewOf(c)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(k.start(t.Context(), v, &facts.config, at(t, "11-20T09:17:00"), facts.now)).To(Succeed())
	var runs v1alpha1.BackupSessionList
	g.Expect(api.List(t.Context(), &runs)).To(Succeed())
	g.Expect(runs.Items).To(HaveLen(1))
}
