package retention

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/kube/defaults"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/retention"
)

// trouble is the reason why nothing is removed, or why a removal does not finish.
type trouble struct{ reason, message string }

// state is the working state of a pass.
type state struct {
	repository *v1alpha1.Repository
	// ref names the policy in force, nil if there is none. isDefault reports that policy names none and ref is the
	// default.
	ref       *v1alpha1.ObjectReference
	isDefault bool
	// unused reports that no BackupConfiguration uses the Repository.
	unused bool
	// spec is the policy as the cache has it.
	spec *v1alpha1.RetentionPolicy
	// refusal is the reason why the policy can't be applied.
	refusal *trouble
	// siblings are the other Repositories of its batch under the same policy.
	siblings []string
	// snapshots are the Repository's Snapshots by name, without those that are being deleted.
	snapshots map[string]*v1alpha1.Snapshot
	// judge fills in decided, verdicts and leaving when it is called first: they rest on all Snapshots of the siblings,
	// too, and a Repository that is held or paused mostly needs none. It is nil if no policy can be applied.
	judge func() error
	// decided are all Snapshots on which the verdicts rest: these, and those of the siblings. Those of the siblings
	// share their memory with the cache.
	decided []*v1alpha1.Snapshot
	// verdicts on the Repository's own Snapshots, newest first.
	verdicts []retention.Verdict
	// leaving are the names of the siblings' Snapshots that go by the same decision.
	leaving map[string]bool
	// letsGo reports whether the policy lets any of these go, now or once what holds them for a while is over.
	letsGo func() (bool, error)
	// removing counts the Snapshots that wait for the removal of their data; failure is what blocks them, or nil.
	removing int
	failure  *trouble
	// doubt is why the clock must not let any Snapshot go now; "" if there is no doubt.
	doubt string
	// unsettled is why the policy must not let any Snapshot go yet, nil if nothing speaks against it.
	unsettled *unsettled
	// changedAt is when another policy came into force, nil once that has settled. changing is what it waits for.
	changedAt *metav1.Time
	changing  *unsettled
	// restsOn is the policy in force, what names it, and the Repository: as the cache has them, and from confirm on as
	// the API server has them.
	restsOn []client.Object
	// heldUntil is until when nothing is removed, because not each Snapshot was checked in the place where the
	// Repository is now, or a sibling, whose name heldBy is. It is zero if the end is not known. heldPaused reports
	// that this one is paused: then no check runs. heldLost reports that its directory belongs to another one.
	heldUntil  time.Time
	heldBy     string
	heldPaused bool
	heldLost   bool
	// replaced is the default that the Repository followed before, if this one has not been let in. Then nothing goes.
	replaced *v1alpha1.FormerDefault
	// more reports that a pass removed as many Snapshots as it is allowed to, held that the default is too new to
	// remove any, moved that it is held until heldUntil.
	more, held, moved bool
}

// observe reads everything that it takes to see whether Snapshots go now.
func (r *Reconciler) observe(ctx context.Context, repository *v1alpha1.Repository) (*state, error) {
	s := &state{
		repository: repository, snapshots: map[string]*v1alpha1.Snapshot{}, heldPaused: repository.Spec.Paused,
		heldLost: policy.Lost(repository),
	}
	now := r.Clock.Now()
	s.heldUntil, s.moved = retention.Held(repository, now)
	all, err := snapshotsByRepository.Of(ctx, r.Client, repository.Namespace, repository.Name)
	if err != nil {
		return nil, err
	}
	var removing []*v1alpha1.Snapshot
	for _, snapshot := range all {
		if snapshot.DeletionTimestamp.IsZero() {
			s.snapshots[snapshot.Name] = snapshot
		} else if snapshot.Spec.DeletionPolicy == v1alpha1.WipeOut && slices.Contains(snapshot.Finalizers,
			v1alpha1.FinalizerWipe) {
			removing = append(removing, snapshot)
		}
	}
	s.removing = len(removing)
	if blocked := retention.Blocked(removing); blocked != nil {
		s.failure = new(whyNotWiped(blocked))
	}
	var users v1alpha1.BackupConfigurationList
	if err := r.List(ctx, &users, client.InNamespace(repository.Namespace),
		client.MatchingFields{indexRepository: repository.Name}); err != nil {
		return nil, fmt.Errorf("list BackupConfigurations of Repository %s: %w", repository.Name, err)
	}
	err = r.resolve(ctx, r.Client, s, users.Items)
	if err != nil || s.ref == nil || s.refusal != nil {
		return s, err
	}
	s.restsOn = append(s.restsOn, repository, s.spec)
	for i := range users.Items {
		s.restsOn = append(s.restsOn, &users.Items[i])
	}
	p, err := retention.Read(&s.spec.Spec)
	if err != nil {
		s.refusal = &trouble{
			v1alpha1.ReasonInvalidRetentionPolicy, "RetentionPolicy " + refName(*s.ref) + ": " + err.Error(),
		}
		return s, nil
	}
	if err := r.holdWithSiblings(ctx, s, now); err != nil {
		return nil, err
	}
	r.prepare(ctx, s, p, now)
	return s, nil
}

