package sidecar

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/access"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task"
)

const (
	// rolloutInterval is how often a rollout is looked at.
	rolloutInterval = 5 * time.Second
	// rolloutPatience is how long a rollout may take before somebody is told. Kubernetes itself says so only of Deployments.
	rolloutPatience = 10 * time.Minute
	// refusedInterval is how often it is tried again what a Role or a Secret must be mended for: neither is watched.
	refusedInterval = time.Minute
)

// looking is what one look at a workload found and did.
type looking struct {
	workload *workload
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

// refuse says why the sidecar can't be used, or not yet. The first word counts.
func (l *looking) refuse(reason, format string, args ...any) {
	if l.state.Reason == "" {
		l.state.Reason, l.state.Message = reason, fmt.Sprintf(format, args...)
	}
}

// look does what is to be done about one workload.
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
		l.refuse(v1alpha1.ReasonNameConflict, "%s has a %s of its own: give it another name, or take executor Job", w.describe(), l.found.Foreign)
		l.lookAgain(refusedInterval)
	case sidecar.Inject:
		if err := r.inject(ctx, l, wish.Settings, decision.Image); err != nil {
			return err
		}
	case sidecar.Leave:
		if l.state.Image == wish.Image || !l.found.Rolling {
			l.state.Theirs = l.found.Theirs // what was rolled out by now is no reason to do it again
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

// wait leaves the sidecar as it is, with its keys, while it restores: what would be done about it replaces the pods, and a restore
// that nobody goes on with leaves volumes half-written. Restores have a deadline; a backup is just begun again.
func (r *Reconciler) wait(ctx context.Context, l *looking, d *sidecar.Decision) error {
	if l.found.Image == "" || d.Action != sidecar.Inject && d.Action != sidecar.Remove {
		return nil
	}
	var restores v1alpha1.RestoreSessionList
	if err := r.List(ctx, &restores, client.InNamespace(l.workload.GetNamespace()), client.MatchingLabels{v1alpha1.LabelSidecar: l.workload.id}); err != nil {
		return fmt.Errorf("list the restores of %s: %w", l.workload.describe(), err)
	}
	i := slices.IndexFunc(restores.Items, func(s v1alpha1.RestoreSession) bool {
		work, err := sidecar.Decode(s.Annotations[v1alpha1.AnnotationSidecarTask])
		return err == nil && !v1alpha1.HasRecordAnnotation(s.Annotations) &&
			slices.ContainsFunc(work.Assignments, func(a sidecar.Assignment) bool { return a.PodUID != "" })
	})
	if i < 0 {
		return nil
	}
	l.refuse(v1alpha1.ReasonSidecarRolloutInProgress, "the sidecar of %s is changed when RestoreSession %s has ended", l.workload.describe(), restores.Items[i].Name)
	l.lookAgain(rolloutInterval)
	l.wanted.unknown, d.Action = true, sidecar.Leave
	return nil
}

// settle gives what policy wants, and notes why it can't be.
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
		l.lookAgain(refusedInterval) // it may be the workload, of which only the label is watched
		out.Unknown = true
		return out, nil
	case err != nil:
		return out, err
	}
	out.Settings, out.Image = settings, l.wanted.mover
	if l.wanted.unknown && l.found.Image == "" {
		l.refuse(v1alpha1.ReasonSidecarNotPossible, "the sidecar of %s waits for BackupConfiguration %s, which may share it and can't work yet", l.workload.describe(), l.wanted.unclear)
	}
	return out, nil
}

