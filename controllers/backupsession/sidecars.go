package backupsession

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
	"github.com/cairn-backup/cairn/internal/task/observe"
	"github.com/cairn-backup/cairn/internal/workload"
)

// sidecarRefusal explains why a sidecar can't carry out what was resolved. It returns nil for a target of Jobs.
func (r *resolution) sidecarRefusal(ctx context.Context, t *v1alpha1.ResolvedTarget) (*v1alpha1.ResolvedError, error) {
	if !workload.IsSidecar(t) {
		return nil, nil
	}
	if refusal := sidecar.TaskRefusal(&t.Task, task.KindBackup); refusal != nil {
		return refusal, nil
	}
	for _, repo := range t.Repositories {
		var storage v1alpha1.BackupStorage
		err := r.Get(ctx, client.ObjectKey{Namespace: repo.StorageRef.Namespace, Name: repo.StorageRef.Name}, &storage)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("get BackupStorage %s: %w", repo.StorageRef.Name, err)
		}
		if refusal := sidecar.StorageRefusal(&storage); refusal != nil {
			return refusal, nil
		}
	}
	return nil, nil
}

// observeSidecars adds the assignments of sidecars to in.Jobs.
func (r *Reconciler) observeSidecars(ctx context.Context, in *backup.Input) error {
	crews := sidecarPods{Reconciler: r, namespace: in.Session.Namespace}
	for i := range in.Session.Status.Resolved.Targets {
		t := &in.Session.Status.Resolved.Targets[i]
		for _, repo := range t.Repositories {
			snap := in.Snapshots[repo.Snapshot]
			if snap == nil || !workload.IsSidecar(t) {
				continue
			}
			work := movers.ReadSidecarWork(snap)
			for j := range work.Assignments {
				crew, err := crews.of(ctx, t)
				if err != nil {
					return err
				}
				a := &work.Assignments[j]
				begun, _ := progressOf(a, snap.Status)
				in.Jobs[run.JobName(snap.Name, a.Host, a.Attempt)] = crew.Observe(snap.UID, a, begun, in.Now)
			}
		}
	}
	return nil
}

// progressOf reports whether a component of an assignment has begun, and whether all have ended.
func progressOf(a *sidecar.Assignment, status v1alpha1.SnapshotStatus) (begun, ended bool) {
	ended = true
	for _, component := range a.Components {
		phase := status.Components[component.Name].Phase
		begun = begun || phase == v1alpha1.SnapshotRunning || phase.Terminal()
		ended = ended && phase.Terminal()
	}
	return begun, ended
}

// sidecarPods finds the pods of workloads, each workload once.
type sidecarPods struct {
	*Reconciler
	namespace string
	found     map[string]*run.SidecarPods
}

func (c *sidecarPods) of(ctx context.Context, t *v1alpha1.ResolvedTarget) (*run.SidecarPods, error) {
	if crew := c.found[t.Name]; crew != nil {
		return crew, nil
	}
	crew, err := movers.FindSidecarPods(ctx, c.Client, c.APIReader, c.namespace, t.AppRef)
	if err != nil {
		return nil, err
	}
	if c.found == nil {
		c.found = map[string]*run.SidecarPods{}
	}
	c.found[t.Name] = crew
	return crew, nil
}

