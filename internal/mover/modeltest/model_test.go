// Package modeltest runs the whole life of repositories against a model: random backups of volumes that change,
// retention, maintenance, wipes, adoptions, scans, wrong clocks and killed movers, of two clusters in one bucket. After
// each step every Snapshot that claims success restores to what its volumes held, and what is not Cairn's is untouched.
//
// The movers and the engine are real, and so are the decisions of the manager; a bucket is a directory.
package modeltest

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/repository/kopia/cheapkeys"
)

var (
	modelFor = flag.Duration("model.for", byEnv("CAIRN_MODEL_FOR", time.Minute), "how long the model runs")
	seed     = flag.Uint64("model.seed", 0, "the seed of the only world; 0 means many worlds")
	random   = flag.Bool("model.random", false, "begin with a random world, not with the first")
	steps    = flag.Int("model.steps", 60, "the steps of a world")
)

func byEnv(name string, otherwise time.Duration) time.Duration {
	if d, err := time.ParseDuration(os.Getenv(name)); err == nil {
		return d
	}
	return otherwise
}

func TestMain(m *testing.M) {
	cheapkeys.Use(m)
	if os.Getenv(childEnv) != "" {
		os.Exit(runChild())
	}
	os.Exit(m.Run())
}

// TestTheLifeOfRepositories runs worlds until its time is over.
func TestTheLifeOfRepositories(t *testing.T) {
	began, count, verified, total := time.Now(), map[string]int{}, 0, 0
	first := *seed
	switch {
	case first == 0 && *random:
		first = uint64(began.UnixNano())
	case first == 0: // a test that fails by chance helps nobody who changed something else
		first = 1
	}
	if !reusesInodes(t.TempDir()) {
		t.Log("THE FILE SYSTEM DOES NOT REUSE INODES: nothing is tested about hard links of deleted files")
	}
	var seeds []string
	for n := first; ; n++ {
		seeds = append(seeds, fmt.Sprint(n))
		w := runWorld(t, n, began.Add(*modelFor), count)
		verified, total = verified+w.verified, total+len(w.steps)
		if t.Failed() || *seed != 0 || time.Since(began) > *modelFor {
			break
		}
	}
	t.Logf("seeds %s: %d steps, %d restored components verified, %v", strings.Join(seeds, " "), total, verified,
		time.Since(began).Round(time.Second))
	for _, name := range slices.Sorted(maps.Keys(count)) {
		t.Logf("%5d × %s", count[name], name)
	}
}

// runWorld runs the world of a seed, until its steps are done or its time is over.
func runWorld(t *testing.T, n uint64, until time.Time, count map[string]int) (w *world) {
	began := time.Now()
	w = &world{}
	defer func() {
		switch v := recover().(type) {
		case nil:
		case violation:
			t.Errorf("seed %d, step %d, after %v: %s\nrun it again: -model.seed=%d -model.steps=%d\n%s",
				n, len(w.steps)+1, time.Since(began).Round(time.Millisecond), v.text, n, len(w.steps)+1,
				strings.Join(append(w.steps, "> "+strings.Join(w.note, "; ")), "\n"))
		default:
			t.Logf("seed %d, step %d", n, len(w.steps)+1)
			panic(v)
		}
	}()
	dir, err := os.MkdirTemp("", "cairn-model-")
	must(err)
	defer func() { _ = os.RemoveAll(dir) }()
	w = newWorld(t.Context(), dir, n)
	for len(w.steps) < *steps && (*seed != 0 || time.Now().Before(until)) {
		kind := w.step()
		w.check()
		count[kind]++
		w.steps = append(w.steps, fmt.Sprintf("%3d %s %s: %s", len(w.steps)+1, w.now.Format("01-02 15:04"), kind,
			strings.Join(w.note, "; ")))
		w.note = nil
		w.pass()
	}
	return w
}

// step does one random step and returns its kind.
func (w *world) step() string {
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	for {
		n := w.rng.IntN(total)
		for _, k := range kinds {
			if n -= k.weight; n < 0 {
				c := w.clusters[w.rng.IntN(len(w.clusters))]
				w.note = nil
				w.say("%s", c.name)
				if k.do(c) {
					return k.name
				}
				break
			}
		}
	}
}

// kinds are the kinds of steps. A step that can't be done now reports false.
var kinds = []struct {
	name   string
	weight int
	do     func(*cluster) bool
}{
	{"change the volumes", 10, func(c *cluster) bool { c.mutate(1 + c.w.rng.IntN(6)); return true }},
	{"create a Repository", 8, (*cluster).createRepository},
	{"back up", 20, onOwn(func(r *repo) bool { r.backUp(how{}); return true })},
	{"back up while files change", 10, onOwn(func(r *repo) bool { r.backUp(how{disturbed: true}); return true })},
	{"back up while files always change", 10, onOwn(func(r *repo) bool {
		r.backUp(how{disturbed: true, lasting: true})
		return true
	})},
	{"kill a backup", 6, onOwn(func(r *repo) bool { r.backUp(how{killed: true}); return true })},
	{"apply retention", 10, onOwn(func(r *repo) bool { r.retain(); return true })},
	{"run a keeper", 10, onKept(func(r *repo) bool { r.keep(false, false); return true })},
	{"maintain and check", 4, onKept(func(r *repo) bool { r.keep(!r.deleted(), false); return true })},
	{"kill a keeper", 4, onKept(func(r *repo) bool {
		r.keep(r.c.w.rng.IntN(2) == 0 && !r.deleted(), true)
		return true
	})},
	{"delete a Repository", 3, onOwn(func(r *repo) bool { return r.named() && r.deleteIt() })},
	{"make the Snapshots again", 4, onOwn(func(r *repo) bool { r.scan(); return true })},
	{"lose all Snapshots during a removal", 10, onOwn((*repo).loseSnapshots)},
	{"adopt a directory", 5, (*cluster).adopt},
	{"let an old owner work", 12, (*cluster).strays},
	{"lose data", 1, onOwn((*repo).lose)},
	{"lose the key", 3, onOwn((*repo).loseKey)},
	{"lose repository.yaml", 3, onOwn((*repo).loseName)},
	{"put in files of others", 3, onOwn((*repo).intrude)},
}

