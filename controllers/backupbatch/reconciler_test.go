package backupbatch

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/testbed"
)

func TestBatchIsExpanded(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	batch := working(t)

	expected, err := policy.Expand(batch, nil)
	g.Expect(err).NotTo(HaveOccurred())
	for i, target := range []string{"web", "db"} {
		child := childOf(batch, target)
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(child), child)).To(Succeed())
		g.Expect(child.Spec).To(Equal(expected[i].Spec))
		g.Expect(metav1.IsControlledBy(child, batch)).To(BeTrue())
		g.Expect(child.Labels).To(HaveKeyWithValue(v1alpha1.LabelBatch, "shop"))
	}
	var cronJobs batchv1.CronJobList
	g.Expect(bed.Client.List(t.Context(), &cronJobs, client.InNamespace(batch.Namespace))).To(Succeed())
	g.Expect(cronJobs.Items).To(HaveLen(1), "one CronJob for each session of the batch, none for its children")
	g.Expect(cronJobs.Items[0].Name).To(Equal("trigger-backupbatch-shop-hourly"))
	g.Expect(metav1.IsControlledBy(&cronJobs.Items[0], batch)).To(BeTrue())

	g.Expect(batch.Status.Targets).To(Equal([]v1alpha1.BatchTargetStatus{
		{Name: "web", AppRef: batch.Spec.Targets[0].AppRef, Configuration: "shop-web", Phase: v1alpha1.PhaseReady},
		{Name: "db", AppRef: batch.Spec.Targets[1].AppRef, Configuration: "shop-db", Phase: v1alpha1.PhaseReady},
	}))
	g.Expect(batch.Status.Sessions[0].NextSchedule.UTC()).To(Equal(now.Add(17 * time.Minute)))
}

func TestNoOpReconcileWritesNothing(t *testing.T) {
	t.Parallel()
	tests := map[string]func(t *testing.T) *v1alpha1.BackupBatch{
		"a batch that is ready": func(t *testing.T) *v1alpha1.BackupBatch { return working(t) },
		"a batch that waits for a volume": func(t *testing.T) *v1alpha1.BackupBatch {
			batch := batchOf(namespaceWith(t, "web"), "web", "db")
			bed.Create(t, batch)
			bed.ReadyRepositories(t, batch.Namespace, "web", "db")
			bed.ExpectReason(t, batch, v1alpha1.PhaseNotReady, v1alpha1.ReasonChildrenNotReady,
				"target db: TargetNotFound")
			bed.Eventually(t, batch, func(g Gomega) {
				g.Expect(batch.Status.Targets[0].Phase).To(Equal(v1alpha1.PhaseReady))
			}, "the other target is ready")
			return batch
		},
		"a batch that is invalid": func(t *testing.T) *v1alpha1.BackupBatch {
			batch := batchOf(namespaceWith(t), "web")
			batch.Spec.Sessions[0].Scheduler.Schedule = "never"
			bed.Create(t, batch)
			bed.ExpectReason(t, batch, v1alpha1.PhaseInvalid, v1alpha1.ReasonInvalidSchedule, "invalid schedule")
			return batch
		},
	}
	for name, make := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bed.NoOp(t, reconciler, &events, make(t))
		})
	}
}

func TestDeletedChildComesBack(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	batch := working(t)
	child := childOf(batch, "web")
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(child), child)).To(Succeed())
	gone := child.UID

	g.Expect(bed.Client.Delete(t.Context(), child)).To(Succeed())

	bed.Eventually(t, child, func(g Gomega) { g.Expect(child.UID).NotTo(Equal(gone)) }, "the child is made again")
	g.Expect(metav1.IsControlledBy(child, batch)).To(BeTrue())
	bed.ExpectReason(t, batch, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
}

