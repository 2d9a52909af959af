package ledger

import (
	"context"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Who reads nothing but the branch learns that no backup of a target can be restored, and of one that can't.
func TestThePageNamesTargetsWithDamagedBackups(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	page := func() string { return w.rendered("l") }
	w.ledger("l")
	w.nightly("data")
	w.uses("data", "repo")
	const all, newest = "PersistentVolumeClaim/data (**all backups damaged**)",
		"PersistentVolumeClaim/data (**newest backup damaged: 1 of 2**)"
	const older = "PersistentVolumeClaim/data (**some backups damaged: 1 of 2**)"
	some := "\n**Some backups damaged:** BackupConfiguration/data in " + w.namespace + " (1 of 1 targets).\n"
	top := "\n**Damaged:** BackupConfiguration/data in " + w.namespace + " (1 of 1 targets).\n"
	say := func(run string, whole *bool) {
		s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "repo-" + run}}
		bed.EditStatus(t, s, func() { s.Status.Integrity = whole })
	}
	edit := func(run string, change func(*v1alpha1.Snapshot)) {
		s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "repo-" + run}}
		bed.Edit(t, s, func() { change(s) })
		bed.EditStatus(t, s, func() { s.Status.SnapshotTime = &metav1.Time{Time: w.clock.Now()} })
	}
	run := func(name string, change func(*v1alpha1.Snapshot)) {
		w.pass(time.Minute)
		w.session(name, func(s *v1alpha1.BackupSession) {
			s.Spec.Invoker.Kind, s.Spec.Invoker.Name = v1alpha1.BackupConfigurationKind, "data"
		})
		edit(name, change)
	}
	own := func(s *v1alpha1.Snapshot) {
		s.Labels = map[string]string{
			v1alpha1.LabelInvokerKind: v1alpha1.BackupConfigurationKind, v1alpha1.LabelInvokerName: "data",
		}
	}
	run("a", own)
	before := page()
	say("a", new(true))
	g.Expect(page()).To(Equal(before))
	say("a", new(false))
	g.Expect(page()).To(And(ContainSubstring(top), ContainSubstring(all)))

	run("elsewhere", func(s *v1alpha1.Snapshot) {
		s.Labels = map[string]string{v1alpha1.LabelInvokerName: "another"}
	})
	g.Expect(page()).To(ContainSubstring(top), "another policy does not keep its backup in the same place")

	run("b", own)
	g.Expect(page()).To(And(ContainSubstring(some), ContainSubstring(older), Not(ContainSubstring("**Damaged"))),
		"there is a newer one that nobody has checked")
	say("b", new(false))
	say("a", new(true))
	g.Expect(page()).To(And(ContainSubstring(some), ContainSubstring(newest), Not(ContainSubstring("**Damaged"))))
	say("b", new(true))
	g.Expect(page()).NotTo(ContainSubstring("damaged"))
}

// The answer to damage is a new Repository. What the old one holds accuses the target no more, once the new one has a
// backup.
func TestADamagedRepositoryThatThePolicyHasLeft(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	w.ledger("l")
	w.nightly("data")
	made := func(name, repository string, whole bool) {
		w.pass(time.Minute)
		s := &v1alpha1.Snapshot{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name, Labels: map[string]string{
				v1alpha1.LabelInvokerKind: v1alpha1.BackupConfigurationKind, v1alpha1.LabelInvokerName: "data",
			}},
			Spec: v1alpha1.SnapshotSpec{
				SnapshotID: "01J4A6Z8Q3M5N7P9R1S3T5V7X0", Repository: repository, Session: "nightly",
				BackupSession: name, Version: "v1",
				AppRef: v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "data"},
			},
			Status: v1alpha1.SnapshotStatus{
				Phase: v1alpha1.SnapshotSucceeded, TotalComponents: 1, Integrity: &whole,
				SnapshotTime: &metav1.Time{Time: w.clock.Now()},
			},
		}
		w.createWithStatus(s)
	}
	uses := func(repository string) { w.uses("data", repository) }
	made("a", "old", true)
	made("b", "old", false)
	g.Expect(w.rendered("l")).To(ContainSubstring("newest backup damaged"))
	uses("new")
	g.Expect(w.rendered("l")).To(ContainSubstring("newest backup damaged"), "there is no newer one")
	made("c", "new", true)
	g.Expect(w.rendered("l")).NotTo(ContainSubstring("damaged"))
	uses("old")
	g.Expect(w.rendered("l")).To(ContainSubstring("newest backup damaged"))
	uses("another")
	g.Expect(w.rendered("l")).NotTo(ContainSubstring("damaged"), "the newest of all is whole")
}

