package ledger

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/ledger"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/schedule"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// pageFollowsPolicy changes policy without any run, and expects that STATUS.md follows in few commits. The interval of
// the Ledger is longer than the test waits.
func pageFollowsPolicy(t *testing.T, w *world) {
	t.Helper()
	g := NewWithT(t)
	page := func() string { return w.git("show", branch+":clusters/production/STATUS.md") }
	commits := func() int { return strings.Count(w.git("log", "--format=%H", branch), "\n") }
	shows := func(why string, match OmegaMatcher) {
		t.Helper()
		g.Eventually(page, testbed.Patience, 200*time.Millisecond).Should(match, why)
	}
	claim := func(name string) v1alpha1.TypedObjectReference {
		return v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: name}
	}
	before := commits()
	c := &v1alpha1.BackupConfiguration{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "diary"},
		Spec: v1alpha1.BackupConfigurationSpec{
			Target: new(claim("diary")),
			Sessions: []v1alpha1.BackupConfigurationSession{{SessionConfig: v1alpha1.SessionConfig{
				Name: "nightly", Scheduler: &v1alpha1.SchedulerSpec{Schedule: "0 3 * * *"},
			}}},
		},
	}
	w.create(c)
	shows("a new policy", ContainSubstring(
		"| BackupConfiguration/diary | PersistentVolumeClaim/diary (**no backup yet**) | - | - | - |"))
	for _, name := range []string{"a", "b", "photos"} { // one commit shows the last of them
		bed.Edit(t, c, func() { c.Spec.Target = new(claim(name)) })
	}
	next := metav1.NewTime(time.Date(2030, 1, 1, 3, 0, 0, 0, time.UTC))
	bed.EditStatus(t, c, func() {
		c.Status.ObservedGeneration = c.Generation
		c.Status.Sessions = []v1alpha1.SessionStatus{{Name: "nightly", NextSchedule: &next}}
	})
	shows("another target and slot", ContainSubstring(
		"| PersistentVolumeClaim/photos (**no backup yet**) | - | - | 2030-01-01 03:00 |"))
	g.Expect(commits()-before).To(BeNumerically("<=", 3), "no commit for each change")
	g.Expect(bed.Client.Delete(t.Context(), c)).To(Succeed())
	shows("a policy that is gone", Not(ContainSubstring("diary")))
	b := &v1alpha1.BackupBatch{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "albums"}}
	b.Spec.Targets = []v1alpha1.BatchTarget{{Name: "claims", Selector: &v1alpha1.TargetSelector{
		Kinds: []v1alpha1.TargetKind{v1alpha1.KindPersistentVolumeClaim},
	}}}
	b.Spec.Sessions = []v1alpha1.BackupBatchSession{{
		SessionConfig: v1alpha1.SessionConfig{Name: "nightly"},
		Targets:       []v1alpha1.BatchSessionTarget{{Name: "claims"}},
	}}
	w.create(b)
	shows("nobody has looked for claims", ContainSubstring("| BackupBatch/albums |  | - |"))
	bed.EditStatus(t, b, func() {
		conditions.MarkTrue(b, v1alpha1.ConditionSelectorFindsNothing, v1alpha1.ReasonSelectorFindsNothing, "claims")
	})
	shows("there is no claim", ContainSubstring("| BackupBatch/albums | claims (**selector finds nothing**) | - |"))
	g.Expect(bed.Client.Delete(t.Context(), b)).To(Succeed())
	shows("a batch that is gone", Not(ContainSubstring("albums")))
	g.Expect(page()).To(ContainSubstring("There is no backup policy."))
}

// pageFollowsLedgers makes another Ledger of the same place and deletes it, and expects that STATUS.md follows.
func pageFollowsLedgers(t *testing.T, w *world, l *v1alpha1.Ledger) {
	t.Helper()
	g := NewWithT(t)
	page := func() string { return w.git("show", branch+":clusters/production/STATUS.md") }
	bed.Edit(t, l, func() {
		l.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "none"}}
	})
	other := w.ledger("other")
	w.nightly("letters")
	g.Eventually(page, testbed.Patience, 200*time.Millisecond).Should(ContainSubstring("letters"))
	g.Eventually(func() bool { return get(w, l).Status.ObservedGeneration == l.Generation }, testbed.Patience,
		200*time.Millisecond).Should(BeTrue(), "it has written its own page")
	g.Expect(bed.Client.Delete(t.Context(), other)).To(Succeed())
	g.Eventually(page, testbed.Patience, 200*time.Millisecond).ShouldNot(ContainSubstring("letters"))
}

