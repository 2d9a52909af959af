package retention

import (
	"context"
	"fmt"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// noteChange notes when another RetentionPolicy is in force than before, and holds removals until that has settled. No
// object tells that time: what named another one can be gone, or name another Repository now. A Repository of which
// retention has said nothing yet is new itself.
func (r *Reconciler) noteChange(ctx context.Context, s *state) error {
	was, now := &s.repository.Status, r.Clock.Now()
	if s.ref == nil { // it removes nothing
		return nil
	}
	s.changedAt = was.RetentionChangedTime
	another := conditions.Has(s.repository, v1alpha1.ConditionRetentionApplied) &&
		!equality.Semantic.DeepEqual(was.RetentionPolicy, s.ref)
	if another || s.changedAt != nil && v1alpha1.Ahead(s.changedAt.Time, now) { // the latter: a clock was wrong
		s.changedAt = new(metav1.NewTime(now))
	}
	if s.changedAt == nil || s.refusal != nil {
		return nil
	}
	var err error
	if s.changing, err = r.findChanging(ctx, s, now); err == nil && s.changing == nil {
		s.changedAt = nil
	}
	return err
}

// findChanging looks for what the policy that has just come into force must wait for.
func (r *Reconciler) findChanging(ctx context.Context, s *state, now time.Time) (*unsettled, error) {
	if left := s.changedAt.Add(r.SettleTime).Sub(now); left > 0 {
		return r.settling(left), nil
	}
	syncs, is, err := r.findPart(ctx, s.restsOn)
	if err != nil || is != nil || len(syncs) == 0 {
		return is, err
	}
	var all v1alpha1.PolicySyncList
	if err := r.List(ctx, &all); err != nil {
		return nil, fmt.Errorf("list PolicySyncs: %w", err)
	}
	if behind := findBehind(syncs, all.Items, s.restsOn, s.changedAt.Time, now); len(behind) > 0 {
		return &unsettled{apartMessage(behind), apartInterval}, nil
	}
	return nil, nil
}
