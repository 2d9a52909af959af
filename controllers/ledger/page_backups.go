package ledger

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// backups knows which targets have had a good backup.
type backups struct {
	cache client.Reader
	// known are targets, with their namespaces, that have had one.
	known map[v1alpha1.TypedObjectReference]bool
	// made are those to which a certain policy has given one.
	made map[made]bool
	// read are the namespaces whose Snapshots are known.
	read map[string]bool
}

// made is a target with a good backup of a policy. The name of that is as labels have it.
type made struct {
	by     invoker
	target v1alpha1.TypedObjectReference
}

func madeBy(by invoker, target v1alpha1.TypedObjectReference) made {
	by.name = policy.LabelValue(by.name)
	return made{by, target}
}

// backupsOf knows the targets of these runs that succeeded.
func backupsOf(cache client.Reader, sessions []v1alpha1.BackupSession) *backups {
	b := &backups{
		cache: cache, known: map[v1alpha1.TypedObjectReference]bool{}, made: map[made]bool{}, read: map[string]bool{},
	}
	for i := range sessions {
		s := &sessions[i]
		if v1alpha1.HasRecordAnnotation(s.Annotations) {
			continue
		}
		for j := range s.Status.Targets {
			t := &s.Status.Targets[j]
			if target := t.AppRef; t.Phase == v1alpha1.BackupSessionSucceeded {
				target.Namespace = s.Namespace
				b.known[target] = true
				b.made[madeBy(invoker{s.Namespace, s.Spec.Invoker.Kind, s.Spec.Invoker.Name}, target)] = true
			}
		}
	}
	return b
}

// of reports whether a target, with its namespace, has had a good backup. A run tells it while the cache lacks its
// Snapshots, or after they were removed. Of a namespace where the runs tell it of all targets, the Snapshots are not
// read: there can be very many.
func (b *backups) of(ctx context.Context, target v1alpha1.TypedObjectReference) (bool, error) {
	if b.known[target] {
		return true, nil
	}
	err := b.readSnapshots(ctx, target.Namespace)
	return b.known[target], err
}

// by reports whether a target, with its namespace, has had a good backup of a policy.
func (b *backups) by(ctx context.Context, policy invoker, target v1alpha1.TypedObjectReference) (bool, error) {
	key := madeBy(policy, target)
	if b.made[key] {
		return true, nil
	}
	err := b.readSnapshots(ctx, target.Namespace)
	return b.made[key], err
}

// readSnapshots adds what the Snapshots of a namespace tell.
func (b *backups) readSnapshots(ctx context.Context, namespace string) error {
	if b.read[namespace] {
		return nil
	}
	var snapshots v1alpha1.SnapshotList
	if err := b.cache.List(ctx, &snapshots, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list Snapshots of Namespace %s: %w", namespace, err)
	}
	for i := range snapshots.Items {
		s := &snapshots.Items[i]
		if of := s.Spec.AppRef; s.Status.Phase == v1alpha1.SnapshotSucceeded && v1alpha1.InForce(s) {
			of.Namespace = namespace
			b.known[of] = true
			by := invoker{namespace, s.Labels[v1alpha1.LabelInvokerKind], s.Labels[v1alpha1.LabelInvokerName]}
			b.made[made{by, of}] = true
		}
	}
	b.read[namespace] = true
	return nil
}