// prepare makes the state able to judge by a policy.
func (r *Reconciler) prepare(ctx context.Context, s *state, p retention.Policy, now time.Time) {
	var input []retention.Snapshot
	s.leaving = map[string]bool{}
	s.judge = sync.OnceValue(func() error {
		var err error
		if input, err = r.input(ctx, s); err != nil {
			return err
		}
		for _, v := range p.Decide(input, now) {
			switch {
			case v.Repository == s.repository.Name:
				s.verdicts = append(s.verdicts, v)
			case v.Goes():
				s.leaving[v.Name] = true
			}
		}
		return nil
	})
	s.letsGo = func() (bool, error) {
		if err := s.judge(); err != nil {
			return false, err
		}
		return p.LetsGo(input, s.repository.Name, now), nil
	}
}

// resolve finds the one policy of the Repository, and the other Repositories of its batch under the same policy. users
// are the BackupConfigurations that can use the Repository. It reads everything else with reader.
func (r *Reconciler) resolve(
	ctx context.Context, reader client.Reader, s *state, users []v1alpha1.BackupConfiguration,
) error {
	namespace := s.repository.Namespace
	fallback, err := defaults.RetentionPolicy(ctx, reader, r.Administrators, namespace)
	if err != nil {
		return err
	}
	resolved := retention.Resolve(s.repository.Name, users, fallback)
	s.unused = resolved.Unused
	if resolved.Conflict != "" {
		s.refusal = &trouble{v1alpha1.ReasonRetentionPolicyConflict, "nothing is removed, because " + resolved.Conflict}
		return nil
	}
	if s.ref, s.isDefault = resolved.Ref, resolved.Default; s.ref == nil {
		return nil
	}
	if err := r.policy(ctx, reader, s); err != nil || s.refusal != nil || resolved.Child == nil {
		return err
	}
	s.siblings, err = r.findSiblings(ctx, reader, s, resolved.Child, fallback)
	return err
}

