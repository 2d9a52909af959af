package ledger

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/ledger"
)

// beforeEntry calls do before each patch of a status. The patch fails with the error.
func (w *world) beforeEntry(do func(o client.Object) error) {
	w.reconciler.Client = interceptor.NewClient(w.client, interceptor.Funcs{SubResourcePatch: func(
		ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch,
		opts ...client.SubResourcePatchOption,
	) error {
		if err := do(o); err != nil {
			return err
		}
		return c.SubResource(sub).Patch(ctx, o, p, opts...)
	}})
}

// TestANamesakeGetsItsOwnRecord deletes a RestoreSession and makes it again under its name, before its record is pushed
// and between the push and the write of the commit.
func TestANamesakeGetsItsOwnRecord(t *testing.T) {
	for name, duringPush := range map[string]bool{"before the push": false, "during the push": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			l := w.ledger("ledger")
			first := w.restore("again")
			w.pass(11 * time.Second)
			_, err := w.collect()
			g.Expect(err).NotTo(HaveOccurred())

			second := first
			again := func() {
				g.Expect(bed.Client.Delete(t.Context(), first.DeepCopy())).To(Succeed())
				second = w.restore("again")
			}
			if duringPush {
				w.beforeEntry(func(o client.Object) error {
					if o.GetName() == first.Name && second == first {
						again()
					}
					return nil
				})
			} else {
				again()
			}
			_, err = w.push(l)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(second.UID).NotTo(Equal(first.UID))
			folder := "clusters/production/records/" + w.namespace
			g.Expect(w.files(folder)).To(ConsistOf(ContainSubstring(string(first.UID[:8]))))
			g.Expect(get(w, second).Status.Records).To(BeEmpty(), "the commit has the record of the first alone")

			w.settle(l)
			g.Expect(w.files(folder)).To(ConsistOf(ContainSubstring(string(first.UID[:8])),
				ContainSubstring(string(second.UID[:8]))))
			g.Expect(get(w, second).Status.Records).To(HaveLen(1))
		})
	}
}

// TestABusyObject writes to an ended object whenever the Ledger does.
func TestABusyObject(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	busy := w.restore("busy")
	writes := 0
	w.beforeEntry(func(o client.Object) error {
		if o.GetName() != busy.Name {
			return nil
		}
		writes++
		write := fmt.Sprintf(`{"metadata":{"annotations":{"write":"%d"}}}`, writes)
		return bed.Client.Patch(t.Context(), busy.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(write)))
	})
	w.settle(l)
	g.Expect(writes).To(BeNumerically(">", 0))
	g.Expect(get(w, busy).Status.Records).To(HaveLen(1))
}

// TestAnObjectThatTakesNoCommitHoldsUpNoOther lets the API server refuse the commit of one object.
func TestAnObjectThatTakesNoCommitHoldsUpNoOther(t *testing.T) {
	for name, refusal := range map[string]error{
		"conflict":  apierrors.NewConflict(schema.GroupResource{}, "a", errors.New("it has changed")),
		"invalid":   apierrors.NewInvalid(schema.GroupKind{}, "a", nil),
		"forbidden": apierrors.NewForbidden(schema.GroupResource{}, "a", nil),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			l := w.ledger("ledger")
			refused, other := w.restore("a"), w.restore("other")
			w.beforeEntry(func(o client.Object) error {
				if o.GetName() == refused.Name {
					return refusal
				}
				return nil
			})
			w.settle(l)
			g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
			g.Expect(w.files("clusters/production/records/" + w.namespace)).To(HaveLen(2))
			g.Expect(get(w, refused).Status.Records).To(BeEmpty())
			g.Expect(get(w, other).Status.Records).To(HaveLen(1))
		})
	}
}

