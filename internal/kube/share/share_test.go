package share

import (
	"context"
	"testing"
	"testing/synctest"

	. "github.com/onsi/gomega"
)

func TestAUserHasHalfOfTheSlots(t *testing.T) {
	t.Parallel()
	for slots, want := range map[int]int{1: 1, 2: 1, 3: 1, 4: 2, 100: 50} {
		g, s := NewWithT(t), Of(slots)
		var held []func()
		for release := s.Take("a"); release != nil; release = s.Take("a") {
			held = append(held, release)
		}
		g.Expect(held).To(HaveLen(want), "of %d", slots)
		other := s.Take("b")
		g.Expect(other).NotTo(BeNil(), "another user has his own")
		other()
		for range 2 { // a slot is given back once
			held[0]()
		}
		again := s.Take("a")
		g.Expect(again).NotTo(BeNil())
		g.Expect(s.Take("a")).To(BeNil())
		again()
		for _, release := range held {
			release()
		}
		g.Expect(s.users).To(BeEmpty(), "nobody is remembered")
	}
}

func TestWaitEndsWithASlotOrWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, s := NewWithT(t), Of(2)
		first := s.Take("a")
		got := make(chan func())
		go func() {
			release, _ := s.Wait(t.Context(), "a")
			got <- release
		}()
		synctest.Wait()
		g.Expect(got).NotTo(Receive(), "the slot is taken")
		stopped, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Wait(stopped, "a")
		g.Expect(err).To(MatchError(context.Canceled))
		first()
		second := <-got
		second()
		g.Expect(s.users).To(BeEmpty())
	})
}

func TestNoShareHasNoEnd(t *testing.T) {
	t.Parallel()
	var s *Share
	NewWithT(t).Expect(s.Take("a")).NotTo(BeNil())
}
