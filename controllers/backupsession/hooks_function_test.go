package backupsession

import (
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// ran holds the Jobs of a world in the order in which the cluster first saw each: the hook's name, or "backup".
type ran struct {
	names []string
	seen  map[types.UID]bool
}

// functions creates the policy of uploads with the hooks freeze and thaw, each the Function of a HookTemplate of its
// name, and records what ran. It marks a Job that it sees while another Job works with a "!".
func (w *world) functions(edit ...func(*v1alpha1.BackupHooks)) *ran {
	w.T.Helper()
	hooks := &v1alpha1.BackupHooks{
		PreBackup:  []v1alpha1.HookInfo{sessiontest.UseTemplate("freeze")},
		PostBackup: []v1alpha1.HookInfo{sessiontest.UseTemplate("thaw")},
	}
	for _, e := range edit {
		e(hooks)
	}
	for _, name := range []string{"freeze", "thaw"} {
		w.functionHook(name, "--"+name+"=${targetName}", "${mode}")
	}
	w.configuration(func(c *v1alpha1.BackupConfiguration) { c.Spec.Sessions[0].Hooks = hooks })
	out := &ran{seen: map[types.UID]bool{}}
	outcome := w.Outcome
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		if name := kubelet.HookOf(job); !out.seen[job.UID] {
			if name == "" {
				name = "backup"
			}
			for _, other := range w.Jobs() {
				if other.UID != job.UID && len(other.Status.Conditions) == 0 {
					name += "!"
				}
			}
			out.seen[job.UID] = true
			out.names = append(out.names, name)
		}
		return outcome(job)
	}
	return out
}

// functionHook creates a HookTemplate with the parameter mode, and its Function, which belongs to this world alone.
func (w *world) functionHook(name string, args ...string) {
	w.T.Helper()
	function := &v1alpha1.Function{
		ObjectMeta: metav1.ObjectMeta{Name: w.Namespace + "-" + name},
		Spec:       v1alpha1.FunctionSpec{Image: "${moverImage}", Command: []string{"app"}, Args: args},
	}
	sessiontest.Create(w.T, w.Client, function, &v1alpha1.HookTemplate{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: name},
		Spec: v1alpha1.HookTemplateSpec{
			Params: []v1alpha1.Parameter{{Name: "mode", Default: "soft"}},
			Executor: &v1alpha1.HookExecutor{
				Type: v1alpha1.HookExecutorFunction, Function: &v1alpha1.HookFunctionExecutor{
					Name: function.Name, Env: []corev1.EnvVar{{Name: "MODE", Value: "${mode}"}},
				},
			},
		},
	})
}

