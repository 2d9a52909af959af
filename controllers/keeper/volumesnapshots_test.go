package keeper_test

import (
	"fmt"
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/testbed/csi"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// busyDriver holds VolumeSnapshots that are being deleted, as the snapshot controller does until the CSI driver has
// finished.
const busyDriver = "test.cairn.dev/busy-driver"

// lab is a namespace with a Repository of VolumeSnapshots.
type lab struct {
	*shop
}

func newLab(t testing.TB, change ...func(*v1alpha1.Repository)) *lab {
	t.Helper()
	s := &shop{t: t, namespace: bed.Namespace(t, nil)}
	s.repository = &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace, Name: "web",
			Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn},
		},
		Spec: v1alpha1.RepositorySpec{
			AppRef: v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "web"},
			Driver: v1alpha1.DriverVolumeSnapshotter,
		},
	}
	for _, f := range change {
		f(s.repository)
	}
	bed.Create(t, s.repository)
	bed.ExpectReason(t, s.repository, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
	return &lab{s}
}

// volumeSnapshot creates a VolumeSnapshot as the Snapshot's Job does, with its content.
func (l *lab) volumeSnapshot(
	s *v1alpha1.Snapshot, name string, change ...func(*snapshotv1.VolumeSnapshot),
) *snapshotv1.VolumeSnapshot {
	l.t.Helper()
	v := volumesnapshot.New(l.namespace, name, "web", "fast",
		map[string]string{
			v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn,
			v1alpha1.LabelSnapshot:  policy.LabelValue(s.Name),
		},
		map[string]string{v1alpha1.AnnotationSnapshotUID: string(s.UID)})
	for _, f := range change {
		f(v)
	}
	bed.Create(l.t, v)
	csi.Ready(l.t, bed.Client, v)
	return v
}

// backup creates a Snapshot of one VolumeSnapshot, some hours old.
func (l *lab) backup(
	hours int, contentPolicy string, change ...func(*v1alpha1.Snapshot),
) (*v1alpha1.Snapshot, *snapshotv1.VolumeSnapshot) {
	l.t.Helper()
	s := l.snapshot(l.repository, hours, v1alpha1.SnapshotRunning, change...)
	v := l.volumeSnapshot(s, fmt.Sprintf("web-%d", hours))
	l.succeed(s, v, contentPolicy)
	return s, v
}

// succeed ends a Snapshot. A VolumeSnapshot that is created afterwards can be swept at any moment.
func (l *lab) succeed(s *v1alpha1.Snapshot, v *snapshotv1.VolumeSnapshot, contentPolicy string) {
	l.t.Helper()
	bed.EditStatus(l.t, s, func() {
		s.Status.Phase = good
		s.Status.Components["pvc"] = v1alpha1.Component{
			Phase: good, Driver: v1alpha1.DriverVolumeSnapshotter, ID: string(v.UID),
			VolumeSnapshotterStats: []v1alpha1.VolumeSnapshotterStats{{
				PVCName: "web", VolumeSnapshotName: v.Name, VolumeSnapshotContentName: "snapcontent-" + string(v.UID),
				ContentDeletionPolicy: contentPolicy,
			}},
		}
	})
	bed.Cached(l.t, s)
}

// restoring creates a restore that reads a Snapshot.
func (l *lab) restoring(s *v1alpha1.Snapshot) *v1alpha1.RestoreSession {
	l.t.Helper()
	restore := &v1alpha1.RestoreSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: "back"},
		Spec: v1alpha1.RestoreSessionSpec{
			Target:     &v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "web"},
			DataSource: &v1alpha1.RestoreDataSource{Repository: "web", Snapshot: s.Name},
		},
	}
	bed.Create(l.t, restore)
	bed.Cached(l.t, restore)
	return restore
}

