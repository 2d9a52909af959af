package sidecar

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

const (
	// rolloutInterval is the interval at which a rollout is checked.
	rolloutInterval = 5 * time.Second
	// rolloutPatience is how long a rollout is allowed to take before it is reported. Kubernetes itself reports that
	// only for Deployments.
	rolloutPatience = 10 * time.Minute
	// refusedInterval is the interval at which a sidecar is tried again that needs a change of a Role or a Secret:
	// neither is watched.
	refusedInterval = time.Minute
)

// looking is what one look at a workload found and did.
type looking struct {
	workload *podOwner
	found    sidecar.Found
	wanted   *wanted
	secret   *corev1.Secret
	state    *sidecar.State
	// after is when to look again.
	after time.Duration
}

func (l *looking) lookAgain(after time.Duration) {
	if l.after == 0 || after < l.after {
		l.after = after
	}
}

// refuse records why the sidecar can't be used, or not yet. The first reason counts.
func (l *looking) refuse(reason, format string, args ...any) {
	if l.state.Reason == "" {
		l.state.Reason, l.state.Message = reason, fmt.Sprintf(format, args...)
	}
}

// look does what is needed for one workload.
func (r *Reconciler) look(ctx context.Context, kind string, key client.ObjectKey) (*looking, error) {
	l := &looking{}
	var err error
	if l.wanted, err = r.wants(ctx, kind, key); err != nil {
		return nil, err
	}
	if there, err := r.worthLooking(ctx, kind, key, l.wanted); err != nil || !there {
		return l, err
	}
	if l.workload, err = r.read(ctx, kind, key); err != nil || l.workload == nil {
		return l, err
	}
	if l.secret, err = r.secret(ctx, client.ObjectKey{Namespace: key.Namespace, Name: l.workload.id}); err != nil {
		return nil, err
	}
	return l, r.do(ctx, l)
}

// do decides and acts.
func (r *Reconciler) do(ctx context.Context, l *looking) error {
	w := l.workload
	var before sidecar.State
	if l.secret != nil && owned(l.secret, w) {
		before = sidecar.StateOf(l.secret.Annotations)
	}
	if before.Workload != string(w.GetUID()) {
		before = sidecar.State{}
	}
	var err error
	if l.found, err = sidecar.Find(w.Object, w.template); err != nil {
		return err
	}
	rollout, err := rolloutOf(w.Object)
	if err != nil {
		return err
	}
	l.found.Rolling = !rollout.done
	l.state = &sidecar.State{Record: before.Record, Workload: string(w.GetUID()), Policies: l.wanted.generations()}
	wish, err := r.settle(ctx, l)
	if err != nil {
		return err
	}
	decision := sidecar.Decide(wish, l.found, l.state.Record)
	if err := r.wait(ctx, l, &decision); err != nil {
		return err
	}
	if decision.Action == sidecar.Remove {
		return r.remove(ctx, l)
	}
	if !l.wanted.any() && !l.found.Anything {
		return r.forget(ctx, l)
	}
	if l.secret != nil && !owned(l.secret, w) {
		return r.takenSecret(ctx, l)
	}
	switch decision.Action {
	case sidecar.Conflict:
		l.refuse(v1alpha1.ReasonNameConflict, "%s has a %s of its own: give it another name, or set executor Job",
			w.describe(), l.found.Foreign)
		l.lookAgain(refusedInterval)
	case sidecar.Inject:
		if decision.Again && r.opposed(l) {
			break
		}
		if err := r.inject(ctx, l, wish.Settings, decision.Image); err != nil {
			return err
		}
	case sidecar.Leave:
		if l.state.Image == wish.Image || !l.found.Rolling {
			l.state.Theirs = l.found.Theirs // changes that were rolled out already are no reason for another rollout
		}
	}
	if err := r.follow(l); err != nil {
		return err
	}
	if err := r.keep(ctx, l); err != nil {
		return err
	}
	r.tell(ctx, l, before)
	return nil
}

