package keeper_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

// scan asks for a scan and returns the keeper's Job.
func (s *shop) scan(request string, not ...client.Object) *batchv1.Job {
	s.t.Helper()
	bed.Edit(s.t, s.repository, func() {
		metav1.SetMetaDataAnnotation(&s.repository.ObjectMeta, v1alpha1.AnnotationScan, request)
	})
	job, keep := s.job(not...)
	g := NewWithT(s.t)
	g.Expect(keep.Keep).To(HaveLen(1))
	g.Expect(keep.Keep[0].Scan).To(Equal(request))
	return job
}

// inBackend is a Snapshot as a keeper finds it.
func inBackend(name string, hours int, change ...func(*task.Found)) task.Found {
	when := metav1.NewTime(now.Now().Add(-time.Duration(hours) * time.Hour))
	out := task.Found{
		Name: name, UID: types.UID("uid-" + name), Total: 1,
		Labels: map[string]string{
			v1alpha1.LabelInvokerKind: v1alpha1.BackupBatchKind, v1alpha1.LabelInvokerName: "shop",
			v1alpha1.LabelRestorePoint: "point", v1alpha1.LabelSidecar: "forged",
		},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: "id-" + name, Session: "nightly", BackupSession: "run", Version: "v1",
			AppRef: v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "another"},
		},
		Components: map[string]v1alpha1.Component{"pvc": {
			Phase: v1alpha1.SnapshotSucceeded, ID: "k-" + name, SizeBytes: 5, Size: "5 B", CompletionTime: &when,
		}},
	}
	for _, f := range change {
		f(&out)
	}
	return out
}

// answers ends a scan: pages hold what was found, and the termination message proves them.
func (s *shop) answers(job *batchv1.Job, found ...task.Found) {
	s.t.Helper()
	kubelet.Finish(s.t, bed.Client, job, kubelet.Report(s.answer(job, found...)), now.Now())
}

func (s *shop) answer(job *batchv1.Job, found ...task.Found) task.Result {
	s.t.Helper()
	g := NewWithT(s.t)
	w := task.PageWriter{Write: func(page int, content []byte) error {
		return bed.Client.Create(s.t.Context(), &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: s.namespace, Name: task.PageName(job.Name, page),
				Labels: map[string]string{v1alpha1.LabelScan: job.Name},
			},
			Immutable: new(true), BinaryData: map[string][]byte{task.PageKey: content},
		})
	}}
	for _, f := range found {
		g.Expect(w.Add(f)).To(Succeed())
	}
	pages, digest, err := w.Close()
	g.Expect(err).NotTo(HaveOccurred())
	return task.Result{Outcome: task.OutcomeSucceeded, Components: []task.ComponentResult{{
		Name: "0", Outcome: task.OutcomeSucceeded, Scan: &task.Scan{Pages: pages, Digest: digest, Unknown: 3},
	}}}
}

// pages returns the number of ConfigMaps that a keeper has left.
func (s *shop) pages() int {
	s.t.Helper()
	var list corev1.ConfigMapList
	NewWithT(s.t).Expect(bed.Client.List(s.t.Context(), &list, client.InNamespace(s.namespace),
		client.HasLabels{v1alpha1.LabelScan})).To(Succeed())
	return len(list.Items)
}

// lastScan waits for the result of a scan.
func (s *shop) lastScan(request string) v1alpha1.ScanStatus {
	s.t.Helper()
	bed.Eventually(s.t, s.repository, func(g Gomega) {
		g.Expect(s.repository.Status.LastScan).To(HaveValue(HaveField("Requested", request)))
	}, "the scan is handled")
	out := *s.repository.Status.LastScan
	out.Time = metav1.Time{}
	return out
}

func (s *shop) get(name string) *v1alpha1.Snapshot {
	s.t.Helper()
	var out v1alpha1.Snapshot
	NewWithT(s.t).Expect(bed.Client.Get(s.t.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, &out)).
		To(Succeed())
	return &out
}

