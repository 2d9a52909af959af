package restore_test

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/run/runtest"
	"github.com/cairn-backup/cairn/internal/task"
)

// heldBy returns a good Snapshot of a StatefulSet. components maps each component to its directory.
func heldBy(
	name, session string, hour int, components map[string]string, edit ...func(*v1alpha1.Snapshot),
) v1alpha1.Snapshot {
	s := v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.SnapshotSpec{SnapshotID: name, Session: session, AppRef: v1alpha1.TypedObjectReference{
			APIGroup: "apps", Kind: v1alpha1.KindStatefulSet, Name: "web",
		}},
		Status: v1alpha1.SnapshotStatus{
			Phase:        v1alpha1.SnapshotSucceeded,
			SnapshotTime: &metav1.Time{Time: runtest.Now.Add(time.Duration(hour) * time.Hour)},
			Components:   map[string]v1alpha1.Component{},
		},
	}
	for component, dir := range components {
		s.Status.Components[component] = v1alpha1.Component{Path: dir}
	}
	for _, e := range edit {
		e(&s)
	}
	return s
}

func TestHoldsLess(t *testing.T) {
	pods := func(names ...string) map[string]string {
		out := map[string]string{}
		for _, name := range names {
			out[name] = ""
		}
		return out
	}
	of := func(kind string) func(*v1alpha1.Snapshot) {
		return func(s *v1alpha1.Snapshot) { s.Spec.AppRef.Kind = kind }
	}
	by := func(configuration string) func(*v1alpha1.Snapshot) {
		return func(s *v1alpha1.Snapshot) { s.Labels = map[string]string{v1alpha1.LabelConfiguration: configuration} }
	}
	three := pods("pod-0", "pod-1", "pod-2")
	for name, tt := range map[string]struct {
		chosen     v1alpha1.Snapshot
		others     []v1alpha1.Snapshot
		components []string
		rules      []v1alpha1.RestoreRule
		before     restore.Before
		want       string
	}{
		"as much as the one before": {
			chosen: heldBy("b", "nightly", 2, three), others: []v1alpha1.Snapshot{heldBy("a", "nightly", 1, three)},
		},
		"more than the one before": {
			chosen: heldBy("b", "nightly", 2, three),
			others: []v1alpha1.Snapshot{heldBy("a", "nightly", 1, pods("pod-0"))},
		},
		"fewer pods than the one before": {
			chosen: heldBy("b", "nightly", 2, pods("pod-0")),
			others: []v1alpha1.Snapshot{heldBy("a", "nightly", 1, three)},
			want: "Snapshot b holds less than Snapshot a of session nightly, which has component pod-1, " +
				"component pod-2",
		},
		"for good: the one before has no more": {
			chosen: heldBy("c", "nightly", 3, pods("pod-0")), others: []v1alpha1.Snapshot{
				heldBy("a", "nightly", 1, three), heldBy("b", "nightly", 2, pods("pod-0")),
			},
		},
		"a directory, where another session has the volume": {
			chosen: heldBy("b", "hourly", 2, map[string]string{"data": "www/uploads"}, of("Deployment")),
			others: []v1alpha1.Snapshot{
				heldBy("a", "nightly", 1, map[string]string{"data": "", "logs": ""}, of("Deployment")),
			},
			want: `Snapshot b holds less than Snapshot a of session nightly, which has more of component data than ` +
				`directory "www/uploads", component logs`,
		},
		"the volume, where another session has a directory": {
			chosen: heldBy("b", "nightly", 2, pods("data")),
			others: []v1alpha1.Snapshot{heldBy("a", "hourly", 1, map[string]string{"data": "uploads"})},
		},
		"another directory, whose name begins alike": {
			chosen: heldBy("b", "one", 2, map[string]string{"data": "up"}),
			others: []v1alpha1.Snapshot{heldBy("a", "two", 1, map[string]string{"data": "uploads"})},
			want: `Snapshot b holds less than Snapshot a of session two, which has more of component data than ` +
				`directory "up"`,
		},
		"a session of this name of another configuration": {
			chosen: heldBy("c", "backup", 3, pods("pod-0"), by("hot")), others: []v1alpha1.Snapshot{
				heldBy("a", "backup", 1, three, by("all")), heldBy("b", "backup", 2, pods("pod-0"), by("hot")),
			},
			want: "Snapshot c holds less than Snapshot a of session backup of BackupConfiguration all, which has " +
				"component pod-1, component pod-2",
		},
		"a session of another name of another configuration": {
			chosen: heldBy("b", "hourly", 2, pods("pod-0"), by("hot")),
			others: []v1alpha1.Snapshot{heldBy("a", "nightly", 1, pods("pod-1"), by("all"))},
			want:   "Snapshot b holds less than Snapshot a of session nightly, which has component pod-1",
		},
		"the one before, of which nobody knows the configuration": {
			chosen: heldBy("b", "backup", 2, pods("pod-0"), by("hot")),
			others: []v1alpha1.Snapshot{heldBy("a", "backup", 1, pods("pod-1"))},
			want:   "Snapshot b holds less than Snapshot a of session backup, which has component pod-1",
		},
		"an older one of which nobody knows the configuration": {
			chosen: heldBy("c", "backup", 3, pods("pod-0"), by("hot")), others: []v1alpha1.Snapshot{
				heldBy("a", "backup", 1, three), heldBy("b", "backup", 2, pods("pod-0"), by("hot")),
			},
		},
		"several sessions, the newest first": {
			chosen: heldBy("d", "hourly", 4, pods("pod-0")), others: []v1alpha1.Snapshot{
				heldBy("a", "weekly", 1, three), heldBy("c", "hourly", 3, pods("pod-0")),
				heldBy("b", "nightly", 2, pods("pod-0", "pod-1")),
			},
			want: "Snapshot d holds less than Snapshot b of session nightly, which has component pod-1, and less " +
				"than Snapshot a of session weekly, which has component pod-1, component pod-2",
		},
		"all volumes of a pod, where another session has one of them": {
			chosen: heldBy("b", "nightly", 2, pods("pod-0-data", "pod-0-logs")),
			others: []v1alpha1.Snapshot{heldBy("a", "hourly", 1, map[string]string{"pod-0": "uploads"})},
		},
		"all volumes of another pod": {
			chosen: heldBy("b", "nightly", 2, pods("pod-0-data", "pod-0-logs")),
			others: []v1alpha1.Snapshot{heldBy("a", "hourly", 1, pods("pod-1"))},
			want:   "Snapshot b holds less than Snapshot a of session hourly, which has component pod-1",
		},
		"a volume with a longer name": {
			chosen: heldBy("b", "nightly", 2, pods("data-big"), of("Deployment")),
			others: []v1alpha1.Snapshot{heldBy("a", "hourly", 1, pods("data"), of("Deployment"))},
			want:   "Snapshot b holds less than Snapshot a of session hourly, which has component data",
		},
		"all volumes of a node, where another session has one of them": {
			chosen: heldBy("b", "nightly", 2, pods("n1-data", "n1-logs"), of("DaemonSet")),
			others: []v1alpha1.Snapshot{heldBy("a", "hourly", 1, pods("n1"), of("DaemonSet"))},
		},
		"components that the restore does not ask for": {
			chosen: heldBy("b", "nightly", 2, pods("pod-0")), components: []string{"pod-0"},
			others: []v1alpha1.Snapshot{heldBy("a", "nightly", 1, three)},
		},
		"pods that rules do not name": {
			chosen: heldBy("b", "nightly", 2, pods("pod-0", "pod-1")),
			rules: []v1alpha1.RestoreRule{
				{TargetHosts: []string{"pod-2"}, SourceHost: "pod-0"}, {TargetHosts: []string{"pod-1"}},
			},
			others: []v1alpha1.Snapshot{heldBy("a", "nightly", 1, three)},
		},
		"a directory of a pod that rules name": {
			chosen: heldBy("b", "nightly", 2, map[string]string{"pod-0": "uploads", "pod-1": ""}),
			rules:  []v1alpha1.RestoreRule{{TargetHosts: []string{"pod-2"}, SourceHost: "pod-0"}},
			others: []v1alpha1.Snapshot{heldBy("a", "nightly", 1, three)},
			want: `Snapshot b holds less than Snapshot a of session nightly, which has more of component pod-0 than ` +
				`directory "uploads"`,
		},
		"after the time of the restore": {
			chosen: heldBy("a", "hourly", 1, pods("pod-0")), before: restore.Before{At: runtest.Now.Add(time.Hour)},
			others: []v1alpha1.Snapshot{heldBy("b", "nightly", 2, three)},
		},
		"others that nobody should restore": {
			chosen: heldBy("z", "hourly", 9, pods("pod-0")), others: []v1alpha1.Snapshot{
				heldBy("a", "a", 1, three, func(s *v1alpha1.Snapshot) { s.Status.Phase = v1alpha1.SnapshotFailed }),
				heldBy("b", "b", 1, three, func(s *v1alpha1.Snapshot) { s.Status.Integrity = new(false) }),
				heldBy("c", "c", 1, three, func(s *v1alpha1.Snapshot) { s.DeletionTimestamp = &metav1.Time{} }),
				heldBy("d", "d", 1, three, func(s *v1alpha1.Snapshot) {
					s.Annotations = map[string]string{v1alpha1.AnnotationHalfRestored: "r"}
				}),
				heldBy("e", "e", 1, three, func(s *v1alpha1.Snapshot) { s.Spec.AppRef.Name = "another" }),
			},
		},
		"many": {
			chosen: heldBy("z", "hourly", 9, pods("pod-0")), others: []v1alpha1.Snapshot{
				heldBy("a", "a", 4, pods("1", "2", "3", "4", "5", "6", "7")), heldBy("b", "b", 3, pods("1")),
				heldBy("c", "c", 2, pods("1")), heldBy("d", "d", 1, pods("1")),
			},
			want: "Snapshot z holds less than Snapshot a of session a, which has component 1, component 2, " +
				"component 3, component 4, component 5, more, and less than Snapshot b of session b, which has " +
				"component 1, and less than Snapshot c of session c, which has component 1, and less than others",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			all := append(tt.others, tt.chosen)
			g.Expect(restore.HoldsLess(&all[len(all)-1], all, tt.before, restore.Asks(tt.components, tt.rules),
				runtest.Now.AddDate(1, 0, 0))).To(Equal(tt.want))
		})
	}
}

