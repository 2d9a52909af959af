package modeltest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/keeper"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/run/rebuilt"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/task"
)

// retain lets the manager decide which Snapshots go. It holds the verdicts against those that follow from when the
// Snapshots were really made.
func (r *repo) retain() {
	w := r.c.w
	policy, err := retention.Read(&r.policy)
	must(err)
	var said, really []retention.Snapshot
	for _, s := range r.find((*snapshot).stays) {
		input := retention.FromSnapshot(&s.Snapshot, "")
		said = append(said, input)
		input.Time = w.made[s.origin()]
		really = append(really, input)
	}
	stays := map[string]string{}
	for _, v := range policy.Decide(really, w.now) {
		if !v.Goes() {
			stays[v.Name] = fmt.Sprint(v.Kept)
		}
	}
	now := r.c.stamp()
	for _, v := range policy.Decide(said, w.now) {
		if !v.Goes() {
			continue
		}
		if why := stays[v.Name]; why != "" {
			broken("%s: retention removes Snapshot %s, made at %s: %s; but by the order in which the Snapshots were "+
				"made it stays: %s", r, v.Name, w.made[r.snapshot(v.Name).origin()], v.Message, why)
		}
		s := r.snapshot(v.Name)
		s.DeletionTimestamp, s.Spec.DeletionPolicy = &now, v1alpha1.WipeOut
		w.say("%s goes: %s", s.Name, v.Message)
	}
}

// latest checks that a restore of the latest Snapshot takes the one that was really made last.
func (r *repo) latest() {
	w := r.c.w
	var all []v1alpha1.Snapshot
	var want *snapshot
	for _, s := range r.snapshots {
		all = append(all, s.Snapshot)
		if s.claims() && (want == nil || w.made[want.origin()].Before(w.made[s.origin()])) {
			want = s
		}
	}
	switch got, _ := restore.Latest(all, r.object.Name, restore.Before{}, w.now); {
	case got == nil && want == nil:
	case got == nil:
		broken("%s: a restore finds no Snapshot, not even %s", r, want.Name)
	case want == nil:
		broken("%s: a restore of the latest Snapshot takes %s, which does not claim success", r, got.Name)
	case got.Name != want.Name:
		broken("%s: a restore of the latest Snapshot takes %s, made at %s by its status; Snapshot %s was made later",
			r, got.Name, got.MadeAt(), want.Name)
	}
}

func (r *repo) snapshot(name string) *snapshot {
	i := slices.IndexFunc(r.snapshots, func(s *snapshot) bool { return s.Name == name })
	return r.snapshots[i]
}

// keep runs a keeper for the Repository. full asks for a full maintenance with a check.
func (r *repo) keep(full, killed bool) {
	w := r.c.w
	if !r.named() && !r.lost && !r.deleted() && r.ready { // an earlier keeper has said so, and an init Job looks
		r.initialise(false)
	}
	if full && r.object.Status.LastBackupTime != nil {
		r.object.Status.LastMaintenance, r.object.CreationTimestamp = nil, metav1.NewTime(w.now.AddDate(0, -1, 0))
	}
	deleted := r.find(func(s *snapshot) bool { return keeper.Removes(&s.Snapshot) })
	work, _ := keeper.WorkIn(&r.object, objects(deleted), w.now)
	if work == nil {
		w.say("no work")
		return
	}
	existing := r.find((*snapshot).stays)
	if work.Maintain == task.MaintainFull {
		work.Check = keeper.ToCheck(objects(existing), nil, w.now)
	}
	work.Witness(objects(existing), w.now)
	p := w.pod(w.skew())
	if killed {
		w.kill(p, 60)
	}
	skewed := !p.Now.Equal(w.now)
	t := r.c.task(task.KindKeep)
	t.Keep = []task.Keep{{
		Repository: *r.task(), Remove: work.Removed(), Wipe: work.Wipe, Maintain: work.Maintain, Check: work.Check,
		Witnesses: work.Witnesses, Scan: work.Scan,
	}}
	w.say("removes %d, wipe %t, maintenance %q, checks %d", len(work.Snapshots), work.Wipe, work.Maintain,
		len(work.Check))
	result := p.run(w.ctx, t)
	if result == nil {
		w.say("%s", p.killed())
		return
	}
	got := result.Components[0]
	if r.lost {
		r.refused(got)
		return
	}
	if got.Outcome != task.OutcomeSucceeded {
		w.say("failed: %s: %s", got.Reason, got.Error)
		// A clock that is wrong stops the maintenance; a lease of a killed keeper runs out. What was written by a clock
		// that is ahead can't be deleted before that time: kopia takes the later of two entries.
		pending := got.Reason == v1alpha1.ReasonRemovalPending && w.ahead || r.misses(got)
		// The lease is short here. A machine that lets the keeper wait for seconds takes it away.
		starved := strings.Contains(got.Error, "no renewal within")
		if !skewed && !pending && !starved && got.Reason != v1alpha1.ReasonKeeperRunning {
			broken("%s: the keeper of the owner failed: %s: %s\n%s", r, got.Reason, got.Error, p.log.String())
		}
		return
	}
	if work.Wipe {
		r.wiped()
		return
	}
	r.removed(work)
	r.maintained(work, got)
	if work.Scan != "" {
		r.rebuild(p, got)
	}
}