// A directory or a bucket that is gone, or a repository without its keys, takes all backups along. Nobody can check
// them any more, so that no Snapshot says so.
func TestThePageNamesTargetsWhoseRepositoryCantBeOpened(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ repository, storage, want string }{
		"ready":              {repository: v1alpha1.ReasonReady},
		"the directory":      {repository: v1alpha1.ReasonRepositoryNotFound, want: v1alpha1.ReasonRepositoryNotFound},
		"its keys":           {repository: v1alpha1.ReasonRepositoryDamaged, want: v1alpha1.ReasonRepositoryDamaged},
		"the bucket":         {repository: v1alpha1.ReasonBucketNotFound, want: v1alpha1.ReasonBucketNotFound},
		"a storage away":     {repository: v1alpha1.ReasonUnreachable},
		"another password":   {repository: v1alpha1.ReasonPasswordChanged},
		"a storage not made": {repository: v1alpha1.ReasonStorageNotReady},
		"a bucket that its storage misses": {
			repository: v1alpha1.ReasonStorageNotReady, storage: v1alpha1.ReasonBucketNotFound,
			want: v1alpha1.ReasonBucketNotFound,
		},
		"a disk that its storage misses": {
			repository: v1alpha1.ReasonStorageNotReady, storage: v1alpha1.ReasonMetadataNotFound,
			want: v1alpha1.ReasonMetadataNotFound,
		},
		"another fault of the storage": {
			repository: v1alpha1.ReasonStorageNotReady, storage: v1alpha1.ReasonAccessDenied,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			w.ledger("l")
			w.nightly("data")
			w.repository("repo", tt.repository)
			if tt.storage != "" {
				s := &v1alpha1.BackupStorage{
					ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "s3"},
					Spec: v1alpha1.BackupStorageSpec{Storage: v1alpha1.Storage{
						Provider: v1alpha1.ProviderS3,
						S3:       &v1alpha1.S3Storage{Bucket: "gone"},
					}},
				}
				conditions.MarkFalse(s, meta.ReadyCondition, tt.storage, "x")
				w.createWithStatus(s)
			}
			g.Expect(w.rendered("l")).NotTo(ContainSubstring("be read"), "it has no backup yet")
			w.session("a")
			if tt.want == "" {
				g.Expect(w.rendered("l")).NotTo(ContainSubstring("be read"))
				return
			}
			g.Expect(w.rendered("l")).To(And(
				ContainSubstring("PersistentVolumeClaim/data (**backups can't be read: "+tt.want+"**)"),
				ContainSubstring("\n**Can't be read:** BackupConfiguration/data in "+w.namespace+
					" (1 of 1 targets).\n")))
		})
	}
}

// A backup in another Repository can be read. Once the policy has left the one that is lost, that accuses nobody.
func TestALostRepositoryOfSeveral(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	w.ledger("l")
	w.nightly("data")
	uses := func(names ...string) { w.uses("data", names...) }
	const all, some = "(**backups can't be read: RepositoryNotFound**)",
		"(**some backups can't be read: RepositoryNotFound**)"
	w.repository("lost", v1alpha1.ReasonRepositoryNotFound)
	w.repository("repo", v1alpha1.ReasonReady)
	uses("lost")
	copied := func(run, repository string) *v1alpha1.Snapshot {
		w.session(run)
		s := get(w, &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "repo-" + run}})
		s = &v1alpha1.Snapshot{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: repository + "-" + run + "-copy"},
			Spec:       s.Spec, Status: s.Status,
		}
		s.Spec.Repository = repository
		w.createWithStatus(s)
		return s
	}
	copied("a", "lost")
	g.Expect(w.rendered("l")).To(And(ContainSubstring(some), Not(ContainSubstring("**Can't"))))
	uses("repo")
	g.Expect(w.rendered("l")).NotTo(ContainSubstring("be read"))
	s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "repo-a"}}
	bed.EditStatus(t, s, func() { s.Status.Integrity = new(false) })
	g.Expect(w.rendered("l")).To(And(ContainSubstring(all), ContainSubstring("**Can't")), "the other is damaged")
}

