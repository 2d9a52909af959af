package backupsession

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
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

// What is refused in other words each time is written to the run, and that wakes it: without a pause it would never
// rest.
func TestARefusalIsTriedAgainAfterAPauseAndNotAtEachEvent(t *testing.T) {
	t.Parallel()
	const each = 3 // targets
	for _, kind := range []string{"Job", v1alpha1.SnapshotKind} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.batch()
			tried := 0
			w.Client = interceptor.NewClient(w.Client, testbed.DenyEach(kind, &tried))
			w.run(v1alpha1.BackupBatchKind, "shop", "run")
			r := reconciler(w.World) // it remembers what another one does not
			request := ctrl.Request{NamespacedName: client.ObjectKey{Namespace: w.Namespace, Name: "run"}}
			look := func() time.Duration {
				result, err := r.Reconcile(t.Context(), request)
				w.Expect(err).NotTo(HaveOccurred())
				return result.RequeueAfter
			}
			for tried == 0 {
				look()
			}
			before := w.session("run")
			w.Expect(before.Status.Targets[0].Message).To(ContainSubstring("exceeded quota"))
			var pauses []time.Duration
			for n := 1; n <= 8; n++ {
				w.Expect(tried).To(Equal(n*each), "tried once for each target")
				look()
				pause := look()
				w.Expect(tried).To(Equal(n*each), "events try nothing")
				pauses = append(pauses, pause)
				w.Clock.SetTime(w.Clock.Now().Add(pause - time.Second))
				w.Expect(look()).To(Equal(time.Second))
				w.Expect(tried).To(Equal(n*each), "the pause lasts")
				w.Clock.SetTime(w.Clock.Now().Add(time.Second))
				look()
			}
			w.Expect(pauses[0]).To(Equal(5 * time.Second))
			w.Expect(pauses[7]).To(BeNumerically(">", 30*time.Second), "it grows")
			version := w.session("run").ResourceVersion
			look()
			w.Expect(w.session("run").ResourceVersion).To(Equal(version), "nothing new is said")
			w.Clock.SetTime(w.Clock.Now().Add(run.WaitForRefused))
			w.Expect(summary(w.settle("run"))[1]).To(Equal("web: Failed/CreationRefused"))
		})
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

// The run has begun, and its applications are frozen, when one of its targets can no longer be looked up: that holds up
// no other target, and does not keep the applications frozen.
func TestATargetThatCannotBeLookedUpLaterFailsAlone(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]error{
		"a conversion webhook": apierrors.NewInternalError(errors.New("conversion webhook for v1 failed: no answer")),
		"a right":              testbed.Denied(http.StatusForbidden),
	} {
		for _, passes := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				l := sessiontest.Listen(t)
				w.batchWithDatabase(l)
				w.run(v1alpha1.BackupBatchKind, "shop", "run")
				whole := w.Client
				w.Client = interceptor.NewClient(whole, interceptor.Funcs{Get: func(
					ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object,
					opts ...client.GetOption,
				) error {
					if _, ok := o.(*corev1.Service); ok && len(l.Heard()) > 0 {
						return broken
					}
					return c.Get(ctx, key, o, opts...)
				}})
				w.Eventually(func() []string { // the hook takes its time
					w.Reconcile("run")
					w.Cluster()
					return summary(w.session("run"))
				}).WithTimeout(testbed.Patience).WithPolling(5 * time.Millisecond).Should(Equal([]string{
					"Running/Running", "web: Succeeded/Succeeded", "uploads: Succeeded/Succeeded",
					"db: Succeeded/Succeeded", "sql: Running/CreationRefused",
				}))
				w.Expect(w.session("run").Status.Targets[3].Message).To(ContainSubstring(broken.Error()))
				outcome, phase := "Failed/TargetsFailed", "Failed"
				if passes {
					w.Client, outcome, phase = whole, "Succeeded/Succeeded", "Succeeded"
				}
				w.Clock.SetTime(w.Clock.Now().Add(run.WaitForRefused))
				w.Expect(summary(w.drive("run"))[0]).To(Equal(outcome))
				w.Expect(l.Heard()).To(Equal([]string{"freeze Running", "thaw " + phase}))
			})
		}
	}
}

