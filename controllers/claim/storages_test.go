package claim

import (
	"context"
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/workload"
)

// storage creates a BackupStorage on a volume.
func (w *world) storage(namespace, name string, local v1alpha1.LocalStorage) *v1alpha1.BackupStorage {
	w.Helper()
	s := &v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	s.Spec.Storage = v1alpha1.Storage{Provider: v1alpha1.ProviderLocal, Local: &local}
	bed.Create(w.T, s)
	bed.Cached(w.T, s)
	return s
}

func inClaim(name string) v1alpha1.LocalStorage {
	return v1alpha1.LocalStorage{PersistentVolumeClaim: &v1alpha1.ClaimVolumeSource{ClaimName: name}}
}

// alsoIn makes the pod of a Job mount another claim.
func alsoIn(claim string) func(*batchv1.Job) {
	return func(job *batchv1.Job) {
		pod := &job.Spec.Template.Spec
		pod.Volumes = append(pod.Volumes, corev1.Volume{Name: "storage", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
		}})
	}
}

// Somebody deletes the claim in which a BackupStorage keeps all backups, and only the pods of ended runs hold it.
func TestTheClaimOfABackupStorageIsNotLetGo(t *testing.T) {
	w := newWorld(t)
	backups := testbed.Claim(w.namespace, "backups")
	backups.Finalizers = []string{protection}
	bed.Create(t, backups)
	disk := w.storage(w.namespace, "disk", inClaim("backups"))
	run, restore := w.run("last-success", v1alpha1.BackupSessionSucceeded), w.restore("from-march")
	bed.Cached(t, run, restore)
	w.end(w.job("restore", restore, w.claim.Name, alsoIn("backups")),
		w.job("backup", run, w.claim.Name, alsoIn("backups")))

	w.Expect(bed.Client.Delete(t.Context(), backups)).To(Succeed())
	told := ConsistOf("Warning InUse the backups of BackupStorage disk are in this claim, and go with it unless its " +
		"PersistentVolume has the reclaim policy Retain: set that now. Pods of ended runs hold the claim. Cairn " +
		"does not delete their Jobs (backup, restore), but these pods also go when their node is removed, or their " +
		"policy is deleted. Once the reclaim policy is set, delete these Jobs to let the claim go")
	events.Eventually(t, w.namespace, told)
	var again testbed.Events
	r := &Reconciler{Client: bed.Manager.GetClient(), EventRecorder: &again}
	for range 3 {
		result, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(backups)})
		w.Expect(err).NotTo(HaveOccurred())
		w.Expect(result.RequeueAfter).To(Equal(lookAgain))
	}
	w.Expect(again.Of(w.namespace)).To(HaveLen(1), "it says so once")
	w.Expect(w.deleted(w.Gomega)).To(BeEmpty())

	bed.Edit(t, disk, func() { disk.Spec.Storage.Local.PersistentVolumeClaim.ClaimName = "others" })
	bed.Cached(t, disk)
	_, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(backups)})
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(w.deleted(w.Gomega)).To(ConsistOf("backup", "restore"), "nobody needs it any more")
}

// What these BackupStorages name is another volume.
func TestAClaimGoesAlthoughABackupStorageIsElsewhere(t *testing.T) {
	for name, storage := range map[string]func(w *world){
		"in another claim": func(w *world) { w.storage(w.namespace, "disk", inClaim("backups")) },
		"on a server": func(w *world) {
			w.storage(w.namespace, "disk", v1alpha1.LocalStorage{
				NFS: &v1alpha1.NFSVolumeSource{Server: "nfs.example.com", Path: "/" + w.claim.Name},
			})
		},
		"in another namespace": func(w *world) {
			w.storage(bed.Namespace(w.T, nil), "disk", inClaim(w.claim.Name))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			storage(w)
			run := w.run("last-success", v1alpha1.BackupSessionSucceeded)
			bed.Cached(t, run)
			w.end(w.job("backup", run, w.claim.Name, alsoIn("backups")))
			w.Expect(bed.Client.Delete(t.Context(), w.claim)).To(Succeed())
			w.Eventually(w.gone(w.claim), testbed.Patience, testbed.Interval).Should(Succeed())
			w.Expect(events.Of(w.namespace)).To(BeEmpty())
		})
	}
}

// Somebody protects a Job. That is no reason to let the others hold the claim.
func TestARefusedDeletionDelaysNoOtherJob(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	now := metav1.Now()
	claim := testbed.Claim("shop", "data-web-0")
	claim.Finalizers, claim.DeletionTimestamp = []string{protection}, &now
	run := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "ended", UID: "ended"}}
	run.Status.Phase = v1alpha1.BackupSessionSucceeded
	objects := []client.Object{claim, run}
	for _, name := range []string{"a-protected", "b", "c-protected", "d"} {
		objects = append(objects, endedJob(run, name, claim.Name)...)
	}
	c := fake.NewClientBuilder().WithScheme(testbed.Scheme()).WithObjects(objects...).WithIndex(&corev1.Pod{},
		indexClaim, func(o client.Object) []string { return workload.ClaimsOfPod(o.(*corev1.Pod)) }).
		WithInterceptorFuncs(interceptor.Funcs{Delete: func(
			ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption,
		) error {
			if name := o.GetName(); name != "b" && name != "d" {
				return errors.New(name + " stays")
			}
			return c.Delete(ctx, o, opts...)
		}}).Build()

	r := &Reconciler{Client: c, EventRecorder: &testbed.Events{}}
	_, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(claim)})
	g.Expect(err).To(MatchError(And(ContainSubstring("a-protected stays"), ContainSubstring("c-protected stays"))))
	var left batchv1.JobList
	g.Expect(c.List(t.Context(), &left)).To(Succeed())
	g.Expect(left.Items).To(ConsistOf(HaveField("Name", "a-protected"), HaveField("Name", "c-protected")))
}

// endedJob returns a Job of a run, and its pod, which names a claim. Both have ended.
func endedJob(run *v1alpha1.BackupSession, name, claim string) []client.Object {
	job, pod := &batchv1.Job{}, &corev1.Pod{}
	job.Namespace, job.Name, job.UID = run.Namespace, name, types.UID(name)
	job.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn}
	job.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(run,
		v1alpha1.GroupVersion.WithKind(v1alpha1.BackupSessionKind))}
	job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
	pod.Namespace, pod.Name = run.Namespace, name
	pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(job,
		batchv1.SchemeGroupVersion.WithKind("Job"))}
	pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
	}}}
	pod.Status.Phase = corev1.PodSucceeded
	return []client.Object{job, pod}
}
