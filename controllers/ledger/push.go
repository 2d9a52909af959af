package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/gitstore"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/ledger"
	"github.com/cairn-backup/cairn/internal/policy"
)

// errTurn means that a large push has to wait for that of another Ledger.
var errTurn = errors.New("another Ledger has a large push")

// push brings the branch up to date and settles what arrived, in the order of the package comment. It returns the
// parcels that are left.
func (r *Reconciler) push(
	ctx context.Context, patcher *status.Patcher, l *v1alpha1.Ledger, s *memory, where string, parcels []parcel,
) ([]parcel, error) {
	in, done, err := r.take(ctx, l, s, parcels)
	if err != nil {
		return nil, err
	}
	defer done()
	written := false
	defer func() {
		if !written {
			r.Outbox.putBack(in.taken)
		}
	}()
	if movesBranch(l) {
		s.entered = nil // those are commits of the other branch
	}
	looks := r.looks(l, s, len(in.taken)+len(in.unreadable) == len(parcels))
	c, err := r.change(ctx, l, in.records, looks)
	if err != nil {
		return nil, err
	}
	store, err := r.open(ctx, l, s)
	if err != nil {
		return nil, err
	}
	if err := r.announcePush(ctx, patcher, l); err != nil {
		return nil, err
	}
	uncounted := s.uncounted(l)
	start := r.Clock.Now()
	c.room = s.roomAt(start)
	c.careful = s.unsettled || uncounted || c.room > 0
	s.unsettled = true
	result, err := c.update(ctx, store)
	r.LedgerMetrics.pushed(l, gitstore.Reason(err), r.Clock.Now().Sub(start))
	s.shrink(err, c.added, r.Clock.Now())
	if err != nil {
		r.limiter.spent(where, r.Clock.Now(), max(result.Attempts, 1))
		return nil, err
	}
	if pushes := r.pushed(ctx, l, where, c, result); pushes > 0 || uncounted {
		l.Status.LastPushedTime = &metav1.Time{Time: r.Clock.Now().Truncate(time.Second)}
	}
	if err := r.recordAgain(ctx, l, s, looks, c.missing); err != nil {
		return nil, err
	}
	s.rememberIn(l, store.LastPushed())
	count(l, in, c.arrived(result.Outcome, in.counted))
	if err := r.patch(ctx, patcher, l); err != nil {
		return nil, err
	}
	written = true
	left, err := r.afterPush(ctx, l, s, c, result.Commit, in.taken)
	if s.more = len(c.later) > 0; !s.more {
		r.Outbox.putBack(left)
	}
	if err != nil {
		return nil, err
	}
	// What is in the branch of a parcel that is left was counted.
	s.unsettled, l.Status.Counted = s.more, names(left)
	return r.Outbox.list(ctx, l)
}

// take reads what a push brings into the branch, and takes the turn for it, which done gives back.
func (r *Reconciler) take(
	ctx context.Context, l *v1alpha1.Ledger, s *memory, parcels []parcel,
) (in gathered, done func(), err error) {
	if in, err = r.gather(ctx, l, parcels); err != nil {
		return in, nil, err
	}
	s.unreadable = in.unreadable
	done, err = r.largeTurn(l, in)
	return in, done, err
}

// largeTurn takes the turn of a large push. It returns the function that gives it back, and puts the parcels back if
// another Ledger has it. A Ledger that is being deleted does not wait: in the end it gives its records up.
func (r *Reconciler) largeTurn(l *v1alpha1.Ledger, in gathered) (done func(), _ error) {
	switch {
	case in.bytes <= maxBytes || !l.DeletionTimestamp.IsZero():
		return func() {}, nil
	case !r.large.TryLock():
		r.Outbox.putBack(in.taken)
		return nil, errTurn
	}
	return r.large.Unlock, nil
}

// uncounted reports whether an earlier process or attempt pushed, and was killed before it wrote the status.
func (s *memory) uncounted(l *v1alpha1.Ledger) bool {
	return !s.remembered.IsZero() && s.remembered != lastPushed(l)
}

// count notes in the status what a push brought into the branch.
func count(l *v1alpha1.Ledger, in gathered, arrived int) {
	l.Status.PushingTo = ""
	l.Status.LastFolder = ledger.Folder(l.Spec.Path, l.Spec.ClusterName)
	l.Status.Recorded += int64(arrived)
	l.Status.Counted = names(in.taken)
}

