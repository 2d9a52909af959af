package backupsession

import (
	"errors"
	"os"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/session/sessiontest"
	"github.com/cairn-backup/cairn/internal/testbed"
)

var bed testbed.Bed

// shared is the client of all tests, without a cache.
var shared = sync.OnceValue(func() client.WithWatch {
	c, err := client.NewWithWatch(bed.Manager.GetConfig(), client.Options{Scheme: testbed.Scheme()})
	if err != nil {
		panic(err)
	}
	return c
})

// TestMain starts an API server. Most tests drive the reconciler by hand, so the manager runs no controller.
func TestMain(m *testing.M) {
	os.Exit(bed.Run(m, func(ctrl.Manager) error { return nil }))
}

// world is a namespace with a storage in another one, and a reconciler that is driven by hand.
type world struct {
	*WithT
	t         testing.TB
	namespace string
	storage   string
	clock     *clocktesting.FakePassiveClock
	client    client.WithWatch
	events    *record.FakeRecorder
	killer    *sessiontest.Killer
	outcome   func(*batchv1.Job) sessiontest.Outcome
}

func newWorld(t testing.TB) *world {
	t.Helper()
	c := shared()
	w := &world{
		WithT: NewWithT(t), t: t, namespace: bed.Namespace(t, nil), storage: bed.Namespace(t, nil),
		clock: clocktesting.NewFakePassiveClock(time.Now()), client: c, events: record.NewFakeRecorder(1000),
		killer: &sessiontest.Killer{}, outcome: sessiontest.Succeed,
	}
	sessiontest.Storage(t, c, w.storage, w.namespace)
	return w
}

// reconciler is a new one each time, as after a restart: nothing that it remembers can matter.
func (w *world) reconciler() *Reconciler {
	return &Reconciler{
		Client: w.killer.Client(w.client), APIReader: w.client, Scheme: testbed.Scheme(), EventRecorder: w.events,
		Clock: w.clock, MoverImage: "mover:test", ClusterUID: "cluster", FieldManager: "cairn-manager",
	}
}

// reconcile once. A killed manager is started again by the next call.
func (w *world) reconcile(name string) ctrl.Result {
	w.t.Helper()
	result, err := w.reconciler().Reconcile(w.t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Namespace: w.namespace, Name: name}})
	if w.killer.Dead() {
		w.Expect(errors.Is(err, sessiontest.ErrKilled)).To(BeTrue(), "a killed manager reports nothing else: %v", err)
		w.killer = &sessiontest.Killer{}
		return result
	}
	w.Expect(err).NotTo(HaveOccurred())
	return result
}

// settle reconciles and lets the cluster work until the run ended.
func (w *world) settle(name string) *v1alpha1.BackupSession {
	w.t.Helper()
	for range 50 {
		w.reconcile(name)
		sessiontest.Cluster(w.t, w.client, w.namespace, w.outcome)
		if s := w.session(name); s.Status.Phase.Terminal() && !contains(s.Finalizers, v1alpha1.FinalizerCancel) {
			return s
		}
	}
	w.t.Fatalf("%s did not end: %+v", name, w.session(name).Status)
	return nil
}

func contains(all []string, s string) bool {
	for _, a := range all {
		if a == s {
			return true
		}
	}
	return false
}

func (w *world) session(name string) *v1alpha1.BackupSession {
	w.t.Helper()
	s := &v1alpha1.BackupSession{}
	w.Expect(w.client.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, s)).To(Succeed())
	return s
}

func (w *world) snapshot(name string) *v1alpha1.Snapshot {
	w.t.Helper()
	s := &v1alpha1.Snapshot{}
	w.Expect(w.client.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, s)).To(Succeed())
	return s
}

func (w *world) snapshots() []v1alpha1.Snapshot {
	w.t.Helper()
	var list v1alpha1.SnapshotList
	w.Expect(w.client.List(w.t.Context(), &list, client.InNamespace(w.namespace))).To(Succeed())
	return list.Items
}

func (w *world) jobs() []batchv1.Job { return sessiontest.Jobs(w.t, w.client, w.namespace) }

// told are the reasons of the events so far, in order.
func (w *world) told() []string {
	var out []string
	for {
		select {
		case e := <-w.events.Events:
			out = append(out, strings.Fields(e)[1])
		default:
			return out
		}
	}
}

// run makes a BackupSession of an invoker.
func (w *world) run(kind, invoker, name string, edit ...func(*v1alpha1.BackupSession)) {
	w.t.Helper()
	s := &v1alpha1.BackupSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name},
		Spec: v1alpha1.BackupSessionSpec{
			Invoker: v1alpha1.TypedLocalObjectReference{APIGroup: v1alpha1.Group, Kind: kind, Name: invoker}, Session: "nightly",
		},
	}
	for _, e := range edit {
		e(s)
	}
	sessiontest.Create(w.t, w.client, s)
}