func TestEditedChildIsReverted(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*v1alpha1.BackupConfiguration){
		"a changed field": func(c *v1alpha1.BackupConfiguration) {
			c.Spec.Sessions[0].Repositories[0].EncryptionSecret.Name = "mine"
		},
		"an added field": func(c *v1alpha1.BackupConfiguration) {
			c.Spec.Sessions[0].Scheduler = &v1alpha1.SchedulerSpec{Schedule: "* * * * *"}
		},
		"an added session": func(c *v1alpha1.BackupConfiguration) {
			more := *c.Spec.Sessions[0].DeepCopy()
			more.Name = "more"
			c.Spec.Sessions = append(c.Spec.Sessions, more)
		},
		"a changed label": func(c *v1alpha1.BackupConfiguration) { c.Labels[v1alpha1.LabelBatch] = "other" },
		"a removed owner": func(c *v1alpha1.BackupConfiguration) { c.OwnerReferences = nil },
		"a forged digest": func(c *v1alpha1.BackupConfiguration) {
			c.Annotations[v1alpha1.AnnotationSpecDigest] = "sha256:0"
		},
		"another target, no label": func(c *v1alpha1.BackupConfiguration) {
			c.Spec.Target.Name, c.Labels = "other", nil
		},
	}
	for name, edit := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			batch := working(t)
			child := childOf(batch, "web")
			g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(child), child)).To(Succeed())
			before := child.DeepCopy()

			bed.Edit(t, child, func() { edit(child) })

			bed.Eventually(t, child, func(g Gomega) {
				g.Expect(child.Spec).To(Equal(before.Spec))
				g.Expect(child.Labels).To(Equal(before.Labels))
				g.Expect(child.Annotations).To(Equal(before.Annotations))
				g.Expect(child.OwnerReferences).To(Equal(before.OwnerReferences))
			}, "the child matches the batch again")
			g.Expect(child.UID).To(Equal(before.UID))
			g.Eventually(func() []string { return events.Of(batch.Namespace) }, testbed.Patience).Should(
				ContainElement(Or(
					Equal("Normal ChildReverted reverted BackupConfiguration shop-web: somebody edited it, edit the "+
						"batch instead"),
					Equal("Normal ChildApplied changed BackupConfiguration shop-web"))), "an event reports the revert")
			g.Expect(child.ResourceVersion).NotTo(Equal(before.ResourceVersion))
		})
	}
}

func TestPolicyChangeTouchesOnlyItsChild(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	batch := working(t)
	web, db := childOf(batch, "web"), childOf(batch, "db")
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(web), web)).To(Succeed())
	generation := web.Generation

	bed.Edit(t, batch,
		func() { batch.Spec.Sessions[0].Targets[1].Addon.Tasks[0].Params = params(`{"exclude":"*.log"}`) })

	bed.Eventually(t, db, func(g Gomega) {
		g.Expect(db.Spec.Sessions[0].Addon.Tasks[0].Params).NotTo(BeNil())
	}, "the change reaches the child of the changed target")
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(web), web)).To(Succeed())
	g.Expect(web.Generation).To(Equal(generation))
}

func TestRemovedTargetKeepsItsData(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	batch := working(t)

	bed.Edit(t, batch, func() {
		batch.Spec.Targets = batch.Spec.Targets[:1]
		batch.Spec.Sessions[0].Targets = batch.Spec.Sessions[0].Targets[:1]
	})

	g.Eventually(func() bool {
		db := childOf(batch, "db")
		return apierrors.IsNotFound(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(db), db))
	}, testbed.Patience).Should(BeTrue(), "the child goes with its target")
	g.Eventually(func() []string { return events.Of(batch.Namespace) }, testbed.Patience).
		Should(ContainElement(HavePrefix("Normal ChildRemoved removed BackupConfiguration shop-db")))
	bed.Eventually(t, batch, func(g Gomega) { g.Expect(batch.Status.Targets).To(HaveLen(1)) }, "status follows")
	repository := &v1alpha1.Repository{}
	g.Expect(bed.Client.Get(t.Context(), types.NamespacedName{Namespace: batch.Namespace, Name: "db"}, repository)).
		To(Succeed())
	g.Expect(repository.DeletionTimestamp).To(BeNil())
	g.Expect(repository.OwnerReferences).To(BeEmpty(), "nothing takes the data along")
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(childOf(batch, "web")), childOf(batch, "web"))).
		To(Succeed())
}

