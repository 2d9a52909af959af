package backupsession

import (
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed/csi"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// copied returns a world with the policy of a claim whose copy is backed up into two repositories.
func copied(t *testing.T, method v1alpha1.CopyMethod, edit ...func(*v1alpha1.BackupConfiguration)) *world {
	t.Helper()
	w := newWorld(t)
	w.CSI = &csi.Driver{}
	csi.Classes(t, w.Client)
	claim := sessiontest.Claim(w.Namespace, "uploads")
	claim.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}
	c := &v1alpha1.BackupConfiguration{}
	c.Namespace, c.Name = w.Namespace, "uploads"
	c.Spec = v1alpha1.BackupConfigurationSpec{
		Target: new(uploads), Backends: []v1alpha1.BackendReference{w.backend()},
		Sessions: []v1alpha1.BackupConfigurationSession{{
			SessionConfig: v1alpha1.SessionConfig{Name: "nightly"}, Addon: addon("pvc-addon"),
			CopySettings: v1alpha1.CopySettings{CopyMethod: method},
			Repositories: []v1alpha1.RepositoryInfo{repository("uploads"), repository("second")},
		}},
	}
	for _, e := range edit {
		e(c)
	}
	csi.Volume(t, w.Client, claim)
	sessiontest.Create(t, w.Client, c, claim,
		sessiontest.Repository(w.Namespace, "uploads", w.Storage, uploads),
		sessiontest.Repository(w.Namespace, "second", w.Storage, uploads),
		sessiontest.Pod(w.Namespace, "web-0", "node-a", "uploads", nil),
	)
	return w
}

func (w *world) copies() ([]corev1.PersistentVolumeClaim, []snapshotv1.VolumeSnapshot) {
	w.T.Helper()
	var claims corev1.PersistentVolumeClaimList
	w.Expect(w.Client.List(w.T.Context(), &claims, client.InNamespace(w.Namespace),
		client.HasLabels{v1alpha1.LabelCopy})).
		To(Succeed())
	var snapshots snapshotv1.VolumeSnapshotList
	w.Expect(w.Client.List(w.T.Context(), &snapshots, client.InNamespace(w.Namespace))).To(Succeed())
	return claims.Items, snapshots.Items
}

// clean asserts that nothing temporary is left, and that the claim itself still exists.
func (w *world) clean() {
	w.T.Helper()
	for range 3 { // the cluster needs several rounds to delete them
		w.Cluster()
	}
	claims, snapshots := w.copies()
	w.Expect(claims).To(BeEmpty())
	w.Expect(snapshots).To(BeEmpty())
	var contents snapshotv1.VolumeSnapshotContentList
	w.Expect(w.Client.List(w.T.Context(), &contents)).To(Succeed())
	for i := range contents.Items {
		w.Expect(contents.Items[i].Spec.VolumeSnapshotRef.Namespace).
			NotTo(Equal(w.Namespace), "a temporary snapshot stays in the storage system")
	}
	var source corev1.PersistentVolumeClaim
	w.Get("uploads", &source)
	w.Expect(source.DeletionTimestamp).To(BeNil())
}

func TestACopyOfAVolumeIsBackedUp(t *testing.T) {
	t.Parallel()
	for method, snapshots := range map[v1alpha1.CopyMethod]int{v1alpha1.CopySnapshot: 1, v1alpha1.CopyClone: 0} {
		t.Run(string(method), func(t *testing.T) {
			t.Parallel()
			w := copied(t, method)
			w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
			var read []string
			w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
				w.Expect(job.Spec.Template.Spec.Affinity.NodeAffinity).To(BeNil(), "no other pod mounts the copy")
				for _, v := range job.Spec.Template.Spec.Volumes {
					if v.PersistentVolumeClaim != nil {
						read = append(read, v.PersistentVolumeClaim.ClaimName)
					}
				}
				claims, made := w.copies()
				w.Expect(claims).To(HaveLen(1), "both repositories share the copy")
				w.Expect(made).To(HaveLen(snapshots))
				first := claims[0].CreationTimestamp
				if snapshots > 0 {
					first = made[0].CreationTimestamp
				}
				work, err := task.Decode([]byte(job.Spec.Template.Annotations[v1alpha1.AnnotationTask]),
					task.KindBackup)
				w.Expect(err).NotTo(HaveOccurred())
				w.Expect(work.Components[0].CopiedAt.Time).To(BeTemporally("==", first.Time))
				w.Expect(claims[0].Spec.AccessModes).
					To(Equal([]corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}))
				return kubelet.Succeed(job)
			}
			s := w.settle("run")
			w.Expect(summary(s)).To(Equal([]string{"Succeeded/Succeeded", "uploads: Succeeded/Succeeded"}))
			name := policy.CopyName(string(s.UID), "uploads", "uploads")
			w.Expect(read).To(Equal([]string{name, name}))
			w.Expect(w.snapshots()).To(HaveLen(2))
			w.clean()
			w.Expect(w.Jobs()).To(BeEmpty(), "their pods would hold the copy")
		})
	}
}

