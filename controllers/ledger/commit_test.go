package ledger

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
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
			g.Expect(get(w, l).Status.Recorded).To(BeEquivalentTo(2))
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

// answer is an answer of the API server without a reason, as webhooks and etcd give.
func answer(code int32, message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Code: code, Message: message}}
}

// TestAnObjectThatTakesNoCommitHoldsUpNoOther lets the API server refuse the commit of one object.
func TestAnObjectThatTakesNoCommitHoldsUpNoOther(t *testing.T) {
	for name, refusal := range map[string]error{
		"conflict":           apierrors.NewConflict(schema.GroupResource{}, "a", errors.New("it has changed")),
		"invalid":            apierrors.NewInvalid(schema.GroupKind{}, "a", nil),
		"forbidden":          apierrors.NewForbidden(schema.GroupResource{}, "a", nil),
		"denied by webhook":  answer(http.StatusBadRequest, `admission webhook "x" denied the request`),
		"too large for etcd": answer(http.StatusInternalServerError, "etcdserver: request is too large"),
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

// TestACommitIsWrittenAgain fails the first write of the commit, after which the parcel has to stay.
func TestACommitIsWrittenAgain(t *testing.T) {
	for name, fault := range map[string]error{
		"unavailable":        apierrors.NewServiceUnavailable("down"),
		"internal":           apierrors.NewInternalError(errors.New("a webhook does not answer")),
		"timeout":            apierrors.NewTimeoutError("slow", 1),
		"too many requests":  apierrors.NewTooManyRequests("busy", 1),
		"timeout of a proxy": answer(http.StatusRequestTimeout, "slow"),
		"unauthorized":       apierrors.NewUnauthorized("the token is renewed"),
		"fault of etcd":      answer(http.StatusInternalServerError, "etcdserver: leader changed"),
		"no answer":          errors.New("connection refused"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			l := w.ledger("ledger")
			s, patches := w.restore("a"), 0
			w.pass(11 * time.Second)
			_, err := w.collect()
			g.Expect(err).NotTo(HaveOccurred())
			w.beforeEntry(func(o client.Object) error {
				if o.GetName() != s.Name {
					return nil
				}
				if patches++; patches == 1 {
					return fault
				}
				return nil
			})
			_, _ = w.push(l) // an error, or a condition
			g.Expect(w.parcels()).To(HaveLen(1))
			g.Expect(get(w, s).Status.Records).To(BeEmpty())
			w.settle(l)
			g.Expect(get(w, s).Status.Records).To(HaveLen(1))
			g.Expect(get(w, l).Status.Recorded).To(BeEquivalentTo(1))
		})
	}
}

// TestEntry writes the commit into statuses that have and lack entries, also while others change them.
func TestEntry(t *testing.T) {
	type entries = []v1alpha1.RecordStatus
	ours := v1alpha1.RecordStatus{Ledger: "shop/ledger", Commit: "new"}
	old := v1alpha1.RecordStatus{Ledger: "shop/ledger", Commit: "old"}
	others := make(entries, 16)
	for i := range others {
		others[i] = v1alpha1.RecordStatus{Ledger: fmt.Sprintf("shop/other-%d", i), Commit: "theirs"}
	}
	a, b := others[0], others[1]
	conflict := apierrors.NewConflict(schema.GroupResource{}, "a", errors.New("it has changed"))
	for name, tt := range map[string]struct {
		before    entries
		meanwhile []entries // before each patch; nil leaves them
		refusals  []error   // of the patches
		after     entries
		patches   int
		fails     bool
	}{
		"none":              {after: entries{ours}, patches: 1},
		"of another Ledger": {before: entries{a}, after: entries{a, ours}, patches: 2},
		"an old one":        {before: entries{a, old}, after: entries{a, ours}, patches: 2},
		"the same":          {before: entries{ours, a}, after: entries{ours, a}, patches: 1},
		"too many":          {before: others, after: others, patches: 2, fails: true},
		"others are faster": {
			meanwhile: []entries{{a}, {old, a}, {a, old}, {old, a}}, after: entries{ours, a}, patches: 5,
		},
		"the old one moves": {
			before: entries{a, old}, meanwhile: []entries{nil, {a, b}}, after: entries{a, b, ours}, patches: 3,
		},
		"a conflict": {refusals: []error{conflict}, after: entries{ours}, patches: 2},
		"a refusal": {
			refusals: []error{apierrors.NewInvalid(schema.GroupKind{}, "a", nil)}, patches: 1, fails: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			s, patches := w.restore("a"), 0
			write := func(is entries) {
				get(w, s).Status.Records = is
				g.Expect(bed.Client.Status().Update(t.Context(), s)).To(Succeed())
			}
			write(tt.before)
			w.beforeEntry(func(client.Object) error {
				patches++
				if patches <= len(tt.meanwhile) && tt.meanwhile[patches-1] != nil {
					write(tt.meanwhile[patches-1])
				}
				if patches <= len(tt.refusals) {
					return tt.refusals[patches-1]
				}
				return nil
			})
			err := w.reconciler.enter(t.Context(), recordOf(s), false, "cairn-ledger-a", ours)
			g.Expect(err != nil).To(Equal(tt.fails), "%v", err)
			g.Expect(patches).To(Equal(tt.patches))
			g.Expect(get(w, s).Status.Records).To(Equal(tt.after))
			owns := slices.ContainsFunc(s.ManagedFields, func(f metav1.ManagedFieldsEntry) bool {
				return f.Manager == "cairn-ledger-a"
			})
			g.Expect(owns).To(Equal(slices.Contains(tt.after, ours) && !slices.Contains(tt.before, ours)))
		})
	}
	t.Run("another object has the name", func(t *testing.T) {
		t.Parallel()
		g, w := NewWithT(t), newWorld(t)
		s := w.restore("a")
		record := recordOf(s)
		record.UID = "another"
		err := w.reconciler.enter(t.Context(), record, false, "cairn-ledger-a", ours)
		g.Expect(apierrors.IsNotFound(err)).To(BeTrue(), "%v", err)
		g.Expect(get(w, s).Status.Records).To(BeEmpty())
	})
	t.Run("an empty list, and a status with nothing but its default", func(t *testing.T) {
		t.Parallel()
		g, w := NewWithT(t), newWorld(t)
		s := &v1alpha1.RestoreSession{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "a"}, Spec: w.restore("b").Spec,
		}
		w.create(s)
		g.Expect(w.reconciler.enter(t.Context(), recordOf(s), false, "cairn-ledger-a", ours)).To(Succeed())
		g.Expect(get(w, s).Status.Records).To(Equal(entries{ours}))
		empty := client.RawPatch(types.MergePatchType, []byte(`{"status":{"records":[]}}`))
		g.Expect(bed.Client.Status().Patch(t.Context(), s.DeepCopy(), empty)).To(Succeed())
		g.Expect(w.reconciler.enter(t.Context(), recordOf(s), false, "cairn-ledger-a", ours)).To(Succeed())
		g.Expect(get(w, s).Status.Records).To(Equal(entries{ours}))
	})
}

func recordOf(s *v1alpha1.RestoreSession) ledger.Object {
	return ledger.Object{Kind: v1alpha1.RestoreSessionKind, Namespace: s.Namespace, Name: s.Name, UID: s.UID}
}
