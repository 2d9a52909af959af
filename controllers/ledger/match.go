package ledger

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
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

// namespaceLabels reads the labels of each Namespace once.
type namespaceLabels struct {
	client client.Reader
	seen   map[string]labels.Set
}

// matches reports whether the selector matches the labels of a Namespace. A deleted Namespace has no labels.
func (n *namespaceLabels) matches(ctx context.Context, s labels.Selector, name string) (bool, error) {
	if s.Empty() {
		return true, nil
	}
	set, ok := n.seen[name]
	if !ok {
		var ns corev1.Namespace
		if err := n.client.Get(ctx, types.NamespacedName{Name: name}, &ns); client.IgnoreNotFound(err) != nil {
			return false, fmt.Errorf("get Namespace %s: %w", name, err)
		}
		if set = ns.Labels; n.seen == nil {
			n.seen = map[string]labels.Set{}
		}
		n.seen[name] = set
	}
	return s.Matches(set), nil
}
