package keeper

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// run lets days pass, with a manager that does what is due when it is due, and counts.
func run(s State, from time.Time, days int, change func(day int) bool) (quick, full int) {
	now, end := from, from.Add(time.Duration(days)*24*time.Hour)
	for day := 0; now.Before(end); {
		for d := int(now.Sub(from) / (24 * time.Hour)); day <= d; day++ {
			if change(day) {
				s.Changed = from.Add(time.Duration(day) * 24 * time.Hour)
			}
		}
		switch how, _ := due(s, now); how {
		case task.MaintainQuick:
			quick, s.Quick = quick+1, now
		case task.MaintainFull:
			full, s.Full = full+1, now
		}
		now = now.Add(time.Hour)
	}
	return quick, full
}

func TestDue(t *testing.T) {
	g := NewWithT(t)
	start := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	s := State{Identity: "uid-1", Created: start}

	how, again := due(s, start.Add(1000*time.Hour))
	g.Expect(how).To(BeEmpty(), "one that was never written to needs nothing")
	g.Expect(again).To(BeZero())

	quick, full := run(s, start, 70, func(int) bool { return true })
	g.Expect(full).To(BeNumerically("~", 10, 1), "weekly")
	g.Expect(quick+full).To(BeNumerically("~", 69, 2), "daily; a full one is a quick one too")

	quick, full = run(s, start, 70, func(day int) bool { return day == 0 })
	g.Expect(full).To(BeNumerically("~", 6, 1), "until all that was removed is collected, and its packs are deleted")
	g.Expect(quick).To(BeNumerically("<=", 5))
	s.Changed, s.Full, s.Quick = start, start.Add(fullSettled), start.Add(quickSettled)
	how, again = due(s, start.Add(10000*time.Hour))
	g.Expect(how).To(BeEmpty(), "an unchanged one is left alone")
	g.Expect(again).To(BeZero(), "for good")
}

func TestADamagedOneIsCheckedDailyUntilItIsMended(t *testing.T) {
	g := NewWithT(t)
	start := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	s := State{Identity: "uid-1", Created: start, Changed: start, Full: start.Add(100 * fullEvery), Unsound: true}
	how, again := due(s, s.Full.Add(quickEvery-1))
	g.Expect(how).To(BeEmpty())
	g.Expect(again).To(Equal(s.Full.Add(quickEvery)), "although nothing changes there")
	how, _ = due(s, again)
	g.Expect(how).To(Equal(task.MaintainFull))
	s.Unsound = false
	how, again = due(s, again)
	g.Expect(how).To(BeEmpty())
	g.Expect(again).To(BeZero())
}

func TestDueSaysWhen(t *testing.T) {
	g := NewWithT(t)
	start := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for i := range 100 {
		s := State{Identity: fmt.Sprint(i), Created: start, Changed: start}
		how, again := due(s, start)
		g.Expect(how).To(BeEmpty())
		g.Expect(again).To(And(BeTemporally(">", start), BeTemporally("<=", start.Add(24*time.Hour))))
		how, _ = due(s, again.Add(-1))
		g.Expect(how).To(BeEmpty())
		how, _ = due(s, again)
		g.Expect(how).NotTo(BeEmpty(), "at the time that was told")
	}
}

func TestRepositoriesAreSpread(t *testing.T) {
	start := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	hours := map[int]int{}
	for i := range 1000 {
		_, again := due(State{Identity: fmt.Sprint("uid-", i), Created: start, Changed: start}, start)
		hours[int(again.Sub(start)/time.Hour)]++
	}
	g := NewWithT(t)
	g.Expect(len(hours)).To(BeNumerically(">=", 23), "a thousand made at once are not maintained at once")
	for hour, n := range hours {
		g.Expect(n).To(BeNumerically("<", 100), "in hour %d", hour)
	}
}

// The clock of the manager, or of the controller that ends Jobs, was a year ahead for a moment.
func TestAClockThatWasAheadStopsNoKeeper(t *testing.T) {
	t.Parallel()
	g, created := NewWithT(t), time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	now := created.Add(30 * 24 * time.Hour)
	ahead := now.AddDate(1, 0, 0)
	how, _ := due(State{Identity: "uid-1", Created: created, Changed: now, Quick: ahead, Full: ahead}, now)
	g.Expect(how).To(Equal(task.MaintainFull), "nobody knows when it was maintained")
	how, _ = due(State{Identity: "uid-1", Created: created, Changed: now, Quick: ahead, Full: now}, now)
	g.Expect(how).To(BeEmpty(), "the full one a moment ago was a quick one, too")
	how, _ = due(State{Identity: "uid-1", Created: created, Changed: now, Quick: now, Full: now.Add(time.Second)}, now)
	g.Expect(how).To(BeEmpty(), "clocks differ a little")
	how, _ = due(State{Identity: "uid-1", Created: created, Changed: ahead, Quick: now, Full: now}, now.Add(quickEvery))
	g.Expect(how).To(Equal(task.MaintainQuick))

	how, _ = due(State{Identity: "uid-1", Created: ahead, Changed: ahead}, now)
	g.Expect(how).To(Equal(task.MaintainFull), "nobody knows when it was created")

	at := metav1.NewTime(ahead)
	all := []Work{{Repository: &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Name: "web"}}, Wipe: true}}
	ready, _ := Attempts{"web": {Count: 3, At: at}}.Ready(all, now)
	g.Expect(ready).To(HaveLen(1), "a failure in the future holds nothing up")

	job := &batchv1.Job{Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{
		{Type: batchv1.JobComplete, Status: corev1.ConditionTrue, LastTransitionTime: at},
	}}}
	g.Expect(EndOf(job, metav1.NewTime(now))).To(Equal(metav1.NewTime(now)))
}
