package ledger

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A run that no Ledger records can't be released. Others wait, for the end of their window or for room in an outbox.
func TestWhoWaitsDoesNotPutOffWhatFailed(t *testing.T) {
	t.Parallel()
	for name, full := range map[string]bool{"for a window of an hour": false, "for room in an outbox": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			l := w.ledger("ledger", func(l *v1alpha1.Ledger) {
				l.Spec.Suspend = full // it pushes nothing
				l.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "gold"}}
				if !full {
					l.Spec.BatchWindow.Duration = time.Hour
				}
			})
			if full {
				w.fill(l)
			}
			w.session("gold", func(s *v1alpha1.BackupSession) { s.Labels = map[string]string{"tier": "gold"} })
			unwanted := w.session("other", func(s *v1alpha1.BackupSession) { s.Labels = nil })
			faults := 1
			w.collector.Client = interceptor.NewClient(w.client, interceptor.Funcs{Patch: func(
				ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption,
			) error {
				if o.GetName() == unwanted.Name && faults > 0 {
					faults--
					return apierrors.NewInternalError(errCrash)
				}
				return c.Patch(ctx, o, p, opts...)
			}})
			if full {
				w.pass(11 * time.Second)
			}
			result, err := w.collect()
			g.Expect(faults).To(BeZero())
			g.Expect(err).NotTo(HaveOccurred(), "controller-runtime ignores RequeueAfter beside an error")
			g.Expect(result.RequeueAfter).To(Equal(fullRetry))
			g.Expect(get(w, unwanted).Finalizers).To(ContainElement(v1alpha1.FinalizerRecord))
			w.pass(fullRetry)
			_, err = w.collect()
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(get(w, unwanted).Finalizers).To(BeEmpty())
		})
	}
}
