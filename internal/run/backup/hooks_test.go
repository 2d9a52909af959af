package backup_test

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/run/runtest"
)

func resolvedHook(name string, edit ...func(*v1alpha1.ResolvedHook)) v1alpha1.ResolvedHook {
	h := v1alpha1.ResolvedHook{
		Name: name, Timeout: &metav1.Duration{Duration: time.Minute}, ExecutionPolicy: v1alpha1.HookAlways,
	}
	for _, e := range edit {
		e(&h)
	}
	return h
}

func after(p v1alpha1.HookExecutionPolicy) func(*v1alpha1.ResolvedHook) {
	return func(h *v1alpha1.ResolvedHook) { h.ExecutionPolicy = p }
}

func retries(n int32) func(*v1alpha1.ResolvedHook) {
	return func(h *v1alpha1.ResolvedHook) { h.MaxRetry = n }
}

// hasHooksOn is a run with hooks, and the outcomes of their attempts.
type hasHooksOn struct {
	*fixture
	// made holds the attempts in the order in which they began, as "<name>#<attempt>".
	made []string
	// phases holds the phase in the summary of each attempt.
	phases []string
	// outcome returns the outcome of an attempt. Nil means success.
	outcome func(name string, attempt int32) *hookstage.Outcome
	known   map[hookstage.Attempt]*hookstage.Outcome
	// mover returns the Job of a mover. A nil function means success.
	mover func(backup.Mover) run.Job
	// there holds the Snapshots that were made.
	there map[string]bool
}

func withHooks(f *fixture, pre, post []v1alpha1.ResolvedHook) *hasHooksOn {
	f.session.Status.Resolved.Hooks = &v1alpha1.ResolvedHooks{Pre: pre, Post: post}
	return attempting(f)
}

func attempting(f *fixture) *hasHooksOn {
	return &hasHooksOn{fixture: f, known: map[hookstage.Attempt]*hookstage.Outcome{}, there: map[string]bool{}}
}

// look decides once and does what a controller does. It also makes the attempts, which end at once.
func (h *hasHooksOn) look() backup.Decision {
	d := backup.Next(backup.Input{
		Now: h.at, Session: h.session, Snapshots: h.present(), Jobs: h.jobs, Refused: h.refused, Pods: h.pods,
		Copies: h.copies, Hooks: func(a hookstage.Attempt) *hookstage.Outcome { return h.known[a] },
	})
	for name, status := range d.Snapshots {
		h.snapshots[name].Status = status
		h.snapshots[name].Annotations[v1alpha1.AnnotationMovers] = d.Movers[name]
	}
	for _, name := range d.Delete {
		delete(h.jobs, name)
	}
	h.copy(&d)
	for _, m := range d.Create {
		h.jobs[m.Name] = runtest.Succeeded(m.Host.Volumes[0].Component)
		if h.mover != nil {
			h.jobs[m.Name] = h.mover(m)
		}
	}
	before := h.session.Status
	h.session.Status = d.Status
	for i := range d.Hooks {
		h.attempt(&before, &d.Hooks[i])
	}
	return d
}

// attempt makes an attempt, which ends at once.
func (h *hasHooksOn) attempt(before *v1alpha1.BackupSessionStatus, run *hookstage.Run) {
	statuses, since := before.Hooks, before.StartTime
	for i := range before.Targets {
		if t := &before.Targets[i]; t.Name == run.Target {
			statuses, since = t.Hooks, t.StartTime
		}
	}
	stage := statuses.PreHooks
	if run.Stage == hookstage.Post {
		stage = statuses.PostHooks
	}
	for _, s := range stage {
		if s.Name == run.Name && (s.Phase != v1alpha1.HookRunning || s.Attempts != run.Number) {
			panic("an attempt began before it was written to the status")
		}
	}
	if !run.Since.Equal(since.Time) {
		panic("an attempt has the wrong start of its run or target")
	}
	h.made = append(h.made, fmt.Sprintf("%s#%d", run.Name, run.Number))
	h.phases = append(h.phases, run.Summary.Status.Phase)
	h.known[run.Attempt] = &hookstage.Outcome{}
	if h.outcome != nil {
		if out := h.outcome(run.Name, run.Number); out != nil {
			h.known[run.Attempt] = out
		}
	}
}