// nightly makes a policy that backs up a volume each night.
func (w *world) nightly(name string) { w.scheduled(name, "nightly", "0 3 * * *") }

// scheduled makes a policy that backs up a volume on a schedule.
func (w *world) scheduled(name, session, schedule string) {
	w.t.Helper()
	w.create(&v1alpha1.BackupConfiguration{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name},
		Spec: v1alpha1.BackupConfigurationSpec{
			Target: &v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: name},
			Sessions: []v1alpha1.BackupConfigurationSession{{SessionConfig: v1alpha1.SessionConfig{
				Name: session, Scheduler: &v1alpha1.SchedulerSpec{Schedule: schedule},
			}}},
		},
	})
}

// Two teams of one cluster have a Ledger each, for their own namespaces, in one branch.
func TestALedgerLeavesThePolicyOfAnotherOnThePage(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	w.nightly("diary")
	page := func(prefix string) string { return w.git("show", branch+":"+prefix+"clusters/production/STATUS.md") }
	of := func(team string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"team": team}}
	}
	shop := w.ledger("shop", func(l *v1alpha1.Ledger) { l.Spec.NamespaceSelector = of("shop") })
	w.settle(shop)
	g.Expect(page("")).To(ContainSubstring("diary"))
	blog := w.ledger("blog", func(l *v1alpha1.Ledger) { l.Spec.NamespaceSelector, l.Spec.Path = of("blog"), "./" })
	elsewhere := w.ledger("elsewhere", func(l *v1alpha1.Ledger) {
		l.Spec.NamespaceSelector, l.Spec.Path = of("blog"), "other"
	})
	tip := w.tip()
	w.settle(blog)
	g.Expect(w.tip()).To(Equal(tip), "both write the same page: %s", page(""))
	w.settle(elsewhere)
	g.Expect(page("other/")).NotTo(ContainSubstring("diary"), "this page is of no other Ledger")

	g.Expect(bed.Client.Delete(t.Context(), shop)).To(Succeed())
	w.settle(shop)
	w.settle(blog)
	g.Expect(page("")).To(ContainSubstring("diary"), "nothing has woken the other Ledger")
	g.Expect(w.reconciler.sharers(t.Context(), shop)).
		To(ConsistOf(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(blog)}))
	w.settle(blog)
	g.Expect(page("")).NotTo(ContainSubstring("diary"))
}

// hasPushed makes a Ledger one that has pushed to its branch.
func (w *world) hasPushed(l *v1alpha1.Ledger) {
	w.t.Helper()
	bed.EditStatus(w.t, l, func() {
		l.Status.LastPushedCommit, l.Status.LastPushedTo = strings.Repeat("0", 40), ledger.PushedTo(l)
		l.Status.ProvedTo = ledger.PushedTo(l)
	})
}

// A Ledger that records some runs of a policy adds its rows to the page of another.
func TestThePageCountsTheRunsOfAllItsLedgers(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	for _, name := range []string{"diary", "photos"} {
		w.nightly(name)
	}
	for _, session := range []string{"hourly", "nightly"} {
		w.pass(time.Minute)
		w.session(session, func(s *v1alpha1.BackupSession) {
			s.Labels[v1alpha1.LabelSession] = session
			s.Spec.Invoker.Kind, s.Spec.Invoker.Name = v1alpha1.BackupConfigurationKind, "diary"
			s.Spec.Session = session
			if session == "nightly" {
				s.Status.Phase, s.Status.Reason = v1alpha1.BackupSessionFailed, "JobFailed"
			}
		})
	}
	var pages []string
	for _, session := range []string{"hourly", "nightly"} {
		l := w.ledger(session, func(l *v1alpha1.Ledger) {
			l.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.LabelSession: session}}
		})
		w.hasPushed(l)
		page, err := w.reconciler.page(t.Context(), l)
		g.Expect(err).NotTo(HaveOccurred())
		pages = append(pages, string(page))
	}
	g.Expect(pages[0]).To(And(ContainSubstring("diary"), Not(ContainSubstring("JobFailed"))))
	g.Expect(pages[1]).To(ContainSubstring("JobFailed"))
	page, err := w.reconciler.page(t.Context(), w.ledger("both", func(l *v1alpha1.Ledger) {
		l.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "none"}}
	}))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(page)).To(Equal(pages[1]))
	g.Expect(pages).NotTo(ContainElement(ContainSubstring("photos")), "no Ledger records its runs")
}

// rendered returns the page that a Ledger would write now.
func (w *world) rendered(ledger string) string {
	w.t.Helper()
	out, err := w.reconciler.page(w.t.Context(), get(w, &v1alpha1.Ledger{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: ledger},
	}))
	NewWithT(w.t).Expect(err).NotTo(HaveOccurred())
	return string(out)
}