var uploads = v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "uploads"}

// configuration makes the policy of the claim uploads, with everything it needs.
func (w *world) configuration(edit ...func(*v1alpha1.BackupConfiguration)) *v1alpha1.BackupConfiguration {
	w.t.Helper()
	c := &v1alpha1.BackupConfiguration{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "uploads"},
		Spec: v1alpha1.BackupConfigurationSpec{
			Target:   new(uploads),
			Backends: []v1alpha1.BackendReference{w.backend()},
			Sessions: []v1alpha1.BackupConfigurationSession{{
				SessionConfig: v1alpha1.SessionConfig{Name: "nightly", BackupTimeout: &metav1.Duration{Duration: time.Hour}},
				Addon:         addon("pvc-addon"),
				Repositories:  []v1alpha1.RepositoryInfo{repository("uploads")},
			}},
		},
	}
	for _, e := range edit {
		e(c)
	}
	sessiontest.Create(w.t, w.client, c,
		sessiontest.Claim(w.namespace, "uploads"),
		sessiontest.Repository(w.namespace, "uploads", w.storage, uploads),
	)
	return c
}

func (w *world) backend() v1alpha1.BackendReference {
	return v1alpha1.BackendReference{Name: "main", StorageRef: &v1alpha1.ObjectReference{Namespace: w.storage, Name: sessiontest.StorageName}}
}

func repository(name string) v1alpha1.RepositoryInfo {
	return v1alpha1.RepositoryInfo{
		Name: name, Backend: "main", Directory: "/" + name + "/", EncryptionSecret: &v1alpha1.ObjectReference{Name: sessiontest.EncryptionName},
	}
}

func addon(name string) *v1alpha1.AddonInfo {
	return &v1alpha1.AddonInfo{Name: name, Tasks: []v1alpha1.TaskReference{{Name: "logical-backup"}}}
}

// batch makes a policy of three targets: a claim, a Deployment and a StatefulSet of two pods, expanded.
func (w *world) batch() *v1alpha1.BackupBatch {
	w.t.Helper()
	apps := []v1alpha1.TypedObjectReference{
		{APIGroup: "apps", Kind: v1alpha1.KindDeployment, Name: "web"}, uploads,
		{APIGroup: "apps", Kind: v1alpha1.KindStatefulSet, Name: "db"},
	}
	b := &v1alpha1.BackupBatch{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "shop"},
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
		sessiontest.Create(w.t, w.client, sessiontest.Repository(w.namespace, "shop-"+app.Name, w.storage, app))
	}
	b.Status.ObservedGeneration = 1
	sessiontest.Create(w.t, w.client, b)
	w.children(b)
	w.workloads()
	return b
}

// children are what the batch's own controller makes.
func (w *world) children(b *v1alpha1.BackupBatch) {
	w.t.Helper()
	children, err := policy.Expand(b)
	w.Expect(err).NotTo(HaveOccurred())
	for i := range children {
		children[i].OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(b, v1alpha1.GroupVersion.WithKind(v1alpha1.BackupBatchKind))}
		sessiontest.Create(w.t, w.client, &children[i])
	}
}

// workloads are the targets of the batch.
func (w *world) workloads() {
	w.t.Helper()
	web, db := map[string]string{"app": "web"}, map[string]string{"app": "db"}
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: db}, Spec: sessiontest.PodSpec("", "none")}
	template.Spec.Volumes = nil
	data := *sessiontest.Claim("", "data")
	data.Status = corev1.PersistentVolumeClaimStatus{}
	sessiontest.Create(w.t, w.client,
		sessiontest.Claim(w.namespace, "uploads"), sessiontest.Claim(w.namespace, "web-data"),
		sessiontest.Claim(w.namespace, "data-db-0"), sessiontest.Claim(w.namespace, "data-db-1"),
		&appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "web"},
			Spec: appsv1.DeploymentSpec{
				Selector: &metav1.LabelSelector{MatchLabels: web},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: web}, Spec: sessiontest.PodSpec("", "web-data")},
			},
		},
		sessiontest.Pod(w.namespace, "web-0", "node-a", "web-data", web),
		&appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "db"},
			Spec: appsv1.StatefulSetSpec{
				Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: db}, Template: template,
				VolumeClaimTemplates: []corev1.PersistentVolumeClaim{data},
			},
		},
		sessiontest.Pod(w.namespace, "db-0", "node-b", "data-db-0", db),
	)
}

// summary is how a run ended, in the form "<target>: <phase>/<reason>".
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
	sort.Strings(out)
	return out
}
