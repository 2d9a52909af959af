package access_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
)

func TestWhoMayUseAnObject(t *testing.T) {
	home := namespace(t)
	friend := namespace(t, func(n *corev1.Namespace) { n.Labels = map[string]string{"backup": "yes"} })
	stranger := namespace(t)
	from := func(from v1alpha1.NamespacesFrom) *v1alpha1.UsagePolicy {
		return &v1alpha1.UsagePolicy{AllowedNamespaces: v1alpha1.AllowedNamespaces{From: new(from)}}
	}
	chosen := from(v1alpha1.NamespacesFromSelector)
	chosen.AllowedNamespaces.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"backup": "yes"}}
	unreadable := from(v1alpha1.NamespacesFromSelector)
	unreadable.AllowedNamespaces.Selector = &metav1.LabelSelector{
		MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "backup", Operator: "Near"}},
	}
	for name, tc := range map[string]struct {
		usage            *v1alpha1.UsagePolicy
		friend, stranger bool
	}{
		"nothing said":              {},
		"Same":                      {usage: from(v1alpha1.NamespacesFromSame)},
		"All":                       {usage: from(v1alpha1.NamespacesFromAll), friend: true, stranger: true},
		"Selector":                  {usage: chosen, friend: true},
		"a selector without any":    {usage: from(v1alpha1.NamespacesFromSelector)},
		"a selector of no operator": {usage: unreadable},
	} {
		t.Run(name, func(t *testing.T) {
			object := &v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: "shared"}}
			for user, allowed := range map[string]bool{home: true, friend: tc.friend, stranger: tc.stranger} {
				g := NewWithT(t)
				err := access.MayUse(t.Context(), bed.Client, "RetentionPolicy", object, tc.usage, user, "SomeReason")
				if allowed {
					g.Expect(err).NotTo(HaveOccurred())
					continue
				}
				reason, message, _ := access.ReasonOf(err)
				g.Expect(reason).To(Equal("SomeReason"))
				g.Expect(message).To(Equal("the usagePolicy of RetentionPolicy " + home +
					"/shared does not allow the namespace " + user))
			}
		})
	}
}
