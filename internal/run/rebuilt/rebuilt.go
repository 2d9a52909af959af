// Package rebuilt makes Snapshots again from what a scan found in a backend. It is pure. Invariant: a Snapshot is
// Succeeded only if the repository has the data of as many components as the Snapshot had.
package rebuilt

import (
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/task"
)

// keptLabels are the labels of a Snapshot that decide about it later. All others are left out: anybody who can write to
// the backend chooses them.
var keptLabels = []string{
	v1alpha1.LabelInvokerKind, v1alpha1.LabelInvokerName, v1alpha1.LabelSession, v1alpha1.LabelConfiguration,
	v1alpha1.LabelBackupSession, v1alpha1.LabelRestorePoint, v1alpha1.LabelRestorePointUID,
}

// Snapshot returns the Snapshot of a Repository that a scan found, with its status, or why it must not be an object of
// the API. The API server checks the rest. known are the policies of the namespace, and order has seen what the scan
// found.
func Snapshot(
	r *v1alpha1.Repository, f task.Found, known Policies, order *Order, now time.Time,
) (_ *v1alpha1.Snapshot, refusal string) {
	switch {
	case len(validation.IsDNS1123Subdomain(f.Name)) > 0 || f.UID == "" || f.Spec.SnapshotID == "" ||
		f.Spec.BackupSession == "" || f.Spec.Session == "":
		return nil, "its result file lacks what a Snapshot needs"
	case isToCome(f.Name, now), isToCome(f.Spec.BackupSession, now):
		return nil, "it has the name of a run to come"
	}
	labels := map[string]string{
		v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelRepository: policy.LabelValue(r.Name),
	}
	for _, key := range keptLabels {
		if value, ok := f.Labels[key]; ok && len(validation.IsValidLabelValue(value)) == 0 {
			labels[key] = value
		}
	}
	out := &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: r.Namespace, Name: f.Name, Labels: labels,
			Finalizers:  []string{v1alpha1.FinalizerWipe, v1alpha1.FinalizerRecord},
			Annotations: map[string]string{v1alpha1.AnnotationRebuilt: string(f.UID)},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(
				&metav1.ObjectMeta{Name: r.Name, UID: r.UID}, v1alpha1.GroupVersion.WithKind(v1alpha1.RepositoryKind))},
		},
		Spec: f.Spec,
	}
	if half := task.RestoreOfMark(f.HalfRestored); half != "" {
		out.Annotations[v1alpha1.AnnotationHalfRestored] = half
	}
	out.Spec.Repository, out.Spec.DeletionPolicy, out.Spec.Paused = r.Name, v1alpha1.DeleteObjects, false
	if r.Spec.AppRef.Name != "" {
		out.Spec.AppRef = r.Spec.AppRef
	}
	if known.strange(r, labels, out.Spec.AppRef) {
		for _, key := range pointLabels {
			delete(labels, key)
		}
	}
	out.Status = statusOf(f.Spec.SnapshotID, reported(r, f.Components), f.Total, now)
	out.Status.SnapshotTime = order.limit(f.Spec.SnapshotID, out.Status.SnapshotTime)
	return out, ""
}

// reported returns the components of the backend as a mover of the Repository could have reported them.
func reported(r *v1alpha1.Repository, found map[string]v1alpha1.Component) map[string]v1alpha1.Component {
	out := make(map[string]v1alpha1.Component, len(found))
	for name, c := range found {
		if c = task.Reported(c, r.Spec.Driver); !task.TellsPatterns(len(found)) {
			c.UnmatchedPatterns = nil
		}
		out[name] = c
	}
	return out
}

// ahead is how far a slot lies ahead at most. A larger number at the end of a name is something else, such as a date.
const ahead = 366 * 24 * time.Hour

// isToCome reports whether a name of a BackupSession, or of its Snapshot, is of a slot after now. No honest run has
// made it: whoever can write to the backend wants to take the name away from a later run.
func isToCome(name string, now time.Time) bool {
	slot, ok := policy.SlotOf(name)
	return ok && slot.After(now) && slot.Before(now.Add(ahead))
}

// Unusable returns the status of a rebuilt Snapshot whose components the API server refuses.
func Unusable(snapshotID string, now time.Time) v1alpha1.SnapshotStatus {
	return statusOf(snapshotID, nil, 0, now)
}