// settle returns what policy wants, and records why it is impossible.
func (r *Reconciler) settle(ctx context.Context, l *looking) (sidecar.Wanted, error) {
	out := sidecar.Wanted{Image: r.MoverImage, Unknown: l.wanted.unknown}
	if !l.wanted.any() {
		return out, nil
	}
	settings, err := r.settings(ctx, l)
	var refusal *access.Error
	switch {
	case errors.As(err, &refusal):
		l.refuse(refusal.Reason, "%s", refusal.Message)
		l.lookAgain(refusedInterval) // The workload can be the reason, and only its label is watched.
		out.Unknown = true
		return out, nil
	case err != nil:
		return out, err
	}
	out.Settings, out.Image = settings, l.wanted.mover
	if l.wanted.unknown && l.found.Image == "" {
		l.refuse(v1alpha1.ReasonSidecarNotPossible,
			"the sidecar of %s waits for BackupConfiguration %s, which can share it but is not ready", l.workload.describe(),
			l.wanted.unclear)
	}
	return out, nil
}

// inject applies the sidecar. A refusal of the API server is reported, not retried over and over.
func (r *Reconciler) inject(ctx context.Context, l *looking, settings *sidecar.Settings, image string) error {
	w := l.workload
	container, err := sidecar.NewContainer(w.id, image, settings)
	if errors.Is(err, moverjob.ErrPrivilegeRequired) {
		l.refuse(v1alpha1.ReasonPrivilegeRequired, "%v", err)
		return nil
	} else if err != nil {
		return err
	}
	// Before the workload has the label nobody would find the Secret: so far it holds no keys.
	if l.secret == nil {
		if err := r.keep(ctx, l); err != nil {
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
	l.state.Record = sidecar.Record{
		Settings: settings.Digest(), Image: image, Theirs: l.found.Theirs, Ours: l.found.Ours,
		RolledOut: l.state.RolledOut && w.GetGeneration() == generation, Restored: l.state.Restored,
	}
	if w.GetGeneration() != generation {
		what := "added the sidecar: the pods are being replaced"
		if had {
			what = "changed the sidecar: the pods are being replaced"
		}
		r.Eventf(w.Object, corev1.EventTypeNormal, v1alpha1.ReasonSidecarInjected, "%s", what)
	}
	return nil
}

// refused records that the API server refuses what is applied to a workload.
func refused(l *looking, account string, err error) bool {
	switch {
	case apierrors.IsForbidden(err):
		l.refuse(v1alpha1.ReasonSidecarNotPermitted,
			"Cairn is not allowed to change %s: %v. The owner of its namespace can allow it with a RoleBinding (kubectl "+
				"create rolebinding %s --namespace %s --clusterrole %s --serviceaccount %s)",
			l.workload.describe(), err, v1alpha1.SidecarInjectorClusterRole, l.workload.GetNamespace(),
			v1alpha1.SidecarInjectorClusterRole, account)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		l.refuse(v1alpha1.ReasonSidecarNotPossible, "the API server refuses %s with a sidecar: %v",
			l.workload.describe(), err)
	default:
		return false
	}
	l.lookAgain(refusedInterval)
	return true
}

// takenSecret waits until a Secret is gone that has the sidecar's name and does not belong to this workload.
func (r *Reconciler) takenSecret(ctx context.Context, l *looking) error {
	secret := l.secret
	if ours(secret) { // of a deleted workload of this name
		l.lookAgain(time.Second)
		return r.forget(ctx, l)
	}
	l.lookAgain(refusedInterval)
	r.Eventf(l.workload.Object, corev1.EventTypeWarning, v1alpha1.ReasonNameConflict, "%s", takenBy(secret))
	return nil
}

// takenBy returns the message about a Secret that is in the way.
func takenBy(secret *corev1.Secret) string {
	return "the Secret " + secret.Namespace + "/" + secret.Name +
		" has the name of the sidecar's Secret and does not belong to Cairn: delete it"
}

// tell wakes the BackupConfigurations if the state of their sidecar has changed.
func (r *Reconciler) tell(ctx context.Context, l *looking, before sidecar.State) {
	if l.state.Reason == before.Reason && l.state.Message == before.Message &&
		maps.Equal(l.state.Policies, before.Policies) {
		return
	}
	l.wanted.wake(ctx, r.Changed)
}
