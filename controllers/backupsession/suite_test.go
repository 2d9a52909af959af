package backupsession

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

var bed testbed.Bed

// TestMain starts an API server. Most tests drive the reconciler by hand, so there is no manager.
func TestMain(m *testing.M) {
	os.Exit(bed.Run(m, testbed.WithCatalog()))
}

// world is a namespace in which tests drive runs by hand.
type world struct{ *sessiontest.World }

func newWorld(t testing.TB) *world {
	t.Helper()
	return &world{sessiontest.New(t, &bed, func(w *sessiontest.World) reconcile.Reconciler { return reconciler(w) })}
}

func reconciler(w *sessiontest.World) *Reconciler {
	return &Reconciler{
		Client: w.Killer.Client(indexed(w.Client)), APIReader: w.Client, Scheme: w.Client.Scheme(),
		EventRecorder: w.Events, Clock: w.Clock, MoverImage: "mover:test", ClusterUID: "cluster",
		FieldManager: "cairn-manager", Hooks: sessiontest.Hooks(w, bed.Config),
	}
}

// indexed returns a client that lists the Snapshots of a Repository, as the cache of a manager does.
func indexed(c client.WithWatch) client.WithWatch {
	return interceptor.NewClient(c, interceptor.Funcs{List: func(
		ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption,
	) error {
		o := (&client.ListOptions{}).ApplyOptions(opts)
		snapshots, ok := list.(*v1alpha1.SnapshotList)
		if !ok || o.FieldSelector == nil {
			return c.List(ctx, list, opts...)
		}
		name, ok := o.FieldSelector.RequiresExactMatch(string(snapshotsByRepository))
		if o.FieldSelector = nil; !ok {
			return errors.New("there is no such index")
		}
		err := c.List(ctx, list, o)
		snapshots.Items = slices.DeleteFunc(snapshots.Items, func(s v1alpha1.Snapshot) bool {
			return s.Spec.Repository != name
		})
		return err
	}})
}

// manage makes a manager run the reconciler for the length of the test: watches wake it.
func (w *world) manage() {
	w.T.Helper()
	sessiontest.Manager(w.T, bed.Config, testbed.Scheme(), func(mgr ctrl.Manager) error {
		r := reconciler(w.World)
		r.Client, r.APIReader, r.Clock = mgr.GetClient(), mgr.GetAPIReader(), clock.RealClock{}
		return r.SetupWithManager(mgr, controller.Options{
			SkipNameValidation: new(true), NewQueue: sessiontest.WithoutPolls,
		})
	}, w.Namespace, w.Storage)
}

// settle reconciles and lets the cluster work until the run has ended.
func (w *world) settle(name string) *v1alpha1.BackupSession {
	w.T.Helper()
	s := &v1alpha1.BackupSession{}
	w.Settle(name, s, func() bool { return s.Status.Phase.Terminal() })
	return s
}

func (w *world) session(name string) *v1alpha1.BackupSession {
	w.T.Helper()
	s := &v1alpha1.BackupSession{}
	w.Get(name, s)
	return s
}

func (w *world) snapshot(name string) *v1alpha1.Snapshot {
	w.T.Helper()
	s := &v1alpha1.Snapshot{}
	w.Get(name, s)
	return s
}

// twoRepositories makes the BackupConfiguration of the claim uploads, with the Repositories uploads and second.
func (w *world) twoRepositories() {
	w.T.Helper()
	w.configuration(func(c *v1alpha1.BackupConfiguration) {
		c.Spec.Sessions[0].Repositories = append(c.Spec.Sessions[0].Repositories, repository("second"))
	})
	sessiontest.Create(w.T, w.Client, sessiontest.Repository(w.Namespace, "second", w.Storage, uploads))
}

func (w *world) snapshots() []v1alpha1.Snapshot {
	w.T.Helper()
	var list v1alpha1.SnapshotList
	w.Expect(w.Client.List(w.T.Context(), &list, client.InNamespace(w.Namespace))).To(Succeed())
	return list.Items
}

// limited gives a run a timeout.
func limited(s *v1alpha1.BackupSession) {
	s.Spec.BackupTimeout = &metav1.Duration{Duration: 6 * time.Hour}
}

// run creates a BackupSession of an invoker.
func (w *world) run(kind, invoker, name string, edit ...func(*v1alpha1.BackupSession)) {
	w.T.Helper()
	s := &v1alpha1.BackupSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: name},
		Spec: v1alpha1.BackupSessionSpec{
			Invoker: v1alpha1.TypedLocalObjectReference{APIGroup: v1alpha1.Group, Kind: kind, Name: invoker},
			Session: "nightly",
		},
	}
	for _, e := range edit {
		e(s)
	}
	sessiontest.Create(w.T, w.Client, s)
}

var uploads = v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "uploads"}

// configuration creates the policy of the claim uploads, with everything that it needs.
func (w *world) configuration(edit ...func(*v1alpha1.BackupConfiguration)) *v1alpha1.BackupConfiguration {
	w.T.Helper()
	c := &v1alpha1.BackupConfiguration{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "uploads"},
		Spec: v1alpha1.BackupConfigurationSpec{
			Target:   new(uploads),
			Backends: []v1alpha1.BackendReference{w.backend()},
			Sessions: []v1alpha1.BackupConfigurationSession{{
				SessionConfig: v1alpha1.SessionConfig{
					Name: "nightly", BackupTimeout: &metav1.Duration{Duration: time.Hour},
				},
				Addon:        addon("pvc-addon"),
				Repositories: []v1alpha1.RepositoryInfo{repository("uploads")},
			}},
		},
	}
	for _, e := range edit {
		e(c)
	}
	sessiontest.Create(w.T, w.Client, c,
		sessiontest.Claim(w.Namespace, "uploads"),
		sessiontest.Repository(w.Namespace, "uploads", w.Storage, uploads),
	)
	return c
}

