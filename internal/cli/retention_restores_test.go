package cli_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// A restore in another namespace keeps the Snapshot that it uses, according to the cluster. A user who must not see
// that namespace is warned.
func TestRetentionExplainSeesRestoresElsewhere(t *testing.T) {
	g := NewWithT(t)
	ns, elsewhere := namespace(t, "in-use"), namespace(t, "in-use-elsewhere")
	load(t, "testdata/retention.yaml", ns)
	now := time.Date(2026, 11, 19, 12, 0, 0, 0, time.UTC)
	explain := func(args ...string) result { return explainAt(t, now, append(args, "web", "-n", ns)...) }
	g.Expect(explain().out).To(MatchRegexp(`(?m)^web-2 .* no .*no rule of successfulSnapshots keeps it`))

	restore := &v1alpha1.RestoreSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: elsewhere, Name: "copy"},
		Spec: v1alpha1.RestoreSessionSpec{
			Target:     &v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "copy"},
			DataSource: &v1alpha1.RestoreDataSource{Namespace: ns, Snapshot: "web-2"},
		},
	}
	g.Expect(bed.Client.Create(t.Context(), restore)).To(Succeed())
	r := explain()
	g.Expect(r.out).To(MatchRegexp(`(?m)^web-2 .* yes .*RestoreSession in-use-elsewhere/copy`))
	g.Expect(r.err).To(BeEmpty())

	// A user with rights in only one namespace.
	role := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "reader"},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{v1alpha1.Group}, Resources: []string{"*"}, Verbs: []string{"get", "list"}},
		},
	}
	g.Expect(bed.Client.Create(t.Context(), role)).To(Succeed())
	g.Expect(bed.Client.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "reader"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "ann"}},
	})).To(Succeed())
	g.Eventually(func(g Gomega) {
		r := explain("--as", "ann")
		g.Expect(r.code).To(Equal(0), r.err)
		g.Expect(r.out).To(MatchRegexp(`(?m)^web-2 .* no .*no rule of successfulSnapshots keeps it`))
		g.Expect(r.err).
			To(HavePrefix(
				"warning: the restores of other namespaces are not known, so a Snapshot that only such a restore " +
					"keeps is shown as going: "))
		g.Expect(r.err).To(ContainSubstring(`cannot list resource "restoresessions"`))
	}, testbed.Patience, 100*time.Millisecond).Should(Succeed(), "until the API server has seen the role")
}
