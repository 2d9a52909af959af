package retention

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/text"
)

// writeSessions writes the state of retention to the BackupSessions of the Repository: to the newest that ended, and to
// those whose entry is not final.
func (r *Reconciler) writeSessions(ctx context.Context, repository *v1alpha1.Repository, s *state) error {
	want, ok := applied(repository, s)
	if !ok {
		return nil
	}
	var list v1alpha1.BackupSessionList
	if err := r.List(ctx, &list, client.InNamespace(repository.Namespace),
		client.MatchingFields{indexSessions: repository.Name}); err != nil {
		return fmt.Errorf("list BackupSessions of %s: %w", repository.Name, err)
	}
	// Runs that a clock of the future created have a newest one of their own: it hides none that was created since.
	now := r.Clock.Now()
	newest := map[bool]*v1alpha1.BackupSession{}
	for i := range list.Items {
		session := &list.Items[i]
		ahead := v1alpha1.Ahead(session.CreationTimestamp.Time, now)
		if last := newest[ahead]; last == nil || last.CreationTimestamp.Before(&session.CreationTimestamp) {
			newest[ahead] = session
		}
	}
	for i := range list.Items {
		session := &list.Items[i]
		is := entry(session, repository.Name)
		old := session != newest[v1alpha1.Ahead(session.CreationTimestamp.Time, now)]
		if is != nil && equality.Semantic.DeepEqual(*is, want) || is == nil && old || is != nil &&
			is.Phase == v1alpha1.RetentionApplied && old {
			continue
		}
		if err := r.writeSession(ctx, session, want); err != nil {
			return err
		}
	}
	return nil
}

// applied returns a BackupSession's entry for the Repository. It returns false if no policy is named or the Repository
// is paused.
func applied(repository *v1alpha1.Repository, s *state) (v1alpha1.RetentionPolicyApplyStatus, bool) {
	out := v1alpha1.RetentionPolicyApplyStatus{
		Repository: repository.Name, Ref: s.ref, Phase: v1alpha1.RetentionApplied,
	}
	switch {
	case s.refusal != nil:
		out.Phase, out.Error = v1alpha1.RetentionFailedToApply, text.Shorten(s.refusal.message)
	case s.ref == nil || repository.Spec.Paused:
		return out, false
	case s.failure != nil && !retention.Waits(s.failure.reason):
		out.Phase, out.Error = v1alpha1.RetentionFailedToApply, text.Shorten(s.failure.message)
	case s.removing > 0 || s.held || s.replaced != nil || s.moved || s.unsettled != nil || s.doubt != "":
		out.Phase = v1alpha1.RetentionPending
	}
	return out, true
}

func entry(session *v1alpha1.BackupSession, repository string) *v1alpha1.RetentionPolicyApplyStatus {
	for i := range session.Status.RetentionPolicy {
		if session.Status.RetentionPolicy[i].Repository == repository {
			return &session.Status.RetentionPolicy[i]
		}
	}
	return nil
}

// writeSession applies only the entry: each Repository has its own field manager, and the rest of the status another.
func (r *Reconciler) writeSession(
	ctx context.Context, session *v1alpha1.BackupSession, want v1alpha1.RetentionPolicyApplyStatus,
) error {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&want)
	if err != nil {
		return fmt.Errorf("encode retention status: %w", err)
	}
	manager := "cairn-retention-" + policy.Digest(want.Repository)[len("sha256:"):][:8]
	err = r.writer().Apply(ctx, v1alpha1.BackupSessionKind, session, manager,
		map[string]any{"retentionPolicy": []any{fields}})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write retention to BackupSession %s: %w", session.Name, err)
	}
	return nil
}
