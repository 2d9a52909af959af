package ledger

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/ledger"
)

func numbered(i int) ledger.Record {
	return ledger.Record{Path: fmt.Sprintf("records/n/k.n/2026-07/%04d.yaml", i), Content: "kind: X\n"}
}

func TestOutboxHoldsARecordOnce(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l, o := w.ledger("ledger"), w.collector.Outbox
	g.Expect(o.add(t.Context(), l, []ledger.Record{numbered(1), numbered(2)})).To(Succeed())
	g.Expect(o.add(t.Context(), l, []ledger.Record{numbered(2), numbered(1)})).To(Succeed())
	g.Expect(w.parcels()).To(HaveLen(1), "the same set again")
	w.restart()
	o = w.collector.Outbox
	g.Expect(o.add(t.Context(), l, []ledger.Record{numbered(1), numbered(2), numbered(3)})).To(Succeed())
	parcels, err := o.list(t.Context(), l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(parcels).To(HaveLen(2), "only the new one is written, in another process too")
	g.Expect(parcels[0].records + parcels[1].records).To(Equal(3))

	var cm corev1.ConfigMap
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: parcels[0].meta.Name}, &cm)).
		To(Succeed())
	g.Expect(*cm.Immutable).To(BeTrue())
	g.Expect(cm.OwnerReferences).To(BeEmpty(), "a foreground deletion would delete owned parcels before the Ledger")
}

// lateReader reads after something else has happened.
type lateReader struct {
	client.Reader
	before func()
}

func (r lateReader) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	r.before()
	return r.Reader.Get(ctx, key, o, opts...)
}

// A parcel of the same name that is being deleted holds nothing: a caller that relied on it would release an object
// without a record.
func TestOutboxReliesOnNoParcelThatGoes(t *testing.T) {
	t.Parallel()
	for name, finalizers := range map[string][]string{"it is gone": nil, "it is being deleted": {"example.com/wait"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			l := w.ledger("ledger")
			packed, err := ledger.Pack(l.Name, []ledger.Record{numbered(1)})
			g.Expect(err).NotTo(HaveOccurred())
			cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
				Namespace: w.namespace, Name: packed[0].Name, Finalizers: finalizers,
				Labels: map[string]string{
					v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelLedger: l.Name,
				},
			}}
			w.create(cm)
			reader := lateReader{w.client, func() { g.Expect(bed.Client.Delete(t.Context(), cm)).To(Succeed()) }}
			err = NewOutbox(w.client, reader).create(t.Context(), l, packed[0])
			g.Expect(err).To(MatchError(ContainSubstring("is being removed")))
			g.Expect(apierrors.IsNotFound(err)).To(BeFalse(), "which means that the namespace is gone")
		})
	}
}

// Parcels that are being pushed are not merged: their records would be pushed and counted again with the merged parcel.
func TestNothingIsMergedDuringItsPush(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	w.settle(l)
	for i := range mergeParcels {
		g.Expect(w.collector.Outbox.add(t.Context(), l, []ledger.Record{numbered(i)})).To(Succeed())
	}
	w.during = func() {
		w.during = nil
		g.Expect(w.collector.Outbox.add(t.Context(), l, []ledger.Record{numbered(mergeParcels)})).To(Succeed())
	}
	w.pass(11 * time.Second)
	_, err := w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.during).To(BeNil())
	w.settle(l)
	g.Expect(w.files("clusters/production/records")).To(HaveLen(mergeParcels + 1))
	g.Expect(get(w, l).Status.Recorded).To(BeEquivalentTo(mergeParcels + 1))

	// After a failed push they are merged again.
	w.down = true
	for i := range mergeParcels {
		g.Expect(w.collector.Outbox.add(t.Context(), l, []ledger.Record{numbered(100 + i)})).To(Succeed())
	}
	w.pass(time.Hour)
	_, err = w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.parcels()).To(HaveLen(mergeParcels))
	g.Expect(w.collector.Outbox.add(t.Context(), l, []ledger.Record{numbered(200)})).To(Succeed())
	g.Expect(w.parcels()).To(HaveLen(1))
}

