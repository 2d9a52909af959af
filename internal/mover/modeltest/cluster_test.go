package modeltest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/task"
)

const namespace = "shop"

// components are the volumes of an application.
var components = []string{"data", "logs"}

// cluster is a manager with what it knows.
type cluster struct {
	w       *world
	name    string
	uid     string
	volumes map[string]*volume
	// repos are its Repositories by directory.
	repos map[string]*repo
}

// repo is a Repository of a cluster.
type repo struct {
	c         *cluster
	object    v1alpha1.Repository
	directory string
	policy    v1alpha1.RetentionPolicySpec
	snapshots []*snapshot
	// ready means that its init succeeded, lost that another Repository has adopted its directory.
	ready, lost bool
	// adopted means that another Repository had the directory before.
	adopted bool
	scans   int
}

// snapshot is a Snapshot in the API of a cluster.
type snapshot struct {
	v1alpha1.Snapshot
	// harmed are the components whose data was taken away behind Cairn's back.
	harmed map[string]bool
}

// origin is the UID that the Snapshot had when it was made.
func (s *snapshot) origin() types.UID {
	if uid := s.Annotations[v1alpha1.AnnotationRebuilt]; uid != "" {
		return types.UID(uid)
	}
	return s.UID
}

// stays reports whether nobody has deleted the Snapshot.
func (s *snapshot) stays() bool { return s.DeletionTimestamp.IsZero() }

// claims reports whether the Snapshot claims that it can be restored.
func (s *snapshot) claims() bool {
	return s.stays() && s.Status.Phase == v1alpha1.SnapshotSucceeded &&
		(s.Status.Integrity == nil || *s.Status.Integrity)
}

func newCluster(w *world, name string) *cluster {
	c := &cluster{w: w, name: name, uid: "uid-of-" + name}
	c.volumes, c.repos = map[string]*volume{}, map[string]*repo{}
	for _, component := range components {
		dir := filepath.Join(w.dir, "volumes", name, component)
		must(os.MkdirAll(dir, 0o755))
		v := &volume{
			dir: dir, spare: filepath.Join(w.dir, "volumes", "spare"), rng: w.rng, written: &w.written,
			inodes: w.inodes, touched: func() {},
		}
		for range 12 {
			v.change()
		}
		c.volumes[component] = v
	}
	t := c.task(task.KindInitStorage)
	if r := w.pod(0).run(w.ctx, t); r.Outcome != task.OutcomeSucceeded {
		broken("init of the storage: %s", r.Message)
	}
	return c
}

// repositories returns the Repositories of the cluster in a fixed order.
func (c *cluster) repositories() []*repo {
	var out []*repo
	for _, directory := range directories {
		if r := c.repos[directory]; r != nil {
			out = append(out, r)
		}
	}
	return out
}

func (c *cluster) task(kind task.Kind) task.Task {
	return task.Task{
		Kind: kind, Cluster: c.uid, Namespace: namespace,
		Storage: task.Storage{
			Namespace: namespace, Name: "disk", UID: types.UID("storage-of-" + c.name), Spec: v1alpha1.Storage{
				Provider: v1alpha1.ProviderLocal, Local: &v1alpha1.LocalStorage{SubPath: "backups"},
			},
		},
	}
}

// directories are where Repositories lie.
var directories = []string{"shop/web", "shop/web/inner", "shop/web-2"}

var policies = []v1alpha1.RetentionPolicySpec{
	{SuccessfulSnapshots: &v1alpha1.SuccessfulSnapshotsKeepPolicy{Last: new(int32(2))}},
	{SuccessfulSnapshots: &v1alpha1.SuccessfulSnapshotsKeepPolicy{Last: new(int32(1)), Daily: new(int32(2))}},
	{SuccessfulSnapshots: &v1alpha1.SuccessfulSnapshotsKeepPolicy{Hourly: new(int32(2)), Weekly: new(int32(2))}},
	{
		MaxRetentionPeriod:  "10d",
		SuccessfulSnapshots: &v1alpha1.SuccessfulSnapshotsKeepPolicy{Last: new(int32(3))},
	},
}

func (c *cluster) newRepo(directory string) *repo {
	r := &repo{c: c, directory: directory, policy: policies[c.w.rng.IntN(len(policies))]}
	name := strings.ReplaceAll(directory, "/", "-")
	r.object = v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, UID: c.w.uid("repository-of-" + c.name), CreationTimestamp: c.stamp(),
			Finalizers: []string{v1alpha1.FinalizerWipe},
		},
		Spec: v1alpha1.RepositorySpec{AppRef: c.app()},
	}
	c.repos[directory] = r
	return r
}

func (c *cluster) app() v1alpha1.TypedObjectReference {
	return v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: "StatefulSet", Namespace: namespace, Name: "web"}
}

