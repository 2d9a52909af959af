package policy

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestAllowed(t *testing.T) {
	from := func(f v1alpha1.NamespacesFrom, selector *metav1.LabelSelector) *v1alpha1.UsagePolicy {
		return &v1alpha1.UsagePolicy{AllowedNamespaces: v1alpha1.AllowedNamespaces{From: &f, Selector: selector}}
	}
	gold := &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "gold"}}
	broken := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
		Key:      "tier",
		Operator: "Resembles",
	}}}
	tests := map[string]struct {
		usage  *v1alpha1.UsagePolicy
		user   string
		labels map[string]string
		want   bool
	}{
		"its own namespace without a policy": {nil, "backup", nil, true},
		"another namespace without a policy": {nil, "shop", nil, false},
		"an empty policy":                    {&v1alpha1.UsagePolicy{}, "shop", nil, false},
		"all namespaces":                     {from("All", nil), "shop", nil, true},
		"the same namespace from another":    {from("Same", nil), "shop", nil, false},
		"the same namespace from itself":     {from("Same", nil), "backup", nil, true},
		"a selector that matches": {
			from("Selector", gold), "shop", map[string]string{"tier": "gold"}, true,
		},
		"a selector that does not match": {
			from("Selector", gold), "shop", map[string]string{"tier": "lead"}, false,
		},
		"a selector that is missing":                {from("Selector", nil), "shop", nil, false},
		"an unreadable selector":                    {from("Selector", broken), "shop", nil, false},
		"a selector does not shut out the owner":    {from("Selector", gold), "backup", nil, true},
		"an unknown value, written by hand":         {from("Friends", nil), "shop", nil, false},
		"a selector without terms allows everybody": {from("Selector", &metav1.LabelSelector{}), "shop", nil, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(Allowed(test.usage, "backup", test.user, test.labels)).To(Equal(test.want))
		})
	}
}
