package restorebatch

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/restorebatch"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

func succeed() types.GomegaMatcher { return Succeed() }

// whole is the summary of a restore that restores all targets from a restore point.
func whole(point string) []string {
	return []string{
		"Succeeded/Succeeded of " + point, "web: Succeeded/Succeeded of " + point,
		"uploads: Succeeded/Succeeded of " + point,
		"db: Succeeded/Succeeded of " + point,
	}
}

func TestWhichRestorePoint(t *testing.T) {
	t.Parallel()
	source := func(change func(*v1alpha1.RestoreBatchDataSource)) func(*v1alpha1.RestoreBatch) {
		return func(b *v1alpha1.RestoreBatch) { change(&b.Spec.DataSource) }
	}
	for name, tt := range map[string]struct {
		before func(*world)
		edit   func(*v1alpha1.RestoreBatch)
		want   []string
	}{
		"latest is the newest in which all targets succeeded": {want: whole("second")},
		"the targets that the restore names": {
			edit: func(b *v1alpha1.RestoreBatch) { b.Spec.Targets = b.Spec.Targets[:2] },
			want: whole("third")[:3],
		},
		"a run and its retry are one restore point": {
			before: func(w *world) { w.snapshot("third", "third-r1", "db", 4, false) },
			want: []string{
				"Succeeded/Succeeded of third", "web: Succeeded/Succeeded of third",
				"uploads: Succeeded/Succeeded of third",
				"db: Succeeded/Succeeded of third-r1",
			},
		},
		"a restore point by name": {
			edit: source(func(s *v1alpha1.RestoreBatchDataSource) { s.BackupSession = "first" }), want: whole("first"),
		},
		"a restore point that lacks a target": {
			edit: source(func(s *v1alpha1.RestoreBatchDataSource) { s.BackupSession = "third" }),
			want: []string{"Invalid/SnapshotNotFound of "},
		},
		"the restore point of a time": {
			edit: source(func(s *v1alpha1.RestoreBatchDataSource) {
				s.BackupSession, s.PITR = "",
					&v1alpha1.PITR{TargetTime: &metav1.Time{Time: time.Date(2026, 7, 1, 1, 30, 0, 0, time.UTC)}}
			}), want: whole("first"),
		},
		"a mix, if the spec asks for it": {
			edit: source(func(s *v1alpha1.RestoreBatchDataSource) { s.Mixed = true }),
			want: []string{
				"Succeeded/Succeeded of ", "web: Succeeded/Succeeded of third",
				"uploads: Succeeded/Succeeded of third", "db: Succeeded/Succeeded of second",
			},
		},
		"what only a volume can have, of a database": {
			edit: func(b *v1alpha1.RestoreBatch) {
				b.Spec.Targets[2].Target = &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindService, Name: "db"}
				b.Spec.Targets[2].Verify = true
			}, want: []string{"Invalid/ResourceValidationFailed of "},
		},
		"a BackupBatch without Snapshots": {
			edit: source(func(s *v1alpha1.RestoreBatchDataSource) { s.BackupBatch = "blog" }),
			want: []string{"Invalid/SnapshotNotFound of "},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if tt.before != nil {
				tt.before(w)
			}
			edit := tt.edit
			if edit == nil {
				edit = func(*v1alpha1.RestoreBatch) {}
			}
			w.restore("back", edit)
			w.Expect(summary(w.settle("back"))).To(Equal(tt.want))
		})
	}
}

// The settings of a target are in its RestoreSession, which the RestoreBatch owns.
func TestTheRestoreSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.restore("back", func(b *v1alpha1.RestoreBatch) {
		b.Spec.RetryConfig = &v1alpha1.RetryConfig{MaxRetry: 3}
		b.Spec.Targets[1].Target = &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "db"}
		b.Spec.Targets[1].RestoreTimeout = &metav1.Duration{Duration: time.Minute}
		b.Spec.Targets = b.Spec.Targets[:2]
	})
	b := w.settle("back")
	w.Expect(b.Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded))
	children := w.children()
	w.Expect(children).To(HaveLen(2))
	for _, s := range children {
		w.Expect(metav1.IsControlledBy(&s, b)).To(BeTrue())
		w.Expect(s.Spec.RetryConfig.MaxRetry).To(Equal(int32(3)))
		w.Expect(s.Status.Resolved.SpecDigest).
			To(Equal(restorebatch.TargetDigest(b.Status.Resolved.SpecDigest, strings.TrimPrefix(s.Name, "back-"))))
	}
	w.Expect(children[0].Name).To(Equal("back-uploads"))
	w.Expect(children[0].Spec.Target.Name).To(Equal("db"))
	w.Expect(children[0].Spec.RestoreTimeout.Duration).To(Equal(time.Minute))
	w.Expect(children[1].Spec.Target).
		To(Equal(&v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "web"}),
			"the target that was backed up, in this namespace")
	w.Expect(w.EventReasons()).To(ContainElements("Started", "Succeeded"))
}

func TestTargetsEndIndependently(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		if kubelet.TaskOf(job).RestoreSession.Name == "back-uploads" {
			return kubelet.Fail(v1alpha1.ReasonTargetUnwritable)
		}
		return kubelet.Succeed(job)
	}
	w.restore("back")
	b := w.settle("back")
	w.Expect(summary(b)).To(Equal([]string{
		"Failed/TargetsFailed of second", "web: Succeeded/Succeeded of second",
		"uploads: Failed/TargetUnwritable of second",
		"db: Succeeded/Succeeded of second",
	}))
	w.Expect(b.Status.Conditions).To(ContainElements(
		And(HaveField("Type", "Partial"), HaveField("Status", metav1.ConditionTrue)),
		And(HaveField("Type", "Ready"), HaveField("Status", metav1.ConditionFalse),
			HaveField("Message", ContainSubstring("target uploads: TargetUnwritable: "))),
		HaveField("Type", "Stalled"),
	))
}

