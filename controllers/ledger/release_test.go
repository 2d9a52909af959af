package ledger

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// staleList lists objects as they were.
type staleList struct {
	client.Client
	then *v1alpha1.BackupSessionList
}

func (s staleList) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if sessions, ok := list.(*v1alpha1.BackupSessionList); ok {
		s.then.DeepCopyInto(sessions)
		return nil
	}
	return s.Client.List(ctx, list, opts...)
}

// A session can change after the cache saw it, for example by a push that is faster than the Collector. It is released
// anyway and keeps the change.
func TestReleaseOfWhatChanged(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	w.ledger("ledger")
	s := w.session("a")
	then := &v1alpha1.BackupSessionList{Items: []v1alpha1.BackupSession{*s.DeepCopy()}}
	s.Finalizers = append(s.Finalizers, "example.com/other")
	g.Expect(bed.Client.Update(t.Context(), s.DeepCopy())).To(Succeed())
	w.collector.Client = staleList{w.client, then}
	w.pass(11 * time.Second)
	_, err := w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(get(w, s).Finalizers).To(Equal([]string{"example.com/other"}))
	s.Finalizers = nil
	g.Expect(bed.Client.Update(t.Context(), s)).To(Succeed())
}
