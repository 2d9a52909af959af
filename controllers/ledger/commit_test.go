package ledger

import (
	"context"
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// The record of a RestoreSession is often pushed after the object was deleted and made again under its name.
func TestANamesakeGetsItsOwnRecord(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	first := w.restore("again")
	w.pass(11 * time.Second)
	_, err := w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(bed.Client.Delete(t.Context(), first)).To(Succeed())

	second := w.restore("again")
	g.Expect(second.UID).NotTo(Equal(first.UID))
	_, err = w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	folder := "clusters/production/records/" + w.namespace
	g.Expect(w.files(folder)).To(ConsistOf(ContainSubstring(string(first.UID[:8]))))
	g.Expect(get(w, second).Status.Records).To(BeEmpty(), "the commit has the record of the first alone")

	w.settle(l)
	g.Expect(w.files(folder)).To(ConsistOf(ContainSubstring(string(first.UID[:8])),
		ContainSubstring(string(second.UID[:8]))))
	g.Expect(get(w, second).Status.Records).To(HaveLen(1))
}

// Somebody writes to an ended object all the time. Its status stays without the commit, and nothing else waits for it.
func TestABusyObjectHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	busy, other := w.restore("a-busy"), w.restore("other")
	w.reconciler.Client = interceptor.NewClient(w.client, interceptor.Funcs{SubResourceApply: func(
		ctx context.Context, c client.Client, sub string, o runtime.ApplyConfiguration,
		opts ...client.SubResourceApplyOption,
	) error {
		if o.(interface{ GetName() string }).GetName() == busy.Name {
			return apierrors.NewConflict(schema.GroupResource{}, busy.Name, errors.New("it has changed"))
		}
		return c.SubResource(sub).Apply(ctx, o, opts...)
	}})
	w.settle(l)
	g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
	g.Expect(w.files("clusters/production/records/" + w.namespace)).To(HaveLen(2))
	g.Expect(get(w, busy).Status.Records).To(BeEmpty())
	g.Expect(get(w, other).Status.Records).To(HaveLen(1))
}
