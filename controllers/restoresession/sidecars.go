package restoresession

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/oneshot"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
	"github.com/cairn-backup/cairn/internal/task/observe"
	"github.com/cairn-backup/cairn/internal/workload"
)

// observeSidecars adds the assignments of sidecars to in.Jobs.
func (r *Reconciler) observeSidecars(ctx context.Context, in *restore.Input) error {
	s := in.Session
	work := movers.ReadSidecarWork(s)
	if !run.RestoredBySidecars(s) || len(work.Assignments) == 0 {
		return nil
	}
	crew, err := movers.FindSidecarPods(ctx, r.Client, r.APIReader, s.Namespace, *s.Spec.Target)
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

// jobOf returns the name of the Job whose place an assignment takes.
func jobOf(s *v1alpha1.RestoreSession, a *sidecar.Assignment) string {
	return restore.JobName(s.Name, a.Host, int32(a.Attempt))
}

// progressOf reports whether a component of an assignment has begun, and whether all have ended.
func progressOf(a *sidecar.Assignment, components map[string]v1alpha1.RestoredComponent) (begun, ended bool) {
	ended = true
	for _, component := range a.Components {
		phase := components[component.Name].Phase
		begun = begun || phase == v1alpha1.RestoreSessionRunning || phase.Terminal()
		ended = ended && phase.Terminal()
	}
	return begun, ended
}

// writeSidecars writes the decision to the sidecars. With a refusal it also returns the host whose work could not be
// assigned.
func (r *Reconciler) writeSidecars(
	ctx context.Context, s *v1alpha1.RestoreSession, in restore.Input, d *restore.Decision,
) (host string, err error) {
	if !run.RestoredBySidecars(s) {
		return "", nil
	}
	if len(d.Create) > 0 {
		if err := oneshot.Newest(ctx, r.APIReader, s); err != nil {
			return "", err
		}
	}
	work := movers.ReadSidecarWork(s)
	withdraw(&work, in, *d)
	hosts := s.Status.Resolved.Hosts
	waiting := false
	for _, i := range d.Create {
		err := r.assign(ctx, s, &work, &hosts[i], d.Status.Attempt, in)
		if r.waits(s, d, err) {
			waiting = true
		} else if err != nil {
			return hosts[i].Name, err
		}
	}
	if !waiting && len(d.Create) > 0 {
		r.goesOn(s, d)
	}
	credentials := ""
	if len(work.Assignments) > 0 {
		crew, err := movers.FindSidecarPods(ctx, r.Client, r.APIReader, s.Namespace, *s.Spec.Target)
		if err != nil {
			return "", err
		}
		movers.ChoosePods(&work, crew, movers.AssignInput{
			Object: s.UID, Now: in.Now,
			Node:  func(name string) string { return hostOf(hosts, name).Node },
			Begun: func(a *sidecar.Assignment) bool { begun, _ := progressOf(a, s.Status.Components); return begun },
			Fits:  func(p *corev1.Pod, a *sidecar.Assignment) bool { return mountsAll(p, hostOf(hosts, a.Host)) },
		})
		credentials = crew.Credentials
	}
	before := s.DeepCopy()
	if err := movers.Post(s, *s.Spec.Target, work, credentials); err != nil {
		for n, i := range d.Create { // Refuse all of them: there are too many assignments.
			host = hosts[i].Name
			if last := n == len(d.Create)-1; !last { // the caller adds the refusal of the returned host
				movers.Refusals(in.Refused).Set(ctx, host, movers.RefusalOf(err))
			}
		}
		return host, err
	}
	return "", r.writer().Object(ctx, before, s)
}

// withdraw removes assignments whose end the status already holds, and asks the sidecar to stop those that are to be
// given up. Until the status reports the end, too, the assignment stays, so that a manager that is killed in between
// decides the same again. This differs from withdraw in controllers/backupsession on purpose: a backup also withdraws
// what has failed.
func withdraw(work *sidecar.Work, in restore.Input, d restore.Decision) {
	for _, a := range slices.Clone(work.Assignments) {
		name := jobOf(in.Session, &a)
		_, ended := progressOf(&a, in.Session.Status.Components)
		asked := slices.Contains(d.Delete, name)
		switch {
		case ended, asked && a.PodUID == "" && in.Jobs[name].State != observe.StateFailed:
			work.Withdraw(a.Host)
		case asked:
			work.Host(a.Host).AskToStop(in.Now)
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

// mountsAll reports whether the pod mounts the claims of a host's components as the volumes of these names. A pod that
// was created before the workload got other claims would restore into the old ones.
func mountsAll(p *corev1.Pod, h *v1alpha1.ResolvedRestoreHost) bool {
	return len(h.Volumes) > 0 && !slices.ContainsFunc(h.Volumes, func(v v1alpha1.ResolvedRestoreVolume) bool {
		return !workload.MountsAs(p, v.Volume, v.ClaimName)
	})
}

// assign adds the work of a host, without a pod yet. It checks again everything that is checked before a Job is
// created.
func (r *Reconciler) assign(
	ctx context.Context, s *v1alpha1.RestoreSession, work *sidecar.Work, h *v1alpha1.ResolvedRestoreHost, attempt int32,
	in restore.Input,
) error {
	resolved := s.Status.Resolved
	storage, err := movers.AllowedStorage(ctx, r.Client, r.ownerOf(s), s.Namespace, resolved.Repository)
	if err != nil {
		return err
	}
	input, err := r.jobInput(ctx, s, h, s.Status.Components)
	if err != nil {
		return err
	}
	input.Storage, input.Restore.Again = storage, attempt > 1
	version, err := access.Digest(ctx, r.Client, s.Namespace, storage, resolved.Repository.EncryptionSecret)
	if err != nil {
		return namePassword(s, err)
	}
	keys, err := r.keysOf(ctx, s, resolved)
	if err != nil {
		return err
	}
	if err := r.usable(ctx, s, resolved, h, true); err != nil {
		return err
	}
	t := moverjob.RestoreTask(input)
	a := sidecar.Assignment{
		Host: h.Name, Attempt: int(attempt), Since: metav1.NewTime(in.Now).Rfc3339Copy(),
		Within: metav1.Duration{Duration: movers.Timeout(restore.DeadlineOf(s), in.Now)},
	}
	for i, c := range t.Components {
		if !s.Status.Components[c.Name].Phase.Terminal() { // what is done would count as begun
			a.Components = append(a.Components, sidecar.Component{Component: c, Volume: h.Volumes[i].Volume})
		}
	}
	if len(a.Components) == 0 {
		return nil
	}
	work.Task, work.Args = t, resolved.Task.Args[1:]
	work.Keys, work.KeysVersion = keys, version
	work.Assign(a)
	return nil
}

// close releases an ended restore and withdraws the assignments of its sidecars. A restore that is gone is no error. A
// time other than 0 says when to try again, because claims still need what the restore imported for them.
func (r *Reconciler) close(ctx context.Context, s *v1alpha1.RestoreSession) (time.Duration, error) {
	if controllerutil.ContainsFinalizer(s, v1alpha1.FinalizerCancel) {
		after, err := r.dropImports(ctx, s)
		if err != nil {
			return 0, err
		}
		if after > 0 {
			logf.FromContext(ctx).V(1).Info(
				"waits until its claims are bound, because they are made of VolumeSnapshots that it removes",
				"after", after.String())
			return after, nil
		}
	}
	before := s.DeepCopy()
	controllerutil.RemoveFinalizer(s, v1alpha1.FinalizerCancel)
	if s.Spec.Target != nil {
		if err := movers.Post(s, *s.Spec.Target, sidecar.Work{}, ""); err != nil {
			return 0, err
		}
	}
	return 0, client.IgnoreNotFound(r.writer().Object(ctx, before, s))
}
