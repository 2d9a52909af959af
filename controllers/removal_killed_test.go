package controllers_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

const (
	good = v1alpha1.SnapshotSucceeded
	bad  = v1alpha1.SnapshotFailed
)

// removal is a world with the Repository "web" under a RetentionPolicy that keeps one Snapshot.
type removal struct {
	*world
	// done holds what keepers did, one text for each action in each Job that ran.
	done []string
	// failures is the number of keepers that fail before one succeeds.
	failures int
}

func newRemoval(t *testing.T, deletion v1alpha1.RepositoryDeletionPolicy) *removal {
	t.Helper()
	w := &removal{world: newWorld(t, "configuration", "repository", "retention", "keeper", "snapshot")}
	w.Outcome = w.outcome
	sessiontest.Create(t, w.Client, sessiontest.Claim(w.Namespace, "web"),
		&v1alpha1.RetentionPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "one"},
			Spec: v1alpha1.RetentionPolicySpec{SuccessfulSnapshots: &v1alpha1.SuccessfulSnapshotsKeepPolicy{
				Last: new(int32(1)),
			}},
		},
		configuration(w.World, "web", func(c *v1alpha1.BackupConfiguration) {
			c.Spec.Backends[0].RetentionPolicy = &v1alpha1.ObjectReference{Name: "one"}
			c.Spec.Sessions[0].Repositories[0].DeletionPolicy = deletion
		}))
	w.settle()
	w.Expect(conditions.IsReady(w.repository())).To(BeTrue(), "%+v", w.repository().Status.Conditions)
	w.done = nil
	return w
}

// configuration backs up a claim into a repository of the same name.
func configuration(
	w *sessiontest.World, name string, edit ...func(*v1alpha1.BackupConfiguration),
) *v1alpha1.BackupConfiguration {
	c := &v1alpha1.BackupConfiguration{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: name},
		Spec: v1alpha1.BackupConfigurationSpec{
			Target: &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: name},
			Backends: []v1alpha1.BackendReference{{
				Name:       "main",
				StorageRef: &v1alpha1.ObjectReference{Namespace: w.Storage, Name: sessiontest.StorageName},
			}},
			Sessions: []v1alpha1.BackupConfigurationSession{{
				SessionConfig: v1alpha1.SessionConfig{Name: "nightly"},
				Addon: &v1alpha1.AddonInfo{
					Name: "pvc-addon", Tasks: []v1alpha1.TaskReference{{Name: "logical-backup"}},
				},
				Repositories: []v1alpha1.RepositoryInfo{{
					Name: name, Backend: "main", Directory: "/" + name,
					EncryptionSecret: &v1alpha1.ObjectReference{Name: sessiontest.EncryptionName},
				}},
			}},
		},
	}
	for _, e := range edit {
		e(c)
	}
	return c
}

// outcome plays init Jobs and keepers.
func (w *removal) outcome(job *batchv1.Job) kubelet.Outcome {
	r := &task.Result{Version: task.Version, Outcome: task.OutcomeSucceeded}
	keep, err := task.Decode([]byte(job.Spec.Template.Annotations[v1alpha1.AnnotationTask]), task.KindKeep)
	if err != nil {
		return kubelet.Outcome{Result: r}
	}
	fails := w.failures > 0
	if fails {
		w.failures--
		r.Outcome, r.Reason, r.Message = task.OutcomeFailed, v1alpha1.ReasonUnreachable, "the storage can't be reached"
	}
	for i, k := range keep.Keep {
		c := task.ComponentResult{
			Name: fmt.Sprint(i), Outcome: r.Outcome, Reason: r.Reason, Error: r.Message,
			SizeBytes: 12 << 20,
		}
		r.Components = append(r.Components, c)
		for _, s := range k.Remove {
			w.done = append(w.done, fmt.Sprintf("remove %s %v %s", s.Name, s.IDs, r.Outcome))
		}
		if k.Wipe {
			w.done = append(w.done, "wipe "+k.Repository.Name)
		}
		if k.Maintain != "" {
			w.done = append(w.done, "maintain "+string(k.Maintain)+" "+string(r.Outcome))
		}
	}
	return kubelet.Outcome{Result: r}
}

func (w *removal) repository() *v1alpha1.Repository {
	w.T.Helper()
	r := &v1alpha1.Repository{}
	w.Get("web", r)
	return r
}

// snapshot creates a Snapshot some hours old, as a BackupSession leaves it.
func (w *removal) snapshot(hours int, phase v1alpha1.SnapshotPhase) *v1alpha1.Snapshot {
	w.T.Helper()
	run := fmt.Sprintf("run-%d", hours)
	s := &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.Namespace, Name: policy.SnapshotName("web", run),
			Labels:     map[string]string{v1alpha1.LabelBackupSession: run},
			Finalizers: []string{v1alpha1.FinalizerWipe, v1alpha1.FinalizerRecord},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(w.repository(),
				v1alpha1.GroupVersion.WithKind(v1alpha1.RepositoryKind))},
		},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: fmt.Sprintf("%04d", 1000-hours), Repository: "web", Session: "nightly", BackupSession: run,
			Version: "v1", AppRef: w.repository().Spec.AppRef,
		},
		Status: v1alpha1.SnapshotStatus{
			Phase: phase, SnapshotTime: new(metav1.NewTime(w.Clock.Now().Add(-time.Duration(hours) * time.Hour))),
			Components: map[string]v1alpha1.Component{"pvc": {Phase: phase, ID: "id-" + run}},
		},
	}
	sessiontest.Create(w.T, w.Client, s)
	return s
}

