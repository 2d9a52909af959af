package keeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/run/rebuilt"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/text"
)

const (
	// maxFailures is how many Snapshots can fail for reasons that pass before the scan is given up for this time.
	maxFailures = 10
	// maxLeftOut is how many Snapshots that were left out have a line in the log and a place in the condition. The
	// backend decides how many there are.
	maxLeftOut = 3
	// maxWhy bounds what is said about one of them, in bytes.
	maxWhy = 256
)

// rebuilding makes the Snapshots of one Repository that a scan found. One Snapshot holds up no other.
type rebuilding struct {
	*Reconciler
	repository *v1alpha1.Repository
	known      rebuilt.Policies
	order      rebuilt.Order
	// names are those of the Snapshots that the Repository has, by snapshotID.
	names map[string]string
	// had holds the snapshotIDs that the scan had already: no two backups have the same.
	had map[string]bool
	// frozen holds the names of the Snapshots that runs under way make.
	frozen map[string]bool
	// count is the result of the scan.
	count *v1alpha1.ScanStatus
	// refused are the first Snapshots that were left out, and why.
	refused []string
	// failed is the first error that passes, and failures counts them. The next Job scans again.
	failed   error
	failures int
}

// refusal is why a Snapshot is left out, if the API server was not even asked.
type refusal string

func (r refusal) Error() string { return string(r) }

// newRebuilding reads the policies, runs and Snapshots of the namespace past the cache: they decide what a Snapshot
// belongs to, which names are taken, and which backups have a Snapshot.
func (r *Reconciler) newRebuilding(
	ctx context.Context, repository *v1alpha1.Repository, count *v1alpha1.ScanStatus,
) (*rebuilding, error) {
	var configurations v1alpha1.BackupConfigurationList
	var batches v1alpha1.BackupBatchList
	var runs v1alpha1.BackupSessionList
	for _, list := range []client.ObjectList{&configurations, &batches, &runs} {
		if err := r.APIReader.List(ctx, list, client.InNamespace(repository.Namespace)); err != nil {
			return nil, fmt.Errorf("list policies and runs of Namespace %s: %w", repository.Namespace, err)
		}
	}
	names, err := r.names(ctx, repository)
	if err != nil {
		return nil, err
	}
	return &rebuilding{
		Reconciler: r, repository: repository, count: count, names: names, had: map[string]bool{},
		frozen: rebuilt.FrozenNames(runs.Items),
		known:  rebuilt.Policies{Configurations: configurations.Items, Batches: batches.Items},
	}, nil
}

// found makes one Snapshot of the backend, or leaves it out. It returns only an error that ends the work.
func (b *rebuilding) found(ctx context.Context, f task.Found) error {
	b.count.Found++
	err := b.rebuild(ctx, f)
	_, known := errors.AsType[refusal](err)
	_, goes := errors.AsType[going](err)
	switch {
	case err == nil:
	case goes:
		b.failed = cmp.Or(b.failed, err)
	case known, movers.Refused(err):
		b.leaveOut(ctx, f.Name, err)
	case passes(err) && b.failures < maxFailures:
		if b.failures++; b.failed == nil {
			b.failed = fmt.Errorf("the API server failed: %w", err)
		}
	default:
		return err
	}
	return nil
}

// passes reports whether the API server could not take an object this time. A webhook that fails is one reason.
func passes(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && !apierrors.IsConflict(err) && status.Status().Code >= 400
}

// leaveOut counts a Snapshot that is left out, and remembers the first ones.
func (b *rebuilding) leaveOut(ctx context.Context, name string, err error) {
	if b.count.Refused++; len(b.refused) == maxLeftOut {
		return
	}
	name, why := text.Cut(name, maxWhy), text.Cut(err.Error(), maxWhy)
	b.refused = append(b.refused, fmt.Sprintf("%q: %s", name, why)) // the name can hold anything
	logf.FromContext(ctx).Info("leaves out a Snapshot of the backend", "snapshot",
		klog.KRef(b.repository.Namespace, name), "why", why)
}

// logLeftOut logs how many Snapshots were left out, if they do not all have a line of their own.
func (b *rebuilding) logLeftOut(ctx context.Context) {
	if b.count.Refused > maxLeftOut {
		logf.FromContext(ctx).Info("leaves out Snapshots of the backend", "repository", klog.KObj(b.repository),
			"count", b.count.Refused)
	}
}

