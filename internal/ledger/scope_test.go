package ledger

import (
	"fmt"
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestScope(t *testing.T) {
	t.Parallel()
	consent := map[string]string{"team": "shop", v1alpha1.RecordedByLabel("home"): "true"}
	without := map[string]string{"team": "shop", v1alpha1.RecordedByLabel("home"): "yes"}
	team := &metav1.LabelSelector{MatchLabels: map[string]string{"team": "shop"}}
	only := map[string]string{v1alpha1.RecordedByLabel("home"): "true"}
	wrong := &metav1.LabelSelector{MatchLabels: map[string]string{"a b": ""}}
	for name, tt := range map[string]struct {
		selector       *metav1.LabelSelector
		administrators bool
		namespace      string
		labels         map[string]string
		want, known    bool
	}{
		"its own":                                 {nil, false, "home", nil, true, true},
		"another one":                             {nil, false, "shop", without, false, true},
		"another one that consents":               {nil, false, "shop", consent, false, true},
		"all of the administrators":               {nil, true, "shop", without, true, true},
		"selected with consent":                   {team, false, "shop", consent, true, false},
		"selected without consent":                {team, false, "shop", without, false, false},
		"consent without selection":               {team, false, "shop", only, false, false},
		"its own, not selected":                   {team, false, "home", nil, false, false},
		"its own, selected":                       {team, false, "home", without, true, false},
		"selected by the administrators":          {team, true, "shop", without, true, false},
		"not selected by the administrators":      {team, true, "shop", nil, false, false},
		"all are selected, without consent":       {&metav1.LabelSelector{}, false, "shop", without, false, false},
		"all are selected, with consent":          {&metav1.LabelSelector{}, false, "shop", consent, true, false},
		"all are selected, its own":               {&metav1.LabelSelector{}, false, "home", nil, true, true},
		"all are selected, of the administrators": {&metav1.LabelSelector{}, true, "shop", without, true, true},
		"unreadable, its own":                     {wrong, false, "home", nil, true, true},
		"unreadable, another one":                 {wrong, false, "shop", without, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			l := &v1alpha1.Ledger{ObjectMeta: metav1.ObjectMeta{Namespace: "home"}}
			l.Spec.NamespaceSelector = tt.selector
			scope, err := ScopeOf(l, tt.administrators)
			if tt.selector == wrong {
				g.Expect(err).To(MatchError(HavePrefix("parse spec.namespaceSelector: ")))
			} else {
				g.Expect(err).NotTo(HaveOccurred())
			}
			g.Expect(scope.Records(tt.namespace, tt.labels)).To(Equal(tt.want))
			records, known := scope.Known(tt.namespace)
			g.Expect(known).To(Equal(tt.known))
			if known {
				g.Expect(records).To(Equal(tt.want))
			}
		})
	}
}

func TestSurplus(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	then := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	var all []v1alpha1.Ledger
	add := func(namespace string, n int, at time.Time, annotations map[string]string) {
		all = append(all, v1alpha1.Ledger{ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: fmt.Sprint("ledger-", n), UID: types.UID(fmt.Sprint(namespace, "-", -n)),
			CreationTimestamp: metav1.NewTime(at), Annotations: annotations,
		}})
	}
	for n := range 6 { // the last is the oldest
		add("shop", n, then.Add(-time.Duration(n)*time.Hour), nil)
		add("admin", n, then, nil)
		add("tie", n, then, nil)
	}
	add("shop", 7, then.AddDate(-1, 0, 0), map[string]string{v1alpha1.AnnotationRecord: "production"})
	g.Expect(Surplus(all, func(namespace string) bool { return namespace == "admin" })).To(Equal(map[types.UID]bool{
		"shop-0": true, "shop--1": true, "tie--4": true, "tie--5": true,
	}))
}

func TestTheNumberOfLedgersIsDocumented(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	page, err := os.ReadFile("../../docs/reference/limits.md")
	g.Expect(err).NotTo(HaveOccurred())
	row := fmt.Sprintf("| Ledgers of a namespace that are served, the oldest first | %d |", MaxPerNamespace)
	g.Expect(string(page)).To(ContainSubstring(row))
}
