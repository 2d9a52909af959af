package sidecar

import (
	"context"
	"fmt"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/sidecar"
)

// wait leaves the sidecar and its keys as they are while it restores: a change would replace the pods, and a restore
// that nobody continues leaves volumes half-written. Restores have a deadline; a backup simply begins again.
func (r *Reconciler) wait(ctx context.Context, l *looking, d *sidecar.Decision) error {
	if l.found.Image == "" || d.Action != sidecar.Inject && d.Action != sidecar.Remove {
		return nil
	}
	var restores v1alpha1.RestoreSessionList
	if err := r.List(ctx, &restores, client.InNamespace(l.workload.GetNamespace()),
		client.MatchingLabels{v1alpha1.LabelSidecar: l.workload.id}); err != nil {
		return fmt.Errorf("list RestoreSessions of %s: %w", l.workload.describe(), err)
	}
	i := slices.IndexFunc(restores.Items, func(s v1alpha1.RestoreSession) bool {
		work, err := sidecar.Decode(s.Annotations[v1alpha1.AnnotationSidecarTask])
		return err == nil && !v1alpha1.HasRecordAnnotation(s.Annotations) &&
			slices.ContainsFunc(work.Assignments, func(a sidecar.Assignment) bool { return a.PodUID != "" })
	})
	if i < 0 {
		return nil
	}
	l.refuse(v1alpha1.ReasonSidecarRolloutInProgress, "the sidecar of %s changes once RestoreSession %s has ended",
		l.workload.describe(), restores.Items[i].Name)
	l.lookAgain(rolloutInterval)
	l.wanted.unknown, d.Action = true, sidecar.Leave
	return nil
}

// opposed reports whether somebody removes or changes the sidecar again and again.
func (r *Reconciler) opposed(l *looking) bool {
	now := r.Clock.Now()
	until, ok := l.state.Restore(now)
	if ok {
		return false
	}
	l.lookAgain(until.Sub(now))
	l.refuse(v1alpha1.ReasonSidecarNotPossible,
		"some other writer removes or changes the sidecar of %s each time that Cairn adds it: make that writer apply only "+
			"its own fields (server-side apply), or set executor Job",
		l.workload.describe())
	return true
}
