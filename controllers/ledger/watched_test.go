package ledger

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A PolicySync begins to follow the branch of a Ledger that has pushed to it: nothing more is written to it.
func TestABranchThatIsWatchedLater(t *testing.T) {
	commit := strings.Repeat("0123456789", 4)
	ref := func(r v1alpha1.GitRef) func(*world, *v1alpha1.PolicySync) {
		return func(_ *world, p *v1alpha1.PolicySync) { p.Spec.Ref = &r }
	}
	for name, tt := range map[string]struct {
		made   func(*world, *v1alpha1.PolicySync)
		edited func(*world, *v1alpha1.PolicySync)
		allows bool
	}{
		"made later":             {made: ref(v1alpha1.GitRef{Branch: branch})},
		"in another letter case": {made: ref(v1alpha1.GitRef{Branch: strings.ToUpper(branch)})},
		"suspended": {made: func(_ *world, p *v1alpha1.PolicySync) {
			p.Spec.Suspend, p.Spec.Ref = true, &v1alpha1.GitRef{Branch: branch}
		}},
		"its ref is edited": {
			made: ref(v1alpha1.GitRef{Branch: "main"}), edited: ref(v1alpha1.GitRef{Branch: branch}),
		},
		"its url is edited": {
			made: func(w *world, p *v1alpha1.PolicySync) {
				p.Spec.URL, p.Spec.Ref = w.HTTPAddress()+"/other.git", &v1alpha1.GitRef{Branch: branch}
			},
			edited: func(w *world, p *v1alpha1.PolicySync) {
				p.Spec.URL = strings.Replace(w.HTTPAddress(), "http://", "https://user@", 1) + "//Repo/"
			},
		},
		"by ssh": {made: func(_ *world, p *v1alpha1.PolicySync) {
			p.Spec.URL = "ssh://git@127.0.0.1:22/repo.git"
			p.Spec.SecretRef = &v1alpha1.LocalObjectReference{Name: "git"}
			p.Spec.Ref = &v1alpha1.GitRef{Branch: branch}
		}},
		"a tag of this name": {made: ref(v1alpha1.GitRef{Tag: branch}), allows: true},
		"a commit":           {made: ref(v1alpha1.GitRef{Commit: commit}), allows: true},
		"another branch":     {made: ref(v1alpha1.GitRef{Branch: branch + "-2"}), allows: true},
		"no ref":             {made: func(*world, *v1alpha1.PolicySync) {}, allows: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			l := w.ledger("ledger")
			w.session("a")
			w.settle(l)
			tip := w.tip()
			sync := &v1alpha1.PolicySync{
				ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "policy"},
				Spec:       v1alpha1.PolicySyncSpec{URL: w.url(), Path: "elsewhere"},
			}
			tt.made(w, sync)
			w.create(sync)
			if tt.edited != nil {
				w.session("b")
				w.settle(l)
				g.Expect(w.tip()).NotTo(Equal(tip))
				tip = w.tip()
				tt.edited(w, get(w, sync))
				g.Expect(bed.Client.Update(t.Context(), sync)).To(Succeed())
			}
			w.session("c")
			w.pass(11 * time.Second)
			_, err := w.collect()
			g.Expect(err).NotTo(HaveOccurred())
			_, err = w.push(l)
			g.Expect(err).NotTo(HaveOccurred())
			if tt.allows {
				g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
				return
			}
			g.Expect(get(w, l)).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonWatchedBranch))
			g.Expect(w.tip()).To(Equal(tip), "nothing is written to a watched branch")
			g.Expect(w.parcels()).To(HaveLen(1), "and nothing is lost")
			g.Expect(bed.Client.Delete(t.Context(), sync)).To(Succeed())
			w.settle(l)
			g.Expect(w.files("clusters/production/records")).NotTo(BeEmpty())
			g.Expect(l).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonWatchedBranch))
			g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
		})
	}
}
