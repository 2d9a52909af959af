package backupsession

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/task/observe"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// claim replaces the claim uploads by one with this access mode, which nothing mounts.
func (w *world) claim(mode corev1.PersistentVolumeAccessMode) {
	w.T.Helper()
	var old corev1.PersistentVolumeClaim
	w.Get("uploads", &old)
	old.Finalizers = nil
	w.Expect(w.Client.Update(w.T.Context(), &old)).To(Succeed())
	w.Expect(w.Client.Delete(w.T.Context(), &old)).To(Succeed())
	claim := sessiontest.Claim(w.Namespace, "uploads")
	claim.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{mode}
	sessiontest.Create(w.T, w.Client, claim)
}

// unended returns how many Jobs have not ended.
func (w *world) unended() int {
	n := 0
	for _, job := range w.Jobs() {
		if !observe.Ended(&job) {
			n++
		}
	}
	return n
}

func TestJobsOfAnUnmountedVolumeShareANode(t *testing.T) {
	t.Parallel()
	for mode, terms := range map[corev1.PersistentVolumeAccessMode]int{
		corev1.ReadWriteOnce: 1, corev1.ReadWriteMany: 0,
	} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.twoRepositories()
			w.claim(mode)
			w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
			w.Reconcile("run")
			w.Expect(w.Jobs()).To(HaveLen(2), "both run at once")
			for _, job := range w.Jobs() {
				pod := job.Spec.Template
				if terms == 0 {
					w.Expect(pod.Spec.Affinity).To(BeNil(), "each node can mount the volume")
					continue
				}
				w.Expect(pod.Spec.Affinity).NotTo(BeNil())
				w.Expect(pod.Spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution).
					To(HaveLen(terms))
				w.Expect(pod.Labels).To(HaveKeyWithValue(v1alpha1.LabelReads, "uploads"))
			}
		})
	}
}

// pending gives a Job the pod that no node takes.
func (w *world) pending(job *batchv1.Job) {
	w.T.Helper()
	trouble{w, job}.pod(func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{
			waits(corev1.PodScheduled, corev1.ConditionFalse, w.Clock.Now()),
		}
	})
}

// On a full node, the second mover of a volume waits until the first one makes room for it.
func TestAJobWaitsForRoomOnTheNodeItMustShare(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoRepositories()
	w.claim(corev1.ReadWriteOnce)
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Reconcile("run")
	jobs := w.Jobs()
	w.Expect(jobs).To(HaveLen(2))
	trouble{w, &jobs[0]}.pod(func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodRunning
		p.Status.Conditions = []corev1.PodCondition{
			waits(corev1.PodScheduled, corev1.ConditionTrue, w.Clock.Now()),
		}
	})
	w.pending(&jobs[1])
	for range 3 {
		w.Clock.SetTime(w.Clock.Now().Add(8 * time.Minute))
		w.Expect(w.Reconcile("run").RequeueAfter).To(Equal(run.PollInterval), "nothing wakes it")
		w.Expect(w.unended()).To(Equal(2))
		w.Expect(w.session("run").Status.Targets).To(HaveExactElements(And(
			HaveField("Reason", v1alpha1.ReasonUnschedulable),
			HaveField("Message", HavePrefix("Job "+jobs[1].Name+" waits for Job "+jobs[0].Name)))))
	}
	kubelet.Finish(t, w.Client, &jobs[0], kubelet.Succeed(&jobs[0]), w.Clock.Now())
	w.Reconcile("run")
	w.Expect(w.Jobs()).To(ContainElement(And(HaveField("Name", jobs[1].Name), HaveField("DeletionTimestamp", BeNil()))),
		"the scheduler has not looked since")
	w.Expect(summary(w.settle("run"))).To(Equal([]string{"Succeeded/Succeeded", "uploads: Succeeded/Succeeded"}))
}

// With the lists of a cache, which have no order, a run that waits for room writes nothing new at each look.
func TestARunThatWaitsForRoomNamesTheSameJobAtEachLook(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoRepositories()
	w.claim(corev1.ReadWriteOnce)
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "other")
	w.Reconcile("other")
	running := w.Jobs()
	w.Expect(running).To(HaveLen(2))
	for i := range running {
		trouble{w, &running[i]}.pod(func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodRunning
			p.Status.Conditions = []corev1.PodCondition{
				waits(corev1.PodScheduled, corev1.ConditionTrue, w.Clock.Now()),
			}
		})
	}
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Reconcile("run")
	for _, job := range w.Jobs() {
		if job.Name != running[0].Name && job.Name != running[1].Name {
			w.pending(&job)
		}
	}
	w.Clock.SetTime(w.Clock.Now().Add(8 * time.Minute))
	look, writes := 0, 0
	r := reconciler(w.World)
	r.Client = interceptor.NewClient(indexed(w.Client), interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			err := c.List(ctx, list, opts...)
			if jobs, ok := list.(*batchv1.JobList); ok && look%2 == 1 {
				slices.Reverse(jobs.Items)
			}
			return err
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch,
			opts ...client.SubResourcePatchOption,
		) error {
			if _, ok := o.(*v1alpha1.BackupSession); ok {
				writes++
			}
			return c.SubResource(sub).Patch(ctx, o, p, opts...)
		},
	})
	for ; look < 6; look++ {
		_, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{
			Namespace: w.Namespace, Name: "run",
		}})
		w.Expect(err).NotTo(HaveOccurred())
	}
	w.Expect(w.session("run").Status.Targets).To(HaveExactElements(
		HaveField("Message", ContainSubstring(" waits for Job "))))
	w.Expect(writes).To(Equal(1), "nothing changed after the first look")
}

