package backupsession

import (
	"strconv"
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/csi"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// disk creates the policy of the claim disk, backed up by VolumeSnapshots, with its Repository.
func (w *world) disk(params string, edit ...func(*corev1.PersistentVolume)) {
	w.T.Helper()
	c := &v1alpha1.BackupConfiguration{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "disk"},
		Spec: v1alpha1.BackupConfigurationSpec{
			Target:   &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "disk"},
			Backends: []v1alpha1.BackendReference{w.backend()},
			Sessions: []v1alpha1.BackupConfigurationSession{{
				SessionConfig: v1alpha1.SessionConfig{Name: "nightly"},
				Addon: &v1alpha1.AddonInfo{Name: "pvc-addon", Tasks: []v1alpha1.TaskReference{{
					Name: "volume-snapshot", Params: &apiextensionsv1.JSON{Raw: []byte(params)},
				}}},
				Repositories: []v1alpha1.RepositoryInfo{repository("disk")},
			}},
		},
	}
	csi.Classes(w.T, w.Client)
	claim := sessiontest.Claim(w.Namespace, "disk")
	csi.Volume(w.T, w.Client, claim, edit...)
	sessiontest.Create(w.T, w.Client, c, claim, &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "disk"},
		Spec:       v1alpha1.RepositorySpec{Driver: v1alpha1.DriverVolumeSnapshotter, AppRef: *c.Spec.Target},
		Status:     v1alpha1.RepositoryStatus{Phase: v1alpha1.PhaseReady},
	})
}

// shoot lets the Jobs that make VolumeSnapshots do their work.
func (w *world) shoot() {
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome { return csi.TakeSnapshots(w.T, w.Client, job) }
}

func (w *world) volumeSnapshots() []snapshotv1.VolumeSnapshot {
	w.T.Helper()
	var list snapshotv1.VolumeSnapshotList
	w.Expect(w.Client.List(w.T.Context(), &list, client.InNamespace(w.Namespace))).To(Succeed())
	return list.Items
}

func TestAVolumeSnapshotIsMade(t *testing.T) {
	w := newWorld(t)
	w.disk(`{"contentDeletionPolicy": "Retain"}`)
	w.shoot()
	w.run(v1alpha1.BackupConfigurationKind, "disk", "run")
	s := w.settle("run")
	w.Expect(summary(s)[0]).To(Equal("Succeeded/Succeeded"))

	name := "disk-" + strconv.FormatInt(s.CreationTimestamp.Unix(), 10)
	all := w.volumeSnapshots()
	w.Expect(all).To(HaveLen(1))
	w.Expect(all[0].Name).To(Equal(name))
	snap := w.snapshot("disk-run")
	w.Expect(snap.Status.Size).To(Equal("1024.000 MiB"))
	c := snap.Status.Components["pvc"]
	w.Expect(c.ID).To(Equal(string(all[0].UID)))
	w.Expect(c.VolumeSnapshotterStats).To(HaveLen(1))
	w.Expect(c.VolumeSnapshotterStats[0]).To(And(
		HaveField("VolumeSnapshotName", name), HaveField("SnapshotHandle", "handle-"+string(all[0].UID)),
		HaveField("Driver", csi.DriverName),
		HaveField("DeletionPolicy", "Retain"), HaveField("ContentDeletionPolicy", "Retain"),
		HaveField("RestoreSize", int64(1<<30)),
		HaveField("VolumeSnapshotClassName", csi.SnapshotClass)))

	w.Expect(w.Jobs()).To(HaveLen(1))
	pod := w.Jobs()[0].Spec.Template.Spec
	w.Expect(pod.ServiceAccountName).To(Equal(v1alpha1.SnapshotterServiceAccount))
	for _, v := range pod.Volumes {
		w.Expect(v.PersistentVolumeClaim).To(BeNil(), "the mover mounts no volume")
		w.Expect(v.Secret).To(BeNil(), "the mover has no credential")
	}
	var binding rbacv1.RoleBinding
	w.Expect(w.Client.Get(t.Context(),
		client.ObjectKey{Namespace: w.Namespace, Name: v1alpha1.SnapshotterServiceAccount},
		&binding)).To(Succeed())
}

// The report of a mover alone makes no backup.
func TestAVolumeSnapshotThatIsNotThere(t *testing.T) {
	w := newWorld(t)
	w.disk(`{}`)
	w.run(v1alpha1.BackupConfigurationKind, "disk", "run") // movers report success, and make nothing
	s := w.settle("run")
	w.Expect(summary(s)[0]).To(Equal("Failed/" + v1alpha1.ReasonVolumeSnapshotNotFound))
	w.Expect(w.snapshot("disk-run").Status.Phase).To(Equal(v1alpha1.SnapshotFailed))
}

func TestWhatNoVolumeSnapshotCanBeMadeOf(t *testing.T) {
	for name, tc := range map[string]struct {
		params string
		edit   func(*corev1.PersistentVolume)
		reason string
	}{
		"no such class": {
			params: `{"volumeSnapshotClassName": "gone"}`, reason: v1alpha1.ReasonVolumeSnapshotClassNotFound,
		},
		"no such policy": {params: `{"contentDeletionPolicy": "Keep"}`, reason: v1alpha1.ReasonInvalidParameters},
		"no such time":   {params: `{"waitTimeout": "soon"}`, reason: v1alpha1.ReasonInvalidParameters},
		"no CSI": {
			params: `{}`, reason: v1alpha1.ReasonVolumeSnapshotsNotSupported, edit: func(v *corev1.PersistentVolume) {
				v.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{
					HostPath: &corev1.HostPathVolumeSource{Path: "/data"},
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			edit := tc.edit
			if edit == nil {
				edit = func(*corev1.PersistentVolume) {}
			}
			w.disk(tc.params, edit)
			w.run(v1alpha1.BackupConfigurationKind, "disk", "run")
			s := w.settle("run")
			w.Expect(s.Status.Targets[0].Reason).To(Equal(tc.reason), s.Status.Targets[0].Message)
			w.Expect(w.Jobs()).To(BeEmpty())
			w.Expect(w.volumeSnapshots()).To(BeEmpty())
		})
	}
}

// Wherever the manager is killed, it makes no second VolumeSnapshot and loses none.
func TestAManagerThatIsKilledBacksUpOnceByVolumeSnapshots(t *testing.T) {
	for name, killer := range sessiontest.KillPoints(12) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Killer = killer
			w.disk(`{}`)
			w.shoot()
			w.run(v1alpha1.BackupConfigurationKind, "disk", "run")
			w.Expect(summary(w.settle("run"))[0]).To(Equal("Succeeded/Succeeded"))
			all := w.volumeSnapshots()
			w.Expect(all).To(HaveLen(1))
			w.Expect(volumesnapshot.MadeBySnapshotJob(&all[0], "disk-run", w.snapshot("disk-run").UID)).To(BeTrue())
		})
	}
}
