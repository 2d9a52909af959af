package ledger

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
)

// hourly makes a policy that backs up a volume each hour.
func (w *world) hourly(name string) { w.scheduled(name, "hourly", "0 * * * *") }

// backedUp makes the run of a slot that succeeded.
func (w *world) backedUp(policy, session string, slot time.Time) {
	w.t.Helper()
	w.session(policy+slot.Format("-2006-01-02-15"), func(s *v1alpha1.BackupSession) {
		at := metav1.NewTime(slot)
		s.Labels[v1alpha1.LabelSession] = session
		s.Spec.Invoker.Kind, s.Spec.Invoker.Name = v1alpha1.BackupConfigurationKind, policy
		s.Spec.Session, s.Spec.ScheduledTime = session, &at
		s.Status.Targets = []v1alpha1.BackupTargetStatus{{
			Name: policy, Phase: v1alpha1.BackupSessionSucceeded,
			AppRef: v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: policy},
		}}
	})
}

// The page says before what time no policy becomes late, which costs no commit: the time moves with a success, which is
// on the page.
func TestThePageSaysWhenAPolicyCanBecomeLateWithoutACommit(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	// It begins after the API server has made the objects, so that the slots are not before they were made.
	at := time.Now().UTC().Truncate(24 * time.Hour).Add(48 * time.Hour)
	w.clock.SetTime(at)
	l := w.ledger("ledger")
	w.hourly("photos")
	w.nightly("diary")
	w.backedUp("diary", "nightly", at)
	w.backedUp("photos", "hourly", at)
	w.settle(l)
	commits := func() int { return strings.Count(w.git("log", "--format=%H", branch), "\n") + 1 }
	look := func() {
		w.pass(11 * time.Minute)
		_, err := w.push(l)
		g.Expect(err).NotTo(HaveOccurred())
	}
	before := commits()
	for range 24 {
		at = at.Add(time.Hour)
		w.clock.SetTime(at.Add(time.Minute))
		w.backedUp("photos", "hourly", at)
		if at.Hour() == 3 {
			w.backedUp("diary", "nightly", at)
		}
		w.settle(l)
		g.Expect(w.page("clusters/production")).To(ContainSubstring(
			"**No policy becomes late before " + at.Add(time.Hour+run.LateAfter).Format("2006-01-02 15:04")))
		for range 4 {
			look()
		}
	}
	g.Expect(commits()-before).To(Equal(24), "one for each run, which has a record")

	// The token expires. The page shows it as soon as one of its policies is late.
	w.Auth(gitUser, "a new token that nobody has put into the Secret")
	page := w.page("clusters/production")
	for range 30 {
		w.pass(24 * time.Hour)
		look()
	}
	g.Expect(w.page("clusters/production")).To(Equal(page))
	g.Expect(get(w, l)).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonAuthenticationFailed))
	g.Expect(page).To(And(ContainSubstring("| no |"), ContainSubstring(
		"**No policy becomes late before "+at.Add(time.Hour+run.LateAfter).Format("2006-01-02 15:04")+
			".** If this page still says so an hour later, nobody keeps it any more.")))

	// Somebody renews it. The page shows what is late.
	w.Auth(gitUser, gitPassword)
	w.pass(time.Hour)
	look()
	g.Expect(w.page("clusters/production")).
		To(And(ContainSubstring("**late**"), Not(ContainSubstring("becomes late before"))))
}

// Two Ledgers that look more or less often write the same page.
func TestLedgersOfOnePageSayTheSameTime(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	w.hourly("photos")
	var pages []string
	ledgers := []*v1alpha1.Ledger{w.ledger("one", func(l *v1alpha1.Ledger) {
		l.Spec.Interval.Duration = time.Hour
	}), w.ledger("two", func(l *v1alpha1.Ledger) {
		l.Spec.BatchWindow.Duration = 2 * time.Hour
	})}
	for _, l := range ledgers {
		w.hasPushed(l)
	}
	for _, l := range ledgers {
		page, err := w.reconciler.page(t.Context(), l)
		g.Expect(err).NotTo(HaveOccurred())
		pages = append(pages, string(page))
	}
	g.Expect(pages[0]).To(ContainSubstring(" says so 3 hours later, "))
	g.Expect(pages[1]).To(Equal(pages[0]))
}
