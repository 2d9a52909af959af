package restoresession

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/access"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/session"
	"github.com/cairn-backup/cairn/internal/session/movers"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task"
)

// resolveSidecar refuses what only a Job can do.
func (r *Reconciler) resolveSidecar(ctx context.Context, look *search) error {
	if look.Resolved.Executor != v1alpha1.ExecutorSidecar {
		return nil
	}
	look.target.Sidecar = true
	refuse := func(format string, args ...any) error {
		look.refuse(0, v1alpha1.ReasonSidecarNotPossible, "%s: take executor Job", fmt.Sprintf(format, args...))
		return nil
	}
	s, resolved := look.session, &look.Resolved
	if mistakes := policy.SidecarRestoreMistakes(&s.Spec); len(mistakes) > 0 {
		look.refuse(0, mistakes[0].Reason, "%s: %s", mistakes[0].Field, mistakes[0].Message)
		return nil
	}
	switch {
	case len(resolved.Task.Steps) > 0:
		return refuse("the task has steps before the mover, for which a sidecar has no containers")
	case len(resolved.Task.Volumes) > 0:
		return refuse("the task brings volumes along, which a sidecar can't mount")
	case len(resolved.Task.Args) == 0 || resolved.Task.Args[0] != string(task.KindRestore):
		return refuse("Function %s does more than the mover of a sidecar can", resolved.Task.Function)
	}
	storage, err := r.storageOf(ctx, resolved.Repository)
	if refusal := movers.RefusalOf(err); refusal != nil {
		look.Error = refusal
		return nil
	}
	if err != nil {
		return err
	}
	if storage.Spec.Storage.Local != nil {
		return refuse("BackupStorage %s/%s is on a volume, which a sidecar does not mount", storage.Namespace, storage.Name)
	}
	_, err = r.keysOf(ctx, s, resolved)
	if look.Error = movers.RefusalOf(err); look.Error != nil {
		look.Wait = waitForTarget // A GitOps tool may have applied the policy in the same moment.
		return nil
	}
	return err
}

// storageOf a repository. That there is none is a refusal.
func (r *Reconciler) storageOf(ctx context.Context, repository v1alpha1.ResolvedRepository) (*v1alpha1.BackupStorage, error) {
	var storage v1alpha1.BackupStorage
	key := client.ObjectKey{Namespace: repository.StorageRef.Namespace, Name: repository.StorageRef.Name}
	if err := r.Get(ctx, key, &storage); apierrors.IsNotFound(err) {
		return nil, movers.Refuse(v1alpha1.ReasonStorageNotFound, "there is no BackupStorage %s", key)
	} else if err != nil {
		return nil, fmt.Errorf("get backup storage %s: %w", key, err)
	}
	return &storage, nil
}

// keysOf says where in the sidecar's Secret the keys of the repository are: those of the repositories that the workload's own
// policies back up into are there, and no others.
func (r *Reconciler) keysOf(ctx context.Context, s *v1alpha1.RestoreSession, resolved *v1alpha1.ResolvedRestore) (sidecar.RepositoryKeys, error) {
	keys := sidecar.KeysOf(sourceNamespace(s), resolved.Repository.Name)
	var secret corev1.Secret
	err := r.APIReader.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: sidecar.Name(s.Spec.Target.Kind, s.Spec.Target.Name)}, &secret)
	switch {
	case apierrors.IsNotFound(err):
		return "", movers.Refuse(v1alpha1.ReasonSidecarNotPossible, "%s has no sidecar: take executor Job, or a BackupConfiguration with executor Sidecar first", s.Spec.Target)
	case err != nil:
		return "", fmt.Errorf("get the sidecar's secret: %w", err)
	case len(secret.Data[keys.Version()]) == 0:
		return "", movers.Refuse(v1alpha1.ReasonSidecarNotPossible, "the sidecar of %s has no keys of Repository %s, into which it does not back up: take executor Job",
			s.Spec.Target, resolved.Repository.Name)
	}
	return keys, nil
}

// observeSidecars adds what sidecars were told to do to the Jobs of in.
func (r *Reconciler) observeSidecars(ctx context.Context, in *session.RestoreInput) error {
	s := in.Session
	work := movers.WorkOf(s)
	if !session.RestoredBySidecars(s) || len(work.Assignments) == 0 {
		return nil
	}
	crew, err := movers.Muster(ctx, r.Client, r.APIReader, s.Namespace, *s.Spec.Target)
	if err != nil {
		return err
	}
	for i := range work.Assignments {
		a := &work.Assignments[i]
		begun, _ := progressOf(a, s.Status.Components)
		in.Jobs[jobOf(s, a)] = crew.Observe(s.UID, a, begun, in.Now)
	}
	return nil
}

// jobOf is the name of the Job whose place an assignment takes.
func jobOf(s *v1alpha1.RestoreSession, a *sidecar.Assignment) string {
	return session.RestoreJobName(s.Name, a.Host, int32(a.Attempt))
}

// progressOf says whether a component of an assignment was begun, and whether all have ended.
func progressOf(a *sidecar.Assignment, components map[string]v1alpha1.RestoredComponent) (begun, ended bool) {
	ended = true
	for _, component := range a.Components {
		phase := components[component.Name].Phase
		begun = begun || phase == v1alpha1.RestoreSessionRunning || phase.Terminal()
		ended = ended && phase.Terminal()
	}
	return begun, ended
}

