package keeper_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// defaultPolicy creates a default RetentionPolicy in a namespace.
func defaultPolicy(
	t testing.TB, namespace, name string, spec v1alpha1.RetentionPolicySpec, usage *v1alpha1.UsagePolicy,
) *v1alpha1.RetentionPolicy {
	t.Helper()
	spec.Default, spec.UsagePolicy = true, usage
	p := &v1alpha1.RetentionPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: spec}
	bed.Create(t, p)
	return p
}

// chosen returns a usagePolicy for the namespaces with this label.
func chosen(key, value string) *v1alpha1.UsagePolicy {
	return &v1alpha1.UsagePolicy{AllowedNamespaces: v1alpha1.AllowedNamespaces{
		From:     new(v1alpha1.NamespacesFromSelector),
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{key: value}},
	}}
}

// expectDefault waits until the Repository knows this generation of the default, and checks whether it is held.
func (s *shop) expectDefault(p *v1alpha1.RetentionPolicy, held bool) {
	s.t.Helper()
	bed.Eventually(s.t, s.repository, func(g Gomega) {
		is := s.repository.Status.DefaultRetention
		g.Expect(is).NotTo(BeNil())
		want := v1alpha1.DefaultRetention{
			Ref: v1alpha1.ObjectReference{Namespace: p.Namespace, Name: p.Name}, UID: p.UID, Generation: p.Generation,
			RemovesAfter: is.RemovesAfter,
		}
		g.Expect(*is).To(Equal(want))
		g.Expect(is.RemovesAfter != nil).To(Equal(held))
		if held {
			g.Expect(is.RemovesAfter.Time).To(BeTemporally("==", now.Now().Add(24*time.Hour)))
		}
		g.Expect(s.repository.Status.RetentionPolicy).To(Equal(&want.Ref))
	}, "the Repository shows the default in force")
}

// dayLater advances the clock by the time for which a new default is held.
func (s *shop) dayLater() {
	s.t.Helper()
	bed.Quiet(s.t, s.namespace) // Otherwise the controller can write the default once more.
	bed.EditStatus(s.t, s.repository, func() {
		s.repository.Status.DefaultRetention.RemovesAfter = new(metav1.NewTime(now.Now().Add(-time.Second)))
	})
}

func TestANewDefaultPolicyIsToldBeforeItRemovesAnything(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	newest, older := s.snapshot(s.repository, 1, good), s.snapshot(s.repository, 2, good)
	session := s.session(1, s.repository)
	s.configuration("c", nil, nil, "web")
	s.expectRetention(s.repository, v1alpha1.ReasonKeepsEverything,
		"no RetentionPolicy is named, and there is no default: everything is kept")

	p := defaultPolicy(t, s.namespace, "keep-c", last(1), nil)
	const held = "policy names no RetentionPolicy. The default %s/keep-c is new or has changed, and removes existing " +
		"Snapshots after status.defaultRetention.removesAfter."
	s.expectRetention(s.repository, v1alpha1.ReasonRemovalHeld, fmt.Sprintf(held, s.namespace))
	s.expectDefault(p, true)
	expectSession(t, session, v1alpha1.RetentionPending, "")
	g.Eventually(func() []string { return events.Of(s.namespace) }, testbed.Patience, testbed.Interval).Should(
		ContainElement(
			ContainSubstring("DefaultRetention policy names no RetentionPolicy. The default "+s.namespace+
				"/keep-c")), "an event reports the default")
	result := bed.NoOp(t, retentions, &events, s.repository)
	g.Expect(result.RequeueAfter).To(Equal(24*time.Hour), "when the default takes effect")
	s.noJob("nothing is removed before that")
	expectKept(t, older)

	// A changed default counts as a new default.
	bed.Edit(t, p, func() { p.Spec.SuccessfulSnapshots = nil; p.Spec.MaxRetentionPeriod = "30m" })
	s.expectDefault(p, true)
	s.dayLater()
	job, _ := s.job()
	s.did(job, "")
	recorded(t, older)
	s.expectRetention(s.repository, v1alpha1.ReasonApplied, s.namespace+"/keep-c")
	expectSession(t, session, v1alpha1.RetentionApplied, "")
	expectKept(t, newest)

	// The default is deleted, and with it the reason to remove.
	g.Expect(bed.Client.Delete(t.Context(), p)).To(Succeed())
	s.expectRetention(s.repository, v1alpha1.ReasonKeepsEverything, "everything is kept")
	g.Expect(s.repository.Status.DefaultRetention).To(BeNil())
	g.Eventually(func() []string { return events.Of(s.namespace) }, testbed.Patience, testbed.Interval).Should(
		ContainElement(ContainSubstring("RetentionPolicy " + s.namespace +
			"/keep-c is no longer the default: everything is kept")))
	old := s.snapshot(s.repository, 3, good)
	bed.Quiet(t, s.namespace)
	expectKept(t, old)
}

func TestADefaultPolicyThatWasThereFirstRemovesAtOnce(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	p := defaultPolicy(t, s.namespace, "keep-c", last(1), nil)
	s.configuration("c", nil, nil, "web")
	s.expectDefault(p, false)
	s.expectRetention(s.repository, v1alpha1.ReasonApplied, s.namespace+"/keep-c")
	g.Eventually(func() []string { return events.Of(s.namespace) }, testbed.Patience, testbed.Interval).Should(
		ContainElement(ContainSubstring("policy names no RetentionPolicy, and the default is "+s.namespace+"/keep-c")),
		"an event reports the default")
	older, newest := s.snapshot(s.repository, 2, good), s.snapshot(s.repository, 1, good)
	job, _ := s.job()
	s.did(job, "")
	recorded(t, older)
	expectKept(t, newest)
	s.expectDefault(p, false)
	bed.NoOp(t, retentions, &events, s.repository)
}