// present returns the Snapshots. A controller makes a Snapshot only when that is allowed.
func (h *hasHooksOn) present() map[string]*v1alpha1.Snapshot {
	out := map[string]*v1alpha1.Snapshot{}
	for _, t := range h.session.Status.Resolved.Targets {
		for _, r := range t.Repositories {
			if snap := h.snapshots[r.Snapshot]; snap != nil &&
				(h.there[r.Snapshot] || backup.MayBackUp(h.session, t.Name, h.at)) {
				out[r.Snapshot], h.there[r.Snapshot] = snap, true
			}
		}
	}
	return out
}

// settle looks until the run has ended.
func (h *hasHooksOn) settle(g *WithT) (last *backup.Decision) {
	for range 100 {
		d := h.look()
		if h.session.Status.Phase.Terminal() {
			return &d
		}
		h.at = h.at.Add(max(d.After%time.Hour, time.Second))
		if d.After > 10*time.Minute {
			h.at = h.at.Add(-d.After%time.Hour + time.Second)
		}
	}
	g.Expect(h.session.Status.Phase).To(Equal(backupSucceeded), "the run ends")
	return nil
}

func fails(names ...string) func(string, int32) *hookstage.Outcome {
	return func(name string, _ int32) *hookstage.Outcome {
		for _, n := range names {
			if n == name {
				return &hookstage.Outcome{
					Reason: v1alpha1.ReasonCommandFailed, Message: "exit code 3", Stderr: "boom",
				}
			}
		}
		return nil
	}
}

func hookPhases(in []v1alpha1.HookStatus) []string {
	var out []string
	for _, h := range in {
		out = append(out, h.Name+"="+string(h.Phase))
	}
	return out
}

