package ledger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/ledger"
)

// noise is a text that no compression makes much smaller.
func noise(random *rand.Rand, n int) string {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte('!' + random.IntN(90))
	}
	return string(out)
}

// large adds Snapshots with a thousand components each, which failed with long messages, to a run.
func (w *world) large(s *v1alpha1.BackupSession, snapshots int) {
	w.t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	for i := range snapshots {
		snapshot := &v1alpha1.Snapshot{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: fmt.Sprintf("large-%s-%d", s.Name, i)},
			Spec: v1alpha1.SnapshotSpec{
				SnapshotID: "01J4A6Z8Q3M5N7P9R1S3T5V7X0", Repository: "repo", Session: "hourly",
				BackupSession: s.Name, Version: "v1",
				AppRef: v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "data"},
			},
			Status: v1alpha1.SnapshotStatus{
				Phase: v1alpha1.SnapshotFailed, TotalComponents: 1000, Components: map[string]v1alpha1.Component{},
			},
		}
		for c := range 1000 {
			snapshot.Status.Components[fmt.Sprintf("pod-%d", c)] = v1alpha1.Component{
				Phase: v1alpha1.SnapshotFailed, Error: noise(random, 1000),
			}
		}
		w.createWithStatus(snapshot)
		s.Status.Snapshots = append(s.Status.Snapshots,
			v1alpha1.SnapshotStatusInfo{Name: snapshot.Name, Phase: v1alpha1.SnapshotFailed})
	}
	if err := bed.Client.Status().Update(w.t.Context(), s); err != nil {
		w.t.Fatal(err)
	}
}

// TestALargeRecordHoldsUpNobody records a run that is larger than a ConfigMap, and one that is larger than a file of
// the branch, in the batch of a small one.
func TestALargeRecordHoldsUpNobody(t *testing.T) {
	for name, snapshots := range map[string]int{"more than 1 MiB": 2, "more than 8 MiB": 8} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			l := w.ledger("ledger")
			large, small := w.session("large"), w.session("small")
			w.large(large, snapshots)
			w.settle(l)
			g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
			for _, s := range []*v1alpha1.BackupSession{large, small} {
				g.Expect(get(w, s).Finalizers).To(BeEmpty())
				g.Expect(s.Status.Records).To(HaveLen(1))
			}
			g.Expect(l.Status.Recorded).To(BeEquivalentTo(2), "a record of many files is one record")
			var all strings.Builder
			for _, file := range w.files("clusters/production/records") {
				all.WriteString(w.git("show", branch+":"+file))
			}
			for _, info := range large.Status.Snapshots {
				g.Expect(all.String()).To(ContainSubstring("name: " + info.Name + "\n"))
			}
			g.Expect(strings.Count(all.String(), "\n    pod-999:\n")).To(Equal(snapshots), "no component is left out")
			g.Expect(strings.Count(w.git("log", "-1", "--format=%B", branch), "BackupSession ")).To(Equal(2))
		})
	}
}

// TestARecordThatFailsHoldsOnlyItself can't read the Snapshot of one run of a batch.
func TestARecordThatFailsHoldsOnlyItself(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	held, other := w.session("held"), w.session("other")
	w.collector.Client = interceptor.NewClient(w.client, interceptor.Funcs{Get: func(
		ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption,
	) error {
		if key.Name == "repo-held" {
			return apierrors.NewInternalError(errors.New("conversion webhook failed"))
		}
		return c.Get(ctx, key, o, opts...)
	}})
	w.collector.APIReader = w.collector.Client
	w.pass(11 * time.Second)
	_, err := w.collect()
	g.Expect(err).To(MatchError(ContainSubstring("repo-held")))
	g.Expect(get(w, held).Finalizers).To(ContainElement(v1alpha1.FinalizerRecord))
	g.Expect(get(w, other).Finalizers).To(BeEmpty())
	_, err = w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.files("clusters/production/records")).To(Equal([]string{w.path(other)}))
}

// TestMergingLosesNoLargeRecord adds a record to an outbox of many parcels, each of which one record fills.
func TestMergingLosesNoLargeRecord(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l, o := w.ledger("ledger"), w.collector.Outbox
	random := rand.New(rand.NewPCG(1, 2))
	for i := range mergeParcels + 1 {
		r := numbered(i)
		r.Content = noise(random, 600<<10)
		g.Expect(o.add(t.Context(), l, []ledger.Record{r})).To(Succeed())
	}
	w.settle(l)
	g.Expect(w.files("clusters/production/records")).To(HaveLen(mergeParcels + 1))
}

