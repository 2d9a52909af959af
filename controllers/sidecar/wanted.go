package sidecar

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/kube/defaults"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/policy/check"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/workload"
)

// wanted is what the BackupConfigurations of a workload want of its sidecar, in the order of their names.
type wanted struct {
	sessions []wantedSession
	// unknown reports that one of the BackupConfigurations can't be resolved now: the sidecar then stays as it is.
	unknown bool
	// unclear names that BackupConfiguration.
	unclear string
	// mover is the image of the first session's Function.
	mover string
}

// wantedSession is a session that a sidecar is to run, completed with its defaults.
type wantedSession struct {
	configuration *v1alpha1.BackupConfiguration
	session       *v1alpha1.BackupConfigurationSession
}

func (w *wanted) any() bool { return len(w.sessions) > 0 }

// generations returns the generations of the BackupConfigurations that want the sidecar.
func (w *wanted) generations() map[string]int64 {
	out := map[string]int64{}
	for _, s := range w.sessions {
		out[s.configuration.Name] = s.configuration.Generation
	}
	return out
}

// wake triggers a reconcile of the BackupConfigurations.
func (w *wanted) wake(ctx context.Context, changed chan<- event.GenericEvent) {
	if changed == nil {
		return
	}
	seen := map[string]bool{}
	for _, s := range w.sessions {
		if seen[s.configuration.Name] {
			continue
		}
		seen[s.configuration.Name] = true
		select {
		case changed <- event.GenericEvent{Object: s.configuration}:
		case <-ctx.Done():
		}
	}
}

