package modeltest

import (
	"fmt"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/task"
)

// how says what happens to a backup while it runs. lasting means that the volumes change until its end.
type how struct{ disturbed, lasting, killed bool }

// mayFail are the reasons with which a backup of a quiet volume fails rightly: random changes empty volumes.
var mayFail = []string{v1alpha1.ReasonShrunk, v1alpha1.ReasonEmpty}

// backUp makes a Snapshot of one component or both, by one Job or two.
func (r *repo) backUp(h how) {
	w := r.c.w
	var hosts [][]string
	switch w.rng.IntN(3) {
	case 0:
		hosts = [][]string{{"data"}}
	case 1:
		hosts = [][]string{{"data", "logs"}}
	default:
		hosts = [][]string{{"data"}, {"logs"}}
	}
	s := r.newSnapshot()
	target := &v1alpha1.ResolvedTarget{Name: "web", AppRef: r.object.Spec.AppRef}
	for i, names := range hosts {
		host := v1alpha1.ResolvedHost{Name: fmt.Sprintf("pod-%d", i)}
		for _, name := range names {
			host.Volumes = append(host.Volumes, v1alpha1.ResolvedVolume{Component: name})
		}
		target.Hosts = append(target.Hosts, host)
	}
	total := 0
	for _, names := range hosts {
		total += len(names)
	}
	for _, names := range hosts {
		if w.rng.IntN(2) == 0 {
			r.c.mutate(2)
		}
		r.job(s, names, total, h)
	}
	backup.FinishSnapshot(&s.Status, target, &s.ObjectMeta, &s.CreationTimestamp, w.now)
	w.say("%s %s", s.Name, s.Status.Phase)
	if !s.Status.Phase.Terminal() {
		broken("%s: Snapshot %s is %s although its Jobs ended", r, s.Name, s.Status.Phase)
	}
	for name, c := range s.Status.Components {
		quiet := !h.disturbed && !h.killed && !r.lost
		if quiet && c.Phase == v1alpha1.SnapshotFailed && !slices.Contains(mayFail, c.Reason) {
			broken("%s: the backup of the quiet volume %s failed: %s: %s", r, name, c.Reason, c.Error)
		}
		if r.lost && c.Phase == v1alpha1.SnapshotSucceeded {
			broken("%s: a backup went into a directory that another cluster has adopted", r)
		}
	}
	// By the manager's clock the run takes no time. The clock of the node can be wrong.
	if at := s.Status.SnapshotTime; at.Before(&s.CreationTimestamp) || at.After(w.now) {
		broken("%s: the run of Snapshot %s was at %v, but its snapshotTime is %v", r, s.Name, w.now, at)
	}
	if s.Status.Phase == v1alpha1.SnapshotSucceeded {
		r.object.Status.LastBackupTime = &metav1.Time{Time: w.now}
	}
	if !r.lost {
		r.snapshots = append(r.snapshots, s)
	}
}

func (r *repo) newSnapshot() *snapshot {
	w := r.c.w
	s := &snapshot{harmed: map[string]bool{}}
	s.UID = w.uid("snapshot")
	s.Namespace, s.Name = namespace, fmt.Sprintf("%s-%s", r.object.Name, s.UID)
	s.CreationTimestamp = r.c.stamp()
	s.Finalizers = []string{v1alpha1.FinalizerWipe}
	s.Spec = v1alpha1.SnapshotSpec{
		SnapshotID: backup.SnapshotID(w.now, string(s.UID)), Repository: r.object.Name, Session: "s",
		BackupSession: "run-" + string(s.UID), Version: v1alpha1.SnapshotLayoutVersion, AppRef: r.object.Spec.AppRef,
		DeletionPolicy: v1alpha1.WipeOut,
	}
	s.Status = v1alpha1.SnapshotStatus{ObservedGeneration: -1, Components: map[string]v1alpha1.Component{}}
	w.made[s.UID], w.truth[s.UID] = w.now, map[string]held{}
	return s
}