// TestAParcelOfSeveralConfigMaps writes a file that no ConfigMap can hold. A writer that is killed in between leaves an
// incomplete parcel, which nobody takes for the record, and which the next writer completes.
func TestAParcelOfSeveralConfigMaps(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	content := noise(random, 3<<20)
	for _, before := range []bool{true, false} {
		for n := 1; n <= 3; n++ {
			t.Run(fmt.Sprintf("killed at write %d, before %t", n, before), func(t *testing.T) {
				t.Parallel()
				g, w := NewWithT(t), newWorld(t)
				l := w.ledger("ledger")
				w.settle(l)
				r := numbered(1)
				r.Content = content
				_, _ = w.crashAt(n, before)
				err := w.collector.Outbox.add(t.Context(), l, []ledger.Record{r})
				g.Expect(err).To(MatchError(ContainSubstring(errCrash.Error())))
				w.write = nil
				w.restart()
				w.pass(time.Minute)
				_, err = w.push(l)
				g.Expect(err).NotTo(HaveOccurred())
				if len(w.parcels()) > 0 {
					g.Expect(w.files("clusters/production/records")).To(BeEmpty())
				}
				g.Expect(w.collector.Outbox.add(t.Context(), l, []ledger.Record{r})).To(Succeed())
				w.settle(l)
				g.Expect(w.files("clusters/production/records")).To(HaveLen(1))
				g.Expect(w.git("show", branch+":clusters/production/"+r.Path) == content).To(BeTrue())
				g.Expect(w.parcels()).To(BeEmpty())
				g.Expect(get(w, l).Status.Recorded).To(BeEquivalentTo(1))
			})
		}
	}
	t.Run("nobody completes it", func(t *testing.T) {
		t.Parallel()
		g, w := NewWithT(t), newWorld(t)
		l := w.ledger("ledger")
		w.settle(l)
		r := numbered(1)
		r.Content = content
		_, _ = w.crashAt(2, true)
		g.Expect(w.collector.Outbox.add(t.Context(), l, []ledger.Record{r})).NotTo(Succeed())
		w.write = nil
		g.Expect(w.parcels()).To(HaveLen(1))
		w.pass(incompleteFor + time.Minute)
		_, err := w.push(l)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(w.parcels()).To(BeEmpty())
	})
}

// TestARecordOfAnEarlierVersion finds a record in the outbox that is larger than a file can be.
func TestARecordOfAnEarlierVersion(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	r, other := numbered(1), numbered(2)
	r.Content = strings.TrimSuffix(strings.Repeat("kind: X\ntext: "+strings.Repeat("x", 1000)+"\n---\n", 9000), "---\n")
	packed, err := ledger.Pack(l.Name, []ledger.Record{r, other})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.collector.Outbox.create(t.Context(), l, packed[0])).To(Succeed())
	w.settle(l)
	g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
	g.Expect(l.Status.Recorded).To(BeEquivalentTo(2))
	g.Expect(w.files("clusters/production/records")).To(HaveLen(10))
}

// TestAForeignConfigMapHoldsUpNoRecord puts something else into the outbox.
func TestAForeignConfigMapHoldsUpNoRecord(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	s := w.session("a")
	g.Expect(w.collector.Outbox.create(t.Context(), l, ledger.Parcel{Name: "foreign", Data: []byte("x")})).To(Succeed())
	w.pass(11 * time.Second)
	_, err := w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	_, err = w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.files("clusters/production/records")).To(Equal([]string{w.path(s)}))
	g.Expect(get(w, l)).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonUnreadableParcel))
	g.Expect(ready(l).Message).To(ContainSubstring("ConfigMap foreign of the outbox does not hold what Cairn wrote"))
	g.Expect(w.parcels()).To(Equal([]string{"foreign"}))
	g.Expect(get(w, s).Status.Records).To(HaveLen(1))
}

// TestAForeignPartHoldsUpNoRecord puts ConfigMaps into the outbox that say they are parts of a parcel, or have many.
func TestAForeignPartHoldsUpNoRecord(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	s := w.session("a")
	w.pass(11 * time.Second)
	_, err := w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	names := w.parcels()
	g.Expect(names).To(HaveLen(1))
	genuine := get(w, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: l.Namespace, Name: names[0]}})
	foreign := func(name string, annotations map[string]string, owners ...metav1.OwnerReference) {
		w.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Namespace: l.Namespace, Name: name, Labels: genuine.Labels, Annotations: annotations,
			OwnerReferences: owners,
		}})
	}
	owner := metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: genuine.Name, UID: genuine.UID}
	for _, name := range []string{"anything", ledger.PartName(genuine.Name, 2), ledger.PartName(genuine.Name, 3)} {
		foreign(name, map[string]string{v1alpha1.AnnotationOutboxPart: "2"}, owner)
	}
	foreign("endless", map[string]string{
		v1alpha1.AnnotationOutboxParts: "2000000000", v1alpha1.AnnotationOutboxRecords: "-2000000000",
	})
	_, err = w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.files("clusters/production/records")).To(Equal([]string{w.path(s)}))
	g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
	g.Expect(l.Status.Pending).To(BeZero())
	g.Expect(get(w, s).Status.Records).To(HaveLen(1))
}