func TestAScanRebuildsSnapshots(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	here := s.snapshot(s.repository, 1, good)
	job := s.scan("first")
	s.answers(job,
		inBackend("old", 30),
		inBackend("ahead", -9000),
		inBackend("half", 20, func(f *task.Found) { f.Total = 2 }),
		inBackend("unknown-total", 21, func(f *task.Found) { f.Total = 0 }),
		inBackend("failed", 22, func(f *task.Found) {
			f.Components["pvc"] = v1alpha1.Component{
				Phase: v1alpha1.SnapshotFailed, Reason: v1alpha1.ReasonEmpty, Error: "no file",
				CompletionTime: f.Components["pvc"].CompletionTime,
			}
		}),
		inBackend(here.Name, 1, func(f *task.Found) { f.Spec.SnapshotID = here.Spec.SnapshotID }),
	)
	g.Expect(s.lastScan("first")).To(Equal(v1alpha1.ScanStatus{
		Requested: "first", Found: 6, Rebuilt: 5, Incomplete: 3, Unknown: 3,
	}))
	g.Expect(conditions.IsTrue(s.repository, v1alpha1.ConditionScanned)).To(BeTrue())
	expectEvent(t, s.namespace, "rebuilt 5 of the 6 Snapshots in the backend")
	gone(t, job, "the Job is removed")
	g.Expect(s.pages()).To(BeZero(), "its answer is removed")

	old := s.get("old")
	g.Expect(old.Status.Phase).To(Equal(v1alpha1.SnapshotSucceeded))
	g.Expect(old.Status.Components).To(HaveKeyWithValue("pvc", HaveField("ID", "k-old")))
	g.Expect(old.Status.SnapshotTime.Time).To(BeTemporally("~", now.Now().Add(-30*time.Hour), time.Second))
	g.Expect(old.Status.TotalComponents).To(Equal(int32(1)))
	g.Expect(old.Spec.Repository).To(Equal("web"))
	g.Expect(old.Spec.AppRef).To(Equal(s.repository.Spec.AppRef), "the target of the Repository")
	g.Expect(metav1.IsControlledBy(old, s.repository)).To(BeTrue())
	g.Expect(old.Finalizers).To(ConsistOf(v1alpha1.FinalizerWipe, v1alpha1.FinalizerRecord))
	g.Expect(old.Annotations).To(Equal(map[string]string{
		v1alpha1.AnnotationRebuilt: "uid-old", v1alpha1.AnnotationScan: "first",
	}))
	g.Expect(old.Labels).To(Equal(map[string]string{
		v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelRepository: "web",
		v1alpha1.LabelInvokerKind: v1alpha1.BackupBatchKind, v1alpha1.LabelInvokerName: "shop",
		v1alpha1.LabelRestorePoint: "point",
	}), "only labels that decide about it later")
	g.Expect(s.get("ahead").Status.SnapshotTime.Time).To(BeTemporally("<=", now.Now()), "no Snapshot is of the future")
	for name, why := range map[string]string{
		"half": "some of its components are not in the backend", "failed": "component pvc: no file",
		"unknown-total": "the backend does not tell how many components it has",
	} {
		g.Expect(s.get(name).Status.Phase).To(Equal(v1alpha1.SnapshotFailed), name)
		g.Expect(conditions.GetMessage(s.get(name), "Ready")).To(Equal(why))
	}
	g.Expect(s.get(here.Name).UID).To(Equal(here.UID))
	bed.Eventually(t, s.repository, func(g Gomega) {
		var names []string
		for _, r := range s.repository.Status.RecentSnapshots {
			names = append(names, r.Name)
		}
		g.Expect(names).To(Equal([]string{"ahead", here.Name, "half", "unknown-total", "failed"}), "by their own times")
		g.Expect(s.repository.Status.SnapshotCount).To(HaveValue(Equal(int32(3))))
	}, "the Repository counts them")

	again := s.scan("second", job)
	s.answers(again, inBackend("old", 30))
	g.Expect(s.lastScan("second")).To(Equal(v1alpha1.ScanStatus{Requested: "second", Found: 1, Unknown: 3}))
}