// restored ends the restore, and triggers a reconcile of the Snapshot.
func (l *lab) restored(restore *v1alpha1.RestoreSession, s *v1alpha1.Snapshot) {
	l.t.Helper()
	bed.EditStatus(l.t, restore, func() { restore.Status.Phase = v1alpha1.RestoreSessionSucceeded })
	bed.Cached(l.t, restore)
	bed.Edit(l.t, s, func() { s.Labels["touched"] = "x" })
}

func (l *lab) contentOf(v *snapshotv1.VolumeSnapshot) *snapshotv1.VolumeSnapshotContent {
	l.t.Helper()
	content := &snapshotv1.VolumeSnapshotContent{}
	NewWithT(l.t).Expect(bed.Client.Get(l.t.Context(), client.ObjectKey{Name: "snapcontent-" + string(v.UID)},
		content)).
		To(Succeed())
	return content
}

// lentContent is what a restore in another namespace borrows of the data of a content.
func lentContent(
	v *snapshotv1.VolumeSnapshot, content *snapshotv1.VolumeSnapshotContent,
) *snapshotv1.VolumeSnapshotContent {
	return &snapshotv1.VolumeSnapshotContent{
		ObjectMeta: metav1.ObjectMeta{
			Name: policy.ImportName("restore", v.UID),
			Labels: map[string]string{
				v1alpha1.LabelManagedBy:      v1alpha1.ManagedByCairn,
				v1alpha1.LabelRestoreSession: "restore",
			},
			Annotations: map[string]string{v1alpha1.AnnotationRestoreSession: "restore"},
		},
		Spec: snapshotv1.VolumeSnapshotContentSpec{
			VolumeSnapshotRef: corev1.ObjectReference{
				Namespace: "elsewhere", Name: policy.ImportName("restore", v.UID),
			},
			Driver: content.Spec.Driver, DeletionPolicy: snapshotv1.VolumeSnapshotContentRetain,
			Source: snapshotv1.VolumeSnapshotContentSource{SnapshotHandle: content.Status.SnapshotHandle},
		},
	}
}

func held(v *snapshotv1.VolumeSnapshot) { v.Finalizers = []string{busyDriver} }

