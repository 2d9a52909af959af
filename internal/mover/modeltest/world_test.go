package modeltest

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/internal/mover/judge"
)

var getOptions = metav1.GetOptions{}

// world is two clusters that share a bucket, and what the model knows of them.
type world struct {
	ctx  context.Context
	dir  string
	rng  *rand.Rand
	seed uint64
	// now is the true time: that of the managers and of the storage.
	now      time.Time
	stored   *times
	clusters []*cluster
	// truth is what the volumes held, by the UID that the Snapshot had when it was made, and by component.
	truth map[types.UID]map[string]held
	// made is when Snapshots were made, by the same UIDs. gone are those whose data was removed.
	made map[types.UID]time.Time
	gone map[types.UID]bool
	// ahead reports that a node's clock was ever ahead.
	ahead bool
	// foreign are the files in the bucket that are not Cairn's.
	foreign map[string]string
	inodes  bool
	written int
	uids    int
	// steps are what happened, in words.
	steps    []string
	note     []string
	verified int
}

// violation is a broken promise of Cairn.
type violation struct{ text string }

// broken stops the model: Cairn broke a promise.
func broken(format string, args ...any) { panic(violation{fmt.Sprintf(format, args...)}) }

// say notes what happens in a step.
func (w *world) say(format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), filepath.Join(w.dir, "volumes")+"/", "")
	w.note = append(w.note, strings.ReplaceAll(text, strings.Repeat("n", 255), "n…n"))
}

func (w *world) uid(kind string) types.UID {
	w.uids++
	return types.UID(fmt.Sprintf("%s-%d", kind, w.uids))
}

const bucketDir = "root/cairn/storage/backups"

func newWorld(ctx context.Context, dir string, seed uint64) *world {
	w := &world{
		ctx: ctx, dir: dir, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), now: time.Now().UTC().Truncate(time.Hour),
		truth: map[types.UID]map[string]held{}, made: map[types.UID]time.Time{}, gone: map[types.UID]bool{},
		foreign: map[string]string{}, inodes: reusesInodes(dir),
	}
	w.stored = &times{now: w.now, blob: map[string]time.Time{}}
	for _, d := range []string{
		bucketDir, "root/cairn/encryption", "root/cairn/task", "volumes", "restored", "root/tmp",
	} {
		must(os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	must(os.Symlink(filepath.Join(dir, "volumes"), filepath.Join(dir, "root/volumes")))
	must(os.Symlink(filepath.Join(dir, "restored"), filepath.Join(dir, "root/restored")))
	must(os.WriteFile(filepath.Join(dir, "root/cairn/encryption/password"), []byte("correct horse\n"), 0o600))
	for _, name := range []string{"east", "west"} {
		w.clusters = append(w.clusters, newCluster(w, name))
	}
	w.plant("README.txt", "holiday/picture.jpg", "shop/web.old/repository.yaml", "shop/web2/repository.yaml",
		"shop/web-notes.txt")
	return w
}

// plant puts files of others into the bucket.
func (w *world) plant(paths ...string) {
	for _, p := range paths {
		w.written++
		w.foreign[p] = fmt.Sprintf("file %d of somebody else\n", w.written)
		name := filepath.Join(w.dir, bucketDir, p)
		must(os.MkdirAll(filepath.Dir(name), 0o755))
		must(os.WriteFile(name, []byte(w.foreign[p]), 0o644))
	}
}

// foreignFiles checks that the files of others are as they were.
func (w *world) foreignFiles() {
	for _, p := range slices.Sorted(maps.Keys(w.foreign)) {
		got, err := os.ReadFile(filepath.Join(w.dir, bucketDir, p))
		if err != nil || string(got) != w.foreign[p] {
			broken("the file %s, which is not Cairn's, is gone or changed: %v", p, err)
		}
	}
}

// leftIn returns the files in a directory of the bucket that are not foreign.
func (w *world) leftIn(directory string) []string {
	var out []string
	root := filepath.Join(w.dir, bucketDir)
	_ = filepath.WalkDir(filepath.Join(root, directory), func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(root, name)
			if _, is := w.foreign[rel]; !is {
				out = append(out, rel)
			}
		}
		return nil
	})
	return out
}

// pod returns a pod on a node whose clock is wrong by skew. The storage is a disk of that node, so its times are wrong
// too: kopia notices where a server has another time.
func (w *world) pod(skew time.Duration) *pod {
	w.stored.now = w.now.Add(skew)
	return &pod{Root: filepath.Join(w.dir, "root"), Volumes: "volumes", Now: w.now.Add(skew), stored: w.stored}
}

// killAt returns an event at which a mover is killed.
func (w *world) killAt(most int) int { return 1 + w.rng.IntN(most) }

// kill lets a mover be killed, mostly while it writes data.
func (w *world) kill(p *pod, most int) { p.KillAt, p.Late = w.killAt(most), w.rng.IntN(4) > 0 }

// skew returns how wrong the clock of a node is: most are right.
func (w *world) skew() time.Duration {
	if w.rng.IntN(3) > 0 {
		return 0
	}
	skews := []time.Duration{time.Minute, 10 * time.Minute, 3 * time.Hour, 49 * time.Hour, 366 * 24 * time.Hour}
	out := skews[w.rng.IntN(len(skews))]
	if w.rng.IntN(2) == 0 {
		out = -out
	}
	w.ahead = w.ahead || out > 0
	w.say("node's clock %+v", out)
	return out
}

// pass lets time pass.
func (w *world) pass() {
	if w.rng.IntN(4) > 0 {
		w.now = w.now.Add(time.Duration(1+w.rng.IntN(40)) * time.Minute)
		return
	}
	far := []time.Duration{5 * time.Hour, 25 * time.Hour, 8 * 24 * time.Hour, 32 * 24 * time.Hour}
	w.now = w.now.Add(far[w.rng.IntN(len(far))])
}

// check verifies everything that must hold after each step.
func (w *world) check() {
	w.foreignFiles()
	for _, c := range w.clusters {
		for _, r := range c.repositories() {
			r.verify()
			r.latest()
		}
	}
}

// engine returns the engine's snapshots in a repository, and the Snapshots that they belong to.
func (w *world) engine(r *repo) map[string]string {
	out := map[string]string{}
	p := w.pod(0)
	e, err := p.driver().Open(w.ctx, r.opened())
	must(err)
	defer func() { _ = e.Close(w.ctx) }()
	all, err := e.List(w.ctx, "")
	must(err)
	for _, s := range all {
		out[s.ID] = s.Tags[judge.TagSnapshotUID]
	}
	return out
}

func oneOf[T any](w *world, of []T) (out T, ok bool) {
	if len(of) == 0 {
		return out, false
	}
	return of[w.rng.IntN(len(of))], true
}

func quoted(s []string) string { return strings.Join(s, ", ") }