// batchWithDatabase is the batch with a database as fourth target, and with the hooks freeze and thaw.
func (w *world) batchWithDatabase(l *sessiontest.Listener) {
	w.T.Helper()
	sql := v1alpha1.TypedObjectReference{Kind: v1alpha1.KindService, Name: "sql"}
	sessiontest.Create(w.T, w.Client, append(sessiontest.Database(w.Namespace, "sql", true),
		sessiontest.Repository(w.Namespace, "shop-sql", w.Storage, sql),
		l.Template(w.Namespace, "freeze", "{{.Status.Phase}}"),
		l.Template(w.Namespace, "thaw", "{{.Status.Phase}}"))...)
	w.batch(func(b *v1alpha1.BackupBatch) {
		b.Spec.Targets = append(b.Spec.Targets, v1alpha1.BatchTarget{Name: "sql", AppRef: sql})
		dump := addon("postgres-addon")
		dump.Tasks[0].Params = &apiextensionsv1.JSON{Raw: []byte(`{"secretName":"a"}`)}
		b.Spec.Sessions[0].Targets = append(b.Spec.Sessions[0].Targets, v1alpha1.BatchSessionTarget{
			Name: "sql", Addon: dump, Repositories: []v1alpha1.RepositoryInfo{repository("shop-sql")},
		})
		b.Spec.Sessions[0].Hooks = &v1alpha1.BackupHooks{
			PreBackup:  []v1alpha1.HookInfo{sessiontest.UseTemplate("freeze")},
			PostBackup: []v1alpha1.HookInfo{sessiontest.UseTemplate("thaw")},
		}
	})
}

// The Job goes on while its Snapshot can't be read.
func TestASnapshotThatCannotBeReadEndsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration()
	w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Outcome{Hang: true} }
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	before := w.steps("run").Status.Targets
	w.Expect(w.Jobs()).To(HaveLen(1))
	whole, denied := w.Client, testbed.Denied(http.StatusForbidden)
	w.Client = interceptor.NewClient(whole, interceptor.Funcs{Get: func(
		ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption,
	) error {
		if _, ok := o.(*v1alpha1.Snapshot); ok {
			return denied
		}
		return c.Get(ctx, key, o, opts...)
	}})
	_, err := reconciler(w.World).Reconcile(t.Context(), ctrl.Request{
		NamespacedName: client.ObjectKey{Namespace: w.Namespace, Name: "run"},
	})
	w.Expect(err).To(MatchError(denied))
	w.Client, w.Outcome = whole, kubelet.Succeed
	w.Expect(w.session("run").Status.Targets).To(Equal(before))
	w.Expect(w.Jobs()).To(HaveLen(1))
	w.Expect(summary(w.settle("run"))[0]).To(Equal("Succeeded/Succeeded"))
}

// A webhook that does not answer makes each try slow. The pause follows the try, and nothing is tried twice in one.
func TestASlowTryIsFollowedByItsPause(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.batch()
	var tried []string
	w.Client = interceptor.NewClient(w.Client, interceptor.Funcs{Create: func(
		ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption,
	) error {
		_, snapshot := o.(*v1alpha1.Snapshot)
		_, job := o.(*batchv1.Job)
		if snapshot && strings.Contains(o.GetName(), "web") || job && strings.Contains(o.GetName(), "uploads") {
			tried = append(tried, o.GetName())
			w.Clock.SetTime(w.Clock.Now().Add(10 * time.Second))
			return testbed.Denied(http.StatusInternalServerError)
		}
		return c.Create(ctx, o, opts...)
	}})
	w.run(v1alpha1.BackupBatchKind, "shop", "run")
	r := reconciler(w.World) // it remembers what another one does not
	request := ctrl.Request{NamespacedName: client.ObjectKey{Namespace: w.Namespace, Name: "run"}}
	for len(tried) == 0 {
		_, err := r.Reconcile(t.Context(), request)
		w.Expect(err).NotTo(HaveOccurred())
	}
	w.Expect(tried).To(ConsistOf(ContainSubstring("web"), ContainSubstring("uploads")))
	_, err := r.Reconcile(t.Context(), request)
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(tried).To(HaveLen(2), "an event tries nothing")
	w.Clock.SetTime(w.Clock.Now().Add(time.Minute))
	_, err = r.Reconcile(t.Context(), request)
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(tried).To(HaveLen(4))
}
