package restore

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
)

// RestoreInto returns the oldest restore of the list that writes into the claim now, except the one with the UID
// except. It returns nil if there is none.
func RestoreInto(restores []v1alpha1.RestoreSession, claim string, except types.UID) *v1alpha1.RestoreSession {
	return oldestWriter(restores, except, func(r *v1alpha1.RestoreSession) bool { return restoresInto(r, claim) })
}

// RestoreIntoDatabase is RestoreInto for a database: by the UID of the object that stands for it, or by its server.
func RestoreIntoDatabase(
	restores []v1alpha1.RestoreSession, target types.UID, server *v1alpha1.ResolvedDatabase, except types.UID,
) *v1alpha1.RestoreSession {
	return oldestWriter(restores, except,
		func(r *v1alpha1.RestoreSession) bool { return restoresOnto(r, target, server) })
}

// RestoreIntoTarget is RestoreInto for a database: by the name of the object that stands for it, or by its server.
func RestoreIntoTarget(
	restores []v1alpha1.RestoreSession, app v1alpha1.TypedObjectReference, server *v1alpha1.ResolvedDatabase,
) *v1alpha1.RestoreSession {
	return oldestWriter(restores, "", func(r *v1alpha1.RestoreSession) bool {
		return working(r) && (r.Spec.Target != nil && policy.SameTarget(*r.Spec.Target, app) ||
			run.SameServer(r.Status.Resolved.Task.Database, server))
	})
}

// working reports whether a restore is frozen and has not ended.
func working(r *v1alpha1.RestoreSession) bool {
	return r.Status.Resolved != nil && !r.Status.Phase.Terminal() && !v1alpha1.HasRecordAnnotation(r.Annotations)
}

func restoresOnto(r *v1alpha1.RestoreSession, target types.UID, server *v1alpha1.ResolvedDatabase) bool {
	return working(r) &&
		(r.Status.Resolved.TargetUID == target || run.SameServer(r.Status.Resolved.Task.Database, server))
}

// DatabaseBlockedBy is ClaimBlockedBy for a database.
func DatabaseBlockedBy(
	restores []v1alpha1.RestoreSession, s *v1alpha1.RestoreSession, resolved *v1alpha1.ResolvedRestore, holder string,
) *v1alpha1.RestoreSession {
	return blockedBy(restores, s, holder, func(r *v1alpha1.RestoreSession) bool {
		return restoresOnto(r, resolved.TargetUID, resolved.Task.Database)
	})
}

// BatchRestoring returns a RestoreBatch of the list that is under way and includes the target, even if the target has
// not begun: a half restored application must not be backed up. It returns nil if there is none.
func BatchRestoring(batches []v1alpha1.RestoreBatch, app v1alpha1.TypedObjectReference) *v1alpha1.RestoreBatch {
	for i := range batches {
		b := &batches[i]
		if b.Status.Resolved == nil || b.Status.Phase.Terminal() || v1alpha1.HasRecordAnnotation(b.Annotations) {
			continue
		}
		if slices.ContainsFunc(b.Status.Resolved.Targets, func(t v1alpha1.ResolvedRestoreTarget) bool {
			return t.Target != nil && policy.SameTarget(*t.Target, app)
		}) {
			return b
		}
	}
	return nil
}

func restoresInto(r *v1alpha1.RestoreSession, claim string) bool {
	return working(r) && slices.ContainsFunc(r.Status.Resolved.Hosts, func(h v1alpha1.ResolvedRestoreHost) bool {
		return slices.ContainsFunc(h.Volumes, func(v v1alpha1.ResolvedRestoreVolume) bool {
			return v.ClaimName == claim
		})
	})
}

// Older reports whether a was made before b. Within the same second the smaller UID counts as older.
func Older(a, b *v1alpha1.RestoreSession) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.UID < b.UID
}

// ClaimBlockedBy reports whether a frozen restore may take over a claim whose AnnotationRestoring holds the UID holder.
// Nil means that it may; otherwise ClaimBlockedBy returns the restore that keeps the claim. If two
// restores were frozen at the same moment, the older one gets the claim. A holder that no longer exists or has ended
// holds nothing.
func ClaimBlockedBy(
	restores []v1alpha1.RestoreSession, s *v1alpha1.RestoreSession, claim, holder string,
) *v1alpha1.RestoreSession {
	return blockedBy(restores, s, holder, func(r *v1alpha1.RestoreSession) bool { return restoresInto(r, claim) })
}

func blockedBy(
	restores []v1alpha1.RestoreSession, s *v1alpha1.RestoreSession, holder string,
	writes func(*v1alpha1.RestoreSession) bool,
) *v1alpha1.RestoreSession {
	if holder == string(s.UID) {
		return nil
	}
	for i := range restores {
		if r := &restores[i]; string(r.UID) == holder && writes(r) {
			return r
		}
	}
	if other := oldestWriter(restores, s.UID, writes); other != nil && Older(other, s) {
		return other
	}
	return nil
}

// oldestWriter returns the oldest restore of the list for which writes returns true, except the one with the UID
// except.
func oldestWriter(
	restores []v1alpha1.RestoreSession, except types.UID, writes func(*v1alpha1.RestoreSession) bool,
) *v1alpha1.RestoreSession {
	var found *v1alpha1.RestoreSession
	for i := range restores {
		r := &restores[i]
		if r.UID != except && writes(r) && (found == nil || Older(r, found)) {
			found = r
		}
	}
	return found
}
