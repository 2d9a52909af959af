package keeper_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

func leaseOf(t testing.TB, job *batchv1.Job) *coordinationv1.Lease {
	t.Helper()
	var lease coordinationv1.Lease
	NewWithT(t).Expect(bed.Client.Get(t.Context(), client.ObjectKey{
		Namespace: job.Namespace,
		Name:      job.Labels[v1alpha1.LabelKeeper],
	}, &lease)).To(Succeed())
	return &lease
}

func wipeOut(r *v1alpha1.Repository) { r.Spec.DeletionPolicy = v1alpha1.WipeOut }

func wipeOutSnapshot(s *v1alpha1.Snapshot) { s.Spec.DeletionPolicy = v1alpha1.WipeOut }

func del(t testing.TB, o client.Object) {
	t.Helper()
	NewWithT(t).Expect(bed.Client.Delete(t.Context(), o)).To(Succeed())
}

// expectEvent waits for an event of the namespace that contains the text.
func expectEvent(t testing.TB, namespace, text string) {
	t.Helper()
	NewWithT(t).Eventually(func() string { return strings.Join(events.Of(namespace), "\n") }, testbed.Patience,
		testbed.Interval).
		Should(ContainSubstring(text))
}

func TestASnapshotIsDeleted(t *testing.T) {
	t.Parallel()
	t.Run("and its data stays", func(t *testing.T) {
		t.Parallel()
		s := newShop(t)
		o := s.snapshot(s.repository, 1, good)
		del(t, o)
		gone(t, o, "no finalizer holds it")
		s.noJob("no data is removed")
	})
	t.Run("with its data", func(t *testing.T) {
		t.Parallel()
		g, s := NewWithT(t), newShop(t)
		o := s.snapshot(s.repository, 1, good, wipeOutSnapshot)
		del(t, o)
		job, keep := s.job()
		g.Expect(keep.Keep[0].Remove[0].Name).To(Equal(o.Name))
		g.Expect(keep.Keep[0].Remove[0].UID).To(Equal(o.UID))
		g.Expect(keep.Keep[0].Remove[0].IDs).To(Equal([]string{"id-" + o.Name}))
		s.did(job, "")
		released(t, o)
		g.Expect(conditions.GetReason(o, v1alpha1.ConditionRetained)).To(Equal(v1alpha1.ReasonDeleted))
	})
	t.Run("while the backend is gone", func(t *testing.T) {
		t.Parallel()
		g, s := NewWithT(t), newShop(t)
		o := s.snapshot(s.repository, 1, good, wipeOutSnapshot)
		del(t, o)
		job, _ := s.job()
		s.did(job, v1alpha1.ReasonUnreachable)
		bed.Eventually(t, o, func(g Gomega) {
			g.Expect(conditions.GetReason(o, v1alpha1.ConditionWiped)).To(Equal(v1alpha1.ReasonUnreachable))
			g.Expect(conditions.GetMessage(o, v1alpha1.ConditionWiped)).
				To(Equal("the storage can't be reached. Cairn tries again; to release " +
					"the object and leave its data, annotate it with backup.cairn.dev/give-up=" + string(o.UID)))
		}, "the condition says why it waits")
		g.Expect(o.Finalizers).To(ContainElement(v1alpha1.FinalizerWipe))
		bed.Edit(t, o, func() { o.Annotations = map[string]string{v1alpha1.AnnotationGiveUp: string(o.UID)} })
		gone(t, o, "the removal was given up")
		expectEvent(t, s.namespace, "Warning DataKept the data stays in the backend: its removal was given up")
	})
	t.Run("and its storage is gone", func(t *testing.T) {
		t.Parallel()
		s := newShop(t)
		del(t, s.storage)
		gone(t, s.storage, "the storage controller does not run in this test")
		o := s.snapshot(s.repository, 1, good, wipeOutSnapshot)
		del(t, o)
		bed.Eventually(t, o, func(g Gomega) {
			g.Expect(conditions.GetReason(o, v1alpha1.ConditionWiped)).To(Equal(v1alpha1.ReasonStorageNotFound))
		}, "the condition reports it")
	})
	t.Run("after its Repository", func(t *testing.T) {
		t.Parallel()
		s := newShop(t)
		o := s.snapshot(s.repository, 1, good, wipeOutSnapshot)
		del(t, s.repository)
		gone(t, s.repository, "the Repository leaves its data")
		del(t, o)
		gone(t, o, "nobody can remove its data")
		expectEvent(t, s.namespace, "its Repository is gone")
	})
}

