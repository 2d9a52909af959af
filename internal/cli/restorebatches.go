package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func loadRestoreBatches(ctx context.Context, s scope) (found, error) {
	var list v1alpha1.RestoreBatchList
	if err := s.list(ctx, &list, true); err != nil {
		return found{}, err
	}
	newestFirst(list.Items)
	t := &table{
		header:   s.header("NAME", "BATCH", "RESTORE-POINT", "TARGETS", "PHASE", "REASON", "AGE", "DURATION", "RECORD"),
		optional: []string{"REASON"},
	}
	for i := range list.Items {
		b := &list.Items[i]
		t.add(s.cells(b.Namespace, b.Name, b.Spec.DataSource.BackupBatch, restorePoint(b), restoredTargets(b),
			phase(string(b.Status.Phase)), reason(string(b.Status.Phase), b.Status.Reason), age(s.now, &b.CreationTimestamp),
			took(s.now, b.Status.Duration, b.Status.StartTime, b.Status.CompletionTime),
			orNone(shortRecords(b.Status.Records)))...)
		if s.name == "" {
			continue
		}
		for _, target := range b.Status.Targets {
			t.note("target " + target.Name + ": " + restoredTargetState(target))
		}
		for i := range b.Status.ScaledDown {
			if w := &b.Status.ScaledDown[i]; w.Message != "" {
				t.note(w.String() + ": " + w.Message)
			}
		}
		if len(b.Status.Targets) == 0 {
			t.note(notReady(b.Status.Conditions))
		}
	}
	return found{objects: objectsOf(list.Items), tables: []*table{t}}, nil
}

// restorePoint returns the restore point as resolved, else as requested.
func restorePoint(b *v1alpha1.RestoreBatch) string {
	source := &b.Spec.DataSource
	switch {
	case b.Status.Resolved != nil:
		return cmp.Or(b.Status.RestorePoint, "several")
	case source.PITR != nil && source.PITR.TargetTime != nil:
		return "by " + source.PITR.TargetTime.UTC().Format(time.RFC3339)
	default:
		return source.BackupSession
	}
}

// restoredTargets formats how many targets are restored, out of how many.
func restoredTargets(b *v1alpha1.RestoreBatch) string {
	restored := 0
	for _, t := range b.Status.Targets {
		if t.Phase == v1alpha1.RestoreSessionSucceeded || t.Phase == v1alpha1.RestoreSessionSkipped {
			restored++
		}
	}
	return fmt.Sprintf("%d/%d", restored, len(b.Spec.Targets))
}

// restoredTargetState describes how a target of a RestoreBatch is doing.
func restoredTargetState(t v1alpha1.RestoreTargetStatus) string {
	state := strings.ToLower(phase(string(t.Phase)))
	if t.Phase == v1alpha1.RestoreSessionSucceeded {
		return state + ", Snapshot " + t.Snapshot
	}
	return state + because(string(t.Phase), t.Reason, t.Message)
}
