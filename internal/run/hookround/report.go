package hookround

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/text"
)

// Work names a kind of work and its hooks in conditions and messages.
type Work struct {
	runs, done string
	pre, post  words
}

// words name the hooks of a stage, and the condition that says how they ended.
type words struct{ hooks, condition, succeeded, failed string }

// The kinds of work. A batch does a restore, too.
var (
	Backup = Work{
		runs: "the backup runs", done: "backed up",
		pre: words{
			"preBackup", v1alpha1.ConditionPreBackupHooksExecutionSucceeded,
			v1alpha1.ReasonSuccessfullyExecutedPreBackupHooks, v1alpha1.ReasonFailedToExecutePreBackupHooks,
		},
		post: words{
			"postBackup", v1alpha1.ConditionPostBackupHooksExecutionSucceeded,
			v1alpha1.ReasonSuccessfullyExecutedPostBackupHooks, v1alpha1.ReasonFailedToExecutePostBackupHooks,
		},
	}
	Restore = Work{
		runs: "the restore runs", done: "restored",
		pre: words{
			"preRestore", v1alpha1.ConditionPreRestoreHooksExecutionSucceeded,
			v1alpha1.ReasonSuccessfullyExecutedPreRestoreHooks, v1alpha1.ReasonFailedToExecutePreRestoreHooks,
		},
		post: words{
			"postRestore", v1alpha1.ConditionPostRestoreHooksExecutionSucceeded,
			v1alpha1.ReasonSuccessfullyExecutedPostRestoreHooks, v1alpha1.ReasonFailedToExecutePostRestoreHooks,
		},
	}
)

// NotDoneMessage says that the work was not done because of failures of pre hooks.
func (w *Work) NotDoneMessage(failures string) string {
	return "not " + w.done + " because a " + w.pre.hooks + " hook failed: " + failures
}

// HooksFailedMessage says that the work was done, but that post hooks failed.
func (w *Work) HooksFailedMessage(done, failures string) string {
	return done + ", but a " + w.post.hooks + " hook failed: " + failures
}

// Report tells about hooks in the conditions of their owner.
type Report struct {
	Work       *Work
	Conditions *[]metav1.Condition
	Generation int64
}

// underWay reports hooks that run, or what one of them waits for.
func (r *Report) underWay(stage *hookstage.Hooks, now time.Time) {
	if r == nil {
		return
	}
	message := "the " + r.words(stage.Stage).hooks + " hooks run"
	if waits := stage.Waiting(); waits != "" {
		message = text.Shorten(waits)
	}
	run.Progress(r.Conditions, v1alpha1.ReasonRunning, message, r.Generation, now)
}

// ended reports how the hooks of a stage ended. The work comes after the pre hooks.
func (r *Report) ended(stage hookstage.Stage, hooks []v1alpha1.HookStatus, now time.Time) {
	if r == nil {
		return
	}
	w := r.words(stage)
	status, reason, message := metav1.ConditionTrue, w.succeeded, "no "+w.hooks+" hook had to run"
	if slices.ContainsFunc(hooks, func(h v1alpha1.HookStatus) bool { return h.Phase == v1alpha1.HookSucceeded }) {
		message = "the " + w.hooks + " hooks succeeded"
	}
	if failures := hookstage.Failures(hooks); failures != "" {
		status, reason, message = metav1.ConditionFalse, w.failed, failures
	}
	run.Set(r.Conditions, w.condition, status, reason, message, r.Generation, now)
	if stage == hookstage.Pre {
		run.Progress(r.Conditions, v1alpha1.ReasonRunning, r.Work.runs, r.Generation, now)
	}
}

func (r *Report) words(stage hookstage.Stage) *words {
	if stage == hookstage.Pre {
		return &r.Work.pre
	}
	return &r.Work.post
}