// inject applies the sidecar. What the API server does not take is said, not tried over and over.
func (r *Reconciler) inject(ctx context.Context, l *looking, settings *sidecar.Settings, image string) error {
	w := l.workload
	container, err := sidecar.NewContainer(w.id, image, settings)
	if errors.Is(err, task.ErrPrivilegeRequired) {
		l.refuse(v1alpha1.ReasonPrivilegeRequired, "%v", err)
		return nil
	} else if err != nil {
		return err
	}
	// Before the label is there nobody would find the Secret: so far it holds no keys.
	if l.secret == nil {
		if err := r.keep(ctx, l); err != nil {
			return err
		}
	}
	u, err := sidecar.Injection(w.gvk, w.Object, w.id, container)
	if err != nil {
		return fmt.Errorf("build the sidecar of %s: %w", w.describe(), err)
	}
	generation, had := w.GetGeneration(), l.found.Image != ""
	err = r.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(sidecar.FieldManager), client.ForceOwnership)
	if refused(l, r.Account, err) {
		return nil
	} else if err != nil {
		return fmt.Errorf("apply the sidecar of %s: %w", w.describe(), err)
	}
	if err := w.from(u); err != nil {
		return err
	}
	if l.found, err = sidecar.Find(w.Object, w.template); err != nil {
		return err
	}
	l.state.Record = sidecar.Record{
		Settings: settings.Digest(), Image: image, Theirs: l.found.Theirs, Ours: l.found.Ours,
		RolledOut: l.state.RolledOut && w.GetGeneration() == generation,
	}
	if w.GetGeneration() != generation {
		what := "the sidecar was added: the pods are replaced"
		if had {
			what = "the sidecar was changed: the pods are replaced"
		}
		r.Eventf(w.Object, corev1.EventTypeNormal, v1alpha1.ReasonSidecarInjected, "%s", what)
	}
	return nil
}

// refused notes that the API server does not take what is applied to a workload.
func refused(l *looking, account string, err error) bool {
	switch {
	case apierrors.IsForbidden(err):
		l.refuse(v1alpha1.ReasonSidecarNotPermitted,
			"Cairn may not change %s: %v. The owner of its namespace allows it with a RoleBinding (kubectl create rolebinding %s --namespace %s --clusterrole %s --serviceaccount %s)",
			l.workload.describe(), err, v1alpha1.SidecarInjectorClusterRole, l.workload.GetNamespace(), v1alpha1.SidecarInjectorClusterRole, account)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		l.refuse(v1alpha1.ReasonSidecarNotPossible, "the API server does not take %s with a sidecar: %v", l.workload.describe(), err)
	default:
		return false
	}
	l.lookAgain(refusedInterval)
	return true
}

// follow looks how far the rollout is that brings the sidecar.
func (r *Reconciler) follow(l *looking) error {
	if l.found.Image == "" || l.state.RolledOut {
		return nil
	}
	rollout, err := rolloutOf(l.workload.Object)
	if err != nil {
		return err
	}
	now, name := metav1.NewTime(r.Clock.Now()), l.workload.describe()
	if l.state.Since == nil {
		l.state.Since = &now
	}
	switch {
	case rollout.done:
		l.state.RolledOut, l.state.Since = true, nil
		return nil
	case rollout.message != "":
		l.refuse(v1alpha1.ReasonSidecarRolloutInProgress, "%s is to get pods with the sidecar: %s", name, rollout.message)
	case rollout.failed, now.Sub(l.state.Since.Time) > rolloutPatience:
		l.refuse(v1alpha1.ReasonSidecarRolloutFailed, "the pods of %s are not being replaced by ones with the sidecar: see what keeps them from it with kubectl describe, or take executor Job", name)
	default:
		l.refuse(v1alpha1.ReasonSidecarRolloutInProgress, "the pods of %s are being replaced by ones with the sidecar", name)
	}
	l.lookAgain(rolloutInterval)
	return nil
}

// takenSecret waits for a Secret to go that has the sidecar's name and is not of this workload.
func (r *Reconciler) takenSecret(ctx context.Context, l *looking) error {
	secret := l.secret
	if ours(secret) { // of a workload of this name that is gone
		l.lookAgain(time.Second)
		return r.forget(ctx, l)
	}
	l.lookAgain(refusedInterval)
	r.Eventf(l.workload.Object, corev1.EventTypeWarning, v1alpha1.ReasonNameConflict, "%s", takenBy(secret))
	return nil
}

// takenBy says that a Secret is in the way.
func takenBy(secret *corev1.Secret) string {
	return "the Secret " + secret.Namespace + "/" + secret.Name + " has the name of the sidecar's and is not Cairn's: remove it"
}

// tell lets the BackupConfigurations look again whose sidecar is not what it was.
func (r *Reconciler) tell(ctx context.Context, l *looking, before sidecar.State) {
	if l.state.Reason == before.Reason && l.state.Message == before.Message && maps.Equal(l.state.Policies, before.Policies) {
		return
	}
	l.wanted.wake(ctx, r.Changed)
}