func TestAScanHarmsNoOtherSnapshot(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	other := s.newRepository("other")
	taken := s.snapshot(other, 5, good)
	again := s.snapshot(s.repository, 6, good) // a later run of that name
	running := s.snapshot(s.repository, 8, "", func(s *v1alpha1.Snapshot) {
		s.Name, s.Spec.SnapshotID = "running", "id-running"
	})
	s.underWay(8)
	job := s.scan("now")
	begun := s.snapshot(s.repository, 7, "", func(s *v1alpha1.Snapshot) {
		s.Name, s.Spec.SnapshotID = "begun", "id-begun"
		s.Annotations = map[string]string{v1alpha1.AnnotationRebuilt: "uid-begun"}
	})
	s.answers(job,
		inBackend(taken.Name, 50), inBackend(again.Name, 60), inBackend("begun", 7), inBackend("running", 8),
		inBackend("Not_A_Name", 1),
		inBackend("no-session", 1, func(f *task.Found) { f.Spec.Session = "" }),
		inBackend("long-session", 1, func(f *task.Found) { f.Spec.Session = fmt.Sprintf("%0100d", 1) }),
		inBackend("long-id", 1, func(f *task.Found) {
			c := f.Components["pvc"]
			c.ID = fmt.Sprintf("%0200d", 1)
			f.Components["pvc"] = c
		}),
		inBackend("last", 2),
	)
	g.Expect(s.lastScan("now")).To(Equal(v1alpha1.ScanStatus{
		Requested: "now", Found: 9, Rebuilt: 5, Incomplete: 1, Refused: 3, Unknown: 3,
	}))
	for _, kept := range []*v1alpha1.Snapshot{taken, again, running} {
		now := s.get(kept.Name)
		g.Expect(now.Spec).To(Equal(kept.Spec))
		g.Expect(now.Status.Components).To(Equal(kept.Status.Components))
	}
	for _, name := range []string{taken.Name, again.Name} {
		rebuilt := s.get(policy.RebuiltSnapshotName(name, string(s.repository.UID)))
		g.Expect(rebuilt.Status.Phase).To(Equal(v1alpha1.SnapshotSucceeded))
		g.Expect(rebuilt.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationRebuilt, "uid-"+name))
	}
	g.Expect(s.get("begun").UID).To(Equal(begun.UID), "the manager was killed before it wrote the status")
	g.Expect(s.get("begun").Status.Phase).To(Equal(v1alpha1.SnapshotSucceeded))
	g.Expect(s.get("long-id").Status.Phase).To(Equal(v1alpha1.SnapshotFailed), "what nobody can read is no backup")
	g.Expect(s.get("last").Status.Phase).To(Equal(v1alpha1.SnapshotSucceeded), "one refused holds up no other")
}

// underWay creates a BackupSession that has not ended.
func (s *shop) underWay(hours int) {
	s.t.Helper()
	run := s.session(hours, s.repository)
	bed.EditStatus(s.t, run, func() { run.Status.Phase = v1alpha1.BackupSessionRunning })
}