// TestAPartThatGoesHoldsUpNoOther loses a part of a parcel after the outbox was listed.
func TestAPartThatGoesHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l, o := w.ledger("ledger"), w.collector.Outbox
	r := numbered(1)
	r.Content = noise(rand.New(rand.NewPCG(1, 2)), 3<<20)
	g.Expect(o.add(t.Context(), l, []ledger.Record{r})).To(Succeed())
	parcels, err := o.list(t.Context(), l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(parcels).To(HaveLen(1))
	g.Expect(parcels[0].rest).NotTo(BeEmpty())
	g.Expect(bed.Client.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: parcels[0].rest[0]})).To(Succeed())
	_, err = o.load(t.Context(), parcels[0])
	g.Expect(err).To(MatchError(ledger.ErrParcel), "the push leaves it out")
	g.Expect(o.list(t.Context(), l)).To(BeEmpty())
}

// TestAParcelIsNotWrittenAfterItsLedger writes into the outbox of a Ledger that went, or that another replaced, since
// it was read.
func TestAParcelIsNotWrittenAfterItsLedger(t *testing.T) {
	for name, again := range map[string]bool{"it is gone": false, "another has its name": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			l := w.ledger("ledger")
			w.settle(l)
			s := w.session("a")
			stale := get(w, l).DeepCopy()
			g.Expect(bed.Client.Delete(t.Context(), l)).To(Succeed())
			w.pass(time.Minute)
			_, err := w.push(l)
			g.Expect(err).NotTo(HaveOccurred())
			var next *v1alpha1.Ledger
			if again {
				next = w.ledger("ledger")
			}
			pending, err := w.collector.pending(t.Context())
			g.Expect(err).NotTo(HaveOccurred())
			pending[0].ledgers = []*v1alpha1.Ledger{stale} // as a stale cache has it
			_, err = w.collector.store(t.Context(), pending)
			g.Expect(err).To(MatchError(ContainSubstring("the Ledger is being deleted")))
			g.Expect(w.parcels()).To(BeEmpty(), "nobody would ever push it")
			g.Expect(get(w, s).Finalizers).To(ContainElement(v1alpha1.FinalizerRecord))
			if again {
				w.settle(next)
				g.Expect(w.files("clusters/production/records")).To(Equal([]string{w.path(s)}))
			}
			w.settle()
			g.Expect(get(w, s).Finalizers).To(BeEmpty(), "the next look finds no Ledger that wants it")
		})
	}
}

// TestAnObjectWithAFaultHoldsUpNoOther lets the API server fail each time for the status of one object.
func TestAnObjectWithAFaultHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	poisoned, other := w.restore("a"), w.restore("b")
	patches := map[string]int{}
	w.beforeEntry(func(o client.Object) error {
		patches[o.GetName()]++
		if o.GetName() == poisoned.Name {
			return apierrors.NewInternalError(errors.New("failed calling webhook"))
		}
		return nil
	})
	w.pass(11 * time.Second)
	_, err := w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	_, err = w.push(l)
	g.Expect(err).To(HaveOccurred())
	g.Expect(get(w, other).Status.Records).To(HaveLen(1))
	g.Expect(w.parcels()).To(HaveLen(1), "tried again: the fault can be a short one")
	commit := other.Status.Records[0].Commit

	later := w.restore("c")
	w.pass(11 * time.Second)
	_, err = w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	_, err = w.push(l)
	g.Expect(err).To(HaveOccurred())
	g.Expect(get(w, later).Status.Records).To(HaveLen(1))
	g.Expect(w.parcels()).To(HaveLen(1), "only the parcel of the poisoned object stays")
	g.Expect(patches[other.Name]).To(Equal(1))
	g.Expect(get(w, other).Status.Records[0].Commit).To(Equal(commit))

	w.pass(refusedFor)
	_, err = w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.parcels()).To(BeEmpty())
	g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
	g.Expect(l.Status.Recorded).To(BeEquivalentTo(3))
}

// TestADeletedLedgerPushesTheRestOfARecord deletes a Ledger whose outbox holds only the last file of a record, which
// counts as none.
func TestADeletedLedgerPushesTheRestOfARecord(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	w.settle(l)
	rest := numbered(1)
	rest.File = 2
	g.Expect(w.collector.Outbox.add(t.Context(), l, []ledger.Record{rest})).To(Succeed())
	foreign := ledger.Parcel{Name: "foreign", Data: []byte("x")}
	g.Expect(w.collector.Outbox.create(t.Context(), l, foreign)).To(Succeed())
	w.down = true
	g.Expect(bed.Client.Delete(t.Context(), l)).To(Succeed())
	w.pass(time.Minute)
	_, err := w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(get(w, l).Finalizers).To(ContainElement(v1alpha1.FinalizerFlush))
	w.down = false
	w.pass(10 * time.Minute)
	_, err = w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.files("clusters/production/records")).To(HaveLen(1))
	g.Expect(w.parcels()).To(Equal([]string{"foreign"}))
	g.Expect(apierrors.IsNotFound(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(l), l))).To(BeTrue())
}
