package retention

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/retention"
)

// confirm makes sure that the API server still has all that the verdicts rest on: the Repository, the policy, what
// names it, and every Snapshot. A stale cache can hold a policy that keeps less, or a Snapshot that was found damaged
// since as if it were intact. confirm returns a conflict if anything differs. It reads nothing for a new decision: the
// one that it confirms is the one that is carried out.
//
// Policy that was just changed lets nothing go, either: see settled.go. now is the API server's time. That a
// PolicySync has applied only a part is known to the cache, so it comes before all that is read past the cache.
func (r *Reconciler) confirm(ctx context.Context, s *state, now time.Time) error {
	var err error
	if _, s.unsettled, err = r.findPart(ctx, s.restsOn); err != nil || s.unsettled != nil {
		return err
	}
	repository, err := r.confirmRepository(ctx, s.repository)
	if err != nil {
		return err
	}
	s.restsOn = []client.Object{repository} // a pause of it can have ended
	if err := r.confirmPolicy(ctx, s, now); err != nil || s.unsettled != nil {
		return err
	}
	if err := r.confirmSiblings(ctx, s); err != nil {
		return err
	}
	return r.confirmSnapshots(ctx, s, now)
}

func (r *Reconciler) confirmRepository(
	ctx context.Context, cached *v1alpha1.Repository,
) (*v1alpha1.Repository, error) {
	var live v1alpha1.Repository
	err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(cached), &live)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("get Repository %s: %w", cached.Name, err)
	}
	_, held := retention.Held(&live, r.Clock.Now())
	if err != nil || held || live.UID != cached.UID || live.Generation != cached.Generation ||
		!v1alpha1.InForce(&live) ||
		!equality.Semantic.DeepEqual(live.Status.RetentionPolicy, cached.Status.RetentionPolicy) ||
		!live.Status.RetentionChangedTime.Equal(cached.Status.RetentionChangedTime) {
		return nil, behind(v1alpha1.RepositoryKind, cached.Name)
	}
	return &live, nil
}

// confirmSiblings makes sure that no sibling has moved. Of those that the cache has in this version, their metadata is
// enough.
func (r *Reconciler) confirmSiblings(ctx context.Context, s *state) error {
	if len(s.siblings) == 0 {
		return nil
	}
	changed, err := read.Unsettled(ctx, r.Client, r.APIReader, v1alpha1.RepositoryKind, &v1alpha1.RepositoryList{},
		func(cached *v1alpha1.Repository, is *metav1.PartialObjectMetadata) bool {
			return !slices.Contains(s.siblings, cached.Name) || cached.ResourceVersion == is.ResourceVersion
		}, client.InNamespace(s.repository.Namespace))
	if err != nil {
		return err
	}
	for i := range changed {
		live := &changed[i]
		if _, held := holds(live, r.Clock.Now()); held && slices.Contains(s.siblings, live.Name) {
			return behind(v1alpha1.RepositoryKind, live.Name)
		}
	}
	return nil
}

// holds reports whether nothing is removed from the siblings of a Repository because it has moved, and until when: see
// retention.Held.
func holds(sibling *v1alpha1.Repository, now time.Time) (until time.Time, held bool) {
	until, held = retention.Held(sibling, now)
	return until, held && sibling.DeletionTimestamp.IsZero() && v1alpha1.InForce(sibling)
}

// confirmPolicy finds the policy once more, in the same way.
func (r *Reconciler) confirmPolicy(ctx context.Context, s *state, now time.Time) error {
	users, err := r.liveUsers(ctx, s.repository)
	if err != nil {
		return err
	}
	live := &state{repository: s.repository}
	if err := r.resolve(ctx, r.APIReader, live, users); err != nil {
		return err
	}
	if live.refusal != nil || live.ref == nil || *live.ref != *s.ref || live.isDefault != s.isDefault ||
		live.spec.UID != s.spec.UID || live.spec.Generation != s.spec.Generation ||
		!slices.Equal(live.siblings, s.siblings) {
		return behind(v1alpha1.RetentionPolicyKind, s.spec.Name)
	}
	s.restsOn = append(append(s.restsOn, live.restsOn...), live.spec)
	for i := range users {
		s.restsOn = append(s.restsOn, &users[i])
	}
	s.unsettled, err = r.findUnsettled(ctx, s.restsOn, now)
	return err
}

// liveUsers returns the BackupConfigurations that can use the Repository, as the API server has them. The others of the
// namespace can be many: of those that the cache has in this generation, their metadata is enough.
func (r *Reconciler) liveUsers(
	ctx context.Context, repository *v1alpha1.Repository,
) ([]v1alpha1.BackupConfiguration, error) {
	return read.Unsettled(ctx, r.Client, r.APIReader, v1alpha1.BackupConfigurationKind,
		&v1alpha1.BackupConfigurationList{},
		func(cached *v1alpha1.BackupConfiguration, is *metav1.PartialObjectMetadata) bool {
			_, uses := retention.PoliciesByRepository(cached)[repository.Name]
			return !uses && cached.Generation == is.Generation
		}, client.InNamespace(repository.Namespace))
}

// repositories returns the label values of the Repositories whose Snapshots decide.
func (s *state) repositories() []string {
	out := []string{policy.LabelValue(s.repository.Name)}
	for _, name := range s.siblings {
		out = append(out, policy.LabelValue(name))
	}
	return out
}
