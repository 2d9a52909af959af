package retention

import (
	"cmp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/workload/destination"
)

// InUse holds the restores that have not ended, to find the Snapshots that they work with or can still choose.
type InUse struct {
	sessions []*v1alpha1.RestoreSession
	batches  []*v1alpha1.RestoreBatch
}

// BatchUnderWay reports whether a RestoreBatch has not ended.
func BatchUnderWay(b *v1alpha1.RestoreBatch) bool {
	return !b.Status.Phase.Terminal() && !v1alpha1.HasRecordAnnotation(b.Annotations)
}

// RestoreUnderWay reports whether a RestoreSession has not ended.
func RestoreUnderWay(s *v1alpha1.RestoreSession) bool {
	return !s.Status.Phase.Terminal() && !v1alpha1.HasRecordAnnotation(s.Annotations)
}

// NewInUse selects the restores that have not ended from the given ones, in any order. It keeps pointers to them.
func NewInUse(sessions []v1alpha1.RestoreSession, batches []v1alpha1.RestoreBatch) InUse {
	var out InUse
	for i := range batches {
		if b := &batches[i]; BatchUnderWay(b) {
			out.batches = append(out.batches, b)
		}
	}
	for i := range sessions {
		if s := &sessions[i]; RestoreUnderWay(s) {
			out.sessions = append(out.sessions, s)
		}
	}
	// Sorted, so that By names the same restore at each look: the lists of a cache have no order.
	slices.SortFunc(out.sessions, func(a, b *v1alpha1.RestoreSession) int { return byKey(a, b) })
	slices.SortFunc(out.batches, func(a, b *v1alpha1.RestoreBatch) int { return byKey(a, b) })
	return out
}

// byKey compares two objects by namespace and name.
func byKey(a, b metav1.Object) int {
	return cmp.Or(strings.Compare(a.GetNamespace(), b.GetNamespace()), strings.Compare(a.GetName(), b.GetName()))
}

// By names the restore that works with the Snapshot, or returns "". A restore that has not chosen its Snapshot yet can
// choose any Snapshot of its repository, and a RestoreBatch any of its BackupBatch.
func (s InUse) By(snapshot *v1alpha1.Snapshot) string {
	for _, r := range s.sessions {
		source := r.Spec.DataSource
		if source == nil && r.Namespace == snapshot.Namespace && restoresFrom(r, snapshot) {
			return "RestoreSession " + r.Namespace + "/" + r.Name
		}
		if source == nil || cmp.Or(source.Namespace, r.Namespace) != snapshot.Namespace {
			continue
		}
		var uses bool
		switch resolved := r.Status.Resolved; {
		case resolved != nil:
			uses = resolved.Snapshot == snapshot.Name
		case source.Snapshot == "" || source.Snapshot == v1alpha1.LatestSnapshot:
			uses = source.Repository == snapshot.Spec.Repository
		default:
			uses = source.Snapshot == snapshot.Name
		}
		if uses {
			return "RestoreSession " + r.Namespace + "/" + r.Name
		}
	}
	for _, b := range s.batches {
		if waitsFor(b, snapshot) {
			return "RestoreBatch " + b.Namespace + "/" + b.Name
		}
	}
	return ""
}

// Reads names the restore that reads the data of a Repository, or returns "". A restore that has chosen its Snapshot
// goes on without that object.
func (s InUse) Reads(repository *v1alpha1.Repository) string {
	for _, r := range s.sessions {
		chosen := r.Status.Resolved
		if chosen == nil || chosen.Repository.Name != repository.Name || chosen.Namespace != repository.Namespace {
			continue
		}
		if uid := chosen.Repository.UID; uid == "" || uid == repository.UID {
			return "RestoreSession " + r.Namespace + "/" + r.Name
		}
	}
	return ""
}

// restoresFrom reports whether the templates of a restore name a VolumeSnapshot of the Snapshot.
func restoresFrom(r *v1alpha1.RestoreSession, snapshot *v1alpha1.Snapshot) bool {
	var named []string
	for _, c := range snapshot.Status.Components {
		for _, stats := range c.VolumeSnapshotterStats {
			if named == nil {
				named = destination.NamedSnapshots(r)
			}
			if slices.Contains(named, stats.VolumeSnapshotName) {
				return true
			}
		}
	}
	return false
}

// waitsFor reports whether a RestoreBatch can still choose a Snapshot, or has chosen it for a target that has not
// ended.
func waitsFor(b *v1alpha1.RestoreBatch, snapshot *v1alpha1.Snapshot) bool {
	resolved, source := b.Status.Resolved, &b.Spec.DataSource
	if resolved == nil {
		return cmp.Or(source.Namespace, b.Namespace) == snapshot.Namespace && OfBatch(snapshot, source)
	}
	return resolved.Namespace == snapshot.Namespace &&
		slices.ContainsFunc(b.Status.Targets, func(t v1alpha1.RestoreTargetStatus) bool {
			return t.Snapshot == snapshot.Name && !t.Phase.Terminal()
		})
}

// OfBatch reports whether a Snapshot belongs to the BackupBatch, and to the session if source names one.
func OfBatch(s *v1alpha1.Snapshot, source *v1alpha1.RestoreBatchDataSource) bool {
	return s.Labels[v1alpha1.LabelInvokerKind] == v1alpha1.BackupBatchKind &&
		s.Labels[v1alpha1.LabelInvokerName] == policy.LabelValue(source.BackupBatch) &&
		(source.Session == "" || s.Spec.Session == source.Session) && !v1alpha1.HasRecordAnnotation(s.Annotations)
}