// A copy in another bucket that nobody has ever made is on the page, also if the target has a backup elsewhere.
func TestThePageNamesPoliciesThatNeverSucceeded(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	page := func() string { return w.rendered("l") }
	w.ledger("l")
	w.nightly("data")
	run := func(name, policy string, phase v1alpha1.BackupSessionPhase) {
		w.session(name, func(s *v1alpha1.BackupSession) {
			s.Status.Phase, s.Status.Reason = phase, string(phase)
			s.Spec.Invoker.Kind, s.Spec.Invoker.Name = v1alpha1.BackupConfigurationKind, policy
			s.Status.Targets = []v1alpha1.BackupTargetStatus{{
				Name: policy, Phase: phase,
				AppRef: v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "data"},
			}}
		})
	}
	run("elsewhere", "another", v1alpha1.BackupSessionSucceeded)
	g.Expect(page()).NotTo(ContainSubstring("o backup yet"), "no run of it has failed")
	run("failed", "data", v1alpha1.BackupSessionFailed)
	g.Expect(page()).To(ContainSubstring(
		"**No backup yet:** BackupConfiguration/data in " + w.namespace + " (1 of 1 targets).\n"))
	s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "repo-elsewhere"}}
	bed.Edit(t, s, func() {
		s.Labels = map[string]string{
			v1alpha1.LabelInvokerKind: v1alpha1.BackupConfigurationKind, v1alpha1.LabelInvokerName: "data",
		}
	})
	g.Expect(page()).NotTo(ContainSubstring("o backup yet"), "an earlier run of it, which is gone, has made a Snapshot")
}

// A success that lacks something is no plain one, neither on the page nor in the commit.
func TestThePageSaysThatASuccessIsPartial(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("l")
	w.nightly("data")
	w.session("a", func(s *v1alpha1.BackupSession) {
		s.Spec.Invoker.Kind, s.Spec.Invoker.Name = v1alpha1.BackupConfigurationKind, "data"
		conditions.MarkTrue(s, v1alpha1.ConditionPartial, v1alpha1.ReasonPartial, "a file is missing")
	})
	w.settle(l)
	g.Expect(w.git("show", branch+":clusters/production/STATUS.md")).To(ContainSubstring("| Succeeded (Partial) |"))
	g.Expect(w.git("log", "--format=%B", branch)).To(ContainSubstring("/a Succeeded (Partial)\n"))
}

// A target that never had a good backup is on the page, also if other targets of its policy have one.
func TestThePageNamesTargetsWithoutABackup(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	page := func() string { return w.rendered("l") }
	w.ledger("l")
	for _, name := range []string{"data", "diary"} {
		w.nightly(name)
	}
	g.Expect(page()).To(ContainSubstring("**No backup yet:** BackupConfiguration/data in " + w.namespace +
		" (1 of 1 targets), BackupConfiguration/diary in " + w.namespace + " (1 of 1 targets).\n"))

	of := func(phase v1alpha1.BackupSessionPhase) func(*v1alpha1.BackupSession) {
		return func(s *v1alpha1.BackupSession) {
			s.Spec.Invoker.Kind, s.Spec.Invoker.Name = v1alpha1.BackupConfigurationKind, "diary"
			s.Status.Targets = []v1alpha1.BackupTargetStatus{{
				Name: "diary", Phase: phase,
				AppRef: v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "diary"},
			}}
		}
	}
	w.session("failed", of(v1alpha1.BackupSessionFailed))
	g.Expect(page()).To(And(
		ContainSubstring("**No backup yet:** BackupConfiguration/diary in "+w.namespace+" (1 of 1 targets).\n"),
		ContainSubstring("| PersistentVolumeClaim/data |"),
	), "data has a Snapshot, and the run of diary failed")

	w.session("succeeded", of(v1alpha1.BackupSessionSucceeded))
	g.Expect(page()).NotTo(ContainSubstring("o backup yet"))
}

