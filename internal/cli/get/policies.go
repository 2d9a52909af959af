package get

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/cli/command"
	"github.com/cairn-backup/cairn/internal/inventory"
	"github.com/cairn-backup/cairn/internal/policy"
)

func loadPolicies(ctx context.Context, s scope) (resourceView, error) {
	var f resourceView
	var syncs v1alpha1.PolicySyncList
	if err := s.list(ctx, &syncs, true); err != nil {
		return f, err
	}
	var batches v1alpha1.BackupBatchList
	if err := s.list(ctx, &batches, true); err != nil {
		return f, err
	}
	var configurations v1alpha1.BackupConfigurationList
	if err := s.list(ctx, &configurations, false); err != nil {
		return f, err
	}
	children := map[client.ObjectKey]*v1alpha1.BackupConfiguration{}
	var alone []v1alpha1.BackupConfiguration
	for i := range configurations.Items {
		c := &configurations.Items[i]
		if c.Labels[v1alpha1.LabelBatch] != "" {
			children[client.ObjectKeyFromObject(c)] = c
		}
		if c.Name == s.name || s.name == "" && c.Labels[v1alpha1.LabelBatch] == "" {
			alone = append(alone, *c)
		}
	}
	policies := &command.Table{
		Header:   s.header("NAME", "CONFIGURATION", "TARGET", "PHASE", "REPOSITORIES", "NEXT", "AGE"),
		Optional: []string{"CONFIGURATION"},
	}
	for i := range batches.Items {
		batchRows(policies, s, &batches.Items[i], children)
	}
	for i := range alone {
		configurationRow(policies, s, &alone[i])
	}
	for i := range syncs.Items {
		unpack(&syncs.Items[i])
	}
	f.objects = slices.Concat(objectsOf(syncs.Items), objectsOf(batches.Items), objectsOf(alone))
	f.tables = []*command.Table{syncTable(s, syncs.Items), policies}
	return f, nil
}

// unpack turns a packed inventory into entries, which people and tools can read. A damaged one stays as it is.
func unpack(p *v1alpha1.PolicySync) {
	if entries, err := inventory.Entries(p.Status.Inventory); err == nil && p.Status.Inventory != nil {
		p.Status.Inventory = &v1alpha1.ResourceInventory{Entries: entries}
	}
}

func syncTable(s scope, syncs []v1alpha1.PolicySync) *command.Table {
	t := &command.Table{
		Header: s.header("NAME", "REVISION", "READY", "SUSPENDED", "AGE"), Optional: []string{"SUSPENDED"},
	}
	for i := range syncs {
		p := &syncs[i]
		suspended := ""
		if p.Spec.Suspend {
			suspended = "True"
		}
		t.Add(s.cells(p.Namespace, "policysync/"+p.Name,
			command.OrNone(command.ShortRevision(p.Status.LastAppliedRevision)),
			readyStatus(p.Status.Conditions), suspended, command.Age(s.now, &p.CreationTimestamp))...)
		if tried := p.Status.LastAttemptedRevision; tried != p.Status.LastAppliedRevision &&
			p.Status.LastAppliedRevision != "" {
			t.Note(fmt.Sprintf("%s was tried, %s stays in force", command.ShortRevision(tried),
				command.ShortRevision(p.Status.LastAppliedRevision)))
		}
		t.Note(NotReady(p.Status.Conditions))
		if c := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionDeletionBlocked); c != nil &&
			c.Status == metav1.ConditionTrue && !strings.HasPrefix(ReadyMessage(p.Status.Conditions), c.Message) {
			t.Note(c.Reason + ": " + c.Message)
		}
	}
	return t
}

// batchRows adds a row for a batch and one for each of its targets, in the order of the policy.
func batchRows(t *command.Table, s scope, b *v1alpha1.BackupBatch,
	children map[client.ObjectKey]*v1alpha1.BackupConfiguration,
) {
	t.Add(s.cells(b.Namespace, command.PrefixBatch+b.Name, "", "", command.OrNone(b.Status.Phase), "",
		next(s, b.Status.Sessions, b.Spec.Paused), command.Age(s.now, &b.CreationTimestamp))...)
	t.Note(NotReady(b.Status.Conditions))
	warningNotes(t, b.Status.Conditions)
	scheduleNotes(t, b.Status.Conditions, b.Status.Sessions)
	for _, target := range policy.KnownTargets(b) {
		var status v1alpha1.BatchTargetStatus
		if i := slices.IndexFunc(b.Status.Targets, func(x v1alpha1.BatchTargetStatus) bool {
			return x.Name == target.Name
		}); i >= 0 {
			status = b.Status.Targets[i]
		}
		child := children[client.ObjectKey{Namespace: b.Namespace, Name: policy.ChildName(b.Name, target.Name)}]
		t.Add(s.cells(b.Namespace, "  "+target.Name, command.OrNone(status.Configuration), target.AppRef.String(),
			command.OrNone(status.Phase),
			command.OrNone(strings.Join(policy.RepositoryNames(b, target), ",")), "", "")...)
		if child != nil && status.Phase != v1alpha1.PhaseReady {
			t.Note(NotReady(child.Status.Conditions))
		}
	}
}