// writeSidecars writes the decision to the sidecars: their assignments, what to stop and what to withdraw. If an
// assignment is impossible, it adds the reason to refused.
func (r *Reconciler) writeSidecars(
	ctx context.Context, in backup.Input, d backup.Decision, refused movers.Refusals,
) error {
	crews := sidecarPods{Reconciler: r, namespace: in.Session.Namespace}
	for i := range in.Session.Status.Resolved.Targets {
		t := &in.Session.Status.Resolved.Targets[i]
		if !workload.IsSidecar(t) {
			continue
		}
		for j := range t.Repositories {
			snap := in.Snapshots[t.Repositories[j].Snapshot]
			if snap == nil {
				continue
			}
			if err := r.writeSidecar(ctx, in, d, t, snap, &crews, refused); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeSidecar does what writeSidecars does for one Snapshot.
func (r *Reconciler) writeSidecar(
	ctx context.Context, in backup.Input, d backup.Decision, t *v1alpha1.ResolvedTarget, snap *v1alpha1.Snapshot,
	crews *sidecarPods, refused movers.Refusals,
) error {
	work := movers.ReadSidecarWork(snap)
	withdraw(&work, in, d, snap)
	for _, m := range d.Create {
		if m.Repository.Snapshot != snap.Name || refused[snap.Name] != nil {
			continue
		}
		err := r.assign(ctx, in, &work, snap, m)
		if refusal := movers.RefusalOf(err); refusal != nil {
			refused.Set(ctx, snap.Name, refusal)
			return nil // the next decision takes the refusal into account before anything is assigned
		} else if err != nil {
			return err
		}
	}
	credentials := ""
	if len(work.Assignments) > 0 {
		crew, err := crews.of(ctx, t)
		if err != nil {
			return err
		}
		movers.ChoosePods(&work, crew, movers.AssignInput{
			Object: snap.UID, Now: in.Now,
			Node:  func(host string) string { return hostOf(t, host).Node },
			Begun: func(a *sidecar.Assignment) bool { begun, _ := progressOf(a, snap.Status); return begun },
			Fits:  func(p *corev1.Pod, a *sidecar.Assignment) bool { return workload.Mounted(p, hostOf(t, a.Host)) },
		})
		credentials = crew.Credentials
	}
	before := snap.DeepCopy()
	if err := movers.Post(snap, t.AppRef, work, credentials); err != nil {
		refused.Set(ctx, snap.Name, movers.RefusalOf(err))
		return nil
	}
	return r.writer().Object(ctx, before, snap)
}

// withdraw removes assignments that ended or are given up, and asks the sidecar to stop those that are to be given up.
// This differs from withdraw in controllers/restoresession on purpose: a restore keeps an assignment that failed until
// its status reports the end, so that the manager decides the same again after it was killed.
func withdraw(work *sidecar.Work, in backup.Input, d backup.Decision, snap *v1alpha1.Snapshot) {
	for _, a := range slices.Clone(work.Assignments) {
		name := run.JobName(snap.Name, a.Host, a.Attempt)
		_, ended := progressOf(&a, snap.Status)
		asked := slices.Contains(d.Delete, name)
		switch {
		case ended, asked && (a.PodUID == "" || in.Jobs[name].State == observe.StateFailed):
			work.Withdraw(a.Host)
		case asked:
			work.Host(a.Host).AskToStop(in.Now)
		}
	}
}

func hostOf(t *v1alpha1.ResolvedTarget, name string) *v1alpha1.ResolvedHost {
	for i := range t.Hosts {
		if t.Hosts[i].Name == name {
			return &t.Hosts[i]
		}
	}
	return &v1alpha1.ResolvedHost{}
}

// owner says whose Repositories a run of a namespace works with.
func (r *Reconciler) owner(namespace string) movers.Owner {
	return movers.Owner{Cluster: r.ClusterName, Namespace: namespace}
}

// assign adds the work of a host, without a pod yet. Everything comes from the frozen session, except that the
// storage's usagePolicy is checked again.
func (r *Reconciler) assign(
	ctx context.Context, in backup.Input, work *sidecar.Work, snap *v1alpha1.Snapshot, m backup.Mover,
) error {
	namespace := in.Session.Namespace
	storage, err := movers.AllowedStorage(ctx, r.Client, r.owner(namespace), namespace, *m.Repository)
	if err != nil {
		return err
	}
	version, err := access.Digest(ctx, r.Client, namespace, storage, m.Repository.EncryptionSecret)
	if err != nil {
		return err
	}
	t := moverjob.BackupTask(moverjob.BackupJobInput{
		Session: in.Session, Snapshot: snap, Target: *m.Target, Host: *m.Host, Repository: *m.Repository,
		Storage:    storage,
		ClusterUID: r.ClusterUID, Egress: r.Egress.Rules(),
	})
	a := sidecar.Assignment{
		Host: m.Host.Name, Attempt: m.Attempt, Since: metav1.NewTime(in.Now).Rfc3339Copy(),
		Within: metav1.Duration{Duration: movers.Timeout(backup.DeadlineOf(in.Session, m.Target.Name), in.Now)},
	}
	for i, c := range t.Components {
		if !snap.Status.Components[c.Name].Phase.Terminal() { // what is done would count as begun
			a.Components = append(a.Components, sidecar.Component{Component: c, Volume: m.Host.Volumes[i].Volume})
		}
	}
	if len(a.Components) == 0 {
		return nil
	}
	work.Task, work.Args = t, m.Target.Task.Args[1:]
	work.Keys, work.KeysVersion = sidecar.KeysOf(namespace, m.Repository.Name), version
	work.Assign(a)
	return nil
}