// The word about the Snapshot comes at the start, and stays beside that about what a restore left out. A restore that
// has brought nothing back is not partial.
func TestARestoreThatHoldsLessSaysSo(t *testing.T) {
	for name, tt := range map[string]struct {
		job   run.Job
		phase v1alpha1.RestoreSessionPhase
		want  []string
	}{
		"a success": {
			reportOf(task.ComponentResult{Outcome: task.OutcomeSucceeded}), restoreSucceeded,
			[]string{"Snapshot b holds less", "dataSource.snapshot"},
		},
		"a success without owners": {
			reportOf(task.ComponentResult{Outcome: task.OutcomeSucceeded, OwnersNotRestored: 2}), restoreSucceeded,
			[]string{"Snapshot b holds less", "owners (entries: 2)"},
		},
		"a failure": {runtest.Failed(v1alpha1.ReasonVolumeNotEmpty), restoreFailed, nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := &v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{Name: "r"}}
			start := restore.Next(restore.Input{Now: runtest.Now, Session: s, Start: &restore.Start{
				HoldsLess: "Snapshot b holds less",
				Resolved: v1alpha1.ResolvedRestore{
					Hosts: []v1alpha1.ResolvedRestoreHost{restoreHost("target", "pvc")},
				},
			}})
			g.Expect(start.Event).To(And(HaveField("Type", corev1.EventTypeWarning),
				HaveField("Reason", v1alpha1.ReasonHoldsLess),
				HaveField("Message", ContainSubstring("the restore has started. Snapshot b holds less"))))
			s.Status = start.Status
			g.Expect(conditions.IsTrue(s, v1alpha1.ConditionPartial)).To(BeTrue(), "already while it runs")
			d := restore.Next(restore.Input{Now: runtest.Now, Session: s, Jobs: map[string]run.Job{
				restore.JobName("r", "target", 1): tt.job,
			}})
			s.Status = d.Status
			g.Expect(s.Status.Phase).To(Equal(tt.phase))
			g.Expect(conditions.Has(s, v1alpha1.ConditionPartial)).To(Equal(tt.want != nil))
			for _, want := range tt.want {
				g.Expect(conditions.GetReason(s, v1alpha1.ConditionPartial)).To(Equal(v1alpha1.ReasonHoldsLess))
				g.Expect(conditions.GetMessage(s, v1alpha1.ConditionPartial)).To(ContainSubstring(want))
			}
		})
	}
}

