package retention_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
)

// A default that nobody named in policy removes nothing before the status has shown for a day when it will.
func TestADefaultIsAnnouncedBeforeItRemoves(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	ref := v1alpha1.ObjectReference{Namespace: "shop", Name: "keep"}
	policy := &v1alpha1.RetentionPolicy{ObjectMeta: metav1.ObjectMeta{UID: "1", Generation: 2}}
	goes, stays := func() (bool, error) { return true, nil }, func() (bool, error) { return false, nil }
	begun := func(ago time.Duration) *v1alpha1.DefaultRetention {
		return &v1alpha1.DefaultRetention{
			Ref: ref, UID: "1", Generation: 2, RemovesAfter: new(metav1.NewTime(now.Add(24*time.Hour - ago))),
		}
	}
	other := func(change func(*v1alpha1.DefaultRetention)) *v1alpha1.DefaultRetention {
		known := begun(48 * time.Hour)
		change(known)
		return known
	}
	for name, tt := range map[string]struct {
		known  *v1alpha1.DefaultRetention
		letsGo func() (bool, error)
		want   *v1alpha1.DefaultRetention
		held   bool
	}{
		"it is new": {nil, goes, begun(0), true},
		"it is new and removes nothing": {
			nil, stays, &v1alpha1.DefaultRetention{Ref: ref, UID: "1", Generation: 2}, false,
		},
		"it is known for an hour":             {begun(time.Hour), goes, begun(time.Hour), true},
		"it is known for a day":               {begun(24 * time.Hour), goes, begun(24 * time.Hour), false},
		"it would remove nothing today":       {begun(time.Hour), stays, begun(time.Hour), true},
		"a clock that was ahead announced it": {begun(-24 * 365 * time.Hour), goes, begun(0), true},
		"another was the default": {
			other(func(known *v1alpha1.DefaultRetention) { known.Ref.Name = "old" }), goes, begun(0), true,
		},
		"it was made again": {
			other(func(known *v1alpha1.DefaultRetention) { known.UID = "0" }), goes, begun(0), true,
		},
		"it has changed": {
			other(func(known *v1alpha1.DefaultRetention) { known.Generation = 1 }), goes, begun(0), true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			sure := func() (string, error) { return "", nil }
			inForce, held, err := retention.Introduce(tt.known, ref, policy, tt.letsGo, now, sure)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(inForce).To(Equal(tt.want))
			g.Expect(held).To(Equal(tt.held))
		})
	}
}

// A clock that is behind for a minute must not end a notice with that minute.
func TestAClockInDoubtBeginsNoNotice(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	ref := v1alpha1.ObjectReference{Namespace: "shop", Name: "keep"}
	policy := &v1alpha1.RetentionPolicy{ObjectMeta: metav1.ObjectMeta{UID: "1", Generation: 2}}
	goes := func() (bool, error) { return true, nil }
	noted := &v1alpha1.DefaultRetention{
		Ref: ref, UID: "1", Generation: 2, RemovesAfter: new(metav1.NewTime(now.Add(24 * time.Hour))),
	}
	behind := now.AddDate(0, 0, -40)
	for name, known := range map[string]*v1alpha1.DefaultRetention{"it is noted": noted, "it is new": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			inForce, held, err := retention.Introduce(known, ref, policy, goes, behind,
				func() (string, error) { return "the clocks differ", nil })
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(inForce).To(Equal(known))
			g.Expect(held).To(BeTrue())
			failed := errors.New("no answer")
			_, _, err = retention.Introduce(known, ref, policy, goes, behind,
				func() (string, error) { return "", failed })
			g.Expect(err).To(MatchError(failed))
		})
	}
}

// What only waits goes at once when the wait is over: it needs a notice, too.
func TestADefaultIsAnnouncedAlsoToWhatIsHeldForAWhile(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	made := func(days int, change func(*retention.Snapshot)) retention.Snapshot {
		s := retention.Snapshot{
			Name: fmt.Sprint("s", days), Repository: "web", Phase: v1alpha1.SnapshotSucceeded,
			Time: now.AddDate(0, 0, -days),
		}
		s.Created = s.Time
		if change != nil {
			change(&s)
		}
		return s
	}
	newest := made(1, nil)
	later := now.AddDate(0, 0, 8)
	last := retention.Policy{Rules: []retention.Rule{{Name: "last", Count: 1}}, Zone: time.UTC}
	for name, tt := range map[string]struct {
		snapshots []retention.Snapshot
		want      bool
	}{
		"nothing": {nil, false},
		"one":     {[]retention.Snapshot{newest}, false},
		"it goes": {[]retention.Snapshot{newest, made(2, nil)}, true},
		"a restore": {[]retention.Snapshot{
			newest, made(2, func(s *retention.Snapshot) { s.Held = "in use" }),
		}, true},
		"a scan": {[]retention.Snapshot{
			newest, made(2, func(s *retention.Snapshot) { s.Unchecked = later }),
		}, true},
		"a new scan": {[]retention.Snapshot{
			newest, made(2, func(s *retention.Snapshot) { s.Gathering = later }),
		}, true},
		"a scan takes its place": {[]retention.Snapshot{
			made(1, func(s *retention.Snapshot) { s.Unchecked = later }), made(2, nil),
		}, true},
		"a run": {[]retention.Snapshot{
			newest, made(2, func(s *retention.Snapshot) { s.Point = "p" }),
			made(3, func(s *retention.Snapshot) {
				s.Point, s.Repository, s.Phase = "p", "db", v1alpha1.SnapshotRunning
			}), made(4, func(s *retention.Snapshot) { s.Point = "whole" }),
			made(5, func(s *retention.Snapshot) { s.Point, s.Repository = "whole", "db" }),
		}, true},
		"a run by itself": {[]retention.Snapshot{
			newest, made(0, func(s *retention.Snapshot) { s.Phase = v1alpha1.SnapshotPending }),
		}, false},
		"of another Repository": {[]retention.Snapshot{
			made(1, func(s *retention.Snapshot) { s.Repository = "db" }),
			made(2, func(s *retention.Snapshot) { s.Repository = "db" }),
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			NewWithT(t).Expect(last.LetsGo(tt.snapshots, "web", now)).To(Equal(tt.want))
		})
	}
}
