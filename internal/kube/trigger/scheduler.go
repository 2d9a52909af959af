package trigger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/schedule"
)

// These errors say why the CronJob of a session is not in place. Those of the API server are not among them: each try
// can have new words, and each write triggers a reconcile.
var (
	errUntouched = errors.New("the policy is invalid, or could not be checked: the previous schedule stays in force")
	errUnwritten = errors.New("the CronJob could not be written: Cairn tries again")
)

// conflictRetry is how soon a name in use is tried again: no event reports that its owner gives it up.
const conflictRetry = time.Minute

// view is what a Scheduler needs of a BackupConfiguration or BackupBatch.
type view struct {
	kind     string
	object   conditions.Setter
	sessions []v1alpha1.SessionConfig
	paused   bool
	status   *[]v1alpha1.SessionStatus
	handled  *string
	triggers *int64
}

func viewOf(o any) (view, error) {
	switch o := o.(type) {
	case *v1alpha1.BackupConfiguration:
		return view{
			kind: v1alpha1.BackupConfigurationKind, object: o, sessions: policy.ConfigurationSessions(o),
			paused: o.Spec.Paused,
			status: &o.Status.Sessions, handled: &o.Status.LastHandledTrigger,
			triggers: &o.Status.HandledTriggers,
		}, nil
	case *v1alpha1.BackupBatch:
		return view{
			kind: v1alpha1.BackupBatchKind, object: o, sessions: policy.BatchSessions(o), paused: o.Spec.Paused,
			status: &o.Status.Sessions, handled: &o.Status.LastHandledTrigger,
			triggers: &o.Status.HandledTriggers,
		}, nil
	default:
		return view{}, fmt.Errorf("unexpected kind %T: it has no sessions", o)
	}
}

// Schedule does everything that the sessions of a BackupConfiguration or BackupBatch ask for: it creates their
// CronJobs, the runs that the manager starts itself and the run that an annotation asks for, and it deletes runs beyond
// the history limit. It sets the status of the sessions and the condition Protected. With an invalid policy, the
// previous schedules stay in force, except those of removed sessions; they can be suspended and resumed. The conflicts
// are the sessions whose CronJob's name is in use. After says how soon to call Schedule again; zero means never. A
// write that fails holds up nothing else: the errors are joined, and the status is true beside them.
func (k *Scheduler) Schedule(
	ctx context.Context, invoker conditions.Setter, invalid bool, now time.Time,
) (conflicts map[string]error, after time.Duration, err error) {
	v, err := viewOf(invoker)
	if err != nil {
		return nil, 0, err
	}
	unscheduled, failed := map[string]error{}, k.prune(ctx, v)
	if invalid {
		failed = errors.Join(failed, k.suspend(ctx, v))
		for _, s := range v.sessions {
			unscheduled[s.Name] = errUntouched
		}
	} else {
		conflicts, unscheduled, err = k.ensureAll(ctx, v)
		failed = errors.Join(failed, err)
	}
	look, err := k.judge(ctx, v, unscheduled, now)
	failed = errors.Join(failed, err)
	if !invalid {
		failed = errors.Join(failed, k.startIfAsked(ctx, v, now))
	}
	if !look.IsZero() {
		after = look.Sub(now)
	}
	if len(conflicts) > 0 && (after == 0 || after > conflictRetry) {
		after = conflictRetry
	}
	return conflicts, after, failed
}

// KnownValid reports whether the last look at this generation of a policy found it valid. Then a failed check does not
// make it invalid.
func KnownValid(invoker conditions.Getter) bool {
	c := conditions.Get(invoker, v1alpha1.ConditionValidationPassed)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == invoker.GetGeneration()
}

// judge judges every session and acts on the result. A slot whose run could not be started is still due.
func (k *Scheduler) judge(
	ctx context.Context, v view, unscheduled map[string]error, now time.Time,
) (look time.Time, err error) {
	runs, err := k.runs(ctx, v.object)
	if err != nil {
		return look, err
	}
	repositories, err := k.repositories(ctx, v)
	if err != nil {
		return look, err
	}
	statuses := make([]v1alpha1.SessionStatus, 0, len(v.sessions))
	counted := map[string]time.Time{}
	var protections []*protection
	var failed []error
	for i := range v.sessions {
		config := &v.sessions[i]
		previous := previousOf(*v.status, config.Name)
		if at := previous.LastScheduleTime; at != nil && !v1alpha1.Ahead(at.Time, now) {
			counted[config.Name] = previous.LastScheduleTime.Time
		}
		j := judge(sessionFacts{
			previous: previous, config: *config, paused: v.paused, runs: runs[config.Name],
			unscheduled: unscheduled[config.Name],
			identity:    schedule.Identity(v.kind, v.object.GetNamespace(), v.object.GetName(), config.Name),
			asked:       asked(v.object, config.Name), empty: empty(v.object, config.Name),
			repositories: repositories,
			generation:   v.object.GetGeneration(), created: v.object.GetCreationTimestamp().Time, now: now,
		})
		if !j.start.IsZero() {
			if err := k.start(ctx, v, config, j.start, now); err != nil {
				failed = append(failed, err)
				j.status.LastScheduleTime, j.status.LastMissedTime = previous.LastScheduleTime, previous.LastMissedTime
				j.missed = ""
			}
		}
		if j.skewed != "" {
			k.Events.Event(v.object, corev1.EventTypeWarning, v1alpha1.ReasonClockSkew, j.skewed)
		}
		if j.missed != "" {
			k.Events.Event(v.object, corev1.EventTypeWarning, v1alpha1.ReasonSlotsMissed, j.missed)
		}
		if !j.look.IsZero() && (look.IsZero() || j.look.Before(look)) {
			look = j.look
		}
		if j.protection != nil {
			protections = append(protections, j.protection)
		}
		statuses = append(statuses, j.status)
	}
	*v.status = statuses
	protected(v.object, protections)
	return look, errors.Join(append(failed, k.forget(ctx, v, runs, counted, now))...)
}

// repositories returns the Repositories that the sessions ask for. They belong to the cache and must not be changed.
func (k *Scheduler) repositories(ctx context.Context, v view) (map[string]*v1alpha1.Repository, error) {
	out := map[string]*v1alpha1.Repository{}
	for i := range v.sessions {
		for _, p := range asked(v.object, v.sessions[i].Name) {
			if _, known := out[p.Repository]; known {
				continue
			}
			var r v1alpha1.Repository
			key := client.ObjectKey{Namespace: v.object.GetNamespace(), Name: p.Repository}
			switch err := k.Client.Get(ctx, key, &r, client.UnsafeDisableDeepCopy); {
			case apierrors.IsNotFound(err):
				out[p.Repository] = nil
			case err != nil:
				return nil, fmt.Errorf("get Repository %s: %w", key, err)
			default:
				out[p.Repository] = &r
			}
		}
	}
	return out, nil
}

// previousOf returns the status of a session, or an empty one.
func previousOf(all []v1alpha1.SessionStatus, name string) v1alpha1.SessionStatus {
	if i := slices.IndexFunc(all, func(s v1alpha1.SessionStatus) bool { return s.Name == name }); i >= 0 {
		return all[i]
	}
	return v1alpha1.SessionStatus{}
}
