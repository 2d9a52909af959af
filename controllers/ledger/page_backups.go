package ledger

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run/backup"
)

// backups knows which targets have had a good backup, and what checks found of those that exist.
type backups struct {
	cache client.Reader
	now   time.Time
	// known are targets, with their namespaces, that have had one.
	known map[v1alpha1.TypedObjectReference]bool
	// made are those to which a certain policy has given one.
	made map[made]bool
	// checks and checksBy are what the checks found of a target, and of what a certain policy made of it. They tell of
	// the namespaces whose Snapshots are known.
	checks   map[v1alpha1.TypedObjectReference]*checks
	checksBy map[made]*checks
	// into are the Repositories into which a certain policy has backed up a target, and when the last run ended that
	// did.
	into map[made]map[string]time.Time
	// repositories are all Repositories.
	repositories map[types.NamespacedName]*v1alpha1.Repository
	// lost are the Repositories that can't be opened any more, with the reasons.
	lost map[types.NamespacedName]string
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
func backupsOf(cache client.Reader, sessions []v1alpha1.BackupSession, now time.Time) *backups {
	b := &backups{
		cache: cache, now: now, known: map[v1alpha1.TypedObjectReference]bool{}, made: map[made]bool{},
		checks: map[v1alpha1.TypedObjectReference]*checks{}, checksBy: map[made]*checks{}, read: map[string]bool{},
		lost: map[types.NamespacedName]string{}, into: map[made]map[string]time.Time{},
		repositories: map[types.NamespacedName]*v1alpha1.Repository{},
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
		b.enter(s)
	}
	return b
}

// enter notes into which Repositories a run has backed up its targets.
func (b *backups) enter(s *v1alpha1.BackupSession) {
	ended := v1alpha1.Happened(backup.EndOf(s), s.CreationTimestamp.Time, b.now)
	backup.BackedUp(s, func(t *v1alpha1.ResolvedTarget, repository string) {
		target := t.AppRef
		target.Namespace = s.Namespace
		by := madeBy(invoker{s.Namespace, s.Spec.Invoker.Kind, s.Spec.Invoker.Name}, target)
		if b.into[by] == nil {
			b.into[by] = map[string]time.Time{}
		}
		b.into[by][repository] = v1alpha1.Later(b.into[by][repository], ended)
	})
}

// readRepositories reads all Repositories.
func (b *backups) readRepositories(ctx context.Context) error {
	var all v1alpha1.RepositoryList
	if err := b.cache.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list Repositories: %w", err)
	}
	for i := range all.Items {
		b.repositories[client.ObjectKeyFromObject(&all.Items[i])] = &all.Items[i]
	}
	return nil
}

// remains is what is left of a target in the Repositories that a policy names for it. What nobody has ever backed up
// into a Repository is not missing there.
type remains struct {
	// missing reports that one of them holds no backup any more.
	missing bool
	// held is what the others hold.
	held map[policy.Holding]bool
}

// none reports whether none of them holds a backup any more.
func (r remains) none() bool { return r.missing && len(r.held) == 0 }

// maybeGood reports whether one of them can hold a good one, also because it has counted nothing so far.
func (r remains) maybeGood() bool { return r.held[policy.HoldsGood] || r.held[policy.HoldsNothing] }

// remainsOf returns what is left of a target in the Repositories that a policy names for it.
func (b *backups) remainsOf(policyOf invoker, target v1alpha1.TypedObjectReference, used []string) remains {
	into := b.into[madeBy(policyOf, target)]
	out := remains{held: map[policy.Holding]bool{}}
	for _, name := range used {
		r := b.repositories[types.NamespacedName{Namespace: target.Namespace, Name: name}]
		at, known := into[name]
		if !known && r != nil {
			at = r.CreationTimestamp.Time // no success claims one there: how young it is says nothing
		}
		switch {
		case (known || r != nil) && policy.Emptied(r, at):
			out.missing = true
		case known || r != nil && policy.HoldsBackup(r):
			out.held[policy.Holds(r)] = true
		}
	}
	return out
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
			whole := !v1alpha1.Damaged(s.Status.Integrity) && b.lostIn(namespace, s.Spec.Repository) == ""
			b.known[target], b.made[by] = true, true
			see(b.checks, target, s, whole, b.now)
			see(b.checksBy, by, s, whole, b.now)
		}
	}
	b.read[namespace] = true
	return nil
}

