package ledger

import (
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/loglines"
)

// TestPause checks how long a Ledger does not push, and the line that says why.
func TestPause(t *testing.T) {
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		memory          memory
		pushed          time.Duration // before now; 0 means never
		pending, forced bool
		wait            time.Duration
		line            string
	}{
		"never checked":          {},
		"forced after a failure": {memory: memory{failures: 1, notBefore: now.Add(time.Minute)}, forced: true},
		"failed a moment ago": {
			memory: memory{failures: 1, notBefore: now.Add(time.Minute)}, pending: true, wait: time.Minute,
			line: `"msg"="waits before the next push" "records"=0 "after"="1m0s" "why"="the last try failed"`,
		},
		"failed long ago": {
			memory: memory{checked: now.Add(-time.Minute), failures: 1, notBefore: now.Add(-time.Second)},
		},
		"no record": {
			memory: memory{checked: now.Add(-time.Minute)}, wait: 9 * time.Minute,
			line: `"msg"="nothing to do: no record waits, and the branch was checked" "records"=0 "after"="9m0s"`,
		},
		"records, pushed a moment ago": {
			memory: memory{checked: now}, pushed: time.Minute, pending: true, wait: 4 * time.Minute,
			line: `"msg"="waits before the next push" "records"=0 "after"="4m0s" ` +
				`"why"="spec.batchWindow collects records"`,
		},
		"records, pushed by a clock that differs a little": {
			memory: memory{checked: now}, pushed: -time.Minute, pending: true, wait: 6 * time.Minute,
			line: `"msg"="waits before the next push" "records"=0 "after"="6m0s" ` +
				`"why"="spec.batchWindow collects records"`,
		},
		"records, pushed by a clock that was ahead": {
			memory: memory{checked: now}, pushed: -time.Hour, pending: true,
		},
		"records, never pushed": {memory: memory{checked: now}, pending: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			l := &v1alpha1.Ledger{}
			l.Spec.Interval = metav1.Duration{Duration: 10 * time.Minute}
			l.Spec.BatchWindow = metav1.Duration{Duration: 5 * time.Minute}
			if tt.pushed != 0 {
				l.Status.LastPushedTime = &metav1.Time{Time: now.Add(-tt.pushed)}
			}
			r := &Reconciler{Clock: clocktesting.NewFakePassiveClock(now)}
			wait, why := r.pause(l, &tt.memory, tt.pending, tt.forced)
			g.Expect(wait).To(Equal(tt.wait))
			if tt.line == "" {
				g.Expect(why).To(BeEmpty())
				return
			}
			ctx, lines := loglines.Record(t.Context(), 1)
			logPause(ctx, l, why, wait)
			g.Expect(*lines).To(ConsistOf(ContainSubstring(tt.line)))
		})
	}
}

// TestLineOfAFailure checks what a Ledger says that it does next.
func TestLineOfAFailure(t *testing.T) {
	for name, tt := range map[string]struct {
		fault   fault
		deleted bool
		want    string
	}{
		"a fault that passes": {
			fault: fault{reason: "PushFailed"}, want: `"msg"="tries again" "reason"="PushFailed" "after"="1h0m0s"`,
		},
		"a fault that a person mends": {
			fault: fault{reason: v1alpha1.ReasonInvalidURL, stalled: true},
			want:  `"msg"="looks for a change" "reason"="InvalidURL" "after"="1h0m0s"`,
		},
		"suspended, and being deleted": {
			fault: fault{reason: v1alpha1.ReasonSuspended}, deleted: true,
			want: `"msg"="looks for a change" "reason"="Suspended" "after"="30s"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			l := &v1alpha1.Ledger{}
			if tt.deleted {
				l.DeletionTimestamp = &metav1.Time{}
				l.DeletionTimestamp.Time = time.Now()
			}
			ctx, lines := loglines.Record(t.Context(), 1)
			logFailed(ctx, l, &tt.fault, time.Hour)
			g.Expect(*lines).To(ConsistOf(ContainSubstring(tt.want)))
		})
	}
}

// A clock that was a year ahead has dated the deletion of a namespace or kind. Records that can't be pushed must not
// block it for a year, and are tried to be pushed first.
func TestRecordsDoNotBlockADeletionThatAWrongClockHasDated(t *testing.T) {
	t.Parallel()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Finalizers: []string{"kubernetes"}}}
	for kept, going := range map[retention.Kept]client.Object{
		retention.NamespaceGoes: namespace.DeepCopy(), retention.KindGoes: testbed.Definition("ledgers", true),
	} {
		t.Run(string(kept), func(t *testing.T) { recordsThatAWrongClockDated(t, kept, namespace.DeepCopy(), going) })
	}
}

func recordsThatAWrongClockDated(t *testing.T, kept retention.Kept, namespace, going client.Object) {
	t.Helper()
	g := NewWithT(t)
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	ahead := new(metav1.NewTime(now.AddDate(1, 0, 0)))
	going.SetDeletionTimestamp(ahead)
	objects := []client.Object{going}
	if kept == retention.KindGoes {
		objects = append(objects, namespace)
	}
	clock := clocktesting.NewFakePassiveClock(now)
	live := fake.NewClientBuilder().WithScheme(testbed.Scheme()).WithObjects(objects...).Build()
	r := &Reconciler{APIReader: live, Clock: clock}
	l := &v1alpha1.Ledger{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "l", UID: "u", DeletionTimestamp: ahead,
	}}
	c := &Collector{Clock: clock, Outbox: NewOutbox(live, live)}
	s := &memory{failures: 1} // one failure can be from before the deletion
	why := errors.New("no answer")
	records := &v1alpha1.Ledger{ObjectMeta: metav1.ObjectMeta{UID: "records"}}
	urgent := &ended{object: l, urgent: true, ledgers: []*v1alpha1.Ledger{records}}
	for _, tt := range []struct {
		after time.Duration
		late  bool
	}{{0, false}, {giveUpAfter, false}, {giveUpAfter + time.Second, true}} {
		clock.SetTime(now.Add(tt.after))
		overdue, err := r.overdue(t.Context(), l, s)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(overdue == kept).To(Equal(tt.late), string(overdue))
		c.unwritten = nil
		c.cannotWrite(records, urgent, why)
		g.Expect(c.givenUp(urgent, why)).To(Equal(tt.late))
		c.Outbox.report(c.unwritten, clock.Now())
	}
	g.Expect(c.givenUp(&ended{object: l}, why)).To(BeFalse(), "nothing waits for it")
	l.DeletionTimestamp = new(metav1.NewTime(clock.Now()))
	g.Expect(c.givenUp(urgent, why)).To(BeFalse(), "it was deleted just now")
}
