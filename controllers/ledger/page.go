package ledger

import (
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/ledger"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/schedule"
)

// invoker identifies a policy object.
type invoker struct{ namespace, kind, name string }

// history sums up the existing runs of one invoker.
type history struct {
	success        time.Time
	ended          run.Moment
	result, reason string
	sessions       map[string]backup.Success
}

// page renders STATUS.md from the policies and runs of the namespaces that the Ledger records, or another that writes
// the same page.
func (r *Reconciler) page(ctx context.Context, l *v1alpha1.Ledger) ([]byte, error) {
	r.memories.rendered(client.ObjectKeyFromObject(l))
	m, err := r.matchers(ctx, l)
	if err != nil {
		return nil, err
	}
	p, err := r.builder(ctx, m)
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
	for i := range batches.Items {
		b := &batches.Items[i]
		var targets []v1alpha1.TypedObjectReference
		known := policy.KnownTargets(b)
		for _, t := range known {
			targets = append(targets, t.AppRef)
		}
		used := func(i int) []policy.ChosenRepository { return policy.BatchRepositories(b, known[i:i+1]) }
		var sessions []v1alpha1.SessionConfig
		for _, s := range b.Spec.Sessions {
			sessions = append(sessions, s.SessionConfig)
		}
		row := ledger.Policy{Kind: v1alpha1.BackupBatchKind, Empty: policy.KnownEmpty(b), Paused: b.Spec.Paused}
		if err := p.add(ctx, row, &b.ObjectMeta, targets, used, sessions, b.Status.Sessions); err != nil {
			return nil, err
		}
	}
	for i := range configurations.Items {
		c := &configurations.Items[i]
		if c.Labels[v1alpha1.LabelBatch] != "" {
			continue // its batch has a row
		}
		var targets []v1alpha1.TypedObjectReference
		if c.Spec.Target != nil {
			targets = append(targets, *c.Spec.Target)
		}
		used := func(int) []policy.ChosenRepository { return policy.ConfigurationRepositories(c) }
		var sessions []v1alpha1.SessionConfig
		for _, s := range c.Spec.Sessions {
			sessions = append(sessions, s.SessionConfig)
		}
		row := ledger.Policy{Kind: v1alpha1.BackupConfigurationKind, Paused: c.Spec.Paused}
		if err := p.add(ctx, row, &c.ObjectMeta, targets, used, sessions, c.Status.Sessions); err != nil {
			return nil, err
		}
	}
	if err := r.notice(ctx, l, m[0], p.namespaces, namesOf(batches.Items, configurations.Items)); err != nil {
		return nil, err
	}
	dropped, err := m.dropped(ctx, p.namespaces)
	if err != nil {
		return nil, err
	}
	return ledger.SayDropped(ledger.Page(l.Spec.ClusterName, p.rows, m.longest()), dropped), nil
}

// namesOf returns the namespaces of policies.
func namesOf(batches []v1alpha1.BackupBatch, configurations []v1alpha1.BackupConfiguration) map[string]bool {
	out := map[string]bool{}
	for i := range batches {
		out[batches[i].Namespace] = true
	}
	for i := range configurations {
		out[configurations[i].Namespace] = true
	}
	return out
}

// builder returns a builder of the page that knows the runs and the backups.
func (r *Reconciler) builder(ctx context.Context, m matchers) (*pageBuilder, error) {
	p := &pageBuilder{matchers: m, namespaces: namespaces{read.NewNamespaceLabels(r.Client)}, now: r.Clock.Now()}
	var sessions v1alpha1.BackupSessionList
	err := r.List(ctx, &sessions, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list BackupSessions: %w", err)
	}
	if p.runs, err = r.histories(ctx, sessions.Items, m, p.namespaces); err != nil {
		return nil, err
	}
	p.backups = backupsOf(r.Client, sessions.Items, p.now)
	selected := func(namespace string) (bool, error) {
		return m.any(ctx, p.namespaces, namespace, func(labels.Selector) bool { return true })
	}
	if err := p.backups.readRepositories(ctx); err != nil {
		return nil, err
	}
	if err := p.backups.readLost(ctx, selected); err != nil {
		return nil, err
	}
	return p, p.backups.readDamaged(ctx, selected)
}