// Who asks for the latest must not take an older Snapshot for the newest: the newer one is damaged.
func TestARestoreThatPassesOverADamagedSnapshotSaysSo(t *testing.T) {
	t.Parallel()
	for name, less := range map[string]string{"alone": "", "that also holds less": "Snapshot b holds less"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			newer := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Name: "c"}}
			newer.Status.SnapshotTime, newer.Status.Integrity = new(metav1.NewTime(runtest.Now)), new(false)
			s := &v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{Name: "r"}}
			start := restore.Next(restore.Input{Now: runtest.Now, Session: s, Start: &restore.Start{
				PassedOver: newer, HoldsLess: less, Resolved: v1alpha1.ResolvedRestore{
					Hosts: []v1alpha1.ResolvedRestoreHost{restoreHost("target", "pvc")},
				},
			}})
			says := "Snapshot c of " + runtest.Now.UTC().Format(time.RFC3339) + " is newer, but damaged: its " +
				"integrity is false: data is gone. To restore what is left of it, "
			g.Expect(start.Event).To(And(HaveField("Type", corev1.EventTypeWarning),
				HaveField("Reason", v1alpha1.ReasonNewerSnapshot),
				HaveField("Message", HavePrefix("the restore has started. "+says))))
			s.Status = start.Status
			d := restore.Next(restore.Input{Now: runtest.Now, Session: s, Jobs: map[string]run.Job{
				restore.JobName("r", "target", 1): reportOf(task.ComponentResult{Outcome: task.OutcomeSucceeded}),
			}})
			s.Status = d.Status
			g.Expect(s.Status.Phase).To(Equal(restoreSucceeded))
			g.Expect(conditions.GetReason(s, v1alpha1.ConditionPartial)).To(Equal(v1alpha1.ReasonNewerSnapshot))
			g.Expect(conditions.GetMessage(s, v1alpha1.ConditionPartial)).To(And(HavePrefix(says),
				ContainSubstring(less)))
		})
	}
}