// pushed tells the limiter and the log of an update that succeeded, and returns the number of pushes that it took.
func (r *Reconciler) pushed(
	ctx context.Context, l *v1alpha1.Ledger, where string, c *change, result gitstore.Result,
) int {
	pushes := result.Attempts
	if result.Outcome == gitstore.Unchanged {
		pushes = 0
	}
	r.limiter.spent(where, r.Clock.Now(), pushes)
	if result.Accepted() {
		l.Status.ProvedTo = ledger.PushedTo(l)
	}
	if pushes > 0 {
		logf.FromContext(ctx).Info("pushed", "branch", l.Spec.Branch, "commit", result.Commit.String(),
			"records", len(c.added), "differing", len(c.differs), "attempts", pushes)
	}
	return pushes
}

// rememberIn writes the last commit of the branch that has all records, if any, to the status. A branch to which there
// was nothing to push has one, too: it can be a copy of that of the last push.
func (s *memory) rememberIn(l *v1alpha1.Ledger, last gitstore.Hash) {
	if !last.IsZero() {
		s.remembered = last
		l.Status.LastPushedCommit, l.Status.LastPushedTo = last.String(), ledger.PushedTo(l)
	}
}

func names(parcels []parcel) []string {
	var out []string
	for _, p := range parcels {
		out = append(out, p.meta.Name)
	}
	return out
}

// afterPush writes the commit into the status of the recorded objects and empties the outbox. If an object does not
// take the commit, or its record has to wait for another push, the parcels with its record are left, and the others go.
// No commit has the record of an object for which the branch has other content, for example since etcd was restored
// from a copy in which the run had not ended yet.
func (r *Reconciler) afterPush(
	ctx context.Context, l *v1alpha1.Ledger, s *memory, c *change, commit gitstore.Hash, taken []parcel,
) (left []parcel, err error) {
	differs := map[types.UID]bool{}
	for _, d := range c.differs {
		differs[d.Object.UID] = true
		r.EventRecorder.Eventf(l, corev1.EventTypeWarning, v1alpha1.ReasonRecordDiffers,
			"the branch already has a record %s with different content: Cairn does not change it, and writes no "+
				"commit into status.records of the object", d.Path)
	}
	failed, entered, in := map[string]error{}, map[types.UID]bool{}, namespaces{read.NewNamespaceLabels(r.APIReader)}
	before := map[string]bool{}
	for _, rec := range c.present {
		before[rec.Path] = true
	}
	for _, rec := range c.records {
		o := rec.Object
		if rec.File > 0 || s.entered[o.UID] || c.later[rec.Path] != nil || differs[o.UID] {
			continue
		}
		if err := r.writeCommit(ctx, l, s, o, commit, before[rec.Path], in); err != nil {
			failed[rec.Path] = err
		} else {
			entered[o.UID] = true
		}
	}
	if len(failed)+len(c.later) == 0 {
		s.entered, s.refusing = nil, nil
		return nil, r.Outbox.remove(ctx, taken)
	}
	// The next push has the records of the parcels that are left again, but writes no other commit into their objects.
	if s.entered == nil {
		s.entered = map[types.UID]bool{}
	}
	maps.Copy(s.entered, entered)
	wait := maps.Clone(failed)
	maps.Copy(wait, c.later)
	var done []parcel
	for _, p := range taken {
		if r.Outbox.holdsAny(p, wait) {
			left = append(left, p)
		} else {
			done = append(done, p)
		}
	}
	err = r.Outbox.remove(ctx, done)
	if len(failed) > 0 {
		err = errors.Join(err, failed[slices.Min(slices.Collect(maps.Keys(failed)))])
	}
	return left, err
}

// commitTries limits how often the Ledger writes a commit while others change the entries of the object.
const commitTries = 5

// refusedFor is how long the Ledger tries to write the commit into an object for which the API server has a fault each
// time, such as a webhook that does not answer.
const refusedFor = 2 * time.Minute

// writeCommit writes the commit into the status of a recorded object, if the object still exists. Each Ledger writes
// its own entry. If the branch had the record before this push, an entry that is there names the commit that added it.
func (r *Reconciler) writeCommit(
	ctx context.Context, l *v1alpha1.Ledger, s *memory, o ledger.Object, commit gitstore.Hash, before bool,
	in namespaces,
) error {
	switch o.Kind {
	case v1alpha1.BackupSessionKind, v1alpha1.RestoreSessionKind, v1alpha1.RestoreBatchKind, v1alpha1.SnapshotKind:
	default:
		return nil // a user who can write ConfigMaps here must not write other objects through us
	}
	// Nor objects of namespaces that the Ledger may not record.
	scope, _ := ledger.ScopeOf(l, r.Administrators.Has(l.Namespace))
	if ok, err := in.permits(ctx, scope, o.Namespace); err != nil || !ok {
		return err
	}
	err := r.enter(ctx, o, before, entryManager(l),
		v1alpha1.RecordStatus{Ledger: ledgerName(l), Commit: commit.String()})
	switch {
	case err == nil, apierrors.IsNotFound(err):
		return nil
	case inVain(err), r.refusing(s, o.UID, err):
		// The record is in Git anyway, and one object must not hold up the others.
		logf.FromContext(ctx).Error(err, "write commit into status", logs.Key(o.Kind), klog.KRef(o.Namespace, o.Name))
		return nil
	default:
		return fmt.Errorf("write commit into %s %s/%s: %w", o.Kind, o.Namespace, o.Name, err)
	}
}

