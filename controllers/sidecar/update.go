package sidecar

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

// update is what one update of the sidecar of a workload found and did.
type update struct {
	workload *podOwner
	found    sidecar.Found
	wanted   *wanted
	secret   *corev1.Secret
	state    *sidecar.State
	// after is when to look again.
	after time.Duration
}

func (l *update) lookAgain(after time.Duration) {
	if l.after == 0 || after < l.after {
		l.after = after
	}
}

// update does what is needed for one workload.
func (r *Reconciler) update(ctx context.Context, kind string, key client.ObjectKey) (*update, error) {
	l := &update{}
	var err error
	if l.wanted, err = r.wantedOf(ctx, kind, key); err != nil {
		return nil, err
	}
	if there, err := r.worthLooking(ctx, kind, key, l.wanted); err != nil || !there {
		return l, err
	}
	if l.workload, err = r.read(ctx, kind, key); err != nil {
		return l, err
	}
	if l.workload != nil {
		if l.secret, err = r.secret(ctx, client.ObjectKey{Namespace: key.Namespace, Name: l.workload.id}); err != nil {
			return nil, err
		}
		if err := r.step(ctx, l); err != nil {
			return l, err
		}
	}
	r.remember(kind, key, l)
	return l, nil
}

// anything reports whether policy wants the sidecar, or the workload had something of ours, or its Secret is there.
func (l *update) anything() bool {
	return l.wanted.any() || l.found.Anything || l.secret != nil && ours(l.secret)
}

// step decides and acts.
func (r *Reconciler) step(ctx context.Context, l *update) error {
	in, before, err := r.observe(ctx, l)
	if err != nil {
		return err
	}
	d := sidecar.Decide(in)
	l.state, l.wanted.unknown = &d.State, l.wanted.unknown || d.Held
	if d.After > 0 {
		l.lookAgain(d.After)
	}
	switch d.Action {
	case sidecar.Remove:
		return r.remove(ctx, l)
	case sidecar.Forget:
		return r.deleteSecret(ctx, l)
	case sidecar.AwaitSecret:
		return r.awaitSecret(ctx, l)
	case sidecar.Inject:
		if err := r.inject(ctx, l, in.Wanted.Settings, d.Image); err != nil {
			return err
		}
	}
	if err := r.follow(l); err != nil {
		return err
	}
	if err := r.ensureSecret(ctx, l); err != nil {
		return err
	}
	if l.state.News(before) {
		l.wanted.wake(ctx, r.Changed)
	}
	return nil
}

// observe collects everything that the next step depends on. before is the state that was recorded last.
func (r *Reconciler) observe(ctx context.Context, l *update) (in sidecar.Input, before sidecar.State, err error) {
	w := l.workload
	if l.secret != nil && owned(l.secret, w) {
		before = sidecar.StateOf(l.secret.Annotations)
	}
	if before.Workload != string(w.GetUID()) {
		before = sidecar.State{}
	}
	if l.found, err = sidecar.Find(w.Object, w.template); err != nil {
		return in, before, err
	}
	rollout, err := sidecar.RolloutOf(w.Object)
	if err != nil {
		return in, before, err
	}
	l.found.Rolling = !rollout.Done
	l.state = &sidecar.State{Record: before.Record, Workload: string(w.GetUID()), Policies: l.wanted.generations()}
	in = sidecar.Input{
		Now: r.Clock.Now(), Workload: w.describe(), Asked: l.wanted.any(), Found: l.found,
		SecretTaken: l.secret != nil && !owned(l.secret, w),
	}
	if in.Wanted, err = r.settings(ctx, l); err != nil {
		return in, before, err
	}
	in.State = *l.state // settings can have recorded a refusal
	if l.found.Image != "" {
		in.Restores, err = r.restores(ctx, w)
	}
	return in, before, err
}

// restores returns the RestoreSessions that have the label of a workload's sidecar.
func (r *Reconciler) restores(ctx context.Context, w *podOwner) ([]v1alpha1.RestoreSession, error) {
	var list v1alpha1.RestoreSessionList
	if err := r.List(ctx, &list, client.InNamespace(w.GetNamespace()),
		client.MatchingLabels{v1alpha1.LabelSidecar: w.id}); err != nil {
		return nil, fmt.Errorf("list RestoreSessions of %s: %w", w.describe(), err)
	}
	return list.Items, nil
}

