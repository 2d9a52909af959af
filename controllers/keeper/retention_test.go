package keeper_test

import (
	"slices"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed"
)

const (
	good = v1alpha1.SnapshotSucceeded
	bad  = v1alpha1.SnapshotFailed
)

func TestWhatAPolicyLetsGoIsRemoved(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	newest := s.snapshot(s.repository, 1, good)
	older, oldest := s.snapshot(s.repository, 2, good), s.snapshot(s.repository, 3, good)
	failed, failedBefore := s.snapshot(s.repository, 4, bad), s.snapshot(s.repository, 5, bad)
	session := s.session(1, s.repository)
	s.expectRetention(s.repository, v1alpha1.ReasonKeepsEverything,
		"no policy uses the Repository: everything is kept until you delete it")
	s.policy("c", last(1), "web")

	job, keep := s.job()
	g.Expect(keep.Keep).To(HaveLen(1))
	g.Expect(keep.Keep[0].Remove).NotTo(BeEmpty())
	for _, gone := range []*v1alpha1.Snapshot{older, oldest, failedBefore} {
		bed.Eventually(t, gone, func(g Gomega) {
			g.Expect(gone.DeletionTimestamp).NotTo(BeNil())
			g.Expect(gone.Spec.DeletionPolicy).To(Equal(v1alpha1.WipeOut))
			g.Expect(conditions.GetReason(gone, v1alpha1.ConditionRetained)).To(Equal(v1alpha1.ReasonNotKept))
			g.Expect(gone.Finalizers).To(ConsistOf(v1alpha1.FinalizerWipe, v1alpha1.FinalizerRecord),
				"its data still exists")
		}, "retention deleted the Snapshot")
	}
	g.Expect(conditions.GetMessage(older, v1alpha1.ConditionRetained)).To(Equal(
		"RetentionPolicy " + s.namespace + "/keep-c: no rule of successfulSnapshots keeps it (last: 1)"))
	s.expectRetention(s.repository, v1alpha1.ReasonRemovalPending, "")
	expectSession(t, session, v1alpha1.RetentionPending, "")

	g.Expect(job.Name).To(HavePrefix("keeper-"))
	s.did(job, "")
	gone(t, job, "the Job is removed")
	s.removes(older, oldest, failedBefore)
	for _, gone := range []*v1alpha1.Snapshot{older, oldest, failedBefore} {
		recorded(t, gone)
	}
	s.expectRetention(s.repository, v1alpha1.ReasonApplied, s.namespace+"/keep-c")
	expectSession(t, session, v1alpha1.RetentionApplied, "")
	expectKept(t, newest)
	expectKept(t, failed)
	bed.Eventually(t, s.repository, func(g Gomega) {
		g.Expect(s.repository.Status.RetentionPolicy).
			To(Equal(&v1alpha1.ObjectReference{Namespace: s.namespace, Name: "keep-c"}))
		g.Expect(s.repository.Status.LastRemovalTime).NotTo(BeNil())
	}, "the Repository reports it")
}

// removes lets keepers work until the Snapshots are released. Jobs follow one another: the first Job can be created for
// the first Snapshot alone. Once a Job is gone, its whole result is written.
func (s *shop) removes(snapshots ...*v1alpha1.Snapshot) {
	s.t.Helper()
	for !done(s.t, snapshots) {
		job, keep := s.job()
		NewWithT(s.t).Expect(keep.Keep).NotTo(BeEmpty())
		s.did(job, make([]string, len(keep.Keep))...)
		gone(s.t, job, "the Job is removed")
	}
}

// done reports whether the Snapshots are released.
func done(t testing.TB, snapshots []*v1alpha1.Snapshot) bool {
	t.Helper()
	return !slices.ContainsFunc(snapshots, func(s *v1alpha1.Snapshot) bool {
		NewWithT(t).Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s), s)).To(Succeed())
		return slices.Contains(s.Finalizers, v1alpha1.FinalizerWipe)
	})
}

