package ledger

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/gitstore"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/ledger"
)

// earlier is an object of which status.records says that the Ledger has its record. That can be in a branch to which
// the Ledger does not push any more, and which can have lost it.
type earlier struct {
	kind   string
	object client.Object // read only
	path   string        // of the first file of its record
}

// movesBranch reports whether no push to the branch of a Ledger has succeeded since it had another one. A Ledger that
// was made anew under the name of another can have another branch, too.
func movesBranch(l *v1alpha1.Ledger, s *memory) bool {
	return l.Status.LastPushedTo != pushedTo(l) && s.lookedFor != move(l) && l.DeletionTimestamp.IsZero()
}

// listEarlier lists what the Ledger has recorded.
func (r *Reconciler) listEarlier(ctx context.Context, l *v1alpha1.Ledger) ([]earlier, error) {
	m, err := newMatcher(l)
	if err != nil {
		return nil, err
	}
	in := namespaces{read.NewNamespaceLabels(r.Client)}
	all, err := runs(ctx, r.Client, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("find what was recorded before: %w", err)
	}
	var out []earlier
	var errs []error
	for _, e := range all {
		if !hasRecord(m.name(), e.object, e.records) || !m.sessions.Matches(labelsOf(e.object)) {
			continue
		}
		ok, err := in.matches(ctx, m.namespaces, e.object.GetNamespace())
		if ok {
			out = append(out, earlier{e.kind, e.object, firstFile(e.object)})
		}
		errs = append(errs, err)
	}
	return out, errors.Join(unique(errs)...)
}

// firstFile returns the path of the first file of the record of a run, restore or batch.
func firstFile(o client.Object) string {
	switch o := o.(type) {
	case *v1alpha1.BackupSession:
		return ledger.BackupPath(o)
	case *v1alpha1.RestoreSession:
		return ledger.RestorePath(o)
	default:
		return ledger.RestoreBatchPath(o.(*v1alpha1.RestoreBatch))
	}
}

// hasRecord reports whether the Ledger has recorded the object, and the object does not wait for a record.
func hasRecord(ledger string, o client.Object, records []v1alpha1.RecordStatus) bool {
	waits := controllerutil.ContainsFinalizer(o, v1alpha1.FinalizerRecord)
	return v1alpha1.InForce(o) && slices.ContainsFunc(records, func(r v1alpha1.RecordStatus) bool {
		return r.Ledger == ledger && (r.Commit != "" || !waits)
	})
}

// findMissing finds the earlier records that the branch lacks. They can lie in the folder that the Ledger has left, and
// some are part of this change.
func (c *change) findMissing(ctx context.Context, head gitstore.Reader) error {
	c.missing = nil
	if len(c.earlier) == 0 {
		return nil
	}
	coming := map[string]bool{}
	for _, r := range c.records {
		coming[r.Path] = true
	}
	folders := []string{ledger.Folder(c.ledger.Spec.Path, c.ledger.Spec.ClusterName)}
	if old := c.ledger.Status.LastFolder; old != "" && old != folders[0] {
		folders = append(folders, old)
	}
	for _, e := range c.earlier {
		there := coming[e.path]
		for _, folder := range folders {
			if there {
				break
			}
			_, err := head.Lookup(ctx, path.Join(folder, e.path))
			if err != nil && !errors.Is(err, gitstore.ErrNoFile) {
				return err
			}
			there = err == nil
		}
		if !there {
			c.missing = append(c.missing, e)
		}
	}
	return nil
}

// recordAgain gives what is missing in the branch back to the Collector. If a process is killed before it has written
// to the status of the Ledger where that pushes now, the next one does the rest.
func (r *Reconciler) recordAgain(ctx context.Context, l *v1alpha1.Ledger, s *memory, missing []earlier) error {
	for _, e := range missing {
		err := r.makePending(ctx, l, e)
		switch {
		case err == nil, apierrors.IsNotFound(err):
		case inVain(err), r.refusing(s, e.object.GetUID(), err):
			// One object must not hold up the others.
			logf.FromContext(ctx).Error(err, "record again", logs.Key(e.kind), klog.KObj(e.object))
		default:
			return fmt.Errorf("record %s %s again: %w", e.kind, client.ObjectKeyFromObject(e.object), err)
		}
	}
	if len(missing) > 0 {
		logf.FromContext(ctx).Info("writes records again that the branch lacks", "branch", l.Spec.Branch,
			"records", len(missing))
	}
	s.lookedFor = move(l)
	return nil
}

// move names the branch of the last push and that of the next.
func move(l *v1alpha1.Ledger) string { return l.Status.LastPushedTo + " " + pushedTo(l) }

// makePending takes the commit out of status.records of an object, and lets the object wait for its record again. In
// this order, no object without a commit is taken for one that is recorded. An object that is being deleted can't wait.
func (r *Reconciler) makePending(ctx context.Context, l *v1alpha1.Ledger, e earlier) error {
	key, uid := client.ObjectKeyFromObject(e.object), e.object.GetUID()
	o := ledger.Object{Kind: e.kind, Namespace: key.Namespace, Name: key.Name, UID: uid}
	if err := r.enter(ctx, o, false, entryManager(l), v1alpha1.RecordStatus{Ledger: ledgerName(l)}); err != nil {
		return err
	}
	return status.RetryConflict(ctx, func() error {
		now := &metav1.PartialObjectMetadata{}
		now.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(e.kind))
		err := r.APIReader.Get(ctx, key, now)
		if err != nil || now.GetUID() != uid || !now.GetDeletionTimestamp().IsZero() {
			return err
		}
		return r.writer().Hold(ctx, now, v1alpha1.FinalizerRecord)
	})
}