// settings returns what policy wants, and records why it is impossible.
func (r *Reconciler) settings(ctx context.Context, l *update) (sidecar.Wanted, error) {
	out := sidecar.Wanted{Image: r.MoverImage, Unknown: l.wanted.unknown, Unclear: l.wanted.unclear}
	if !l.wanted.any() {
		return out, nil
	}
	settings, err := r.merged(ctx, l)
	var refusal *access.Error
	switch {
	case errors.As(err, &refusal):
		l.state.Refuse(refusal.Reason, "%s", refusal.Message)
		l.lookAgain(sidecar.RefusedInterval) // The workload can be the reason, and only its label is watched.
		out.Unknown = true
		return out, nil
	case err != nil:
		return out, err
	}
	out.Settings, out.Image = settings, l.wanted.mover
	return out, nil
}

// inject applies the sidecar. A refusal of the API server is reported, not retried over and over.
func (r *Reconciler) inject(ctx context.Context, l *update, settings *sidecar.Settings, image string) error {
	w := l.workload
	container, err := sidecar.NewContainer(w.id, image, settings)
	if errors.Is(err, moverjob.ErrPrivilegeRequired) {
		l.state.Refuse(v1alpha1.ReasonPrivilegeRequired, "%v", err)
		return nil
	} else if err != nil {
		return err
	}
	// Before the workload has the label nobody would find the Secret: so far it holds no keys.
	if l.secret == nil {
		if err := r.ensureSecret(ctx, l); err != nil {
			return err
		}
	}
	u, err := sidecar.Injection(w.gvk, w.Object, w.id, container)
	if err != nil {
		return fmt.Errorf("build sidecar of %s: %w", w.describe(), err)
	}
	generation, had := w.GetGeneration(), l.found.Image != ""
	err = r.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(sidecar.FieldManager),
		client.ForceOwnership)
	if refused(l, r.Account, err) {
		return nil
	} else if err != nil {
		return fmt.Errorf("apply sidecar of %s: %w", w.describe(), err)
	}
	if err := w.from(u); err != nil {
		return err
	}
	if l.found, err = sidecar.Find(w.Object, w.template); err != nil {
		return err
	}
	rollout := w.GetGeneration() != generation
	l.state.Applied(settings, image, l.found, rollout)
	if rollout {
		what := "added the sidecar: the pods are being replaced"
		if had {
			what = "changed the sidecar: the pods are being replaced"
		}
		r.Eventf(w.Object, corev1.EventTypeNormal, v1alpha1.ReasonSidecarInjected, "%s", what)
		logf.FromContext(ctx).Info("put the sidecar into the workload", "changed", had)
	}
	return nil
}

// refused records that the API server refuses what is applied to a workload.
func refused(l *update, account string, err error) bool {
	switch {
	case apierrors.IsForbidden(err):
		l.state.Refuse(v1alpha1.ReasonSidecarNotPermitted,
			"Cairn is not allowed to change %s: %v. The owner of its namespace can allow it with a RoleBinding "+
				"(kubectl "+
				"create rolebinding %s --namespace %s --clusterrole %s --serviceaccount %s)",
			l.workload.describe(), err, v1alpha1.SidecarInjectorClusterRole, l.workload.GetNamespace(),
			v1alpha1.SidecarInjectorClusterRole, account)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		l.state.Refuse(v1alpha1.ReasonSidecarNotPossible, "the API server refuses %s with a sidecar: %v",
			l.workload.describe(), err)
	default:
		return false
	}
	l.lookAgain(sidecar.RefusedInterval)
	return true
}

// awaitSecret waits until a Secret is gone that has the sidecar's name and does not belong to this workload.
func (r *Reconciler) awaitSecret(ctx context.Context, l *update) error {
	secret := l.secret
	if ours(secret) { // of a deleted workload of this name
		l.lookAgain(time.Second)
		return r.deleteSecret(ctx, l)
	}
	l.lookAgain(sidecar.RefusedInterval)
	r.Eventf(l.workload.Object, corev1.EventTypeWarning, v1alpha1.ReasonNameConflict, "%s", takenBy(secret))
	return nil
}

// takenBy returns the message about a Secret that is in the way.
func takenBy(secret *corev1.Secret) string {
	return "the Secret " + secret.Namespace + "/" + secret.Name +
		" has the name of the sidecar's Secret and does not belong to Cairn: delete it"
}

// follow checks the rollout that brings the sidecar.
func (r *Reconciler) follow(l *update) error {
	if l.found.Image == "" || l.state.RolledOut {
		return nil
	}
	rollout, err := sidecar.RolloutOf(l.workload.Object)
	if err != nil {
		return err
	}
	if after := l.state.Follow(rollout, l.workload.describe(), r.Clock.Now()); after > 0 {
		l.lookAgain(after)
	}
	return nil
}
