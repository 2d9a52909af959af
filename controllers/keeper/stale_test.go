package keeper_test

import (
	"context"
	"reflect"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/controllers/retention"
	"github.com/cairn-backup/cairn/controllers/snapshot"
)

// stale is a cache that holds some objects as they were.
type stale struct {
	client.Client
	were []client.Object
}

// age replaces an object by what it was.
func (c stale) age(o client.Object) {
	for _, was := range c.were {
		if reflect.TypeOf(was) == reflect.TypeOf(o) && was.GetUID() == o.GetUID() {
			reflect.ValueOf(o).Elem().Set(reflect.ValueOf(was.DeepCopyObject()).Elem())
		}
	}
}

func (c stale) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	if err := c.Client.Get(ctx, key, o, opts...); err != nil {
		return err
	}
	c.age(o)
	return nil
}

func (c stale) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if err := c.Client.List(ctx, list, opts...); err != nil {
		return err
	}
	return apimeta.EachListItem(list, func(o runtime.Object) error {
		c.age(o.(client.Object))
		return nil
	})
}

// staleRetention is a reconciler whose cache holds some objects as they were.
func staleRetention(were ...client.Object) *retention.Reconciler {
	return &retention.Reconciler{
		Client: stale{bed.Manager.GetClient(), were}, EventRecorder: &events, APIReader: bed.Manager.GetAPIReader(),
		Clock: now, FieldManager: "cairn-manager", Stopwatch: func() time.Duration { return 2 * time.Hour },
		ServerTime: func(context.Context) (time.Time, error) { return now.Now(), nil },
	}
}

// Each time the policy keeps the older of two Snapshots, but the cache does not know why yet.
func TestAStaleCacheRemovesNothing(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(s *shop, newest, older *v1alpha1.Snapshot) (was client.Object){
		"the newest was found damaged": func(s *shop, newest, _ *v1alpha1.Snapshot) client.Object {
			was := newest.DeepCopy()
			bed.EditStatus(s.t, newest, func() { newest.Status.Integrity = new(false) })
			s.policy("c", last(1), "web")
			return was
		},
		"the policy keeps more": func(s *shop, _, _ *v1alpha1.Snapshot) client.Object {
			p := s.policy("c", last(2), "web")
			was := p.DeepCopy()
			was.Generation, was.Spec = p.Generation-1, last(1)
			return was
		},
		"another policy is named": func(s *shop, _, _ *v1alpha1.Snapshot) client.Object {
			s.policy("d", last(1)) // nothing uses it
			s.policy("c", last(2), "web")
			c := &v1alpha1.BackupConfiguration{}
			NewWithT(s.t).Expect(bed.Client.Get(s.t.Context(), client.ObjectKey{Namespace: s.namespace, Name: "c"}, c)).
				To(Succeed())
			c.Spec.Backends[0].RetentionPolicy.Name = "keep-d"
			return c
		},
		"the Repository is paused": func(s *shop, _, _ *v1alpha1.Snapshot) client.Object {
			was := s.repository.DeepCopy()
			bed.Edit(s.t, s.repository, func() { s.repository.Spec.Paused = true })
			s.policy("c", last(1), "web")
			return was
		},
		"the older is paused": func(s *shop, _, older *v1alpha1.Snapshot) client.Object {
			was := older.DeepCopy()
			bed.Edit(s.t, older, func() { older.Spec.Paused = true })
			s.policy("c", last(1), "web")
			return was
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, s := NewWithT(t), newShop(t)
			newest, older := s.snapshot(s.repository, 1, good), s.snapshot(s.repository, 2, good)
			was := change(s, newest, older)
			bed.Quiet(t, s.namespace)
			expectKept(t, older)

			result, err := staleRetention(was).Reconcile(t.Context(),
				ctrl.Request{NamespacedName: client.ObjectKeyFromObject(s.repository)})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(result.RequeueAfter).To(Equal(time.Second), "it decides again soon")
			for _, snapshot := range []*v1alpha1.Snapshot{newest, older} {
				expectKept(t, snapshot)
				g.Expect(snapshot.Spec.DeletionPolicy).To(Equal(v1alpha1.DeleteObjects))
				g.Expect(conditions.Has(snapshot, v1alpha1.ConditionRetained)).To(BeFalse(), "nothing was marked")
			}
		})
	}
}

// Anybody can change a label. The Repository of a Snapshot is in its spec.
func TestAWronglyLabelledSnapshotHoldsUpNoRemoval(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	label := func(value string) func(*v1alpha1.Snapshot) {
		return func(o *v1alpha1.Snapshot) { o.Labels[v1alpha1.LabelRepository] = value }
	}
	other := s.snapshot(s.newRepository("other"), 1, good, label("web"))
	newest := s.snapshot(s.repository, 1, good, label("other"))
	older, oldest := s.snapshot(s.repository, 2, good, label("web")), s.snapshot(s.repository, 3, good)
	s.policy("c", last(1), "web", "other")
	s.removes(older, oldest)
	expectKept(t, newest)
	expectKept(t, other)
}

// paused is the cache of a manager that was paused: it lacks the restores that began since.
type paused struct{ client.Client }

func (c paused) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if err := c.Client.List(ctx, list, opts...); err != nil {
		return err
	}
	if restores, ok := list.(*v1alpha1.RestoreSessionList); ok {
		restores.Items = nil
	}
	return nil
}

// Whoever removes VolumeSnapshots looks past the cache for restores, as a keeper does.
func TestARestoreThatTheCacheLacksKeepsItsVolumeSnapshots(t *testing.T) {
	t.Parallel()
	g, l := NewWithT(t), newLab(t)
	l.backup(1, "Delete")
	s, v := l.backup(2, "Delete")
	l.restoring(s)
	bed.Edit(t, s, func() { s.Spec.DeletionPolicy = v1alpha1.WipeOut })
	g.Expect(bed.Client.Delete(t.Context(), s)).To(Succeed())
	bed.Eventually(t, s, func(g Gomega) {
		g.Expect(conditions.GetReason(s, v1alpha1.ConditionWiped)).To(Equal(v1alpha1.ReasonInUse))
	}, "the restore holds it")

	r := &snapshot.Reconciler{
		Client: paused{bed.Manager.GetClient()}, EventRecorder: &events, APIReader: bed.Manager.GetAPIReader(),
		Clock: clock.RealClock{}, FieldManager: "cairn-manager",
	}
	_, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(s)})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(v), v)).To(Succeed(), "the restore reads it")
	g.Expect(v.DeletionTimestamp).To(BeNil(), "the restore reads it")
}