// Functions freeze and thaw a database, also if the manager is killed at any write: each Job is created once, and no
// two Jobs run at the same time.
func TestFunctionsFreezeAndThawWithTheManagerKilled(t *testing.T) {
	t.Parallel()
	want := []string{"freeze", "backup", "thaw"}
	start := func(t *testing.T, killer *sessiontest.Killer) (*world, *ran) {
		w := newWorld(t)
		restricted := client.RawPatch(types.MergePatchType,
			[]byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`))
		w.Expect(w.Client.Patch(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.Namespace}},
			restricted)).To(Succeed())
		r := w.functions()
		w.Killer = killer
		w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
		return w, r
	}
	undisturbed := &sessiontest.Killer{}
	w, r := start(t, undisturbed)
	s := w.drive("run")
	w.Expect(summary(s)).To(Equal([]string{"Succeeded/Succeeded", "uploads: Succeeded/Succeeded"}))
	w.Expect(r.names).To(Equal(want))
	w.Expect(s.Status.Hooks.PreHooks).
		To(ConsistOf(And(HaveField("Phase", v1alpha1.HookSucceeded), HaveField("Attempts", int32(1)))))
	jobs := w.Jobs()
	at := slices.IndexFunc(jobs, func(j batchv1.Job) bool { return j.Name == s.Status.Hooks.PreHooks[0].Job })
	w.Expect(at).To(BeNumerically(">=", 0), "the status names the Job")
	w.Expect(*jobs[at].Spec.ActiveDeadlineSeconds).To(Equal(int64(600)))
	pod := jobs[at].Spec.Template.Spec
	w.Expect(pod.Containers[0].Image).To(Equal("mover:test"))
	w.Expect(pod.Containers[0].Args).To(Equal([]string{"--freeze=uploads", "soft"}))
	w.Expect(pod.Containers[0].Env).To(Equal([]corev1.EnvVar{{Name: "MODE", Value: "soft"}}))
	w.Expect(*pod.AutomountServiceAccountToken).To(BeFalse())

	writes := undisturbed.Count()
	w.Expect(writes).To(BeNumerically(">", 12))
	for name, killer := range sessiontest.KillPoints(writes) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, r := start(t, killer)
			s := w.drive("run")
			w.Expect(killer.Dead()).To(BeTrue(), "the manager was killed")
			w.Expect(summary(s)).To(Equal([]string{"Succeeded/Succeeded", "uploads: Succeeded/Succeeded"}))
			w.Expect(r.names).To(Equal(want))
		})
	}
}

func TestAFunctionThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		// freeze is the outcome of an attempt.
		freeze func(w *world, job *batchv1.Job) kubelet.Outcome
		// each runs after each look.
		each    func(w *world)
		reason  string
		message string
		stderr  string
	}{
		"it ends with another code than 0": {
			freeze: func(*world, *batchv1.Job) kubelet.Outcome {
				return kubelet.Outcome{Function: &kubelet.FunctionEnd{Code: 3, Log: "no space"}}
			},
			reason:  v1alpha1.ReasonJobFailed,
			message: "^in the Job hook-freeze-[^ :]+: the Function's container ended with exit code 3$",
			stderr:  "no space",
		},
		"it reports that a mover succeeded": {
			freeze: func(*world, *batchv1.Job) kubelet.Outcome {
				return kubelet.Outcome{
					Function: &kubelet.FunctionEnd{Code: 3, Log: `{"version":1,"outcome":"Succeeded"}`},
				}
			},
			reason: v1alpha1.ReasonJobFailed, message: "exit code 3$", stderr: `{"version":1,"outcome":"Succeeded"}`,
		},
		"it does not end": {
			freeze: func(*world, *batchv1.Job) kubelet.Outcome { return kubelet.Outcome{Hang: true} },
			each:   func(w *world) { w.Clock.SetTime(w.Clock.Now().Add(20 * time.Second)) },
			reason: v1alpha1.ReasonHookTimeout, message: "it did not end within 10m0s",
		},
		"its Job is deleted": {
			freeze: func(w *world, job *batchv1.Job) kubelet.Outcome {
				if w.session("run").Status.Hooks.PreHooks[0].Job == job.Name {
					w.Expect(client.IgnoreNotFound(w.Client.Delete(w.T.Context(), job,
						client.PropagationPolicy(metav1.DeletePropagationBackground)))).To(Succeed())
				}
				return kubelet.Outcome{Hang: true}
			},
			reason: v1alpha1.ReasonJobVanished, message: "the Job was deleted before it ended",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
				if kubelet.HookOf(job) == "freeze" {
					return tt.freeze(w, job)
				}
				return kubelet.Succeed(job)
			}
			r := w.functions(func(h *v1alpha1.BackupHooks) { h.PreBackup[0].MaxRetry = 1 })
			w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
			s := &v1alpha1.BackupSession{}
			w.Eventually(func() bool {
				w.Reconcile("run")
				w.Cluster()
				w.Clock.SetTime(w.Clock.Now().Add(time.Second))
				if tt.each != nil {
					tt.each(w)
				}
				w.Get("run", s)
				return s.Status.Phase.Terminal()
			}).WithTimeout(testbed.Patience).WithPolling(5*time.Millisecond).Should(BeTrue(), "the run ends")
			w.Expect(summary(s)[0]).To(Equal("Failed/FailedToExecutePreBackupHooks"))
			w.Expect(r.names).To(Equal([]string{"freeze", "freeze", "thaw"}),
				"each attempt alone, nothing backed up, and thawed")
			freeze := s.Status.Hooks.PreHooks[0]
			w.Expect(freeze.Attempts).To(Equal(int32(2)))
			w.Expect(freeze.Reason).To(Equal(tt.reason))
			w.Expect(freeze.Message).To(MatchRegexp(tt.message))
			w.Expect(freeze.Stderr).To(Equal(tt.stderr))
			w.Expect(s.Status.Targets[0].Message).To(HaveSuffix(freeze.Message))
			if tt.stderr != "" {
				w.Expect(strings.Join(w.eventMessages(), "\n")).
					NotTo(ContainSubstring(tt.stderr), "no event repeats what a hook wrote")
			}
		})
	}
}

// A run that is ended while a Function freezes waits for the end of the Function before it thaws.
func TestAFunctionOfARunThatIsEndedIsStopped(t *testing.T) {
	t.Parallel()
	for name, tt := range endsOfARun() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
				if kubelet.HookOf(job) == "freeze" {
					return kubelet.Outcome{Hang: true}
				}
				return kubelet.Succeed(job)
			}
			r := w.functions(func(h *v1alpha1.BackupHooks) {
				h.PreBackup[0].Timeout = &metav1.Duration{Duration: 24 * time.Hour}
			})
			w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
			w.reaches(func() []string { return r.names }, "freeze")
			tt.end(w)
			w.Killer = &sessiontest.Killer{}
			s := w.drive("run")
			w.Expect(summary(s)[0]).To(Equal("Failed/" + tt.reason))
			w.Expect(r.names).To(Equal([]string{"freeze", "thaw"}), "never both at once")
			w.Expect(s.Status.Hooks.PreHooks[0].Reason).To(Equal(tt.reason))
		})
	}
}

func TestFunctionsThatMayNotRunHaveNoJob(t *testing.T) {
	t.Parallel()
	secret := v1alpha1.HookVariable{
		Name:      "TOKEN",
		ValueFrom: &v1alpha1.HookVariableSource{SecretKeyRef: &v1alpha1.KeySelector{Name: "none", Key: "k"}},
	}
	for name, tt := range map[string]struct {
		edit   func(w *world, h *v1alpha1.HookInfo)
		reason string
		says   string
		// started reports that the mistake is found only when the hook runs.
		started bool
	}{
		"no Function": {edit: func(w *world, _ *v1alpha1.HookInfo) {
			w.Expect(w.Client.Delete(w.T.Context(),
				&v1alpha1.Function{ObjectMeta: metav1.ObjectMeta{Name: w.Namespace + "-freeze"}})).To(Succeed())
		}, reason: v1alpha1.ReasonFunctionNotFound, says: `hook freeze: there is no Function "`},
		"an unknown variable": {edit: func(w *world, h *v1alpha1.HookInfo) {
			w.functionHook("wrong", "${nobody}")
			h.HookTemplate.Name = "wrong"
		}, reason: v1alpha1.ReasonInvalidHook, says: "${nobody} is neither"},
		"root": {edit: func(_ *world, h *v1alpha1.HookInfo) {
			h.RuntimeSettings = &v1alpha1.HookRuntimeSettings{
				Pod: &apiextensionsv1.JSON{Raw: []byte(`{"securityContext": {"runAsUser": 0}}`)},
			}
		}, reason: v1alpha1.ReasonPrivilegeRequired, says: "runAsUser 0 needs the annotation", started: true},
		"a host path": {edit: func(_ *world, h *v1alpha1.HookInfo) {
			h.Volumes = []v1alpha1.Volume{{
				Name:         "host",
				VolumeSource: v1alpha1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/etc"}},
			}}
		}, reason: v1alpha1.ReasonPrivilegeRequired, says: "hostPath needs the annotation", started: true},
		"no Secret": {
			edit:   func(_ *world, h *v1alpha1.HookInfo) { h.Variables = []v1alpha1.HookVariable{secret} },
			reason: v1alpha1.ReasonSecretNotFound, says: "there is no Secret none, which the variable TOKEN names",
			started: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			r := w.functions()
			var c v1alpha1.BackupConfiguration
			w.Get("uploads", &c)
			tt.edit(w, &c.Spec.Sessions[0].Hooks.PreBackup[0])
			w.Expect(w.Client.Update(t.Context(), &c)).To(Succeed())
			w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
			w.Reconcile("run")
			w.Clock.SetTime(w.Clock.Now().Add(2 * time.Minute))
			s := w.drive("run")
			if tt.started {
				w.Expect(r.names).To(Equal([]string{"thaw"}))
				w.Expect(s.Status.Hooks.PreHooks[0].Reason).To(Equal(tt.reason))
				w.Expect(s.Status.Hooks.PreHooks[0].Message).To(ContainSubstring(tt.says))
				return
			}
			w.Expect(r.names).To(BeEmpty())
			w.Expect(summary(s)).To(Equal([]string{"Failed/" + tt.reason}))
			w.Expect(s.Status.Conditions).
				To(ContainElement(And(HaveField("Type", "Ready"), HaveField("Message", ContainSubstring(tt.says)))))
		})
	}
}

// With watches that wake it, and a cache that holds only the manager's Jobs and pods, a run with Functions completes,
// and a retry comes when it is due.
func TestAManagerRunsFunctions(t *testing.T) {
	w := newWorld(t)
	failed := false
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		if kubelet.HookOf(job) == "freeze" && !failed {
			failed = true
			return kubelet.Outcome{Function: &kubelet.FunctionEnd{Code: 1, Log: "busy"}}
		}
		return kubelet.Succeed(job)
	}
	r := w.functions(func(h *v1alpha1.BackupHooks) { h.PreBackup[0].MaxRetry = 1 })
	w.manage()
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Eventually(func() string {
		w.Cluster()
		return summary(w.session("run"))[0]
	}).WithTimeout(testbed.Patience).Should(Equal("Succeeded/Succeeded"), "hooks and mover ended")
	w.Expect(r.names).To(Equal([]string{"freeze", "freeze", "backup", "thaw"}))
	freeze := w.session("run").Status.Hooks.PreHooks[0]
	w.Expect(freeze.Attempts).To(Equal(int32(2)))
	w.Expect(freeze.Stderr).To(BeEmpty(), "it succeeded in the end")
}
