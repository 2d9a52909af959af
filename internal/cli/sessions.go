package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func loadBackupSessions(ctx context.Context, s scope) (found, error) {
	var list v1alpha1.BackupSessionList
	if err := s.list(ctx, &list, true); err != nil {
		return found{}, err
	}
	newestFirst(list.Items)
	t := &table{
		header:   s.header("NAME", "TARGETS", "PHASE", "REASON", "AGE", "DURATION", "UPLOADED", "POLICY", "RECORD"),
		optional: []string{"REASON"},
	}
	for i := range list.Items {
		b := &list.Items[i]
		t.add(s.cells(b.Namespace, b.Name, targets(b.Status.Targets), phase(string(b.Status.Phase)),
			reason(string(b.Status.Phase), b.Status.Reason),
			age(s.now, &b.CreationTimestamp), took(s.now, b.Status.Duration, b.Status.StartTime, b.Status.CompletionTime),
			uploaded(b.Status.Targets),
			orNone(policyOf(b.Status.Resolved)), orNone(shortRecords(b.Status.Records)))...)
		if s.name == "" {
			continue
		}
		for _, target := range b.Status.Targets {
			t.note("target " + target.Name + ": " + targetState(target))
		}
		if len(b.Status.Targets) == 0 {
			t.note(notReady(b.Status.Conditions))
		}
	}
	return found{objects: objectsOf(list.Items), tables: []*table{t}}, nil
}

func phase(p string) string { return cmp.Or(p, string(v1alpha1.BackupSessionPending)) }

// reason returns the reason of a phase if it says more than the phase.
func reason(phase, reason string) string {
	if reason == phase {
		return ""
	}
	return reason
}

// targets formats how many targets succeeded, out of how many.
func targets(all []v1alpha1.BackupTargetStatus) string {
	if len(all) == 0 {
		return none
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
	return sumSizes(sizes...)
}

func policyOf(resolved *v1alpha1.ResolvedBackup) string {
	if resolved == nil {
		return ""
	}
	return shortRevision(resolved.Policy.Revision)
}

// took formats how long something ran, or has been running.
func took(now time.Time, said string, start, end *metav1.Time) string {
	switch {
	case said != "":
		return said
	case start == nil:
		return none
	case end != nil:
		now = end.Time
	}
	return max(now.Sub(start.Time), 0).Round(time.Second).String()
}

func loadRestoreSessions(ctx context.Context, s scope) (found, error) {
	var list v1alpha1.RestoreSessionList
	if err := s.list(ctx, &list, true); err != nil {
		return found{}, err
	}
	newestFirst(list.Items)
	t := &table{
		header:   s.header("NAME", "TARGET", "SNAPSHOT", "COMPONENT", "PHASE", "REASON", "AGE", "DURATION", "SIZE", "RECORD"),
		optional: []string{"REASON", "COMPONENT"},
	}
	for i := range list.Items {
		r := &list.Items[i]
		snapshot, component := restored(r)
		target := none
		if r.Spec.Target != nil {
			target = r.Spec.Target.String()
		}
		var sizes []string
		for _, c := range r.Status.Components {
			sizes = append(sizes, c.Size)
		}
		t.add(s.cells(r.Namespace, r.Name, target, snapshot, component, phase(string(r.Status.Phase)),
			reason(string(r.Status.Phase), r.Status.Reason),
			age(s.now, &r.CreationTimestamp), took(s.now, r.Status.Duration, r.Status.StartTime, r.Status.CompletionTime),
			sumSizes(sizes...), orNone(shortRecords(r.Status.Records)))...)
		t.note(notReady(r.Status.Conditions))
	}
	return found{objects: objectsOf(list.Items), tables: []*table{t}}, nil
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
		return resolved.Snapshot, someOf(components)
	}
	source := r.Spec.DataSource
	if source == nil {
		return none, ""
	}
	component = someOf(source.Components)
	switch {
	case source.PITR != nil && source.PITR.TargetTime != nil:
		return "by " + source.PITR.TargetTime.UTC().Format(time.RFC3339) + " of " + source.Repository, component
	case source.Snapshot == v1alpha1.LatestSnapshot:
		return source.Snapshot + " of " + source.Repository, component
	}
	return source.Snapshot, component
}

// someOf lists names. If there are many, it lists the first and counts the rest.
func someOf(names []string) string {
	if len(names) > 3 {
		return fmt.Sprintf("%s and %d more", names[0], len(names)-1)
	}
	return strings.Join(names, ",")
}