func TestOutboxMergesATrickle(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l, o := w.ledger("ledger"), w.collector.Outbox
	for i := range 4*mergeParcels + 3 {
		g.Expect(o.add(t.Context(), l, []ledger.Record{numbered(i)})).To(Succeed())
		g.Expect(len(w.parcels())).To(BeNumerically("<=", mergeParcels+1))
	}
	parcels, err := o.list(t.Context(), l)
	g.Expect(err).NotTo(HaveOccurred())
	in, err := w.reconciler.gather(t.Context(), l, parcels)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(in.records).To(HaveLen(4*mergeParcels + 3))
}

// fill fills an outbox to its limit with parcels too large to be merged.
func (w *world) fill(l *v1alpha1.Ledger) {
	w.t.Helper()
	for i := range maxParcels {
		err := w.collector.Outbox.create(w.t.Context(), l,
			ledger.Parcel{Name: fmt.Sprintf("full-%d", i), Data: []byte("x"), Records: smallParcel})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestFullOutbox(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger", func(l *v1alpha1.Ledger) { l.Spec.Suspend = true })
	w.fill(l)
	kept, deleted := w.session("kept"), w.session("deleted")
	g.Expect(bed.Client.Delete(t.Context(), deleted)).To(Succeed())
	result, err := w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.RequeueAfter).To(Equal(fullRetry))
	g.Expect(get(w, kept).Finalizers).To(ContainElement(v1alpha1.FinalizerRecord), "nothing is lost")
	g.Expect(apierrors.IsNotFound(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(deleted), deleted))).
		To(BeTrue(), "nothing is held up")
	g.Expect(w.seen()).To(ContainSubstring(v1alpha1.ReasonRecordDropped))
	_, err = w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(meta.IsStatusConditionTrue(get(w, l).Status.Conditions, v1alpha1.ConditionBacklogged)).To(BeTrue())

	g.Expect(bed.Client.DeleteAllOf(t.Context(), &corev1.ConfigMap{}, client.InNamespace(w.namespace),
		client.HasLabels{v1alpha1.LabelLedger})).To(Succeed())
	w.pass(11 * time.Second)
	_, err = w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(get(w, kept).Finalizers).To(BeEmpty())
	_, err = w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(meta.FindStatusCondition(get(w, l).Status.Conditions, v1alpha1.ConditionBacklogged)).To(BeNil())
}

