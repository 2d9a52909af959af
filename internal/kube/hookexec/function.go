package hookexec

import (
	"context"
	"errors"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/policy"
	runs "github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

// makeJob makes the Job of an attempt of a hook with a Function, or finds that it was made before. The session observes
// how the Job ends. If there can be no Job, the attempt has failed. A returned error is one that trying again can fix.
func (h *Hooks) makeJob(ctx context.Context, owner client.Object, run *hookstage.Run) error {
	job, err := h.job(ctx, owner, run)
	if err == nil {
		err = movers.Create(ctx, h.Client, h.APIReader, owner, job)
	}
	var f *failure
	switch refusal := movers.RefusalOf(err); {
	case err == nil:
		return nil
	case errors.As(err, &f):
	case refusal != nil && !runs.CanPass(refusal):
		f = &failure{reason: refusal.Reason, message: refusal.Message, final: true}
	case refusal != nil && !apierrors.IsInternalError(err):
		f = &failure{
			reason: v1alpha1.ReasonPodNotCreated, message: fmt.Sprintf("the Job could not be created: %v", err),
			unbegun: true,
		}
	default:
		return err
	}
	outcome := hookstage.Outcome{
		Reason: f.reason, Message: f.message, Final: f.final,
		Unbegun: f.unbegun && h.canWait(ctx, owner.GetNamespace(), run.Stage),
	}
	h.Ensure(owner, run.Attempt, run.Hook.Timeout.Duration, func(context.Context) hookstage.Outcome { return outcome })
	return nil
}

// job builds the Job of an attempt. Everything comes from the frozen hook, but permissions are checked again.
func (e *Executor) job(ctx context.Context, owner client.Object, run *hookstage.Run) (*batchv1.Job, error) {
	namespace := owner.GetNamespace()
	if run.Stage == hookstage.Pre {
		if err := e.mayUse(ctx, namespace, run.Hook.Template); err != nil {
			return nil, err
		}
	}
	// A container that lacks a key of a Secret or ConfigMap would report that only after minutes.
	if _, err := e.For(owner).values(ctx, namespace, run.Hook.Variables, map[string]string{}); err != nil {
		return nil, err
	}
	filled, err := hook.Fill(run.Hook)
	if err != nil {
		return nil, refused(v1alpha1.ReasonInvalidHook, "HookTemplate %s: %v", run.Hook.Template.Name, err)
	}
	privileged, err := access.Privileged(ctx, e, namespace)
	if err != nil {
		return nil, err
	}
	kind, err := apiutil.GVKForObject(owner, e.Scheme())
	if err != nil {
		return nil, fmt.Errorf("find kind of a hook's owner: %w", err)
	}
	label := v1alpha1.LabelBackupSession
	switch kind.Kind {
	case v1alpha1.RestoreSessionKind:
		label = v1alpha1.LabelRestoreSession
	case v1alpha1.RestoreBatchKind:
		label = v1alpha1.LabelRestoreBatch
	}
	job, err := moverjob.FunctionJob(moverjob.FunctionJobInput{
		Name: hookstage.JobName(kind.Kind, owner.GetName(), run.Attempt), Namespace: namespace,
		Labels: map[string]string{
			label: policy.LabelValue(owner.GetName()), v1alpha1.LabelHook: policy.LabelValue(run.Name),
		},
		Owner:    *metav1.NewControllerRef(owner, kind),
		Function: filled.Function, Values: filled.Values, Env: filled.Env, Variables: filled.Variables,
		Volumes: filled.Volumes, VolumeMounts: filled.VolumeMounts,
		Settings: run.Hook.Function.Container, Pod: run.Hook.Function.Pod,
		Timeout: run.Hook.Timeout.Duration, Privileged: privileged,
	})
	if err != nil && !errors.Is(err, moverjob.ErrPrivilegeRequired) {
		return nil, refused(v1alpha1.ReasonInvalidHook, "HookTemplate %s: %v", run.Hook.Template.Name, err)
	}
	return job, err
}
