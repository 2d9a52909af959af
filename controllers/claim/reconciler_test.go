package claim

import (
	"os"
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/loglines"
)

// protection is the finalizer by which Kubernetes keeps a claim for pods.
const protection = "kubernetes.io/pvc-protection"

var (
	bed    testbed.Bed
	events testbed.Events
)

func TestMain(m *testing.M) {
	os.Exit(bed.Run(m, testbed.WithControllers(func(mgr ctrl.Manager) error {
		return (&Reconciler{Client: mgr.GetClient(), EventRecorder: &events}).
			SetupWithManager(mgr, controller.Options{})
	})))
}

// world is a namespace with a claim that a replica of a StatefulSet had.
type world struct {
	*testing.T
	Gomega
	namespace string
	claim     *corev1.PersistentVolumeClaim
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	w := &world{T: t, Gomega: NewWithT(t), namespace: bed.Namespace(t, nil)}
	w.claim = testbed.Claim(w.namespace, "data-web-0")
	w.claim.Finalizers = []string{protection}
	bed.Create(t, w.claim)
	return w
}

func (w *world) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: w.namespace, Name: name}
}

// run creates a BackupSession in a phase.
func (w *world) run(name string, phase v1alpha1.BackupSessionPhase) *v1alpha1.BackupSession {
	w.Helper()
	s := &v1alpha1.BackupSession{ObjectMeta: w.meta(name)}
	s.Spec.Invoker = v1alpha1.TypedLocalObjectReference{
		APIGroup: v1alpha1.Group, Kind: v1alpha1.BackupConfigurationKind, Name: "web",
	}
	s.Spec.Session = "nightly"
	bed.Create(w.T, s)
	bed.EditStatus(w.T, s, func() { s.Status.Phase = phase })
	return s
}

// restore creates a RestoreSession that has ended.
func (w *world) restore(name string) *v1alpha1.RestoreSession {
	w.Helper()
	s := &v1alpha1.RestoreSession{ObjectMeta: w.meta(name)}
	s.Spec.Target = &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: w.claim.Name}
	s.Spec.DataSource = &v1alpha1.RestoreDataSource{Snapshot: "web"}
	bed.Create(w.T, s)
	bed.EditStatus(w.T, s, func() { s.Status.Phase = v1alpha1.RestoreSessionFailed })
	return s
}

// restoreBatch creates a RestoreBatch that has ended.
func (w *world) restoreBatch(name string) *v1alpha1.RestoreBatch {
	w.Helper()
	b := &v1alpha1.RestoreBatch{ObjectMeta: w.meta(name)}
	b.Spec.DataSource = v1alpha1.RestoreBatchDataSource{
		BackupBatch: "shop", BackupSession: v1alpha1.LatestBackupSession,
	}
	b.Spec.Targets = []v1alpha1.RestoreBatchTarget{{Name: "web"}}
	bed.Create(w.T, b)
	bed.EditStatus(w.T, b, func() { b.Status.Phase = v1alpha1.RestoreSessionSucceeded })
	return b
}

// lease creates the Lease of a keeper.
func (w *world) lease(name string) *coordinationv1.Lease {
	w.Helper()
	l := &coordinationv1.Lease{ObjectMeta: w.meta(name)}
	bed.Create(w.T, l)
	return l
}

// job creates a Job of an owner whose pod mounts a claim.
func (w *world) job(name string, owner client.Object, claim string, edit ...func(*batchv1.Job)) *batchv1.Job {
	w.Helper()
	gvk, err := bed.Client.GroupVersionKindFor(owner)
	w.Expect(err).NotTo(HaveOccurred())
	labels := map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn}
	job := &batchv1.Job{ObjectMeta: w.meta(name)}
	job.Labels, job.Spec.Template.Labels = labels, map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn}
	job.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner, gvk)}
	job.Spec.Template.Spec = corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever,
		Containers:    []corev1.Container{{Name: "mover", Image: "mover:test"}},
		Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
		}}},
	}
	for _, e := range edit {
		e(job)
	}
	bed.Create(w.T, job)
	return job
}

// end ends Jobs, and waits until the manager knows it.
func (w *world) end(jobs ...*batchv1.Job) {
	w.Helper()
	for _, job := range jobs {
		kubelet.Finish(w.T, bed.Client, job, kubelet.Outcome{}, job.CreationTimestamp.Time)
		if job.Labels[v1alpha1.LabelManagedBy] != "" {
			bed.Cached(w.T, job, kubelet.Pod(job))
		}
	}
}

// deleted returns the names of the Jobs that are being deleted.
func (w *world) deleted(g Gomega) []string {
	w.Helper()
	var jobs batchv1.JobList
	g.Expect(bed.Client.List(w.Context(), &jobs, client.InNamespace(w.namespace))).To(Succeed())
	var out []string
	for i := range jobs.Items {
		if job := &jobs.Items[i]; job.DeletionTimestamp != nil {
			out = append(out, job.Name)
		}
	}
	return out
}

