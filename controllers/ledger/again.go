package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path"
	"slices"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/gitstore"
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
func movesBranch(l *v1alpha1.Ledger) bool {
	return l.Status.LastPushedTo != ledger.PushedTo(l) && l.DeletionTimestamp.IsZero()
}

// looks reports whether a push looks for records that the branch lacks: the first one there does, and others do while
// the API server keeps the Ledger from writing some again. all reports that the push takes all that waits: what comes
// later would seem to be missing.
func (r *Reconciler) looks(l *v1alpha1.Ledger, s *memory, all bool) bool {
	age := r.Clock.Now().Sub(s.looked)
	return movesBranch(l) || all && conditions.IsTrue(l, v1alpha1.ConditionRecordsMissing) &&
		l.DeletionTimestamp.IsZero() && (age >= lookAgain || age < 0)
}

// listEarlier lists what the Ledger has recorded.
func (r *Reconciler) listEarlier(ctx context.Context, l *v1alpha1.Ledger) ([]earlier, error) {
	m, err := newMatcher(l, r.Administrators)
	if err != nil {
		return nil, err
	}
	in := namespaces{read.NewNamespaceLabels(r.APIReader)} // a change of their objects follows
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
		ok, err := in.recordedBy(ctx, m.scope, e.object.GetNamespace())
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

// findMissing finds the earlier records that the branch lacks. They can lie in another folder of this cluster, and some
// are part of this change.
func (c *change) findMissing(ctx context.Context, head gitstore.Reader) error {
	c.missing = nil
	if len(c.earlier) == 0 {
		return nil
	}
	coming := map[string]bool{}
	for _, r := range c.records {
		coming[r.Path] = true
	}
	folders, err := c.foldersOf(ctx, head)
	if err != nil {
		return err
	}
	paths := make([]string, 0, len(c.earlier)*len(folders))
	for _, e := range c.earlier {
		for _, folder := range folders {
			paths = append(paths, path.Join(folder, e.path))
		}
	}
	if err := head.Prefetch(ctx, paths); err != nil {
		return err
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

// foldersOf returns the folders in which the records of this cluster can lie: its own, the one that it has left, and
// those beside it that it had under other names. It reads no files: the name in ClusterFile is that of the folder.
func (c *change) foldersOf(ctx context.Context, head gitstore.Reader) ([]string, error) {
	out := []string{ledger.Folder(c.ledger.Spec.Path, c.ledger.Spec.ClusterName)}
	if old := c.ledger.Status.LastFolder; old != "" && old != out[0] {
		out = append(out, old)
	}
	beside := path.Dir(out[0])
	clusters, err := head.List(ctx, beside)
	if errors.Is(err, gitstore.ErrNoFile) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	var claims []string
	for _, e := range clusters {
		if folder := path.Join(beside, e.Name); e.Dir && !slices.Contains(out, folder) {
			claims = append(claims, path.Join(folder, ledger.ClusterFile))
		}
	}
	if err := head.Prefetch(ctx, claims); err != nil {
		return nil, err
	}
	for _, claim := range claims {
		folder := path.Dir(claim)
		ours, err := ledger.Cluster{Name: path.Base(folder), UID: c.cluster.UID}.Bytes()
		if err != nil {
			return nil, err
		}
		there, err := head.Lookup(ctx, claim)
		if err != nil && !errors.Is(err, gitstore.ErrNoFile) {
			return nil, err
		}
		if err == nil && there.Hash == gitstore.BlobHash(ours) {
			out = append(out, folder)
		}
	}
	return out, nil
}

const (
	// lookAgain is the time after which a Ledger looks again for records that the API server kept it from writing.
	lookAgain = 10 * time.Minute
	// maxRefused is the number of objects of one look that the API server refuses, after which the others wait for the
	// next look. That begins with those.
	maxRefused = 200
)

// recordAgain gives what is missing in the branch back to the Collector. An object that the API server lets nobody
// change holds up no other: a condition says until the next look that its record is missing. If a process is killed
// before it has written to the status of the Ledger where that pushes now, the next one does the rest.
func (r *Reconciler) recordAgain(
	ctx context.Context, l *v1alpha1.Ledger, s *memory, looked bool, missing []earlier,
) error {
	if !looked {
		return nil
	}
	if !slices.ContainsFunc(missing, func(e earlier) bool { return !s.refused[e.object.GetUID()] }) {
		s.refused = nil // each had its turn
	}
	tried := func(e earlier) int {
		if s.refused[e.object.GetUID()] {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(missing, func(a, b earlier) int { return tried(a) - tried(b) })
	var why error
	refused, left, faults := map[types.UID]bool{}, 0, 0
	for i, e := range missing {
		if len(refused) == maxRefused || faults == refusedInRow { // A webhook that does not answer takes its time.
			left = len(missing) - i
			break
		}
		err := r.makePending(ctx, l, e)
		switch {
		case err == nil, apierrors.IsNotFound(err):
			faults = 0
		case answered(err):
			if faults++; inVain(err) {
				faults = 0
			}
			refused[e.object.GetUID()] = true
			if why == nil {
				why = fmt.Errorf("%s %s: %w", e.kind, client.ObjectKeyFromObject(e.object), err)
			}
		default:
			return fmt.Errorf("record %s %s again: %w", e.kind, client.ObjectKeyFromObject(e.object), err)
		}
	}
	if again := len(missing) - len(refused) - left; again > 0 {
		logf.FromContext(ctx).Info("writes records again that the branch lacks", "branch", l.Spec.Branch,
			"records", again)
	}
	if left == 0 {
		s.refused = nil // the next look begins anew
	} else if s.refused == nil {
		s.refused = map[types.UID]bool{}
	}
	if s.refused != nil {
		maps.Copy(s.refused, refused)
	}
	s.looked = r.Clock.Now()
	r.sayMissing(l, len(refused)+left, why)
	return nil
}

// answered reports whether the API server has refused a request, or has a fault for it. A server that can't be reached,
// or is busy, is no fault of the object.
func answered(err error) bool {
	var answer apierrors.APIStatus
	return inVain(err) || errors.As(err, &answer) && answer.Status().Code >= http.StatusInternalServerError
}

// makePending takes the commit out of status.records of an object, and lets the object wait for its record again. In
// this order, no object without a commit is taken for one that is recorded. A dry run comes first, so that an object
// that nobody may change keeps its commit. An object that is being deleted can't wait.
func (r *Reconciler) makePending(ctx context.Context, l *v1alpha1.Ledger, e earlier) error {
	trial := r.writer()
	trial.Client = client.NewDryRunClient(r.Client)
	can, err := r.hold(ctx, trial, e)
	if err != nil || !can {
		return err
	}
	key := client.ObjectKeyFromObject(e.object)
	o := ledger.Object{Kind: e.kind, Namespace: key.Namespace, Name: key.Name, UID: e.object.GetUID()}
	if err := r.enter(ctx, o, false, entryManager(l), v1alpha1.RecordStatus{Ledger: ledgerName(l)}); err != nil {
		return err
	}
	_, err = r.hold(ctx, r.writer(), e)
	return err
}

// hold gives an object the finalizer with which it waits for its record. It reports whether the object can wait.
func (r *Reconciler) hold(ctx context.Context, w status.Writer, e earlier) (can bool, err error) {
	err = status.RetryConflict(ctx, func() error {
		now := &metav1.PartialObjectMetadata{}
		now.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(e.kind))
		err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(e.object), now)
		if err != nil || now.GetUID() != e.object.GetUID() || !now.GetDeletionTimestamp().IsZero() {
			return err
		}
		can = true
		return w.Hold(ctx, now, v1alpha1.FinalizerRecord)
	})
	return can, err
}
