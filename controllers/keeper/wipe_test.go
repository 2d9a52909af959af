package keeper_test

import (
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

// expectWiped waits for the reason of the Repository's condition Wiped.
func (s *shop) expectWiped(reason, message string) {
	s.t.Helper()
	bed.Eventually(s.t, s.repository, func(g Gomega) {
		g.Expect(conditions.GetReason(s.repository, v1alpha1.ConditionWiped)).To(Equal(reason))
		g.Expect(conditions.GetMessage(s.repository, v1alpha1.ConditionWiped)).To(ContainSubstring(message))
	}, reason)
}

// A storage can be edited to name another place: to find nothing there would let every Snapshot count as removed.
func TestAWipeOfAnotherPlaceIsNotDone(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t, wipeOut)
	o := s.snapshot(s.repository, 1, good)
	prefix := s.storage.Spec.Storage.S3.Prefix
	bed.Edit(t, s.storage, func() { s.storage.Spec.Storage.S3.Prefix = "elsewhere" })
	bed.Cached(t, s.storage)
	del(t, s.repository)
	s.expectWiped(v1alpha1.ReasonStorageChanged, "now names another place")
	s.noJob("nothing is looked for in another place")
	expectKept(t, o)

	bed.Edit(t, s.storage, func() { s.storage.Spec.Storage.S3.Prefix = prefix })
	job, keep := s.job()
	g.Expect(keep.Keep[0].Wipe).To(BeTrue())
	g.Expect(keep.Storage.Spec.S3.Prefix).To(Equal(prefix))
	s.did(job, "")
	recorded(t, o)
	gone(t, s.repository, "its data is gone")
}

// A restore can begin between the decision to wipe and the Job that does it.
func TestAWipeWaitsForARestoreThatBeganLater(t *testing.T) {
	t.Parallel()
	s := newShop(t, wipeOut)
	o := s.snapshot(s.repository, 1, good)
	del(t, testbed.S3Key(s.storage.Namespace))
	del(t, s.repository)
	s.expectWiped(v1alpha1.ReasonBackendSecretNotAvailable, "")
	restore := &v1alpha1.RestoreSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "late"},
		Spec: v1alpha1.RestoreSessionSpec{
			Target:     &v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "copy"},
			DataSource: &v1alpha1.RestoreDataSource{Repository: "web", Snapshot: o.Name},
		},
	}
	bed.Create(t, restore, testbed.S3Key(s.storage.Namespace))
	request := s.request()
	_, _ = keepers.Reconcile(t.Context(), request) // or the manager was faster
	s.expectWiped(v1alpha1.ReasonInUse, "RestoreSession "+s.namespace+"/late reads it")
	s.noJob("nothing is removed under a restore")
	expectKept(t, o)
}

// deleteInForeground deletes the Repository as kubectl delete --cascade=foreground and Argo CD do: the garbage
// collector deletes the Snapshots while the Repository waits for its own finalizer.
func (s *shop) deleteInForeground(snapshots ...*v1alpha1.Snapshot) {
	s.t.Helper()
	g := NewWithT(s.t)
	g.Expect(bed.Client.Delete(s.t.Context(), s.repository,
		client.PropagationPolicy(metav1.DeletePropagationForeground))).To(Succeed())
	for _, o := range snapshots {
		g.Expect(client.IgnoreNotFound(bed.Client.Delete(s.t.Context(), o))).To(Succeed())
	}
}

func TestWhatGoesWithAForegroundDeletionIsRecorded(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t, wipeOut)
	o := s.snapshot(s.repository, 1, good)
	s.deleteInForeground(o)
	job, keep := s.job()
	g.Expect(keep.Keep[0].Wipe).To(BeTrue())
	bed.Eventually(t, o, func(g Gomega) {
		g.Expect(o.Spec.DeletionPolicy).To(Equal(v1alpha1.WipeOut))
	}, "the Snapshot goes with its data")
	g.Expect(o.Finalizers).To(ContainElements(v1alpha1.FinalizerWipe, v1alpha1.FinalizerRecord))
	g.Expect(conditions.Has(o, v1alpha1.ConditionWiped)).To(BeFalse(), "nothing is removed yet")
	s.did(job, "")
	recorded(t, o)
	g.Expect(conditions.IsTrue(o, v1alpha1.ConditionWiped)).To(BeTrue(), "its record says so")
	g.Expect(conditions.GetReason(o, v1alpha1.ConditionRetained)).To(Equal(v1alpha1.ReasonRepositoryWiped))
}