// leftOut names the first Snapshots that were left out, and why. It returns "" if none was.
func (b *rebuilding) leftOut() string { return strings.Join(b.refused, "; ") }

// rebuild makes one Snapshot, unless it exists.
func (b *rebuilding) rebuild(ctx context.Context, f task.Found) error {
	want, why := rebuilt.Snapshot(b.repository, f, b.known, &b.order, b.Clock.Now())
	if why != "" {
		return refusal(why)
	}
	want.Annotations[v1alpha1.AnnotationScan] = b.count.Requested
	if b.had[want.Spec.SnapshotID] {
		return refusal("another Snapshot of the backend has its snapshotID")
	}
	b.had[want.Spec.SnapshotID] = true
	names := []string{want.Name, rebuilt.OtherName(want)} // another Repository can have a Snapshot of the first
	if name, ok := b.names[want.Spec.SnapshotID]; ok {
		names = slices.Insert(names, 0, name)
	}
	for _, want.Name = range names {
		have, err := b.place(ctx, want)
		if err != nil {
			return err
		}
		if have != nil {
			return b.fill(ctx, have, want)
		}
	}
	return refusal("other Snapshots have its name")
}

// fill writes the status of a Snapshot that lacks one, and counts the Snapshots that this request has made: also an
// earlier Job of it, or a manager that was killed.
func (b *rebuilding) fill(ctx context.Context, have, want *v1alpha1.Snapshot) error {
	switch {
	case b.goes(have):
		return going(klog.KObj(have).String())
	case have.Status.Phase != "":
		if !sameRebuilt(have, want, v1alpha1.AnnotationRebuilt, v1alpha1.AnnotationScan) {
			return nil
		}
	default:
		if waits, err := b.waits(ctx, have, want); err != nil || waits {
			return err
		}
		if err := b.complete(ctx, have, want); err != nil {
			return err
		}
	}
	b.count.Rebuilt++
	if have.Status.Phase != v1alpha1.SnapshotSucceeded {
		b.count.Incomplete++
	}
	return nil
}

func sameRebuilt(have, want *v1alpha1.Snapshot, annotations ...string) bool {
	return !slices.ContainsFunc(annotations, func(key string) bool {
		return have.Annotations[key] != want.Annotations[key]
	})
}

// waits reports whether a Snapshot without a status gets one from its run. Otherwise a scan has made the object, or
// somebody has copied it back without its status, as a backup of the cluster does.
func (b *rebuilding) waits(ctx context.Context, have, want *v1alpha1.Snapshot) (bool, error) {
	if !have.DeletionTimestamp.IsZero() {
		return true, nil
	}
	if sameRebuilt(have, want, v1alpha1.AnnotationRebuilt) {
		return false, nil
	}
	var session v1alpha1.BackupSession
	err := b.APIReader.Get(ctx, client.ObjectKey{Namespace: have.Namespace, Name: have.Spec.BackupSession}, &session)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("get BackupSession %s: %w", have.Spec.BackupSession, err)
	}
	return err == nil && !session.Status.Phase.Terminal() && !v1alpha1.HasRecordAnnotation(session.Annotations), nil
}

// complete gives a Snapshot what a rebuilt one has, and the status that the backend tells.
func (b *rebuilding) complete(ctx context.Context, have, want *v1alpha1.Snapshot) error {
	before := have.DeepCopy()
	for _, key := range []string{v1alpha1.AnnotationRebuilt, v1alpha1.AnnotationScan} {
		metav1.SetMetaDataAnnotation(&have.ObjectMeta, key, want.Annotations[key])
	}
	for _, finalizer := range want.Finalizers {
		controllerutil.AddFinalizer(have, finalizer)
	}
	have.OwnerReferences = want.OwnerReferences
	if err := b.writer().Object(ctx, before, have); err != nil {
		return err
	}
	before = have.DeepCopy()
	have.Status = want.Status
	err := b.writer().Status(ctx, before, have)
	if movers.NeverAccepted(err) { // somebody else wrote into the backend
		have.Status = rebuilt.Unusable(have.Spec.SnapshotID, b.Clock.Now())
		err = b.writer().Status(ctx, before, have)
	}
	if err != nil {
		return err
	}
	logf.FromContext(ctx).Info("rebuilt the Snapshot", "snapshot", klog.KObj(have), "phase", have.Status.Phase)
	return nil
}