// FrozenNames returns the names of the Snapshots that runs under way make. A run makes that of a later target when its
// turn comes.
func FrozenNames(runs []v1alpha1.BackupSession) map[string]bool {
	out := map[string]bool{}
	for i := range runs {
		r := &runs[i]
		if r.Status.Resolved == nil || r.Status.Phase.Terminal() || v1alpha1.HasRecordAnnotation(r.Annotations) {
			continue
		}
		for _, t := range r.Status.Resolved.Targets {
			for _, of := range t.Repositories {
				out[of.Snapshot] = true
			}
		}
	}
	return out
}

// OtherName returns the name of a rebuilt Snapshot whose own name another Repository's Snapshot has.
func OtherName(s *v1alpha1.Snapshot) string {
	return policy.RebuiltSnapshotName(s.Name, string(s.OwnerReferences[0].UID))
}

// statusOf returns the status of a Snapshot that was made again from what lies in the backend. components are
// what was found of it, and total is how many components it must have; 0 means unknown. A Snapshot of which something
// is missing, or may be missing, failed.
func statusOf(
	snapshotID string, components map[string]v1alpha1.Component, total int32, now time.Time,
) v1alpha1.SnapshotStatus {
	const generation = 1 // of an object that was just made
	of := metav1.ObjectMeta{Generation: generation}
	s := v1alpha1.SnapshotStatus{Components: components}
	var host v1alpha1.ResolvedHost
	for _, name := range slices.Sorted(maps.Keys(components)) {
		host.Volumes = append(host.Volumes, v1alpha1.ResolvedVolume{Component: name})
	}
	backup.FinishSnapshot(&s, &v1alpha1.ResolvedTarget{Hosts: []v1alpha1.ResolvedHost{host}}, &of, nil, now)
	s.SnapshotTime = madeAt(snapshotID, components, now)
	missing := ""
	switch {
	case total == 0:
		missing = "the backend does not tell how many components it has"
	case int(total) > len(components):
		missing = "some of its components are not in the backend"
	}
	if missing != "" && (s.Phase == v1alpha1.SnapshotSucceeded || len(components) == 0) {
		s.Phase = v1alpha1.SnapshotFailed
		run.Conclude(&s.Conditions, false, v1alpha1.ReasonSnapshotNotFound, missing, generation, now)
	}
	s.TotalComponents = max(total, s.TotalComponents)
	return s
}

// lateStart is how long after its slot a run can begin and still be believed: it waited for another one, or the manager
// was down.
const lateStart = 24 * time.Hour

// madeAt returns when the last of the components ended, but never a time long after the run or after now: a node's
// clock can have been wrong. The slot comes from the manager's clock, and a difference of two times of one clock is
// right even if the clock was not, unless it was put right in between. The components can have run one after the other.
func madeAt(snapshotID string, components map[string]v1alpha1.Component, now time.Time) *metav1.Time {
	last, took := spent(components)
	latest, end := now, now
	if slot, ok := v1alpha1.SnapshotIDTime(snapshotID); ok && slot.Before(now) {
		if slot.Add(took).After(now.Add(v1alpha1.ClockTolerance)) {
			took = 0 // the clock was put right meanwhile
		}
		latest, end = slot.Add(took+lateStart), slot.Add(took)
	}
	if last.IsZero() || last.After(latest) || last.After(now) {
		last = end
	}
	if last.After(now) {
		last = now
	}
	at := metav1.NewTime(last).Rfc3339Copy()
	return &at
}

// spent returns when the last of the components ended, and how long at least one of them ran. They can have run beside
// each other.
func spent(components map[string]v1alpha1.Component) (last time.Time, took time.Duration) {
	start := func(c v1alpha1.Component) (at time.Time) {
		if c.StartTime != nil {
			at = c.StartTime.Time
		}
		return at
	}
	ran := slices.SortedFunc(maps.Values(components), func(a, b v1alpha1.Component) int {
		return start(a).Compare(start(b))
	})
	for _, c := range ran {
		if c.CompletionTime == nil {
			continue
		}
		if from := start(c); !from.IsZero() {
			if from.Before(last) {
				from = last
			}
			took += max(0, c.CompletionTime.Sub(from))
		}
		if c.CompletionTime.After(last) {
			last = c.CompletionTime.Time
		}
	}
	return last, took
}
