package keeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/fluxcd/pkg/runtime/conditions"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/keeper"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/run/rebuilt"
	"github.com/cairn-backup/cairn/internal/task"
)

// writeScan writes the result of a scan, if the work had one. It returns false if the keeper has to scan again.
func (r *Reconciler) writeScan(
	ctx context.Context, job *batchv1.Job, w *keeper.Work, result task.ComponentResult,
) (bool, error) {
	if w.Scan == "" || w.Repository == nil {
		return true, nil
	}
	reason, message := result.Reason, result.Error
	if step := result.Scanning; step != nil {
		reason, message = step.Reason, step.Error
	}
	if result.Scan != nil {
		s, err := r.scanned(ctx, job, w, result.Scan)
		if err == nil {
			return true, r.markScanned(ctx, w.Repository, s)
		}
		if !errors.As(err, &errPages{}) {
			return false, err
		}
		reason, message = v1alpha1.ReasonFailed, err.Error()
	}
	return false, r.writeRepository(ctx, w.Repository, func(repository *v1alpha1.Repository) {
		conditions.MarkFalse(repository, v1alpha1.ConditionScanned, cmp.Or(reason, v1alpha1.ReasonFailed), "%s",
			cmp.Or(message, "the keeper gave no answer to the scan")+": Cairn tries again")
	})
}