// onOwn lets a step work on a Repository that owns its directory.
func onOwn(do func(*repo) bool) func(*cluster) bool {
	return func(c *cluster) bool {
		r, ok := oneOf(c.w, slices.DeleteFunc(c.repositories(), func(r *repo) bool {
			return r.lost || r.deleted() || !r.ready
		}))
		if !ok {
			return false
		}
		c.w.say("%s", r.directory)
		return do(r)
	}
}

// onKept is onOwn for what keepers do, also where a Repository is being deleted.
func onKept(do func(*repo) bool) func(*cluster) bool {
	return func(c *cluster) bool {
		r, ok := oneOf(c.w, slices.DeleteFunc(c.repositories(), func(r *repo) bool {
			return r.lost || !r.ready
		}))
		if !ok {
			return false
		}
		c.w.say("%s", r.directory)
		return do(r)
	}
}

// createRepository makes a Repository in a directory that none has.
func (c *cluster) createRepository() bool {
	directory := directories[c.w.rng.IntN(len(directories))]
	for _, r := range c.w.allRepos() {
		if r.directory == directory {
			return false
		}
	}
	c.w.say("%s", directory)
	r := c.newRepo(directory)
	if !r.initialise(false) {
		// A directory inside or around that of another repository can be refused.
		delete(c.repos, directory)
		others := slices.ContainsFunc(c.w.allRepos(), func(o *repo) bool {
			return within(directory, o.directory) || within(o.directory, directory)
		}) || slices.ContainsFunc(slices.Collect(maps.Keys(c.w.foreign)), func(p string) bool {
			return within(p, directory) && filepath.Base(p) == "repository.yaml"
		})
		if !others {
			broken("%s: the init of a free directory was refused", r)
		}
	}
	return true
}

// deleteIt deletes the Repository with its data.
func (r *repo) deleteIt() bool {
	now := r.c.stamp()
	r.object.DeletionTimestamp, r.object.Spec.DeletionPolicy = &now, v1alpha1.WipeOut
	r.object.Status.Conditions = []metav1.Condition{{
		Type: v1alpha1.ConditionWiped, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonProgressing,
	}}
	return true
}

// adopt lets a cluster take the directory of the other one, and finds out what lies there.
func (c *cluster) adopt() bool {
	for _, other := range c.w.clusters {
		r, ok := oneOf(c.w, slices.DeleteFunc(other.repositories(), func(r *repo) bool {
			return r.c == c || r.lost || r.deleted() || !r.ready || !r.named()
		}))
		if !ok {
			continue
		}
		c.w.say("%s", r)
		ours := c.repos[r.directory]
		if ours == nil {
			ours = c.newRepo(r.directory)
		}
		if ours.deleted() {
			return false
		}
		ours.ready = false
		if !ours.initialise(true) {
			broken("%s: the adoption was refused", ours)
		}
		r.lost, ours.adopted = true, true
		// The new owner finds what the old owner knew. It does not know what the old owner was about to remove.
		ours.snapshots = nil
		for _, s := range r.find((*snapshot).stays) {
			known := *s
			ours.snapshots = append(ours.snapshots, &known)
		}
		ours.scan()
		return true
	}
	return false
}

// strays lets the old owner of an adopted directory work. It must be refused.
func (c *cluster) strays() bool {
	r, ok := oneOf(c.w, slices.DeleteFunc(c.repositories(), func(r *repo) bool { return !r.lost }))
	if !ok {
		return false
	}
	c.w.say("%s", r.directory)
	now := c.stamp()
	switch c.w.rng.IntN(3) {
	case 0:
		r.backUp(how{})
	case 1:
		for _, s := range r.snapshots {
			s.DeletionTimestamp = &now
		}
		r.keep(false, false)
	default:
		r.deleteIt()
		r.keep(false, false)
		if r.deleted() {
			delete(c.repos, r.directory)
		}
	}
	return true
}

// intrude puts files of others into a directory of Cairn's.
func (r *repo) intrude() bool {
	in := []string{"notes.txt", "other/repository.yaml", "other/data/file", "kopia.old/file", "snapshots.txt"}
	r.c.w.plant(r.directory + "/" + in[r.c.w.rng.IntN(len(in))])
	return true
}

// forget removes a backup from the engine.
func (w *world) forget(r *repo, id string) {
	p := w.pod(0)
	e, err := p.driver().Open(w.ctx, r.opened())
	must(err)
	must(e.Delete(w.ctx, id))
	must(e.Close(w.ctx))
}
