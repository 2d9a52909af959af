package backupsession

import (
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

const (
	freezeBody = "{{.Target.Name}} {{.Status.Phase}}"
	thawBody   = "{{.Target.Name}} {{.Status.Phase}}"
)

// frozenDuring creates the policy of uploads with the hooks freeze and thaw, which report to l. l hears of the backup,
// too.
func (w *world) frozenDuring(l *sessiontest.Listener, edit ...func(*v1alpha1.BackupHooks)) {
	w.T.Helper()
	hooks := &v1alpha1.BackupHooks{
		PreBackup:  []v1alpha1.HookInfo{sessiontest.UseTemplate("freeze")},
		PostBackup: []v1alpha1.HookInfo{sessiontest.UseTemplate("thaw")},
	}
	for _, e := range edit {
		e(hooks)
	}
	sessiontest.Create(w.T, w.Client, l.Template(w.Namespace, "freeze", freezeBody),
		l.Template(w.Namespace, "thaw", thawBody))
	w.configuration(func(c *v1alpha1.BackupConfiguration) { c.Spec.Sessions[0].Hooks = hooks })
	outcome := w.Outcome
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		if h := l.Heard(); len(h) == 0 || h[len(h)-1] != "backup" {
			l.Note("backup")
		}
		return outcome(job)
	}
}

// drive reconciles and lets the cluster work until the run has ended and is released. Hooks take their time.
func (w *world) drive(name string) *v1alpha1.BackupSession {
	w.T.Helper()
	s := &v1alpha1.BackupSession{}
	w.Eventually(func() bool {
		w.Reconcile(name)
		w.Cluster()
		w.Get(name, s)
		return s.Status.Phase.Terminal() && !controllerutil.ContainsFinalizer(s, v1alpha1.FinalizerCancel)
	}).WithTimeout(testbed.Patience).WithPolling(5*time.Millisecond).Should(BeTrue(), "the run ends")
	return s
}

// A database is frozen, backed up and thawed, also if the manager is killed at any write: nothing is backed up
// unfrozen, and what was frozen is thawed after the last backup.
func TestFreezeAndThawWithTheManagerKilled(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, killer *sessiontest.Killer) (*world, *sessiontest.Listener) {
		w := newWorld(t)
		l := sessiontest.Listen(t)
		w.frozenDuring(l)
		w.Killer = killer
		w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
		return w, l
	}
	undisturbed := &sessiontest.Killer{}
	w, l := start(t, undisturbed)
	s := w.drive("run")
	w.Expect(summary(s)).To(Equal([]string{"Succeeded/Succeeded", "uploads: Succeeded/Succeeded"}))
	w.Expect(l.Heard()).To(Equal([]string{"freeze uploads Running", "backup", "thaw uploads Succeeded"}))
	w.Expect(s.Status.Hooks.PreHooks).
		To(ConsistOf(And(HaveField("Name", "freeze"), HaveField("Phase", v1alpha1.HookSucceeded),
			HaveField("Attempts", int32(1)))))
	w.Expect(s.Status.Hooks.PostHooks).
		To(ConsistOf(And(HaveField("Name", "thaw"), HaveField("Phase", v1alpha1.HookSucceeded))))
	w.Expect(s.Status.Conditions).To(ContainElements(
		And(HaveField("Type", "PreBackupHooksExecutionSucceeded"),
			HaveField("Reason", "SuccessfullyExecutedPreBackupHooks")),
		And(HaveField("Type", "PostBackupHooksExecutionSucceeded"),
			HaveField("Reason", "SuccessfullyExecutedPostBackupHooks"))))
	writes := undisturbed.Count()
	w.Expect(writes).To(BeNumerically(">", 12))
	for name, killer := range sessiontest.KillPoints(writes) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, l := start(t, killer)
			s := w.drive("run")
			w.Expect(killer.Dead()).To(BeTrue(), "the manager was killed")
			w.Expect(summary(s)).To(Equal([]string{"Succeeded/Succeeded", "uploads: Succeeded/Succeeded"}))
			// An attempt that was under way when the manager died is repeated.
			w.Expect(slices.Compact(l.Heard())).
				To(Equal([]string{"freeze uploads Running", "backup", "thaw uploads Succeeded"}))
			w.Expect(w.Jobs()).To(HaveLen(1))
		})
	}
}

func TestAFailingPreBackupHookStopsTheBackup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := sessiontest.Listen(t)
	l.Answer = sessiontest.Refuse("/freeze", 503)
	w.frozenDuring(l)
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	s := w.drive("run")
	w.Expect(summary(s)).
		To(Equal([]string{"Failed/FailedToExecutePreBackupHooks", "uploads: Failed/FailedToExecutePreBackupHooks"}))
	w.Expect(l.Heard()).To(Equal([]string{"freeze uploads Running", "thaw uploads Failed"}))
	w.Expect(w.Jobs()).To(BeEmpty())
	w.Expect(w.snapshots()).To(BeEmpty())
	w.Expect(s.Status.Targets[0].Message).To(ContainSubstring("the answer is 503"))
}

