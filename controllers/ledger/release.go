package ledger

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/kube/status"
)

// release removes the finalizer, and changes nothing else of the object. The cache is often stale: a Ledger without a
// batch window pushes, and writes status.records, before the last object of a batch is released.
func (c *Collector) release(ctx context.Context, e *ended) error {
	key, uid := client.ObjectKeyFromObject(e.object), e.object.GetUID()
	_, err := c.writer().Release(ctx, e.object, v1alpha1.FinalizerRecord)
	if apierrors.IsConflict(err) {
		err = status.RetryConflict(ctx, func() error {
			if err := c.APIReader.Get(ctx, key, e.object); err != nil || e.object.GetUID() != uid {
				return err
			}
			_, err := c.writer().Release(ctx, e.object, v1alpha1.FinalizerRecord)
			return err
		})
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("release %s %s: %w", e.kind, key, err)
	}
	return nil
}

func (c *Collector) warn(ctx context.Context, members []*ended, l *v1alpha1.Ledger, message string) {
	log := logf.FromContext(ctx)
	if l != nil {
		message = fmt.Sprintf(message, ledgerName(l))
		log = log.WithValues("ledger", klog.KObj(l))
	}
	for _, e := range members {
		log.Info("gave up record", logs.Key(e.kind), klog.KObj(e.object), "message", message)
		c.EventRecorder.Event(e.object, corev1.EventTypeWarning, v1alpha1.ReasonRecordDropped, message)
	}
}