func TestNamingTheDefaultPolicyAppliesItAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.snapshot(s.repository, 1, good)
	older := s.snapshot(s.repository, 2, good)
	p := defaultPolicy(t, s.namespace, "keep-c", last(1), nil)
	s.configuration("c", nil, nil, "web")
	s.expectDefault(p, true)
	expectKept(t, older)
	c := &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "c"}}
	bed.Edit(t, c, func() { c.Spec.Backends[0].RetentionPolicy = &v1alpha1.ObjectReference{Name: p.Name} })
	job, _ := s.job()
	s.did(job, "")
	recorded(t, older)
}

// label changes a label of the namespace.
func (s *shop) label(key, value string) {
	s.t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}
	bed.Edit(s.t, ns, func() {
		if ns.Labels == nil {
			ns.Labels = map[string]string{}
		}
		ns.Labels[key] = value
	})
}

func TestWhoHasADefaultPolicy(t *testing.T) {
	t.Parallel()
	vault := bed.Administrator(t)
	for name, c := range map[string]struct {
		usage *v1alpha1.UsagePolicy
		has   bool
	}{
		"one for chosen namespaces": {chosen("retention-default", "yes"), true},
		"one for others":            {chosen("retention-default", "no"), false},
		"one for its own namespace": {&v1alpha1.UsagePolicy{
			AllowedNamespaces: v1alpha1.AllowedNamespaces{From: new(v1alpha1.NamespacesFromSame)},
		}, false},
		"one without a usagePolicy": {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			p := defaultPolicy(t, vault, "keep", last(1), c.usage)
			defer bed.Remove(t, p)
			s.configuration("c", nil, nil, "web")
			s.expectRetention(s.repository, v1alpha1.ReasonKeepsEverything, "there is no default")
			s.label("retention-default", "yes")
			if !c.has {
				bed.Quiet(t, s.namespace)
				s.expectRetention(s.repository, v1alpha1.ReasonKeepsEverything, "there is no default")
				return
			}
			s.expectDefault(p, false)
			s.label("retention-default", "no-more")
			s.expectRetention(s.repository, v1alpha1.ReasonKeepsEverything, "there is no default")
		})
	}
}

// A tenant makes a RetentionPolicy that keeps nothing the default of others. It says that it is not, once.
func TestADefaultPolicyOfATenantRemovesNothing(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	s.label("retention-default", "victim")
	attacker := bed.Namespace(t, nil)
	trap := &v1alpha1.RetentionPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: attacker, Name: "nothing"},
		Spec: v1alpha1.RetentionPolicySpec{
			MaxRetentionPeriod: "1m", Default: true, UsagePolicy: chosen("retention-default", "victim"),
		},
	}
	g.Expect(bed.Tenant(t, attacker).Create(t.Context(), trap)).To(Succeed())
	bed.Cached(t, trap)
	s.configuration("c", nil, nil, "web")
	s.expectRetention(s.repository, v1alpha1.ReasonKeepsEverything, "there is no default")
	bed.Eventually(t, trap, func(g Gomega) {
		g.Expect(conditions.GetReason(trap, v1alpha1.ConditionDefaultIgnored)).
			To(Equal(v1alpha1.ReasonDefaultNotShared))
		g.Expect(conditions.GetMessage(trap, v1alpha1.ConditionDefaultIgnored)).To(HavePrefix("this is the default " +
			"of its own namespace alone, because " + attacker + " is not a namespace of the administrators"))
		g.Expect(conditions.IsReady(trap)).To(BeTrue(), "policy can still name it")
	}, "its owner is not surprised")
	bed.Edit(t, trap, func() { trap.Spec.UsagePolicy = nil })
	bed.Eventually(t, trap, func(g Gomega) {
		g.Expect(conditions.Has(trap, v1alpha1.ConditionDefaultIgnored)).To(BeFalse())
	}, "it offers itself to nobody")
}

func TestOfTwoDefaultPoliciesOfANamespaceTheOlderCounts(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	older := defaultPolicy(t, s.namespace, "keep", last(1), nil)
	testbed.ASecondLater(t, older)
	younger := defaultPolicy(t, s.namespace, "a-younger", last(2), nil)
	s.configuration("c", nil, nil, "web")
	s.expectDefault(older, false)
	bed.Eventually(t, younger, func(g Gomega) {
		g.Expect(conditions.GetReason(younger, v1alpha1.ConditionDefaultIgnored)).To(Equal(v1alpha1.ReasonDefaultTaken))
		g.Expect(conditions.GetMessage(younger, v1alpha1.ConditionDefaultIgnored)).To(Equal(
			"RetentionPolicy keep is already the default of this namespace: set spec.default: false on one of them"))
		g.Expect(conditions.IsReady(younger)).To(BeTrue(), "policy can still name it")
	}, "the younger one reports that it has no effect")
	bed.Edit(t, older, func() { older.Spec.Default = false })
	bed.Eventually(t, younger, func(g Gomega) {
		g.Expect(conditions.Has(younger, v1alpha1.ConditionDefaultIgnored)).To(BeFalse())
	}, "the younger one is the default now")
	s.expectRetention(s.repository, v1alpha1.ReasonDefaultReplaced, s.namespace+"/a-younger is another one")
	bed.Edit(t, younger, func() {
		younger.Annotations = map[string]string{v1alpha1.AnnotationReplacesDefault: string(older.UID)}
	})
	s.expectDefault(younger, false)
}