// Targets start in the order of the list, and at most maxParallel run at once.
func TestTheOrderOfTargets(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		edit func(*v1alpha1.RestoreBatchSpec)
		most int
	}{
		"Sequential":  {func(s *v1alpha1.RestoreBatchSpec) { s.ExecutionOrder = v1alpha1.ExecutionSequential }, 1},
		"maxParallel": {func(s *v1alpha1.RestoreBatchSpec) { s.MaxParallel = new(int32(2)) }, 2},
		"Parallel":    {func(s *v1alpha1.RestoreBatchSpec) { s.ExecutionOrder = v1alpha1.ExecutionParallel }, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			hang := true
			w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
				if hang {
					return kubelet.Outcome{Hang: true}
				}
				return kubelet.Succeed(job)
			}
			w.restore("back", func(b *v1alpha1.RestoreBatch) { tt.edit(&b.Spec) })
			for range 4 {
				w.Reconcile("back")
				w.Cluster()
			}
			var begun []string
			for _, s := range w.batch("back").Status.Targets {
				if s.RestoreSession != "" {
					begun = append(begun, s.Name)
				}
			}
			w.Expect(begun).To(Equal(names[:tt.most]))
			w.Expect(w.children()).To(HaveLen(tt.most))
			hang = false
			w.Expect(summary(w.settle("back"))).To(Equal(whole("second")))
		})
	}
}

// A restore ends in the same way, with one Job for each target, if the manager is killed at any of its writes.
func TestKilledAtAnyWrite(t *testing.T) {
	t.Parallel()
	undisturbed := newWorld(t)
	killer := undisturbed.Killer
	sequential := func(b *v1alpha1.RestoreBatch) { b.Spec.ExecutionOrder = v1alpha1.ExecutionSequential }
	undisturbed.restore("back", sequential)
	want := summary(undisturbed.settle("back"))
	undisturbed.Expect(want).To(Equal(whole("second")))
	writes := killer.Count()
	undisturbed.Expect(writes).To(BeNumerically(">", 7))
	for name, killer := range sessiontest.KillPoints(writes) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Killer = killer
			w.restore("back", sequential)
			got := summary(w.settle("back"))
			w.Expect(killer.Dead()).To(BeTrue(), "the manager was killed")
			w.Expect(got).To(Equal(want))
			w.Expect(w.Jobs()).To(HaveLen(3))
			w.Expect(w.children()).To(HaveLen(3))
		})
	}
}

// A GitOps tool that recreates a deleted RestoreBatch restores nothing again, not even a newer restore point.
func TestMadeAnew(t *testing.T) {
	t.Parallel()
	t.Run("with newer backups", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.restore("back")
		w.settle("back")
		w.forget("back")
		w.snapshot("fourth", "fourth", "web", 4, false)
		w.snapshot("fourth", "fourth", "uploads", 4, false)
		w.snapshot("fourth", "fourth", "db", 4, false)
		w.restore("back")
		w.Expect(summary(w.settle("back"))[0]).To(Equal("Skipped/AlreadyRestored of "))
		w.Expect(w.Jobs()).To(BeEmpty())
	})
	t.Run("when its Snapshots are gone", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.restore("back")
		w.settle("back")
		w.forget("back")
		w.Expect(w.Client.DeleteAllOf(t.Context(), &v1alpha1.Snapshot{}, client.InNamespace(w.Namespace))).To(Succeed())
		w.restore("back")
		w.Expect(summary(w.settle("back"))[0]).To(Equal("Skipped/AlreadyRestored of "))
	})
	t.Run("when its Snapshots are gone, and a volume too", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.restore("back")
		w.settle("back")
		w.forget("back")
		w.Expect(w.Client.DeleteAllOf(t.Context(), &v1alpha1.Snapshot{}, client.InNamespace(w.Namespace))).To(Succeed())
		claim := &corev1.PersistentVolumeClaim{}
		w.Get("db", claim)
		bed.Edit(t, claim, func() { claim.Finalizers = nil })
		w.Expect(w.Client.Delete(t.Context(), claim)).To(Succeed())
		again := sessiontest.Claim(w.Namespace, "db")
		again.Annotations = claim.Annotations
		sessiontest.Create(t, w.Client, again)
		w.restore("back")
		w.Expect(summary(w.settle("back"))[0]).To(Equal("Invalid/SnapshotNotFound of "))
	})
	t.Run("with a volume that is new", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.restore("back")
		w.settle("back")
		w.forget("back")
		w.snapshot("fourth", "fourth", "web", 4, false)
		w.snapshot("fourth", "fourth", "uploads", 4, false)
		w.snapshot("fourth", "fourth", "db", 4, false)
		claim := &corev1.PersistentVolumeClaim{}
		w.Get("db", claim)
		before := claim.DeepCopy()
		claim.Annotations = nil
		w.Expect(w.Client.Patch(t.Context(), claim, client.MergeFrom(before))).To(Succeed())
		w.restore("back")
		w.Expect(summary(w.settle("back"))).To(Equal([]string{
			"Failed/MixedRestorePoints of ", "web: Skipped/AlreadyRestored of ",
			"uploads: Skipped/AlreadyRestored of ", "db: Succeeded/Succeeded of fourth",
		}), "the status names no common restore point")
	})
}
