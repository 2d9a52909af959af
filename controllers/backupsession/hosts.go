package backupsession

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/workload"
)

// namespaceState is the state from which all targets of a namespace are resolved. It is read past the cache: a manager
// that caches every pod of the cluster would need memory for all of them, only to look at each a few times a day.
type namespaceState struct {
	pods       []corev1.Pod
	claims     []corev1.PersistentVolumeClaim
	restores   []v1alpha1.RestoreSession
	batches    []v1alpha1.RestoreBatch
	privileged bool
}

func (r *resolution) state(ctx context.Context) (*namespaceState, error) {
	if r.namespace != nil {
		return r.namespace, nil
	}
	in := client.InNamespace(r.session.Namespace)
	var pods corev1.PodList
	if err := r.APIReader.List(ctx, &pods, in); err != nil {
		return nil, fmt.Errorf("list Pods: %w", err)
	}
	var claims corev1.PersistentVolumeClaimList
	if err := r.APIReader.List(ctx, &claims, in); err != nil {
		return nil, fmt.Errorf("list PersistentVolumeClaims: %w", err)
	}
	restores, err := r.restores(ctx, r.session.Namespace)
	if err != nil {
		return nil, err
	}
	var batches v1alpha1.RestoreBatchList
	if err := r.APIReader.List(ctx, &batches, in); err != nil {
		return nil, fmt.Errorf("list RestoreBatches: %w", err)
	}
	privileged, err := access.Privileged(ctx, r.Client, r.session.Namespace)
	if err != nil {
		return nil, err
	}
	r.namespace = &namespaceState{
		pods: pods.Items, claims: claims.Items, restores: restores, batches: batches.Items,
		privileged: privileged,
	}
	return r.namespace, nil
}

// hosts resolves which Jobs back up a target. It refuses a volume that a restore writes into.
func (r *resolution) hosts(
	ctx context.Context, app v1alpha1.TypedObjectReference, moving *targetInput, resolved *v1alpha1.ResolvedTarget,
) ([]v1alpha1.ResolvedHost, *v1alpha1.ResolvedError, error) {
	state, err := r.state(ctx)
	if err != nil {
		return nil, nil, err
	}
	t := workload.Target{
		Pods: state.pods, Claims: state.claims, Paths: moving.params[workload.ParamPaths], Job: resolved.Task.Job,
		Privileged: state.privileged,
		Singleton:  resolved.Task.Singleton, Sidecar: workload.IsSidecar(resolved),
		VolumeSnapshots: backup.IsVolumeSnapshots(resolved), Copied: moving.copied,
		AwaitNodes: r.Clock.Now().Before(r.start.Until(run.WaitForNode)),
	}
	if moving.database != nil {
		by := restore.RestoreIntoDatabase(state.restores, moving.database.UID(), resolved.Task.Database, "")
		if by != nil {
			return nil, &v1alpha1.ResolvedError{
				Reason:  v1alpha1.ReasonRestoreInProgress,
				Message: fmt.Sprintf("RestoreSession %s writes into %s", by.Name, app),
			}, nil
		}
		if batch := restore.BatchRestoring(state.batches, app); batch != nil {
			return nil, &v1alpha1.ResolvedError{
				Reason:  v1alpha1.ReasonRestoreInProgress,
				Message: fmt.Sprintf("RestoreBatch %s restores %s", batch.Name, app),
			}, nil
		}
		t.Streams = moving.streams
		t.Server, t.ServerContainer = moving.database.Location.Pod, moving.database.Location.Container
		hosts, refusal := resolveHosts(t, state)
		return hosts, refusal, nil
	}
	object := objectOf(&t, app.Kind)
	if object == nil {
		return nil, &v1alpha1.ResolvedError{
			Reason:  v1alpha1.ReasonTargetNotFound,
			Message: fmt.Sprintf("%s is of a kind that can't be backed up", app),
		}, nil
	}
	err = read.Get(ctx, r.APIReader, client.ObjectKey{Namespace: r.session.Namespace, Name: app.Name}, object)
	if apierrors.IsNotFound(err) {
		return nil, &v1alpha1.ResolvedError{
			Reason:  v1alpha1.ReasonTargetNotFound,
			Message: fmt.Sprintf("there is no %s", app),
		}, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("get %s: %w", app, err)
	}
	if batch := restore.BatchRestoring(state.batches, app); batch != nil {
		return nil, &v1alpha1.ResolvedError{
			Reason:  v1alpha1.ReasonRestoreInProgress,
			Message: fmt.Sprintf("RestoreBatch %s restores %s", batch.Name, app),
		}, nil
	}
	hosts, refusal := resolveHosts(t, state)
	if refusal == nil && t.VolumeSnapshots {
		refusal, err = r.planVolumeSnapshots(ctx, hosts, moving.params)
	}
	return hosts, refusal, err
}