// The page is written with each push, and a cluster can have very many Snapshots.
func TestThePageReadsSnapshotsOnlyWhereNoRunTellsOfATarget(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("l")
	w.nightly("data")
	w.nightly("diary")
	var read []string
	w.reconciler.Client = interceptor.NewClient(w.client, interceptor.Funcs{List: func(
		ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption,
	) error {
		o := (&client.ListOptions{}).ApplyOptions(opts)
		if _, ok := list.(*v1alpha1.SnapshotList); ok && o.FieldSelector == nil { // few are damaged
			read = append(read, o.Namespace)
		}
		return c.List(ctx, list, opts...)
	}})
	page := func() {
		_, err := w.reconciler.page(t.Context(), l)
		g.Expect(err).NotTo(HaveOccurred())
	}
	page()
	g.Expect(read).To(Equal([]string{w.namespace}), "once for both targets")
	w.session("succeeded", func(s *v1alpha1.BackupSession) {
		s.Status.Targets = nil
		for _, name := range []string{"data", "diary"} {
			s.Status.Targets = append(s.Status.Targets, v1alpha1.BackupTargetStatus{
				Name: name, Phase: v1alpha1.BackupSessionSucceeded,
				AppRef: v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: name},
			})
		}
	})
	read = nil
	page()
	g.Expect(read).To(BeEmpty())
}

// STATUS.md says the same as the condition Protected of a policy whose schedule never fires.
func TestThePageKnowsAnImpossibleSchedule(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	created := metav1.NewTime(time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC))
	config := &v1alpha1.SessionConfig{Name: "nightly", Scheduler: &v1alpha1.SchedulerSpec{Schedule: "0 0 30 2 *"}}
	for _, known := range []v1alpha1.SessionStatus{{}, {Name: "nightly", ScheduledSince: &created}} {
		known = backup.Scheduled(known, config, "BackupConfiguration/shop/diary/nightly", created.Time)
		due, ok := backup.SuccessDue(&known, config, backup.Success{}, created.AddDate(1, 0, 0),
			schedule.Next)
		g.Expect(ok).To(BeTrue())
		g.Expect(due).To(Equal(created.Add(run.LateAfter)))
	}
}

// Of the edits in other namespaces a Ledger need not know: each would make it ask its Git server.
func TestAnEditElsewhereWakesNoLedger(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	all := w.ledger("all")
	own := w.ledger("own")
	bed.Edit(t, own, func() {
		own.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": w.namespace}}
	})
	woken := func(namespace string) (out []string) {
		c := &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "diary"}}
		for _, r := range w.reconciler.outdated(t.Context(), c) {
			if r.Namespace == w.namespace {
				out = append(out, r.Name)
			}
		}
		return out
	}
	g.Expect(woken(w.namespace)).To(ConsistOf("all"))
	g.Expect(w.reconciler.memories.outdatedSince(client.ObjectKeyFromObject(own))).To(BeZero())
	g.Expect(w.reconciler.memories.outdatedSince(client.ObjectKeyFromObject(all))).NotTo(BeZero())

	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
	bed.Edit(t, namespace, func() { namespace.Labels = map[string]string{"team": w.namespace} })
	g.Expect(woken(w.namespace)).To(ConsistOf("all", "own"))
}

// The manager's clock was a year ahead while a run succeeded. Since it was put right, the runs fail.
func TestThePageShowsTheFailureAfterARunOfAClockThatWasAhead(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	w.nightly("diary")
	of := func(s *v1alpha1.BackupSession) {
		s.Spec.Invoker.Kind, s.Spec.Invoker.Name = v1alpha1.BackupConfigurationKind, "diary"
	}
	w.session("ahead", of, func(s *v1alpha1.BackupSession) {
		year := metav1.NewTime(w.clock.Now().AddDate(1, 0, 0).Truncate(time.Second))
		s.Status.StartTime, s.Status.CompletionTime = &year, &year
	})
	w.pass(24 * time.Hour)
	w.session("today", of, func(s *v1alpha1.BackupSession) {
		s.Status.Phase, s.Status.Reason = v1alpha1.BackupSessionFailed, "JobFailed"
	})
	page, err := w.reconciler.page(t.Context(), w.ledger("l"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(page)).To(ContainSubstring("Failed (JobFailed)"))
}

// Both clocks were a year ahead for two runs. The failure came after the success.
func TestThePageShowsTheLastOfSeveralRunsOfClocksThatWereAhead(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	ended := func(phase v1alpha1.BackupSessionPhase, after time.Duration) *v1alpha1.BackupSession {
		year := metav1.NewTime(now.AddDate(1, 0, 0).Add(after))
		s := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: year}}
		s.Status.Phase, s.Status.CompletionTime = phase, &year
		return s
	}
	runs := []*v1alpha1.BackupSession{
		ended(v1alpha1.BackupSessionSucceeded, 0), ended(v1alpha1.BackupSessionFailed, time.Hour),
	}
	for range runs {
		slices.Reverse(runs)
		h := &history{sessions: map[string]backup.Success{}}
		for _, s := range runs {
			h.add(s, now)
		}
		NewWithT(t).Expect(h.result).To(Equal("Failed"))
	}
}
