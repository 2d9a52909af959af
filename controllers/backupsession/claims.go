package backupsession

import (
	"context"
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/task/observe"
	"github.com/cairn-backup/cairn/internal/workload"
)

// exclusiveClaims are the claims of the target that the Job of a mover mounts, by how few can mount them.
type exclusiveClaims struct {
	// onePod are those that one pod can mount.
	onePod []string
	// oneNode are those that the pods of one node can mount.
	oneNode []string
}

// claims returns the claims of a namespace by name. Nobody changes the access modes of a claim, so they need not be
// frozen.
func (r *Reconciler) claims(ctx context.Context, namespace string) (map[string]*corev1.PersistentVolumeClaim, error) {
	var list corev1.PersistentVolumeClaimList
	if err := r.APIReader.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("list PersistentVolumeClaims: %w", err)
	}
	out := map[string]*corev1.PersistentVolumeClaim{}
	for i := range list.Items {
		out[list.Items[i].Name] = &list.Items[i]
	}
	return out, nil
}

// exclusive returns what the Job of a mover must not mount beside just any other Job.
func exclusive(m backup.Mover, claims map[string]*corev1.PersistentVolumeClaim) exclusiveClaims {
	var out exclusiveClaims
	for i := range m.Host.Volumes {
		v := &m.Host.Volumes[i]
		claim := claims[v.ClaimName]
		switch {
		case claim == nil || !v.Mounted() || m.Target.CopyOf(v.ClaimName) != nil:
		case slices.Contains(claim.Spec.AccessModes, corev1.ReadWriteOncePod):
			out.onePod = append(out.onePod, claim.Name)
		case !workload.IsShared(claim):
			out.oneNode = append(out.oneNode, claim.Name)
		}
	}
	return out
}

// taker returns the name of another Job of Cairn that has one of the claims, or "": one of this run, of another run, or
// of a hook. A Job counts as long as its pod works or can still come, by the limits that its own run has for that.
func (r *Reconciler) taker(ctx context.Context, namespace, name string, claims []string) (string, error) {
	in, ours := client.InNamespace(namespace), client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn}
	var jobs batchv1.JobList
	if err := r.APIReader.List(ctx, &jobs, in, ours); err != nil {
		return "", fmt.Errorf("list Jobs: %w", err)
	}
	others := slices.DeleteFunc(jobs.Items, func(job batchv1.Job) bool {
		return job.Name == name || observe.Ended(&job) ||
			!slices.ContainsFunc(job.Spec.Template.Spec.Volumes, func(v corev1.Volume) bool {
				return v.PersistentVolumeClaim != nil && slices.Contains(claims, v.PersistentVolumeClaim.ClaimName)
			})
	})
	if len(others) == 0 {
		return "", nil
	}
	var pods corev1.PodList
	if err := r.APIReader.List(ctx, &pods, in, ours); err != nil {
		return "", fmt.Errorf("list Pods: %w", err)
	}
	for i := range others {
		switch observe.Observe(&others[i], pods.Items, r.Clock.Now()).State {
		case observe.StateWaiting, observe.StateRunning:
			return others[i].Name, nil
		}
	}
	return "", nil
}
