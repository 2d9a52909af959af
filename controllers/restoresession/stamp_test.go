package restoresession

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// oldStamp replaces the stamp of a claim by that of an earlier version, which had only the digest.
func (w *world) oldStamp(claim *corev1.PersistentVolumeClaim) {
	w.T.Helper()
	bed.Edit(w.T, claim, func() {
		claim.Annotations[v1alpha1.AnnotationRestored] = restore.ParseStamp(
			claim.Annotations[v1alpha1.AnnotationRestored]).Digest
		delete(claim.Annotations, v1alpha1.AnnotationConfirmed)
	})
}

// jobOf returns the only Job of a restore.
func (w *world) jobOf(name string) *batchv1.Job {
	w.T.Helper()
	for _, job := range w.Jobs() {
		if metav1.IsControlledBy(&job, w.session(name)) {
			return &job
		}
	}
	w.T.Fatalf("restore %s has no Job", name)
	return nil
}

// A stamp of an earlier version is no proof. A restore with confirm must not overwrite because of that: a GitOps tool
// that creates it again has nobody's new word.
func TestAStampOfAnEarlierVersionProvesNothingAndOverwritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	confirmed := w.confirmed("target")
	w.restore("first", confirmed)
	w.Expect(ending(w.settle("first"))).To(Equal("Succeeded/Succeeded"))
	w.oldStamp(w.claim("target"))
	w.restore("again", confirmed)
	s := w.settle("again")
	w.Expect(ending(s)).To(Equal("Invalid/ConfirmationUsed"))
	w.Expect(message(s)).To(ContainSubstring("PersistentVolumeClaim target has the annotation"))
	w.Expect(w.Jobs()).To(HaveLen(1), "nothing is overwritten")

	w.restore("wanted", confirmed, confirmedAnew)
	w.Expect(ending(w.settle("wanted"))).To(Equal("Succeeded/Succeeded"), "somebody has confirmed it again")

	// Without confirm the mover looks: it refuses a volume that holds data.
	w.restore("unconfirmed")
	w.Expect(ending(w.settle("unconfirmed"))).To(Equal("Succeeded/Succeeded"))
	w.oldStamp(w.claim("target"))
	w.restore("looks")
	w.Reconcile("looks")
	w.Expect(restoreOf(w.jobOf("looks")).Overwrite).To(BeEmpty())
}

// The claim stays, but the volume of its name is another one: for example, both were created again from an export.
func TestAStampCountsForOneVolume(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.restore("first")
	w.Expect(ending(w.settle("first"))).To(Equal("Succeeded/Succeeded"))
	volume := &corev1.PersistentVolume{}
	key := client.ObjectKey{Name: w.claim("target").Spec.VolumeName}
	w.Expect(w.Client.Get(t.Context(), key, volume)).To(Succeed())
	again := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: volume.Name}, Spec: volume.Spec}
	bed.Edit(t, volume, func() { volume.Finalizers = nil })
	w.Expect(w.Client.Delete(t.Context(), volume)).To(Succeed())
	w.Expect(w.Client.Create(t.Context(), again)).To(Succeed())
	w.forget("first")
	w.restore("first")
	w.Reconcile("first")
	w.Expect(w.session("first").Status.Phase).To(Equal(v1alpha1.RestoreSessionRunning))
}

// One of two claims of a StatefulSet was created again with its annotations. Neither is the restore Ready, nor does the
// confirmation of the StatefulSet, which is still the same, count for the other volume again.
func TestAStampOfAWorkloadCountsForAllItsClaims(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	labels := map[string]string{"app": "db"}
	spec := sessiontest.PodSpec("", "unused")
	spec.Volumes = nil
	spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	set := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "db"},
		Spec: appsv1.StatefulSetSpec{
			Replicas: new(int32(0)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec},
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{
				ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: sessiontest.Claim("", "").Spec,
			}},
		},
	}
	sessiontest.Create(t, w.Client, set, sessiontest.Claim(w.Namespace, "data-db-0"),
		sessiontest.Claim(w.Namespace, "data-db-1"))
	into := func(s *v1alpha1.RestoreSession) {
		s.Spec.Target = &v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: v1alpha1.KindStatefulSet, Name: "db"}
		s.Spec.DataSource = &v1alpha1.RestoreDataSource{Snapshot: "pods"}
		s.Spec.Confirm = string(set.UID)
	}
	w.restore("first", into)
	w.Expect(ending(w.settle("first"))).To(Equal("Succeeded/Succeeded"))
	w.createAgain(w.claim("data-db-1"))
	w.forget("first")
	w.restore("first", into)
	w.Expect(ending(w.settle("first"))).To(Equal("Invalid/ConfirmationUsed"))
	w.Expect(w.Jobs()).To(BeEmpty())

	pods := &v1alpha1.Snapshot{}
	w.Get("pods", pods)
	w.Expect(w.Client.Delete(t.Context(), pods)).To(Succeed())
	w.forget("first")
	w.restore("first", into)
	w.Expect(ending(w.settle("first"))).To(Equal("Invalid/SnapshotNotFound"), "one of the claims is not filled")
}

// The object that stands for a database stays when its server gets a new volume.
func TestAStampOfADatabaseCountsForItsVolume(t *testing.T) {
	t.Parallel()
	w, service := databaseWorld(t, true)
	w.restore("first", intoService(auth))
	w.Expect(ending(w.settle("first"))).To(Equal("Succeeded/Succeeded"))
	server := &corev1.Pod{}
	w.Get(service.Name+"-0", server)
	w.Expect(w.Client.Delete(t.Context(), server, client.GracePeriodSeconds(0))).To(Succeed())
	for _, o := range sessiontest.Database(w.Namespace, service.Name, true) {
		if pod, ok := o.(*corev1.Pod); ok {
			sessiontest.Create(t, w.Client, pod)
		}
	}
	w.forget("first")
	w.restore("first", intoService(auth))
	w.Expect(ending(w.settle("first"))).To(Equal("Succeeded/Succeeded"), "the new server had no data")
}

// The CRD of an earlier version gave each restore the restoreTimeout 6h. After an upgrade, a GitOps tool that creates
// the same file again must not overwrite what the application has written since.
func TestARestoreThatIsCreatedAgainAfterAnUpgradeOverwritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	confirmed := w.confirmed("target")
	w.restore("first", confirmed, func(s *v1alpha1.RestoreSession) {
		s.Spec.RestoreTimeout = &metav1.Duration{Duration: 6 * time.Hour} // the former default of the CRD
	})
	w.Expect(ending(w.settle("first"))).To(Equal("Succeeded/Succeeded"))
	claim := w.claim("target")
	bed.Edit(t, claim, func() {
		stamp := restore.ParseStamp(claim.Annotations[v1alpha1.AnnotationRestored])
		// As the earlier version wrote it, in which a restore of any name counted.
		stamp.Digest, stamp.Name = policy.Digest(w.session("first").Spec), ""
		claim.Annotations[v1alpha1.AnnotationRestored] = stamp.String()
		delete(claim.Annotations, v1alpha1.AnnotationConfirmed)
	})
	// The same file, with the CRD of now.
	w.restore("again", confirmed, func(s *v1alpha1.RestoreSession) { s.Spec.RestoreTimeout = nil })
	s := w.settle("again")
	w.Expect(w.Jobs()).To(HaveLen(1), "nothing is overwritten: "+ending(s))
	w.Expect(ending(s)).To(Equal("Skipped/AlreadyRestored"))
}
