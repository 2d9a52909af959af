package ledger

import (
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/ledger"
)

// matcher matches the objects that a Ledger records.
type matcher struct {
	ledger     *v1alpha1.Ledger
	sessions   labels.Selector
	namespaces labels.Selector
}

// newMatcher returns with an error a matcher of everything that the Ledger can select once its selectors are corrected.
func newMatcher(l *v1alpha1.Ledger) (matcher, error) {
	sessions, err := selector("spec.selector", l.Spec.Selector)
	namespaces, other := selector("spec.namespaceSelector", l.Spec.NamespaceSelector)
	if err == nil {
		err = other
	}
	return matcher{l, sessions, namespaces}, err
}

// selector differs from the library in the meaning of nil: it selects everything. So does one that can't be read.
func selector(field string, s *metav1.LabelSelector) (labels.Selector, error) {
	if s == nil {
		return labels.Everything(), nil
	}
	out, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Everything(), fmt.Errorf("parse %s: %w", field, err)
	}
	return out, nil
}

// name returns the name of the Ledger in status.records.
func (m matcher) name() string { return ledgerName(m.ledger) }

func ledgerName(l *v1alpha1.Ledger) string { return l.Namespace + "/" + l.Name }

// place identifies the folder of the Ledger in its branch, however its URL is spelled. It is "" if the URL is wrong.
func place(l *v1alpha1.Ledger) string {
	where := pushedTo(l)
	if where == "" {
		return ""
	}
	return where + "/" + ledger.Folder(l.Spec.Path, l.Spec.ClusterName)
}

// sharing lists the other Ledgers of the same place, also those that are suspended or being deleted: all of them write
// one page.
func (r *Reconciler) sharing(ctx context.Context, l *v1alpha1.Ledger) (others []*v1alpha1.Ledger, err error) {
	return r.others(ctx, l, place(l))
}

// keptByOther reports whether another Ledger than this one keeps the page of a place.
func (r *Reconciler) keptByOther(ctx context.Context, l *v1alpha1.Ledger, here string) (bool, error) {
	others, err := r.others(ctx, l, here)
	return slices.ContainsFunc(others, func(o *v1alpha1.Ledger) bool { return o.DeletionTimestamp.IsZero() }), err
}

// others lists the Ledgers of a place other than l.
func (r *Reconciler) others(
	ctx context.Context, l *v1alpha1.Ledger, here string,
) (others []*v1alpha1.Ledger, err error) {
	var list v1alpha1.LedgerList
	if err := r.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list Ledgers: %w", err)
	}
	for i := range list.Items {
		other := &list.Items[i]
		if here != "" && place(other) == here && ledgerName(other) != ledgerName(l) &&
			!v1alpha1.HasRecordAnnotation(other.Annotations) {
			others = append(others, other)
		}
	}
	return others, nil
}

// matchers match what any of several Ledgers records.
type matchers []matcher

// matchers returns those of all Ledgers that write the page of this one.
func (r *Reconciler) matchers(ctx context.Context, l *v1alpha1.Ledger) (matchers, error) {
	own, err := newMatcher(l)
	if err != nil {
		return nil, err
	}
	others, err := r.sharing(ctx, l)
	if err != nil {
		return nil, err
	}
	out := matchers{own}
	for _, other := range others {
		if m, err := newMatcher(other); err == nil { // otherwise its own reconcile says so
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

// any reports whether one of the Ledgers selects a namespace, and sessions as the caller wants.
func (m matchers) any(
	ctx context.Context, n namespaces, namespace string, sessions func(labels.Selector) bool,
) (bool, error) {
	for _, one := range m {
		if !sessions(one.sessions) {
			continue
		}
		if ok, err := n.matches(ctx, one.namespaces, namespace); err != nil || ok {
			return ok, err
		}
	}
	return false, nil
}

// namespaces are the Namespaces whose objects a Ledger can record.
type namespaces struct{ read.NamespaceLabels }

// matches reports whether the selector matches the labels of a Namespace. A deleted Namespace has no labels.
func (n namespaces) matches(ctx context.Context, s labels.Selector, name string) (bool, error) {
	if s.Empty() {
		return true, nil
	}
	set, err := n.Of(ctx, name)
	return err == nil && s.Matches(labels.Set(set)), err
}