func expectSession(t testing.TB, session *v1alpha1.BackupSession, phase v1alpha1.RetentionPhase, message string) {
	t.Helper()
	bed.Eventually(t, session, func(g Gomega) {
		g.Expect(session.Status.RetentionPolicy).To(HaveLen(1))
		entry := session.Status.RetentionPolicy[0]
		g.Expect(entry.Phase).To(Equal(phase))
		g.Expect(entry.Repository).To(Equal("web"))
		if message == "" {
			g.Expect(entry.Ref.Name).To(Equal("keep-c"))
		}
		g.Expect(entry.Error).To(ContainSubstring(message))
	}, string(phase))
}

func TestTimeLetsGo(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	s.snapshot(s.repository, 1, good)
	older := s.snapshot(s.repository, 3, good)
	s.policy("c", v1alpha1.RetentionPolicySpec{MaxRetentionPeriod: "4h"}, "web")
	s.expectRetention(s.repository, v1alpha1.ReasonApplied, "")
	result := bed.NoOp(t, retentions, &events, s.repository)
	g.Expect(result.RequeueAfter).To(BeNumerically("~", time.Hour, time.Minute), "the next Snapshot is due")
	expectKept(t, older)
}

func TestNothingIsRemoved(t *testing.T) {
	t.Parallel()
	elsewhere := bed.Namespace(t, nil)
	bed.Create(t, &v1alpha1.RetentionPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: elsewhere, Name: "keep"},
		Spec:       last(1),
	})
	for name, c := range map[string]struct {
		make            func(*shop)
		reason, message string
		session         v1alpha1.RetentionPhase
	}{
		"when two configurations name different policies": {func(s *shop) {
			s.policy("a", last(1), "web")
			s.policy("b", last(2), "web")
		}, v1alpha1.ReasonRetentionPolicyConflict, "a names ", v1alpha1.RetentionFailedToApply},
		"when one of two configurations names none": {func(s *shop) {
			s.configuration("a", nil, nil, "web")
			s.policy("b", last(1), "web")
		}, v1alpha1.ReasonRetentionPolicyConflict, "a names none, b names ", v1alpha1.RetentionFailedToApply},
		"when the policy does not exist": {func(s *shop) {
			s.configuration("a", &v1alpha1.ObjectReference{Name: "absent"}, nil, "web")
		}, v1alpha1.ReasonRetentionPolicyNotFound, "there is no RetentionPolicy ", v1alpha1.RetentionFailedToApply},
		"when the policy does not allow this namespace": {func(s *shop) {
			s.configuration("a", &v1alpha1.ObjectReference{Namespace: elsewhere, Name: "keep"}, nil, "web")
		}, v1alpha1.ReasonRetentionPolicyNotAllowed, "usagePolicy", v1alpha1.RetentionFailedToApply},
		"when the policy can't be read": {func(s *shop) {
			spec := last(1)
			spec.TimeZone = new("Mars/Olympus")
			s.policy("a", spec, "web")
		}, v1alpha1.ReasonInvalidRetentionPolicy, `unknown time zone "Mars/Olympus"`, v1alpha1.RetentionFailedToApply},
		"without a policy": {
			func(s *shop) { s.configuration("a", nil, nil, "web") }, v1alpha1.ReasonKeepsEverything,
			"everything is kept", "",
		},
		"while the Repository is paused": {func(s *shop) {
			bed.Edit(s.t, s.repository, func() { s.repository.Spec.Paused = true })
			s.policy("a", last(1), "web")
		}, v1alpha1.ReasonPaused, "nothing is removed", ""},
		"while the Repository is one of a record": {func(s *shop) {
			s.expectRetention(s.repository, v1alpha1.ReasonKeepsEverything, "everything is kept")
			bed.Edit(s.t, s.repository, func() {
				s.repository.Annotations = map[string]string{v1alpha1.AnnotationRecord: "c"}
			})
			s.policy("a", last(1), "web")
		}, v1alpha1.ReasonKeepsEverything, "everything is kept", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			c.make(s)
			s.expectRetention(s.repository, c.reason, c.message)
			snapshots := []*v1alpha1.Snapshot{
				s.snapshot(s.repository, 1, good), s.snapshot(s.repository, 2, good),
				s.snapshot(s.repository, 3, bad), s.snapshot(s.repository, 4, bad),
			}
			session := s.session(1, s.repository)
			if c.session != "" {
				expectSession(t, session, c.session, c.message)
			}
			bed.Quiet(t, s.namespace)
			s.noJob("there is nothing to remove")
			for _, snapshot := range snapshots {
				expectKept(t, snapshot)
			}
			s.expectRetention(s.repository, c.reason, c.message)
		})
	}
}

