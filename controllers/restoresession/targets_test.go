package restoresession

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// newClaims makes a restore create claims from a template instead of naming a target.
func newClaims(name string) func(*v1alpha1.RestoreSession) {
	return func(s *v1alpha1.RestoreSession) {
		s.Spec.Target = nil
		s.Spec.Addon = &v1alpha1.AddonInfo{Name: catalog.VolumeAddon, Tasks: []v1alpha1.TaskReference{{
			Name: catalog.RestoreTask,
			TargetVolumes: &v1alpha1.TargetVolumes{VolumeClaimTemplates: []v1alpha1.RestoreClaimTemplate{{
				Metadata: v1alpha1.ClaimMetadata{Name: name, Labels: map[string]string{"app": "copy"}},
				Spec:     sessiontest.Claim("", "").Spec,
			}}},
		}}}
	}
}

// A class without an object is legal: an administrator's volume can have it. So the restore waits, but says so.
func TestAStorageClassThatIsMissingIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	class := "fastt-" + w.Namespace
	w.restore("restore", newClaims("copy"), func(s *v1alpha1.RestoreSession) {
		s.Spec.Addon.Tasks[0].TargetVolumes.VolumeClaimTemplates[0].Spec.StorageClassName = &class
	})
	w.Reconcile("restore")
	w.Reconcile("restore")
	w.Expect(w.Jobs()).To(HaveLen(1))
	pod := kubelet.Pod(&w.Jobs()[0])
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
		Message: "0/3 nodes are available: not found",
	}}}
	sessiontest.Create(t, w.Client, pod)
	says := "there is no StorageClass " + class + ", and no volume of that class is bound to " +
		"PersistentVolumeClaim copy yet"
	waits := func() {
		t.Helper()
		w.Reconcile("restore")
		w.Expect(ending(w.session("restore"))).To(Equal("Running/StorageClassNotFound"))
		w.Expect(conditions.GetMessage(w.session("restore"), meta.ReadyCondition)).To(Equal("waiting: " + says))
	}
	waits()

	made := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: class}, Provisioner: noProvisioner}
	sessiontest.Create(t, w.Client, made)
	w.Reconcile("restore")
	w.Expect(ending(w.session("restore"))).To(Equal("Running/Running"))
	w.Expect(w.Client.Delete(t.Context(), made)).To(Succeed())
	waits()

	w.Clock.SetTime(w.Clock.Now().Add(6 * time.Minute))
	w.Reconcile("restore")
	w.Expect(w.session("restore").Status.Components).To(HaveKeyWithValue("pvc", And(
		HaveField("Reason", v1alpha1.ReasonUnschedulable), HaveField("Error", ContainSubstring(says)))))
}

func ofPods(s *v1alpha1.RestoreSession) {
	s.Spec.DataSource = &v1alpha1.RestoreDataSource{Snapshot: "pods"}
}

// confirmed sets confirm to the UID of a claim.
func (w *world) confirmed(claim string) func(*v1alpha1.RestoreSession) {
	var c corev1.PersistentVolumeClaim
	w.Get(claim, &c)
	return func(s *v1alpha1.RestoreSession) { s.Spec.Confirm = string(c.UID) }
}

func restoreOf(job *batchv1.Job) task.Restore { return *kubelet.TaskOf(job).Restore }

func TestNewClaimsAreMadeOnceAndKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.restore("restore", newClaims("copy-${POD_ORDINAL}"), ofPods)
	s := w.settle("restore")
	w.Expect(ending(s)).To(Equal("Succeeded/Succeeded"))
	w.Expect(w.Jobs()).To(HaveLen(2), "one for each component")
	for _, name := range []string{"copy-0", "copy-1"} {
		var claim corev1.PersistentVolumeClaim
		w.Get(name, &claim)
		w.Expect(claim.Labels).To(HaveKeyWithValue("app", "copy"))
		w.Expect(claim.OwnerReferences).To(BeEmpty(), "restored claims stay when the RestoreSession is deleted")
		w.Expect(claim.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationRestored,
			HavePrefix(s.Status.Resolved.SpecDigest+"/")))
		w.Expect(claim.Annotations).NotTo(HaveKey(v1alpha1.AnnotationRestoring))
	}
	jobs := w.Jobs()
	for i := range jobs {
		w.Expect(restoreOf(&jobs[i]).Group).To(BeTrue())
		w.Expect(*jobs[i].Spec.Template.Spec.SecurityContext.FSGroup).
			To(Equal(moverjob.DefaultUser), "a volume that is new belongs to nobody else")
	}
	w.restore("same", newClaims("copy-${POD_ORDINAL}"), ofPods)
	w.Expect(ending(w.settle("same"))).To(Equal("Failed/NameConflict"), "its claims are those of a restore before")
	w.restore("other", newClaims("copy-${POD_ORDINAL}"), func(s *v1alpha1.RestoreSession) {
		s.Spec.DataSource = &v1alpha1.RestoreDataSource{Snapshot: "pods", Components: []string{"pod-1"}}
	})
	w.Expect(ending(w.settle("other"))).To(Equal("Failed/NameConflict"), "a restore does not take over foreign claims")
	w.Expect(w.Jobs()).To(HaveLen(2))
	w.forget("restore")
	w.restore("restore", newClaims("copy-${POD_ORDINAL}"), ofPods)
	w.Expect(ending(w.settle("restore"))).To(Equal("Skipped/AlreadyRestored"), "a GitOps tool makes it again")
	w.Expect(w.Jobs()).To(BeEmpty())
}