func TestVolumeSnapshotsGoWithTheirSnapshot(t *testing.T) {
	t.Parallel()
	t.Run("and their data with them", func(t *testing.T) {
		t.Parallel()
		g, l := NewWithT(t), newLab(t)
		s, v := l.backup(1, "", wipeOutSnapshot)
		_, other := l.backup(2, "")
		del(t, s)
		gone(t, v, "its Snapshot was deleted with its data")
		g.Expect(l.contentOf(v).Spec.DeletionPolicy).To(Equal(snapshotv1.VolumeSnapshotContentDelete),
			"whatever the deletionPolicy of the class")
		released(t, s)
		g.Expect(conditions.GetReason(s, v1alpha1.ConditionRetained)).To(Equal(v1alpha1.ReasonDeleted))
		expectKept(t, other)
		g.Expect(l.contentOf(other).Spec.DeletionPolicy).To(Equal(snapshotv1.VolumeSnapshotContentRetain))
		l.noJob("a keeper has nothing to do")
	})
	t.Run("and their data stays where policy says so", func(t *testing.T) {
		t.Parallel()
		g, l := NewWithT(t), newLab(t)
		s, v := l.backup(1, "Retain", wipeOutSnapshot)
		content := l.contentOf(v)
		content.Spec.DeletionPolicy = snapshotv1.VolumeSnapshotContentDelete
		g.Expect(bed.Client.Update(t.Context(), content)).To(Succeed())
		del(t, s)
		gone(t, v, "its Snapshot was deleted")
		g.Expect(l.contentOf(v).Spec.DeletionPolicy).To(Equal(snapshotv1.VolumeSnapshotContentRetain))
		released(t, s)
		expectEvent(t, l.namespace,
			"the data stays in the storage system, as contentDeletionPolicy says: VolumeSnapshotContents "+
				content.Name)
	})
	t.Run("and with a content that the snapshot controller has left", func(t *testing.T) {
		t.Parallel()
		g, l := NewWithT(t), newLab(t)
		s := l.snapshot(l.repository, 1, v1alpha1.SnapshotRunning, wipeOutSnapshot)
		v := l.volumeSnapshot(s, "web-1", held)
		l.succeed(s, v, "")
		content := l.contentOf(v)
		before := content.DeepCopy()
		content.Status = &snapshotv1.VolumeSnapshotContentStatus{SnapshotHandle: new("handle-" + l.namespace)}
		g.Expect(bed.Client.Status().Patch(t.Context(), content, client.MergeFrom(before))).To(Succeed())
		del(t, s)
		bed.Eventually(t, content, func(g Gomega) {
			g.Expect(content.Spec.DeletionPolicy).To(Equal(snapshotv1.VolumeSnapshotContentDelete))
		}, "the data goes with the VolumeSnapshot")
		lent := lentContent(v, content)
		bed.Create(t, lent)
		bed.Edit(t, content, func() { // the snapshot controller marks it, and knows the old deletionPolicy
			content.Annotations = map[string]string{
				"snapshot.storage.kubernetes.io/volumesnapshot-being-deleted": "yes",
			}
			content.Finalizers = []string{busyDriver}
		})
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(v), v)).To(Succeed())
		bed.Edit(t, v, func() { v.Finalizers = nil })
		gone(t, v, "its Snapshot was deleted with its data")
		bed.Eventually(t, s, func(g Gomega) {
			g.Expect(conditions.GetMessage(s, v1alpha1.ConditionWiped)).To(HavePrefix("the data is removed later: " +
				"VolumeSnapshotContent " + content.Name + " is lent to a restore in namespace elsewhere"))
		}, "a restore needs the data")
		expectKept(t, content)
		g.Expect(bed.Client.Delete(t.Context(), lent)).To(Succeed())
		bed.Edit(t, s, func() { s.Labels["touched"] = "x" })
		bed.Eventually(t, content, func(g Gomega) { g.Expect(content.DeletionTimestamp).NotTo(BeNil()) },
			"the manager deletes the content")
		expectEvent(t, l.namespace, "Warning VolumeSnapshotContentNotDeleted VolumeSnapshotContent "+content.Name+
			" keeps terminating")
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s), s)).To(Succeed())
		g.Expect(s.Finalizers).To(ContainElement(v1alpha1.FinalizerWipe), "the data still exists")
		bed.Edit(t, content, func() { content.Finalizers = nil })
		released(t, s)
	})
	t.Run("but not with a VolumeSnapshot that is another's now", func(t *testing.T) {
		t.Parallel()
		g, l := NewWithT(t), newLab(t)
		s, v := l.backup(1, "", wipeOutSnapshot)
		bed.Edit(t, v, func() { v.Annotations = nil })
		content := l.contentOf(v)
		bed.Edit(t, content, func() { // as if somebody deleted the VolumeSnapshot
			content.Spec.DeletionPolicy = snapshotv1.VolumeSnapshotContentDelete
			content.Annotations = map[string]string{
				"snapshot.storage.kubernetes.io/volumesnapshot-being-deleted": "yes",
			}
		})
		del(t, s)
		released(t, s)
		expectEvent(t, l.namespace, "left alone VolumeSnapshots that this backup did not make: "+v.Name)
		expectKept(t, v)
		expectKept(t, content)
		g.Expect(events.Of(l.namespace)).NotTo(ContainElement(ContainSubstring(content.Name)))
	})
	t.Run("and somebody keeps the content", func(t *testing.T) {
		t.Parallel()
		_, l := NewWithT(t), newLab(t)
		s, v := l.backup(1, "", wipeOutSnapshot)
		content := l.contentOf(v) // no snapshot controller marks it
		del(t, s)
		gone(t, v, "its Snapshot was deleted with its data")
		released(t, s)
		expectEvent(t, l.namespace, "Warning DataKept its VolumeSnapshots are gone, and these VolumeSnapshotContents "+
			"with their data are not: "+content.Name)
	})
	t.Run("but not with deletionPolicy Delete", func(t *testing.T) {
		t.Parallel()
		l := newLab(t)
		s, v := l.backup(1, "")
		del(t, s)
		gone(t, s, "no finalizer holds it")
		expectKept(t, v)
	})
	t.Run("but for those of somebody else", func(t *testing.T) {
		t.Parallel()
		g, l := NewWithT(t), newLab(t)
		s, v := l.backup(1, "", wipeOutSnapshot)
		labels, annotations := v.Labels, v.Annotations
		g.Expect(bed.Client.Delete(t.Context(), v)).To(Succeed())
		foreign := []*snapshotv1.VolumeSnapshot{
			volumesnapshot.New(l.namespace, v.Name, "web", "fast", labels, annotations), // a recreated VolumeSnapshot
			volumesnapshot.New(l.namespace, v.Name+"0", "web", "fast", nil, nil),
			volumesnapshot.New(l.namespace, v.Name+"1", "web", "fast", labels,
				map[string]string{v1alpha1.AnnotationSnapshotUID: "another"}),
			volumesnapshot.New(l.namespace, "mine", "web", "fast", labels, nil),
		}
		for _, f := range foreign {
			bed.Create(t, f)
		}
		del(t, s)
		released(t, s)
		for _, f := range foreign {
			expectKept(t, f)
		}
		expectEvent(t, l.namespace,
			"Warning DataKept left alone VolumeSnapshots that this backup did not make: mine, web-1, web-11")
	})
	t.Run("but for its own, if its object came back without a status", func(t *testing.T) {
		t.Parallel()
		g, l := NewWithT(t), newLab(t)
		s, v := l.backup(1, "", wipeOutSnapshot)
		bed.Remove(t, s) // and a backup of the cluster brings it back
		again := &v1alpha1.Snapshot{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: s.Namespace, Name: s.Name, Labels: s.Labels,
				Finalizers: []string{v1alpha1.FinalizerWipe, v1alpha1.FinalizerRecord},
			},
			Spec: s.Spec,
		}
		bed.Create(t, again)
		bed.Cached(t, again)
		del(t, again)
		released(t, again)
		g.Expect(conditions.Get(again, v1alpha1.ConditionWiped)).To(HaveValue(And(
			HaveField("Reason", v1alpha1.ReasonDataKept), HaveField("Message",
				"its VolumeSnapshots are gone, except for those that this object did not make: "+v.Name))))
		expectKept(t, v)
	})
	t.Run("also those that were never reported", func(t *testing.T) {
		t.Parallel()
		l := newLab(t)
		s := l.snapshot(l.repository, 1, v1alpha1.SnapshotRunning, wipeOutSnapshot)
		v, more := l.volumeSnapshot(s, "web-1"), l.volumeSnapshot(s, "web-more")
		l.succeed(s, v, "")
		del(t, s)
		gone(t, more, "the VolumeSnapshot names the Snapshot's UID")
		gone(t, v, "a component reported it")
		released(t, s)
	})
	t.Run("after their content was bound to another one", func(t *testing.T) {
		t.Parallel()
		g, l := NewWithT(t), newLab(t)
		s, v := l.backup(1, "", wipeOutSnapshot)
		content := l.contentOf(v)
		content.Spec.VolumeSnapshotRef.UID = types.UID("another")
		g.Expect(bed.Client.Update(t.Context(), content)).To(Succeed())
		del(t, s)
		gone(t, v, "the VolumeSnapshot is ours")
		g.Expect(l.contentOf(v).Spec.DeletionPolicy).To(Equal(snapshotv1.VolumeSnapshotContentRetain),
			"Cairn does not change a foreign policy")
	})
}

