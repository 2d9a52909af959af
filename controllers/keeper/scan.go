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
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/keeper"
	"github.com/cairn-backup/cairn/internal/kube/sweep"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/text"
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
		b, err := r.scanned(ctx, job, w, result.Scan)
		switch {
		case errors.As(err, &errPages{}), errors.Is(err, task.ErrPage):
		case err != nil:
			return false, err
		case b.failed == nil:
			return true, r.markScanned(ctx, w.Repository, b.count, b.leftOut())
		default:
			err = b.failed
		}
		reason, message = v1alpha1.ReasonFailed, text.Shorten(err.Error())
	}
	return false, r.writeRepository(ctx, w.Repository, func(repository *v1alpha1.Repository) {
		conditions.MarkFalse(repository, v1alpha1.ConditionScanned, cmp.Or(reason, v1alpha1.ReasonFailed), "%s",
			cmp.Or(message, "the keeper gave no answer to the scan")+": Cairn tries again")
	})
}

// scanned makes the Snapshots that a scan found and the cluster lacks, and returns how that went. It can be repeated
// after an interruption.
func (r *Reconciler) scanned(
	ctx context.Context, job *batchv1.Job, w *keeper.Work, scan *task.Scan,
) (*rebuilding, error) {
	pages, err := r.pages(ctx, job, scan)
	if err != nil {
		return nil, err
	}
	b, err := r.newRebuilding(ctx, w.Repository, &v1alpha1.ScanStatus{
		Requested: w.Scan, Time: metav1.NewTime(r.Clock.Now()).Rfc3339Copy(), Unreadable: scan.Unreadable,
		Unknown: scan.Unknown,
	})
	if err != nil {
		return nil, err
	}
	see := func(f task.Found) error {
		b.order.See(f, b.Clock.Now())
		return nil
	}
	for _, each := range []func(task.Found) error{see, func(f task.Found) error { return b.found(ctx, f) }} {
		for _, page := range pages {
			if err := task.ReadPage(page, each); err != nil {
				return nil, err
			}
		}
	}
	b.logLeftOut(ctx)
	return b, nil
}

// errPages means that the pages of a scan are not those that the keeper wrote.
type errPages struct{ job string }

func (e errPages) Error() string {
	return "the ConfigMaps of Job " + e.job + " are not those that it wrote"
}

// going names a Snapshot that is in the way of a scan: its object goes, and its data stays.
type going string

func (s going) Error() string {
	return "Snapshot " + string(s) + " is being deleted, and can be made again once it is gone"
}

// goes reports whether the object of a Snapshot is on its way out while its data stays: then it proves nothing. One
// that an earlier Repository of the name owned goes with that. A keeper of this Repository removes the data of others.
func (b *rebuilding) goes(have *v1alpha1.Snapshot) bool {
	owned := retention.Owns(b.repository, have)
	if have.DeletionTimestamp.IsZero() {
		return !owned && have.Status.Phase != ""
	}
	return !owned || !keeper.Removes(have)
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

// removePages deletes the answers of a keeper's Jobs of this name. Anybody can give their label to other ConfigMaps, so
// it asks for their names, and only for metadata.
func (r *Reconciler) removePages(ctx context.Context, namespace, job string) error {
	for i := range task.MaxPages {
		page := &metav1.PartialObjectMetadata{}
		page.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
		key := client.ObjectKey{Namespace: namespace, Name: task.PageName(job, i)}
		err := r.APIReader.Get(ctx, key, page)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("get ConfigMap %s: %w", key, err)
		}
		if page.Labels[v1alpha1.LabelScan] != job {
			continue
		}
		if err := sweep.Delete(ctx, r.Client, page); err != nil {
			return err
		}
	}
	return nil
}

// markScanned writes the result of a scan to the Repository. leftOut names Snapshots that were left out, or is "".
func (r *Reconciler) markScanned(
	ctx context.Context, repository *v1alpha1.Repository, s *v1alpha1.ScanStatus, leftOut string,
) error {
	err := r.writeRepository(ctx, repository, func(repository *v1alpha1.Repository) {
		repository.Status.LastScan = s
		reason, message := v1alpha1.ReasonScanned, "the last scan of the backend succeeded: see status.lastScan"
		if leftOut != "" {
			reason = v1alpha1.ReasonScanIncomplete
			message = "the last scan of the backend left out Snapshots: see status.lastScan: " + leftOut
		}
		conditions.MarkTrue(repository, v1alpha1.ConditionScanned, reason, "%s", message)
	})
	if err != nil {
		return err
	}
	r.Eventf(repository, corev1.EventTypeNormal, v1alpha1.ReasonScanned,
		"rebuilt %d of the %d Snapshots in the backend", s.Rebuilt, s.Found)
	if leftOut != "" {
		r.Eventf(repository, corev1.EventTypeWarning, v1alpha1.ReasonScanIncomplete,
			"left out %s of the backend: %s", text.Quantity(s.Refused, "Snapshot"), leftOut)
	}
	return nil
}