func TestForeignObjectIsLeftAlone(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := namespaceWith(t, "web", "db")
	batch := batchOf(namespace, "web", "db")
	expanded, err := policy.Expand(batch, nil)
	g.Expect(err).NotTo(HaveOccurred())
	foreign := &v1alpha1.BackupConfiguration{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop-web"},
		Spec:       expanded[0].Spec,
	}
	foreign.Spec.Sessions[0].Repositories[0].Name = "foreign"
	foreign.Spec.Sessions[0].Repositories[0].Directory = "/foreign"
	bed.Create(t, foreign)
	bed.Create(t, batch)
	bed.ReadyRepositories(t, namespace, "db")

	bed.ExpectReason(t, batch, v1alpha1.PhaseNotReady, v1alpha1.ReasonNameConflict,
		"target web: BackupConfiguration shop-web exists")
	bed.Eventually(t, batch, func(g Gomega) {
		g.Expect(batch.Status.Targets[0].Reason).To(Equal(v1alpha1.ReasonNameConflict))
		g.Expect(batch.Status.Targets[1].Phase).To(Equal(v1alpha1.PhaseReady))
	}, "the other target goes on")
	g.Expect(conditions.IsStalled(batch)).To(BeTrue())
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(foreign), foreign)).To(Succeed())
	g.Expect(foreign.OwnerReferences).To(BeEmpty())
	g.Expect(foreign.Spec.Sessions[0].Repositories[0].Name).To(Equal("foreign"))

	g.Expect(bed.Client.Delete(t.Context(), foreign)).To(Succeed())
	bed.ReadyRepositories(t, namespace, "web")
	bed.ExpectReason(t, batch, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
}

func TestInvalidBatchLeavesItsChildrenInForce(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	batch := working(t)
	before := bed.Quiet(t, batch.Namespace)

	bed.Edit(t, batch, func() {
		batch.Spec.Targets = batch.Spec.Targets[:1] // The session still names target "db".
		batch.Spec.Sessions[0].Targets[0].Repositories[0].Backend = "mian"
	})

	bed.ExpectReason(t, batch, v1alpha1.PhaseInvalid, v1alpha1.ReasonBackendNotFound, `no backend "mian"`)
	g.Expect(conditions.GetMessage(batch, meta.ReadyCondition)).
		To(ContainSubstring(`no target "db"`), "every mistake is named")
	g.Expect(conditions.IsStalled(batch)).To(BeTrue())
	g.Expect(batch.Status.Targets).To(HaveLen(2), "the status still lists the children in force")
	g.Eventually(func() []string { return events.Of(batch.Namespace) }, testbed.Patience).
		Should(ContainElement(HavePrefix("Warning BackendNotFound")))
	for _, target := range []string{"web", "db"} {
		child := childOf(batch, target)
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(child), child)).To(Succeed())
		g.Expect(child.Spec.Backends[0].Name).To(Equal("main"))
	}
	var cronJobs batchv1.CronJobList
	g.Expect(bed.Client.List(t.Context(), &cronJobs, client.InNamespace(batch.Namespace))).To(Succeed())
	g.Expect(cronJobs.Items).To(HaveLen(1))
	for _, write := range bed.Writes(batch.Namespace)[len(before):] {
		g.Expect(write).To(HaveSuffix("/backupbatches/shop/status"), "only the batch's status is written")
	}
}

func TestInvalidBatchLosesTheScheduleOfARemovedSession(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	batch := working(t)
	bed.Edit(t, batch, func() {
		batch.Spec.Sessions[0].Name = "daily"
		batch.Spec.Sessions[0].Targets[0].Repositories[0].Backend = "mian"
	})
	bed.ExpectReason(t, batch, v1alpha1.PhaseInvalid, v1alpha1.ReasonBackendNotFound, `no backend "mian"`)
	var cronJobs batchv1.CronJobList
	g.Expect(bed.Client.List(t.Context(), &cronJobs, client.InNamespace(batch.Namespace))).To(Succeed())
	g.Expect(cronJobs.Items).To(BeEmpty(), "its runs would all fail: the session does not exist")
}