func TestARepositoryIsDeleted(t *testing.T) {
	t.Parallel()
	t.Run("and its data stays", func(t *testing.T) {
		t.Parallel()
		s := newShop(t)
		s.snapshot(s.repository, 1, good)
		del(t, s.repository)
		gone(t, s.repository, "no finalizer holds it")
		s.noJob("no data is removed")
	})
	t.Run("with its data", func(t *testing.T) {
		t.Parallel()
		g, s := NewWithT(t), newShop(t, wipeOut)
		o := s.snapshot(s.repository, 1, good)
		del(t, s.repository)
		job, keep := s.job()
		g.Expect(keep.Keep).To(HaveLen(1))
		g.Expect(keep.Keep[0].Wipe).To(BeTrue())
		g.Expect(keep.Keep[0].Repository.Directory).To(Equal("shop/web"))
		expectKept(t, o)
		s.did(job, "")
		recorded(t, o)
		g.Expect(conditions.GetReason(o, v1alpha1.ConditionRetained)).To(Equal(v1alpha1.ReasonRepositoryWiped))
		gone(t, s.repository, "its data is gone")
	})
	t.Run("while a restore reads it", func(t *testing.T) {
		t.Parallel()
		s := newShop(t, wipeOut)
		o := s.snapshot(s.repository, 1, good)
		restore := &v1alpha1.RestoreSession{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "r"},
			Spec: v1alpha1.RestoreSessionSpec{
				Target:     &v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "copy"},
				DataSource: &v1alpha1.RestoreDataSource{Repository: "web", Snapshot: v1alpha1.LatestSnapshot},
			},
		}
		bed.Create(t, restore)
		NewWithT(t).Eventually(func() error {
			return bed.Manager.GetClient().Get(t.Context(), client.ObjectKeyFromObject(restore), restore.DeepCopy())
		}, testbed.Patience, testbed.Interval).Should(Succeed(), "the cache has it")
		del(t, s.repository)
		bed.Eventually(t, s.repository, func(g Gomega) {
			g.Expect(conditions.GetReason(s.repository, v1alpha1.ConditionWiped)).To(Equal(v1alpha1.ReasonInUse))
			g.Expect(conditions.GetMessage(s.repository, v1alpha1.ConditionWiped)).To(Equal(
				"the data is removed later: RestoreSession " + s.namespace + "/r reads it"))
		}, "the condition says what it waits for")
		s.noJob("nothing is removed under a restore")
		expectKept(t, o)
	})
	t.Run("while the backend is gone", func(t *testing.T) {
		t.Parallel()
		s := newShop(t, wipeOut)
		del(t, s.repository)
		job, _ := s.job()
		s.did(job, v1alpha1.ReasonUnreachable)
		bed.Eventually(t, s.repository, func(g Gomega) {
			g.Expect(conditions.GetReason(s.repository, v1alpha1.ConditionWiped)).To(Equal(v1alpha1.ReasonUnreachable))
			g.Expect(conditions.GetMessage(s.repository, v1alpha1.ConditionWiped)).
				To(ContainSubstring("backup.cairn.dev/give-up=" + string(s.repository.UID)))
		}, "the condition says why it waits")
		bed.Edit(t, s.repository, func() {
			s.repository.Annotations = map[string]string{v1alpha1.AnnotationGiveUp: string(s.repository.UID)}
		})
		gone(t, s.repository, "the removal was given up")
		expectEvent(t, s.namespace, "Warning DataKept the data stays in the backend: its removal was given up")
	})
}

// Deleting a namespace never wipes data.
func TestANamespaceIsDeleted(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t, wipeOut)
	o := s.snapshot(s.repository, 1, good, wipeOutSnapshot)
	marked := s.snapshot(s.repository, 2, good, wipeOutSnapshot)
	s.terminate(s.namespace)
	for _, object := range []client.Object{o, marked, s.repository} {
		del(t, object)
		gone(t, object, "no finalizer holds it")
	}
	expectEvent(t, s.namespace, "Warning DataKept the data stays in the backend: the namespace is being deleted")
	var jobs batchv1.JobList
	g.Expect(bed.Client.List(t.Context(), &jobs, client.InNamespace(s.namespace),
		client.HasLabels{v1alpha1.LabelKeeper})).
		To(Succeed())
	g.Expect(jobs.Items).To(BeEmpty())
}

