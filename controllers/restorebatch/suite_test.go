package restorebatch

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/controllers/restoresession"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

var bed testbed.Bed

// TestMain starts an API server. The tests drive the reconcilers by hand, so there is no manager.
func TestMain(m *testing.M) {
	os.Exit(bed.Run(m, testbed.WithCatalog()))
}

// world is a namespace with the Snapshots of a BackupBatch of three claims. Tests drive its RestoreBatches by hand, and
// its RestoreSessions by a reconciler of the manager.
type world struct{ *sessiontest.World }

// names are the targets of the BackupBatch shop.
var names = []string{"web", "uploads", "db"}

// newWorld has three restore points: first and second are complete; in third, db failed.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{sessiontest.New(t, &bed, func(w *sessiontest.World) reconcile.Reconciler { return reconcileAll{w} })}
	for _, name := range names {
		app := v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: name}
		sessiontest.Create(t, w.Client, sessiontest.Repository(w.Namespace, "shop-"+name, w.Storage, app),
			sessiontest.Claim(w.Namespace, name))
		for hour, run := range []string{"first", "second", "third"} {
			w.snapshot(run, run, name, hour+1, run == "third" && name == "db")
		}
	}
	return w
}

// snapshot creates the Snapshot of a target, as a run does that adds a target to the restore point.
func (w *world) snapshot(point, run, target string, hour int, failed bool) {
	w.T.Helper()
	phase := v1alpha1.SnapshotSucceeded
	if failed {
		phase = v1alpha1.SnapshotFailed
	}
	sessiontest.Create(w.T, w.Client, &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.Namespace, Name: "shop-" + target + "-" + run, Labels: map[string]string{
				v1alpha1.LabelInvokerKind: v1alpha1.BackupBatchKind, v1alpha1.LabelInvokerName: "shop",
				v1alpha1.LabelRestorePoint:  point,
				v1alpha1.LabelConfiguration: policy.ChildName("shop", target),
				v1alpha1.LabelRepository:    "shop-" + target,
			},
		},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: target + "-" + run, Repository: "shop-" + target, Session: "hourly", BackupSession: run,
			Version: v1alpha1.SnapshotLayoutVersion,
			AppRef: v1alpha1.TypedObjectReference{
				Kind: v1alpha1.KindPersistentVolumeClaim, Namespace: w.Namespace,
				Name: target,
			},
		},
		Status: v1alpha1.SnapshotStatus{
			Phase: phase, SnapshotTime: &metav1.Time{Time: time.Date(2026, 7, 1, hour, 0, 0, 0, time.UTC)},
			Components: map[string]v1alpha1.Component{"pvc": {
				Phase: phase, Driver: v1alpha1.DriverKopia,
				ID: "k-" + target + "-" + run,
			}},
		},
	})
}

// restore creates a RestoreBatch of the newest restore point into the claims that were backed up.
func (w *world) restore(name string, edit ...func(*v1alpha1.RestoreBatch)) {
	w.T.Helper()
	b := &v1alpha1.RestoreBatch{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: name},
		Spec: v1alpha1.RestoreBatchSpec{
			DataSource: v1alpha1.RestoreBatchDataSource{
				BackupBatch: "shop", BackupSession: v1alpha1.LatestBackupSession,
			},
			RestoreTimeout: &metav1.Duration{Duration: time.Hour},
		},
	}
	for _, target := range names {
		b.Spec.Targets = append(b.Spec.Targets, v1alpha1.RestoreBatchTarget{Name: target})
	}
	for _, e := range edit {
		e(b)
	}
	w.Expect(w.Client.Create(w.T.Context(), b)).To(succeed())
}

// reconcileAll reconciles the RestoreSessions of the namespace, and then the RestoreBatch.
type reconcileAll struct{ w *sessiontest.World }