func (w *world) backend() v1alpha1.BackendReference {
	return v1alpha1.BackendReference{Name: "main", StorageRef: &v1alpha1.ObjectReference{
		Namespace: w.Storage,
		Name:      sessiontest.StorageName,
	}}
}

func repository(name string) v1alpha1.RepositoryInfo {
	return v1alpha1.RepositoryInfo{
		Name: name, Backend: "main", Directory: "/" + name + "/",
		EncryptionSecret: &v1alpha1.ObjectReference{Name: sessiontest.EncryptionName},
	}
}

func addon(name string) *v1alpha1.AddonInfo {
	return &v1alpha1.AddonInfo{Name: name, Tasks: []v1alpha1.TaskReference{{Name: "logical-backup"}}}
}

// batch creates an expanded policy of three targets: a claim, a Deployment and a StatefulSet of two pods.
func (w *world) batch(edit ...func(*v1alpha1.BackupBatch)) *v1alpha1.BackupBatch {
	w.T.Helper()
	apps := []v1alpha1.TypedObjectReference{
		{APIGroup: "apps", Kind: v1alpha1.KindDeployment, Name: "web"},
		uploads,
		{APIGroup: "apps", Kind: v1alpha1.KindStatefulSet, Name: "db"},
	}
	b := &v1alpha1.BackupBatch{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "shop"},
		Spec: v1alpha1.BackupBatchSpec{
			Backends: []v1alpha1.BackendReference{w.backend()},
			Sessions: []v1alpha1.BackupBatchSession{{SessionConfig: v1alpha1.SessionConfig{
				Name: "nightly", BackupTimeout: &metav1.Duration{Duration: time.Hour},
			}}},
		},
	}
	for _, app := range apps {
		b.Spec.Targets = append(b.Spec.Targets, v1alpha1.BatchTarget{Name: app.Name, AppRef: app})
		kind := "workload-addon"
		if app == uploads {
			kind = "pvc-addon"
		}
		b.Spec.Sessions[0].Targets = append(b.Spec.Sessions[0].Targets, v1alpha1.BatchSessionTarget{
			Name: app.Name, Addon: addon(kind), Repositories: []v1alpha1.RepositoryInfo{repository("shop-" + app.Name)},
		})
		sessiontest.Create(w.T, w.Client, sessiontest.Repository(w.Namespace, "shop-"+app.Name, w.Storage, app))
	}
	b.Status.ObservedGeneration = 1
	for _, e := range edit {
		e(b)
	}
	sessiontest.Create(w.T, w.Client, b)
	w.children(b)
	w.workloads()
	return b
}

// children creates what the batch's own controller creates.
func (w *world) children(b *v1alpha1.BackupBatch) {
	w.T.Helper()
	children, err := policy.Expand(b, nil)
	w.Expect(err).NotTo(HaveOccurred())
	for i := range children {
		children[i].OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(b,
			v1alpha1.GroupVersion.WithKind(v1alpha1.BackupBatchKind))}
		sessiontest.Create(w.T, w.Client, &children[i])
	}
}

// workloads creates the targets of the batch.
func (w *world) workloads() {
	w.T.Helper()
	web, db := map[string]string{"app": "web"}, map[string]string{"app": "db"}
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: db}, Spec: sessiontest.PodSpec("", "none")}
	template.Spec.Volumes = nil
	data := *sessiontest.Claim("", "data")
	data.Status = corev1.PersistentVolumeClaimStatus{}
	sessiontest.Create(w.T, w.Client,
		sessiontest.Claim(w.Namespace, "uploads"), sessiontest.Claim(w.Namespace, "web-data"),
		sessiontest.Claim(w.Namespace, "data-db-0"), sessiontest.Claim(w.Namespace, "data-db-1"),
		&appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "web"},
			Spec: appsv1.DeploymentSpec{
				Selector: &metav1.LabelSelector{MatchLabels: web},
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: web},
					Spec:       sessiontest.PodSpec("", "web-data"),
				},
			},
		},
		sessiontest.Pod(w.Namespace, "web-0", "node-a", "web-data", web),
		&appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "db"},
			Spec: appsv1.StatefulSetSpec{
				Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: db}, Template: template,
				VolumeClaimTemplates: []corev1.PersistentVolumeClaim{data},
			},
		},
		sessiontest.Pod(w.Namespace, "db-0", "node-b", "data-db-0", db),
	)
}

// summary returns how a run ended, in the form "<target>: <phase>/<reason>".
func summary(s *v1alpha1.BackupSession) []string {
	out := []string{string(s.Status.Phase) + "/" + s.Status.Reason}
	for _, t := range s.Status.Targets {
		out = append(out, t.Name+": "+string(t.Phase)+"/"+t.Reason)
	}
	return out
}

func names[T any](items []T, name func(*T) string) []string {
	var out []string
	for i := range items {
		out = append(out, name(&items[i]))
	}
	slices.Sort(out)
	return out
}