func TestHooksRunAroundABackup(t *testing.T) {
	always := []v1alpha1.ResolvedHook{
		resolvedHook("thaw"), resolvedHook("ok", after(v1alpha1.HookOnSuccess)),
		resolvedHook("bad", after(v1alpha1.HookOnFailure)),
		resolvedHook("last", after(v1alpha1.HookOnFinalRetryFailure)),
	}
	for name, tt := range map[string]struct {
		targets   []v1alpha1.ResolvedTarget
		pre, post []v1alpha1.ResolvedHook
		outcome   func(string, int32) *hookstage.Outcome
		job       *run.Job
		phase     v1alpha1.BackupSessionPhase
		reason    string
		made      []string
		phases    []string
		jobs      int
	}{
		"all is well": {
			pre: []v1alpha1.ResolvedHook{resolvedHook("a"), resolvedHook("b")}, post: always,
			phase: backupSucceeded, reason: v1alpha1.ReasonSucceeded, made: []string{"a#1", "b#1", "thaw#1", "ok#1"},
			phases: []string{"Running", "Running", "Succeeded", "Succeeded"}, jobs: 1,
		},
		"a pre hook fails": {
			pre: []v1alpha1.ResolvedHook{resolvedHook("a"), resolvedHook("b")}, post: always, outcome: fails("a"),
			phase: backupFailed, reason: v1alpha1.ReasonFailedToExecutePreBackupHooks, made: []string{
				"a#1", "thaw#1", "bad#1", "last#1",
			},
			phases: []string{"Running", "Failed", "Failed", "Failed"},
		},
		"a pre hook fails twice and then succeeds": {
			pre: []v1alpha1.ResolvedHook{resolvedHook("a", retries(2))}, post: always[:1],
			outcome: func(name string, n int32) *hookstage.Outcome {
				if name == "a" && n < 3 {
					return &hookstage.Outcome{Reason: v1alpha1.ReasonRequestFailed}
				}
				return nil
			},
			phase: backupSucceeded, reason: v1alpha1.ReasonSucceeded, made: []string{"a#1", "a#2", "a#3", "thaw#1"},
			phases: []string{"Running", "Running", "Running", "Succeeded"}, jobs: 1,
		},
		"no further attempt can succeed": {
			pre: []v1alpha1.ResolvedHook{resolvedHook("a", retries(5))},
			outcome: func(string, int32) *hookstage.Outcome {
				return &hookstage.Outcome{
					Reason: v1alpha1.ReasonHookNotPermitted, Message: "make a RoleBinding", Final: true,
				}
			},
			phase: backupFailed, reason: v1alpha1.ReasonFailedToExecutePreBackupHooks, made: []string{"a#1"},
			phases: []string{"Running"},
		},
		"a post hook fails, and the others run": {
			post: always, outcome: fails("thaw"),
			phase: backupFailed, reason: v1alpha1.ReasonFailedToExecutePostBackupHooks, made: []string{
				"thaw#1", "ok#1",
			},
			phases: []string{"Succeeded", "Succeeded"}, jobs: 1,
		},
		"the mover fails": {
			pre: []v1alpha1.ResolvedHook{resolvedHook("a")}, post: always,
			job:   new(runtest.Failed(v1alpha1.ReasonUnreadable)),
			phase: backupFailed, reason: v1alpha1.ReasonUnreadable, made: []string{"a#1", "thaw#1", "bad#1", "last#1"},
			phases: []string{"Running", "Failed", "Failed", "Failed"}, jobs: 1,
		},
		"the mover and a post hook fail": {
			post: always, job: new(runtest.Failed(v1alpha1.ReasonUnreadable)), outcome: fails("bad"),
			phase: backupFailed, reason: v1alpha1.ReasonUnreadable, made: []string{"thaw#1", "bad#1", "last#1"},
			phases: []string{"Failed", "Failed", "Failed"}, jobs: 1,
		},
		"nothing can be backed up": {
			targets: []v1alpha1.ResolvedTarget{broken("db", v1alpha1.ReasonTargetNotFound)},
			pre:     []v1alpha1.ResolvedHook{resolvedHook("a")}, post: always,
			phase: backupFailed, reason: v1alpha1.ReasonTargetNotFound, made: []string{"thaw#1", "bad#1", "last#1"},
			phases: []string{"Failed", "Failed", "Failed"},
		},
		"the run is skipped": {
			targets: []v1alpha1.ResolvedTarget{broken("db", v1alpha1.ReasonRestoreInProgress)},
			pre:     []v1alpha1.ResolvedHook{resolvedHook("a")}, post: always,
			phase: backupSkipped, reason: v1alpha1.ReasonRestoreInProgress,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			if tt.targets == nil {
				tt.targets = []v1alpha1.ResolvedTarget{runtest.Target("db", "pod-0")}
			}
			h := withHooks(frozen(tt.targets...), tt.pre, tt.post)
			h.outcome = tt.outcome
			for range 100 {
				h.look()
				if tt.job != nil && len(h.jobs) > 0 {
					h.jobs[runtest.Job("db", "pod-0", 1)] = *tt.job
				}
				h.at = h.at.Add(2 * time.Second)
				if h.session.Status.Phase.Terminal() {
					break
				}
			}
			s := h.session.Status
			g.Expect(s.Phase).To(Equal(tt.phase))
			g.Expect(s.Reason).To(Equal(tt.reason))
			g.Expect(h.made).To(Equal(tt.made))
			g.Expect(h.phases).To(Equal(tt.phases))
			g.Expect(h.jobs).To(HaveLen(tt.jobs), "movers")
		})
	}
}

func TestAFailingPreHookSaysSoEverywhere(t *testing.T) {
	g := NewWithT(t)
	h := withHooks(frozen(runtest.Target("db", "pod-0")),
		[]v1alpha1.ResolvedHook{resolvedHook("freeze"), resolvedHook("next")},
		[]v1alpha1.ResolvedHook{resolvedHook("thaw")})
	h.outcome = fails("freeze")
	h.settle(g)
	s := h.session.Status
	g.Expect(hookPhases(s.Hooks.PreHooks)).To(Equal([]string{"freeze=Failed", "next=Skipped"}))
	g.Expect(hookPhases(s.Hooks.PostHooks)).To(Equal([]string{"thaw=Succeeded"}))
	g.Expect(s.Hooks.PreHooks[0]).To(And(HaveField("Reason", "CommandFailed"), HaveField("Message", "exit code 3"),
		HaveField("Stderr", "boom")))
	pre := apimeta.FindStatusCondition(s.Conditions, v1alpha1.ConditionPreBackupHooksExecutionSucceeded)
	g.Expect(pre).To(And(HaveField("Status", metav1.ConditionFalse),
		HaveField("Reason", v1alpha1.ReasonFailedToExecutePreBackupHooks),
		HaveField("Message", "hook freeze: exit code 3")))
	post := apimeta.FindStatusCondition(s.Conditions, v1alpha1.ConditionPostBackupHooksExecutionSucceeded)
	g.Expect(post).To(And(HaveField("Status", metav1.ConditionTrue),
		HaveField("Reason", v1alpha1.ReasonSuccessfullyExecutedPostBackupHooks)))
	g.Expect(s.Targets[0].Message).To(Equal("not backed up because a preBackup hook failed: hook freeze: exit code 3"))
	for _, c := range s.Conditions {
		g.Expect(c.Message).NotTo(ContainSubstring("boom"), "conditions must not hold the output of a command")
	}
}