func appendRepositories(names []string, repositories []v1alpha1.RepositoryInfo) []string {
	for _, r := range repositories {
		if !slices.Contains(names, r.Name) {
			names = append(names, r.Name)
		}
	}
	return names
}

func configurationRow(t *command.Table, s scope, c *v1alpha1.BackupConfiguration) {
	var repositories []string
	for i := range c.Spec.Sessions {
		repositories = appendRepositories(repositories, c.Spec.Sessions[i].Repositories)
	}
	target := command.None
	if c.Spec.Target != nil {
		target = c.Spec.Target.String()
	}
	t.Add(s.cells(c.Namespace, command.PrefixConfiguration+c.Name, "", target, command.OrNone(c.Status.Phase),
		command.OrNone(strings.Join(repositories, ",")), next(s, c.Status.Sessions, c.Spec.Paused),
		command.Age(s.now, &c.CreationTimestamp))...)
	t.Note(NotReady(c.Status.Conditions))
	warningNotes(t, c.Status.Conditions)
	scheduleNotes(t, c.Status.Conditions, c.Status.Sessions)
}

// warnings are the conditions that warn of a policy while they are True. The policy can be Ready.
var warnings = []string{
	v1alpha1.ConditionSelectorFindsNothing, v1alpha1.ConditionTargetsOverlap, v1alpha1.ConditionRepositoriesRetained,
	v1alpha1.ConditionVolumeSnapshotsAtRisk,
}

func warningNotes(t *command.Table, conditions []metav1.Condition) {
	for _, name := range warnings {
		if c := apimeta.FindStatusCondition(conditions, name); c != nil && c.Status == metav1.ConditionTrue {
			t.Note(c.Type + ": " + c.Message)
		}
	}
}

// scheduleNotes notes that the last success is too old, and which sessions miss their slots.
func scheduleNotes(t *command.Table, conditions []metav1.Condition, sessions []v1alpha1.SessionStatus) {
	if c := apimeta.FindStatusCondition(conditions, v1alpha1.ConditionProtected); c != nil &&
		c.Status == metav1.ConditionFalse {
		t.Note(c.Reason + ": " + c.Message)
	}
	for i := range sessions {
		if c := apimeta.FindStatusCondition(sessions[i].Conditions, v1alpha1.ConditionSlotsMissed); c != nil &&
			c.Status == metav1.ConditionTrue {
			t.Note("session " + sessions[i].Name + ": " + c.Message)
		}
	}
}

// next returns the earliest slot and its session.
func next(s scope, sessions []v1alpha1.SessionStatus, paused bool) string {
	if paused {
		return "paused"
	}
	var earliest *v1alpha1.SessionStatus
	for i := range sessions {
		at := sessions[i].NextSchedule
		if at != nil && (earliest == nil || at.Before(earliest.NextSchedule)) {
			earliest = &sessions[i]
		}
	}
	if earliest == nil {
		return command.None
	}
	return fmt.Sprintf("%s (%s)", duration.HumanDuration(max(earliest.NextSchedule.Sub(s.now), 0)), earliest.Name)
}

func readyStatus(conditions []metav1.Condition) string {
	if c := apimeta.FindStatusCondition(conditions, meta.ReadyCondition); c != nil {
		return string(c.Status)
	}
	return string(metav1.ConditionUnknown)
}

// ReadyMessage returns the message of the condition Ready.
func ReadyMessage(conditions []metav1.Condition) string {
	if c := apimeta.FindStatusCondition(conditions, meta.ReadyCondition); c != nil {
		return c.Message
	}
	return ""
}

// NotReady returns why an object is not ready. It is empty for a ready object.
func NotReady(conditions []metav1.Condition) string {
	c := apimeta.FindStatusCondition(conditions, meta.ReadyCondition)
	if c == nil || c.Status == metav1.ConditionTrue {
		return ""
	}
	return c.Reason + ": " + c.Message
}