// Foreground deletion holds the Repository itself until its Snapshots have gone.
func TestAForegroundDeletionWhoseDataStaysHoldsNoSnapshot(t *testing.T) {
	t.Parallel()
	t.Run("because it is given up", func(t *testing.T) {
		t.Parallel()
		s := newShop(t, wipeOut)
		del(t, s.storage)
		gone(t, s.storage, "the storage controller does not run in this test")
		o := s.snapshot(s.repository, 1, good)
		s.deleteInForeground(o)
		bed.Eventually(t, o, func(g Gomega) {
			g.Expect(conditions.GetReason(o, v1alpha1.ConditionWiped)).To(Equal(v1alpha1.ReasonStorageNotFound))
		}, "the removal waits")
		bed.Edit(t, s.repository, func() {
			s.repository.Annotations = map[string]string{v1alpha1.AnnotationGiveUp: string(s.repository.UID)}
		})
		gone(t, o, "no keeper will come, and no record says that its data went")
		expectEvent(t, s.namespace, "Warning DataKept the data stays in the backend: its Repository is gone")
	})
	t.Run("because the Repository leaves it", func(t *testing.T) {
		t.Parallel()
		s := newShop(t)
		o := s.snapshot(s.repository, 1, good, wipeOutSnapshot)
		del(t, s.storage)
		gone(t, s.storage, "the storage controller does not run in this test")
		s.deleteInForeground(o)
		gone(t, o, "no keeper will come")
	})
}

// A restore that has chosen its Snapshot goes on without the object.
func TestAWipeWaitsForARestoreWhoseSnapshotIsGone(t *testing.T) {
	t.Parallel()
	restoring := func(s *shop, o *v1alpha1.Snapshot) {
		restore := &v1alpha1.RestoreSession{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "reads"},
			Spec: v1alpha1.RestoreSessionSpec{
				Target:     &v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "copy"},
				DataSource: &v1alpha1.RestoreDataSource{Repository: "web", Snapshot: o.Name},
			},
		}
		bed.Create(s.t, restore)
		bed.EditStatus(s.t, restore, func() {
			restore.Status.Phase = v1alpha1.RestoreSessionRunning
			restore.Status.Resolved = &v1alpha1.ResolvedRestore{
				Namespace: s.namespace, Snapshot: o.Name, SnapshotUID: o.UID,
				Repository: v1alpha1.ResolvedRepository{Name: s.repository.Name, UID: s.repository.UID},
			}
		})
		bed.Cached(s.t, restore)
	}
	waits := func(s *shop) {
		s.t.Helper()
		s.expectWiped(v1alpha1.ReasonInUse, "RestoreSession "+s.namespace+"/reads reads it")
		s.noJob("nothing is removed under a restore")
	}
	t.Run("deleted with its Repository, in the foreground", func(t *testing.T) {
		t.Parallel()
		s := newShop(t, wipeOut)
		o := s.snapshot(s.repository, 1, good)
		restoring(s, o)
		s.deleteInForeground(o)
		waits(s)
	})
	t.Run("deleted before its Repository", func(t *testing.T) {
		t.Parallel()
		s := newShop(t, wipeOut)
		o := s.snapshot(s.repository, 1, good)
		restoring(s, o)
		del(t, o)
		gone(t, o, "its data stays")
		del(t, s.repository)
		waits(s)
	})
	t.Run("as the keeper sees it, whose manager knew nothing of the restore", func(t *testing.T) {
		t.Parallel()
		s := newShop(t, wipeOut)
		o := s.snapshot(s.repository, 1, good)
		del(t, o)
		gone(t, o, "its data stays")
		del(t, testbed.S3Key(s.storage.Namespace))
		del(t, s.repository)
		s.expectWiped(v1alpha1.ReasonBackendSecretNotAvailable, "")
		bed.Quiet(t, s.namespace)
		restoring(s, o)
		bed.Create(t, testbed.S3Key(s.storage.Namespace))
		request := s.request()
		_, _ = keepers.Reconcile(t.Context(), request) // or the manager was faster
		waits(s)
	})
}

