package backupsession

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/kube/defaults"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
)

// targets resolves every target of a run, in the order of its session. Mistakes of policy are in the targets; an
// error is temporary.
func (r *Reconciler) targets(
	ctx context.Context, s *v1alpha1.BackupSession, invoker client.Object, start *backup.Start,
) ([]backup.StartTarget, error) {
	res := &resolution{Reconciler: r, session: s, start: start}
	switch o := invoker.(type) {
	case *v1alpha1.BackupConfiguration:
		t, err := res.alone(ctx, o)
		if movers.Lasting(err) {
			t, err = notLookedUp(o.Name, *o.Spec.Target, o.Name, err), nil
		}
		return []backup.StartTarget{t}, err
	case *v1alpha1.BackupBatch:
		return res.batch(ctx, o)
	default:
		return nil, fmt.Errorf("resolve targets of %s: its kind has no targets", invoker.GetName())
	}
}

// resolution resolves the targets of one session. It reads once what several targets need.
type resolution struct {
	*Reconciler
	session   *v1alpha1.BackupSession
	start     *backup.Start
	namespace *namespaceState
	// wanted are the children that the batch asks for, by name. It is nil while the children made before are in force.
	wanted map[string]*v1alpha1.BackupConfiguration
}

// target resolves one target from its BackupConfiguration.
func (r *resolution) target(
	ctx context.Context, name string, app v1alpha1.TypedObjectReference, c *v1alpha1.BackupConfiguration,
) (backup.StartTarget, error) {
	app.Namespace = ""
	out := backup.StartTarget{Resolved: v1alpha1.ResolvedTarget{
		Name: name, AppRef: app, Configuration: c.Name,
		ConfigurationUID: c.UID,
	}}
	fail := func(e *v1alpha1.ResolvedError, wait time.Duration) (backup.StartTarget, error) {
		out.Resolved.Error, out.Wait = e, wait
		return out, nil
	}
	i := slices.IndexFunc(c.Spec.Sessions,
		func(s v1alpha1.BackupConfigurationSession) bool { return s.Name == r.session.Spec.Session })
	if i < 0 {
		return fail(&v1alpha1.ResolvedError{
			Reason: v1alpha1.ReasonSessionNotFound,
			Message: fmt.Sprintf("BackupConfiguration %s has no session %q", c.Name,
				r.session.Spec.Session),
		}, run.WaitForChild)
	}
	completer := defaults.Completer{
		Reader: r.Client, Live: r.APIReader, ClusterName: r.ClusterName, Administrators: r.Administrators,
	}
	completion, err := completer.Configuration(ctx, c)
	if err != nil {
		return out, err
	}
	for _, m := range completion.Missing {
		if strings.HasPrefix(m.Field, fmt.Sprintf("spec.sessions[%d].", i)) {
			return fail(&v1alpha1.ResolvedError{Reason: m.Reason, Message: m.Field + ": " + m.Message},
				run.WaitForRepository)
		}
	}
	c = completion.Configuration
	config := &c.Spec.Sessions[i]
	moving, refusal, err := r.task(ctx, &out.Resolved, config)
	if refusal != nil || err != nil {
		out.Resolved.Error = refusal
		if refusal != nil && refusal.Reason == v1alpha1.ReasonTargetNotReady {
			out.Wait = run.WaitForDatabase
		}
		return out, err
	}
	for _, info := range config.Repositories {
		repo, refusal, wait, err := r.repository(ctx, c, info, out.Resolved.Task.Driver)
		if refusal != nil || err != nil {
			out.Resolved.Error, out.Wait = refusal, wait
			return out, err
		}
		out.Resolved.Repositories = append(out.Resolved.Repositories, *repo)
	}
	if refusal, err = r.sidecarRefusal(ctx, &out.Resolved); refusal != nil || err != nil {
		out.Resolved.Error = refusal
		return out, err
	}
	out.Resolved.Error, err = r.volumes(ctx, moving, config.CopySettings, &out.Resolved)
	out.Wait = r.waitForVolumes(out.Resolved.Error)
	return out, err
}

// waitForVolumes returns how long a refusal of the volumes of a target can still go away by itself.
func (r *resolution) waitForVolumes(refusal *v1alpha1.ResolvedError) time.Duration {
	switch {
	case refusal == nil:
		return 0
	case refusal.Reason == v1alpha1.ReasonTargetNotReady:
		return run.WaitForDaemonSet // its pods may still come
	case refusal.Reason == v1alpha1.ReasonVolumeMoving,
		refusal.Reason == v1alpha1.ReasonVolumeNotBound: // that of a pod which was made lately may still come
		return run.WaitForNode
	default:
		return 0
	}
}

