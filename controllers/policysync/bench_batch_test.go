package policysync

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/ssa"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/controllers/backupbatch"
	"github.com/cairn-backup/cairn/internal/kube/footprint"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// The application of the benchmark: its number of volumes, in two halves.
const (
	halves      = 2
	volumesEach = v1alpha1.MaxSessionTargets
)

// thousand is a batch of all of these volumes.
func thousand() string {
	targets, sessions := "", ""
	for half := range halves {
		targets += fmt.Sprintf("  - {name: half%d, selector: {kinds: [PersistentVolumeClaim], maxTargets: %d, "+
			"labelSelector: {matchLabels: {half: \"%d\"}}}}\n", half, volumesEach, half)
		sessions += fmt.Sprintf("  - name: nightly%d\n    scheduler: {schedule: \"0 2 * * *\"}\n    targets: "+
			"[{name: half%d}]\n"+
			"    repositories: [{name: app, backend: main, directory: /app, encryptionSecret: {name: enc}}]\n",
			half, half)
	}
	return "apiVersion: backup.cairn.dev/v1alpha1\nkind: BackupBatch\nmetadata: {name: app}\nspec:\n" +
		"  backends: [{name: main, storageRef: {name: local}}]\n  targets:\n" + targets + "  sessions:\n" + sessions
}

// BenchmarkBatch1000 measures a batch of 1,000 targets that selectors find, from Git until all its children are applied
// and its status reports it. Beside it, it measures one plain apply of the same children with fluxcd/pkg/ssa. The two
// take turns, and the fastest run of each counts. The controller of BackupBatches runs in a manager, as it does in a
// cluster.
func BenchmarkBatch1000(b *testing.B) {
	const rounds = 3
	manager := batchManager(b)
	var ours, theirs time.Duration
	fastest := func(so *time.Duration, run func()) {
		start := time.Now()
		run()
		if took := time.Since(start); *so == 0 || took < *so {
			*so = took
		}
	}
	for range rounds {
		r := newRoom(b)
		r.volumes(manager)
		r.push(map[string]string{"policy/storage.yaml": storage("local"), "policy/batch.yaml": thousand()})
		fastest(&ours, func() {
			r.reconcile()
			r.expanded(manager)
		})
		children := r.children()
		plain := newRoom(b)
		for _, child := range children {
			child.SetNamespace(plain.namespace)
		}
		fastest(&theirs, func() {
			manager := ssa.NewResourceManager(plain.Client, nil, owner)
			manager.SetConcurrency(theirConcurrency)
			changes, err := manager.ApplyAll(b.Context(), children, ssa.DefaultApplyOptions())
			r.g.Expect(err).NotTo(HaveOccurred())
			r.g.Expect(changes.Entries).To(HaveLen(halves * volumesEach))
		})
	}
	b.ReportMetric(float64(ours.Nanoseconds()), "ours-ns")
	b.ReportMetric(float64(theirs.Nanoseconds()), "theirs-ns")
}

// batchManager starts a manager that runs the controller of BackupBatches.
func batchManager(b *testing.B) ctrl.Manager {
	b.Helper()
	g := NewWithT(b)
	unbound := rest.CopyConfig(bed.Config)
	unbound.QPS = -1
	mgr, err := ctrl.NewManager(unbound, ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Cache: footprint.Cache(),
		Client: footprint.Client(),
	})
	g.Expect(err).NotTo(HaveOccurred())
	reconciler := &backupbatch.Reconciler{
		Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), EventRecorder: &testbed.Events{},
		Clock:      clock.RealClock{},
		MoverImage: "mover:test", FieldManager: "cairn-manager",
		EnsureTrigger: func(context.Context, string) error { return nil },
	}
	g.Expect(reconciler.SetupWithManager(mgr, controller.Options{SkipNameValidation: new(true)})).To(Succeed())
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	b.Cleanup(func() {
		stop()
		g.Expect(<-ended).To(Succeed())
	})
	g.Expect(mgr.GetCache().WaitForCacheSync(ctx)).To(BeTrue())
	return mgr
}

// volumes creates the application, and waits until the manager knows it.
func (r *testNamespace) volumes(manager ctrl.Manager) {
	r.t.Helper()
	for half := range halves {
		for i := range volumesEach {
			claim := testbed.Claim(r.namespace, fmt.Sprintf("data-%d-%03d", half, i))
			claim.Labels = map[string]string{"half": fmt.Sprint(half)}
			claim.Status = corev1.PersistentVolumeClaimStatus{}
			r.g.Expect(r.Create(r.t.Context(), claim)).To(Succeed())
		}
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(v1alpha1.KindPersistentVolumeClaim))
	r.g.Eventually(func(g Gomega) {
		g.Expect(manager.GetClient().List(r.t.Context(), list, client.InNamespace(r.namespace),
			client.UnsafeDisableDeepCopy)).To(Succeed())
		g.Expect(len(list.Items)).To(Equal(halves * volumesEach))
	}, testbed.Patience, 10*time.Millisecond).Should(Succeed())
}

// expanded waits until the status of the batch lists all children. It reads the cache, so that waiting adds no load.
func (r *testNamespace) expanded(manager ctrl.Manager) {
	r.t.Helper()
	batch := &v1alpha1.BackupBatch{}
	r.g.Eventually(func(g Gomega) {
		g.Expect(manager.GetClient().Get(r.t.Context(), client.ObjectKey{Namespace: r.namespace, Name: "app"}, batch)).
			To(Succeed())
		g.Expect(len(policy.KnownTargets(batch))).To(Equal(halves * volumesEach))
	}, 5*time.Minute, 10*time.Millisecond).Should(Succeed())
}

// children returns the children of the batch, as a user who has them as files would apply them.
func (r *testNamespace) children() []*unstructured.Unstructured {
	r.t.Helper()
	var list v1alpha1.BackupConfigurationList
	r.g.Expect(r.List(r.t.Context(), &list, client.InNamespace(r.namespace))).To(Succeed())
	r.g.Expect(list.Items).To(HaveLen(halves * volumesEach))
	var out []*unstructured.Unstructured
	for i := range list.Items {
		c := &list.Items[i]
		r.g.Expect(strings.HasPrefix(c.Name, "app-half")).To(BeTrue())
		clean := &v1alpha1.BackupConfiguration{
			TypeMeta: metav1.TypeMeta{
				APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.BackupConfigurationKind,
			},
			ObjectMeta: metav1.ObjectMeta{
				Name: c.Name, Namespace: c.Namespace, Labels: c.Labels, Annotations: c.Annotations,
			},
			Spec: c.Spec,
		}
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(clean)
		r.g.Expect(err).NotTo(HaveOccurred())
		delete(content, "status")
		out = append(out, &unstructured.Unstructured{Object: content})
	}
	return out
}