func TestARemovalOfVolumeSnapshotsWaits(t *testing.T) {
	t.Parallel()
	t.Run("for a claim that still waits for its volume", func(t *testing.T) {
		t.Parallel()
		l := newLab(t)
		s, v := l.backup(1, "", wipeOutSnapshot)
		claim := &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: "later"},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources: corev1.VolumeResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
				},
				DataSource: &corev1.TypedLocalObjectReference{
					APIGroup: new(snapshotv1.GroupName), Kind: volumesnapshot.Kind,
					Name: v.Name,
				},
			},
		}
		bed.Create(t, claim)
		del(t, s)
		bed.Eventually(t, s, func(g Gomega) {
			g.Expect(conditions.GetMessage(s, v1alpha1.ConditionWiped)).
				To(ContainSubstring("PersistentVolumeClaim later still waits for its volume from it"))
		}, "a pod can come for it at any time")
		expectKept(t, v)
	})
	t.Run("for a claim in another namespace that still waits for its volume", func(t *testing.T) {
		t.Parallel()
		g, l := NewWithT(t), newLab(t)
		s, v := l.backup(1, "", wipeOutSnapshot)
		content := l.contentOf(v)
		content.Status = &snapshotv1.VolumeSnapshotContentStatus{SnapshotHandle: new("handle-" + l.namespace)}
		g.Expect(bed.Client.Status().Update(t.Context(), content)).To(Succeed())
		lent := lentContent(v, content)
		bed.Create(t, lent)
		del(t, s)
		bed.Eventually(t, s, func(g Gomega) {
			g.Expect(conditions.GetMessage(s, v1alpha1.ConditionWiped)).
				To(ContainSubstring("is lent to a restore in namespace elsewhere"))
		}, "a pod can come for it at any time")
		expectKept(t, v)
		g.Expect(bed.Client.Delete(t.Context(), lent)).To(Succeed())
		bed.Edit(t, s, func() { s.Labels["touched"] = "x" })
		gone(t, v, "the restore gave it back")
		released(t, s)
	})
	t.Run("for the CSI driver", func(t *testing.T) {
		t.Parallel()
		g, l := NewWithT(t), newLab(t)
		s := l.snapshot(l.repository, 1, v1alpha1.SnapshotRunning, wipeOutSnapshot)
		v := l.volumeSnapshot(s, "web-1", held)
		l.succeed(s, v, "")
		content := l.contentOf(v)
		before := content.DeepCopy()
		content.Status = &snapshotv1.VolumeSnapshotContentStatus{
			Error: &snapshotv1.VolumeSnapshotError{Message: new("no route to the array")},
		}
		g.Expect(bed.Client.Status().Patch(t.Context(), content, client.MergeFrom(before))).To(Succeed(),
			"the snapshot controller can have written meanwhile")
		del(t, s)
		bed.Eventually(t, s, func(g Gomega) {
			g.Expect(conditions.GetReason(s, v1alpha1.ConditionWiped)).
				To(Equal(v1alpha1.ReasonVolumeSnapshotNotDeleted))
			g.Expect(conditions.GetMessage(s, v1alpha1.ConditionWiped)).
				To(Equal("VolumeSnapshot web-1 keeps terminating: the CSI driver " + csi.DriverName + " reports: " +
					"no route to the array. Cairn tries again; to release the object and leave its data, " +
					"annotate it with backup.cairn.dev/give-up=" + string(s.UID)))
		}, "the condition says why it waits")
		g.Expect(s.Finalizers).To(ContainElement(v1alpha1.FinalizerWipe))
		expectEvent(t, l.namespace, "Warning VolumeSnapshotNotDeleted VolumeSnapshot web-1")

		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(v), v)).To(Succeed())
		bed.Edit(t, v, func() { v.Finalizers = nil })
		released(t, s)
	})
	t.Run("until somebody gives up", func(t *testing.T) {
		t.Parallel()
		g, l := NewWithT(t), newLab(t)
		s := l.snapshot(l.repository, 1, v1alpha1.SnapshotRunning, wipeOutSnapshot)
		v := l.volumeSnapshot(s, "web-1", held)
		l.succeed(s, v, "")
		del(t, s)
		bed.Eventually(t, v, func(g Gomega) { g.Expect(v.DeletionTimestamp).NotTo(BeNil()) },
			"the VolumeSnapshot is being deleted")
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s), s)).To(Succeed())
		bed.Edit(t, s, func() { s.Annotations = map[string]string{v1alpha1.AnnotationGiveUp: string(s.UID)} })
		gone(t, s, "the removal was given up")
		expectEvent(t, l.namespace, "Warning DataKept the VolumeSnapshots stay: its removal was given up. "+
			"But its removal had begun, and a part of it can be gone")
	})
	t.Run("for a restore and for a Job", func(t *testing.T) {
		t.Parallel()
		l := newLab(t)
		s, v := l.backup(1, "", wipeOutSnapshot)
		restore := l.restoring(s)
		del(t, s)
		bed.Eventually(t, s, func(g Gomega) {
			g.Expect(conditions.GetReason(s, v1alpha1.ConditionWiped)).To(Equal(v1alpha1.ReasonInUse))
		}, "a restore reads it")
		expectKept(t, v)
		l.restored(restore, s)
		gone(t, v, "the restore has ended")
	})
}