// If a storage has a second credential, only the keeper gets it.
func TestTheMaintenanceSecret(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	bed.Edit(t, s.storage, func() {
		s.storage.Spec.MaintenanceSecretName = "may-delete"
		s.storage.Spec.UsagePolicy.ShareMaintenanceSecret = true
	})
	bed.EditStatus(t, s.storage, func() { s.storage.Status.ObservedGeneration = s.storage.Generation })
	o := s.snapshot(s.repository, 1, good, wipeOutSnapshot)
	del(t, o)
	bed.Eventually(t, o, func(g Gomega) {
		g.Expect(conditions.GetReason(o, v1alpha1.ConditionWiped)).To(Equal(v1alpha1.ReasonBackendSecretNotAvailable))
		g.Expect(conditions.GetMessage(o, v1alpha1.ConditionWiped)).To(ContainSubstring("may-delete"))
	}, "without the Secret no data is removed")
	s.noJob("the other credential is no substitute")
	key := testbed.S3Key(s.storage.Namespace)
	key.Name, key.StringData = "may-delete", map[string]string{
		v1alpha1.S3AccessKeyID:     "keeper",
		v1alpha1.S3SecretAccessKey: "secret",
	}
	bed.Create(t, key)
	second := s.snapshot(s.repository, 2, good, wipeOutSnapshot)
	del(t, second) // Secrets are not watched
	job, _ := s.job()
	var copied corev1.Secret
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: job.Name + "-0-storage"},
		&copied)).To(Succeed())
	g.Expect(string(copied.Data[v1alpha1.S3AccessKeyID])).To(Equal("keeper"))
	s.did(job, "")
	gone(t, job, "the Job is removed")
	s.removes(o, second)
	released(t, o)
	released(t, second)
	gone(t, &copied, "the copy is removed with the Job")
}

// Whoever reads the Secrets of a tenant's namespace would have the key that deletes everybody's backups.
func TestTheMaintenanceSecretStaysHome(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	key := testbed.S3Key(s.storage.Namespace)
	key.Name, key.StringData = "may-delete", map[string]string{
		v1alpha1.S3AccessKeyID: "keeper", v1alpha1.S3SecretAccessKey: "secret",
	}
	bed.Create(t, key)
	bed.Edit(t, s.storage, func() { s.storage.Spec.MaintenanceSecretName = "may-delete" })
	bed.EditStatus(t, s.storage, func() { s.storage.Status.ObservedGeneration = s.storage.Generation })
	o := s.snapshot(s.repository, 1, good, wipeOutSnapshot)
	del(t, o)
	job, _ := s.job()
	var secrets corev1.SecretList
	g.Expect(bed.Client.List(t.Context(), &secrets, client.InNamespace(s.namespace))).To(Succeed())
	for _, secret := range secrets.Items {
		g.Expect(string(secret.Data[v1alpha1.S3AccessKeyID])).NotTo(Equal("keeper"), secret.Name)
	}
	s.did(job, v1alpha1.ReasonAccessDenied)
	bed.Eventually(t, o, func(g Gomega) {
		g.Expect(conditions.GetReason(o, v1alpha1.ConditionWiped)).To(Equal(v1alpha1.ReasonAccessDenied))
		g.Expect(conditions.GetMessage(o, v1alpha1.ConditionWiped)).To(ContainSubstring(
			"keeps its maintenanceSecretName to its own namespace"))
	}, "the owner learns why nothing is removed")
}

// A keeper's Job ended, no Repository of its place is left, and the manager was killed before it wrote the result. The
// new process learns of the Job itself. Here a Job of another place is such a one.
func TestAnEndedJobWithoutRepositoryHoldsNoSnapshot(t *testing.T) {
	t.Parallel()
	for name, reason := range map[string]string{"it removed the data": "", "it failed": v1alpha1.ReasonUnreachable} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			o := s.snapshot(s.repository, 1, good, wipeOutSnapshot)
			del(t, o)
			job, _ := s.job()
			left := &batchv1.Job{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: s.namespace, Name: job.Name + "-x", Labels: maps.Clone(job.Labels),
				},
				Spec: *job.Spec.DeepCopy(),
			}
			left.Labels[v1alpha1.LabelKeeper] = left.Name
			left.Spec.Selector, left.Spec.Template.Labels = nil, nil
			s.keep(left)
			bed.Create(t, left)
			s.did(left, reason)
			del(t, s.repository)
			gone(t, s.repository, "the Repository leaves its data")
			gone(t, left, "its result is written")
			if reason == "" {
				released(t, o)
				return
			}
			gone(t, o, "the data stays")
			expectEvent(t, s.namespace, "the data stays in the backend")
		})
	}
}
