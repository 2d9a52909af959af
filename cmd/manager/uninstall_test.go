package main

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/inventory"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// uninstall deletes the CRDs while a manager with its own rights runs: first those of policy, then the rest. Everything
// says WipeOut, but nobody has asked for a removal of backups. It must be the last test: the API server tells only some
// seconds later that a kind exists again.
func uninstall(t *testing.T) {
	g := NewWithT(t)
	// A Ledger of another test, which can't reach its Git server, would hold up the deletion for two minutes.
	g.Expect(bed.Client.DeleteAllOf(t.Context(), &v1alpha1.Ledger{}, client.InNamespace("rules"))).To(Succeed())
	p := begin(t, kubeconfig(t, false), "--enable-leader-election")
	w := newWiping(t)
	removeKinds(t, "policysyncs", "backupbatches", "backupconfigurations")
	for _, o := range []client.Object{w.storage, w.repository, w.snapshot, w.unused} {
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(o), o)).To(Succeed())
		g.Expect(o.GetDeletionTimestamp()).To(BeNil(), "policy goes, and %T %s stays", o, o.GetName())
	}
	g.Expect(w.repository.Spec.DeletionPolicy).NotTo(Equal(v1alpha1.WipeOut), "nothing marks it for its wipe")

	bed.Edit(t, w.repository, func() { w.repository.Spec.DeletionPolicy = v1alpha1.WipeOut })
	removeKinds(t)
	var jobs batchv1.JobList
	g.Expect(bed.Client.List(t.Context(), &jobs, client.InNamespace(w.namespace),
		client.HasLabels{v1alpha1.LabelKeeper})).To(Succeed())
	g.Expect(jobs.Items).To(BeEmpty(), "no keeper removes data")
	g.Eventually(w.events).WithContext(t.Context()).WithTimeout(testbed.Patience).Should(ContainElements(
		"PolicySync: the CustomResourceDefinition of its kind is being deleted: what was applied stays",
		"BackupConfiguration: Cairn removes no data: the CustomResourceDefinition of its kind is being deleted",
		"BackupStorage: the data stays in the backend, and its Repositories can't be used: the "+
			"CustomResourceDefinition of its kind is being deleted",
		"Repository: the data stays in the backend: the CustomResourceDefinition of its kind is being deleted",
		"Snapshot: the data stays in the backend: the CustomResourceDefinition of its kind is being deleted",
	))
	g.Expect(p.end(t)).To(Equal(0))
}

// removeKinds deletes the CRDs of Cairn with these plurals, or all, at once as kubectl does, and waits until they are
// gone.
func removeKinds(t testing.TB, plurals ...string) {
	t.Helper()
	g := NewWithT(t)
	left := func() (out []string, err error) {
		var list apiextensionsv1.CustomResourceDefinitionList
		if err := bed.Client.List(t.Context(), &list); err != nil {
			return nil, err
		}
		for _, crd := range list.Items {
			if crd.Spec.Group == v1alpha1.Group {
				out = append(out, crd.Spec.Names.Plural)
			}
		}
		return out, nil
	}
	if len(plurals) == 0 {
		all, err := left()
		g.Expect(err).NotTo(HaveOccurred())
		plurals = all
	}
	for _, plural := range plurals {
		g.Expect(bed.Client.Delete(t.Context(), &apiextensionsv1.CustomResourceDefinition{
			ObjectMeta: metav1.ObjectMeta{Name: plural + "." + v1alpha1.Group},
		})).To(Succeed())
	}
	for _, plural := range plurals {
		g.Eventually(left, testbed.Patience, "200ms").ShouldNot(ContainElement(plural), "no finalizer holds it")
	}
}

// wiping is a namespace in which every deletion removes data.
type wiping struct {
	namespace  string
	storage    *v1alpha1.BackupStorage
	repository *v1alpha1.Repository
	snapshot   *v1alpha1.Snapshot
	// unused was applied by a PolicySync that deletes what it has applied.
	unused *v1alpha1.BackupStorage
}