func TestAFailingPostBackupHookFailsTheRunAndKeepsTheBackup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := sessiontest.Listen(t)
	l.Answer = sessiontest.Refuse("/thaw", 404)
	w.frozenDuring(l)
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	s := w.drive("run")
	w.Expect(summary(s)).To(Equal([]string{"Failed/FailedToExecutePostBackupHooks", "uploads: Succeeded/Succeeded"}))
	w.Expect(w.snapshots()).To(ConsistOf(HaveField("Status.Phase", v1alpha1.SnapshotSucceeded)))
}

// A policy and HookTemplates that change or disappear during a run change nothing for the run.
func TestHooksAreFrozenWhenARunStarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := sessiontest.Listen(t)
	release := false
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		if !release {
			return kubelet.Outcome{Hang: true}
		}
		return kubelet.Succeed(job)
	}
	w.frozenDuring(l)
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.reaches(l.Heard, "freeze uploads Running", "backup")
	var c v1alpha1.BackupConfiguration
	w.Get("uploads", &c)
	c.Spec.Sessions[0].Hooks = nil
	w.Expect(w.Client.Update(t.Context(), &c)).To(Succeed())
	w.Expect(w.Client.Delete(t.Context(), l.Template(w.Namespace, "thaw", ""))).To(Succeed())
	release = true
	s := w.drive("run")
	w.Expect(s.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded))
	w.Expect(l.Heard()).To(HaveExactElements("freeze uploads Running", "backup", "thaw uploads Succeeded"))
}

// reaches drives the run until exactly this has been seen.
func (w *world) reaches(seen func() []string, want ...string) {
	w.T.Helper()
	w.Eventually(func() []string {
		w.Reconcile("run")
		w.Cluster()
		return seen()
	}).WithTimeout(testbed.Patience).Should(Equal(want))
}

// endOfARun ends a run early. reason is the reason of a run that ended so.
type endOfARun struct {
	end    func(*world)
	reason string
}

// endsOfARun returns what can end a run at any time.
func endsOfARun() map[string]endOfARun {
	return map[string]endOfARun{
		"deleted": {
			func(w *world) { w.Expect(w.Client.Delete(w.T.Context(), w.session("run"))).To(Succeed()) },
			v1alpha1.ReasonCancelled,
		},
		"its deadline passed": {
			func(w *world) { w.Clock.SetTime(w.Clock.Now().Add(2 * time.Hour)) },
			v1alpha1.ReasonDeadlineExceeded,
		},
	}
}

// A run that is ended while its mover works thaws before it is released.
func TestARunThatIsEndedIsThawed(t *testing.T) {
	t.Parallel()
	ends := endsOfARun()
	ends["its mover failed"] = endOfARun{func(w *world) {
		w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Fail(v1alpha1.ReasonUnreadable) }
	}, v1alpha1.ReasonUnreadable}
	for name, tt := range ends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			l := sessiontest.Listen(t)
			w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Outcome{Hang: true} }
			w.frozenDuring(l)
			w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
			w.reaches(l.Heard, "freeze uploads Running", "backup")
			tt.end(w)
			// Another manager than the one that began ends the run.
			w.Killer = &sessiontest.Killer{}
			s := w.drive("run")
			w.Expect(summary(s)[0]).To(Equal("Failed/" + tt.reason))
			w.Expect(l.Heard()).To(Equal([]string{"freeze uploads Running", "backup", "thaw uploads Failed"}))
		})
	}
}

func TestTwoRunsWithHooksDoNotOverlap(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := sessiontest.Listen(t)
	w.frozenDuring(l)
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "first")
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "second")
	w.Reconcile("first")
	w.Reconcile("second")
	w.Expect(summary(w.session("second"))[0]).To(Equal("Pending/HooksInProgress"))
	w.drive("first")
	w.drive("second")
	once := []string{"freeze uploads Running", "backup", "thaw uploads Succeeded"}
	w.Expect(l.Heard()).To(Equal(slices.Concat(once, once)))
}