func TestARestoreHoldsWhatItReads(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.snapshot(s.repository, 1, good)
	used, paused, free := s.snapshot(s.repository, 2, good), s.snapshot(s.repository, 3, good,
		func(s *v1alpha1.Snapshot) { s.Spec.Paused = true }), s.snapshot(s.repository, 4, good)
	running := s.snapshot(s.repository, 5, v1alpha1.SnapshotRunning)
	restore := s.restores(used)
	s.policy("c", last(1), "web")
	job, _ := s.job()
	s.did(job, "")
	recorded(t, free)
	s.expectRetention(s.repository, v1alpha1.ReasonApplied, "")
	for _, held := range []*v1alpha1.Snapshot{used, paused, running} {
		expectKept(t, held)
	}
	// The restore ends, and with it the reason to wait.
	bed.EditStatus(t, restore, func() { restore.Status.Phase = v1alpha1.RestoreSessionSucceeded })
	job, _ = s.job(job)
	s.did(job, "")
	recorded(t, used)
	expectKept(t, paused)
	expectKept(t, running)
}

func TestABatchDropsWholeRestorePoints(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	db := s.newRepository("db")
	batch := func(o *v1alpha1.Snapshot) { o.Labels[v1alpha1.LabelInvokerKind] = v1alpha1.BackupBatchKind }
	// The newest run failed for db, so its newest success is in the run before.
	web1, db1 := s.snapshot(s.repository, 1, good, batch), s.snapshot(db, 1, bad, batch)
	web2, db2 := s.snapshot(s.repository, 2, good, batch), s.snapshot(db, 2, good, batch)
	web3, db3 := s.snapshot(s.repository, 3, good, batch), s.snapshot(db, 3, good, batch)
	bed.Create(t, &v1alpha1.RetentionPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "keep"},
		Spec:       last(1),
	})
	s.batch("web", "db")
	s.removes(web3, db3)
	recorded(t, web3)
	recorded(t, db3)
	for _, r := range []*v1alpha1.Repository{s.repository, db} {
		s.expectRetention(r, v1alpha1.ReasonApplied, "")
	}
	for _, kept := range []*v1alpha1.Snapshot{web1, db1, web2, db2} {
		expectKept(t, kept)
	}
}

func TestNothingIsWrittenWhenNothingChanged(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.snapshot(s.repository, 1, good)
	s.session(1, s.repository)
	s.policy("c", last(3), "web")
	s.expectRetention(s.repository, v1alpha1.ReasonApplied, "")
	bed.NoOp(t, retentions, &events, s.repository)
	g := NewWithT(t)
	before := bed.Writes(s.namespace)
	for range 3 {
		_, err := keepers.Reconcile(t.Context(), s.request())
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(bed.Writes(s.namespace)).To(Equal(before))
	var policy v1alpha1.RetentionPolicy
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: "keep-c"}, &policy)).
		To(Succeed())
	g.Expect(conditions.IsReady(&policy)).To(BeTrue())
	g.Expect(policy.Status.ObservedGeneration).To(Equal(policy.Generation))
}

// dueFor gives the Repository a history that makes maintenance due.
func (s *shop) dueFor(how task.Maintenance) {
	s.t.Helper()
	day, week := metav1.NewTime(now.Now().Add(-25*time.Hour)), metav1.NewTime(now.Now().Add(-8*24*time.Hour))
	bed.EditStatus(s.t, s.repository, func() {
		s.repository.Status.LastBackupTime = &day
		s.repository.Status.LastMaintenance = &v1alpha1.MaintenanceStatus{Quick: &day, Full: &day}
		if how == task.MaintainFull {
			s.repository.Status.LastMaintenance.Full = &week
		}
	})
}