// Another Ledger does not record an object again and again because one Ledger has no room for it.
func TestFullOutboxOfAnotherLedger(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	full := w.ledger("full", func(l *v1alpha1.Ledger) { l.Spec.Suspend = true })
	l := w.ledger("ledger")
	w.fill(full)
	s := w.session("a")
	for i := range 3 {
		w.pass(time.Minute)
		_, err := w.collect()
		g.Expect(err).NotTo(HaveOccurred())
		if i > 0 {
			g.Expect(w.parcels()).To(HaveLen(maxParcels), "its record is in Git already")
		}
		_, err = w.push(l)
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(get(w, s).Finalizers).To(ContainElement(v1alpha1.FinalizerRecord))
	g.Expect(w.parcels()).To(HaveLen(maxParcels))
	g.Expect(get(w, l).Status.Recorded).To(BeEquivalentTo(1))
	g.Expect(w.files("clusters/production/records")).To(Equal([]string{w.path(s)}))
}

// A file of the branch is never changed, and new records are still written.
func TestRecordDiffers(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	s := w.session("a")
	w.settle(l)
	was := w.git("show", branch+":"+w.path(s))
	path := w.path(s)[len("clusters/production/"):]
	g.Expect(w.collector.Outbox.add(t.Context(), l, []ledger.Record{
		{Path: path, Content: "kind: Forged\n"},
		numbered(1),
	})).To(Succeed())
	w.settle(l)
	g.Expect(w.git("show", branch+":"+w.path(s))).To(Equal(was))
	g.Expect(w.files("clusters/production/records")).To(HaveLen(2))
	g.Expect(w.seen()).To(ContainSubstring(v1alpha1.ReasonRecordDiffers))
	g.Expect(get(w, l).Status.Recorded).To(BeEquivalentTo(2))
	g.Expect(l).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
}

// etcd was restored from a copy in which a run had not ended. The run ends once more, in another way, and the branch
// has its record since it ended first.
func TestARecordThatDiffersIsNotThatOfTheObject(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	s, other := w.session("a"), w.session("b")
	path := w.path(s)[len("clusters/production/"):]
	g.Expect(w.collector.Outbox.add(t.Context(), l, []ledger.Record{
		{Path: path, Content: "kind: BackupSession\n"},
	})).To(Succeed())
	_, err := w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(get(w, s).Finalizers).To(ContainElement(v1alpha1.FinalizerRecord))
	w.settle(l)
	g.Expect(w.git("show", branch+":"+w.path(s))).To(Equal("kind: BackupSession"))
	g.Expect(w.seen()).To(ContainSubstring(v1alpha1.ReasonRecordDiffers))
	g.Expect(get(w, s).Status.Records).To(BeEmpty(), "no commit has its record")
	g.Expect(get(w, other).Status.Records).To(HaveLen(1))
	g.Expect(w.parcels()).To(BeEmpty())
	g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
	g.Expect(s.Finalizers).To(BeEmpty(), "it can go")
}

func TestLimiter(t *testing.T) {
	g := NewWithT(t)
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	var l limiter
	g.Expect(l.reserve("a", now, now.Add(-4*time.Second))).To(Equal(6*time.Second), "status knows of a push")
	g.Expect(l.reserve("b", now, time.Time{})).To(BeZero())
	g.Expect(l.reserve("b", now.Add(time.Second), time.Time{})).To(Equal(9 * time.Second))
	l.spent("b", now, 3)
	g.Expect(l.reserve("b", now.Add(10*time.Second), time.Time{})).To(Equal(20 * time.Second))
	l.spent("b", now, 0)
	g.Expect(l.reserve("b", now, time.Time{})).To(BeZero(), "no push is known")
	g.Expect(l.reserve("c", now, now.Add(time.Hour))).To(BeZero(), "a push in the future does not block")
}

// A ConfigMap with the name of a parcel and other content holds no record: a caller that relied on it would release an
// object without a record.
func TestOutboxReliesOnNoParcelWithOtherContent(t *testing.T) {
	t.Parallel()
	record := numbered(1)
	packed, err := ledger.Pack("ledger", []ledger.Record{record})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	packedElsewhere := func(level int) []byte { // as another version of Go would compress it
		unpacked, err := gzip.NewReader(bytes.NewReader(packed[0].Data))
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		var out bytes.Buffer
		z, err := gzip.NewWriterLevel(&out, level)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		_, err = io.Copy(z, unpacked)
		NewWithT(t).Expect(errors.Join(err, z.Close())).NotTo(HaveOccurred())
		return out.Bytes()
	}
	for name, tt := range map[string]struct {
		data []byte
		same bool
	}{
		"nothing that Cairn wrote":    {data: []byte("x")},
		"compressed in the same way":  {data: packed[0].Data, same: true},
		"compressed in another way":   {data: packedElsewhere(gzip.NoCompression), same: true},
		"the beginning of the parcel": {data: packed[0].Data[:20]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			l := w.ledger("ledger")
			w.create(&corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: w.namespace, Name: packed[0].Name,
					Labels: map[string]string{
						v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelLedger: l.Name,
					},
				},
				BinaryData: map[string][]byte{ledger.ParcelKey: tt.data},
			})
			err := w.collector.Outbox.create(t.Context(), l, packed[0])
			if tt.same {
				g.Expect(err).NotTo(HaveOccurred())
			} else {
				g.Expect(err).To(MatchError(ContainSubstring(packed[0].Name + " holds something else: delete it")))
			}
		})
	}
}
