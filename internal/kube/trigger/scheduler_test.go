package trigger

import (
	"context"
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// forbidden is how an API server refuses a write of which a quota or a webhook does not approve.
func forbidden(name string) error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: "things"}, name, errors.New("exceeded quota"))
}

// schedulerThatIsRefused returns a Scheduler whose API server refuses writes of objects of these names, and the objects
// of the namespace shop.
func schedulerThatIsRefused(t *testing.T, names []string, objects ...client.Object) *Scheduler {
	t.Helper()
	scheme := runtime.NewScheme()
	NewWithT(t).Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	NewWithT(t).Expect(batchv1.AddToScheme(scheme)).To(Succeed())
	judge := func(name string) error {
		for _, n := range names {
			if n == name {
				return forbidden(n)
			}
		}
		return nil
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).
		WithIndex(&v1alpha1.BackupSession{}, "runs", func(o client.Object) []string {
			return []string{o.(*v1alpha1.BackupSession).Spec.Invoker.Name}
		}).
		WithInterceptorFuncs(interceptor.Funcs{
			Apply: func(
				ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption,
			) error {
				if err := judge(o.(interface{ GetName() string }).GetName()); err != nil {
					return err
				}
				return c.Apply(ctx, o, opts...)
			},
			Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
				if err := judge(o.GetName()); err != nil {
					return err
				}
				return c.Create(ctx, o, opts...)
			},
			Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
				if err := judge(o.GetName()); err != nil {
					return err
				}
				return c.Delete(ctx, o, opts...)
			},
		}).Build()
	return &Scheduler{
		Client: c, Reader: c, Events: record.NewFakeRecorder(10), Runs: RunsIndex{Field: "runs"},
		MoverImage: "mover:test", FieldManager: "cairn-manager",
		EnsureAccess: func(context.Context, string) error { return judge("account") },
	}
}

// uploads is a policy with two sessions that CronJobs start and two that the manager starts.
func uploads(now time.Time) *v1alpha1.BackupConfiguration {
	configuration := &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "uploads", UID: "uid", Generation: 1,
		Annotations: map[string]string{v1alpha1.AnnotationTrigger: "nightly"},
	}}
	for _, name := range []string{"nightly", "weekly", "hourly", "half"} {
		scheduler := &v1alpha1.SchedulerSpec{Schedule: "0 2 * * *"}
		status := v1alpha1.SessionStatus{Name: name, Schedule: "0 2 * * *"}
		if name == "hourly" || name == "half" {
			scheduler = &v1alpha1.SchedulerSpec{Schedule: "0 * * * *", Type: v1alpha1.SchedulerController}
			status.Schedule = "0 * * * *"
		}
		since := metav1.NewTime(now.Add(-90 * time.Minute))
		status.ScheduledSince, status.LastScheduleTime = &since, &since
		configuration.Status.Sessions = append(configuration.Status.Sessions, status)
		configuration.Spec.Sessions = append(configuration.Spec.Sessions, v1alpha1.BackupConfigurationSession{
			SessionConfig: v1alpha1.SessionConfig{Name: name, Scheduler: scheduler},
		})
	}
	return configuration
}

func TestAWriteThatIsRefusedHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	now := at(t, "11-20T09:00:00")
	configuration := uploads(now)
	objects := []client.Object{configuration}
	for _, name := range []string{"old-1", "old-2", "old-3"} {
		run := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
		run.Spec.Invoker.Name, run.Spec.Session = "uploads", "gone"
		run.Status.Phase = v1alpha1.BackupSessionFailed
		run.Status.CompletionTime = new(metav1.NewTime(now.Add(-time.Hour)))
		objects = append(objects, run)
	}
	nightly := policy.CronJobName(v1alpha1.BackupConfigurationKind, "uploads", "nightly")
	weekly := policy.CronJobName(v1alpha1.BackupConfigurationKind, "uploads", "weekly")
	hourly := policy.BackupSessionName("uploads", "hourly", now)
	k := schedulerThatIsRefused(t, []string{nightly, hourly, "old-1"}, objects...)

	_, after, err := k.Schedule(t.Context(), configuration, false, now)

	refused, others := Refusals(err)
	g.Expect(others).NotTo(HaveOccurred())
	g.Expect(refused).To(HaveLen(3), "%v", refused)
	g.Expect(after).To(BeNumerically(">", 0))
	g.Expect(k.Client.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: weekly}, &batchv1.CronJob{})).
		To(Succeed())
	var runs v1alpha1.BackupSessionList
	g.Expect(k.Client.List(t.Context(), &runs)).To(Succeed())
	var names []string
	for i := range runs.Items {
		names = append(names, runs.Items[i].Name)
	}
	g.Expect(names).To(HaveLen(4))
	g.Expect(names).To(ContainElements("old-1", policy.BackupSessionName("uploads", "half", now)))
	g.Expect(configuration.Status.LastHandledTrigger).To(Equal("nightly"), "the fourth is the one that was asked for")
	sessions := configuration.Status.Sessions
	g.Expect(sessions[0].Conditions[0].Reason).To(Equal(v1alpha1.ReasonSchedulerNotEnsured))
	g.Expect(sessions[1].Conditions[0].Reason).To(Equal(v1alpha1.ReasonSchedulerEnsured))
	g.Expect(sessions[2].LastScheduleTime.Time).To(BeTemporally("<", now), "the slot is still due")
	g.Expect(sessions[3].LastScheduleTime.Time).To(BeTemporally("==", now))
}

func TestAPolicyCanBePausedWhileItsAccountIsRefused(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	now := at(t, "11-20T09:00:00")
	configuration := uploads(now)
	cronJob := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: policy.CronJobName(v1alpha1.BackupConfigurationKind, "uploads", "nightly"),
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(configuration,
			v1alpha1.GroupVersion.WithKind(v1alpha1.BackupConfigurationKind))},
	}}
	k := schedulerThatIsRefused(t, []string{"account"}, configuration, cronJob)
	configuration.Spec.Paused = true

	_, _, err := k.Schedule(t.Context(), configuration, false, now)

	g.Expect(err).To(MatchError(ContainSubstring("ensure the trigger's account in shop")))
	var all batchv1.CronJobList
	g.Expect(k.Client.List(t.Context(), &all)).To(Succeed())
	g.Expect(all.Items).To(HaveLen(1), "the pods of a new one could not start")
	g.Expect(all.Items[0].Spec.Suspend).To(HaveValue(BeTrue()))
}

func TestOnlyWhatLastsIsRefused(t *testing.T) {
	t.Parallel()
	things := schema.GroupResource{Resource: "things"}
	terminating := apierrors.NewForbidden(things, "x", errors.New("the namespace goes"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	another := apierrors.NewInvalid(schema.GroupKind{Kind: "Thing"}, "x", nil)
	another.ErrStatus.Details.Causes = []metav1.StatusCause{{Field: "metadata.uid"}}
	for name, tt := range map[string]struct {
		err  error
		want bool
	}{
		"a quota":                 {forbidden("x"), true},
		"an invalid object":       {apierrors.NewInvalid(schema.GroupKind{Kind: "Thing"}, "x", nil), true},
		"a webhook that is down":  {apierrors.NewInternalError(errors.New(`failed calling webhook "x"`)), true},
		"an error of the server":  {apierrors.NewInternalError(errors.New("leader changed")), false},
		"a conflict":              {apierrors.NewConflict(things, "x", errors.New("changed")), false},
		"a timeout":               {apierrors.NewTimeoutError("slow", 1), false},
		"too many requests":       {apierrors.NewTooManyRequestsError("wait"), false},
		"an unavailable server":   {apierrors.NewServiceUnavailable("down"), false},
		"a list that expired":     {apierrors.NewResourceExpired("too old"), false},
		"a connection":            {errors.New("connection refused"), false},
		"a namespace that goes":   {terminating, false},
		"an object made meantime": {another, false},
	} {
		NewWithT(t).Expect(Refused(tt.err)).To(Equal(tt.want), name)
	}
}
