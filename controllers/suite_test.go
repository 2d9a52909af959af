// Package controllers_test runs several controllers together, as the manager does, and kills the manager at any of its
// writes.
package controllers_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/controllers/backupbatch"
	"github.com/cairn-backup/cairn/controllers/backupconfiguration"
	"github.com/cairn-backup/cairn/controllers/backupsession"
	"github.com/cairn-backup/cairn/controllers/keeper"
	"github.com/cairn-backup/cairn/controllers/repository"
	"github.com/cairn-backup/cairn/controllers/retention"
	"github.com/cairn-backup/cairn/controllers/snapshot"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

var bed testbed.Bed

// TestMain starts an API server. The tests drive the controllers by hand, so the manager runs none.
func TestMain(m *testing.M) {
	none := func(ctrl.Manager) error { return nil }
	os.Exit(bed.Run(m, testbed.WithCatalog(), testbed.WithControllers(none)))
}

// indexes answers lists as the manager's cache does, by the fields that the controllers index, but from the API server:
// other tests cover stale caches.
type indexes struct {
	client.Client
	fields map[string]client.IndexerFunc
}

func fieldOf(o runtime.Object, field string) string { return fmt.Sprintf("%T %s", o, field) }

func (i indexes) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	o := client.ListOptions{}
	o.ApplyOptions(opts)
	asked := o.FieldSelector
	o.FieldSelector = nil
	if err := i.Client.List(ctx, list, &o); err != nil || asked == nil {
		return err
	}
	all, err := meta.ExtractList(list)
	if err != nil {
		return err
	}
	for _, want := range asked.Requirements() {
		all = slices.DeleteFunc(all, func(item runtime.Object) bool {
			values := i.fields[fieldOf(item, want.Field)]
			return !slices.Contains(values(item.(client.Object)), want.Value)
		})
	}
	return meta.SetList(list, all)
}

// registrar is a manager that accepts controllers and starts none.
type registrar struct {
	ctrl.Manager
	fields map[string]client.IndexerFunc
}

func (r registrar) GetFieldIndexer() client.FieldIndexer { return r }

func (r registrar) IndexField(_ context.Context, o client.Object, field string, values client.IndexerFunc) error {
	r.fields[fieldOf(o, field)] = values
	return nil
}

func (r registrar) Add(manager.Runnable) error { return nil }

// controllers is a manager that reconciles all objects of its kinds in a namespace once.
type controllers struct {
	w   *sessiontest.World
	all []controlled
	// spare names the controllers at whose writes the manager is not killed, and spared counts those writes.
	spare  []string
	spared *int
}

type controlled struct {
	reconcile.Reconciler
	name    string
	objects client.ObjectList
}