// The pod of an earlier run stays on a node that was lost until somebody deletes the pod or the node.
func TestAJobRunsElsewhereIfNobodyCanFollowAnEarlierOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration()
	w.claim(corev1.ReadWriteOnce)
	lost := sessiontest.Pod(w.Namespace, "lost", "node-3", "uploads", map[string]string{
		v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelReads: "uploads",
	})
	lost.Status.Conditions = []corev1.PodCondition{
		waits(corev1.PodScheduled, corev1.ConditionTrue, w.Clock.Now()),
	}
	sessiontest.Create(t, w.Client, lost)
	w.Expect(w.Client.Delete(t.Context(), lost)).To(Succeed())

	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Reconcile("run")
	jobs := w.Jobs()
	w.Expect(jobs).To(HaveLen(1))
	w.pending(&jobs[0])
	w.Clock.SetTime(w.Clock.Now().Add(6 * time.Minute))
	w.Reconcile("run")
	var second []batchv1.Job
	for _, job := range w.Jobs() {
		if job.Name == jobs[0].Name {
			w.Expect(job.DeletionTimestamp).NotTo(BeNil())
			continue
		}
		second = append(second, job)
		affinity := job.Spec.Template.Spec.Affinity.PodAffinity
		w.Expect(affinity.RequiredDuringSchedulingIgnoredDuringExecution).To(BeEmpty())
		w.Expect(affinity.PreferredDuringSchedulingIgnoredDuringExecution).To(HaveLen(1))
	}
	w.Expect(second).To(HaveLen(1))
	kubelet.Finish(t, w.Client, &second[0], kubelet.Succeed(&second[0]), w.Clock.Now())
	w.Expect(summary(w.settle("run"))).To(Equal([]string{"Succeeded/Succeeded", "uploads: Succeeded/Succeeded"}))
}

func TestJobsOfAVolumeForOnePodRunOneAfterTheOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoRepositories()
	w.claim(corev1.ReadWriteOncePod)
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "other")
	ran := 0
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		w.Expect(w.unended()).To(Equal(1), "a second pod could not mount the volume")
		ran++
		return kubelet.Succeed(job)
	}
	w.Reconcile("run")
	w.Expect(w.unended()).To(Equal(1))
	w.Expect(w.Reconcile("other").RequeueAfter).To(Equal(run.PollInterval), "nothing wakes it")
	w.Expect(w.unended()).To(Equal(1))
	w.Expect(w.session("run").Status.Targets).To(HaveExactElements(HaveField("Reason", v1alpha1.ReasonRunning)))
	w.Expect(w.session("other").Status.Targets).To(HaveExactElements(And(
		HaveField("Reason", v1alpha1.ReasonVolumeInUse),
		HaveField("Message", ContainSubstring("waits for Job "+w.Jobs()[0].Name)))))
	for _, name := range []string{"run", "other"} {
		w.Expect(summary(w.settle(name))).To(Equal([]string{"Succeeded/Succeeded", "uploads: Succeeded/Succeeded"}))
	}
	w.Expect(ran).To(Equal(4))
}

// A namespace can have many Jobs, and a run many of these volumes.
func TestARunLooksOnceForTheJobsOfAllItsVolumesForOnePod(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoRepositories()
	w.claim(corev1.ReadWriteOncePod)
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Reconcile("run")
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "other")
	w.Reconcile("other")
	looks := 0
	r := reconciler(w.World)
	r.APIReader = interceptor.NewClient(w.Client, interceptor.Funcs{List: func(
		ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption,
	) error {
		if _, ok := list.(*batchv1.JobList); ok {
			looks++
		}
		return c.List(ctx, list, opts...)
	}})
	_, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{
		Namespace: w.Namespace, Name: "other",
	}})
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(w.unended()).To(Equal(1), "both Jobs of the other run wait")
	w.Expect(looks).To(Equal(1))
}

