package keeper_test

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// TestARetentionPolicyLetsGoOnlyWhereItMayBeUsed sets each usagePolicy before retention begins, and again before the
// next removal.
func TestARetentionPolicyLetsGoOnlyWhereItMayBeUsed(t *testing.T) {
	t.Parallel()
	from := func(from v1alpha1.NamespacesFrom) *v1alpha1.UsagePolicy {
		return &v1alpha1.UsagePolicy{AllowedNamespaces: v1alpha1.AllowedNamespaces{From: new(from)}}
	}
	for name, c := range map[string]struct {
		usage   *v1alpha1.UsagePolicy
		allowed bool
	}{
		"no usagePolicy":     {nil, false},
		"All":                {from(v1alpha1.NamespacesFromAll), true},
		"Same":               {from(v1alpha1.NamespacesFromSame), false},
		"Selector":           {chosen("retention-team", "shop"), true},
		"Selector of others": {chosen("retention-team", "other"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, s, home := NewWithT(t), newShop(t), bed.Namespace(t, nil)
			s.label("retention-team", "shop")
			spec := last(1)
			spec.UsagePolicy = c.usage
			p := &v1alpha1.RetentionPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: "keep"}, Spec: spec}
			bed.Create(t, p)
			newest, older := s.snapshot(s.repository, 1, good), s.snapshot(s.repository, 2, good)
			s.configuration("c", &v1alpha1.ObjectReference{Namespace: home, Name: "keep"}, nil, "web")
			refused := "nothing is removed: the usagePolicy of RetentionPolicy " + home +
				"/keep does not allow the namespace " +
				s.namespace
			if !c.allowed {
				s.expectRetention(s.repository, v1alpha1.ReasonRetentionPolicyNotAllowed, refused)
				s.noJob("there is nothing to remove")
				expectKept(t, older)
				return
			}
			job, _ := s.job()
			s.did(job, "")
			recorded(t, older)
			s.expectRetention(s.repository, v1alpha1.ReasonApplied, home+"/keep")
			gone(t, job, "the Job is removed")

			bed.Edit(t, p, func() { p.Spec.UsagePolicy = nil })
			s.expectRetention(s.repository, v1alpha1.ReasonRetentionPolicyNotAllowed, refused)
			oldest := s.snapshot(s.repository, 3, good)
			bed.Quiet(t, s.namespace)
			s.noJob("the policy no longer allows the namespace")
			expectKept(t, oldest)
			expectKept(t, newest)
			g.Expect(s.repository.Status.RetentionPolicy).
				To(HaveValue(Equal(v1alpha1.ObjectReference{Namespace: home, Name: "keep"})))
		})
	}
}

// The storage binds directories to namespaces after a Repository was made. The data stays, until the owner allows the
// directory again.
func TestNothingIsRemovedOutsideOfThePrefixOfTheStorage(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	newest, older := s.snapshot(s.repository, 1, good), s.snapshot(s.repository, 2, good)
	bind := func(prefix string) {
		bed.Edit(t, s.storage, func() { s.storage.Spec.UsagePolicy.DirectoryPrefix = prefix })
		bed.MarkReady(t, s.storage)
		bed.Cached(t, s.storage)
	}
	bind("/{namespace}")
	bed.ExpectReason(t, s.repository, v1alpha1.PhaseNotReady, v1alpha1.ReasonDirectoryNotAllowed,
		"the usagePolicy of BackupStorage "+s.storage.Namespace+"/s3 allows the namespace "+s.namespace+
			" only directories at or below /"+s.namespace+`, and not "/shop/web"`)
	s.policy("c", last(1), "web")
	bed.Quiet(t, s.namespace)
	s.noJob("the storage does not allow the directory")
	g.Expect(bed.Client.Delete(t.Context(), older)).To(Succeed())
	bed.Quiet(t, s.namespace)
	s.noJob("nor where somebody deletes a Snapshot")

	bind("/shop")
	bed.ExpectReason(t, s.repository, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
	job, _ := s.job()
	s.did(job, "")
	recorded(t, older)
	expectKept(t, newest)
}