// misses reports whether a keeper has missed a Snapshot that has lost data, and does what the check does that follows.
func (r *repo) misses(got task.ComponentResult) (misses bool) {
	if got.Reason != v1alpha1.ReasonRepositoryNotFound {
		return false
	}
	for _, s := range r.snapshots {
		if len(s.harmed) > 0 && !v1alpha1.Damaged(s.Status.Integrity) {
			s.Status.Integrity, misses = new(false), true
		}
	}
	return misses
}

// refused checks that a keeper of a Repository that has lost its directory did nothing.
func (r *repo) refused(got task.ComponentResult) {
	if got.Outcome == task.OutcomeSucceeded {
		// The new owner can have wiped the directory: then there was nothing to do.
		if len(r.left()) > 0 {
			broken("%s: a keeper worked in a directory that another cluster has adopted", r)
		}
	}
	r.c.w.say("refused: %s", got.Reason)
}

func objects(of []*snapshot) []*v1alpha1.Snapshot {
	var out []*v1alpha1.Snapshot
	for _, s := range of {
		out = append(out, &s.Snapshot)
	}
	return out
}

// wiped checks that nothing is left of the Repository.
func (r *repo) wiped() {
	w := r.c.w
	for _, s := range r.snapshots {
		w.gone[s.origin()] = true
	}
	delete(r.c.repos, r.directory)
	if left := r.left(); len(left) > 0 {
		broken("%s: the wipe has left %s", r, quoted(left))
	}
}

// left returns the files in the directory that are neither foreign nor in the directory of another Repository.
func (r *repo) left() []string {
	w := r.c.w
	return slices.DeleteFunc(w.leftIn(r.directory), func(p string) bool {
		return slices.ContainsFunc(w.allRepos(), func(o *repo) bool {
			return o.directory != r.directory && len(o.directory) > len(r.directory) && within(p, o.directory)
		})
	})
}

func within(p, directory string) bool { return strings.HasPrefix(p, directory+"/") }

// allRepos returns the Repositories of all clusters.
func (w *world) allRepos() []*repo {
	var out []*repo
	for _, c := range w.clusters {
		out = append(out, c.repositories()...)
	}
	return out
}

// removed checks that the data of Snapshots that a keeper removed is gone, and only that.
func (r *repo) removed(work *keeper.Work) {
	w := r.c.w
	there := w.engine(r)
	for _, s := range work.Snapshots {
		ours := r.snapshot(s.Name)
		for name, c := range s.Status.Components {
			if _, still := there[c.ID]; still && c.ID != "" {
				broken("%s: the data of component %s of the removed Snapshot %s is still there", r, name, s.Name)
			}
		}
		w.gone[ours.origin()] = true
		r.snapshots = slices.DeleteFunc(r.snapshots, func(o *snapshot) bool { return o == ours })
	}
	if len(work.Snapshots) > 0 {
		r.object.Status.LastRemovalTime = &metav1.Time{Time: w.now}
	}
}

// maintained takes over what a keeper reported about maintenance and check.
func (r *repo) maintained(work *keeper.Work, got task.ComponentResult) {
	if work.Maintain == "" {
		return
	}
	w, at := r.c.w, r.c.stamp()
	done := &v1alpha1.MaintenanceStatus{Quick: &at}
	if m := r.object.Status.LastMaintenance; m != nil {
		done.Full = m.Full
	}
	if work.Maintain == task.MaintainFull {
		done.Full = &at
	}
	r.object.Status.LastMaintenance = done
	verdict, ok := work.Verdict(got)
	if !ok {
		return
	}
	for _, name := range verdict.Snapshots() {
		s := r.snapshot(name)
		verdict.WriteTo(&s.Snapshot, at)
		for component, c := range s.Status.Components {
			if c.Integrity != nil && *c.Integrity == s.harmed[component] {
				broken("%s: a check finds component %s of Snapshot %s intact: %t", r, component, name, *c.Integrity)
			}
		}
	}
	w.say("checked %d", got.Verified)
}

// scan lets all Snapshots of the Repository be made again, after all objects were lost.
func (r *repo) scan() {
	r.scans++
	r.object.Annotations = map[string]string{v1alpha1.AnnotationScan: fmt.Sprint("scan ", r.scans)}
	r.keep(false, r.c.w.rng.IntN(4) == 0) // after a kill, a later keeper finds the request
}