func (b reconcileAll) children(ctx context.Context, namespace string) error {
	w := b.w
	children := &restoresession.Reconciler{
		Client: w.Client, APIReader: w.Client, EventRecorder: w.Events,
		Clock: w.Clock, MoverImage: "mover:test", ClusterUID: "cluster", FieldManager: "cairn-manager",
		Hooks: sessiontest.Hooks(w, bed.Config),
	}
	deploymentController(ctx, w)
	var list v1alpha1.RestoreSessionList
	if err := w.Client.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return err
	}
	for i := range list.Items {
		if _, err := children.Reconcile(ctx,
			ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])}); err != nil {
			return err
		}
	}
	return nil
}

func (b reconcileAll) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if err := b.children(ctx, req.Namespace); err != nil {
		return ctrl.Result{}, err
	}
	return reconciler(b.w).Reconcile(ctx, req)
}

// deploymentController marks the newest spec of the Deployments as observed.
func deploymentController(ctx context.Context, w *sessiontest.World) {
	var list appsv1.DeploymentList
	w.Expect(w.Client.List(ctx, &list, client.InNamespace(w.Namespace))).To(succeed())
	for i := range list.Items {
		d := &list.Items[i]
		d.Status.ObservedGeneration, d.Status.Replicas = d.Generation, *d.Spec.Replicas
		w.Expect(w.Client.Status().Update(ctx, d, client.FieldOwner("kube-controller-manager"))).To(succeed())
	}
}

func reconciler(w *sessiontest.World) *Reconciler {
	return &Reconciler{
		Client: w.Killer.Client(w.Client), APIReader: w.Client, EventRecorder: w.Events,
		Clock: w.Clock, MoverImage: "mover:test", FieldManager: "cairn-manager",
		Hooks: sessiontest.Hooks(w, bed.Config),
	}
}

// settle reconciles and lets the cluster work until the restore has ended.
func (w *world) settle(name string) *v1alpha1.RestoreBatch {
	w.T.Helper()
	b := &v1alpha1.RestoreBatch{}
	w.Settle(name, b, func() bool { return b.Status.Phase.Terminal() })
	return b
}

func (w *world) batch(name string) *v1alpha1.RestoreBatch {
	w.T.Helper()
	b := &v1alpha1.RestoreBatch{}
	w.Get(name, b)
	return b
}

// children returns the RestoreSessions of the namespace.
func (w *world) children() []v1alpha1.RestoreSession {
	w.T.Helper()
	var list v1alpha1.RestoreSessionList
	w.Expect(w.Client.List(w.T.Context(), &list, client.InNamespace(w.Namespace))).To(succeed())
	return list.Items
}

// forget deletes an ended RestoreBatch, and plays the garbage collector.
func (w *world) forget(name string) {
	w.T.Helper()
	remove := func(o client.Object) {
		before := o.DeepCopyObject().(client.Object)
		o.SetFinalizers(nil)
		w.Expect(w.Client.Patch(w.T.Context(), o, client.MergeFrom(before))).To(succeed())
		w.Expect(client.IgnoreNotFound(w.Client.Delete(w.T.Context(), o))).To(succeed())
	}
	b := w.batch(name)
	remove(b)
	for _, s := range w.children() {
		if metav1.IsControlledBy(&s, b) {
			remove(&s)
		}
	}
	for _, job := range w.Jobs() {
		remove(&job)
	}
}

// again makes a RestoreBatch again under its name, as a GitOps tool does.
func (w *world) again(b *v1alpha1.RestoreBatch) {
	w.T.Helper()
	w.forget(b.Name)
	w.restore(b.Name, func(again *v1alpha1.RestoreBatch) { again.Spec = *b.Spec.DeepCopy() })
}

// summary returns how a restore and its targets ended, with the Snapshots.
func summary(b *v1alpha1.RestoreBatch) []string {
	out := []string{fmt.Sprintf("%s/%s of %s", b.Status.Phase, b.Status.Reason, b.Status.RestorePoint)}
	for _, t := range b.Status.Targets {
		out = append(out, fmt.Sprintf("%s: %s/%s of %s", t.Name, t.Phase, t.Reason,
			strings.TrimPrefix(t.Snapshot, "shop-"+t.Name+"-")))
	}
	return out
}
