package retention_test

import (
	"errors"
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
	goes := []retention.Verdict{{Kept: []retention.Keep{{}}}, {}}
	stays := goes[:1]
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
		known    *v1alpha1.DefaultRetention
		verdicts []retention.Verdict
		want     *v1alpha1.DefaultRetention
		held     bool
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
			inForce, held, err := retention.Introduce(tt.known, ref, policy, tt.verdicts, now, sure)
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
	noted := &v1alpha1.DefaultRetention{
		Ref: ref, UID: "1", Generation: 2, RemovesAfter: new(metav1.NewTime(now.Add(24 * time.Hour))),
	}
	behind := now.AddDate(0, 0, -40)
	for name, known := range map[string]*v1alpha1.DefaultRetention{"it is noted": noted, "it is new": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			inForce, held, err := retention.Introduce(known, ref, policy, []retention.Verdict{{}}, behind,
				func() (string, error) { return "the clocks differ", nil })
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(inForce).To(Equal(known))
			g.Expect(held).To(BeTrue())
			failed := errors.New("no answer")
			_, _, err = retention.Introduce(known, ref, policy, nil, behind,
				func() (string, error) { return "", failed })
			g.Expect(err).To(MatchError(failed))
		})
	}
}