// removed is how a removal ended.
type removed struct {
	Done, Left []string
	Prunes     map[string][]string
	Repository string
	Jobs       int
	Lease      string
}

func (w *removal) end() removed {
	w.T.Helper()
	e := removed{Done: slices.Sorted(slices.Values(w.done)), Prunes: w.prunes, Repository: "gone"}
	for _, o := range listed(w.T.Context(), w.World, &v1alpha1.SnapshotList{}) {
		e.Left = append(e.Left, fmt.Sprint(o.GetName(), " ", o.GetDeletionTimestamp() == nil))
	}
	for _, o := range listed(w.T.Context(), w.World, &v1alpha1.RepositoryList{}) {
		s := o.(*v1alpha1.Repository).Status
		e.Repository = fmt.Sprint(conditions.GetReason(o.(*v1alpha1.Repository), v1alpha1.ConditionRetentionApplied),
			", removed ", s.LastRemovalTime != nil, ", maintained ", s.LastMaintenance != nil &&
				s.LastMaintenance.Full.Time.After(w.Clock.Now().Add(-time.Hour)))
	}
	e.Jobs = len(w.Jobs())
	for _, o := range listed(w.T.Context(), w.World, &coordinationv1.LeaseList{}) {
		l := o.(*coordinationv1.Lease)
		e.Lease += fmt.Sprint("held ", l.Spec.HolderIdentity != nil, ", attempts ",
			l.Annotations[v1alpha1.AnnotationAttempts])
	}
	for _, o := range listed(w.T.Context(), w.World, &corev1.SecretList{}) {
		w.Expect(o.GetOwnerReferences()).To(BeEmpty(),
			"the credentials that were copied for a Job go with it: "+o.GetName())
	}
	return e
}

// TestRemovalKilledAtAnyWrite: a policy lets two Snapshots go, a user deletes a third with its data, and maintenance is
// due.
func TestRemovalKilledAtAnyWrite(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T) *removal {
		w := newRemoval(t, v1alpha1.RetainRepository)
		var all []*v1alpha1.Snapshot
		for hours, phase := range []v1alpha1.SnapshotPhase{good, bad, good, good, bad} {
			all = append(all, w.snapshot(hours+1, phase))
		}
		byHand := all[1]
		bed.Edit(t, byHand, func() { byHand.Spec.DeletionPolicy = v1alpha1.WipeOut })
		w.Expect(w.Client.Delete(t.Context(), byHand)).To(Succeed())
		week := metav1.NewTime(w.Clock.Now().Add(-8 * 24 * time.Hour))
		r := w.repository()
		bed.EditStatus(t, r, func() {
			r.Status.LastBackupTime, r.Status.LastMaintenance = new(metav1.NewTime(w.Clock.Now().Add(-25*time.Hour))),
				&v1alpha1.MaintenanceStatus{Quick: &week, Full: &week}
		})
		return w
	}
	// The first keeper fails, so that the test covers the memory of failures.
	killedAnywhere(t, 8, func(t *testing.T, k kills) (*world, any) {
		w := start(t)
		w.failures = 1
		w.disturb(k)
		w.settle()
		w.Expect(w.end().Lease).To(And(ContainSubstring("held false"), ContainSubstring(`"count":1`)))
		w.Clock.SetTime(time.Now().Add(2 * time.Minute)) // Jobs end in real time, and many writes take minutes
		w.settle()
		return w.world, w.end()
	}, func(g Gomega, end any) {
		e := end.(removed)
		g.Expect(e.Left).To(Equal([]string{"web-run-1 true", "web-run-5 true"}))
		g.Expect(e.Prunes).To(Equal(map[string][]string{
			"web-run-2": {v1alpha1.ReasonDeleted}, "web-run-3": {v1alpha1.ReasonNotKept},
			"web-run-4": {v1alpha1.ReasonNotKept},
		}))
		g.Expect(e.Done).To(HaveLen(2*4), "twice three Snapshots and maintenance")
		g.Expect(e.Repository).To(Equal("Applied, removed true, maintained true"))
		g.Expect(e.Lease).To(Equal("held false, attempts "))
		g.Expect(e.Jobs).To(BeZero())
	})
}

// TestDeletionKilledAtAnyWrite: policy is deleted and takes its Repository along, with or without the data.
func TestDeletionKilledAtAnyWrite(t *testing.T) {
	t.Parallel()
	for deletion, want := range map[v1alpha1.RepositoryDeletionPolicy]removed{
		v1alpha1.WipeOutRepository: {
			Done: []string{"wipe web"}, Prunes: map[string][]string{
				"web-run-1": {v1alpha1.ReasonRepositoryWiped},
				"web-run-2": {v1alpha1.ReasonRepositoryWiped},
			},
			Repository: "gone", Lease: "held false, attempts ",
		},
		v1alpha1.DeleteRepository: {Prunes: map[string][]string{}, Repository: "gone"},
	} {
		t.Run(string(deletion), func(t *testing.T) {
			t.Parallel()
			killedAnywhere(t, 0, func(t *testing.T, k kills) (*world, any) {
				w := newRemoval(t, deletion)
				w.snapshot(1, good)
				w.snapshot(2, bad)
				w.settle()
				w.disturb(k)
				w.Expect(w.Client.Delete(t.Context(),
					&v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "web"}})).
					To(Succeed())
				w.settle()
				return w.world, w.end()
			}, func(g Gomega, end any) { g.Expect(end).To(Equal(want)) })
		})
	}
}