// refusing reports whether the API server has had a fault for this object for too long. A server that can't be reached,
// or is busy, is no fault of the object.
func (r *Reconciler) refusing(s *memory, uid types.UID, err error) bool {
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) || answer.Status().Code < http.StatusInternalServerError {
		return false
	}
	if s.refusing == nil {
		s.refusing = map[types.UID]time.Time{}
	}
	since, known := s.refusing[uid]
	if !known {
		s.refusing[uid] = r.Clock.Now()
		return false
	}
	return r.Clock.Now().Sub(since) >= refusedFor
}

// inVain reports whether the Ledger gives up to write a commit: the object is too large, or the API server does not
// accept the request, or a webhook, which often gives no reason. A conflict counts, too: it lasted for commitTries.
func inVain(err error) bool {
	if movers.NeverAccepted(err) {
		return true
	}
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) {
		return false
	}
	switch code := answer.Status().Code; code {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	default:
		return code >= 400 && code < 500
	}
}

// entryManager returns the field manager of a Ledger's entries.
func entryManager(l *v1alpha1.Ledger) string {
	return "cairn-ledger-" + policy.Digest(string(l.UID))[len("sha256:"):][:8]
}

// enter makes the record an entry of the object's status, under the field manager, or keeps an entry that is there and
// has a commit. It fails with NotFound if the object is gone, also if another has its name: with the entry, the
// Collector would not record that one. So it does not apply the entry (Writer.Apply). It reads an object only if the
// first patch fails: with one Ledger, objects have no entry.
func (r *Reconciler) enter(
	ctx context.Context, o ledger.Object, keep bool, manager string, record v1alpha1.RecordStatus,
) error {
	meta := &metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name, UID: o.UID}
	patch := entryPatch(nil, keep, record)
	for try := 1; ; try++ {
		err := r.writer().PatchSame(ctx, o.Kind, meta, manager, patch...)
		if !apierrors.IsInvalid(err) && !apierrors.IsConflict(err) || try == commitTries {
			return err
		}
		now := &unstructured.Unstructured{}
		now.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(o.Kind))
		if err := r.APIReader.Get(ctx, client.ObjectKey{Namespace: o.Namespace, Name: o.Name}, now); err != nil {
			return err
		}
		if now.GetUID() != o.UID {
			return apierrors.NewNotFound(v1alpha1.GroupVersion.WithResource(o.Kind).GroupResource(), o.Name)
		}
		entries, _, malformed := unstructured.NestedSlice(now.Object, "status", "records")
		if malformed != nil {
			return fmt.Errorf("read status.records: %w", malformed)
		}
		next := entryPatch(entries, keep, record)
		if next == nil {
			return nil
		}
		if apierrors.IsInvalid(err) && reflect.DeepEqual(next, patch) {
			return err // the entries are not the reason
		}
		patch = next
	}
}

// entryPatch adds the record to the entries of a status, which exists, because it has a default. It returns nil if
// the record is an entry, or to keep another one of the Ledger. The patch fails if the entries changed meanwhile in
// a way that matters.
func entryPatch(entries []any, keep bool, record v1alpha1.RecordStatus) []status.Operation {
	if entries == nil {
		return []status.Operation{
			{Op: "test", Path: "/status/records"},
			{Op: "add", Path: "/status/records", Value: []v1alpha1.RecordStatus{record}},
		}
	}
	for i := range entries {
		entry, _ := entries[i].(map[string]any)
		if entry["ledger"] != record.Ledger {
			continue
		}
		if commit, _ := entry["commit"].(string); keep && commit != "" || commit == record.Commit {
			return nil
		}
		path := fmt.Sprintf("/status/records/%d", i)
		return []status.Operation{
			{Op: "test", Path: path + "/ledger", Value: record.Ledger}, {Op: "replace", Path: path, Value: record},
		}
	}
	return []status.Operation{{Op: "add", Path: "/status/records/-", Value: record}}
}
