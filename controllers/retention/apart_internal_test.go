package retention

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// a has applied the second commit, which changed a RetentionPolicy of a; b is still at the first.
func TestPolicySyncsThatAreApart(t *testing.T) {
	const (
		zeroth, first = "main@sha1:0000", "main@sha1:1111"
		second, third = "main@sha1:2222", "main@sha1:3333"
	)
	now := time.Date(2026, 11, 27, 3, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) *metav1.Time { return new(metav1.NewTime(now.Add(-d))) }
	applied := func(s *v1alpha1.PolicySync, revision string, found *metav1.Time) {
		s.Status.LastAttemptedRevision, s.Status.LastAppliedRevision = revision, revision
		s.Status.LastAppliedTime = found
	}
	changed := func(s *v1alpha1.PolicySync, revision string, found *metav1.Time) {
		s.Status.LastChangedRevision, s.Status.LastChangedTime = revision, found
	}
	const before = "has applied the revision with which the others last changed policy, or a later one"
	for name, c := range map[string]struct {
		change func(a, b *v1alpha1.PolicySync)
		days   int    // since the API server has seen a change of policy, else an hour
		says   string // "" if they are not apart
	}{
		"both have applied the same": {change: func(_, b *v1alpha1.PolicySync) {
			applied(b, second, ago(2*time.Hour))
		}},
		"one has not seen the commit": {
			change: func(_, _ *v1alpha1.PolicySync) {},
			says:   "until each of PolicySync/backup/a and PolicySync/shop/b " + before,
		},
		"one refuses the commit": {
			change: func(_, b *v1alpha1.PolicySync) { b.Status.LastAttemptedRevision = second },
			says:   "; PolicySync/shop/b has not applied the revision that it tried last: its condition Ready says why",
		},
		"one has written some of the commit, and the other one nothing": {
			change: func(a, _ *v1alpha1.PolicySync) {
				applied(a, first, ago(2*time.Hour))
				a.Status.LastAttemptedRevision = second
			},
			says: "; PolicySync/backup/a has not applied the revision that it tried last",
		},
		"one has applied a later commit": {change: func(_, b *v1alpha1.PolicySync) {
			applied(b, third, ago(30*time.Minute))
		}},
		"one found the commit before that": {
			change: func(_, b *v1alpha1.PolicySync) { applied(b, zeroth, ago(time.Hour+time.Second)) },
			says:   before,
		},
		"the other one has not seen the commit": {
			change: func(a, b *v1alpha1.PolicySync) {
				applied(a, first, ago(3*time.Hour))
				changed(a, "", nil)
				applied(b, second, ago(time.Hour))
				changed(b, second, ago(time.Hour))
			},
			says: before,
		},
		"one came from another branch, and both have applied the same": {change: func(a, b *v1alpha1.PolicySync) {
			applied(a, third, ago(0))
			changed(a, zeroth, ago(time.Hour))
			applied(b, third, ago(2*time.Hour))
		}},
		"both have applied the same, and one has written some of a later commit": {
			change: func(a, b *v1alpha1.PolicySync) {
				applied(a, first, ago(2*time.Hour))
				changed(a, second, ago(time.Hour))
				applied(b, first, ago(2*time.Hour))
			},
			says: before,
		},
		"the time of a later change is lost": {
			change: func(a, b *v1alpha1.PolicySync) {
				applied(a, first, ago(2*time.Hour))
				changed(a, second, nil)
				applied(b, first, ago(2*time.Hour))
			},
			says: before,
		},
		"the time of a change long ago is lost": {change: func(a, b *v1alpha1.PolicySync) {
			applied(a, first, ago(2*time.Hour))
			changed(a, zeroth, nil)
			applied(b, first, ago(2*time.Hour))
		}, days: 4},
		"a commit since has changed no policy": {change: func(a, b *v1alpha1.PolicySync) {
			applied(a, third, ago(0))
			applied(b, second, ago(2*time.Hour))
		}},
		"one is suspended": {
			change: func(_, b *v1alpha1.PolicySync) { b.Spec.Suspend = true },
			says:   before + "; PolicySync/shop/b is suspended",
		},
		"one is suspended since its own last change": {change: func(a, b *v1alpha1.PolicySync) {
			b.Spec.Suspend = true
			applied(b, second, ago(4*24*time.Hour))
			changed(b, second, ago(4*24*time.Hour))
			changed(a, second, ago(4*24*time.Hour))
			applied(a, third, ago(0))
		}, days: 4},
		"one is suspended, and the other one has changed only policy of others since": {
			change: func(_, b *v1alpha1.PolicySync) {
				b.Spec.Suspend = true
				applied(b, first, ago(3*24*time.Hour))
			},
			days: 4,
		},
		"one refused the commit before the upgrade": {
			change: func(a, b *v1alpha1.PolicySync) {
				changed(a, "", nil)
				changed(b, "", nil)
				b.Status.LastAttemptedRevision = second
			},
			says: "; PolicySync/shop/b has not applied the revision that it tried last",
		},
		"one was suspended before the upgrade, and the other one had changed policy since": {
			change: func(a, b *v1alpha1.PolicySync) {
				changed(a, "", nil)
				changed(b, "", nil)
				b.Spec.Suspend = true
			},
			says: before + "; PolicySync/shop/b is suspended",
		},
		"policy was older than what both had found before the upgrade": {change: func(a, b *v1alpha1.PolicySync) {
			changed(a, "", nil)
			changed(b, "", nil)
			b.Spec.Suspend = true
		}, days: 4},
		"both had applied the same before the upgrade": {change: func(a, b *v1alpha1.PolicySync) {
			changed(a, "", nil)
			changed(b, "", nil)
			applied(b, second, ago(2*time.Hour))
		}},
		"one was suspended before the upgrade": {change: func(a, b *v1alpha1.PolicySync) {
			b.Spec.Suspend, b.Status.LastAppliedTime = true, nil
			changed(a, "", nil)
			changed(b, "", nil)
			a.Status.LastAppliedTime = nil
		}},
		"one was suspended before the upgrade, and the other one has changed policy since": {
			change: func(_, b *v1alpha1.PolicySync) { b.Spec.Suspend, b.Status.LastAppliedTime = true, nil },
			says:   before,
		},
		"a clock was ahead": {
			change: func(_, b *v1alpha1.PolicySync) { b.Status.LastAppliedTime = ago(-365 * 24 * time.Hour) },
			says:   before,
		},
		"one was made again": {
			change: func(_, b *v1alpha1.PolicySync) { b.Status = v1alpha1.PolicySyncStatus{} },
			says:   before,
		},
		"one is being deleted": {change: func(_, b *v1alpha1.PolicySync) {
			b.DeletionTimestamp = new(metav1.Now())
		}},
		"other spellings of the same": {
			change: func(_, b *v1alpha1.PolicySync) {
				b.Spec.URL, b.Spec.Ref = "ssh://git@git.example.com/policy.git", &v1alpha1.GitRef{Branch: "main"}
			},
			says: before,
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
			sync := func(namespace, name string) *v1alpha1.PolicySync {
				return &v1alpha1.PolicySync{
					ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
					Spec:       v1alpha1.PolicySyncSpec{URL: "https://git.example.com/policy"},
				}
			}
			a, b := sync("backup", "a"), sync("shop", "b")
			applied(a, second, ago(time.Hour))
			changed(a, second, ago(time.Hour))
			applied(b, first, ago(2*time.Hour))
			changed(b, first, ago(2*time.Hour))
			c.change(a, b)
			of := func(s *v1alpha1.PolicySync, at *metav1.Time) client.Object {
				return &v1alpha1.RetentionPolicy{ObjectMeta: metav1.ObjectMeta{
					Name: "of-" + s.Name, CreationTimestamp: *at, Labels: map[string]string{
						v1alpha1.LabelSyncNamespace: s.Namespace, v1alpha1.LabelSyncName: s.Name,
					},
				}}
			}
			written := max(time.Duration(c.days)*24*time.Hour, time.Hour) - time.Second // after it was found
			policy := []client.Object{of(a, ago(written)), of(b, ago(written))}
			g.Expect(findApart([]*v1alpha1.PolicySync{b}, policy, now)).
				To(BeEmpty(), "what one has applied belongs together")
			apart := findApart([]*v1alpha1.PolicySync{b, a}, policy, now)
			if c.says == "" {
				g.Expect(apart).To(BeEmpty())
				return
			}
			g.Expect(apart).To(HaveExactElements(a, b))
			g.Expect(apartMessage(apart)).To(ContainSubstring(c.says))
		})
	}
}