// One copy can't be read. Of the other, two of four backups are damaged.
func TestACopyThatCantBeReadHidesNoDamage(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	w.ledger("ledger")
	w.nightly("data")
	w.uses("data", "repo", "gone")
	w.repository("repo", v1alpha1.ReasonReady)
	w.repository("gone", v1alpha1.ReasonRepositoryNotFound)
	claim := v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "data"}
	for _, name := range []string{"a", "b", "c", "d"} {
		w.session(name, func(s *v1alpha1.BackupSession) {
			s.Spec.Invoker.Kind, s.Spec.Invoker.Name = v1alpha1.BackupConfigurationKind, "data"
			s.Status.Targets = []v1alpha1.BackupTargetStatus{
				{Name: "data", Phase: v1alpha1.BackupSessionSucceeded, AppRef: claim},
			}
		})
	}
	for _, name := range []string{"c", "d"} {
		s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "repo-" + name}}
		bed.EditStatus(t, s, func() { s.Status.Integrity = new(false) })
	}
	w.createWithStatus(&v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "gone-a"},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: "01J4A6Z8Q3M5N7P9R1S3T5V7X1", Repository: "gone", Session: "hourly", BackupSession: "a",
			Version: "v1", AppRef: claim,
		},
		Status: v1alpha1.SnapshotStatus{
			Phase: v1alpha1.SnapshotSucceeded, TotalComponents: 1,
			Components: map[string]v1alpha1.Component{
				"pvc": {Phase: v1alpha1.SnapshotSucceeded, ID: "k1", SizeBytes: 1},
			},
		},
	})
	page := w.rendered("ledger")
	g.Expect(page).To(ContainSubstring("\n**Some backups damaged:** BackupConfiguration/data "))
	g.Expect(page).To(ContainSubstring("(**some backups can't be read: RepositoryNotFound; newest backup damaged: "))
}

// uses makes a policy back up into Repositories.
func (w *world) uses(policy string, names ...string) {
	w.t.Helper()
	c := &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: policy}}
	bed.Edit(w.t, c, func() {
		c.Spec.Sessions[0].Repositories = nil
		for _, name := range names {
			c.Spec.Sessions[0].Repositories = append(c.Spec.Sessions[0].Repositories,
				v1alpha1.RepositoryInfo{Name: name})
		}
	})
}

// repository makes a Repository that is ready, or not for a reason.
func (w *world) repository(name, reason string) {
	w.t.Helper()
	r := &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name},
		Spec: v1alpha1.RepositorySpec{
			StorageRef: v1alpha1.ObjectReference{Name: "s3"}, Path: "x/" + name,
			EncryptionSecret: v1alpha1.ObjectReference{Name: "key"},
		},
	}
	if reason == v1alpha1.ReasonReady {
		conditions.MarkTrue(r, meta.ReadyCondition, reason, "x")
	} else {
		conditions.MarkFalse(r, meta.ReadyCondition, reason, "x")
	}
	w.createWithStatus(r)
}

// The Snapshots of a large cluster are too many to read for a page that has no row of them.
func TestThePageReadsOnlySnapshotsOfItsNamespaces(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	w.nightly("data")
	w.repository("repo", v1alpha1.ReasonRepositoryNotFound)
	w.session("a")
	s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "repo-a"}}
	bed.EditStatus(t, s, func() { s.Status.Integrity = new(false) })
	var lists int
	w.reconciler.Client = interceptor.NewClient(w.client, interceptor.Funcs{List: func(
		ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption,
	) error {
		if _, ok := list.(*v1alpha1.SnapshotList); ok {
			if o := (&client.ListOptions{}).ApplyOptions(opts); o.Namespace == w.namespace {
				lists++
			}
		}
		return c.List(ctx, list, opts...)
	}})
	w.ledger("other", func(l *v1alpha1.Ledger) {
		l.Spec.Path = "other"
		l.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "none"}}
	})
	w.rendered("other")
	g.Expect(lists).To(BeZero())
	w.ledger("own", func(l *v1alpha1.Ledger) { l.Spec.Path = "own" })
	g.Expect(w.rendered("own")).To(ContainSubstring("be read"))
	g.Expect(lists).NotTo(BeZero())
}
