package ledger

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/gitstore"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/ledger"
	"github.com/cairn-backup/cairn/internal/policy"
)

// push brings the branch up to date and settles what arrived, in the order of the package comment. It returns the
// parcels that are left.
func (r *Reconciler) push(
	ctx context.Context, patcher *status.Patcher, l *v1alpha1.Ledger, s *memory, where string, parcels []parcel,
) ([]parcel, error) {
	taken, records, counted, err := r.gather(ctx, l, parcels)
	if err != nil {
		return nil, err
	}
	written := false
	defer func() {
		if !written {
			r.Outbox.putBack(taken)
		}
	}()
	page, err := r.page(ctx, l)
	if err != nil {
		return nil, err
	}
	store, err := r.open(ctx, l, s)
	if err != nil {
		return nil, err
	}
	// An earlier process or attempt pushed, and was killed before it wrote the status.
	uncounted := !s.remembered.IsZero() && s.remembered != lastPushed(l)
	c := &change{
		ledger: l, cluster: r.clusterOf(l), records: records, page: page, when: r.Clock.Now(),
		careful: s.unsettled || uncounted,
	}
	s.unsettled = true
	start := r.Clock.Now()
	result, err := c.update(ctx, store)
	r.LedgerMetrics.pushed(l, gitstore.Reason(err), r.Clock.Now().Sub(start))
	if err != nil {
		r.limiter.spent(where, r.Clock.Now(), max(result.Attempts, 1))
		return nil, err
	}
	pushes := result.Attempts
	if result.Outcome == gitstore.Unchanged {
		pushes = 0
	}
	r.limiter.spent(where, r.Clock.Now(), pushes)
	if pushes > 0 || uncounted {
		l.Status.LastPushedTime = &metav1.Time{Time: r.Clock.Now().Truncate(time.Second)}
	}
	if last := store.LastPushed(); !last.IsZero() {
		s.remembered = last
		l.Status.LastPushedCommit, l.Status.LastPushedTo = last.String(), pushedTo(l)
	}
	if pushes > 0 {
		logf.FromContext(ctx).Info("pushed", "branch", l.Spec.Branch, "commit", result.Commit.String(),
			"records", len(c.added), "differing", len(c.differs), "attempts", pushes)
	}
	l.Status.Recorded += int64(c.arrived(result.Outcome, counted))
	l.Status.Counted = names(taken)
	if err := r.patch(ctx, patcher, l); err != nil {
		return nil, err
	}
	written = true
	if err := r.afterPush(ctx, l, c, result.Commit, taken); err != nil {
		return nil, err
	}
	s.unsettled, l.Status.Counted = false, nil
	return r.Outbox.list(ctx, l)
}

func names(parcels []parcel) []string {
	var out []string
	for _, p := range parcels {
		out = append(out, p.meta.Name)
	}
	return out
}

// afterPush writes the commit into the status of the recorded objects and empties the outbox.
func (r *Reconciler) afterPush(
	ctx context.Context, l *v1alpha1.Ledger, c *change, commit gitstore.Hash, taken []parcel,
) error {
	for _, d := range c.differs {
		r.EventRecorder.Eventf(l, corev1.EventTypeWarning, v1alpha1.ReasonRecordDiffers,
			"the branch already has a record %s with different content: Cairn does not change it", d.Path)
	}
	for _, rec := range c.records {
		if err := r.writeCommit(ctx, l, rec.Object, commit); err != nil {
			return err
		}
	}
	return r.Outbox.remove(ctx, taken)
}

// writeCommit writes the commit into the status of a recorded object, if the object still exists. Each Ledger owns its
// own entry.
func (r *Reconciler) writeCommit(ctx context.Context, l *v1alpha1.Ledger, o ledger.Object, commit gitstore.Hash) error {
	switch o.Kind {
	case v1alpha1.BackupSessionKind, v1alpha1.RestoreSessionKind, v1alpha1.RestoreBatchKind, v1alpha1.SnapshotKind:
	default:
		return nil // a user who can write ConfigMaps here must not write other objects through us
	}
	meta := &metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name, UID: o.UID}
	record := map[string]any{"ledger": ledgerName(l), "commit": commit.String()}
	manager := "cairn-ledger-" + policy.Digest(string(l.UID))[len("sha256:"):][:8]
	err := r.writer().ApplyTo(ctx, r.APIReader, o.Kind, meta, manager, map[string]any{"records": []any{record}})
	switch {
	case err == nil, apierrors.IsNotFound(err):
		return nil
	case apierrors.IsInvalid(err), apierrors.IsForbidden(err), apierrors.IsConflict(err):
		// The record is in Git anyway, and one object must not hold up the others.
		logf.FromContext(ctx).Error(err, "write commit into status", "kind", o.Kind, "namespace", o.Namespace,
			"name", o.Name)
		return nil
	default:
		return fmt.Errorf("write commit into %s %s/%s: %w", o.Kind, o.Namespace, o.Name, err)
	}
}
