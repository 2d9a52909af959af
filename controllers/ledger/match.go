package ledger

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/ledger"
	"github.com/cairn-backup/cairn/internal/policy"
)

// matcher matches the objects that a Ledger records.
type matcher struct {
	ledger   *v1alpha1.Ledger
	sessions labels.Selector
	scope    ledger.Scope
}

// newMatcher returns with an error a matcher of everything that the Ledger can record once its selectors are corrected.
func newMatcher(l *v1alpha1.Ledger, administrators policy.Administrators) (matcher, error) {
	m := matcher{ledger: l, sessions: labels.Everything()}
	var wrong, other error
	if s := l.Spec.Selector; s != nil { // the library takes nil for nothing
		if m.sessions, wrong = metav1.LabelSelectorAsSelector(s); wrong != nil {
			m.sessions, wrong = labels.Everything(), fmt.Errorf("parse spec.selector: %w", wrong)
		}
	}
	m.scope, other = ledger.ScopeOf(l, administrators.Has(l.Namespace))
	return m, cmp.Or(wrong, other)
}

// name returns the name of the Ledger in status.records.
func (m matcher) name() string { return ledgerName(m.ledger) }

func ledgerName(l *v1alpha1.Ledger) string { return l.Namespace + "/" + l.Name }

// sharing lists the other Ledgers of the same place, also those that are suspended or being deleted: all of them write
// one page.
func (r *Reconciler) sharing(ctx context.Context, l *v1alpha1.Ledger) (others []*v1alpha1.Ledger, err error) {
	return r.others(ctx, l, ledger.Place(l))
}

// keptByOther reports whether another Ledger than this one keeps the page of a place: it has pushed there.
func (r *Reconciler) keptByOther(ctx context.Context, l *v1alpha1.Ledger, here string) (bool, error) {
	others, err := r.others(ctx, l, here)
	return slices.ContainsFunc(others, func(o *v1alpha1.Ledger) bool {
		return o.DeletionTimestamp.IsZero() && ledger.ClaimOf(o).Proved
	}), err
}

// others lists the Ledgers of a place other than l.
func (r *Reconciler) others(
	ctx context.Context, l *v1alpha1.Ledger, here string,
) (others []*v1alpha1.Ledger, err error) {
	var list v1alpha1.LedgerList
	if err := r.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list Ledgers: %w", err)
	}
	surplus := ledger.Surplus(list.Items, r.Administrators.Has)
	for i := range list.Items {
		other := &list.Items[i]
		if here != "" && ledger.Place(other) == here && ledgerName(other) != ledgerName(l) && !surplus[other.UID] &&
			!v1alpha1.HasRecordAnnotation(other.Annotations) {
			others = append(others, other)
		}
	}
	return others, nil
}

// matchers match what any of several Ledgers records.
type matchers []matcher

// matchers returns those of all Ledgers that write the page of this one. Others must have pushed there: anybody can
// name a place.
func (r *Reconciler) matchers(ctx context.Context, l *v1alpha1.Ledger) (matchers, error) {
	own, err := newMatcher(l, r.Administrators)
	if err != nil {
		return nil, err
	}
	others, err := r.sharing(ctx, l)
	if err != nil {
		return nil, err
	}
	out := matchers{own}
	for _, other := range others {
		if !ledger.ClaimOf(other).Proved || !ledger.Shares(l, other) {
			continue
		}
		if m, err := newMatcher(other, r.Administrators); err == nil { // otherwise its own reconcile says so
			out = append(out, m)
		}
	}
	return out, nil
}

// longest returns how long the Ledgers can take until they look at their page again.
func (m matchers) longest() (longest time.Duration) {
	for _, one := range m {
		longest = max(longest, one.ledger.Spec.Interval.Duration, one.ledger.Spec.BatchWindow.Duration)
	}
	return longest
}

// any reports whether one of the Ledgers records a namespace, and sessions as the caller wants.
func (m matchers) any(
	ctx context.Context, n namespaces, namespace string, sessions func(labels.Selector) bool,
) (bool, error) {
	for _, one := range m {
		if !sessions(one.sessions) {
			continue
		}
		if ok, err := n.recordedBy(ctx, one.scope, namespace); err != nil || ok {
			return ok, err
		}
	}
	return false, nil
}

// namespaces are the Namespaces whose objects a Ledger can record.
type namespaces struct{ read.NamespaceLabels }

// recordedBy reports whether a Namespace is in the scope of a Ledger. A deleted Namespace has no labels.
func (n namespaces) recordedBy(ctx context.Context, s ledger.Scope, name string) (bool, error) {
	if records, known := s.Known(name); known {
		return records, nil
	}
	set, err := n.Of(ctx, name)
	return err == nil && s.Records(name, set), err
}

// permits reports whether a Ledger may record a Namespace, whatever it selects.
func (n namespaces) permits(ctx context.Context, s ledger.Scope, name string) (bool, error) {
	if s.Permits(name, nil) {
		return true, nil
	}
	set, err := n.Of(ctx, name)
	return err == nil && s.Permits(name, set), err
}

