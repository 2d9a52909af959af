package initjob

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// What Ready says once a Job follows another one.
func TestFollow(t *testing.T) {
	t.Parallel()
	refused := Progress{
		State: observe.StateRunning, Reason: v1alpha1.ReasonCreationRefused, Message: "refused: ", Words: "quota",
	}
	failed := Progress{State: observe.StateFailed, Reason: v1alpha1.ReasonUnreachable, Message: "no route"}
	denied := Progress{State: observe.StateFailed, Reason: v1alpha1.ReasonAccessDenied, Message: "denied"}
	const failure, refusal = "False Unreachable no route", "False CreationRefused refused: quota"
	const denial = "False AccessDenied denied"
	for name, c := range map[string]struct {
		before func(s Status)
		p      Progress
		proved bool
		want   string
	}{
		"the next one runs":   {p: Progress{State: observe.StateRunning}, want: failure},
		"it waits its turn":   {p: Progress{State: observe.StateRunning, Message: "turn"}, want: failure},
		"it is refused":       {p: refused, want: refusal},
		"it stays suspended":  {p: suspended(v1alpha1.ReasonSuspended), want: "Unknown Progressing suspended"},
		"it begins suspended": {p: suspended(""), want: failure},
		"it runs at last": {
			before: func(s Status) { s.Follow(refused, time.Now()) }, p: Progress{State: observe.StateRunning},
			want: "Unknown Progressing begun",
		},
		"it was refused and waits its turn": {
			before: func(s Status) { s.Follow(refused, time.Now()) },
			p:      Progress{State: observe.StateRunning, Message: "turn", Queued: true}, want: refusal,
		},
		"it is refused in other words": {
			before: func(s Status) { s.Follow(refused, time.Now()) },
			p:      Progress{State: refused.State, Reason: refused.Reason, Message: refused.Message, Words: "port 2"},
			want:   refusal,
		},
		"the owner is proved": {before: Status.Ready, p: refused, proved: true, want: "True Ready usable"},
		"the owner is proved, and the Job fails": {
			before: Status.Ready, p: failed, proved: true, want: "True Ready usable",
		},
		"the owner is proved and has changed, and the Job fails": {
			before: func(s Status) {
				s.Ready()
				s.Object.SetGeneration(2)
			},
			p: failed, proved: true, want: "True Ready usable",
		},
		"the owner is disproved": {before: Status.Ready, p: denied, proved: true, want: denial},
		"the owner stays disproved": {
			before: func(s Status) { s.Follow(denied, time.Now()) }, p: failed, proved: true, want: failure,
		},
		"the owner is not proved": {before: Status.Ready, p: failed, want: failure},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &v1alpha1.Repository{}
			s := Status{
				Object: r, Phase: &r.Status.Phase, ObservedGeneration: &r.Status.ObservedGeneration,
				Condition: v1alpha1.ConditionRepositoryInitialized, Succeeded: "Done", Failed: "Failed",
				Done: "done", Usable: "usable", Begun: "begun", Proved: c.proved,
			}
			s.Follow(failed, time.Now())
			if c.before != nil {
				c.before(s)
			}
			s.Follow(c.p, time.Now())
			is := conditions.Get(r, meta.ReadyCondition)
			NewWithT(t).Expect(r.Status.ObservedGeneration).To(Equal(r.Generation))
			NewWithT(t).Expect(string(is.Status) + " " + is.Reason + " " + is.Message).To(Equal(c.want))
		})
	}
}

// Words of the API server that differ each time must not hide for how long it has refused the Job.
func TestARefusedJobIsTriedLessAndLessOften(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r := &v1alpha1.Repository{}
	s := Status{
		Object: r, Phase: &r.Status.Phase, ObservedGeneration: &r.Status.ObservedGeneration,
		Condition: v1alpha1.ConditionRepositoryInitialized, Succeeded: "Done", Failed: "Failed",
		Done: "done", Usable: "usable", Begun: "begun",
	}
	refused := func(words string) Progress {
		return Progress{
			State: observe.StateRunning, Reason: v1alpha1.ReasonCreationRefused, Message: "refused: ", Words: words,
			After: refusedAgain,
		}
	}
	s.Follow(refused("port 1"), time.Now())
	since := conditions.Get(r, s.Condition).DeepCopy()
	g.Expect(since.Message).To(Equal("refused"))
	for after, again := range map[time.Duration]time.Duration{
		0: refusedAgain, time.Minute: refusedAgain, 8 * time.Minute: 2 * time.Minute, time.Hour: refusedSeldom,
		-time.Hour: refusedAgain, // a clock that was ahead wrote it
	} {
		now := since.LastTransitionTime.Add(after)
		s.Follow(refused("port "+after.String()), now)
		g.Expect(conditions.Get(r, s.Condition)).To(Equal(since))
		g.Expect(s.Again(refused(""), now)).To(Equal(again), after.String())
	}
	s.Follow((&Queue{Limit: 1}).wait(), time.Now())
	g.Expect(conditions.Get(r, s.Condition)).To(Equal(since), "it only waits for its turn")
	g.Expect(s.Again(Progress{State: observe.StateRunning, After: lookAgain}, time.Now())).To(Equal(lookAgain))

	s.Ready()
	s.Proved = true
	s.Follow(refused("port 1"), time.Now())
	g.Expect(s.Again(refused(""), time.Now().Add(time.Hour))).To(Equal(time.Minute), "it stays ready")
}

func suspended(reason string) Progress {
	return Progress{State: observe.StateRunning, Reason: reason, Message: "suspended"}
}