func TestTheCopyIsAsLargeAsItsSnapshotNeeds(t *testing.T) {
	t.Parallel()
	w := copied(t, v1alpha1.CopySnapshot, func(c *v1alpha1.BackupConfiguration) {
		c.Spec.Sessions[0].CopyVolume = &v1alpha1.CopyVolume{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany},
		}
	})
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		claims, _ := w.copies()
		w.Expect(claims[0].Spec.Resources.Requests.Storage().String()).To(Equal("3Gi"))
		for _, v := range job.Spec.Template.Spec.Volumes {
			if v.PersistentVolumeClaim != nil {
				w.Expect(v.PersistentVolumeClaim.ReadOnly).To(BeTrue())
			}
		}
		return kubelet.Succeed(job)
	}
	s := w.settle("run")
	w.Expect(s.Status.Resolved.Targets[0].Copies[0].Size.String()).To(Equal("2Gi"))
	w.clean()
}

// TestAFreeVolumeIsNoCopy: Kubernetes prefers an existing volume to one that is made of the claim's source. What a
// mover reads from it is no backup, whatever the mover reports.
func TestAFreeVolumeIsNoCopy(t *testing.T) {
	t.Parallel()
	for _, method := range []v1alpha1.CopyMethod{v1alpha1.CopySnapshot, v1alpha1.CopyClone} {
		t.Run(string(method), func(t *testing.T) {
			t.Parallel()
			w := copied(t, method)
			w.CSI = &csi.Driver{Static: true}
			w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
			s := w.settle("run")
			w.Expect(s.Status.Reason).To(Equal(v1alpha1.ReasonCopyFailed))
			for _, snap := range w.snapshots() {
				w.Expect(snap.Status.Phase).To(Equal(v1alpha1.SnapshotFailed))
				w.Expect(snap.Status.Components["pvc"].Error).
					To(And(ContainSubstring("the copy of PersistentVolumeClaim uploads is not a copy"),
						ContainSubstring("other data")))
			}
			w.clean()
		})
	}
}

func TestCopiesThatCantBeMade(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		csi    csi.Driver
		later  time.Duration
		reason string
		says   string
	}{
		"a driver that answers an error": {
			csi: csi.Driver{Error: "no space left in the pool"}, later: 2 * time.Minute,
			reason: v1alpha1.ReasonVolumeSnapshotFailed, says: "no space left in the pool",
		},
		"a driver that never answers": {
			csi: csi.Driver{Hang: true}, later: 11 * time.Minute,
			reason: v1alpha1.ReasonVolumeSnapshotNotReady, says: "10m",
		},
		"a run that takes too long": {
			csi: csi.Driver{Hang: true}, later: 7 * time.Hour,
			reason: v1alpha1.ReasonDeadlineExceeded, says: "deadline",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := copied(t, v1alpha1.CopySnapshot)
			w.CSI = &tt.csi
			w.run(v1alpha1.BackupConfigurationKind, "uploads", "run", limited)
			w.Reconcile("run")
			w.Cluster()
			w.Clock.SetTime(w.Clock.Now().Add(30 * time.Second))
			w.Reconcile("run")
			w.Expect(w.session("run").Status.Phase).
				To(Equal(v1alpha1.BackupSessionRunning), "the driver still has time")
			w.Clock.SetTime(w.Clock.Now().Add(tt.later))
			s := w.settle("run")
			w.Expect(s.Status.Reason).To(Equal(tt.reason))
			w.Expect(w.snapshots()[0].Status.Components["pvc"].Error).To(ContainSubstring(tt.says))
			w.Expect(w.Jobs()).To(BeEmpty())
			w.clean()
		})
	}
}