// wantedOf reads what policy wants of the sidecar of a workload.
func (r *Reconciler) wantedOf(ctx context.Context, kind string, key client.ObjectKey) (*wanted, error) {
	var list v1alpha1.BackupConfigurationList
	if err := r.List(ctx, &list, client.InNamespace(key.Namespace),
		client.MatchingFields{indexWorkload: kind + "/" + key.Name}); err != nil {
		return nil, fmt.Errorf("list BackupConfigurations of %s %s: %w", kind, key, err)
	}
	slices.SortFunc(list.Items, func(a, b v1alpha1.BackupConfiguration) int { return strings.Compare(a.Name, b.Name) })
	out := &wanted{}
	for i := range list.Items {
		c := &list.Items[i]
		if !v1alpha1.InForce(c) {
			continue
		}
		if err := r.wantedBy(ctx, c, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// wantedBy adds the sessions of one BackupConfiguration that a sidecar is to run.
func (r *Reconciler) wantedBy(ctx context.Context, c *v1alpha1.BackupConfiguration, out *wanted) error {
	var chosen []string
	for i := range c.Spec.Sessions {
		addon, err := r.addon(ctx, c, i)
		if err != nil {
			return err
		}
		session := &c.Spec.Sessions[i]
		if addon == nil && session.Executor == "" {
			out.notKnown(c) // the missing Addon decides who runs the session
		} else if catalog.Executor(session.Executor, addon, infoOf(c, i), false) == v1alpha1.ExecutorSidecar {
			chosen = append(chosen, session.Name)
		}
	}
	if len(chosen) == 0 {
		return nil
	}
	if len(check.ConfigurationMistakes(c)) > 0 {
		out.notKnown(c)
		return nil
	}
	completer := defaults.Completer{
		Reader: r.Client, Live: r.APIReader, ClusterName: r.ClusterName, Administrators: r.Administrators,
	}
	completion, err := completer.Configuration(ctx, c)
	if err != nil {
		return err
	}
	if len(completion.Missing) > 0 {
		out.notKnown(c)
	}
	complete := completion.Configuration
	for i := range complete.Spec.Sessions {
		if s := &complete.Spec.Sessions[i]; slices.Contains(chosen, s.Name) {
			out.sessions = append(out.sessions, wantedSession{complete, s})
		}
	}
	return nil
}

func (w *wanted) notKnown(c *v1alpha1.BackupConfiguration) {
	w.unknown, w.unclear = true, c.Name
}

// infoOf returns the Addon of a session, or the inferred one if the session names none.
func infoOf(c *v1alpha1.BackupConfiguration, i int) *v1alpha1.AddonInfo {
	if info := c.Spec.Sessions[i].Addon; info != nil {
		return info
	}
	return &v1alpha1.AddonInfo{
		Name:  catalog.InferredAddon(*c.Spec.Target),
		Tasks: []v1alpha1.TaskReference{{Name: catalog.BackupTask}},
	}
}

// addon returns the Addon of a session. It returns nil if the Addon does not exist.
func (r *Reconciler) addon(ctx context.Context, c *v1alpha1.BackupConfiguration, i int) (*v1alpha1.Addon, error) {
	var addon v1alpha1.Addon
	name := infoOf(c, i).Name
	if err := r.Get(ctx, client.ObjectKey{Name: name}, &addon); apierrors.IsNotFound(err) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("get Addon %s: %w", name, err)
	}
	return &addon, nil
}

// merged returns the settings of the sidecar that all sessions share. A mistake of policy or user comes back as
// *access.Error.
func (r *Reconciler) merged(ctx context.Context, l *update) (*sidecar.Settings, error) {
	privileged, err := access.Privileged(ctx, r.Client, l.workload.GetNamespace())
	if err != nil {
		return nil, err
	}
	var wishes []sidecar.SessionSettings
	for _, s := range l.wanted.sessions {
		wish, err := r.wish(ctx, l, s, privileged)
		if err != nil {
			return nil, err
		}
		wishes = append(wishes, *wish)
	}
	settings, err := sidecar.Merge(wishes, privileged)
	if err != nil {
		return nil, &access.Error{Reason: v1alpha1.ReasonSidecarNotPossible, Message: err.Error()}
	}
	return settings, nil
}

// wish returns what one session wants.
func (r *Reconciler) wish(
	ctx context.Context, l *update, s wantedSession, privileged bool,
) (*sidecar.SessionSettings, error) {
	by := "session " + s.session.Name + " of BackupConfiguration " + s.configuration.Name
	mistakes, err := r.mistakes(ctx, s)
	if err != nil {
		return nil, err
	}
	if len(mistakes) > 0 {
		return nil, &access.Error{
			Reason:  mistakes[0].Reason,
			Message: by + ": " + mistakes[0].Field + ": " + mistakes[0].Message,
		}
	}
	resolved, params, refusal, err := read.Task(ctx, r.Client, *s.session.Addon, catalog.Variables{
		MoverImage: r.MoverImage, Namespace: s.configuration.Namespace,
		InvokerKind: v1alpha1.BackupConfigurationKind, InvokerName: s.configuration.Name,
		TargetKind: s.configuration.Spec.Target.Kind, TargetName: s.configuration.Spec.Target.Name,
	})
	if err != nil {
		return nil, err
	}
	target := l.workload.target
	target.Privileged, target.Paths = privileged, params[workload.ParamPaths]
	wish := &sidecar.SessionSettings{By: by}
	if refusal == nil {
		wish.Volumes, wish.User, refusal = workload.SidecarVolumes(target)
	}
	if refusal != nil {
		return nil, &access.Error{Reason: refusal.Reason, Message: by + ": " + refusal.Message}
	}
	if resolved.Container != nil {
		wish.Container = *resolved.Container
	}
	if l.wanted.mover == "" {
		l.wanted.mover = resolved.Image
	}
	return wish, nil
}

// mistakes returns what a session asks for that only a Job can do.
func (r *Reconciler) mistakes(ctx context.Context, s wantedSession) ([]policy.Mistake, error) {
	var addon v1alpha1.Addon
	known := &addon
	if err := r.Get(ctx, client.ObjectKey{Name: s.session.Addon.Name}, &addon); apierrors.IsNotFound(err) {
		known = nil
	} else if err != nil {
		return nil, fmt.Errorf("get Addon %s: %w", s.session.Addon.Name, err)
	}
	var failed error
	mistakes := catalog.SidecarMistakes("spec.sessions["+s.session.Name+"]", *s.configuration.Spec.Target,
		s.session, known,
		func(backend string) *v1alpha1.BackupStorage {
			i := slices.IndexFunc(s.configuration.Spec.Backends,
				func(b v1alpha1.BackendReference) bool { return b.Name == backend })
			if i < 0 || s.configuration.Spec.Backends[i].StorageRef == nil {
				return nil
			}
			storage, err := defaults.Storage(ctx, r.Client, s.configuration.Namespace,
				*s.configuration.Spec.Backends[i].StorageRef)
			failed = errors.Join(failed, err)
			return storage
		})
	return mistakes, failed
}