func TestMaintenance(t *testing.T) {
	t.Parallel()
	for _, how := range []task.Maintenance{task.MaintainQuick, task.MaintainFull} {
		t.Run(string(how), func(t *testing.T) {
			t.Parallel()
			g, s := NewWithT(t), newShop(t)
			s.dueFor(how)
			job, keep := s.job()
			g.Expect(keep.Keep).To(HaveLen(1))
			g.Expect(keep.Keep[0].Maintain).To(Equal(how))
			g.Expect(keep.Cluster).To(Equal("uid-cluster"), "the owner of the directory")
			lease := leaseOf(t, job)
			g.Expect(*lease.Spec.HolderIdentity).To(Equal("cairn@uid-cluster"))
			g.Expect(metav1.IsControlledBy(job, lease)).To(BeTrue())

			s.did(job, "Unreachable")
			bed.Eventually(t, s.repository, func(g Gomega) {
				g.Expect(conditions.IsFalse(s.repository, v1alpha1.ConditionMaintained)).To(BeTrue())
				g.Expect(conditions.GetReason(s.repository, v1alpha1.ConditionMaintained)).To(Equal("Unreachable"))
			}, "the condition reports the failure")
			gone(t, job, "the Job is removed")
			s.noJob("the retry comes after a minute, not at once")
			g.Eventually(func() string { return leaseOf(t, job).Annotations[v1alpha1.AnnotationAttempts] },
				testbed.Patience,
				testbed.Interval).Should(ContainSubstring(`"count":1`))
			g.Expect(leaseOf(t, job).Spec.HolderIdentity).To(BeNil())
		})
	}
	t.Run("that succeeded", func(t *testing.T) {
		t.Parallel()
		g, s := NewWithT(t), newShop(t)
		s.dueFor(task.MaintainFull)
		job, _ := s.job()
		s.did(job, "")
		bed.Eventually(t, s.repository, func(g Gomega) {
			m := s.repository.Status.LastMaintenance
			g.Expect(m.Full.Time).To(BeTemporally("~", now.Now(), time.Second))
			g.Expect(m.Quick.Time).To(BeTemporally("~", now.Now(), time.Second))
			g.Expect(s.repository.Status.Size).To(Equal("12.000 MiB"))
			g.Expect(*s.repository.Status.Integrity).To(BeTrue())
			g.Expect(conditions.IsTrue(s.repository, v1alpha1.ConditionMaintained)).To(BeTrue())
		}, "the status holds the result")
		gone(t, job, "the Job is removed")
		s.noJob("no work is due")
		g.Expect(leaseOf(t, job).Annotations).NotTo(HaveKey(v1alpha1.AnnotationAttempts))
	})
}

// batch creates a BackupBatch under the policy "keep", and what its controller would create for it.
func (s *shop) batch(names ...string) {
	s.t.Helper()
	batch := &v1alpha1.BackupBatch{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "shop"},
		Spec: v1alpha1.BackupBatchSpec{
			Backends: []v1alpha1.BackendReference{{
				Name:            "main",
				StorageRef:      &v1alpha1.ObjectReference{Namespace: s.storage.Namespace, Name: s.storage.Name},
				RetentionPolicy: &v1alpha1.ObjectReference{Name: "keep"},
			}},
			Sessions: []v1alpha1.BackupBatchSession{{SessionConfig: v1alpha1.SessionConfig{Name: "nightly"}}},
		},
	}
	for _, name := range names {
		batch.Spec.Targets = append(batch.Spec.Targets, v1alpha1.BatchTarget{
			Name:   name,
			AppRef: v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: name},
		})
		batch.Spec.Sessions[0].Targets = append(batch.Spec.Sessions[0].Targets, v1alpha1.BatchSessionTarget{
			Name:  name,
			Addon: &v1alpha1.AddonInfo{Name: "pvc-addon", Tasks: []v1alpha1.TaskReference{{Name: "logical-backup"}}},
			Repositories: []v1alpha1.RepositoryInfo{{
				Name: name, Backend: "main", Directory: "/shop/" + name,
				EncryptionSecret: &v1alpha1.ObjectReference{Name: "enc"},
			}},
		})
	}
	bed.Create(s.t, batch)
	children, err := policy.Expand(batch, nil)
	NewWithT(s.t).Expect(err).NotTo(HaveOccurred())
	for i := range children {
		children[i].OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(batch,
			v1alpha1.GroupVersion.WithKind(v1alpha1.BackupBatchKind))}
		bed.Create(s.t, &children[i])
	}
}