// Ending a run in the middle of a pre hook stops that hook once its timeout has passed, and the post hooks run.
func TestTheEndOfARunStopsItsPreHooks(t *testing.T) {
	for name, tt := range map[string]struct {
		end    func(*hasHooksOn)
		waits  bool
		reason string
	}{
		"deleted": {
			func(h *hasHooksOn) { h.session.DeletionTimestamp = &metav1.Time{Time: h.at} }, true,
			v1alpha1.ReasonCancelled,
		},
		"replaced": {func(h *hasHooksOn) { replacedBy("next")(h.session) }, true, v1alpha1.ReasonReplaced},
		"its deadline passes": {
			func(h *hasHooksOn) { h.at = h.session.Status.BackupDeadline.Time }, false,
			v1alpha1.ReasonDeadlineExceeded,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			h := withHooks(frozen(runtest.Target("db", "pod-0")),
				[]v1alpha1.ResolvedHook{resolvedHook("freeze"), resolvedHook("next")}, []v1alpha1.ResolvedHook{
					resolvedHook("thaw"),
				})
			h.look()
			d := h.decideOnly()
			g.Expect(d.Hooks).To(HaveLen(1), "the pre hook must be under way")
			tt.end(h)
			d = h.look()
			if tt.waits {
				g.Expect(d.StopHooks).To(BeEmpty(), "it goes on")
				g.Expect(d.Hooks).To(BeEmpty(), "it is not made again")
				h.at = h.at.Add(d.After)
				d = h.look()
			}
			g.Expect(d.StopHooks).To(ConsistOf(hookstage.Attempt{Stage: hookstage.Pre, Name: "freeze", Number: 1}))
			h.settle(g)
			s := h.session.Status
			g.Expect(s.Phase).To(Equal(backupFailed))
			g.Expect(s.Reason).To(Equal(tt.reason))
			g.Expect(hookPhases(s.Hooks.PreHooks)).To(Equal([]string{"freeze=Failed", "next=Skipped"}))
			g.Expect(h.made).To(Equal([]string{"thaw#1"}))
			g.Expect(h.jobs).To(BeEmpty())
		})
	}
}

// decideOnly decides without carrying the decision out.
func (h *hasHooksOn) decideOnly() backup.Decision {
	return backup.Next(backup.Input{
		Now: h.at, Session: h.session, Snapshots: h.present(), Jobs: h.jobs,
		Hooks: func(a hookstage.Attempt) *hookstage.Outcome { return h.known[a] },
	})
}

// A restarted manager knows no attempts. It makes the recorded attempt again, with the same number.
func TestAnAttemptThatNobodyKnowsOfIsMadeAgain(t *testing.T) {
	g := NewWithT(t)
	h := withHooks(frozen(runtest.Target("db", "pod-0")), []v1alpha1.ResolvedHook{resolvedHook("freeze")},
		[]v1alpha1.ResolvedHook{resolvedHook("thaw")})
	h.look()
	h.look()
	h.known = map[hookstage.Attempt]*hookstage.Outcome{}
	h.settle(g)
	g.Expect(h.made).To(Equal([]string{"freeze#1", "freeze#1", "thaw#1"}))
	g.Expect(h.session.Status.Phase).To(Equal(backupSucceeded))
}

