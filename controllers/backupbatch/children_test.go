package backupbatch

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// refusing is a client whose API server refuses one object.
type refusing struct {
	client.Client
	name string
}

func (r refusing) Apply(ctx context.Context, object runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	if named, ok := object.(interface{ GetName() string }); !ok || named.GetName() == r.name {
		return errors.New("the quota is used up")
	}
	return r.Client.Apply(ctx, object, opts...)
}

func TestAChildThatIsRefusedHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	batch := batchOf(namespaceWith(t), "web", "db", "files")
	// Keeps the bed's own controller away from the batch.
	batch.Annotations = map[string]string{v1alpha1.AnnotationRecord: "c"}
	bed.Create(t, batch)
	r := &Reconciler{
		Client: refusing{Client: bed.Manager.GetClient(), name: "shop-db"}, EventRecorder: &events,
		APIReader: bed.Manager.GetAPIReader(), FieldManager: "cairn-manager",
	}

	_, err := r.ensureChildren(t.Context(), batch, nil, new(policy.Dependencies))

	g.Expect(err).To(MatchError(ContainSubstring("the quota is used up")))
	var children v1alpha1.BackupConfigurationList
	g.Expect(bed.Client.List(t.Context(), &children, client.InNamespace(batch.Namespace))).To(Succeed())
	var names []string
	for _, child := range children.Items {
		names = append(names, child.Name)
	}
	g.Expect(names).To(ConsistOf("shop-web", "shop-files"))
}

// A quota refuses the child of one target. The schedule, the runs, the annotation and the pause of the batch go on, the
// status says what is wrong, and the child comes once the quota has room.
func TestAChildThatIsRefusedHoldsUpNoSchedule(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	batch := working(t)
	web, probe := childOf(batch, "web"), childOf(batch, "probe")
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(web), web)).To(Succeed())
	probe.Spec = web.Spec
	bed.Forbid(t, batch.Namespace, "two", "count/backupconfigurations.backup.cairn.dev", 2, probe)
	bed.Edit(t, batch, func() {
		addTarget(batch, "files")
		batch.Spec.Sessions[0].Scheduler = &v1alpha1.SchedulerSpec{
			Schedule: "0 * * * *", Type: v1alpha1.SchedulerController,
		}
	})
	bed.ExpectReason(t, batch, v1alpha1.PhaseNotReady, v1alpha1.ReasonReconcileFailed,
		"apply BackupConfiguration "+batch.Namespace+"/shop-files: ")
	g.Expect(conditions.GetMessage(batch, meta.ReadyCondition)).To(And(ContainSubstring("exceeded quota: two"),
		HaveSuffix("; target files: ReconciliationFailed")))
	g.Expect(batch.Status.Targets).To(HaveLen(3))
	bed.Quiet(t, batch.Namespace)
	bed.Cached(t, batch)
	result, err := reconciler.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(batch)})
	g.Expect(err).NotTo(HaveOccurred(), "the back-off of an error would hold up the runs")
	g.Expect(result.RequeueAfter).To(And(BeNumerically(">", 0), BeNumerically("<=", time.Minute)))
	version := batch.ResourceVersion
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(batch), batch)).To(Succeed())
	g.Expect(batch.ResourceVersion).To(Equal(version), "the same refusal is not written again")

	bed.EditStatus(t, batch, func() {
		batch.Status.Sessions[0].LastScheduleTime = new(metav1.NewTime(now.Add(-2 * time.Hour)))
	})
	g.Eventually(func(g Gomega) { g.Expect(runsOf(g, t, batch.Namespace)).To(HaveLen(1)) }, testbed.Patience,
		testbed.Interval).Should(Succeed(), "the manager starts the run of the slot")
	bed.Edit(t, batch,
		func() { metav1.SetMetaDataAnnotation(&batch.ObjectMeta, v1alpha1.AnnotationTrigger, "hourly/now") })
	g.Eventually(func(g Gomega) { g.Expect(runsOf(g, t, batch.Namespace)).To(HaveLen(2)) }, testbed.Patience,
		testbed.Interval).Should(Succeed(), "the manager starts the run that was asked for")
	bed.Edit(t, batch, func() { batch.Spec.Paused = true })
	bed.Eventually(t, batch, func(g Gomega) { g.Expect(batch.Status.Sessions[0].NextSchedule).To(BeNil()) },
		"the batch can be paused")

	bed.Remove(t, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: batch.Namespace, Name: "two"}})
	g.Eventually(func() error { return bed.Client.Create(t.Context(), probe, client.DryRunAll) }, testbed.Patience,
		testbed.Interval).Should(Succeed(), "the quota is gone")
	bed.Edit(t, batch, func() { batch.Spec.Paused = false })
	bed.ReadyRepositories(t, batch.Namespace, "files")
	bed.Create(t, testbed.Claim(batch.Namespace, "files"))
	bed.ExpectReason(t, batch, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
}
