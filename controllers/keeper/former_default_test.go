package keeper_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// TestAnotherDefaultRemovesNothingByItself takes away the default that the backups were made under. Another one, which
// keeps less, is there. It removes nothing, however much time passes, until somebody says that it replaces the former.
func TestAnotherDefaultRemovesNothingByItself(t *testing.T) {
	t.Parallel()
	for name, take := range map[string]func(g *WithT, s *shop, former *v1alpha1.RetentionPolicy) string{
		"the default is deleted": func(g *WithT, s *shop, former *v1alpha1.RetentionPolicy) string {
			g.Expect(bed.Client.Delete(s.t.Context(), former)).To(Succeed())
			return "strict"
		},
		"it is the default no more": func(_ *WithT, s *shop, former *v1alpha1.RetentionPolicy) string {
			bed.Edit(s.t, former, func() { former.Spec.Default = false })
			return "strict"
		},
		"it is made again with other rules": func(g *WithT, s *shop, former *v1alpha1.RetentionPolicy) string {
			g.Expect(bed.Client.Delete(s.t.Context(), former)).To(Succeed())
			return "keep"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, s := NewWithT(t), newShop(t)
			former := defaultPolicy(t, s.namespace, "keep", last(5), nil)
			s.configuration("c", nil, nil, "web")
			s.expectDefault(former, false)
			newest, older := s.snapshot(s.repository, 1, good), s.snapshot(s.repository, 2, good)

			strict := defaultPolicy(t, s.namespace, take(g, s, former), last(1), nil)
			bed.Eventually(t, s.repository, func(g Gomega) {
				g.Expect(s.repository.Status.RetentionPolicy).
					To(Equal(&v1alpha1.ObjectReference{Namespace: s.namespace, Name: strict.Name}))
			}, "it is the default now")
			bed.Quiet(t, s.namespace)
			bed.Eventually(t, s.repository, func(g Gomega) {
				if d := s.repository.Status.DefaultRetention; d != nil {
					g.Expect(d.UID).To(Equal(strict.UID))
				}
			}, "the Repository has looked at it")
			if d := s.repository.Status.DefaultRetention; d != nil && d.RemovesAfter != nil {
				s.dayLater()
			}
			s.noJob("another default removes nothing by itself")
			expectKept(t, newest)
			expectKept(t, older)
			s.expectRetention(s.repository, "DefaultReplaced", "nothing is removed: the default was RetentionPolicy "+
				s.namespace+"/keep, and "+s.namespace+"/"+strict.Name+" is another one. Bring the former back, name a "+
				"RetentionPolicy in spec.backends[].retentionPolicy, or let the new one in: kubectl annotate "+
				"retentionpolicy -n "+s.namespace+" "+strict.Name+" backup.cairn.dev/replaces-default="+
				string(former.UID))
			bed.NoOp(t, retentions, &events, s.repository)

			bed.Edit(t, strict, func() {
				strict.Annotations = map[string]string{"backup.cairn.dev/replaces-default": string(former.UID)}
			})
			s.expectDefault(strict, true)
			expectKept(t, older)
			s.dayLater()
			job, _ := s.job()
			s.did(job, "")
			recorded(t, older)
			expectKept(t, newest)
		})
	}
}

// TestAFormerDefaultThatIsBackIsInForceAgain: nobody has to say anything.
func TestAFormerDefaultThatIsBackIsInForceAgain(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	former := defaultPolicy(t, s.namespace, "keep", last(5), nil)
	s.configuration("c", nil, nil, "web")
	s.expectDefault(former, false)
	s.snapshot(s.repository, 1, good)
	s.snapshot(s.repository, 2, good)
	bed.Edit(t, former, func() { former.Spec.Default = false })
	s.expectRetention(s.repository, v1alpha1.ReasonKeepsEverything, "there is no default")
	g.Expect(s.repository.Status.FormerDefault).To(HaveValue(HaveField("UID", former.UID)))
	strict := defaultPolicy(t, s.namespace, "strict", last(1), nil)
	s.expectRetention(s.repository, v1alpha1.ReasonDefaultReplaced, "")
	bed.Edit(t, strict, func() { strict.Spec.Default = false })
	bed.Edit(t, former, func() { former.Spec.Default = true })
	s.expectDefault(former, false)
	g.Expect(s.repository.Status.FormerDefault).To(BeNil())

	// Whoever owns the backups can choose another one himself.
	c := &v1alpha1.BackupConfiguration{}
	c.Namespace, c.Name = s.namespace, "c"
	bed.Edit(t, c, func() {
		c.Spec.Backends[0].RetentionPolicy = &v1alpha1.ObjectReference{Name: strict.Name}
	})
	bed.Eventually(t, s.repository, func(g Gomega) {
		g.Expect(s.repository.Status.RetentionPolicy).To(HaveValue(HaveField("Name", "strict")))
		g.Expect(s.repository.Status.DefaultRetention).To(BeNil())
		g.Expect(s.repository.Status.FormerDefault).To(BeNil())
	}, "the memory goes with the choice")
}
