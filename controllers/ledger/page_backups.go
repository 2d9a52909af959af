package ledger

import (
	"context"
	"fmt"
	"time"

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
		if s := &snapshots.Items[i]; countsFor(s) {
			target, by := backupOf(s)
			b.known[target], b.made[by] = true, true
		}
	}
	b.read[namespace] = true
	return nil
}

// indexDamaged finds the Snapshots of which the last check found data missing. They are few, so that the page need not
// read all.
const indexDamaged = ".damaged"

func damagedKey(o client.Object) []string {
	if s, ok := o.(*v1alpha1.Snapshot); ok && countsFor(s) && damaged(s) {
		return []string{isDamaged}
	}
	return nil
}

const isDamaged = "damaged"

// countsFor reports whether a Snapshot is a backup of its target.
func countsFor(s *v1alpha1.Snapshot) bool {
	return s.Status.Phase == v1alpha1.SnapshotSucceeded && v1alpha1.InForce(s)
}

func damaged(s *v1alpha1.Snapshot) bool { return s.Status.Integrity != nil && !*s.Status.Integrity }

// damage is what the checks found of the Snapshots of a target.
type damage struct {
	// whole reports that one of them is not known to be damaged.
	whole bool
	// newest are the newest of them, by Repository.
	newest map[string]*v1alpha1.Snapshot
}

func (d *damage) see(s *v1alpha1.Snapshot) {
	d.whole = d.whole || !damaged(s)
	if last := d.newest[s.Spec.Repository]; last == nil || madeAt(last).Before(madeAt(s)) ||
		madeAt(last).Equal(madeAt(s)) && last.Name < s.Name {
		d.newest[s.Spec.Repository] = s
	}
}

// last reports whether the newest Snapshot of some Repository is damaged.
func (d *damage) last() bool {
	for _, s := range d.newest {
		if damaged(s) {
			return true
		}
	}
	return false
}

func madeAt(s *v1alpha1.Snapshot) time.Time {
	if s.Status.SnapshotTime != nil {
		return s.Status.SnapshotTime.Time
	}
	return s.CreationTimestamp.Time
}

// damages knows what the checks found in the namespaces with a damaged Snapshot: of a target, and of what a certain
// policy made of it.
type damages struct {
	of map[v1alpha1.TypedObjectReference]*damage
	by map[made]*damage
}

// readDamages reads the Snapshots of the namespaces with a damaged one.
func readDamages(ctx context.Context, cache client.Reader) (damages, error) {
	out := damages{map[v1alpha1.TypedObjectReference]*damage{}, map[made]*damage{}}
	var found v1alpha1.SnapshotList
	err := cache.List(ctx, &found, client.MatchingFields{indexDamaged: isDamaged}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return damages{}, fmt.Errorf("list damaged Snapshots: %w", err)
	}
	read := map[string]bool{}
	for i := range found.Items {
		namespace := found.Items[i].Namespace
		if read[namespace] {
			continue
		}
		read[namespace] = true
		var all v1alpha1.SnapshotList
		if err := cache.List(ctx, &all, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
			return damages{}, fmt.Errorf("list Snapshots of Namespace %s: %w", namespace, err)
		}
		for j := range all.Items {
			if s := &all.Items[j]; countsFor(s) {
				target, by := backupOf(s)
				seeIn(out.of, target, s)
				seeIn(out.by, by, s)
			}
		}
	}
	return out, nil
}

func seeIn[K comparable](m map[K]*damage, key K, s *v1alpha1.Snapshot) {
	if m[key] == nil {
		m[key] = &damage{newest: map[string]*v1alpha1.Snapshot{}}
	}
	m[key].see(s)
}

// backupOf returns the target of a Snapshot, with its namespace, and the policy that made it.
func backupOf(s *v1alpha1.Snapshot) (v1alpha1.TypedObjectReference, made) {
	target := s.Spec.AppRef
	target.Namespace = s.Namespace
	by := invoker{s.Namespace, s.Labels[v1alpha1.LabelInvokerKind], s.Labels[v1alpha1.LabelInvokerName]}
	return target, made{by, target}
}

// find reports whether all Snapshots of a target are damaged, and whether a newest one is. Those that the policy has
// made count, if there are any.
func (d damages) find(policy invoker, target v1alpha1.TypedObjectReference) (all, last bool) {
	found := d.by[madeBy(policy, target)]
	if found == nil {
		found = d.of[target]
	}
	if found == nil {
		return false, false
	}
	return !found.whole, found.last()
}