// histories sums up the ended runs that one of the Ledgers records.
func (r *Reconciler) histories(
	ctx context.Context, sessions []v1alpha1.BackupSession, m matchers, n namespaces,
) (map[invoker]*history, error) {
	out := map[invoker]*history{}
	for i := range sessions {
		s := &sessions[i]
		if !s.Status.Phase.Terminal() || v1alpha1.HasRecordAnnotation(s.Annotations) {
			continue
		}
		ok, err := m.any(ctx, n, s.Namespace, func(l labels.Selector) bool { return l.Matches(labelsOf(s)) })
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		key := invoker{s.Namespace, s.Spec.Invoker.Kind, s.Spec.Invoker.Name}
		h := out[key]
		if h == nil {
			h = &history{sessions: map[string]backup.Success{}}
			out[key] = h
		}
		h.add(s, r.Clock.Now())
	}
	return out, nil
}

func (h *history) add(s *v1alpha1.BackupSession, now time.Time) {
	ended := run.MomentOf(backup.EndOf(s), s.CreationTimestamp.Time, now)
	// If two runs ended at the same time, the result must not depend on the order of the list.
	result, reason := string(s.Status.Phase), s.ShownReason()
	if c := ended.Compare(h.ended); c > 0 || c == 0 && result+reason > h.result+h.reason {
		h.ended, h.result, h.reason = ended, result, reason
	}
	last := h.sessions[s.Spec.Session]
	last.See(s, now)
	h.sessions[s.Spec.Session], h.success = last, v1alpha1.Later(h.success, last.Ended)
}

// pageBuilder collects the rows of the page.
type pageBuilder struct {
	matchers   matchers
	namespaces namespaces
	runs       map[invoker]*history
	backups    *backups
	now        time.Time
	rows       []ledger.Policy
}

// add completes a row, and adds it if the page shows the policy.
func (p *pageBuilder) add(
	ctx context.Context, row ledger.Policy, o *metav1.ObjectMeta, targets []v1alpha1.TypedObjectReference,
	used func(target int) []policy.ChosenRepository, sessions []v1alpha1.SessionConfig, status []v1alpha1.SessionStatus,
) error {
	by := invoker{o.Namespace, row.Kind, o.Name}
	h := p.runs[by]
	if !v1alpha1.InForce(o) {
		return nil
	}
	if h == nil {
		// With a selector a Ledger records only some sessions: it leaves out a policy without any of them.
		if ok, err := p.matchers.any(ctx, p.namespaces, o.Namespace, labels.Selector.Empty); err != nil || !ok {
			return err
		}
		h = &history{}
	}
	row.Namespace, row.Name = o.Namespace, o.Name
	row.LastSuccess, row.LastResult, row.LastReason = h.success, h.result, h.reason
	p.addNext(&row, sessions, status)
	for i := range sessions {
		config := &sessions[i]
		known := statusOf(status, config.Name)
		if t := known.LastSuccessTime; t != nil && !v1alpha1.Ahead(t.Time, p.now) {
			row.LastSuccess = v1alpha1.Later(row.LastSuccess, t.Time)
		}
		known = backup.Scheduled(known, config, schedule.Identity(row.Kind, o.Namespace, o.Name, config.Name),
			o.CreationTimestamp.Time)
		if due, ok := backup.SuccessDue(&known, config, h.sessions[config.Name], p.now, schedule.Next); ok {
			p.expect(&row, due)
		}
	}
	// A backup that another policy made is none in the place that this one names.
	failing := row.LastSuccess.IsZero() && (row.Late || row.LastResult == string(v1alpha1.BackupSessionFailed))
	if err := p.addTargets(ctx, &row, by, failing, targets, used); err != nil {
		return err
	}
	p.rows = append(p.rows, row)
	return nil
}