func TestARunThatIsDeletedTakesItsCopiesAlong(t *testing.T) {
	t.Parallel()
	w := copied(t, v1alpha1.CopySnapshot)
	w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Outcome{Hang: true} }
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	for range 4 {
		w.Reconcile("run")
		w.Cluster()
	}
	w.Expect(w.Jobs()).To(HaveLen(2))
	w.Expect(w.Client.Delete(t.Context(), w.session("run"))).To(Succeed())
	w.Expect(summary(w.settle("run"))[0]).To(Equal("Failed/Cancelled"))
	w.clean()
}

func TestKilledWhileCopying(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, killer *sessiontest.Killer) *world {
		w := copied(t, v1alpha1.CopySnapshot)
		lost := false
		w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
			if !lost {
				lost = true
				return kubelet.Outcome{} // its repetition reads the same copy
			}
			return kubelet.Succeed(job)
		}
		w.Killer = killer
		w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
		return w
	}
	made := func(w *world) []string {
		uids := map[string]bool{}
		s := &v1alpha1.BackupSession{}
		for range 50 {
			w.Reconcile("run")
			claims, snapshots := w.copies()
			for i := range claims {
				uids["claim "+string(claims[i].UID)] = true
			}
			for i := range snapshots {
				uids["snapshot "+string(snapshots[i].UID)] = true
			}
			w.Cluster()
			if w.Get("run", s); s.Status.Phase.Terminal() {
				break
			}
		}
		w.settle("run")
		w.Expect(uids).To(HaveLen(2), "one VolumeSnapshot and one claim, each once")
		w.clean()
		return summary(s)
	}
	undisturbed := &sessiontest.Killer{}
	want := made(start(t, undisturbed))
	g := NewWithT(t)
	g.Expect(want[0]).To(Equal("Succeeded/Succeeded"))
	g.Expect(undisturbed.Count()).To(BeNumerically(">", 15))
	for name, killer := range sessiontest.KillPoints(undisturbed.Count()) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, killer)
			w.Expect(made(w)).To(Equal(want))
			w.Expect(killer.Dead()).To(BeTrue(), "the manager was killed")
		})
	}
}