// writeSidecars tells sidecars what was decided. Beside a refusal it says which host's work could not be given to one.
func (r *Reconciler) writeSidecars(ctx context.Context, s *v1alpha1.RestoreSession, in session.RestoreInput, d session.RestoreDecision) (host string, err error) {
	if !session.RestoredBySidecars(s) {
		return "", nil
	}
	if len(d.Create) > 0 {
		if err := r.keeper().Newest(ctx, s); err != nil {
			return "", err
		}
	}
	work := movers.WorkOf(s)
	withdraw(&work, in, d)
	hosts := s.Status.Resolved.Hosts
	for _, i := range d.Create {
		if err := r.assign(ctx, s, &work, &hosts[i], d.Status.Attempt, in); err != nil {
			return hosts[i].Name, err
		}
	}
	credentials := ""
	if len(work.Assignments) > 0 {
		crew, err := movers.Muster(ctx, r.Client, r.APIReader, s.Namespace, *s.Spec.Target)
		if err != nil {
			return "", err
		}
		movers.ChoosePods(&work, crew, movers.Assigned{
			App: *s.Spec.Target, Object: s.UID, Now: in.Now,
			Node:  func(name string) string { return hostOf(hosts, name).Node },
			Begun: func(a *sidecar.Assignment) bool { begun, _ := progressOf(a, s.Status.Components); return begun },
			Fits:  func(p *corev1.Pod, a *sidecar.Assignment) bool { return mountsAll(p, hostOf(hosts, a.Host)) },
		})
		credentials = crew.Credentials
	}
	before := s.DeepCopy()
	if err := movers.Post(s, *s.Spec.Target, work, credentials); err != nil {
		for _, i := range d.Create { // All of them: there are too many.
			host = hosts[i].Name
			if in.Refused[host] == nil {
				in.Refused[host] = movers.RefusalOf(err)
			}
		}
		delete(in.Refused, host) // The caller adds the one that it is told.
		return host, err
	}
	return "", r.keeper().WriteMetadata(ctx, before, s)
}

// withdraw takes back what has ended, as the status has it already, and asks to stop what is to be given up: until the status
// says so, too, the assignment stands, so that a manager that is killed in between decides the same again.
func withdraw(work *sidecar.Work, in session.RestoreInput, d session.RestoreDecision) {
	for _, a := range slices.Clone(work.Assignments) {
		name := jobOf(in.Session, &a)
		_, ended := progressOf(&a, in.Session.Status.Components)
		asked := slices.Contains(d.Delete, name)
		switch {
		case ended, asked && a.PodUID == "" && in.Jobs[name].State != task.StateFailed:
			work.Withdraw(a.Host)
		case asked:
			work.Host(a.Host).Stop = true
		}
	}
}

func hostOf(hosts []v1alpha1.ResolvedRestoreHost, name string) *v1alpha1.ResolvedRestoreHost {
	for i := range hosts {
		if hosts[i].Name == name {
			return &hosts[i]
		}
	}
	return &v1alpha1.ResolvedRestoreHost{}
}

// mountsAll says whether the claims that a host's components go into are the pod's volumes of these names. One that was made
// before the workload was given other claims would restore into those.
func mountsAll(p *corev1.Pod, h *v1alpha1.ResolvedRestoreHost) bool {
	return len(h.Volumes) > 0 && !slices.ContainsFunc(h.Volumes, func(v v1alpha1.ResolvedRestoreVolume) bool {
		return !session.MountsAs(p, v.Volume, v.ClaimName)
	})
}

// assign gives a host's work to nobody yet. What is asked when a Job is made is asked here.
func (r *Reconciler) assign(ctx context.Context, s *v1alpha1.RestoreSession, work *sidecar.Work, h *v1alpha1.ResolvedRestoreHost, attempt int32, in session.RestoreInput) error {
	resolved := s.Status.Resolved
	storage, err := r.storageOf(ctx, resolved.Repository)
	if err != nil {
		return err
	}
	input, err := r.jobInput(ctx, s, h)
	if err != nil {
		return err
	}
	input.Storage = storage
	if err := access.Allowed(ctx, r.Client, storage, s.Namespace); err != nil {
		return err
	}
	version, err := access.Digest(ctx, r.Client, s.Namespace, storage, resolved.Repository.EncryptionSecret)
	if err != nil {
		return err
	}
	keys, err := r.keysOf(ctx, s, resolved)
	if err != nil {
		return err
	}
	if err := r.usable(ctx, s, resolved, h, true); err != nil {
		return err
	}
	t := task.RestoreTask(input)
	a := sidecar.Assignment{Host: h.Name, Attempt: int(attempt), Since: metav1.NewTime(in.Now).Rfc3339Copy()}
	for i, c := range t.Components {
		a.Components = append(a.Components, sidecar.Component{Component: c, Volume: h.Volumes[i].Volume})
	}
	work.Task, work.Args = t, resolved.Task.Args[1:]
	work.Keys, work.KeysVersion = keys, version
	work.Assign(a)
	return nil
}

// close lets a restore go that has ended, and takes from its sidecars what they were told. A restore that is gone is no error.
func (r *Reconciler) close(ctx context.Context, s *v1alpha1.RestoreSession) error {
	before := s.DeepCopy()
	controllerutil.RemoveFinalizer(s, v1alpha1.FinalizerCancel)
	if s.Spec.Target != nil {
		if err := movers.Post(s, *s.Spec.Target, sidecar.Work{}, ""); err != nil {
			return err
		}
	}
	return client.IgnoreNotFound(r.keeper().WriteMetadata(ctx, before, s))
}