// A backup of the cluster, and kubectl apply, bring objects back without their status.
func TestAScanCompletesASnapshotThatCameBackWithoutStatus(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	copied := func(name string, hours int, change ...func(*v1alpha1.Snapshot)) *v1alpha1.Snapshot {
		out := s.snapshot(s.repository, hours, "", append(change, func(o *v1alpha1.Snapshot) {
			o.Name, o.Spec.SnapshotID = name, "id-"+name
		})...)
		bed.EditStatus(t, out, func() { out.Status = v1alpha1.SnapshotStatus{} })
		bed.Cached(t, out)
		return out
	}
	s.session(3, s.repository)
	s.underWay(4)
	bare := copied("bare", 2, func(o *v1alpha1.Snapshot) { o.Finalizers, o.OwnerReferences = nil, nil })
	ended, running := copied("ended", 3), copied("running", 4)
	there := s.snapshot(s.repository, 5, bad, func(o *v1alpha1.Snapshot) {
		o.Name, o.Spec.SnapshotID = "there", "id-there"
	})
	job := s.scan("now")
	s.answers(job, inBackend("bare", 2), inBackend("ended", 3, func(f *task.Found) { f.Total = 2 }),
		inBackend("running", 4), inBackend("there", 5))
	g.Expect(s.lastScan("now")).To(Equal(v1alpha1.ScanStatus{
		Requested: "now", Found: 4, Rebuilt: 2, Incomplete: 1, Unknown: 3,
	}))
	is := s.get(bare.Name)
	g.Expect(is.UID).To(Equal(bare.UID))
	g.Expect(is.Status.Phase).To(Equal(v1alpha1.SnapshotSucceeded))
	g.Expect(is.Status.Components).To(HaveKeyWithValue("pvc", HaveField("ID", "k-bare")))
	g.Expect(is.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationRebuilt, "uid-bare"))
	g.Expect(is.Finalizers).To(ConsistOf(v1alpha1.FinalizerWipe, v1alpha1.FinalizerRecord))
	g.Expect(metav1.IsControlledBy(is, s.repository)).To(BeTrue())
	g.Expect(s.get(ended.Name).Status.Phase).To(Equal(v1alpha1.SnapshotFailed), "a component is missing")
	g.Expect(s.get(running.Name).Status.Phase).To(BeEmpty(), "its run writes it")
	g.Expect(s.get(there.Name).Status).To(Equal(there.Status), "it has one")
}

func TestAForgedAnswerRebuildsNothing(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	job := s.scan("now")
	result := s.answer(job, inBackend("real", 1))
	page := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: task.PageName(job.Name, 0)}}
	g.Expect(bed.Client.Delete(t.Context(), page)).To(Succeed())
	s.answer(job, inBackend("forged", 1))
	kubelet.Finish(t, bed.Client, job, kubelet.Report(result), now.Now())
	bed.Eventually(t, s.repository, func(g Gomega) {
		g.Expect(conditions.GetReason(s.repository, v1alpha1.ConditionScanned)).To(Equal(v1alpha1.ReasonFailed))
		g.Expect(conditions.GetMessage(s.repository, v1alpha1.ConditionScanned)).
			To(Equal("the ConfigMaps of Job " + job.Name + " are not those that it wrote: Cairn tries again"))
		g.Expect(s.repository.Status.LastScan).To(BeNil())
	}, "the answer is refused")
	gone(t, job, "the Job is removed")
	g.Expect(s.pages()).To(BeZero())
	var list v1alpha1.SnapshotList
	g.Expect(bed.Client.List(t.Context(), &list, client.InNamespace(s.namespace))).To(Succeed())
	g.Expect(list.Items).To(BeEmpty())
}

// Anybody can give a ConfigMap the label of the pages. The manager must neither read nor delete such a one.
func TestAForeignConfigMapIsNoPage(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	job := s.scan("now")
	foreign := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: s.namespace, Name: "settings", Labels: map[string]string{v1alpha1.LabelScan: job.Name},
	}}
	bed.Create(t, foreign)
	s.answers(job)
	gone(t, job, "the Job is removed")
	g.Expect(s.pages()).To(Equal(1), "only the foreign one is left")
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(foreign), foreign)).To(Succeed())
}

func TestAPausedRepositoryIsOnlyScanned(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	bed.Edit(t, s.repository, func() { s.repository.Spec.Paused = true })
	s.dueFor(task.MaintainFull)
	job := s.scan("now")
	_, keep := s.job()
	g.Expect(keep.Keep[0].Maintain).To(BeEmpty())
	s.answers(job)
	g.Expect(s.lastScan("now")).To(Equal(v1alpha1.ScanStatus{Requested: "now", Unknown: 3}))
	gone(t, job, "the Job is removed")
	s.noJob("the Repository is paused")
}

func TestAFailedScanIsSaid(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	job := s.scan("now")
	s.did(job, v1alpha1.ReasonUnreachable)
	bed.Eventually(t, s.repository, func(g Gomega) {
		g.Expect(conditions.GetReason(s.repository, v1alpha1.ConditionScanned)).To(Equal(v1alpha1.ReasonUnreachable))
	}, "the Repository says it")
	expectEvent(t, s.namespace, "the storage can't be reached: Cairn tries again")
}