// As long as a keeper removes the data, nobody can say that it stays.
func TestGivingUpStopsTheWipe(t *testing.T) {
	t.Parallel()
	giveUp := func(o client.Object) {
		o.SetAnnotations(map[string]string{v1alpha1.AnnotationGiveUp: string(o.GetUID())})
	}
	began := func(t *testing.T, s *shop, o conditions.Setter) (*batchv1.Job, *corev1.Pod) {
		t.Helper()
		del(t, o)
		job, _ := s.job()
		g := NewWithT(t)
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(o), o)).To(Succeed())
		g.Expect(conditions.IsTrue(o, v1alpha1.ConditionRemovalBegan)).To(BeTrue(), "it is noted before the Job starts")
		return job, kubelet.Start(t, bed.Client, job)
	}
	stops := func(t *testing.T, s *shop, o client.Object, job *batchv1.Job, pod *corev1.Pod, why string) {
		t.Helper()
		gone(t, job, "the work is stopped")
		g := NewWithT(t)
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(o), o)).To(Succeed(), "its pod still works")
		g.Expect(o.GetFinalizers()).To(ContainElement(v1alpha1.FinalizerWipe))
		g.Expect(bed.Client.Delete(t.Context(), pod, client.GracePeriodSeconds(0))).To(Succeed())
		gone(t, o, "the pod has gone")
		expectEvent(t, s.namespace, "Warning DataKept the data stays in the backend: "+why+
			". But its removal had begun, and a part of it can be gone")
		s.noJob("nobody asks for the removal any more")
	}
	t.Run("of a Repository", func(t *testing.T) {
		t.Parallel()
		s := newShop(t, wipeOut)
		job, pod := began(t, s, s.repository)
		bed.Edit(t, s.repository, func() { giveUp(s.repository) })
		s.expectWiped(v1alpha1.ReasonCancelled, "the removal is being stopped: its removal was given up")
		stops(t, s, s.repository, job, pod, "its removal was given up")
	})
	t.Run("as another deletionPolicy does", func(t *testing.T) {
		t.Parallel()
		s := newShop(t, wipeOut)
		job, pod := began(t, s, s.repository)
		bed.Edit(t, s.repository, func() { s.repository.Spec.DeletionPolicy = v1alpha1.DeleteObjects })
		stops(t, s, s.repository, job, pod, "its deletionPolicy is not WipeOut")
	})
	t.Run("of a Snapshot", func(t *testing.T) {
		t.Parallel()
		s := newShop(t)
		o := s.snapshot(s.repository, 1, good, wipeOutSnapshot)
		job, pod := began(t, s, o)
		bed.Edit(t, o, func() { giveUp(o) })
		stops(t, s, o, job, pod, "its removal was given up")
	})
}

// A Repository can be made again under its name, in another directory, while Snapshots wait for their removal.
func TestASnapshotOfAnEarlierRepositoryIsNotRemovedHere(t *testing.T) {
	t.Parallel()
	s := newShop(t, wipeOut)
	earlier := func(o *v1alpha1.Snapshot) { o.OwnerReferences[0].UID = "earlier" }
	o := s.snapshot(s.repository, 1, good, wipeOutSnapshot, earlier)
	stays := s.snapshot(s.repository, 2, good, earlier)
	del(t, o)
	gone(t, o, "nobody can remove its data")
	expectEvent(t, s.namespace, "Warning DataKept the data stays in the backend: its Repository is gone")
	s.noJob("its data is not in this Repository")

	del(t, s.repository)
	job, _ := s.job()
	s.did(job, "")
	gone(t, s.repository, "its own directory is gone")
	expectKept(t, stays)
	NewWithT(t).Expect(conditions.Has(stays, v1alpha1.ConditionRetained)).To(BeFalse(), "its data is elsewhere")
}