// addNext adds the next slot of a policy to its row, and which sessions have none because they are suspended.
func (p *pageBuilder) addNext(
	row *ledger.Policy, sessions []v1alpha1.SessionConfig, status []v1alpha1.SessionStatus,
) {
	scheduled := 0
	for i := range sessions {
		scheduler := sessions[i].Scheduler
		if scheduler == nil {
			continue
		}
		scheduled++
		if ptr.Deref(scheduler.Suspend, false) {
			row.Suspended = append(row.Suspended, sessions[i].Name)
			continue
		}
		known := statusOf(status, sessions[i].Name)
		if n := known.NextSchedule; n != nil && (row.Next.IsZero() || n.Time.Before(row.Next)) {
			row.Next = n.Time
		}
	}
	row.AllSuspended = scheduled > 0 && len(row.Suspended) == scheduled
}

// statusOf returns the status of a session, or an empty one.
func statusOf(all []v1alpha1.SessionStatus, name string) v1alpha1.SessionStatus {
	if i := slices.IndexFunc(all, func(s v1alpha1.SessionStatus) bool { return s.Name == name }); i >= 0 {
		return all[i]
	}
	return v1alpha1.SessionStatus{}
}

// addTargets adds the targets of a policy to its row, and what is wrong with their backups. failing reports that the
// policy should have made one and has made none.
func (p *pageBuilder) addTargets(
	ctx context.Context, row *ledger.Policy, by invoker, failing bool, targets []v1alpha1.TypedObjectReference,
	used func(target int) []policy.ChosenRepository,
) error {
	for i, t := range targets {
		row.Targets = append(row.Targets, t.String())
		t.Namespace = by.namespace
		done, err := p.backups.of(ctx, t)
		if done && failing {
			done, err = p.backups.by(ctx, by, t)
		}
		if err != nil {
			return err
		}
		var names []string
		for _, r := range used(i) {
			names = append(names, r.Name)
		}
		f := p.backups.flawOf(by, t, names)
		left := p.backups.remainsOf(by, t, names)
		switch name := row.Targets[len(row.Targets)-1]; {
		case !done:
			row.NoBackup = append(row.NoBackup, name)
		case left.none():
			row.NoneLeft = append(row.NoneLeft, name)
		case f.all && f.lost == "":
			row.Damaged = append(row.Damaged, name)
		case f.all:
			row.Lose(name, f.lost, true)
		default:
			addFlaws(row, name, f, left)
		}
	}
	return nil
}

// addFlaws adds all that is wrong with a target of which something is left: one Repository does not hide what is wrong
// in another.
func addFlaws(row *ledger.Policy, target string, f flaw, left remains) {
	if left.missing {
		row.NoneLeftInSome = append(row.NoneLeftInSome, target)
	}
	half, unchecked := left.held[policy.HoldsHalfRestored], left.held[policy.HoldsUnchecked]
	switch {
	case half && !left.maybeGood():
		row.HalfRestored = append(row.HalfRestored, target)
	case half:
		row.HalfRestoredInSome = append(row.HalfRestoredInSome, target)
	}
	switch {
	case unchecked && !left.maybeGood() && !half:
		row.Unchecked = append(row.Unchecked, target)
	case unchecked:
		row.UncheckedInSome = append(row.UncheckedInSome, target)
	}
	if f.lost != "" {
		row.Lose(target, f.lost, false)
	}
	if f.newest || f.damaged > 0 {
		row.Damage(target, f.newest, f.damaged, f.of)
	}
}

// expect notes in a row when the next success of one of its sessions must be there.
func (p *pageBuilder) expect(row *ledger.Policy, due time.Time) {
	switch {
	case p.now.After(due):
		row.Late = true
	case row.Due.IsZero() || due.Before(row.Due):
		row.Due = due
	}
}
