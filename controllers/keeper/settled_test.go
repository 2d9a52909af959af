package keeper_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// A commit can change a RetentionPolicy and move configurations to it. A part of it must let nothing go.
func TestAPartOfARevisionLetsNothingGo(t *testing.T) {
	t.Parallel()
	for name, label := range map[string]func(s *shop, labels map[string]string){
		"of the configuration": func(s *shop, labels map[string]string) {
			s.configuration("c", &v1alpha1.ObjectReference{Name: "keep"}, labels, "web")
		},
		"of the RetentionPolicy": func(s *shop, labels map[string]string) {
			p := &v1alpha1.RetentionPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "keep"}}
			bed.Edit(s.t, p, func() { p.Labels = labels })
			s.configuration("c", &v1alpha1.ObjectReference{Name: "keep"}, nil, "web")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			s.snapshot(s.repository, 1, good)
			older := s.snapshot(s.repository, 2, good)
			bed.Create(t, &v1alpha1.RetentionPolicy{
				ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "keep"}, Spec: last(1),
			})
			sync := &v1alpha1.PolicySync{
				ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "policy"},
				Spec:       v1alpha1.PolicySyncSpec{URL: "https://git.example.com/" + s.namespace, Path: "."},
			}
			bed.Create(t, sync)
			bed.EditStatus(t, sync, func() { sync.Status.ApplyingRevision = "main@sha1:0123" })
			label(s, map[string]string{v1alpha1.LabelSyncNamespace: s.namespace, v1alpha1.LabelSyncName: sync.Name})

			s.expectRetention(s.repository, v1alpha1.ReasonRemovalHeld,
				"until PolicySync/"+s.namespace+"/policy has applied all of revision main@sha1:0123")
			expectKept(t, older)
			bed.EditStatus(t, sync, func() { sync.Status.ApplyingRevision = "" })
			bed.Edit(t, s.repository, func() { // retention looks at once, and not only after a minute
				s.repository.Annotations = map[string]string{"example.com/look": "again"}
			})
			job, _ := s.job()
			s.did(job, "")
			released(t, older)
		})
	}
}

// expectGone waits until nothing holds removals any more, and a keeper has removed a Snapshot.
func (s *shop) expectGone(older *v1alpha1.Snapshot) {
	s.t.Helper()
	looks := 0
	NewWithT(s.t).Eventually(func() string { // retention looks at once, and not only after half an hour
		looks++
		bed.Edit(s.t, s.repository, func() {
			s.repository.Annotations = map[string]string{"example.com/look": strconv.Itoa(looks)}
		})
		return conditions.GetReason(s.repository, v1alpha1.ConditionRetentionApplied)
	}, testbed.Patience, "200ms").ShouldNot(Equal(v1alpha1.ReasonRemovalHeld))
	job, _ := s.job()
	s.did(job, "")
	released(s.t, older)
}

// One commit lets a RetentionPolicy keep less and moves the configuration to another one that keeps as much as before.
// One PolicySync applies the RetentionPolicy. Another one applies the configuration, and has not come to the commit.
func TestACommitThatNotAllPolicySyncsHaveAppliedLetsNothingGo(t *testing.T) {
	t.Parallel()
	for name, over := range map[string]func(*v1alpha1.PolicySync){
		"until they have": func(team *v1alpha1.PolicySync) {
			bed.EditStatus(t, team, func() { team.Status.LastAppliedRevision = second })
		},
		"until one is deleted": func(team *v1alpha1.PolicySync) {
			NewWithT(t).Expect(bed.Client.Delete(t.Context(), team)).To(Succeed())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			s.snapshot(s.repository, 1, good)
			older := s.snapshot(s.repository, 2, good)
			platform, ofPlatform := s.sync("platform", second, second)
			bed.EditStatus(t, platform, func() { platform.Status.LastChangedRevision = second })
			team, ofTeam := s.sync("team", second, first)
			bed.Create(t, &v1alpha1.RetentionPolicy{
				ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "keep", Labels: ofPlatform}, Spec: last(1),
			})
			s.configuration("c", &v1alpha1.ObjectReference{Name: "keep"}, ofTeam, "web")
			of := "PolicySync/" + s.namespace
			s.expectRetention(s.repository, v1alpha1.ReasonRemovalHeld, "until each of "+of+"/platform and "+of+
				"/team has applied the revision with which the others last changed policy, or a later one; "+
				of+"/team has not applied")
			expectKept(t, older)
			over(team)
			s.expectGone(older)
		})
	}
}

// kubectl and Flux apply one object after the other. The manager of the tests, with its earlier clock, would take back
// what goes in the end: see TestWhenPolicyHasSettled.
func TestPolicyThatWasJustChangedLetsNothingGo(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	s.snapshot(s.repository, 1, good)
	older := s.snapshot(s.repository, 3, good)
	s.policy("c", v1alpha1.RetentionPolicySpec{MaxRetentionPeriod: "4h"}, "web")
	s.expectRetention(s.repository, v1alpha1.ReasonApplied, "")

	later := clocktesting.NewFakePassiveClock(now.Now().Add(2 * time.Hour)) // the older one is five hours old
	r := staleRetention()
	r.Clock, r.SettleTime = later, 10*time.Hour
	r.ServerTime = func(context.Context) (time.Time, error) { return later.Now(), nil }
	request := ctrl.Request{NamespacedName: client.ObjectKeyFromObject(s.repository)}
	g.Eventually(func(g Gomega) {
		result, err := r.Reconcile(t.Context(), request)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(result.RequeueAfter).To(BeNumerically("~", 8*time.Hour, 10*time.Minute))
	}).Should(Succeed(), "it looks again once the policy has settled")
	expectKept(t, older)

	// By its own clock the manager would go ahead. The times of changes are the API server's.
	r.SettleTime = 2*time.Hour + time.Minute
	r.Clock = clocktesting.NewFakePassiveClock(later.Now().Add(4 * time.Minute))
	g.Eventually(func(g Gomega) {
		result, err := r.Reconcile(t.Context(), request)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(result.RequeueAfter).To(And(BeNumerically(">=", time.Minute), BeNumerically("<", 5*time.Minute)))
	}).Should(Succeed(), "it waits by the clock of the API server")
	expectKept(t, older)
}