func TestNewClaimsKilledAtAnyWrite(t *testing.T) {
	t.Parallel()
	undisturbed := newWorld(t)
	killer := undisturbed.Killer
	undisturbed.restore("restore", newClaims("copy-${POD_ORDINAL}"), ofPods)
	undisturbed.Expect(ending(undisturbed.settle("restore"))).To(Equal("Succeeded/Succeeded"))
	for name, killer := range sessiontest.KillPoints(killer.Count()) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Killer = killer
			w.restore("restore", newClaims("copy-${POD_ORDINAL}"), ofPods)
			w.Expect(ending(w.settle("restore"))).To(Equal("Succeeded/Succeeded"))
			w.Expect(w.Jobs()).To(HaveLen(2))
		})
	}
}

func TestAStatefulSetIsRestoredPodByPod(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	labels := map[string]string{"app": "db"}
	spec := sessiontest.PodSpec("", "unused")
	spec.Volumes, spec.NodeName = nil, ""
	spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: new(int64(999)), FSGroup: new(int64(998))}
	set := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "db"},
		Spec: appsv1.StatefulSetSpec{
			Replicas: new(int32(0)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec},
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{
				ObjectMeta: metav1.ObjectMeta{Name: "data"},
				Spec:       sessiontest.Claim("", "").Spec,
			}},
		},
	}
	sessiontest.Create(t, w.Client, set, sessiontest.Claim(w.Namespace, "data-db-0"),
		sessiontest.Claim(w.Namespace, "data-db-1"))
	into := func(s *v1alpha1.RestoreSession) {
		s.Spec.Target = &v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: v1alpha1.KindStatefulSet, Name: "db"}
		s.Spec.DataSource = &v1alpha1.RestoreDataSource{Snapshot: "pods"}
	}
	sessiontest.Create(t, w.Client, sessiontest.Pod(w.Namespace, "db-1", "node-b", "data-db-1", labels))
	w.restore("running", into)
	s := w.settle("running")
	w.Expect(ending(s)).To(Equal("Failed/VolumeInUse"))
	w.Expect(s.Status.Conditions).
		To(ContainElement(HaveField("Message", ContainSubstring("spec.confirm: "+string(set.UID)))))

	w.restore("restore", into, func(s *v1alpha1.RestoreSession) { s.Spec.Confirm = string(set.UID) })
	s = w.settle("restore")
	w.Expect(ending(s)).To(Equal("Succeeded/Succeeded"))
	w.Expect(s.Status.TotalComponents).To(BeEquivalentTo(2))
	w.Expect(s.Status.Resolved.Hosts[1].Node).To(Equal("node-b"), "where its pod holds the volume")
	w.Expect(s.Status.Resolved.Task.Addon).To(Equal(catalog.WorkloadAddon))
	w.Expect(*s.Status.Resolved.Hosts[0].SecurityContext.RunAsUser).To(BeEquivalentTo(999), "as the owner of the files")
	w.Expect(s.Status.Resolved.Hosts[0].SecurityContext.SupplementalGroups).To(ConsistOf(int64(998)))
	w.Expect(w.Jobs()).To(HaveLen(2))
	w.restore("other", into, func(s *v1alpha1.RestoreSession) { s.Spec.Confirm = string(set.UID) })
	w.Expect(ending(w.settle("other"))).To(Equal("Invalid/ConfirmationUsed"))
	w.forget("restore")
	w.restore("restore", into, func(s *v1alpha1.RestoreSession) { s.Spec.Confirm = string(set.UID) })
	w.Expect(ending(w.settle("restore"))).To(Equal("Skipped/AlreadyRestored"))
}

func TestAUsedVolumeNeedsConfirmation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sessiontest.Create(t, w.Client, sessiontest.Pod(w.Namespace, "app", "node-a", "target", nil))
	w.restore("wrong", func(s *v1alpha1.RestoreSession) { s.Spec.Confirm = "another" })
	s := w.settle("wrong")
	w.Expect(ending(s)).To(Equal("Invalid/ConfirmationWrong"))
	w.restore("unconfirmed")
	w.Expect(ending(w.settle("unconfirmed"))).To(Equal("Failed/VolumeInUse"))
	w.Expect(w.Jobs()).To(BeEmpty())

	w.restore("confirmed", w.confirmed("target"), func(s *v1alpha1.RestoreSession) {
		s.Spec.OverwritePolicy, s.Spec.DeleteExtraFiles, s.Spec.Verify = v1alpha1.OverwriteIfNewer, true, true
	})
	s = w.settle("confirmed")
	w.Expect(ending(s)).To(Equal("Succeeded/Succeeded"))
	w.Expect(s.Status.Resolved.Hosts[0].Node).To(Equal("node-a"))
	job := w.Jobs()[0]
	w.Expect(restoreOf(&job)).
		To(Equal(task.Restore{Overwrite: v1alpha1.OverwriteIfNewer, DeleteExtra: true, Verify: true}))
	w.Expect(job.Spec.Template.Spec.SecurityContext.FSGroup).To(BeNil(), "a volume that holds data keeps its owners")
}

func TestABackupThatReadsTheVolumeIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mover := sessiontest.Pod(w.Namespace, "backup-x", "node-a", "target",
		map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn})
	sessiontest.Create(t, w.Client, mover)
	w.restore("restore", w.confirmed("target"))
	w.Reconcile("restore")
	w.Expect(ending(w.session("restore"))).To(Equal("Pending/VolumeInUse"))
	w.Expect(w.Client.Delete(t.Context(), mover, client.GracePeriodSeconds(0))).To(Succeed())
	w.Expect(ending(w.settle("restore"))).To(Equal("Succeeded/Succeeded"))
}

func TestARestoreByTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := func(hour, minute int, exclusive bool) func(*v1alpha1.RestoreSession) {
		return func(s *v1alpha1.RestoreSession) {
			moment := metav1.NewTime(time.Date(2026, 7, 1, hour, minute, 0, 0, time.UTC))
			s.Spec.DataSource = &v1alpha1.RestoreDataSource{
				Repository: "uploads",
				PITR:       &v1alpha1.PITR{TargetTime: &moment, Exclusive: exclusive},
			}
		}
	}
	w.restore("restore", at(2, 0, true))
	w.Expect(w.settle("restore").Status.Resolved.Snapshot).To(Equal("first"))
	w.restore("later", at(23, 0, false), newClaims("later"))
	w.Expect(w.settle("later").Status.Resolved.Snapshot).To(Equal("second"), "the third failed")
	w.restore("early", at(0, 0, true), newClaims("early"))
	s := w.settle("early")
	w.Expect(ending(s)).To(Equal("Invalid/SnapshotNotFound"))
	w.Expect(s.Status.Conditions).To(ContainElement(HaveField("Message", ContainSubstring("2026-07-01T00:00:00Z"))))
}

func TestARetriedRestoreKnowsItsOwnWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		o := kubelet.Succeed(job)
		if !kubelet.TaskOf(job).Components[0].Resume {
			c := &o.Result.Components[0]
			o.Result.Outcome, o.Result.Reason = task.OutcomeFailed, v1alpha1.ReasonUnreachable
			c.Outcome, c.Reason, c.TargetWritten = task.OutcomeFailed, v1alpha1.ReasonUnreachable, true
		}
		return o
	}
	w.restore("restore", func(s *v1alpha1.RestoreSession) {
		s.Spec.RetryConfig = &v1alpha1.RetryConfig{MaxRetry: 2, Delay: metav1.Duration{Duration: time.Minute}}
	})
	w.Reconcile("restore")
	w.Cluster()
	w.Reconcile("restore")
	s := w.session("restore")
	w.Expect(ending(s)).To(Equal("Running/Retrying"))
	w.Expect(s.Annotations[v1alpha1.AnnotationMovers]).To(BeEmpty(), "a failed mover is not allowed to report any more")
	w.Clock.SetTime(w.Clock.Now().Add(2 * time.Minute))
	s = w.settle("restore")
	w.Expect(ending(s)).To(Equal("Succeeded/Succeeded"))
	w.Expect(s.Status.Attempt).To(BeEquivalentTo(2))
	w.Expect(s.Status.Retried).To(BeEquivalentTo(1))
	w.Expect(w.Jobs()).To(HaveLen(2))
	for _, job := range w.Jobs() {
		second := kubelet.TaskOf(&job).Components[0].Resume
		w.Expect(restoreOf(&job).Again).To(Equal(second), "what it keeps can be the work of the first")
	}
}

func TestAnEmptyVolumeThatBelongsToRootIsGivenToTheMover(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		o := kubelet.Succeed(job)
		if !restoreOf(job).Group {
			c := &o.Result.Components[0]
			o.Result.Outcome, o.Result.Reason = task.OutcomeFailed, v1alpha1.ReasonTargetUnwritable
			c.Outcome, c.Reason, c.TargetEmpty = task.OutcomeFailed, v1alpha1.ReasonTargetUnwritable, true
		}
		return o
	}
	w.restore("restore")
	w.Reconcile("restore")
	w.Cluster()
	w.Reconcile("restore")
	w.Clock.SetTime(w.Clock.Now().Add(2 * time.Second))
	w.Expect(ending(w.settle("restore"))).To(Equal("Succeeded/Succeeded"))
	jobs := w.Jobs()
	w.Expect(jobs).To(HaveLen(2))
	for i := range jobs {
		w.Expect(jobs[i].Spec.Template.Spec.SecurityContext.FSGroup != nil).To(Equal(restoreOf(&jobs[i]).Group))
	}
}