func TestRetentionOfVolumeSnapshots(t *testing.T) {
	t.Parallel()
	g, l := NewWithT(t), newLab(t)
	kept := l.snapshot(l.repository, 9, good, func(s *v1alpha1.Snapshot) { s.Spec.Paused = true })
	var snapshots []*v1alpha1.Snapshot
	var volumes []*snapshotv1.VolumeSnapshot
	for hours := range 4 {
		s, v := l.backup(hours+1, "")
		snapshots, volumes = append(snapshots, s), append(volumes, v)
	}
	p := &v1alpha1.RetentionPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: "keep"}, Spec: last(2)}
	bed.Create(t, p, &v1alpha1.BackupConfiguration{
		ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: "web"},
		Spec: v1alpha1.BackupConfigurationSpec{
			Target: &v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "web"},
			Backends: []v1alpha1.BackendReference{
				{Name: "main", RetentionPolicy: &v1alpha1.ObjectReference{Name: p.Name}},
			},
			Sessions: []v1alpha1.BackupConfigurationSession{{SessionConfig: v1alpha1.SessionConfig{Name: "nightly"}}},
		},
	})
	for i := 2; i < 4; i++ {
		gone(t, volumes[i], "the policy keeps two")
		recorded(t, snapshots[i])
	}
	l.expectRetention(l.repository, v1alpha1.ReasonApplied, "")
	for i := range 2 {
		expectKept(t, snapshots[i])
		expectKept(t, volumes[i])
	}
	expectKept(t, kept)
	g.Expect(conditions.GetReason(snapshots[2], v1alpha1.ConditionRetained)).NotTo(BeEmpty())
	l.noJob("a keeper has nothing to do")
}