// scanned makes the Snapshots that a scan found and the cluster lacks, and returns the result of the scan. It can be
// repeated after an interruption.
func (r *Reconciler) scanned(
	ctx context.Context, job *batchv1.Job, w *keeper.Work, scan *task.Scan,
) (*v1alpha1.ScanStatus, error) {
	out := &v1alpha1.ScanStatus{
		Requested: w.Scan, Time: metav1.NewTime(r.Clock.Now()).Rfc3339Copy(), Unreadable: scan.Unreadable,
		Unknown: scan.Unknown,
	}
	pages, err := r.pages(ctx, job, scan)
	if err != nil {
		return nil, err
	}
	for _, page := range pages {
		if err := task.ReadPage(page, func(f task.Found) error {
			out.Found++
			return r.rebuild(ctx, w.Repository, f, job.CreationTimestamp, out)
		}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// errPages means that the pages of a scan are not those that the keeper wrote.
type errPages struct{ job string }

func (e errPages) Error() string {
	return "the ConfigMaps of Job " + e.job + " are not those that it wrote"
}

// pages reads the answer to a scan.
func (r *Reconciler) pages(ctx context.Context, job *batchv1.Job, scan *task.Scan) ([][]byte, error) {
	var out [][]byte
	for i := range scan.Pages {
		var page corev1.ConfigMap
		key := client.ObjectKey{Namespace: job.Namespace, Name: task.PageName(job.Name, i)}
		err := r.APIReader.Get(ctx, key, &page)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("get ConfigMap %s: %w", key, err)
		}
		out = append(out, page.BinaryData[task.PageKey])
	}
	if !scan.Matches(out) {
		return nil, errPages{job.Name}
	}
	return out, nil
}

// removePages deletes the answers of a keeper's Jobs of this name.
func (r *Reconciler) removePages(ctx context.Context, namespace, job string) error {
	var list corev1.ConfigMapList
	if err := r.APIReader.List(ctx, &list, client.InNamespace(namespace),
		client.MatchingLabels{v1alpha1.LabelScan: job}); err != nil {
		return fmt.Errorf("list ConfigMaps of Job %s/%s: %w", namespace, job, err)
	}
	for i := range list.Items {
		if err := r.Delete(ctx, &list.Items[i]); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete ConfigMap %s/%s: %w", namespace, list.Items[i].Name, err)
		}
	}
	return nil
}

// rebuild makes one Snapshot, unless it exists, and counts what a scan that began at since made. One that the API
// server refuses holds up no other.
func (r *Reconciler) rebuild(
	ctx context.Context, repository *v1alpha1.Repository, f task.Found, since metav1.Time, count *v1alpha1.ScanStatus,
) error {
	want, ok := rebuilt.Snapshot(repository, f, r.Clock.Now())
	if !ok {
		count.Refused++
		logf.FromContext(ctx).Info("leaves out a Snapshot of the backend", "snapshot", klog.KRef(repository.Namespace,
			f.Name), "why", "its result file lacks what a Snapshot needs")
		return nil
	}
	have, err := r.place(ctx, want)
	if err == nil && have == nil { // another Repository has a Snapshot of this name
		want.Name = rebuilt.OtherName(want)
		have, err = r.place(ctx, want)
	}
	if err == nil && have != nil {
		return r.fill(ctx, have, want, since, count)
	}
	if err != nil && !movers.NeverAccepted(err) {
		return err
	}
	count.Refused++
	logf.FromContext(ctx).Info("leaves out a Snapshot of the backend", "snapshot", klog.KObj(want), "why", why(err))
	return nil
}

// fill writes the status of a rebuilt Snapshot, unless it is written. It counts a Snapshot that this scan has made,
// also if the manager was killed after that.
func (r *Reconciler) fill(
	ctx context.Context, have, want *v1alpha1.Snapshot, since metav1.Time, count *v1alpha1.ScanStatus,
) error {
	uid := have.Annotations[v1alpha1.AnnotationRebuilt]
	if uid == "" || uid != want.Annotations[v1alpha1.AnnotationRebuilt] ||
		have.CreationTimestamp.Before(&since) {
		return nil
	}
	if have.Status.Phase == "" {
		before := have.DeepCopy()
		have.Status = want.Status
		err := r.writer().Status(ctx, before, have)
		if movers.NeverAccepted(err) { // somebody else wrote into the backend
			have = before.DeepCopy()
			have.Status = rebuilt.Unusable(r.Clock.Now())
			err = r.writer().Status(ctx, before, have)
		}
		if err != nil {
			return err
		}
		logf.FromContext(ctx).Info("rebuilt the Snapshot", "snapshot", klog.KObj(have), "phase", have.Status.Phase)
	}
	count.Rebuilt++
	if have.Status.Phase != v1alpha1.SnapshotSucceeded {
		count.Incomplete++
	}
	return nil
}

// why says why a Snapshot is left out.
func why(err error) string {
	if err == nil {
		return "other Snapshots have its name"
	}
	return err.Error()
}

// place returns the Snapshot of this name, and makes it if there is none. It returns nil if the name belongs to a
// Snapshot of another Repository.
func (r *Reconciler) place(ctx context.Context, want *v1alpha1.Snapshot) (*v1alpha1.Snapshot, error) {
	have := &v1alpha1.Snapshot{}
	err := r.Get(ctx, client.ObjectKeyFromObject(want), have)
	if apierrors.IsNotFound(err) {
		have = want.DeepCopy()
		have.Status = v1alpha1.SnapshotStatus{ObservedGeneration: -1}
		if err = r.Create(ctx, have, client.FieldOwner(r.FieldManager)); apierrors.IsAlreadyExists(err) {
			err = r.APIReader.Get(ctx, client.ObjectKeyFromObject(want), have)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("make Snapshot %s/%s again: %w", want.Namespace, want.Name, err)
	}
	if have.Spec.Repository != want.Spec.Repository || v1alpha1.HasRecordAnnotation(have.Annotations) ||
		have.Spec.SnapshotID != want.Spec.SnapshotID {
		return nil, nil
	}
	return have, nil
}

// markScanned writes the result of a scan to the Repository.
func (r *Reconciler) markScanned(ctx context.Context, repository *v1alpha1.Repository, s *v1alpha1.ScanStatus) error {
	err := r.writeRepository(ctx, repository, func(repository *v1alpha1.Repository) {
		repository.Status.LastScan = s
		conditions.MarkTrue(repository, v1alpha1.ConditionScanned, v1alpha1.ReasonScanned,
			"the last scan of the backend succeeded: see status.lastScan")
	})
	if err != nil {
		return err
	}
	r.Eventf(repository, corev1.EventTypeNormal, v1alpha1.ReasonScanned,
		"rebuilt %d of the %d Snapshots in the backend", s.Rebuilt, s.Found)
	return nil
}