func TestHooksThatCannotRunAreRefusedBeforeTheStart(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		hook   v1alpha1.HookInfo
		reason string
		says   string
	}{
		"no template": {
			sessiontest.UseTemplate("none"), v1alpha1.ReasonHookTemplateNotFound, "there is no HookTemplate",
		},
		"a parameter too many": {
			sessiontest.UseTemplate("freeze",
				func(h *v1alpha1.HookInfo) {
					h.Params = &apiextensionsv1.JSON{
						Raw: []byte(`{"user":"u"}`),
					}
				}), v1alpha1.ReasonInvalidHook,
			`hook freeze: params.user: the HookTemplate "freeze" has no parameter "user"`,
		},
		"a template of another namespace": {
			sessiontest.UseTemplate("theirs",
				func(h *v1alpha1.HookInfo) { h.HookTemplate.Namespace = "default" }),
			v1alpha1.ReasonHookTemplateNotAllowed,
			"the usagePolicy of HookTemplate default/theirs does not allow the namespace",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			l := sessiontest.Listen(t)
			if err := w.Client.Create(t.Context(),
				l.Template("default", "theirs", "")); !apierrors.IsAlreadyExists(err) {
				w.Expect(err).NotTo(HaveOccurred())
			}
			w.frozenDuring(l, func(h *v1alpha1.BackupHooks) { h.PreBackup = []v1alpha1.HookInfo{tt.hook} })
			w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
			w.Reconcile("run")
			w.Clock.SetTime(w.Clock.Now().Add(2 * time.Minute))
			s := w.drive("run")
			w.Expect(summary(s)).To(Equal([]string{"Failed/" + tt.reason}))
			w.Expect(s.Status.Conditions).
				To(ContainElement(And(HaveField("Type", "Ready"), HaveField("Message", ContainSubstring(tt.says)))))
			w.Expect(l.Heard()).To(BeEmpty())
		})
	}
}

// The hooks of a batch run once, around all targets.
func TestABatchHasItsHooksAroundAllTargets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := sessiontest.Listen(t)
	sessiontest.Create(t, w.Client, l.Template(w.Namespace, "freeze", "{{len .Targets}} {{.Status.Phase}}"),
		l.Template(w.Namespace, "thaw", "{{.Status.Phase}}: {{.Status.Error}}"))
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		l.Note("backup")
		if kubelet.TaskOf(job).Components[0].Name == "pvc" {
			return kubelet.Fail(v1alpha1.ReasonEmpty)
		}
		return kubelet.Succeed(job)
	}
	w.batch()
	var b v1alpha1.BackupBatch
	w.Get("shop", &b)
	b.Spec.Sessions[0].Hooks = &v1alpha1.BackupHooks{
		PreBackup:  []v1alpha1.HookInfo{sessiontest.UseTemplate("freeze")},
		PostBackup: []v1alpha1.HookInfo{sessiontest.UseTemplate("thaw")},
	}
	w.Expect(w.Client.Update(t.Context(), &b)).To(Succeed())
	b.Status.ObservedGeneration = b.Generation
	w.Expect(w.Client.Status().Update(t.Context(), &b)).To(Succeed())
	w.run(v1alpha1.BackupBatchKind, "shop", "run")
	s := w.drive("run")
	w.Expect(s.Status.Phase).To(Equal(v1alpha1.BackupSessionFailed))
	heard := l.Heard()
	w.Expect(heard[0]).To(Equal("freeze 3 Running"))
	w.Expect(slices.Compact(heard[1 : len(heard)-1])).To(Equal([]string{"backup"}))
	w.Expect(heard[len(heard)-1]).To(HavePrefix("thaw Failed: uploads: "))
}

// With watches that wake it, a run with hooks completes, and a retry comes when it is due.
func TestAManagerRunsHooks(t *testing.T) {
	w := newWorld(t)
	l := sessiontest.Listen(t)
	refusals := 0
	l.Answer = func(path string) int {
		if refusals++; path == "/freeze" && refusals < 3 {
			return 500
		}
		return 200
	}
	w.frozenDuring(l, func(h *v1alpha1.BackupHooks) { h.PreBackup[0].MaxRetry = 2 })
	w.manage()
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Eventually(func() string {
		w.Cluster()
		return summary(w.session("run"))[0]
	}).WithTimeout(testbed.Patience).Should(Equal("Succeeded/Succeeded"), "hooks and mover ended")
	w.Expect(l.Heard()).To(Equal([]string{
		"freeze uploads Running", "freeze uploads Running", "freeze uploads Running", "backup",
		"thaw uploads Succeeded",
	}))
	w.Expect(w.session("run").Status.Hooks.PreHooks[0].Attempts).To(Equal(int32(3)))
	for _, e := range w.eventMessages() {
		w.Expect(strings.ToLower(e)).NotTo(ContainSubstring("error"))
	}
}

func (w *world) eventMessages() []string {
	var out []string
	for {
		select {
		case e := <-w.Events.Events:
			out = append(out, e)
		default:
			return out
		}
	}
}