// sayConsent says whether the Ledger selects namespaces that do not consent. It names none of them, and does not count
// them: whoever writes a Ledger need not be allowed to see other namespaces.
func (r *Reconciler) sayConsent(ctx context.Context, l *v1alpha1.Ledger) error {
	m, err := newMatcher(l, r.Administrators)
	if err != nil || !m.scope.MayLackConsent() {
		conditions.Delete(l, v1alpha1.ConditionConsentMissing)
		return nil //nolint:nilerr // check says what is wrong with the selector
	}
	var all corev1.NamespaceList
	if err := r.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list Namespaces: %w", err)
	}
	if !slices.ContainsFunc(all.Items, func(n corev1.Namespace) bool {
		return m.scope.Selects(n.Name, n.Labels) && !m.scope.Permits(n.Name, n.Labels)
	}) {
		conditions.Delete(l, v1alpha1.ConditionConsentMissing)
		return nil
	}
	conditions.MarkTrue(l, v1alpha1.ConditionConsentMissing, v1alpha1.ReasonConsentMissing,
		"spec.namespaceSelector selects namespaces that do not consent, and the Ledger does not record them: to "+
			"consent, label a Namespace %s=true", v1alpha1.RecordedByLabel(l.Namespace))
	return nil
}

// notice looks for namespaces that the Ledger has recorded and does not record any more: they have taken back their
// consent, the Ledger selects fewer, or is not the administrators' any more. Their records would just end. found are
// the namespaces with policy.
func (r *Reconciler) notice(
	ctx context.Context, l *v1alpha1.Ledger, m matcher, in namespaces, found map[string]bool,
) error {
	var recorded []string
	for name := range found {
		ok, err := in.recordedBy(ctx, m.scope, name)
		if err != nil {
			return err
		}
		if ok {
			recorded = append(recorded, name)
		}
	}
	acknowledged := l.Annotations[v1alpha1.AnnotationAcknowledgeDropped]
	if len(l.Status.Dropped) > 0 && acknowledged == policy.Digest(l.Status.Dropped) {
		l.Status.Dropped = nil
	}
	fresh, err := ledger.Notice(&l.Status, recorded, func(name string) (ledger.Recorded, error) {
		if ok, err := in.recordedBy(ctx, m.scope, name); err != nil || ok {
			return ledger.RecordedStill, err
		}
		var namespace corev1.Namespace
		err := r.Get(ctx, client.ObjectKey{Name: name}, &namespace)
		if apierrors.IsNotFound(err) || err == nil && !namespace.DeletionTimestamp.IsZero() {
			return ledger.RecordedGone, nil
		}
		if err != nil {
			return "", fmt.Errorf("get Namespace %s: %w", name, err)
		}
		return ledger.RecordedNot, nil
	}, r.Clock.Now())
	if err != nil {
		return err
	}
	r.sayDropped(l, len(fresh) > 0)
	return nil
}

// sayDropped says on the Ledger which namespaces it does not record any more, with an event if there is a new one.
func (r *Reconciler) sayDropped(l *v1alpha1.Ledger, fresh bool) {
	if len(l.Status.Dropped) == 0 {
		conditions.Delete(l, v1alpha1.ConditionNamespacesDropped)
		return
	}
	conditions.MarkTrue(l, v1alpha1.ConditionNamespacesDropped, v1alpha1.ReasonNamespacesDropped,
		"the Ledger has recorded these namespaces, and does not record them any more: %s. Select them, or let them "+
			"consent, again. If it is meant: kubectl annotate --overwrite ledger -n %s %s %s=%s",
		ledger.NamesOf(l.Status.Dropped), l.Namespace, l.Name, v1alpha1.AnnotationAcknowledgeDropped,
		policy.Digest(l.Status.Dropped))
	if fresh {
		r.EventRecorder.Event(l, corev1.EventTypeWarning, v1alpha1.ReasonNamespacesDropped,
			conditions.GetMessage(l, v1alpha1.ConditionNamespacesDropped))
	}
}

// dropped returns the namespaces that one of the Ledgers has dropped, and none of them records, each once, by name.
func (m matchers) dropped(ctx context.Context, in namespaces) (out []v1alpha1.DroppedNamespace, err error) {
	for _, one := range m {
		for _, d := range one.ledger.Status.Dropped {
			known := slices.ContainsFunc(out, func(o v1alpha1.DroppedNamespace) bool { return o.Name == d.Name })
			ok, err := m.any(ctx, in, d.Name, func(labels.Selector) bool { return true })
			if err != nil {
				return nil, err
			}
			if !known && !ok {
				out = append(out, d)
			}
		}
	}
	slices.SortFunc(out, func(a, b v1alpha1.DroppedNamespace) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// checkNumber returns an error if the namespace has too many older Ledgers. A Ledger that is being deleted pushes what
// it has, however many there are.
func (r *Reconciler) checkNumber(ctx context.Context, l *v1alpha1.Ledger) error {
	if !l.DeletionTimestamp.IsZero() {
		return nil
	}
	var all v1alpha1.LedgerList
	if err := r.List(ctx, &all, client.InNamespace(l.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list Ledgers: %w", err)
	}
	if ledger.Surplus(all.Items, r.Administrators.Has)[l.UID] {
		return stalled(v1alpha1.ReasonTooManyLedgers, fmt.Sprintf("the namespace has %d older Ledgers, and no more "+
			"are served: delete one, or have it in a namespace of the administrators", ledger.MaxPerNamespace))
	}
	return nil
}
