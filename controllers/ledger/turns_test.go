package ledger

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/ledger"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// TestALedgerOfTheVersionBeforeKeepsItsBranch: the version before has noted that the Ledger pushed, in
// lastPushedTo, and refused a younger PolicySync on the branch. After the upgrade that PolicySync is first: the first
// pass of the Ledger finds nothing to push.
func TestALedgerOfTheVersionBeforeKeepsItsBranch(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	w.session("a")
	w.settle(l)
	get(w, l).Status.ProvedTo = "" // as the version before has left it
	g.Expect(bed.Client.Status().Update(t.Context(), l)).To(Succeed())
	w.restart()
	testbed.ASecondLater(t, l)
	sync := w.policySync()
	sync.Spec.Ref = &v1alpha1.GitRef{Branch: branch}
	refused, waits := ledger.Refuses(get(w, l), sync)
	// What Refuses lets through, the reconciler of PolicySyncs notes before it looks again.
	sync.Status.LastFetchedFrom = ledger.FetchedFrom(sync)
	w.createWithStatus(sync)
	w.session("b")
	w.pass(11 * time.Second)
	g.Expect(w.collect()).Error().NotTo(HaveOccurred())
	g.Expect(w.push(l)).Error().NotTo(HaveOccurred())
	g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed), "the records go on")
	g.Expect(refused || waits).To(BeTrue(), "the branch of records is no policy")
}

// parcelOf puts a parcel with one record of some bytes into the outbox of a Ledger.
func (w *world) parcelOf(l *v1alpha1.Ledger, size int) {
	w.t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = fmt.Fprintf(z, `{"version":1,"records":[{"path":"records/shop/large.yaml","content":"%s","object":{}}]}`,
		strings.Repeat("a: b\\n", size/5))
	if err := z.Close(); err != nil {
		w.t.Fatal(err)
	}
	p := ledger.Parcel{Name: "large", Data: out.Bytes(), Records: 1}
	if err := w.collector.Outbox.create(w.t.Context(), l, p); err != nil {
		w.t.Fatal(err)
	}
}

// TestALargePushOfAStrangerLosesNoRecords: a Ledger of another namespace pushes more than maxBytes to a server
// that does not answer. Meanwhile a namespace is deleted whose Ledger has as much to push. Its server is well.
func TestALargePushOfAStrangerLosesNoRecords(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	w.settle(l)
	w.parcelOf(l, maxBytes+1<<20)
	w.reconciler.large.Lock() // as long as the stranger's push takes
	g.Expect(bed.Client.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}})).
		To(Succeed())
	g.Expect(bed.Client.Delete(t.Context(), l)).To(Succeed())
	w.pass(11 * time.Second)
	g.Expect(w.push(l)).Error().NotTo(HaveOccurred())
	w.pass(giveUpAfter + time.Minute)
	g.Expect(w.push(l)).Error().NotTo(HaveOccurred())
	g.Expect(w.seen()).NotTo(ContainSubstring(v1alpha1.ReasonRecordDropped), "nobody has asked the server")
	w.reconciler.large.Unlock()
	w.pass(11 * time.Second)
	g.Expect(w.push(l)).Error().NotTo(HaveOccurred())
	g.Expect(w.files("clusters/production/records")).To(ContainElement(HaveSuffix("large.yaml")))
}

// TestWhoFailedOnceHasATurn: two Ledgers of one tenant fail on and on, each slowly. Another namespace's Ledger
// has met one fault of the network.
func TestWhoFailedOnceHasATurn(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r, failed := &Reconciler{Workers: 4}, &memory{failures: 1}
	of := func(namespace string) *v1alpha1.Ledger {
		return &v1alpha1.Ledger{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "l"}}
	}
	for range 2 {
		_, ok := r.turn(of("tenant"), failed)
		g.Expect(ok).To(BeTrue())
	}
	_, ok := r.turn(of("shop"), failed)
	g.Expect(ok).To(BeTrue(), "half of the workers are idle")
}