func (c *cluster) stamp() metav1.Time { return metav1.NewTime(c.w.now) }

func (r *repo) String() string { return r.c.name + ":" + r.directory }

func (r *repo) deleted() bool { return !r.object.DeletionTimestamp.IsZero() }

// task returns the part of a task that names the Repository.
func (r *repo) task() *task.Repository {
	return &task.Repository{
		Name: r.object.Name, UID: r.object.UID, AppRef: r.object.Spec.AppRef, Directory: r.directory,
		Driver: v1alpha1.DriverKopia, KeyID: "shop/enc", MustExist: r.ready,
	}
}

// opened returns how to open the repository without a mover.
func (r *repo) opened() repository.Repository {
	w := r.c.w
	return repository.Repository{
		Storage: repository.Storage{Local: &repository.Local{
			Path:   filepath.Join(w.dir, "root/cairn/storage"),
			Prefix: "backups/" + strings.TrimSuffix(layout.EnginePath(r.directory), "/"),
		}},
		Password: "correct horse", Owner: "cairn@" + r.c.uid, WorkDir: filepath.Join(w.dir, "root/tmp"),
	}
}

// consent returns the words that allow the Repository to adopt its directory from the present owner.
func (r *repo) consent() string {
	text, err := os.ReadFile(filepath.Join(r.c.w.dir, "root/cairn/storage/backups", layout.RepositoryPath(r.directory)))
	if err != nil {
		return ""
	}
	owner, err := layout.ParseRepositoryMetadata(text)
	if err != nil {
		return ""
	}
	return owner.Consent(r.directory)
}

// initialise runs the init Job of the Repository. adopt lets it take the directory of another one.
func (r *repo) initialise(adopt bool) bool {
	w := r.c.w
	t := r.c.task(task.KindInitRepository)
	t.Repository = r.task()
	if adopt {
		t.Repository.Adopt = r.consent()
	}
	for {
		p := w.pod(0)
		if w.rng.IntN(4) == 0 {
			p.KillAt = w.killAt(25)
		}
		result := p.run(w.ctx, t)
		if result == nil {
			w.say("%s", p.killed())
			continue
		}
		if result.Outcome == task.OutcomeSucceeded {
			r.ready, r.lost, r.object.Status.InitializedSpec = true, false, "spec"
			return true
		}
		w.say("refused: %s", result.Reason)
		return false
	}
}

// find returns the Snapshots that claim success.
func (r *repo) find(keep func(*snapshot) bool) []*snapshot {
	return slices.DeleteFunc(slices.Clone(r.snapshots), func(s *snapshot) bool { return !keep(s) })
}

// verify restores every Snapshot that claims success, and compares it with what was backed up.
func (r *repo) verify() {
	w := r.c.w
	if r.lost || r.deleted() || !r.ready {
		return
	}
	t := r.c.task(task.KindRestore)
	t.Repository, t.RestoreSession = r.task(), &task.Object{Name: "verify", UID: "verify"}
	t.Snapshot = &task.Snapshot{Name: "any", UID: "any", Spec: &v1alpha1.SnapshotSpec{}}
	type claim struct {
		s         *snapshot
		component string
	}
	var claims []claim
	for _, s := range r.snapshots {
		if !s.claims() || len(s.harmed) > 0 {
			continue
		}
		if w.gone[s.origin()] {
			broken("%s: Snapshot %s, which was removed, claims success again", r, s.Name)
		}
		for _, name := range components {
			if c, ok := s.Status.Components[name]; ok {
				t.Components = append(t.Components, task.Component{Name: fmt.Sprint(len(claims)), ID: c.ID})
				claims = append(claims, claim{s, name})
				must(os.MkdirAll(filepath.Join(w.dir, "restored", fmt.Sprint(len(claims)-1)), 0o755))
			}
		}
	}
	if len(claims) == 0 {
		return
	}
	defer func() { must(clean(filepath.Join(w.dir, "restored"))) }()
	p := w.pod(0)
	p.Volumes = "restored"
	result := p.mover().Restore(w.ctx, t, flags)
	for i, c := range claims {
		what := fmt.Sprintf("%s: Snapshot %s, component %s", r, c.s.Name, c.component)
		if got := result.Components[i]; got.Outcome != task.OutcomeSucceeded {
			broken("%s claims success, but can't be restored: %s: %s\n%s", what, got.Reason, got.Error, p.log.String())
		}
		restored, err := treeOf(filepath.Join(w.dir, "restored", fmt.Sprint(i)))
		must(err)
		if d := w.truth[c.s.origin()][c.component].differs(restored); d != "" {
			broken("%s claims success, but differs: %s", what, d)
		}
		w.verified++
	}
}

// clean empties a directory.
func clean(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
