package restoresession

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/workload/destination"
)

// How long a restore waits for something that is missing.
const (
	// waitForTarget applies to a missing target: a GitOps tool applies target and restore together.
	waitForTarget = time.Minute
	// waitForMover applies to a volume that a backup reads or that the pod of another restore still holds.
	waitForMover = 10 * time.Minute
)

// lookup collects what the start of a restore depends on.
type lookup struct {
	*restore.Start
	session *v1alpha1.RestoreSession
	// identical says which earlier restores were this one.
	identical restore.Identical
	target    destination.Target
	claims    []corev1.PersistentVolumeClaim
	// filled says which claims an identical restore has filled.
	filled   restore.Filled
	snapshot *v1alpha1.Snapshot
	// database is set if the target is a database.
	database *read.Database
}

// refuse records why the restore can't start, and how long to wait for that to pass.
func (s *lookup) refuse(wait time.Duration, reason, format string, args ...any) {
	s.Error, s.Wait = &v1alpha1.ResolvedError{Reason: reason, Message: fmt.Sprintf(format, args...)}, wait
}

// lookUp collects everything that the start of a restore depends on.
func (r *Reconciler) lookUp(ctx context.Context, s *v1alpha1.RestoreSession) (*restore.Start, error) {
	look := &lookup{
		session:   s,
		Start:     &restore.Start{Since: run.Since(s.Status.Conditions, r.Clock.Now())},
		identical: restore.IdenticalTo(s),
	}
	if s.Spec.RestoreTimeout != nil {
		look.Timeout = s.Spec.RestoreTimeout.Duration
	}
	resolved := &look.Resolved
	resolved.SpecDigest = look.identical.Digests[0]
	var err error
	if resolved.Policy, _, err = read.Policy(ctx, r.Client, s.Labels); err != nil {
		return nil, err
	}
	resolved.Policy.Generation, resolved.Policy.Digest = s.Generation, policy.Digest(s.Spec)
	for _, step := range []func(context.Context, *lookup) error{
		r.findTarget, r.findSnapshot, r.findRepository, r.resolveTask, r.resolveSidecar, r.resolveHosts, r.findUnseen,
		r.resolveHooks, r.findPaused,
	} {
		if err := step(ctx, look); err != nil {
			return nil, err
		}
		if look.Error != nil || look.AlreadyRestored || look.Unbound != "" {
			break
		}
	}
	if look.Error != nil && look.filled.Complete() && saysNothingOfDone(look.Error.Reason) {
		look.AlreadyRestored = true
	}
	return look.Start, nil
}

// saysNothingOfDone reports whether a reason says nothing about a restore that was done before: the Snapshot was
// deleted or damaged since, a newer one was made of what another restore had left half written, or the Repository is
// not ready now.
func saysNothingOfDone(reason string) bool {
	switch reason {
	case v1alpha1.ReasonSnapshotNotFound, v1alpha1.ReasonSnapshotDamaged, v1alpha1.ReasonHalfRestored,
		v1alpha1.ReasonRepositoryNotReady, v1alpha1.ReasonWrongPassword, v1alpha1.ReasonPasswordChanged,
		v1alpha1.ReasonEncryptionSecretNotAvailable:
		return true
	default:
		return false
	}
}

// resolveHosts assigns components to volumes, and checks whether the restore is allowed to write to them now.
func (r *Reconciler) resolveHosts(ctx context.Context, look *lookup) error {
	resolved := &look.Resolved
	privileged, err := access.Privileged(ctx, r.Client, look.session.Namespace)
	if err != nil {
		return err
	}
	look.target.Privileged, look.target.Job, look.target.Snapshot = privileged, resolved.Task.Job, look.snapshot
	if look.misfit() {
		return nil
	}
	if look.snapshot == nil {
		return r.resolveClaims(ctx, look)
	}
	if look.target.Components, look.Error = restore.ChooseComponents(look.snapshot,
		look.session.Spec.DataSource.Components); look.Error != nil {
		return nil
	}
	if rules := look.session.Spec.DataSource.Rules; len(rules) > 0 {
		if look.target.Components, look.target.Sources, look.Error = restore.ApplyRules(rules,
			look.target.Components); look.Error != nil {
			return nil
		}
	}
	if resolved.Task.Driver == v1alpha1.DriverVolumeSnapshotter {
		return r.resolveClaims(ctx, look)
	}
	if resolved.Hosts, look.Error = destination.Resolve(look.target); look.Error != nil {
		return nil
	}
	if look.AlreadyRestored = look.database == nil &&
		look.filled.All(restore.ClaimsOf(resolved.Hosts)); look.AlreadyRestored {
		return nil
	}
	if look.Error = restore.ConfirmationRefusal(look.session, resolved); look.Error != nil {
		return nil
	}
	if look.Error = look.confirmationUsed(); look.Error != nil {
		return nil
	}
	return r.usableHosts(ctx, look)
}

// confirmationUsed explains why the confirmation of a resolved restore does not count for one of its claims, or returns
// nil.
func (s *lookup) confirmationUsed() *v1alpha1.ResolvedError {
	names, confirmation := restore.ClaimsOf(s.Resolved.Hosts), restore.ConfirmationOf(s.session)
	for i := range s.claims {
		claim := &s.claims[i]
		if !slices.Contains(names, claim.Name) {
			continue
		}
		if used := confirmation.Used("PersistentVolumeClaim "+claim.Name, claim.Annotations); used != nil {
			return used
		}
	}
	return nil
}

// findUnseen refuses a restore with preRestore hooks that nobody has confirmed if its target can hold what an identical
// one wrote, under another name, or such that nobody vouches for it any more. A mover looks at that only after the
// hooks.
func (r *Reconciler) findUnseen(ctx context.Context, look *lookup) error {
	s, uid := look.session, look.Resolved.TargetUID
	if s.Spec.Hooks == nil || len(s.Spec.Hooks.PreRestore) == 0 || s.Spec.Confirm != "" || uid == "" {
		return nil
	}
	if look.database != nil {
		filled, mark, err := read.DatabaseFilled(ctx, r.APIReader, s.Namespace, look.database, look.claims,
			look.identical.OfAnyName())
		if filled || read.DatabaseUnseen(look.database, mark, look.claims, look.identical) {
			look.Error = restore.FilledUnseen(s, uid, "Lease "+mark.Name)
		}
		return err
	}
	names := restore.ClaimsOf(look.Resolved.Hosts)
	filled, err := read.Filled(ctx, r.APIReader, look.claims, look.identical.OfAnyName())
	for i := range look.claims {
		claim := &look.claims[i]
		own := []string{claim.Name}
		if slices.Contains(names, claim.Name) && (filled.All(own) && !look.filled.All(own) ||
			restore.Disowned(claim.Annotations, look.identical)) {
			look.Error = restore.FilledUnseen(s, uid, "PersistentVolumeClaim "+claim.Name)
		}
	}
	return err
}

// usableHosts refuses a resolved restore that must not write into its volumes now.
func (r *Reconciler) usableHosts(ctx context.Context, look *lookup) error {
	resolved := &look.Resolved
	for i := range resolved.Hosts {
		err := r.usable(ctx, look.session, resolved, &resolved.Hosts[i], false)
		if look.Error = movers.RefusalOf(err); look.Error != nil {
			if look.Error.Reason == v1alpha1.ReasonVolumeInUse && moverRuns(err) {
				look.Wait = waitForMover
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}
