package backupsession

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// deny makes the API server deny objects of a kind to the manager while *err is not nil.
func (w *world) deny(kind, name string, err *error) {
	w.T.Helper()
	w.Client = interceptor.NewClient(w.Client, testbed.Deny(kind, name, err))
}

// steps reconciles a run some times and lets the cluster work. Hooks take their time.
func (w *world) steps(name string) *v1alpha1.BackupSession {
	w.T.Helper()
	for range 10 {
		w.Reconcile(name)
		w.Cluster()
		time.Sleep(5 * time.Millisecond)
	}
	return w.session(name)
}

func TestARefusedJobHoldsUpOnlyItsTarget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := sessiontest.Listen(t)
	sessiontest.Create(t, w.Client, l.Template(w.Namespace, "thaw", "{{.Status.Phase}}"))
	w.batch(func(b *v1alpha1.BackupBatch) {
		b.Spec.Sessions[0].Hooks = &v1alpha1.BackupHooks{
			PostBackup: []v1alpha1.HookInfo{sessiontest.UseTemplate("thaw")},
		}
	})
	denied := testbed.Denied(http.StatusBadRequest)
	w.deny("Job", "web", &denied)
	w.run(v1alpha1.BackupBatchKind, "shop", "run")
	s := w.steps("run")
	w.Expect(summary(s)).To(Equal([]string{
		"Running/Running", "web: Running/CreationRefused", "uploads: Succeeded/Succeeded", "db: Succeeded/Succeeded",
	}))
	w.Expect(s.Status.Targets[0].Message).To(ContainSubstring("not here"))
	w.Expect(s.Status.Conditions).To(ContainElement(And(HaveField("Type", v1alpha1.ConditionCreationRefused),
		HaveField("Status", metav1.ConditionTrue), HaveField("Message", ContainSubstring("not here")))))
	w.Expect(w.EventReasons()).To(ConsistOf(run.ReasonStarted, v1alpha1.ReasonCreationRefused))
	w.Expect(l.Heard()).To(BeEmpty())
	w.Expect(w.Reconcile("run").RequeueAfter).To(BeNumerically("<=", time.Minute))

	w.Clock.SetTime(w.Clock.Now().Add(run.WaitForRefused + time.Second))
	s = w.drive("run")
	w.Expect(summary(s)).To(Equal([]string{
		"Failed/TargetsFailed", "web: Failed/CreationRefused", "uploads: Succeeded/Succeeded",
		"db: Succeeded/Succeeded",
	}))
	w.Expect(s.Status.Targets[0].Message).To(ContainSubstring("not here"))
	w.Expect(apimeta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionCreationRefused)).To(BeNil())
	w.Expect(l.Heard()).To(Equal([]string{"thaw Failed"}))
}

// What a run needs is tried again, and fails the run with the words of the API server if that goes on for too long.
func TestWhatTheAPIServerRefusesIsTriedAgain(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		kind string
		code int32
	}{
		"a Job, by a webhook that is down": {"Job", http.StatusInternalServerError},
		"a Job, by a webhook":              {"Job", http.StatusForbidden},
		"a Snapshot":                       {v1alpha1.SnapshotKind, http.StatusForbidden},
		"a Secret":                         {"Secret", http.StatusBadRequest},
		"an account":                       {"ServiceAccount", http.StatusForbidden},
		"the rights of an account":         {"RoleBinding", http.StatusInternalServerError},
	} {
		for _, passes := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.configuration()
				var denied error
				w.deny(tt.kind, "", &denied)
				w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
				denied = testbed.Denied(tt.code)
				s := w.steps("run")
				w.Expect(summary(s)).To(Equal([]string{"Running/Running", "uploads: Running/CreationRefused"}))
				w.Expect(s.Status.Targets[0].Message).To(ContainSubstring("rules.example.com"))
				w.Clock.SetTime(w.Clock.Now().Add(run.WaitForRefused - time.Minute))
				w.Expect(w.steps("run").Status.Phase).To(Equal(v1alpha1.BackupSessionRunning))
				if passes {
					denied = nil
				}
				w.Clock.SetTime(w.Clock.Now().Add(time.Minute))
				s = w.settle("run")
				if passes {
					w.Expect(summary(s)[0]).To(Equal("Succeeded/Succeeded"))
				} else {
					w.Expect(summary(s)[0]).To(Equal("Failed/CreationRefused"))
					w.Expect(s.Status.Targets[0].Message).To(ContainSubstring("rules.example.com"))
				}
				w.Expect(apimeta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionCreationRefused)).
					To(BeNil())
			})
		}
	}
}

func TestAQuotaOfJobsEndsARunInTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration()
	bed.Forbid(t, w.Namespace, "jobs", "count/jobs.batch", 0, &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "one"},
		Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{
			Spec: corev1.PodSpec{
				RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "one", Image: "one"}},
			},
		}},
	})
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	s := w.steps("run")
	w.Expect(s.Status.Targets[0].Message).To(ContainSubstring("exceeded quota"))
	w.Clock.SetTime(w.Clock.Now().Add(run.WaitForRefused))
	w.Expect(summary(w.settle("run"))[0]).To(Equal("Failed/CreationRefused"))
}

// A target whose kind has a broken conversion webhook does not keep the others from their backup.
func TestATargetThatCannotBeLookedUpFailsAlone(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]error{
		"a conversion webhook": apierrors.NewInternalError(errors.New("conversion webhook for v1 failed: no answer")),
		"a right":              testbed.Denied(http.StatusForbidden),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.batch()
			w.run(v1alpha1.BackupBatchKind, "shop", "run")
			w.Client = interceptor.NewClient(w.Client, interceptor.Funcs{Get: func(
				ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object,
				opts ...client.GetOption,
			) error {
				if _, ok := o.(*appsv1.Deployment); ok {
					return broken
				}
				return c.Get(ctx, key, o, opts...)
			}})
			w.Reconcile("run")
			s := w.session("run")
			w.Expect(summary(s)).To(Equal([]string{"Pending/ReconciliationFailed"}))
			w.Expect(s.Status.Conditions).To(ContainElement(HaveField("Message", ContainSubstring(broken.Error()))))
			w.Clock.SetTime(w.Clock.Now().Add(run.WaitForRepository))
			s = w.settle("run")
			w.Expect(summary(s)).To(Equal([]string{
				"Failed/TargetsFailed", "web: Failed/ReconciliationFailed", "uploads: Succeeded/Succeeded",
				"db: Succeeded/Succeeded",
			}))
		})
	}
}
