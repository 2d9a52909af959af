package retention

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestWhenPolicyHasSettled(t *testing.T) {
	scheme := runtime.NewScheme()
	NewWithT(t).Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	now := time.Date(2026, 11, 27, 3, 0, 0, 0, time.UTC)
	written := func(ago time.Duration, subresource string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{
			Manager: "kubectl", Subresource: subresource, Time: new(metav1.NewTime(now.Add(-ago))),
		}
	}
	for name, c := range map[string]struct {
		fields  []metav1.ManagedFieldsEntry
		created time.Duration
		deleted bool
		says    string
		again   time.Duration
	}{
		"long ago":      {created: time.Hour},
		"made just now": {created: time.Minute, says: "unchanged for 2m0s", again: time.Minute},
		"changed just now": {
			fields: []metav1.ManagedFieldsEntry{written(30*time.Second, "")}, created: time.Hour,
			says: "unchanged for 2m0s", again: 90 * time.Second,
		},
		"only its status changed":   {fields: []metav1.ManagedFieldsEntry{written(0, "status")}, created: time.Hour},
		"by a clock a little ahead": {created: -time.Minute, says: "unchanged for 2m0s", again: 3 * time.Minute},
		"by a clock that was wrong": {created: -365 * 24 * time.Hour},
		"it is being deleted": {
			created: time.Hour, deleted: true, says: "while RetentionPolicy/keep, which decides, is being deleted",
			again: partInterval,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			p := &v1alpha1.RetentionPolicy{ObjectMeta: metav1.ObjectMeta{
				Name: "keep", CreationTimestamp: metav1.NewTime(now.Add(-c.created)), ManagedFields: c.fields,
			}}
			if c.deleted {
				p.DeletionTimestamp = new(metav1.NewTime(now))
			}
			r := &Reconciler{Client: fake.NewClientBuilder().WithScheme(scheme).Build(), SettleTime: SettleTime}
			is, err := r.findUnsettled(t.Context(), []client.Object{p}, now)
			g.Expect(err).NotTo(HaveOccurred())
			if c.says == "" {
				g.Expect(is).To(BeNil())
				return
			}
			g.Expect(is.message).To(ContainSubstring(c.says))
			g.Expect(is.again).To(Equal(c.again))
		})
	}
}

func TestPolicySyncsThatAreApart(t *testing.T) {
	const first, second = "main@sha1:1111", "main@sha1:2222"
	changed := time.Date(2026, 11, 27, 3, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		change func(a, b *v1alpha1.PolicySync)
		says   string // "" if they are not apart
	}{
		"both have applied the same": {change: func(_, b *v1alpha1.PolicySync) {
			b.Status.LastAttemptedRevision, b.Status.LastAppliedRevision = second, second
		}},
		"one has not seen the commit": {
			change: func(_, _ *v1alpha1.PolicySync) {},
			says: "until each of PolicySync/backup/a and PolicySync/shop/b has applied a revision that it found " +
				"after the policy of this Repository changed",
		},
		"one refuses the commit": {
			change: func(_, b *v1alpha1.PolicySync) { b.Status.LastAttemptedRevision = second },
			says:   "; PolicySync/shop/b has not applied the revision that it tried last: its condition Ready says why",
		},
		"one has written some of the commit, and the other one nothing": {
			change: func(a, _ *v1alpha1.PolicySync) { a.Status.LastAppliedRevision = first },
			says:   "; PolicySync/backup/a has not applied the revision that it tried last",
		},
		"both have read Git since policy changed": {change: func(_, b *v1alpha1.PolicySync) {
			b.Status.LastAppliedTime = new(metav1.NewTime(changed.Add(6 * time.Minute)))
		}},
		"one has read Git before, but the manager's clock is ahead": {
			change: func(_, b *v1alpha1.PolicySync) {
				b.Status.LastAppliedTime = new(metav1.NewTime(changed.Add(2 * time.Minute)))
			},
			says: "after the policy of this Repository changed",
		},
		"one is suspended": {
			change: func(_, b *v1alpha1.PolicySync) { b.Spec.Suspend = true },
			says:   "changed; PolicySync/shop/b is suspended",
		},
		"one is suspended, and there was no commit since": {change: func(a, b *v1alpha1.PolicySync) {
			b.Spec.Suspend = true
			a.Status.LastAttemptedRevision, a.Status.LastAppliedRevision = first, first
		}},
		"one was made again": {
			change: func(_, b *v1alpha1.PolicySync) { b.Status = v1alpha1.PolicySyncStatus{} },
			says:   "after the policy of this Repository changed",
		},
		"one is being deleted": {change: func(_, b *v1alpha1.PolicySync) {
			b.DeletionTimestamp = new(metav1.Now())
		}},
		"other spellings of the same": {
			change: func(_, b *v1alpha1.PolicySync) {
				b.Spec.URL, b.Spec.Ref = "ssh://git@git.example.com/policy.git", &v1alpha1.GitRef{Branch: "main"}
			},
			says: "after the policy of this Repository changed",
		},
		"they follow two repositories": {change: func(_, b *v1alpha1.PolicySync) {
			b.Spec.URL = "https://git.example.com/shop"
		}},
		"they follow two branches": {change: func(_, b *v1alpha1.PolicySync) {
			b.Spec.Ref = &v1alpha1.GitRef{Branch: "shop"}
		}},
		"one stays at a tag": {change: func(_, b *v1alpha1.PolicySync) {
			b.Spec.Ref = &v1alpha1.GitRef{Tag: "main"}
		}},
		"one stays at a commit": {change: func(_, b *v1alpha1.PolicySync) {
			b.Spec.Ref = &v1alpha1.GitRef{Commit: "1111"}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			sync := func(namespace, name, revision string) *v1alpha1.PolicySync {
				return &v1alpha1.PolicySync{
					ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
					Spec:       v1alpha1.PolicySyncSpec{URL: "https://git.example.com/policy"},
					Status: v1alpha1.PolicySyncStatus{
						LastAttemptedRevision: revision, LastAppliedRevision: revision,
					},
				}
			}
			a, b := sync("backup", "a", second), sync("shop", "b", first)
			a.Status.LastAppliedTime = new(metav1.NewTime(changed.Add(10 * time.Minute)))
			b.Status.LastAppliedTime = new(metav1.NewTime(changed.Add(-time.Minute)))
			c.change(a, b)
			g.Expect(findApart([]*v1alpha1.PolicySync{b}, changed)).
				To(BeEmpty(), "what one has applied belongs together")
			apart := findApart([]*v1alpha1.PolicySync{b, a}, changed)
			if c.says == "" {
				g.Expect(apart).To(BeEmpty())
				return
			}
			g.Expect(apart).To(HaveExactElements(a, b))
			g.Expect(apartMessage(apart)).To(ContainSubstring(c.says))
		})
	}
}