// indexDamaged finds the Snapshots of which the last check found data missing. They are few, so that the page need not
// read all.
const indexDamaged = ".damaged"

func damagedKey(o client.Object) []string {
	if s, ok := o.(*v1alpha1.Snapshot); ok && countsFor(s) && v1alpha1.Damaged(s.Status.Integrity) {
		return []string{isDamaged}
	}
	return nil
}

const isDamaged = "damaged"

// countsFor reports whether a Snapshot is a backup of its target.
func countsFor(s *v1alpha1.Snapshot) bool {
	return s.Status.Phase == v1alpha1.SnapshotSucceeded && v1alpha1.InForce(s)
}

// readLost finds the Repositories of selected namespaces that can't be opened any more, of those that
// readRepositories knows, and reads the Snapshots of these namespaces. What is read before knows nothing of them.
func (b *backups) readLost(ctx context.Context, selected func(namespace string) (bool, error)) error {
	for key, r := range b.repositories {
		reason, err := b.whyLost(ctx, r)
		if err != nil {
			return err
		}
		if reason == "" {
			continue
		}
		if ok, err := selected(key.Namespace); err != nil {
			return err
		} else if ok {
			b.lost[key] = reason
		}
	}
	for key := range b.lost {
		if err := b.readSnapshots(ctx, key.Namespace); err != nil {
			return err
		}
	}
	return nil
}

// whyLost returns the reason why the data of a Repository is not where it was, or can't be opened there; "" if nobody
// knows that. A Repository only says of a bucket that is gone or emptied that its BackupStorage is not ready.
func (b *backups) whyLost(ctx context.Context, r *v1alpha1.Repository) (string, error) {
	switch reason := notReady(r); reason {
	case v1alpha1.ReasonRepositoryNotFound, v1alpha1.ReasonRepositoryDamaged, v1alpha1.ReasonBucketNotFound:
		return reason, nil
	case v1alpha1.ReasonStorageNotReady:
		var s v1alpha1.BackupStorage
		key := r.Spec.StorageRef.In(r.Namespace)
		if err := b.cache.Get(ctx, key, &s); client.IgnoreNotFound(err) != nil {
			return "", fmt.Errorf("get BackupStorage %s: %w", key, err)
		}
		switch reason := notReady(&s); reason {
		case v1alpha1.ReasonBucketNotFound, v1alpha1.ReasonMetadataNotFound:
			return reason, nil
		}
	}
	return "", nil
}

// notReady returns the reason why an object is not ready, or "".
func notReady(o conditions.Getter) string {
	if !conditions.IsFalse(o, meta.ReadyCondition) {
		return ""
	}
	return conditions.GetReason(o, meta.ReadyCondition)
}

// lostIn returns the reason why the first of these Repositories that can't be opened can't, or "".
func (b *backups) lostIn(namespace string, names ...string) string {
	for _, name := range names {
		if reason := b.lost[types.NamespacedName{Namespace: namespace, Name: name}]; reason != "" {
			return reason
		}
	}
	return ""
}

// readDamaged reads the Snapshots of the selected namespaces with a damaged one.
func (b *backups) readDamaged(ctx context.Context, selected func(namespace string) (bool, error)) error {
	var found v1alpha1.SnapshotList
	err := b.cache.List(ctx, &found, client.MatchingFields{indexDamaged: isDamaged}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return fmt.Errorf("list damaged Snapshots: %w", err)
	}
	for i := range found.Items {
		if ok, err := selected(found.Items[i].Namespace); err != nil {
			return err
		} else if !ok {
			continue
		}
		if err := b.readSnapshots(ctx, found.Items[i].Namespace); err != nil {
			return err
		}
	}
	return nil
}