func TestARunWaitsForNoJobThatNeverWorks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration()
	w.claim(corev1.ReadWriteOncePod)
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "other")
	w.Reconcile("run")
	w.Reconcile("other")
	w.Expect(w.Jobs()).To(HaveLen(1))
	w.Clock.SetTime(w.Clock.Now().Add(6 * time.Minute)) // the Job has no pod yet
	w.Reconcile("other")
	w.Expect(w.Jobs()).To(HaveLen(2))
}

func TestARunWaitsForTheNodeOfAPod(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration()
	pod := sessiontest.Pod(w.Namespace, "web-0", "", "uploads", nil)
	pod.Status.Phase = corev1.PodPending
	sessiontest.Create(t, w.Client, pod)
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Expect(w.Reconcile("run").RequeueAfter).To(Equal(run.PollInterval))
	s := w.session("run")
	w.Expect(s.Status.Reason).To(Equal(v1alpha1.ReasonVolumeMoving))
	w.Expect(s.Status.Resolved).To(BeNil())
	w.Expect(conditions.GetMessage(s, meta.ReadyCondition)).To(ContainSubstring("pod web-0"))

	w.Expect(w.Client.SubResource("binding").Create(t.Context(), pod, &corev1.Binding{
		Target: corev1.ObjectReference{Kind: "Node", Name: "node-b"},
	})).To(Succeed())
	w.Reconcile("run")
	w.Expect(w.session("run").Status.Resolved.Targets[0].Hosts[0].Node).To(Equal("node-b"))
}

func TestAPodThatFindsNoNodeStopsNoRun(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		deadline *int64
		after    time.Duration
	}{
		"in the end":                   {after: run.WaitForNode},
		"before its starting deadline": {deadline: new(int64(180)), after: 115 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			slot := metav1.NewTime(w.Clock.Now().Add(-time.Minute))
			w.configuration(func(c *v1alpha1.BackupConfiguration) {
				c.Spec.Sessions[0].Scheduler = &v1alpha1.SchedulerSpec{
					Schedule: "0 0 * * *", StartingDeadlineSeconds: test.deadline,
				}
			})
			sessiontest.Create(t, w.Client, sessiontest.Pod(w.Namespace, "web-0", "", "uploads", nil))
			w.run(v1alpha1.BackupConfigurationKind, "uploads", "run",
				func(s *v1alpha1.BackupSession) { s.Spec.ScheduledTime = &slot })
			w.Reconcile("run")
			w.Expect(w.session("run").Status.Resolved).To(BeNil())
			w.Clock.SetTime(w.Clock.Now().Add(test.after))
			w.Reconcile("run")
			w.Expect(w.session("run").Status.Phase).To(Equal(v1alpha1.BackupSessionRunning))
		})
	}
}

// A StatefulSet that was scaled up lately has the claim of its last pod only later, and that its volume.
func TestARunWaitsForTheVolumeOfAPod(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]bool{"in time": false, "too late": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.batch(without("web"), without("uploads"))
			claim := sessiontest.Claim(w.Namespace, "data-db-1")
			var old corev1.PersistentVolumeClaim
			w.Get(claim.Name, &old)
			old.Finalizers = nil
			w.Expect(w.Client.Update(t.Context(), &old)).To(Succeed())
			w.Expect(w.Client.Delete(t.Context(), &old)).To(Succeed())
			w.run(v1alpha1.BackupBatchKind, "shop", "run")
			waits := func(why string) {
				t.Helper()
				w.Expect(w.Reconcile("run").RequeueAfter).To(Equal(run.PollInterval))
				s := w.session("run")
				w.Expect(s.Status.Reason).To(Equal(v1alpha1.ReasonVolumeNotBound))
				w.Expect(conditions.GetMessage(s, meta.ReadyCondition)).To(ContainSubstring(why))
			}
			waits("there is no PersistentVolumeClaim data-db-1")
			claim.Status.Phase = corev1.ClaimPending
			sessiontest.Create(t, w.Client, claim)
			waits("PersistentVolumeClaim data-db-1 is not bound")
			if late {
				w.Clock.SetTime(w.Clock.Now().Add(run.WaitForNode))
				w.Expect(summary(w.settle("run"))).To(Equal([]string{
					"Failed/VolumeNotBound", "db: Failed/VolumeNotBound",
				}))
				return
			}
			w.Get(claim.Name, claim)
			claim.Status.Phase = corev1.ClaimBound
			w.Expect(w.Client.Status().Update(t.Context(), claim)).To(Succeed())
			w.Expect(summary(w.settle("run"))).To(Equal([]string{"Succeeded/Succeeded", "db: Succeeded/Succeeded"}))
			w.Expect(w.session("run").Status.Resolved.Targets[0].Hosts).To(HaveLen(2))
		})
	}
}
