package get

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/cli/command"
)

func loadRestoreBatches(ctx context.Context, s scope) (resourceView, error) {
	var list v1alpha1.RestoreBatchList
	if err := s.list(ctx, &list, true); err != nil {
		return resourceView{}, err
	}
	newestFirst(list.Items)
	t := &command.Table{
		Header:   s.header("NAME", "BATCH", "RESTORE-POINT", "TARGETS", "PHASE", "REASON", "AGE", "DURATION", "RECORD"),
		Optional: []string{"REASON"},
	}
	for i := range list.Items {
		b := &list.Items[i]
		t.Add(s.cells(b.Namespace, b.Name, b.Spec.DataSource.BackupBatch, restorePoint(b), restoredTargets(b),
			command.Phase(string(b.Status.Phase)),
			command.Reason(string(b.Status.Phase), b.ShownReason()),
			command.Age(s.now, &b.CreationTimestamp),
			runTime(s.now, b.Status.Duration, b.Status.StartTime, b.Status.CompletionTime),
			command.OrNone(command.ShortRecords(b.Status.Records)))...)
		if s.name == "" {
			continue
		}
		for _, target := range b.Status.Targets {
			t.Note("target " + target.Name + ": " + RestoredTargetState(target))
		}
		noteHooks(t, command.RestoreHookErrors(b.Status.Hooks))
		t.Note(Lacks(b.Lack()))
		for i := range b.Status.ScaledDown {
			if w := &b.Status.ScaledDown[i]; w.Message != "" {
				t.Note(w.String() + ": " + w.Message)
			}
		}
		if len(b.Status.Targets) == 0 {
			t.Note(NotReady(b.Status.Conditions))
		}
	}
	return resourceView{objects: objectsOf(list.Items), tables: []*command.Table{t}}, nil
}

// restorePoint returns the restore point as resolved, else as requested.
func restorePoint(b *v1alpha1.RestoreBatch) string {
	source := &b.Spec.DataSource
	switch {
	case b.Status.Resolved != nil && b.Status.Phase != v1alpha1.RestoreSessionSkipped:
		return cmp.Or(b.Status.RestorePoint, "several")
	case source.PITR != nil && source.PITR.TargetTime != nil:
		return "by " + source.PITR.TargetTime.UTC().Format(time.RFC3339)
	default:
		return source.BackupSession
	}
}

// restoredTargets formats how many targets are restored, out of how many. One that was skipped is not: another restore
// filled it, and nobody has looked at it since.
func restoredTargets(b *v1alpha1.RestoreBatch) string {
	restored := 0
	for _, t := range b.Status.Targets {
		if t.Phase == v1alpha1.RestoreSessionSucceeded {
			restored++
		}
	}
	return fmt.Sprintf("%d/%d", restored, len(b.Spec.Targets))
}

// RestoredTargetState describes how a target of a RestoreBatch is doing.
func RestoredTargetState(t v1alpha1.RestoreTargetStatus) string {
	state := strings.ToLower(command.Phase(string(t.Phase)))
	if t.Phase == v1alpha1.RestoreSessionSucceeded {
		return state + ", Snapshot " + t.Snapshot
	}
	return state + command.ReasonText(string(t.Phase), t.Reason, t.Message)
}