// policy reads the policy and checks whether this namespace is allowed to use it.
func (r *Reconciler) policy(ctx context.Context, reader client.Reader, s *state) error {
	s.spec = &v1alpha1.RetentionPolicy{}
	err := reader.Get(ctx, types.NamespacedName{Namespace: s.ref.Namespace, Name: s.ref.Name}, s.spec)
	if apierrors.IsNotFound(err) {
		s.refusal = &trouble{
			v1alpha1.ReasonRetentionPolicyNotFound,
			"nothing is removed: there is no RetentionPolicy " + refName(*s.ref),
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("get RetentionPolicy %s: %w", refName(*s.ref), err)
	}
	err = access.MayUse(ctx, reader, v1alpha1.RetentionPolicyKind, s.spec, s.spec.Spec.UsagePolicy,
		s.repository.Namespace, v1alpha1.ReasonRetentionPolicyNotAllowed)
	if reason, message, ok := access.ReasonOf(err); ok {
		s.refusal = &trouble{reason, "nothing is removed: " + message}
		return nil
	}
	return err
}

// findSiblings returns the other Repositories of a child's batch under the same policy. The batch itself names them,
// because its children change one after the other. Until the child agrees with the batch, it returns a conflict.
func (r *Reconciler) findSiblings(
	ctx context.Context, reader client.Reader, s *state, child *v1alpha1.BackupConfiguration,
	fallback *v1alpha1.ObjectReference,
) ([]string, error) {
	owner := metav1.GetControllerOf(child)
	if owner == nil || owner.Kind != v1alpha1.BackupBatchKind {
		return nil, nil
	}
	var batch v1alpha1.BackupBatch
	err := reader.Get(ctx, types.NamespacedName{Namespace: child.Namespace, Name: owner.Name}, &batch)
	if apierrors.IsNotFound(err) {
		return nil, behind(v1alpha1.BackupBatchKind, owner.Name)
	}
	if err != nil {
		return nil, fmt.Errorf("get BackupBatch %s: %w", owner.Name, err)
	}
	s.restsOn = append(s.restsOn, &batch)
	children, err := policy.KnownChildren(&batch)
	if err != nil { // the children stay as they were
		return childrensRepositories(ctx, reader, s, child, fallback)
	}
	if used := retention.Resolve(s.repository.Name, children, fallback).Ref; used == nil || *used != *s.ref {
		return nil, behind(v1alpha1.BackupConfigurationKind, child.Name)
	}
	return retention.SiblingRepositories(children, s.repository.Name, *s.ref, fallback), nil
}

// childrensRepositories returns the other Repositories under the same policy of the existing children of a batch that
// has mistakes now.
func childrensRepositories(
	ctx context.Context, reader client.Reader, s *state, child *v1alpha1.BackupConfiguration,
	fallback *v1alpha1.ObjectReference,
) ([]string, error) {
	var children v1alpha1.BackupConfigurationList
	err := reader.List(ctx, &children, client.InNamespace(child.Namespace),
		client.MatchingLabels{v1alpha1.LabelBatch: child.Labels[v1alpha1.LabelBatch]})
	if err != nil {
		return nil, fmt.Errorf("list children of BackupBatch %s: %w", child.Labels[v1alpha1.LabelBatch], err)
	}
	return retention.SiblingRepositories(children.Items, s.repository.Name, *s.ref, fallback), nil
}

// holdWithSiblings holds the Repository as long as the siblings that have moved: restore points stay or go as a whole.
func (r *Reconciler) holdWithSiblings(ctx context.Context, s *state, now time.Time) error {
	for _, name := range s.siblings {
		var sibling v1alpha1.Repository
		err := r.Get(ctx, client.ObjectKey{Namespace: s.repository.Namespace, Name: name}, &sibling)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("get Repository %s: %w", name, err)
		}
		until, held := holds(&sibling, now)
		if err != nil || !held {
			continue
		}
		if !s.moved || !s.heldUntil.IsZero() && (until.IsZero() || until.After(s.heldUntil)) {
			s.heldUntil, s.heldBy, s.heldPaused, s.moved = until, name, sibling.Spec.Paused, true
			s.heldLost = policy.Lost(&sibling)
		}
	}
	return nil
}

// input returns what the decision needs to know of the Repository's Snapshots and of those that share restore points
// with them.
func (r *Reconciler) input(ctx context.Context, s *state) ([]retention.Snapshot, error) {
	used, err := restores.InUse(ctx, r.Client)
	if err != nil {
		return nil, err
	}
	s.decided = slices.Collect(maps.Values(s.snapshots))
	for _, name := range s.siblings {
		others, err := snapshotsByRepository.Of(ctx, r.Client, s.repository.Namespace, name,
			client.UnsafeDisableDeepCopy)
		if err != nil {
			return nil, err
		}
		for _, snapshot := range others {
			if snapshot.DeletionTimestamp.IsZero() {
				s.decided = append(s.decided, snapshot)
			}
		}
	}
	out := make([]retention.Snapshot, 0, len(s.decided))
	for _, snapshot := range s.decided {
		out = append(out, retention.FromSnapshot(snapshot, used.By(snapshot)))
	}
	return out, nil
}