// job lets one Job back up some components. A killed mover has one successor, as in internal/run/backup.
func (r *repo) job(s *snapshot, names []string, total int, h how) {
	w := r.c.w
	t := r.c.task(task.KindBackup)
	t.Repository = r.task()
	t.Snapshot = &task.Snapshot{
		Name: s.Name, UID: s.UID, Spec: &s.Spec, Components: int32(total), Labels: map[string]string{
			v1alpha1.LabelSession: "s",
		},
	}
	for _, name := range names {
		t.Components = append(t.Components, task.Component{Name: name})
	}
	// The volumes grow and shrink at random: with the default, every second backup would fail, and claim nothing.
	if w.rng.IntN(5) > 0 {
		t.SuccessPolicy = &v1alpha1.SuccessPolicy{MaxShrinkPercent: new(int32(100))}
	}
	attempts := 1 + w.rng.IntN(2)
	for n := 1; ; n++ {
		p := w.pod(w.skew())
		p.Volumes = "volumes/" + r.c.name
		finished := r.c.watch(w.truth[s.UID], names, h, p)
		if h.killed && n == 1 {
			w.kill(p, 90)
		}
		result := p.run(w.ctx, t)
		finished()
		for name, c := range p.reports() {
			s.Status.Components[name] = c
		}
		if result != nil {
			for _, c := range result.Components {
				s.Status.Components[c.Name] = c.Component(v1alpha1.DriverKopia)
			}
			return
		}
		w.say("%s", p.killed())
		if n >= attempts {
			break
		}
		r.c.mutate(3)
	}
	for _, name := range names {
		if c := s.Status.Components[name]; c.Phase != v1alpha1.SnapshotSucceeded && c.Phase != v1alpha1.SnapshotFailed {
			s.Status.Components[name] = v1alpha1.Component{
				Phase: v1alpha1.SnapshotFailed, Reason: v1alpha1.ReasonJobFailed, Error: "the mover was killed",
			}
		}
	}
}

// watch notes what the volumes hold while a mover reads them. It returns a function that ends that. If it disturbs
// the mover, it changes the volumes when the mover looks up names.
func (c *cluster) watch(truth map[string]held, names []string, h how, p *pod) (finished func()) {
	w := c.w
	add := func(name string) {
		now, err := treeOf(c.volumes[name].dir)
		must(err)
		last := &truth[name][len(truth[name])-1]
		last.states = append(last.states, now)
	}
	for _, name := range names {
		truth[name] = append(truth[name], attempt{step: len(w.steps)})
		add(name)
	}
	if !h.disturbed {
		return func() {}
	}
	for _, name := range names {
		c.volumes[name].touched = func() { add(name) }
	}
	c.disturb(names, h.lasting, p)
	return func() {
		for _, name := range names {
			add(name)
			c.volumes[name].touched = func() {}
		}
	}
}

// disturb lets the volumes change when a mover looks up names. A backup reads a volume up to three times, until nothing
// changes meanwhile. So only lasting changes can leave a volume in a state that never existed.
func (c *cluster) disturb(names []string, lasting bool, p *pod) {
	w := c.w
	at, every := map[int]bool{}, 0
	if lasting {
		every = 3 + w.rng.IntN(8)
	}
	for range 1 + w.rng.IntN(4) {
		at[1+w.rng.IntN(45)] = true
	}
	var mu sync.Mutex
	looks := 0
	p.looked = func() {
		mu.Lock()
		defer mu.Unlock()
		if looks++; !at[looks] && (every == 0 || looks%every > 0) {
			return
		}
		v := c.volumes[names[w.rng.IntN(len(names))]]
		var did string
		switch n := w.rng.IntN(6); {
		case n == 0:
			did = v.renumber()
		case n < 3 || lasting && n < 5:
			did = v.reuse()
		default:
			did = v.change()
		}
		w.say("meanwhile, at look %d: %s", looks, did)
	}
}

// mutate changes the volumes.
func (c *cluster) mutate(times int) {
	for range times {
		v := c.volumes[components[c.w.rng.IntN(len(components))]]
		if did := v.change(); did != "" {
			c.w.say("%s", did)
		}
	}
}
