package ledger

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
)

// matcher matches the objects that a Ledger records.
type matcher struct {
	ledger     *v1alpha1.Ledger
	sessions   labels.Selector
	namespaces labels.Selector
}

func newMatcher(l *v1alpha1.Ledger) (matcher, error) {
	sessions, err := selector(l.Spec.Selector)
	if err != nil {
		return matcher{}, fmt.Errorf("parse spec.selector: %w", err)
	}
	namespaces, err := selector(l.Spec.NamespaceSelector)
	if err != nil {
		return matcher{}, fmt.Errorf("parse spec.namespaceSelector: %w", err)
	}
	return matcher{l, sessions, namespaces}, nil
}

// selector differs from the library in the meaning of nil: it selects everything.
func selector(s *metav1.LabelSelector) (labels.Selector, error) {
	if s == nil {
		return labels.Everything(), nil
	}
	return metav1.LabelSelectorAsSelector(s)
}

// name returns the name of the Ledger in status.records.
func (m matcher) name() string { return ledgerName(m.ledger) }

func ledgerName(l *v1alpha1.Ledger) string { return l.Namespace + "/" + l.Name }

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
