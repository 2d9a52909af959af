package ledger

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/ledger"
)

// countingReader counts the reads of one object.
type countingReader struct {
	client.Reader
	name  string
	reads *int
}

func (r countingReader) Get(
	ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption,
) error {
	if key.Name == r.name {
		*r.reads++
	}
	return r.Reader.Get(ctx, key, o, opts...)
}

// TestAPoisonedParcelIsReadOnce puts a ConfigMap into the outbox that inflates to millions of records. The Ledger says
// which one and why, and pushes all others.
func TestAPoisonedParcelIsReadOnce(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l, o := w.ledger("ledger"), w.collector.Outbox
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, err := fmt.Fprint(z, `{"version":1,"records":[`, strings.Repeat(`{"path":"records/a"},`, 1<<17), "{}]}")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(z.Close()).To(Succeed())
	g.Expect(o.create(t.Context(), l, ledger.Parcel{Name: "bomb", Data: bomb.Bytes(), Records: 1})).To(Succeed())
	reads := 0
	o.reader = countingReader{o.reader, "bomb", &reads}
	var files []string
	for _, name := range []string{"a", "b", "c"} {
		s := w.session(name)
		w.pass(time.Hour)
		_, err := w.collect()
		g.Expect(err).NotTo(HaveOccurred())
		_, err = w.push(l)
		g.Expect(err).NotTo(HaveOccurred())
		files = append(files, w.path(s))
		g.Expect(get(w, s).Status.Records).To(HaveLen(1))
	}
	g.Expect(w.files("clusters/production/records")).To(ConsistOf(files))
	g.Expect(get(w, l)).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonUnreadableParcel))
	g.Expect(ready(l).Message).To(Equal("ConfigMap bomb of the outbox does not hold what Cairn wrote (not a parcel " +
		"of records: it has more than 65536 files): delete it; the other records are pushed"))
	g.Expect(w.parcels()).To(Equal([]string{"bomb"}))
	g.Expect(reads).To(Equal(1))
}

// TestManyPoisonedParcels lets parcels that are small only by their own word be merged: together, they would be as
// large as the memory of the manager.
func TestManyPoisonedParcels(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l, o := w.ledger("ledger"), w.collector.Outbox
	for i := range 2 * mergeParcels {
		r := numbered(i)
		r.Content = strings.Repeat("x", 6<<20)
		packed, err := ledger.Pack(l.Name, []ledger.Record{r})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(o.create(t.Context(), l, packed[0])).To(Succeed())
	}
	parcels, err := o.list(t.Context(), l)
	g.Expect(err).NotTo(HaveOccurred())
	merged, records, err := o.merge(t.Context(), l, parcels, nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(merged).NotTo(BeEmpty())
	bytes := 0
	for _, r := range records {
		bytes += len(r.Content)
	}
	g.Expect(bytes).To(BeNumerically("<", maxBytes+6<<20+1))
	in, err := w.reconciler.gather(t.Context(), l, parcels)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(in.bytes).To(BeNumerically("<", maxBytes+6<<20+1))
	w.reconciler.Outbox.putBack(in.taken)

	w.reconciler.large.Lock() // another Ledger has a large push
	w.pass(time.Minute)
	_, err = w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.parcels()).To(HaveLen(2 * mergeParcels))
	w.reconciler.large.Unlock()
	w.settle(l)
	g.Expect(w.files("clusters/production/records")).To(HaveLen(2 * mergeParcels))
}