// resolveHosts resolves the hosts and refuses those whose volumes a restore writes into now.
func resolveHosts(t workload.Target, state *namespaceState) ([]v1alpha1.ResolvedHost, *v1alpha1.ResolvedError) {
	hosts, refusal := workload.ResolveHosts(t)
	for i := range hosts {
		if refusal == nil {
			refusal = restoreInto(state.restores, &hosts[i])
		}
	}
	return hosts, refusal
}

// objectOf returns the empty object of t to read the target into. It returns nil for an unknown kind.
func objectOf(t *workload.Target, kind string) client.Object {
	switch kind {
	case v1alpha1.KindPersistentVolumeClaim:
		t.Claim = &corev1.PersistentVolumeClaim{}
		return t.Claim
	case v1alpha1.KindDeployment:
		t.Deployment = &appsv1.Deployment{}
		return t.Deployment
	case v1alpha1.KindStatefulSet:
		t.StatefulSet = &appsv1.StatefulSet{}
		return t.StatefulSet
	case v1alpha1.KindDaemonSet:
		t.DaemonSet = &appsv1.DaemonSet{}
		return t.DaemonSet
	default:
		return nil
	}
}

// restores returns the restores of a namespace. It reads past the cache, because a session must not back up a volume
// that a restore is writing.
func (r *Reconciler) restores(ctx context.Context, namespace string) ([]v1alpha1.RestoreSession, error) {
	var list v1alpha1.RestoreSessionList
	if err := r.APIReader.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("list RestoreSessions: %w", err)
	}
	return list.Items, nil
}

// restoreOnto returns a refusal if one of the restores writes now into what the host of a frozen target reads.
func restoreOnto(
	restores []v1alpha1.RestoreSession, t *v1alpha1.ResolvedTarget, h *v1alpha1.ResolvedHost,
) *v1alpha1.ResolvedError {
	if t.AppRef.IsDatabase() {
		if r := restore.RestoreIntoTarget(restores, t.AppRef, t.Task.Database); r != nil {
			return &v1alpha1.ResolvedError{
				Reason:  v1alpha1.ReasonRestoreInProgress,
				Message: fmt.Sprintf("RestoreSession %s writes into %s", r.Name, t.AppRef),
			}
		}
	}
	return restoreInto(restores, h)
}

// restoreInto returns a refusal if one of the restores writes into a volume of the host now.
func restoreInto(restores []v1alpha1.RestoreSession, h *v1alpha1.ResolvedHost) *v1alpha1.ResolvedError {
	for _, v := range h.Volumes {
		if v.ClaimName == "" {
			continue
		}
		if restore := restore.RestoreInto(restores, v.ClaimName, ""); restore != nil {
			return &v1alpha1.ResolvedError{
				Reason: v1alpha1.ReasonRestoreInProgress,
				Message: fmt.Sprintf("RestoreSession %s writes into PersistentVolumeClaim %s", restore.Name,
					v.ClaimName),
			}
		}
	}
	return nil
}

// places finds the nodes of Jobs again, past the cache: see Mover.FindsNodeAgain. claims are those of the namespace.
type places struct {
	*Reconciler
	in     backup.Input
	claims map[string]*corev1.PersistentVolumeClaim
	pods   *corev1.PodList
}

// of returns the host of a mover with the node that it has now. A refusal says which pod is about to move: then the Job
// has to wait. The frozen host stays as it is, so each look at the Job that is still to be made finds the node again.
func (p *places) of(
	ctx context.Context, m backup.Mover,
) (*v1alpha1.ResolvedHost, *v1alpha1.ResolvedError, error) {
	if !m.FindsNodeAgain(p.in.Session) {
		return m.Host, nil, nil
	}
	if p.pods == nil {
		var list corev1.PodList
		if err := p.APIReader.List(ctx, &list, client.InNamespace(p.in.Session.Namespace)); err != nil {
			return nil, nil, fmt.Errorf("list Pods: %w", err)
		}
		p.pods = &list
	}
	limit := backup.WaitsPerPod(p.in.Snapshots[m.Repository.Snapshot], p.in.Now)
	node, moving := workload.NodeAgain(m.Host, p.claims, p.pods.Items, p.Clock.Now(), limit)
	if moving != nil {
		logf.FromContext(ctx).V(1).Info("waits for a pod that is about to move", "job", m.Name, "message",
			moving.Message)
		return nil, moving, nil
	}
	host := m.Host.DeepCopy()
	host.Node = node
	return host, nil, nil
}
