package ledger

import (
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/ledger"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// watching is how a PolicySync can name the branch of a Ledger, or another one.
type watching struct {
	made   func(*world, *v1alpha1.PolicySync)
	edited func(*world, *v1alpha1.PolicySync)
	allows bool // it is another one
}

func watchings() map[string]watching {
	commit := strings.Repeat("0123456789", 4)
	ref := func(r v1alpha1.GitRef) func(*world, *v1alpha1.PolicySync) {
		return func(_ *world, p *v1alpha1.PolicySync) { p.Spec.Ref = &r }
	}
	return map[string]watching{
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
	}
}

func (w *world) policySync() *v1alpha1.PolicySync {
	return &v1alpha1.PolicySync{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "policy"},
		Spec:       v1alpha1.PolicySyncSpec{URL: w.url(), Path: "elsewhere"},
	}
}

// A PolicySync begins to follow the branch of a Ledger that has pushed to it. Cairn refuses the PolicySync, and the
// Ledger goes on: it only says who names its branch.
func TestABranchThatIsWatchedLater(t *testing.T) {
	for name, tt := range watchings() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			l := w.ledger("ledger")
			w.session("a")
			w.settle(l)
			tip, sync := w.tip(), w.policySync()
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
			refuses, _ := ledger.Refuses(get(w, l), get(w, sync))
			g.Expect(refuses).To(Equal(!tt.allows))
			w.session("c")
			w.settle(l)
			g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
			g.Expect(w.tip()).NotTo(Equal(tip))
			says := conditions.GetMessage(l, v1alpha1.ConditionBranchWatched)
			if tt.allows {
				g.Expect(says).To(BeEmpty())
				return
			}
			g.Expect(says).To(Equal("PolicySync/" + w.namespace + "/policy names the branch " + branch +
				" of this repository as policy: Cairn refuses it, and goes on to push"))
			g.Expect(bed.Client.Delete(t.Context(), sync)).To(Succeed())
			w.session("d")
			w.settle(l)
			g.Expect(conditions.Has(get(w, l), v1alpha1.ConditionBranchWatched)).To(BeFalse())
		})
	}
}

// A PolicySync has read the branch before the Ledger has pushed there: nothing is written to it.
func TestABranchThatIsWatchedBefore(t *testing.T) {
	for name, tt := range watchings() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			l, sync := w.ledger("ledger"), w.policySync()
			tt.made(w, sync)
			if tt.edited != nil {
				tt.edited(w, sync)
			}
			w.create(sync)
			bed.EditStatus(t, sync, func() { sync.Status.LastFetchedFrom = ledger.FetchedFrom(sync) })
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
			g.Expect(w.tip()).To(BeEmpty(), "nothing is written to a watched branch")
			g.Expect(w.parcels()).To(HaveLen(1), "and nothing is lost")
			g.Expect(bed.Client.Delete(t.Context(), sync)).To(Succeed())
			w.settle(l)
			g.Expect(w.files("clusters/production/records")).NotTo(BeEmpty())
			g.Expect(l).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonWatchedBranch))
			g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
		})
	}
}

// A PolicySync reads the branch while the Ledger writes that its first push begins. The Ledger looks once more, and
// writes nothing.
func TestAFirstPushLooksForAPolicySyncOnceMore(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	sync := w.policySync()
	sync.Spec.Ref = &v1alpha1.GitRef{Branch: branch}
	l := w.ledger("ledger")
	testbed.ASecondLater(t, l)
	w.create(sync) // the Ledger is older, and nobody has proved access
	w.session("a")
	w.pass(11 * time.Second)
	g.Expect(w.collect()).Error().NotTo(HaveOccurred())
	read := false
	w.write = func(before bool) error {
		if read || before || get(w, l).Status.PushingTo == "" {
			return nil
		}
		read = true
		bed.EditStatus(t, sync, func() { sync.Status.LastFetchedFrom = ledger.FetchedFrom(sync) })
		return nil
	}
	g.Expect(w.push(l)).Error().NotTo(HaveOccurred())
	g.Expect(read).To(BeTrue(), "the Ledger announces its first push")
	g.Expect(get(w, l)).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonWatchedBranch))
	g.Expect(l.Status.PushingTo).To(BeEmpty())
	g.Expect(w.tip()).To(BeEmpty())
}