// Once the post hooks have begun, nothing of the backup changes. A Snapshot that is deleted then is not made again
// after the thaw.
func TestNothingIsBackedUpAfterTheThaw(t *testing.T) {
	g := NewWithT(t)
	h := withHooks(frozen(runtest.Target("db", "pod-0")), nil,
		[]v1alpha1.ResolvedHook{resolvedHook("thaw", retries(1))})
	h.outcome = fails("thaw")
	for h.session.Status.Hooks == nil {
		h.look()
	}
	g.Expect(backup.MayBackUp(h.session, "db", h.at)).To(BeFalse())
	h.snapshots, h.jobs = map[string]*v1alpha1.Snapshot{}, map[string]run.Job{}
	h.session.DeletionTimestamp = &metav1.Time{Time: h.at}
	h.settle(g)
	s := h.session.Status
	g.Expect(h.jobs).To(BeEmpty())
	g.Expect(s.Targets[0].Phase).To(Equal(backupSucceeded), "the backup must stay")
	g.Expect(s.Snapshots).To(HaveLen(1))
	g.Expect(s.Reason).To(Equal(v1alpha1.ReasonFailedToExecutePostBackupHooks))
	g.Expect(h.made).To(Equal([]string{"thaw#1", "thaw#2"}))
}

func TestRunsWithHooksOnOneTargetFollowEachOther(t *testing.T) {
	g := NewWithT(t)
	db := v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: "StatefulSet", Name: "db"}
	run := func(name string, phase v1alpha1.BackupSessionPhase, app v1alpha1.TypedObjectReference,
		hooks *v1alpha1.ResolvedHooks,
	) v1alpha1.BackupSession {
		return v1alpha1.BackupSession{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Status: v1alpha1.BackupSessionStatus{Phase: phase, Resolved: &v1alpha1.ResolvedBackup{
				Targets: []v1alpha1.ResolvedTarget{{Name: "x", AppRef: app}}, Hooks: hooks,
			}},
		}
	}
	hooks := &v1alpha1.ResolvedHooks{Pre: []v1alpha1.ResolvedHook{resolvedHook("a")}}
	targets := []backup.StartTarget{{Resolved: v1alpha1.ResolvedTarget{AppRef: db}}}
	record := run("record", backupRunning, db, hooks)
	record.Annotations = map[string]string{v1alpha1.AnnotationRecord: "c"}
	list := []v1alpha1.BackupSession{
		{ObjectMeta: metav1.ObjectMeta{Name: "not started"}},
		run("ended", backupFailed, db, hooks), record,
		run("without hooks", backupRunning, db, nil),
		run("other target", backupRunning, v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "db"},
			hooks),
	}
	g.Expect((&backup.Start{Targets: targets, Hooks: hooks}).SharesHooks(list)).To(BeNil())
	list = append(list, run("busy", backupRunning, db, hooks))
	g.Expect((&backup.Start{Targets: targets, Hooks: hooks}).SharesHooks(list).Name).To(Equal("busy"))

	start := &backup.Start{Since: runtest.Now, Targets: targets, Hooks: hooks, HooksOf: "busy"}
	d := backup.Next(backup.Input{Now: runtest.Now, Session: &v1alpha1.BackupSession{}, Start: start})
	g.Expect(d.Status.Phase).To(Equal(backupPending))
	g.Expect(d.Status.Reason).To(Equal(v1alpha1.ReasonHooksInProgress))
	g.Expect(d.After).To(BeNumerically(">", 0))
	start.HooksOf = ""
	d = backup.Next(backup.Input{Now: runtest.Now, Session: &v1alpha1.BackupSession{}, Start: start})
	g.Expect(d.Status.Resolved.Hooks.Targets).To(Equal([]v1alpha1.TypedObjectReference{db}))
}

func TestARunWhoseHooksCannotRunDoesNotStart(t *testing.T) {
	for reason, waits := range map[string]bool{
		v1alpha1.ReasonHookTemplateNotFound: true,
		v1alpha1.ReasonInvalidHook:          false,
	} {
		g := NewWithT(t)
		start := &backup.Start{
			Since: runtest.Now, HookError: &v1alpha1.ResolvedError{Reason: reason, Message: "because"},
		}
		in := backup.Input{Now: runtest.Now, Session: &v1alpha1.BackupSession{}, Start: start}
		d := backup.Next(in)
		g.Expect(d.Status.Phase == backupPending).To(Equal(waits), reason)
		in.Now = runtest.Now.Add(run.WaitForChild)
		d = backup.Next(in)
		g.Expect(d.Status.Phase).To(Equal(backupFailed))
		g.Expect(d.Status.Reason).To(Equal(reason))
		g.Expect(d.Status.Resolved).To(BeNil())
	}
}
