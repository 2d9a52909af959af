package backupsession

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/workload"
)

// markHalfRestored marks the Snapshot of a target that a restore has left half written: latest must not take it without
// a word. It reads past the cache, after the run was frozen: from then on no restore begins to write.
func (r *Reconciler) markHalfRestored(
	ctx context.Context, from look, s *v1alpha1.BackupSession, t *v1alpha1.ResolvedTarget, snap *v1alpha1.Snapshot,
) error {
	by, err := r.halfRestored(ctx, from, s.Namespace, t)
	if by != "" {
		snap.Annotations[v1alpha1.AnnotationHalfRestored] = by
	}
	return err
}

// halfRestored returns the name of a RestoreSession that has left a claim, or the database, of a target half written.
// It returns "" if there is none.
func (r *Reconciler) halfRestored(
	ctx context.Context, from look, namespace string, t *v1alpha1.ResolvedTarget,
) (string, error) {
	names := workload.ClaimsOf(t.Hosts)
	if t.AppRef.IsDatabase() {
		by, err := r.halfRestoredDatabase(ctx, namespace, t)
		if by != "" || err != nil {
			return by, err
		}
		// A physical backup is restored into the claim of a server, whatever then backs up the server.
		files, err := r.claimsOfServer(ctx, namespace, t)
		if err != nil {
			return "", err
		}
		names = append(names, files...)
	}
	if len(names) == 0 {
		return "", nil
	}
	claims, err := from.claims(names)
	if err != nil {
		return "", err
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if claim := claims[name]; claim != nil {
			if by := restore.HalfRestored(claim.Annotations, claim.UID); by != "" {
				return by, nil
			}
		}
	}
	return "", nil
}

// halfRestoredDatabase returns what halfRestored returns, for the database alone.
func (r *Reconciler) halfRestoredDatabase(
	ctx context.Context, namespace string, t *v1alpha1.ResolvedTarget,
) (string, error) {
	database, refusal, err := read.DatabaseObject(ctx, r.APIReader, namespace, t.AppRef)
	if refusal != nil || err != nil {
		return "", err
	}
	mark, err := read.DatabaseMark(ctx, r.APIReader, namespace, database.GetUID())
	if mark == nil || err != nil {
		return "", err
	}
	return restore.HalfRestored(mark.Annotations, database.GetUID()), nil
}

// claimsOfServer returns the claims of the pod of a frozen database. It returns none where the pod is unknown or gone.
// The manager may list pods, but not get one.
func (r *Reconciler) claimsOfServer(
	ctx context.Context, namespace string, t *v1alpha1.ResolvedTarget,
) ([]string, error) {
	if t.Task.Database == nil {
		return nil, nil
	}
	name, known := strings.CutPrefix(t.Task.Database.Server, "Pod/")
	if !known {
		return nil, nil
	}
	var pods corev1.PodList
	err := r.APIReader.List(ctx, &pods, client.InNamespace(namespace), client.MatchingFields{"metadata.name": name})
	if err != nil {
		return nil, fmt.Errorf("list Pod %s: %w", name, err)
	}
	var out []string
	for i := range pods.Items {
		out = append(out, workload.ClaimsOfPod(&pods.Items[i])...)
	}
	return out, nil
}

// halfRestoredMessage explains a Snapshot of a half restored target. half is what restore.HalfRestoredOf says.
func halfRestoredMessage(half string) string {
	return fmt.Sprintf("%s: a restore of latest or by pitr is refused until it names a Snapshot. Restore the target "+
		"again; if its data is right, remove the annotation %s from the PersistentVolumeClaim, or from the Lease of "+
		"the database, and, as an administrator of the cluster, from this Snapshot",
		half, v1alpha1.AnnotationHalfRestored)
}