func newWiping(t testing.TB) *wiping {
	t.Helper()
	w := &wiping{namespace: bed.Namespace(t, nil)}
	meta := metav1.ObjectMeta{Namespace: w.namespace, Name: "web"}
	w.storage = testbed.S3(w.namespace)
	w.storage.Spec.DeletionPolicy = v1alpha1.WipeOut
	w.unused = testbed.S3(w.namespace)
	w.unused.Name, w.unused.Spec.Storage.S3.Prefix = "unused", "/unused"
	w.unused.Labels = map[string]string{
		"policysync." + v1alpha1.Group + "/name":      meta.Name,
		"policysync." + v1alpha1.Group + "/namespace": meta.Namespace,
	}
	bed.Create(t, testbed.S3Key(w.namespace), testbed.Secret(w.namespace, "enc", map[string]string{"password": "p"}),
		w.storage)
	claim := testbed.Claim(w.namespace, "web")
	bed.Create(t, claim)
	sessiontest.Bind(t, bed.Client, claim)
	initialises(t, w.namespace, v1alpha1.LabelStorage)
	bed.ExpectReason(t, w.storage, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")

	bed.Create(t, w.unused, &v1alpha1.BackupConfiguration{
		ObjectMeta: meta,
		Spec: v1alpha1.BackupConfigurationSpec{
			Target: &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "web"},
			Backends: []v1alpha1.BackendReference{{
				Name: "main", StorageRef: &v1alpha1.ObjectReference{Name: w.storage.Name},
			}},
			Sessions: []v1alpha1.BackupConfigurationSession{{
				SessionConfig: v1alpha1.SessionConfig{Name: "nightly"},
				Addon: &v1alpha1.AddonInfo{
					Name: "pvc-addon", Tasks: []v1alpha1.TaskReference{{Name: "logical-backup"}},
				},
				Repositories: []v1alpha1.RepositoryInfo{{
					Name: "web", Backend: "main", Directory: "/web", DeletionPolicy: v1alpha1.WipeOutRepository,
					EncryptionSecret: &v1alpha1.ObjectReference{Name: "enc"},
				}},
			}},
		},
	})
	w.repository = &v1alpha1.Repository{ObjectMeta: meta}
	initialises(t, w.namespace, v1alpha1.LabelRepository)
	bed.ExpectReason(t, w.repository, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")

	w.snapshot = &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.namespace, Name: policy.SnapshotName("web", "run"),
			Finalizers: []string{v1alpha1.FinalizerWipe, v1alpha1.FinalizerRecord},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(w.repository,
				v1alpha1.GroupVersion.WithKind(v1alpha1.RepositoryKind))},
		},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: "0001", Repository: "web", Session: "nightly", BackupSession: "run", Version: "v1",
			AppRef: w.repository.Spec.AppRef, DeletionPolicy: v1alpha1.WipeOut,
		},
	}
	bed.Create(t, w.snapshot)
	bed.EditStatus(t, w.snapshot, func() {
		w.snapshot.Status = v1alpha1.SnapshotStatus{
			Phase: v1alpha1.SnapshotSucceeded, SnapshotTime: new(metav1.Now()),
			Components: map[string]v1alpha1.Component{"pvc": {Phase: v1alpha1.SnapshotSucceeded, ID: "id"}},
		}
	})
	w.syncs(t, meta)
	w.runs(t)
	return w
}

// runs starts a run of the BackupConfiguration, which nobody ends.
func (w *wiping) runs(t testing.TB) {
	t.Helper()
	bed.Create(t, &v1alpha1.BackupSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "started"},
		Spec: v1alpha1.BackupSessionSpec{
			Invoker: v1alpha1.TypedLocalObjectReference{
				APIGroup: v1alpha1.Group, Kind: v1alpha1.BackupConfigurationKind, Name: "web",
			}, Session: "nightly",
		},
	})
	kubelet.Start(t, jobController(t), kubelet.Job(t, bed.Client, w.namespace, v1alpha1.LabelBackupSession))
}

// syncs creates a PolicySync that has applied the unused storage, and can't reach its Git server.
func (w *wiping) syncs(t testing.TB, meta metav1.ObjectMeta) {
	t.Helper()
	sync := &v1alpha1.PolicySync{ObjectMeta: meta, Spec: v1alpha1.PolicySyncSpec{
		DeletionPolicy: v1alpha1.DeletionPolicyDelete, URL: "http://127.0.0.1:1/policy.git",
	}}
	bed.Create(t, sync)
	bed.Eventually(t, sync, func(g Gomega) {
		g.Expect(sync.Finalizers).To(ContainElement(v1alpha1.FinalizerPrune))
	}, "the PolicySync is held")
	applied, err := inventory.Pack([]v1alpha1.ResourceRef{{
		ID: w.namespace + "_unused_" + v1alpha1.Group + "_" + v1alpha1.BackupStorageKind, Version: "v1alpha1",
	}})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	bed.EditStatus(t, sync, func() { sync.Status.Inventory = applied })
}

// initialises ends an init Job with success.
func initialises(t testing.TB, namespace, label string) {
	t.Helper()
	job := kubelet.Job(t, bed.Client, namespace, label)
	kubelet.Finish(t, jobController(t), job,
		kubelet.Report(task.Result{Outcome: task.OutcomeSucceeded, Reason: v1alpha1.ReasonSucceeded}), time.Now())
}

// events returns the events DataKept of the namespace.
func (w *wiping) events(ctx context.Context) (out []string, err error) {
	var list corev1.EventList
	if err := bed.Client.List(ctx, &list, client.InNamespace(w.namespace)); err != nil {
		return nil, err
	}
	for _, e := range list.Items {
		if e.Reason == v1alpha1.ReasonDataKept {
			out = append(out, e.InvolvedObject.Kind+": "+e.Message)
		}
	}
	return out, nil
}