func TestARepositoryOfVolumeSnapshotsIsDeleted(t *testing.T) {
	t.Parallel()
	t.Run("and they stay", func(t *testing.T) {
		t.Parallel()
		l := newLab(t)
		_, v := l.backup(1, "")
		del(t, l.repository)
		gone(t, l.repository, "its data stays")
		expectKept(t, v)
	})
	t.Run("with them", func(t *testing.T) {
		t.Parallel()
		l := newLab(t, wipeOut)
		first, v := l.backup(1, "")
		second, w := l.backup(2, "")
		del(t, l.repository)
		gone(t, v, "the VolumeSnapshot is deleted")
		gone(t, w, "the VolumeSnapshot is deleted")
		for _, s := range []*v1alpha1.Snapshot{first, second} {
			recorded(t, s)
		}
		gone(t, l.repository, "after its Snapshots")
	})
	// The garbage collector deletes the Snapshots while the Repository's finalizer still waits, here for a restore.
	t.Run("in the foreground", func(t *testing.T) {
		t.Parallel()
		g, l := NewWithT(t), newLab(t, wipeOut)
		s, v := l.backup(1, "")
		restore := l.restoring(s)
		g.Expect(bed.Client.Delete(t.Context(), l.repository,
			client.PropagationPolicy(metav1.DeletePropagationForeground))).
			To(Succeed())
		bed.Eventually(t, l.repository, func(g Gomega) {
			g.Expect(conditions.GetReason(l.repository, v1alpha1.ConditionWiped)).To(Equal(v1alpha1.ReasonInUse))
			g.Expect(l.repository.Finalizers).To(ContainElement(metav1.FinalizerDeleteDependents))
		}, "the Repository waits for the restore")
		del(t, s)
		bed.Eventually(t, s, func(g Gomega) {
			g.Expect(conditions.GetReason(s, v1alpha1.ConditionWiped)).To(Equal(v1alpha1.ReasonInUse))
		}, "the Snapshot waits for the restore, too")
		expectKept(t, v)
		l.restored(restore, s)
		gone(t, v, "the VolumeSnapshot is deleted")
		g.Expect(l.contentOf(v).Spec.DeletionPolicy).To(Equal(snapshotv1.VolumeSnapshotContentDelete))
		recorded(t, s)
		g.Expect(conditions.GetReason(s, v1alpha1.ConditionRetained)).To(Equal(v1alpha1.ReasonRepositoryWiped))
	})
	t.Run("in the foreground, and they stay", func(t *testing.T) {
		t.Parallel()
		g, l := NewWithT(t), newLab(t)
		s, v := l.backup(1, "")
		g.Expect(bed.Client.Delete(t.Context(), l.repository,
			client.PropagationPolicy(metav1.DeletePropagationForeground))).
			To(Succeed())
		del(t, s)
		gone(t, s, "no finalizer holds it")
		expectKept(t, v)
	})
	t.Run("with its namespace", func(t *testing.T) {
		t.Parallel()
		l := newLab(t, wipeOut)
		s, v := l.backup(1, "", wipeOutSnapshot)
		l.terminate(l.namespace)
		del(t, l.repository)
		gone(t, l.repository, "no finalizer holds the namespace")
		del(t, s)
		gone(t, s, "no finalizer holds the namespace")
		expectKept(t, v)
		expectEvent(t, l.namespace,
			"Warning DataKept Cairn removes nothing: the namespace is being deleted, and its VolumeSnapshots with it")
	})
}