// TestEntry writes the commit into statuses that have and lack entries.
func TestEntry(t *testing.T) {
	ours := v1alpha1.RecordStatus{Ledger: "shop/ledger", Commit: "new"}
	old := v1alpha1.RecordStatus{Ledger: "shop/ledger", Commit: "old"}
	other := v1alpha1.RecordStatus{Ledger: "shop/other", Commit: "theirs"}
	for name, tt := range map[string]struct {
		before, after []v1alpha1.RecordStatus
		patches       int
	}{
		"none":              {nil, []v1alpha1.RecordStatus{ours}, 1},
		"of another Ledger": {[]v1alpha1.RecordStatus{other}, []v1alpha1.RecordStatus{other, ours}, 2},
		"an old one":        {[]v1alpha1.RecordStatus{other, old}, []v1alpha1.RecordStatus{other, ours}, 2},
		"the same":          {[]v1alpha1.RecordStatus{ours, other}, []v1alpha1.RecordStatus{ours, other}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			s, patches := w.restore("a"), 0
			s.Status.Records = tt.before
			g.Expect(bed.Client.Status().Update(t.Context(), s)).To(Succeed())
			w.beforeEntry(func(client.Object) error { patches++; return nil })
			g.Expect(w.reconciler.enter(t.Context(), recordOf(s), "cairn-ledger-a", ours)).To(Succeed())
			g.Expect(get(w, s).Status.Records).To(Equal(tt.after))
			g.Expect(patches).To(Equal(tt.patches))
		})
	}
	t.Run("another object has the name", func(t *testing.T) {
		t.Parallel()
		g, w := NewWithT(t), newWorld(t)
		s := w.restore("a")
		record := recordOf(s)
		record.UID = "another"
		err := w.reconciler.enter(t.Context(), record, "cairn-ledger-a", ours)
		g.Expect(apierrors.IsNotFound(err)).To(BeTrue(), "%v", err)
		g.Expect(get(w, s).Status.Records).To(BeEmpty())
	})
	t.Run("another Ledger is faster", func(t *testing.T) {
		t.Parallel()
		g, w := NewWithT(t), newWorld(t)
		s, patches := w.restore("a"), 0
		w.beforeEntry(func(client.Object) error {
			if patches++; patches > 1 {
				return nil
			}
			s.Status.Records = []v1alpha1.RecordStatus{other}
			return bed.Client.Status().Update(t.Context(), s)
		})
		g.Expect(w.reconciler.enter(t.Context(), recordOf(s), "cairn-ledger-a", ours)).To(Succeed())
		g.Expect(get(w, s).Status.Records).To(Equal([]v1alpha1.RecordStatus{other, ours}))
	})
	t.Run("a list without entries", func(t *testing.T) {
		t.Parallel()
		g, w := NewWithT(t), newWorld(t)
		s := w.restore("a")
		empty := client.RawPatch(types.MergePatchType, []byte(`{"status":{"records":[]}}`))
		g.Expect(bed.Client.Status().Patch(t.Context(), s.DeepCopy(), empty)).To(Succeed())
		g.Expect(w.reconciler.enter(t.Context(), recordOf(s), "cairn-ledger-a", ours)).To(Succeed())
		g.Expect(get(w, s).Status.Records).To(Equal([]v1alpha1.RecordStatus{ours}))
	})
	t.Run("a status with nothing but its default", func(t *testing.T) {
		t.Parallel()
		g, w := NewWithT(t), newWorld(t)
		s := &v1alpha1.RestoreSession{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "a"}, Spec: w.restore("b").Spec,
		}
		w.create(s)
		g.Expect(w.reconciler.enter(t.Context(), recordOf(s), "cairn-ledger-a", ours)).To(Succeed())
		g.Expect(get(w, s).Status.Records).To(Equal([]v1alpha1.RecordStatus{ours}))
	})
}

func recordOf(s *v1alpha1.RestoreSession) ledger.Object {
	return ledger.Object{Kind: v1alpha1.RestoreSessionKind, Namespace: s.Namespace, Name: s.Name, UID: s.UID}
}