// started returns a manager that has just started, with the controllers of these names.
func started(w *sessiontest.World, names []string) controllers {
	killed, fields := w.Killer.Client(w.Client), map[string]client.IndexerFunc{}
	c := indexes{killed, fields}
	const image, cluster, name = "mover:test", "cluster", "cairn-manager"
	trigger := func(ctx context.Context, namespace string) error { return access.EnsureTrigger(ctx, c, namespace) }
	out := controllers{w: w}
	for _, one := range []struct {
		name    string
		objects client.ObjectList
		reconciler
	}{
		{"batch", &v1alpha1.BackupBatchList{}, &backupbatch.Reconciler{
			Client: c, EventRecorder: w.Events, APIReader: killed, Clock: w.Clock, MoverImage: image,
			FieldManager:  name,
			EnsureTrigger: trigger,
		}},
		{"configuration", &v1alpha1.BackupConfigurationList{}, &backupconfiguration.Reconciler{
			Client: c, EventRecorder: w.Events, APIReader: killed, Clock: w.Clock, MoverImage: image,
			FieldManager: name,
			ClusterName:  cluster, EnsureTrigger: trigger,
		}},
		{"repository", &v1alpha1.RepositoryList{}, &repository.Reconciler{
			Client: c, EventRecorder: w.Events, APIReader: killed, Clock: w.Clock, MoverImage: image,
			ClusterUID:   cluster,
			FieldManager: name,
		}},
		{"session", &v1alpha1.BackupSessionList{}, &backupsession.Reconciler{
			Client: c, EventRecorder: w.Events, APIReader: killed, Clock: w.Clock, MoverImage: image,
			ClusterUID:   cluster,
			FieldManager: name,
			Scheme:       w.Client.Scheme(), ClusterName: cluster, Hooks: sessiontest.Hooks(w, bed.Config),
		}},
		{"retention", &v1alpha1.RepositoryList{}, &retention.Reconciler{
			Client: c, EventRecorder: w.Events, APIReader: killed,
			Clock: w.Clock, FieldManager: name,
			ServerTime: func(context.Context) (time.Time, error) { return w.Clock.Now(), nil },
			Stopwatch:  func() time.Duration { return time.Hour },
		}},
		{"keeper", nil, &keeper.Reconciler{
			Client: c, EventRecorder: w.Events, APIReader: killed, Clock: w.Clock, MoverImage: image,
			ClusterUID:   cluster,
			FieldManager: name,
		}},
		{"snapshot", &v1alpha1.SnapshotList{}, &snapshot.Reconciler{
			Client: c, EventRecorder: w.Events, APIReader: killed,
			Clock: w.Clock, FieldManager: name,
		}},
	} {
		if !slices.Contains(names, one.name) {
			continue
		}
		opts := controller.Options{SkipNameValidation: new(true)}
		w.Expect(one.SetupWithManager(registrar{bed.Manager, fields}, opts)).To(Succeed())
		out.all = append(out.all, controlled{one.reconciler, one.name, one.objects})
	}
	return out
}

type reconciler interface {
	reconcile.Reconciler
	SetupWithManager(ctrl.Manager, controller.Options) error
}

// Reconcile reconciles every object once. An object that fails is tried again in the next round, as by a queue.
func (c controllers) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	var errs []error
	for _, one := range c.all {
		for _, key := range c.keys(ctx, one.objects) {
			err := c.look(ctx, one, ctrl.Request{NamespacedName: key})
			if c.w.Killer.Dead() {
				return ctrl.Result{}, sessiontest.ErrKilled
			}
			errs = append(errs, err)
		}
	}
	return ctrl.Result{}, errors.Join(errs...)
}

// look makes one controller reconcile one object.
func (c controllers) look(ctx context.Context, one controlled, req ctrl.Request) error {
	killer := c.w.Killer
	at, before := killer.At, killer.Count()
	if slices.Contains(c.spare, one.name) {
		killer.At = 0
		defer func() {
			if *c.spared += killer.Count() - before; at > 0 {
				killer.At = at + killer.Count() - before
			}
		}()
	}
	_, err := one.Reconcile(ctx, req)
	return err
}

// keys returns the objects of a kind; nil stands for the keeper of the world's storage.
func (c controllers) keys(ctx context.Context, list client.ObjectList) []client.ObjectKey {
	if list == nil {
		return []client.ObjectKey{{Namespace: c.w.Namespace, Name: c.w.Storage + "/" + sessiontest.StorageName}}
	}
	var out []client.ObjectKey
	for _, o := range listed(ctx, c.w, list) {
		out = append(out, client.ObjectKeyFromObject(o))
	}
	return out
}

func listed(ctx context.Context, w *sessiontest.World, list client.ObjectList) []client.Object {
	w.T.Helper()
	w.Expect(w.Client.List(ctx, list, client.InNamespace(w.Namespace))).To(Succeed())
	items, err := meta.ExtractList(list)
	w.Expect(err).NotTo(HaveOccurred())
	var out []client.Object
	for _, item := range items {
		out = append(out, item.(client.Object))
	}
	return out
}