// Whoever can delete a VolumeSnapshot deletes a backup: Cairn notices and reports it.
func TestAVolumeSnapshotThatSomebodyDeletesIsNoticed(t *testing.T) {
	t.Parallel()
	g, l := NewWithT(t), newLab(t)
	older, _ := l.backup(2, "")
	newer, v := l.backup(1, "")
	is := func(s *v1alpha1.Snapshot, want bool, why string) {
		t.Helper()
		bed.Eventually(t, s, func(g Gomega) {
			g.Expect(s.Status.Integrity).To(HaveValue(Equal(want)))
			g.Expect(s.Status.Components["pvc"].Integrity).To(HaveValue(Equal(want)))
			g.Expect(s.Status.LastCheckTime).NotTo(BeNil())
		}, why)
	}
	is(newer, true, "the VolumeSnapshot exists")
	g.Expect(bed.Client.Delete(t.Context(), v)).To(Succeed())
	is(newer, false, "the VolumeSnapshot is gone")
	is(older, true, "another VolumeSnapshot has the name")
	expectEvent(t, l.namespace,
		"Warning VolumeSnapshotNotFound VolumeSnapshots of this Snapshot were deleted or can't be used any more: "+
			"components pvc")
	bed.Eventually(t, l.repository, func(g Gomega) { g.Expect(l.repository.Status.Integrity).To(HaveValue(BeFalse())) },
		"the Repository reports it, too")
	bed.Quiet(t, l.namespace)
}