// loseSnapshots kills a keeper that removes Snapshots. Then all objects are lost, and a scan finds what is left: no
// object tells the next keeper to go on with the removal.
func (r *repo) loseSnapshots() bool {
	r.retain()
	if len(r.find((*snapshot).stays)) == len(r.snapshots) {
		return false
	}
	r.keep(false, true)
	r.snapshots = r.find((*snapshot).stays)
	r.scan()
	return true
}

// rebuild replaces the Snapshots by those that a scan found.
func (r *repo) rebuild(p *pod, got task.ComponentResult) {
	w := r.c.w
	if p.client == nil { // the pages were in a process that was to be killed later: the next keeper scans again
		return
	}
	pages := p.pages(w.ctx, namespace, got.Scan)
	if !got.Scan.Matches(pages) {
		broken("%s: the pages of a scan do not match its answer", r)
	}
	before := map[string]*snapshot{}
	for _, s := range r.snapshots {
		before[string(s.origin())] = s
	}
	r.snapshots = nil
	var order rebuilt.Order
	for _, page := range pages {
		must(task.ReadPage(page, func(f task.Found) error {
			order.See(f, w.now)
			return nil
		}))
	}
	for _, page := range pages {
		must(task.ReadPage(page, func(f task.Found) error {
			made, why := rebuilt.Snapshot(&r.object, f, rebuilt.Policies{}, &order, w.now)
			if why != "" {
				broken("%s: a scan found Snapshot %s, which can't be made again: %s", r, f.Name, why)
			}
			s := &snapshot{Snapshot: *made, harmed: map[string]bool{}}
			s.UID, s.CreationTimestamp = w.uid("rebuilt"), r.c.stamp()
			s.Spec.DeletionPolicy = v1alpha1.WipeOut
			if w.gone[s.origin()] && s.claims() {
				broken("%s: a scan brings back Snapshot %s, which was removed", r, s.Name)
			}
			r.snapshots = append(r.snapshots, s)
			r.object.Status.LastBackupTime = &metav1.Time{Time: w.now}
			return nil
		}))
	}
	r.object.Status.LastScan = &v1alpha1.ScanStatus{Requested: r.object.Annotations[v1alpha1.AnnotationScan]}
	for _, uid := range slices.Sorted(maps.Keys(before)) {
		s := before[uid]
		i := slices.IndexFunc(r.snapshots, func(o *snapshot) bool { return o.origin() == s.origin() })
		switch whole := len(s.harmed) == 0; {
		case whole && s.claims() && (i < 0 || !r.snapshots[i].claims()):
			broken("%s: a scan does not find Snapshot %s, which is whole", r, s.Name)
		case !whole && i >= 0 && r.snapshots[i].claims():
			broken("%s: a scan takes Snapshot %s for whole, whose data is gone", r, s.Name)
		}
	}
	w.say("a scan found %d Snapshots", len(r.snapshots))
}

// lose removes the data of a component behind Cairn's back.
func (r *repo) lose() bool {
	w := r.c.w
	s, ok := oneOf(w, r.find(func(s *snapshot) bool { return s.claims() && len(s.harmed) == 0 }))
	if !ok {
		return false
	}
	name := slices.Sorted(maps.Keys(s.Status.Components))[0]
	id := s.Status.Components[name].ID
	w.forget(r, id)
	if _, stays := w.engine(r)[id]; stays {
		return false // kopia heeds no deletion that is older than what it deletes, by a clock that was ahead
	}
	s.harmed[name] = true
	w.say("component %s of %s loses its data", name, s.Name)
	return true
}

// loseKey takes away the key of the repository, as a rule that expires old files does. A full maintenance has a copy.
func (r *repo) loseKey() bool {
	dir := filepath.Join(r.c.w.dir, bucketDir, r.directory, "kopia")
	if _, err := os.Stat(filepath.Join(dir, layout.SpareKey+".f")); err != nil {
		return false
	}
	return os.Remove(filepath.Join(dir, "kopia.repository.f")) == nil
}

// loseName takes away the repository.yaml. An init that was killed has no copy yet; a full maintenance makes one.
func (r *repo) loseName() bool {
	_, err := os.Stat(filepath.Join(r.c.w.dir, bucketDir, layout.SpareOwnerPath(r.directory)))
	return err == nil && os.Remove(r.nameFile()) == nil
}

// named reports whether the repository.yaml is there. Without it nobody knows whose data a wipe would remove.
func (r *repo) named() bool {
	_, err := os.Stat(r.nameFile())
	return err == nil
}

func (r *repo) nameFile() string {
	return filepath.Join(r.c.w.dir, bucketDir, layout.RepositoryPath(r.directory))
}