// missing finds out which components of their last backups the targets no longer have, if the run is about to be
// frozen: a run that waits looks again and again, and a namespace can have very many Snapshots.
func (r *Reconciler) missing(ctx context.Context, in backup.Input) error {
	if !backup.Freezes(in) {
		return nil
	}
	for i := range in.Start.Targets {
		t := &in.Start.Targets[i]
		if t.Resolved.Error != nil || len(t.Resolved.Repositories) == 0 {
			continue
		}
		var list v1alpha1.SnapshotList
		name := t.Resolved.Repositories[0].Name
		if err := r.List(ctx, &list, client.InNamespace(in.Session.Namespace), client.UnsafeDisableDeepCopy,
			client.MatchingFields{string(snapshotsByRepository): name}); err != nil {
			return fmt.Errorf("list Snapshots of Repository %s: %w", name, err)
		}
		t.Missing = backup.Missing(list.Items, in.Session, &t.Resolved, in.Now)
	}
	return nil
}

// volumes resolves which Jobs read which volumes of the target, or copies of them.
func (r *resolution) volumes(
	ctx context.Context, moving *targetInput, settings v1alpha1.CopySettings, t *v1alpha1.ResolvedTarget,
) (*v1alpha1.ResolvedError, error) {
	if refusal := copyRefusal(settings.CopyMethod, t); refusal != nil {
		return refusal, nil
	}
	moving.copied = settings.CopyMethod.Copies()
	hosts, refusal, err := r.hosts(ctx, t.AppRef, moving, t)
	if refusal != nil || err != nil {
		return refusal, err
	}
	if t.Copies, refusal, err = r.resolveCopies(ctx, t.Name, hosts, settings); refusal != nil || err != nil {
		return refusal, err
	}
	t.Hosts = hosts
	return nil, nil
}

// targetInput holds what the resolution needs to know beside the task.
type targetInput struct {
	params map[string]string
	// copied reports that movers read copies of the volumes.
	copied bool
	// database and streams are set if the target is a database.
	database *read.Database
	streams  []catalog.ComponentStream
}

// task resolves Addon, task and Function, and finds the database if the target is one.
func (r *resolution) task(
	ctx context.Context, t *v1alpha1.ResolvedTarget, c *v1alpha1.BackupConfigurationSession,
) (*targetInput, *v1alpha1.ResolvedError, error) {
	vars := catalog.Variables{
		MoverImage: r.MoverImage, Namespace: r.session.Namespace, BackupSession: r.session.Name,
		InvokerKind: r.session.Spec.Invoker.Kind, InvokerName: r.session.Spec.Invoker.Name,
		TargetKind: t.AppRef.Kind, TargetName: t.AppRef.Name,
	}
	out, reader := &targetInput{}, read.FallbackReader{Reader: r.Client, Live: r.APIReader}
	var refusal *v1alpha1.ResolvedError
	var err error
	if len(c.Repositories) == 1 {
		if vars.Snapshot, err = r.snapshotName(ctx, r.session, c.Repositories[0].Name); err != nil {
			return nil, nil, err
		}
	}
	if !t.AppRef.IsDatabase() || len(c.Addon.Tasks) != 1 {
		t.Task, out.params, refusal, err = read.Task(ctx, reader, *c.Addon, vars)
		if refusal == nil && err == nil {
			t.Executor, err = read.Executor(ctx, reader, c.Executor, *c.Addon, false)
		}
		return out, refusal, err
	}
	state, err := r.state(ctx)
	if err != nil {
		return nil, nil, err
	}
	out.database, refusal, err = read.FindDatabase(ctx, r.APIReader, r.session.Namespace, t.AppRef,
		c.Addon.Tasks[0].StringParams(), state.pods)
	if refusal == nil && err == nil {
		t.Executor = v1alpha1.ExecutorJob
		t.Task, out.streams, refusal, err = read.DatabaseTask(ctx, reader, *c.Addon, false, vars, out.database, nil)
	}
	return out, refusal, err
}

// repository freezes one repository. The run waits for a Repository that is not ready yet, unless waiting is useless.
func (r *resolution) repository(
	ctx context.Context, c *v1alpha1.BackupConfiguration, info v1alpha1.RepositoryInfo, driver v1alpha1.Driver,
) (*v1alpha1.ResolvedRepository, *v1alpha1.ResolvedError, time.Duration, error) {
	var repo v1alpha1.Repository
	err := r.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: info.Name}, &repo)
	if apierrors.IsNotFound(err) {
		message := "there is no Repository " + info.Name
		if conditions.IsFalse(c, meta.ReadyCondition) {
			message += ": " + conditions.GetMessage(c, meta.ReadyCondition)
		}
		return nil, &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonRepositoryNotReady, Message: message},
			run.WaitForRepository, nil
	}
	if err != nil {
		return nil, nil, 0, fmt.Errorf("get Repository %s: %w", info.Name, err)
	}
	snapshot, err := r.snapshotName(ctx, r.session, repo.Name)
	if err != nil {
		return nil, nil, 0, err
	}
	frozen, refusal, wait := backup.FreezeRepository(c, &repo, &info, driver, snapshot)
	return frozen, refusal, wait, nil
}