func TestWhatWasLeftBehindIsSwept(t *testing.T) {
	t.Parallel()
	w := copied(t, v1alpha1.CopySnapshot)
	w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Outcome{Hang: true} }
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	for range 4 {
		w.Reconcile("run")
		w.Cluster()
	}
	metrics := NewMetrics(prometheus.NewRegistry())
	sweep := func() {
		r := reconciler(w.World)
		s := &Sweeper{
			Client: r.Client, APIReader: r.APIReader, EventRecorder: w.Events, FieldManager: r.FieldManager,
			Metrics: metrics,
		}
		w.Expect(s.sweep(t.Context())).To(Succeed())
	}
	foreign := sessiontest.Claim(w.Namespace, "foreign")
	foreign.Labels = map[string]string{v1alpha1.LabelCopy: "run", v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn}
	// Other systems have a kind of this name.
	other := sessiontest.Claim(w.Namespace, "other")
	other.Labels = foreign.Labels
	other.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: "core.example.com/v1", Kind: v1alpha1.BackupSessionKind,
		Name: "gone", UID: "gone", Controller: new(true),
	}}
	sessiontest.Create(t, w.Client, foreign, other)
	sweep()
	claims, snapshots := w.copies()
	w.Expect(claims).To(HaveLen(3))
	w.Expect(claims).To(HaveEach(HaveField("DeletionTimestamp", BeNil())), "the run still works")
	w.Expect(snapshots).To(HaveLen(1))

	s := w.session("run")
	s.Status.Phase = v1alpha1.BackupSessionFailed
	w.Expect(w.Client.Status().Update(t.Context(), s)).To(Succeed())
	w.EventReasons()
	sweep()
	w.Expect(w.EventReasons()).To(ContainElement(v1alpha1.ReasonCopiesRemoved)) // of other tests' runs, too
	w.Expect(testutil.ToFloat64(metrics.removed)).To(BeNumerically(">=", 1))
	w.Expect(testutil.ToFloat64(metrics.found)).To(BeNumerically(">=", 1))
	claims, _ = w.copies()
	w.Expect(claims).To(ContainElement(HaveField("DeletionTimestamp", Not(BeNil()))),
		"Kubernetes has not finished the deletion")
	all, err := reconciler(w.World).copies().Leftovers(t.Context())
	w.Expect(err).NotTo(HaveOccurred())
	for _, left := range all {
		if left.Namespace == w.Namespace {
			w.Expect(left.Names).NotTo(BeEmpty())
			w.Expect(left.Fresh()).To(BeEmpty(), "the second sweep has nothing new to report")
		}
	}
	for _, claim := range []*corev1.PersistentVolumeClaim{foreign, other} {
		w.Expect(claims).To(ContainElement(And(HaveField("Name", claim.Name), HaveField("DeletionTimestamp", BeNil()))))
		w.Expect(w.Client.Delete(t.Context(), claim)).To(Succeed())
	}
	w.clean()
}

// A driver that can't create the volume reports it only in events of the claim.
func TestAVolumeThatCantBeMadeFailsWithTheDriversWords(t *testing.T) {
	t.Parallel()
	w := copied(t, v1alpha1.CopyClone, func(c *v1alpha1.BackupConfiguration) {
		c.Spec.Sessions[0].CopyVolume = &v1alpha1.CopyVolume{StorageClassName: csi.Class}
	})
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Reconcile("run")
	claims, _ := w.copies()
	w.Expect(claims).To(HaveLen(1))
	said := time.Now()
	warn := func(name, message string) {
		said = said.Add(time.Second)
		sessiontest.Create(t, w.Client, &corev1.Event{
			LastTimestamp: metav1.NewTime(said),
			ObjectMeta:    metav1.ObjectMeta{Namespace: w.Namespace, Name: name},
			InvolvedObject: corev1.ObjectReference{
				Kind: "PersistentVolumeClaim", Namespace: w.Namespace, Name: claims[0].Name,
				UID: claims[0].UID,
			},
			Reason: "ProvisioningFailed", Type: corev1.EventTypeWarning, Message: message,
		})
	}
	w.Clock.SetTime(w.Clock.Now().Add(2 * time.Minute))
	warn("away", "failed to provision volume: rpc error: code = Unavailable desc = connection refused")
	warn("busy", "failed to provision volume: rpc error: code = DeadlineExceeded desc = context deadline exceeded")
	w.Reconcile("run")
	w.Expect(w.session("run").Status.Phase).To(Equal(v1alpha1.BackupSessionRunning), "the driver still works on it")
	warn("full", "failed to provision volume: rpc error: code = ResourceExhausted desc = the pool is full")
	s := w.settle("run")
	w.Expect(s.Status.Reason).To(Equal(v1alpha1.ReasonCopyFailed))
	w.Expect(w.snapshots()[0].Status.Components["pvc"].Error).To(ContainSubstring("the pool is full"))
	w.Expect(w.Jobs()).To(BeEmpty())
	w.clean()
}

func TestACopyThatAQuotaRefusesFailsWithItsWords(t *testing.T) {
	t.Parallel()
	w := copied(t, v1alpha1.CopySnapshot)
	bed.ForbidClaims(t, w.Namespace, "few")
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Expect(w.settle("run").Status.Reason).To(Equal(v1alpha1.ReasonCopyFailed))
	w.Expect(w.snapshots()[0].Status.Components["pvc"].Error).To(ContainSubstring("exceeded quota: few"))
	w.clean()
}