func TestTargetsReasonsReachTheBatch(t *testing.T) {
	t.Parallel()
	batch := working(t)

	bed.Edit(t, batch, func() { batch.Spec.Sessions[0].Targets[1].Addon.Tasks[0].Name = "physical" })

	bed.ExpectReason(t, batch, v1alpha1.PhaseNotReady, v1alpha1.ReasonChildrenNotReady, "target db: TaskNotFound")
	NewWithT(t).Expect(conditions.IsStalled(batch)).To(BeTrue(), "only a change of policy helps")
}

// A reconcile that reads a stale cache leaves a part of the status as it was. The event of that write must repair it.
func TestStatusIsPutRight(t *testing.T) {
	t.Parallel()
	batch := working(t)
	bed.EditStatus(t, batch, func() { batch.Status.Phase = v1alpha1.PhaseNotReady })
	bed.ExpectReason(t, batch, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
}

func TestATargetIsNeverReadyWithAReasonNorUnreadyWithoutOne(t *testing.T) {
	for name, tc := range map[string]struct {
		phase         string
		ready         bool
		wanted, cause string
	}{
		"ready": {v1alpha1.PhaseReady, true, v1alpha1.PhaseReady, ""},
		"not ready": {
			v1alpha1.PhaseNotReady, false, v1alpha1.PhaseNotReady,
			v1alpha1.ReasonTargetNotFound,
		},
		"ready, with the phase of another state": {
			v1alpha1.PhaseNotReady, true, v1alpha1.PhaseNotReady,
			v1alpha1.ReasonProgressing,
		},
		"not ready, with the phase of another state": {
			v1alpha1.PhaseReady, false, v1alpha1.PhaseNotReady,
			v1alpha1.ReasonProgressing,
		},
	} {
		t.Run(name, func(t *testing.T) {
			child := &v1alpha1.BackupConfiguration{Status: v1alpha1.BackupConfigurationStatus{Phase: tc.phase}}
			if tc.ready {
				conditions.MarkTrue(child, meta.ReadyCondition, v1alpha1.ReasonReady, "ready")
			} else {
				conditions.MarkFalse(child, meta.ReadyCondition, v1alpha1.ReasonTargetNotFound, "absent")
			}
			phase, reason := stateOf(child, nil)
			NewWithT(t).Expect([]string{phase, reason}).To(Equal([]string{tc.wanted, tc.cause}))
		})
	}
}

func TestABatchSaysWhatItsTargetsDependOn(t *testing.T) {
	t.Parallel()
	batch := working(t)
	found := func(group, kind, namespace, name string, found bool) v1alpha1.ResourceFoundStatus {
		return v1alpha1.ResourceFoundStatus{
			TypedObjectReference: v1alpha1.TypedObjectReference{
				APIGroup: group, Kind: kind, Namespace: namespace, Name: name,
			},
			Found: &found,
		}
	}
	addon := found(v1alpha1.Group, v1alpha1.AddonKind, "", "pvc-addon", true)
	function, secret := found(v1alpha1.Group, v1alpha1.FunctionKind, "", "pvc-backup", true),
		found("", "Secret", batch.Namespace, "enc", false)
	expect := func(want ...v1alpha1.ResourceFoundStatus) {
		t.Helper()
		bed.Eventually(t, batch, func(g Gomega) { g.Expect(batch.Status.Dependencies).To(Equal(want)) }, "each once")
	}
	expect(addon, function, secret)
	bed.NoOp(t, reconciler, &events, batch)
	bed.Edit(t, batch, func() {
		batch.Spec.Sessions[0].Hooks = &v1alpha1.BackupHooks{PreBackup: []v1alpha1.HookInfo{
			{Name: "a", HookTemplate: &v1alpha1.ObjectReference{Name: "freeze"}},
		}}
	})
	expect(addon, function, found(v1alpha1.Group, v1alpha1.HookTemplateKind, batch.Namespace, "freeze", false), secret)
}
