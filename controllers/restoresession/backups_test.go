package restoresession

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// backup creates a running BackupSession that resolved the claim target, and of which no pod exists.
func (w *world) backup(edit ...func(*v1alpha1.ResolvedTarget)) *v1alpha1.BackupSession {
	w.T.Helper()
	run := &v1alpha1.BackupSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "run"},
		Spec: v1alpha1.BackupSessionSpec{
			Invoker: v1alpha1.TypedLocalObjectReference{
				APIGroup: v1alpha1.Group, Kind: v1alpha1.BackupConfigurationKind, Name: "web",
			}, Session: "nightly",
		},
	}
	sessiontest.Create(w.T, w.Client, run)
	t := v1alpha1.ResolvedTarget{
		Name: "web", AppRef: v1alpha1.TypedObjectReference{Kind: v1alpha1.KindDeployment, Name: "web"},
		Configuration: "web", Executor: v1alpha1.ExecutorJob,
		Hosts: []v1alpha1.ResolvedHost{{
			Name:    "target",
			Volumes: []v1alpha1.ResolvedVolume{{Component: "data", ClaimName: "target", Volume: "data"}},
		}},
	}
	for _, e := range edit {
		e(&t)
	}
	bed.EditStatus(w.T, run, func() {
		run.Status.Phase = v1alpha1.BackupSessionRunning
		run.Status.Resolved = &v1alpha1.ResolvedBackup{Targets: []v1alpha1.ResolvedTarget{t}}
		run.Status.Targets = []v1alpha1.BackupTargetStatus{{
			Name: t.Name, AppRef: t.AppRef, Phase: v1alpha1.BackupSessionRunning, Reason: v1alpha1.ReasonRunning,
		}}
	})
	return run
}

// copied makes a backup read a copy of the claim target.
func copied(class string) func(*v1alpha1.ResolvedTarget) {
	return func(t *v1alpha1.ResolvedTarget) {
		t.Copies = []v1alpha1.ResolvedCopy{{
			Name: "copy", ClaimName: "target", VolumeSnapshotClassName: class, Size: resource.MustParse("1Gi"),
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: "disk",
		}}
	}
}

// A Job without a pod reads the volume a moment later: a restore that began now would write below it.
func TestABackupHoldsItsVolumeWhoeverReadsIt(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*v1alpha1.ResolvedTarget){
		"a Job":     func(*v1alpha1.ResolvedTarget) {},
		"a sidecar": func(t *v1alpha1.ResolvedTarget) { t.Executor = v1alpha1.ExecutorSidecar },
		"a VolumeSnapshot of the driver": func(t *v1alpha1.ResolvedTarget) {
			t.Task.Driver = v1alpha1.DriverVolumeSnapshotter
		},
		"a copy that is not made yet":  copied("snapshots"),
		"a clone that is not made yet": copied(""),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			run := w.backup(edit)
			w.restore("restore", w.confirmed("target"))
			w.Reconcile("restore")
			s := w.session("restore")
			w.Expect(ending(s)).To(Equal("Pending/VolumeInUse"))
			w.Expect(message(s)).To(ContainSubstring("BackupSession run backs up PersistentVolumeClaim target"))
			w.Expect(w.Jobs()).To(BeEmpty())
			bed.EditStatus(t, run, func() { run.Status.Phase = v1alpha1.BackupSessionSucceeded })
			w.Expect(ending(w.settle("restore"))).To(Equal("Succeeded/Succeeded"))
		})
	}
}

// The wait ends: a restore does not hang on a backup that does.
func TestTheWaitForABackupIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.backup()
	w.restore("restore", w.confirmed("target"))
	w.Expect(w.Reconcile("restore").RequeueAfter).To(BeNumerically(">", 0))
	w.Clock.SetTime(w.Clock.Now().Add(waitForMover + time.Second))
	w.Expect(ending(w.settle("restore"))).To(Equal("Failed/VolumeInUse"))
}

func TestABackupThatReadsNoMoreHoldsNothing(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*world){
		"its target has ended": func(w *world) {
			run := w.backup()
			bed.EditStatus(w.T, run, func() { run.Status.Targets[0].Phase = v1alpha1.BackupSessionSucceeded })
		},
		"it reads another claim": func(w *world) {
			w.backup(func(t *v1alpha1.ResolvedTarget) { t.Hosts[0].Volumes[0].ClaimName = "other" })
		},
		"its copy is made": func(w *world) {
			w.backup(copied("snapshots"))
			claim := sessiontest.Claim(w.Namespace, "copy")
			claim.Status.Phase = corev1.ClaimPending
			sessiontest.Create(w.T, w.Client, claim)
		},
		"its clone is made": func(w *world) {
			w.backup(copied(""))
			sessiontest.Create(w.T, w.Client, sessiontest.Claim(w.Namespace, "copy"))
		},
		"it is a record": func(w *world) {
			run := w.backup()
			bed.Edit(w.T, run, func() { run.Annotations = map[string]string{v1alpha1.AnnotationRecord: "true"} })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			prepare(w)
			w.restore("restore", w.confirmed("target"))
			w.Expect(ending(w.settle("restore"))).To(Equal("Succeeded/Succeeded"))
		})
	}
}

// Another backup can have been frozen at the same moment. The restore waits for it, and says so.
func TestAFrozenRestoreWaitsForABackup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Killer = &sessiontest.Killer{At: 3}
	w.restore("restore", w.confirmed("target"))
	w.Reconcile("restore")
	w.Expect(w.session("restore").Status.Resolved).NotTo(BeNil())
	run := w.backup()
	w.Reconcile("restore")
	s := w.session("restore")
	w.Expect(ending(s)).To(Equal("Running/VolumeInUse"))
	w.Expect(message(s)).To(ContainSubstring("waiting: BackupSession run backs up PersistentVolumeClaim target"))
	w.Expect(w.Jobs()).To(BeEmpty())
	bed.EditStatus(t, run, func() { run.Status.Phase = v1alpha1.BackupSessionFailed })
	w.Reconcile("restore")
	w.Expect(ending(w.session("restore"))).To(Equal("Running/Running"))
	w.Expect(ending(w.settle("restore"))).To(Equal("Succeeded/Succeeded"))
}

// A dump of a database that a restore fills is half a dump.
func TestABackupHoldsItsDatabase(t *testing.T) {
	t.Parallel()
	w, service := databaseWorld(t, true)
	run := w.backup(func(t *v1alpha1.ResolvedTarget) {
		t.AppRef = v1alpha1.TypedObjectReference{Kind: v1alpha1.KindService, Name: service.Name}
		t.Hosts[0].Volumes[0] = v1alpha1.ResolvedVolume{Component: "dump", Path: "shop"}
	})
	w.restore("restore", intoService(auth))
	w.Reconcile("restore")
	w.Expect(ending(w.session("restore"))).To(Equal("Pending/VolumeInUse"))
	bed.EditStatus(t, run, func() { run.Status.Phase = v1alpha1.BackupSessionSucceeded })
	w.Expect(ending(w.settle("restore"))).To(Equal("Succeeded/Succeeded"))
}