// If somebody removes a VolumeSnapshotContent, the storage system takes a new one for the same VolumeSnapshot, from the
// volume's current data. Retention must not take the new one for the backup and then remove the last real one.
func TestAVolumeSnapshotThatWasTakenAgainIsNoticed(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(l *lab, content *snapshotv1.VolumeSnapshotContent){
		"recreated": func(l *lab, content *snapshotv1.VolumeSnapshotContent) {
			content.Status.SnapshotHandle = new("handle-2")
			NewWithT(l.t).Expect(bed.Client.Status().Update(l.t.Context(), content)).To(Succeed())
		},
		"removed": func(l *lab, content *snapshotv1.VolumeSnapshotContent) {
			NewWithT(l.t).Expect(bed.Client.Delete(l.t.Context(), content)).To(Succeed())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			s := l.snapshot(l.repository, 1, v1alpha1.SnapshotRunning)
			v := l.volumeSnapshot(s, "web-1")
			content := l.contentOf(v)
			content.Status = &snapshotv1.VolumeSnapshotContentStatus{SnapshotHandle: new("handle-1")}
			NewWithT(t).Expect(bed.Client.Status().Update(t.Context(), content)).To(Succeed())
			l.succeed(s, v, "")
			bed.EditStatus(t, s,
				func() { s.Status.Components["pvc"].VolumeSnapshotterStats[0].SnapshotHandle = "handle-1" })
			bed.Eventually(t, s, func(g Gomega) { g.Expect(s.Status.Integrity).To(HaveValue(BeTrue())) },
				"it is the snapshot that was taken")
			spoil(l, l.contentOf(v))
			bed.Eventually(t, s, func(g Gomega) { g.Expect(s.Status.Integrity).To(HaveValue(BeFalse())) },
				"it is another snapshot now")
			expectKept(t, v)
		})
	}
}

func TestWhatAFailedBackupLeavesIsRemoved(t *testing.T) {
	t.Parallel()
	g, l := NewWithT(t), newLab(t)
	s := l.snapshot(l.repository, 1, v1alpha1.SnapshotRunning)
	good, bad := l.volumeSnapshot(s, "web-good"), l.volumeSnapshot(s, "web-bad")
	other := l.snapshot(l.repository, 2, v1alpha1.SnapshotSucceeded)
	lost := l.volumeSnapshot(other, "web-lost", func(v *snapshotv1.VolumeSnapshot) {
		v.Labels[v1alpha1.LabelSnapshot], v.Annotations[v1alpha1.AnnotationSnapshotUID] = "gone", "gone"
	})
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: l.namespace, Name: "mover",
			Labels: map[string]string{
				v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn,
				v1alpha1.LabelSnapshot:  policy.LabelValue(s.Name),
			},
		},
		Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "mover", Image: "mover"}},
		}}},
	}
	bed.Create(t, job)
	bed.Cached(t, job)
	bed.EditStatus(t, s, func() {
		s.Status.Phase = v1alpha1.SnapshotFailed
		s.Status.Components = map[string]v1alpha1.Component{
			"a": {Phase: v1alpha1.SnapshotSucceeded, Driver: v1alpha1.DriverVolumeSnapshotter, ID: string(good.UID)},
			"b": {Phase: v1alpha1.SnapshotFailed, Driver: v1alpha1.DriverVolumeSnapshotter},
		}
	})
	bed.Quiet(t, l.namespace)
	expectKept(t, bad)

	g.Expect(bed.Client.Delete(t.Context(), job, client.PropagationPolicy(metav1.DeletePropagationBackground))).
		To(Succeed())
	gone(t, bad, "the sweep finds it once no Job works any more")
	g.Expect(l.contentOf(bad).Spec.DeletionPolicy).To(Equal(snapshotv1.VolumeSnapshotContentDelete))
	expectEvent(t, l.namespace, "Normal LeftoversRemoved removed VolumeSnapshots that never became a backup: web-bad")
	expectKept(t, good)
	expectKept(t, lost)
}
