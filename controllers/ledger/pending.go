package ledger

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/ledger"
)

// indexPending finds the objects that wait for the Collector.
const (
	indexPending = ".record"
	isPending    = "pending"
)

// ended is an object that waits for its record.
type ended struct {
	kind    string
	object  client.Object
	at      time.Time
	records []v1alpha1.RecordStatus
	ledgers []*v1alpha1.Ledger
	// going is a Ledger that is being deleted, and would record the object otherwise. There can be others.
	going *v1alpha1.Ledger
	// urgent reports that a deletion waits for the record. A removed Snapshot is always being deleted; it is urgent
	// only if its whole namespace is being deleted.
	urgent bool
	// undecided reports that the selector of some Ledger can't be read, which therefore can record the object.
	undecided bool
}

// committedBy reports whether a Ledger has the record. An entry without a commit waits for another record.
func (e *ended) committedBy(ledger string) bool {
	return slices.ContainsFunc(e.records, func(r v1alpha1.RecordStatus) bool {
		return r.Ledger == ledger && r.Commit != ""
	})
}

// committed reports whether any Ledger has the record.
func (e *ended) committed() bool {
	return slices.ContainsFunc(e.records, func(r v1alpha1.RecordStatus) bool { return r.Commit != "" })
}

func labelsOf(o client.Object) labels.Set { return o.GetLabels() }

// pendingKey returns the index values of an object: it is pending once it has ended for good. An object that
// FinalizerCancel holds has Jobs that can still write to its Snapshots.
func pendingKey(o client.Object) []string {
	terminal := false
	switch s := o.(type) {
	case *v1alpha1.BackupSession:
		terminal = s.Status.Phase.Terminal()
	case *v1alpha1.RestoreSession:
		terminal = s.Status.Phase.Terminal()
	case *v1alpha1.RestoreBatch:
		terminal = s.Status.Phase.Terminal()
	case *v1alpha1.Snapshot: // the Snapshot was removed and its data is gone
		terminal = !s.DeletionTimestamp.IsZero() && !controllerutil.ContainsFinalizer(s, v1alpha1.FinalizerWipe)
	}
	if !terminal || v1alpha1.HasRecordAnnotation(o.GetAnnotations()) ||
		!controllerutil.ContainsFinalizer(o, v1alpha1.FinalizerRecord) ||
		controllerutil.ContainsFinalizer(o, v1alpha1.FinalizerCancel) {
		return nil
	}
	return []string{isPending}
}

// pending lists the pending objects, oldest first.
func (c *Collector) pending(ctx context.Context) ([]*ended, error) {
	out, err := runs(ctx, c, client.MatchingFields{indexPending: isPending})
	if err != nil {
		return nil, err
	}
	var snapshots v1alpha1.SnapshotList
	if err := c.List(ctx, &snapshots, client.MatchingFields{indexPending: isPending}); err != nil {
		return nil, fmt.Errorf("list Snapshots: %w", err)
	}
	for i := range snapshots.Items {
		s := &snapshots.Items[i]
		var namespace corev1.Namespace
		if err := c.Get(ctx, types.NamespacedName{Name: s.Namespace}, &namespace); client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("get Namespace %s: %w", s.Namespace, err)
		}
		out = append(out, &ended{
			kind: v1alpha1.SnapshotKind, object: s, at: s.DeletionTimestamp.Time, records: s.Status.Records,
			urgent: !namespace.DeletionTimestamp.IsZero(),
		})
	}
	slices.SortStableFunc(out, func(a, b *ended) int { return a.at.Compare(b.at) })
	return out, nil
}

// runs lists runs, restores and batches.
func runs(ctx context.Context, from client.Reader, opts ...client.ListOption) ([]*ended, error) {
	var backups v1alpha1.BackupSessionList
	if err := from.List(ctx, &backups, opts...); err != nil {
		return nil, fmt.Errorf("list BackupSessions: %w", err)
	}
	var restores v1alpha1.RestoreSessionList
	if err := from.List(ctx, &restores, opts...); err != nil {
		return nil, fmt.Errorf("list RestoreSessions: %w", err)
	}
	var batches v1alpha1.RestoreBatchList
	if err := from.List(ctx, &batches, opts...); err != nil {
		return nil, fmt.Errorf("list RestoreBatches: %w", err)
	}
	var out []*ended
	for i := range backups.Items {
		s := &backups.Items[i]
		out = append(out, endedRun(v1alpha1.BackupSessionKind, s, s.Status.CompletionTime, s.Status.Records))
	}
	for i := range restores.Items {
		s := &restores.Items[i]
		out = append(out, endedRun(v1alpha1.RestoreSessionKind, s, s.Status.CompletionTime, s.Status.Records))
	}
	for i := range batches.Items {
		b := &batches.Items[i]
		out = append(out, endedRun(v1alpha1.RestoreBatchKind, b, b.Status.CompletionTime, b.Status.Records))
	}
	return out, nil
}

// endedRun returns a run, a restore or a batch that ended. Without a time of its end, the time of its creation counts.
func endedRun(kind string, o client.Object, completed *metav1.Time, records []v1alpha1.RecordStatus) *ended {
	e := &ended{
		kind: kind, object: o, at: o.GetCreationTimestamp().Time, records: records,
		urgent: !o.GetDeletionTimestamp().IsZero(),
	}
	if completed != nil {
		e.at = completed.Time
	}
	return e
}

// build returns the record of an object as one or more files.
func (c *Collector) build(ctx context.Context, cluster string, e *ended) ([]ledger.Record, error) {
	switch s := e.object.(type) {
	case *v1alpha1.BackupSession:
		snapshots, err := c.snapshots(ctx, s)
		if err != nil {
			return nil, err
		}
		return ledger.BackupRecord(cluster, s, snapshots)
	case *v1alpha1.RestoreSession:
		return ledger.RestoreRecord(cluster, s)
	case *v1alpha1.RestoreBatch:
		return ledger.RestoreBatchRecord(cluster, s)
	case *v1alpha1.Snapshot:
		return ledger.PruneRecord(cluster, s)
	default:
		return nil, fmt.Errorf("build record: unexpected kind %T", s)
	}
}

// snapshots returns the existing Snapshots of a BackupSession. The cache can be older than the session, so it reads a
// Snapshot that has not ended there past the cache.
func (c *Collector) snapshots(ctx context.Context, s *v1alpha1.BackupSession) ([]v1alpha1.Snapshot, error) {
	var out []v1alpha1.Snapshot
	for _, info := range s.Status.Snapshots {
		key := types.NamespacedName{Namespace: s.Namespace, Name: info.Name}
		var snapshot v1alpha1.Snapshot
		err := c.Get(ctx, key, &snapshot)
		if err != nil || !snapshot.Status.Phase.Terminal() {
			err = c.APIReader.Get(ctx, key, &snapshot)
		}
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("get Snapshot %s: %w", key, err)
		}
		if err == nil && snapshot.Spec.BackupSession == s.Name {
			out = append(out, snapshot)
		}
	}
	return out, nil
}
