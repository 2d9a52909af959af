package backupconfiguration

import (
	"context"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/status"
)

// A quota refuses one Repository. The schedules of both sessions and the pause of the policy go on, and the status says
// what is wrong.
func TestARepositoryThatIsRefusedHoldsUpNothingElse(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	configuration := working(t)
	extra := &v1alpha1.Repository{}
	key := client.ObjectKey{Namespace: configuration.Namespace, Name: "uploads"}
	g.Expect(bed.Client.Get(t.Context(), key, extra)).To(Succeed())
	extra.ObjectMeta = metav1.ObjectMeta{Namespace: configuration.Namespace, Name: "extra"}
	bed.Forbid(t, configuration.Namespace, "one", "count/repositories.backup.cairn.dev", 1, extra)
	bed.Edit(t, configuration, func() {
		weekly := sessionOf("weekly", "0 3 * * 0")
		weekly.Repositories[0].Name, weekly.Repositories[0].Directory = "weekly", "/shop/weekly"
		configuration.Spec.Sessions = append(configuration.Spec.Sessions, weekly)
		configuration.Spec.Sessions[0].Scheduler.Schedule = "0 4 * * *"
	})

	bed.ExpectReason(t, configuration, v1alpha1.PhaseNotReady, v1alpha1.ReasonReconcileFailed,
		"apply Repository "+configuration.Namespace+"/weekly: ")
	g.Expect(conditions.GetMessage(configuration, meta.ReadyCondition)).To(ContainSubstring("exceeded quota: one"))
	g.Expect(conditions.IsTrue(configuration, v1alpha1.ConditionValidationPassed)).To(BeTrue())
	g.Expect(configuration.Status.Repositories).To(HaveLen(2))
	g.Expect(configuration.Status.Repositories[0].Phase).To(Equal(v1alpha1.PhaseReady))
	g.Expect(configuration.Status.Repositories[1].Reason).To(Equal(v1alpha1.ReasonReconcileFailed))
	bed.Eventually(t, cronJobOf(configuration, "weekly"), func(Gomega) {}, "the new session has its CronJob")
	cronJob := cronJobOf(configuration, "nightly")
	bed.Eventually(t, cronJob, func(g Gomega) { g.Expect(cronJob.Spec.Schedule).To(Equal("0 4 * * *")) },
		"the other session has its new schedule")
	bed.Edit(t, configuration, func() { configuration.Spec.Paused = true })
	bed.Eventually(t, cronJob, func(g Gomega) { g.Expect(cronJob.Spec.Suspend).To(HaveValue(BeTrue())) },
		"the policy can be paused")
}

// withoutAddons is a client whose API server does not answer questions for Addons.
type withoutAddons struct {
	client.Client
	err error
}

func (w withoutAddons) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	if _, ok := o.(*v1alpha1.Addon); ok {
		return w.err
	}
	return w.Client.Get(ctx, key, o, opts...)
}

func TestAPolicyThatCannotBeChecked(t *testing.T) {
	t.Parallel()
	busy := apierrors.NewServiceUnavailable("busy")
	denied := apierrors.NewForbidden(v1alpha1.GroupVersion.WithResource("addons").GroupResource(), "pvc-addon", nil)
	for name, tt := range map[string]struct {
		err            error
		valid, paused  bool
		runs, cronJobs int
		ready          metav1.ConditionStatus
	}{
		"it was valid, and still is":            {busy, true, false, 1, 1, metav1.ConditionTrue},
		"it has changed":                        {busy, false, false, 1, 0, metav1.ConditionTrue},
		"it has changed, and is paused":         {busy, false, true, 0, 0, metav1.ConditionTrue},
		"the API server refuses lastingly":      {denied, true, false, 1, 1, metav1.ConditionFalse},
		"it has changed, and the server denies": {denied, false, false, 1, 0, metav1.ConditionFalse},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			configuration := configurationOf(bed.Namespace(t, nil))
			// Keeps the bed's own controller away from the policy.
			configuration.Annotations = map[string]string{v1alpha1.AnnotationRecord: "c"}
			hourly := sessionOf("hourly", "0 * * * *")
			hourly.Scheduler.Type = v1alpha1.SchedulerController
			configuration.Spec.Sessions = append(configuration.Spec.Sessions, hourly)
			configuration.Spec.Paused = tt.paused
			bed.Create(t, configuration)
			since := metav1.NewTime(now.Add(-2 * time.Hour))
			configuration.Status.Sessions = []v1alpha1.SessionStatus{{
				Name: "hourly", Schedule: "0 * * * *", ScheduledSince: &since, LastScheduleTime: &since,
			}}
			status.Ready(configuration, "it can be backed up")
			if tt.valid {
				conditions.MarkTrue(configuration, v1alpha1.ConditionValidationPassed,
					v1alpha1.ReasonResourceValidationPassed, "the policy is valid")
			}
			r := &Reconciler{
				Client: withoutAddons{bed.Manager.GetClient(), tt.err}, EventRecorder: &events, ClusterName: "test",
				APIReader: bed.Manager.GetAPIReader(), Clock: reconciler.Clock, MoverImage: "mover:test",
				FieldManager: "cairn-manager", EnsureTrigger: accounts.ensure,
			}

			_, err := r.reconcile(t.Context(), configuration)

			g.Expect(err == nil).To(Equal(tt.ready == metav1.ConditionFalse), "an error that can pass has a back-off")
			g.Expect(conditions.Get(configuration, meta.ReadyCondition).Status).To(Equal(tt.ready))
			g.Expect(conditions.IsTrue(configuration, v1alpha1.ConditionValidationPassed)).To(Equal(tt.valid))
			g.Expect(runsOf(g, t, configuration.Namespace)).To(HaveLen(tt.runs))
			var cronJobs batchv1.CronJobList
			g.Expect(bed.Client.List(t.Context(), &cronJobs, client.InNamespace(configuration.Namespace))).To(Succeed())
			g.Expect(cronJobs.Items).To(HaveLen(tt.cronJobs))
		})
	}
}