// Policy of b came into force ten minutes ago, when configuration of a was gone. Of a, nothing decides any more.
func TestAPolicySyncThatIsBehindWhatPutItsPolicyInForce(t *testing.T) {
	const first, second, third = "main@sha1:1111", "main@sha1:2222", "main@sha1:3333"
	now := time.Date(2026, 11, 27, 3, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) *metav1.Time { return new(metav1.NewTime(now.Add(-d))) }
	for name, c := range map[string]struct {
		change func(a, b *v1alpha1.PolicySync)
		behind bool
	}{
		"it has not applied the commit": {change: func(_, _ *v1alpha1.PolicySync) {}, behind: true},
		"it has applied it": {change: func(_, b *v1alpha1.PolicySync) {
			b.Status.LastAppliedRevision = second
		}},
		"it has looked since the other one last changed policy": {change: func(a, _ *v1alpha1.PolicySync) {
			a.Status.LastChangedTime = ago(24*time.Hour + time.Second)
		}},
		"it has been suspended since long before that": {change: func(a, b *v1alpha1.PolicySync) {
			b.Spec.Suspend, b.Status.LastAppliedTime = true, ago(48*time.Hour)
			a.Status.LastChangedTime = ago(25 * time.Hour)
		}},
		"it has applied a later one": {change: func(_, b *v1alpha1.PolicySync) {
			b.Status.LastAppliedRevision, b.Status.LastAppliedTime = third, ago(10*time.Minute)
		}},
		"it has looked long since, and the other one has changed again": {change: func(a, b *v1alpha1.PolicySync) {
			b.Status.LastAppliedRevision, b.Status.LastAppliedTime = second, ago(2*time.Minute)
			a.Status.LastChangedRevision, a.Status.LastChangedTime = third, ago(0)
		}},
		"an earlier version wrote the status": {change: func(a, _ *v1alpha1.PolicySync) {
			a.Status.LastChangedRevision, a.Status.LastChangedTime = "", nil
		}},
		"the other one is being deleted": {change: func(a, _ *v1alpha1.PolicySync) { a.DeletionTimestamp = ago(0) }},
		"it is being deleted":            {change: func(_, b *v1alpha1.PolicySync) { b.DeletionTimestamp = ago(0) }},
		"the other one follows another branch": {change: func(a, _ *v1alpha1.PolicySync) {
			a.Spec.Ref = &v1alpha1.GitRef{Branch: "shop"}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			sync := func(name, applied string, found *metav1.Time) *v1alpha1.PolicySync {
				s := &v1alpha1.PolicySync{
					ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
					Spec:       v1alpha1.PolicySyncSpec{URL: "https://git.example.com/policy"},
				}
				s.Status.LastAttemptedRevision, s.Status.LastAppliedRevision = applied, applied
				s.Status.LastAppliedTime = found
				return s
			}
			a, b := sync("a", second, ago(11*time.Minute)), sync("b", first, ago(24*time.Hour))
			a.Status.LastChangedRevision, a.Status.LastChangedTime = second, ago(11*time.Minute)
			c.change(a, b)
			ours := &v1alpha1.RetentionPolicy{ObjectMeta: metav1.ObjectMeta{
				Name: "keep", CreationTimestamp: *ago(48 * time.Hour), Labels: map[string]string{
					v1alpha1.LabelSyncNamespace: "shop", v1alpha1.LabelSyncName: "b",
				},
			}}
			behind := findBehind([]*v1alpha1.PolicySync{b}, []v1alpha1.PolicySync{*b, *a}, []client.Object{ours},
				now.Add(-10*time.Minute), now)
			if !c.behind {
				g.Expect(behind).To(BeEmpty())
				return
			}
			g.Expect(apartMessage(behind)).
				To(ContainSubstring("until each of PolicySync/shop/a and PolicySync/shop/b has"))
		})
	}
}
