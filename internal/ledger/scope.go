package ledger

import (
	"cmp"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// MaxPerNamespace is the number of Ledgers of a namespace that are served. The namespaces of the administrators have no
// such limit.
const MaxPerNamespace = 4

// Scope is the set of namespaces that a Ledger records. A namespace is in it if the Ledger selects the namespace, and
// may record it.
type Scope struct {
	home       string // namespace of the Ledger
	everywhere bool   // the Ledger may record all namespaces
	selector   labels.Selector
}

// ScopeOf returns the scope of a Ledger. administrators reports whether its namespace is one of the administrators'.
// With an error it returns all that the Ledger can record once its selector is corrected.
func ScopeOf(l *v1alpha1.Ledger, administrators bool) (Scope, error) {
	s := Scope{home: l.Namespace, everywhere: administrators}
	if l.Spec.NamespaceSelector == nil {
		return s, nil
	}
	var err error
	if s.selector, err = metav1.LabelSelectorAsSelector(l.Spec.NamespaceSelector); err != nil {
		s.selector = labels.Everything()
		return s, fmt.Errorf("parse spec.namespaceSelector: %w", err)
	}
	return s, nil
}

// Permits reports whether the Ledger may record a namespace with these labels: its own, one that consents, or any if
// the Ledger is the administrators'.
func (s Scope) Permits(namespace string, set map[string]string) bool {
	return s.everywhere || namespace == s.home || v1alpha1.ConsentsToRecords(set, s.home)
}

// Selects reports whether the Ledger selects a namespace with these labels.
func (s Scope) Selects(namespace string, set map[string]string) bool {
	if s.selector == nil {
		return s.everywhere || namespace == s.home
	}
	return s.selector.Matches(labels.Set(set))
}

// Records reports whether a namespace with these labels is in the scope.
func (s Scope) Records(namespace string, set map[string]string) bool {
	return s.Permits(namespace, set) && s.Selects(namespace, set)
}

// Known reports whether a namespace is in the scope, if that does not depend on the labels of the namespace.
func (s Scope) Known(namespace string) (records, known bool) {
	switch {
	case s.selector == nil:
		return s.Selects(namespace, nil), true
	case s.selector.Empty() && s.Permits(namespace, nil):
		return true, true
	default:
		return false, false
	}
}

// MayLackConsent reports whether the Ledger can select namespaces that it may not record.
func (s Scope) MayLackConsent() bool { return s.selector != nil && !s.everywhere }

// Surplus returns the Ledgers that are not served: of each namespace all but the oldest MaxPerNamespace, unless the
// namespace is one of the administrators'. Of Ledgers of the same second, those are served whose names sort first.
// Records of Ledgers do not count.
func Surplus(all []v1alpha1.Ledger, administrators func(namespace string) bool) map[types.UID]bool {
	in := map[string][]*v1alpha1.Ledger{}
	for i := range all {
		l := &all[i]
		if !v1alpha1.HasRecordAnnotation(l.Annotations) && !administrators(l.Namespace) {
			in[l.Namespace] = append(in[l.Namespace], l)
		}
	}
	surplus := map[types.UID]bool{}
	for _, ledgers := range in {
		slices.SortFunc(ledgers, func(a, b *v1alpha1.Ledger) int {
			return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
		})
		for _, l := range ledgers[min(len(ledgers), MaxPerNamespace):] {
			surplus[l.UID] = true
		}
	}
	return surplus
}