// protect does what Kubernetes does for deleted Jobs and claims: it removes the pods of a deleted Job, and keeps the
// claim as long as a pod names it.
func (w *world) protect(g Gomega) {
	w.Helper()
	_, err := kubelet.Kubelet{Client: bed.Client, Namespace: w.namespace}.Step(w.Context())
	g.Expect(err).NotTo(HaveOccurred())
	var pods corev1.PodList
	g.Expect(bed.Client.List(w.Context(), &pods, client.InNamespace(w.namespace))).To(Succeed())
	for _, pod := range pods.Items {
		for _, v := range pod.Spec.Volumes {
			if v.PersistentVolumeClaim.ClaimName == w.claim.Name {
				return
			}
		}
	}
	free := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))
	g.Expect(client.IgnoreNotFound(bed.Client.Patch(w.Context(), w.claim.DeepCopy(), free))).To(Succeed())
}

func (w *world) gone(o client.Object) func(Gomega) {
	return func(g Gomega) {
		w.protect(g)
		err := bed.Client.Get(w.Context(), client.ObjectKeyFromObject(o), o.DeepCopyObject().(client.Object))
		g.Expect(apierrors.IsNotFound(err)).To(BeTrue(), "%v", err)
	}
}

// A replica of a StatefulSet is set back: kubectl delete pvc data-web-0. The last successful backup and the restores
// keep their Jobs for their logs, and those name the claim.
func TestAClaimGoesAlthoughEndedJobsNameIt(t *testing.T) {
	w := newWorld(t)
	run, restore := w.run("last-success", v1alpha1.BackupSessionSucceeded), w.restore("from-march")
	batch := w.restoreBatch("all-from-march")
	bed.Cached(t, run, restore, batch)
	other := w.job("other-claim", run, "data-web-1")
	w.end(w.job("backup", run, w.claim.Name), w.job("restore", restore, w.claim.Name),
		w.job("hook", batch, w.claim.Name), other)
	w.Expect(bed.Writes(w.namespace)).To(BeEmpty(), "nothing is to be done for a claim that stays")

	w.Expect(bed.Client.Delete(t.Context(), w.claim)).To(Succeed())
	w.Eventually(w.gone(w.claim), testbed.Patience, testbed.Interval).Should(Succeed())
	w.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(other), other)).To(Succeed())
	w.Expect(other.DeletionTimestamp).To(BeNil(), "its claim stays")
	w.Expect(bed.Writes(w.namespace)).To(HaveLen(3))
}

// Whatever can still have something to say stays, and so does what is not Cairn's.
func TestOtherJobsStayAlthoughTheirClaimIsBeingDeleted(t *testing.T) {
	w := newWorld(t)
	ended, works := w.run("ended", v1alpha1.BackupSessionFailed), w.run("works", v1alpha1.BackupSessionRunning)
	lease := w.lease("keeper")
	namesake := ended.DeepCopy()
	namesake.UID = "of-an-earlier-run"
	bed.Cached(t, ended, works)
	running := w.job("running", ended, w.claim.Name)
	kubelet.Start(t, bed.Client, running)
	bed.Cached(t, running, kubelet.Pod(running))
	foreign := w.job("foreign", ended, w.claim.Name, func(job *batchv1.Job) {
		job.Labels, job.Spec.Template.Labels = nil, nil
	})
	unfinished := w.job("unfinished", works, w.claim.Name)
	w.end(w.job("goes", ended, w.claim.Name), unfinished, w.job("keeper", lease, w.claim.Name),
		w.job("namesake", namesake, w.claim.Name), foreign)

	w.Expect(bed.Client.Delete(t.Context(), w.claim)).To(Succeed())
	w.Eventually(func(g Gomega) { g.Expect(w.deleted(g)).To(ConsistOf("goes")) }, testbed.Patience, testbed.Interval).
		Should(Succeed())
	bed.Cached(t, &batchv1.Job{ObjectMeta: w.meta("goes")})
	r := &Reconciler{Client: logs.NewClient(bed.Manager.GetClient())}
	look := func() []string {
		ctx, lines := loglines.Record(t.Context(), 0)
		result, err := r.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(w.claim)})
		w.Expect(err).NotTo(HaveOccurred())
		w.Expect(result.RequeueAfter).To(Equal(lookAgain), "the other run ends some time")
		return *lines
	}
	w.Expect(look()).To(BeEmpty(), "a deletion is asked for once")
	w.Expect(w.deleted(w.Gomega)).To(ConsistOf("goes"))

	bed.EditStatus(t, works, func() { works.Status.Phase = v1alpha1.BackupSessionSucceeded })
	bed.Cached(t, works)
	w.Expect(look()).To(ConsistOf(And(ContainSubstring(`"msg"="deleted"`), ContainSubstring("unfinished"))))
	w.Expect(w.deleted(w.Gomega)).To(ConsistOf("goes", "unfinished"))
}

// At the start of the manager each claim of the cluster is an event.
func TestOnlyAClaimThatIsBeingDeletedIsLookedAt(t *testing.T) {
	g := NewWithT(t)
	claim := &metav1.PartialObjectMetadata{}
	g.Expect(goes.Create(event.CreateEvent{Object: claim})).To(BeFalse())
	g.Expect(goes.Update(event.UpdateEvent{ObjectOld: claim, ObjectNew: claim})).To(BeFalse())
	now := metav1.Now()
	going := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &now}}
	g.Expect(goes.Create(event.CreateEvent{Object: going})).To(BeTrue(), "it was deleted while no manager ran")
	g.Expect(goes.Update(event.UpdateEvent{ObjectOld: claim, ObjectNew: going})).To(BeTrue())
}
