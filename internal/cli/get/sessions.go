package get

import (
	"context"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/cli/command"
)

func loadBackupSessions(ctx context.Context, s scope) (resourceView, error) {
	var list v1alpha1.BackupSessionList
	if err := s.list(ctx, &list, true); err != nil {
		return resourceView{}, err
	}
	newestFirst(list.Items)
	t := &command.Table{
		Header:   s.header("NAME", "TARGETS", "PHASE", "REASON", "AGE", "DURATION", "UPLOADED", "POLICY", "RECORD"),
		Optional: []string{"REASON"},
	}
	for i := range list.Items {
		b := &list.Items[i]
		t.Add(s.cells(b.Namespace, b.Name, targets(b.Status.Targets), command.Phase(string(b.Status.Phase)),
			command.Reason(string(b.Status.Phase), b.ShownReason()),
			command.Age(s.now, &b.CreationTimestamp),
			runTime(s.now, b.Status.Duration, b.Status.StartTime, b.Status.CompletionTime),
			uploaded(b.Status.Targets),
			command.OrNone(policyOf(b.Status.Resolved)), command.OrNone(command.ShortRecords(b.Status.Records)))...)
		if s.name == "" {
			continue
		}
		for _, target := range b.Status.Targets {
			t.Note("target " + target.Name + ": " + command.TargetState(target))
		}
		noteHooks(t, command.BackupHookErrors(b))
		t.Note(Lacks(b.Lack()))
		if len(b.Status.Targets) == 0 {
			t.Note(NotReady(b.Status.Conditions))
		}
	}
	return resourceView{objects: objectsOf(list.Items), tables: []*command.Table{t}}, nil
}

// noteHooks adds what failed hooks wrote.
func noteHooks(t *command.Table, parts []command.Part) {
	for _, p := range parts {
		t.Note(p.Name + p.Text)
	}
}

// targets formats how many targets succeeded, out of how many.
func targets(all []v1alpha1.BackupTargetStatus) string {
	if len(all) == 0 {
		return command.None
	}
	succeeded := 0
	for _, t := range all {
		if t.Phase == v1alpha1.BackupSessionSucceeded {
			succeeded++
		}
	}
	return fmt.Sprintf("%d/%d", succeeded, len(all))
}

func uploaded(all []v1alpha1.BackupTargetStatus) string {
	sizes := make([]string, len(all))
	for i, t := range all {
		sizes[i] = t.Uploaded
	}
	return command.SumSizes(sizes...)
}

func policyOf(resolved *v1alpha1.ResolvedBackup) string {
	if resolved == nil {
		return ""
	}
	return command.ShortRevision(resolved.Policy.Revision)
}

// runTime formats how long something ran, or has been running.
func runTime(now time.Time, recorded string, start, end *metav1.Time) string {
	switch {
	case recorded != "":
		return recorded
	case start == nil:
		return command.None
	case end != nil:
		now = end.Time
	}
	return max(now.Sub(start.Time), 0).Round(time.Second).String()
}

func loadRestoreSessions(ctx context.Context, s scope) (resourceView, error) {
	var list v1alpha1.RestoreSessionList
	if err := s.list(ctx, &list, true); err != nil {
		return resourceView{}, err
	}
	newestFirst(list.Items)
	t := &command.Table{
		Header: s.header("NAME", "TARGET", "SNAPSHOT", "COMPONENT", "PHASE", "REASON", "AGE", "DURATION", "SIZE",
			"RECORD"),
		Optional: []string{"REASON", "COMPONENT"},
	}
	for i := range list.Items {
		r := &list.Items[i]
		snapshot, component := restored(r)
		target := command.None
		if r.Spec.Target != nil {
			target = r.Spec.Target.String()
		}
		var sizes []string
		for _, c := range r.Status.Components {
			sizes = append(sizes, c.Size)
		}
		t.Add(s.cells(r.Namespace, r.Name, target, snapshot, component, command.Phase(string(r.Status.Phase)),
			command.Reason(string(r.Status.Phase), r.ShownReason()),
			command.Age(s.now, &r.CreationTimestamp),
			runTime(s.now, r.Status.Duration, r.Status.StartTime, r.Status.CompletionTime),
			command.SumSizes(sizes...), command.OrNone(command.ShortRecords(r.Status.Records)))...)
		t.Note(NotReady(r.Status.Conditions))
		if s.name != "" {
			noteHooks(t, command.RestoreHookErrors(r.Status.Hooks))
			t.Note(Lacks(r.Lack()))
		}
	}
	return resourceView{objects: objectsOf(list.Items), tables: []*command.Table{t}}, nil
}

// restored returns what is restored: as resolved, else as requested.
func restored(r *v1alpha1.RestoreSession) (snapshot, component string) {
	var components []string
	if resolved := r.Status.Resolved; resolved != nil {
		for _, h := range resolved.Hosts {
			for _, v := range h.Volumes {
				components = append(components, v.Component)
			}
		}
		return resolved.Snapshot, abbreviate(components)
	}
	source := r.Spec.DataSource
	if source == nil {
		return command.None, ""
	}
	component = abbreviate(source.Components)
	switch {
	case source.PITR != nil && source.PITR.TargetTime != nil:
		return "by " + source.PITR.TargetTime.UTC().Format(time.RFC3339) + " of " + source.Repository, component
	case source.Snapshot == v1alpha1.LatestSnapshot:
		return source.Snapshot + " of " + source.Repository, component
	}
	return source.Snapshot, component
}

// abbreviate lists names. If there are many, it lists the first and counts the rest.
func abbreviate(names []string) string {
	if len(names) > 3 {
		return fmt.Sprintf("%s and %d more", names[0], len(names)-1)
	}
	return strings.Join(names, ",")
}
