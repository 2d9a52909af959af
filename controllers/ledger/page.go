package ledger

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/ledger"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/schedule"
)

// defaultTimeout is how long a run is allowed to take if its session has no timeout.
const defaultTimeout = 6 * time.Hour

// invoker identifies a policy object.
type invoker struct{ namespace, kind, name string }

// history sums up the existing runs of one invoker.
type history struct {
	success, ended     time.Time
	result, reason     string
	successesBySession map[string]time.Time // the slot of the last successful run
	endsBySession      map[string]time.Time // when the last successful run ended
}

// page renders STATUS.md from the policies and runs of the namespaces that the Ledger records.
func (r *Reconciler) page(ctx context.Context, l *v1alpha1.Ledger) ([]byte, error) {
	r.memories.rendered(client.ObjectKeyFromObject(l))
	m, err := newMatcher(l)
	if err != nil {
		return nil, err
	}
	runs, err := r.histories(ctx, m)
	if err != nil {
		return nil, err
	}
	var batches v1alpha1.BackupBatchList
	if err := r.List(ctx, &batches, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list BackupBatches: %w", err)
	}
	var configurations v1alpha1.BackupConfigurationList
	if err := r.List(ctx, &configurations, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list BackupConfigurations: %w", err)
	}
	p := pageBuilder{matcher: m, namespaces: namespaceLabels{client: r.Client}, runs: runs, now: r.Clock.Now()}
	for i := range batches.Items {
		b := &batches.Items[i]
		var targets []string
		for _, t := range policy.KnownTargets(b) {
			targets = append(targets, t.AppRef.String())
		}
		var sessions []v1alpha1.SessionConfig
		for _, s := range b.Spec.Sessions {
			sessions = append(sessions, s.SessionConfig)
		}
		if err := p.add(ctx, v1alpha1.BackupBatchKind, &b.ObjectMeta, targets, sessions, b.Status.Sessions,
			b.Spec.Paused); err != nil {
			return nil, err
		}
	}
	for i := range configurations.Items {
		c := &configurations.Items[i]
		if c.Labels[v1alpha1.LabelBatch] != "" {
			continue // its batch has a row
		}
		var targets []string
		if c.Spec.Target != nil {
			targets = append(targets, c.Spec.Target.String())
		}
		var sessions []v1alpha1.SessionConfig
		for _, s := range c.Spec.Sessions {
			sessions = append(sessions, s.SessionConfig)
		}
		if err := p.add(ctx, v1alpha1.BackupConfigurationKind, &c.ObjectMeta, targets, sessions, c.Status.Sessions,
			c.Spec.Paused); err != nil {
			return nil, err
		}
	}
	return ledger.Page(l.Spec.ClusterName, p.rows), nil
}

// histories reads the ended runs.
func (r *Reconciler) histories(ctx context.Context, m matcher) (map[invoker]*history, error) {
	var list v1alpha1.BackupSessionList
	if err := r.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list BackupSessions: %w", err)
	}
	out := map[invoker]*history{}
	for i := range list.Items {
		s := &list.Items[i]
		if !s.Status.Phase.Terminal() || v1alpha1.HasRecordAnnotation(s.Annotations) ||
			!m.sessions.Matches(labelsOf(s)) {
			continue
		}
		key := invoker{s.Namespace, s.Spec.Invoker.Kind, s.Spec.Invoker.Name}
		h := out[key]
		if h == nil {
			h = &history{successesBySession: map[string]time.Time{}, endsBySession: map[string]time.Time{}}
			out[key] = h
		}
		h.add(s)
	}
	return out, nil
}

func (h *history) add(s *v1alpha1.BackupSession) {
	slot, ended := s.CreationTimestamp.Time, s.CreationTimestamp.Time
	if t := s.Spec.ScheduledTime; t != nil {
		slot = t.Time
	}
	if t := s.Status.CompletionTime; t != nil {
		ended = t.Time
	}
	// If two runs ended at the same time, the result must not depend on the order of the list.
	result, reason := string(s.Status.Phase), s.Status.Reason
	if ended.After(h.ended) || ended.Equal(h.ended) && result+reason > h.result+h.reason {
		h.ended, h.result, h.reason = ended, result, reason
	}
	if s.Status.Phase != v1alpha1.BackupSessionSucceeded {
		return
	}
	h.success = later(h.success, ended)
	h.endsBySession[s.Spec.Session] = later(h.endsBySession[s.Spec.Session], ended)
	if slot.After(h.successesBySession[s.Spec.Session]) {
		h.successesBySession[s.Spec.Session] = slot
	}
}

// pageBuilder collects the rows of the page.
type pageBuilder struct {
	matcher    matcher
	namespaces namespaceLabels
	runs       map[invoker]*history
	now        time.Time
	rows       []ledger.Policy
}

func (p *pageBuilder) add(
	ctx context.Context, kind string, o *metav1.ObjectMeta, targets []string, sessions []v1alpha1.SessionConfig,
	status []v1alpha1.SessionStatus, paused bool,
) error {
	h := p.runs[invoker{o.Namespace, kind, o.Name}]
	// With a selector the Ledger records only some sessions: it leaves out a policy without any of them.
	if o.DeletionTimestamp != nil || v1alpha1.HasRecordAnnotation(o.Annotations) || h == nil &&
		!p.matcher.sessions.Empty() {
		return nil
	}
	ok, err := p.namespaces.matches(ctx, p.matcher.namespaces, o.Namespace)
	if err != nil || !ok {
		return err
	}
	if h == nil {
		h = &history{}
	}
	row := ledger.Policy{
		Namespace: o.Namespace, Kind: kind, Name: o.Name, Targets: targets,
		LastSuccess: h.success, LastResult: h.result, LastReason: h.reason,
	}
	for _, s := range status {
		if n := s.NextSchedule; n != nil && (row.Next.IsZero() || n.Time.Before(row.Next)) {
			row.Next = n.Time
		}
	}
	for _, s := range sessions {
		success := h.successesBySession[s.Name]
		for _, known := range status {
			if t := known.LastSuccessTime; t != nil && known.Name == s.Name {
				row.LastSuccess = later(row.LastSuccess, t.Time)
				if t.After(h.endsBySession[s.Name]) { // its run was deleted
					success = t.Time
				}
			}
		}
		row.Late = row.Late || !paused && late(s, schedule.Identity(kind, o.Namespace, o.Name, s.Name), success,
			o.CreationTimestamp.Time, p.now)
	}
	p.rows = append(p.rows, row)
	return nil
}

// late reports whether a run of the first slot after the last success, or after the policy was created, should have
// ended by now.
func late(s v1alpha1.SessionConfig, identity string, success, created, now time.Time) bool {
	if s.Scheduler == nil || s.Scheduler.Suspend != nil && *s.Scheduler.Suspend {
		return false
	}
	from, timeout := created, defaultTimeout
	if success.After(from) {
		from = success
	}
	if s.BackupTimeout != nil {
		timeout = s.BackupTimeout.Duration
	}
	times, err := schedule.New(s.Scheduler, identity)
	return err == nil && now.After(times.Due(from, timeout))
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
