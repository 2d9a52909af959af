package trigger

import (
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

var now = time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)

func TestStatus(t *testing.T) {
	session := func(name, line string, suspend bool) v1alpha1.SessionConfig {
		return v1alpha1.SessionConfig{Name: name, Scheduler: &v1alpha1.SchedulerSpec{Schedule: line, Suspend: ptr.To(suspend)}}
	}
	sessions := []v1alpha1.SessionConfig{
		session("nightly", "0 2 * * *", false), session("hourly", "17 * * * *", false), session("paused", "1 * * * *", true),
		session("broken", "61 * * * *", false), session("taken", "2 * * * *", false), {Name: "manual"},
	}
	g := NewWithT(t)
	statuses, next := Status(nil, sessions, map[string]error{"taken": errors.New("the name is in use")}, now, 3)

	g.Expect(next).To(Equal(now.Add(17*time.Minute)), "the earliest slot of what really runs")
	g.Expect(statuses).To(HaveLen(len(sessions)))
	reasons := map[string]string{}
	for _, status := range statuses {
		if len(status.Conditions) == 1 {
			reasons[status.Name] = status.Conditions[0].Reason
		}
		scheduled := status.Name == "nightly" || status.Name == "hourly"
		g.Expect(status.NextSchedule != nil).To(Equal(scheduled), status.Name)
	}
	g.Expect(reasons).To(Equal(map[string]string{
		"nightly": v1alpha1.ReasonSchedulerEnsured, "hourly": v1alpha1.ReasonSchedulerEnsured, "paused": v1alpha1.ReasonSchedulerEnsured,
		"broken": v1alpha1.ReasonInvalidSchedule, "taken": v1alpha1.ReasonSchedulerNotEnsured,
	}))

	again, _ := Status(statuses, sessions, map[string]error{"taken": errors.New("the name is in use")}, now.Add(time.Minute), 3)
	g.Expect(again).To(Equal(statuses), "nothing changes between two slots")
	later, _ := Status(statuses, sessions, nil, now.Add(time.Minute), 3)
	g.Expect(later[0]).To(Equal(statuses[0]))
	g.Expect(later[4].Conditions[0].LastTransitionTime.Time).To(Equal(now.Add(time.Minute)), "a condition that changed has a new time")
	g.Expect(statuses[4].Conditions[0].Reason).To(Equal(v1alpha1.ReasonSchedulerNotEnsured), "what was given is not written to")
}

func TestAfter(t *testing.T) {
	conflict := map[string]error{"a": errors.New("the name is in use")}
	tests := map[string]struct {
		next      time.Time
		conflicts map[string]error
		want      time.Duration
	}{
		"at the next slot":                {now.Add(time.Hour), nil, time.Hour},
		"never without one":               {time.Time{}, nil, 0},
		"soon where a name is in use":     {now.Add(time.Hour), conflict, time.Minute},
		"soon without a slot too":         {time.Time{}, conflict, time.Minute},
		"at the slot where that's sooner": {now.Add(time.Second), conflict, time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(After(now, test.next, test.conflicts)).To(Equal(test.want))
		})
	}
}