// flaw is what is wrong with the backups of a target.
type flaw struct {
	// all reports that no backup is whole, newest that a newest one is damaged.
	all, newest bool
	// damaged is how many backups in the Repositories in use are damaged, of how many.
	damaged, of int
	// lost is the reason why a Repository with some of the backups can't be opened. With all, it can be one that the
	// policy has left.
	lost string
}

// flawOf returns what is wrong with the Snapshots of a target, once readLost and readDamaged were called. Those that
// the policy has made count, if there are any. used are the Repositories that the policy names.
func (b *backups) flawOf(policy invoker, target v1alpha1.TypedObjectReference, used []string) flaw {
	found := b.checksBy[madeBy(policy, target)]
	if found == nil {
		found = b.checks[target]
	}
	if found == nil {
		return flaw{}
	}
	in := slices.Sorted(maps.Keys(found.newest))
	f := flaw{all: !found.whole, lost: b.lostIn(target.Namespace, in...)}
	if f.all {
		return f
	}
	if found.damaged > 0 {
		f.newest = found.newestDamaged(used)
		f.damaged, f.of = found.damagedIn(used)
	}
	if f.lost != "" {
		f.lost = b.lostIn(target.Namespace, slices.DeleteFunc(in, func(name string) bool {
			return !slices.Contains(used, name)
		})...)
	}
	return f
}

// checks is what the checks found of the Snapshots of a target.
type checks struct {
	// whole reports that one of them is neither known to be damaged nor in a Repository that can't be opened.
	whole bool
	// newest are the newest of them, by Repository.
	newest map[string]*v1alpha1.Snapshot
	latest *v1alpha1.Snapshot // of all
	// damaged is how many are. in has it by Repository, with the number of all.
	damaged int
	in      map[string]tally
}

type tally struct{ damaged, of int }

func see[K comparable](m map[K]*checks, key K, s *v1alpha1.Snapshot, whole bool, now time.Time) {
	c := m[key]
	if c == nil {
		c = &checks{newest: map[string]*v1alpha1.Snapshot{}, in: map[string]tally{}}
		m[key] = c
	}
	c.whole = c.whole || whole
	n := c.in[s.Spec.Repository]
	n.of++
	if v1alpha1.Damaged(s.Status.Integrity) {
		n.damaged++
		c.damaged++
	}
	c.in[s.Spec.Repository] = n
	newer := func(than *v1alpha1.Snapshot) bool {
		return than == nil || cmp.Or(madeAt(than, now).Compare(madeAt(s, now)), cmp.Compare(than.Name, s.Name)) < 0
	}
	if newer(c.newest[s.Spec.Repository]) {
		c.newest[s.Spec.Repository] = s
	}
	if newer(c.latest) {
		c.latest = s
	}
}

// damagedIn counts the Snapshots of these Repositories. Those of others accuse a target no more.
func (c *checks) damagedIn(used []string) (damaged, of int) {
	for _, name := range used {
		damaged, of = damaged+c.in[name].damaged, of+c.in[name].of
	}
	return damaged, of
}

// newestDamaged reports whether the newest Snapshot of a Repository in use is damaged. A Repository that the policy has
// left, perhaps because of the damage, does not count, unless none in use has a Snapshot: then the newest of all does.
func (c *checks) newestDamaged(used []string) bool {
	known := false
	for _, name := range used {
		if s := c.newest[name]; s != nil {
			if v1alpha1.Damaged(s.Status.Integrity) {
				return true
			}
			known = true
		}
	}
	return !known && v1alpha1.Damaged(c.latest.Status.Integrity)
}

func madeAt(s *v1alpha1.Snapshot, now time.Time) time.Time {
	if at := s.MadeBy(now); at != nil {
		return at.Time
	}
	return s.CreationTimestamp.Time
}

// backupOf returns the target of a Snapshot, with its namespace, and the policy that made it.
func backupOf(s *v1alpha1.Snapshot) (v1alpha1.TypedObjectReference, made) {
	target := s.Spec.AppRef
	target.Namespace = s.Namespace
	by := invoker{s.Namespace, s.Labels[v1alpha1.LabelInvokerKind], s.Labels[v1alpha1.LabelInvokerName]}
	return target, made{by, target}
}
