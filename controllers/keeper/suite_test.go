package keeper_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/controllers/keeper"
	"github.com/cairn-backup/cairn/controllers/repository"
	"github.com/cairn-backup/cairn/controllers/retention"
	"github.com/cairn-backup/cairn/controllers/snapshot"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

var (
	bed    testbed.Bed
	events testbed.Events
	// now stands still: Snapshots are made at times before it.
	now   = clocktesting.NewFakePassiveClock(time.Now().Truncate(time.Second))
	began = time.Now()
	// keepers and retentions are the reconcilers that the manager runs.
	keepers    *keeper.Reconciler
	retentions *retention.Reconciler
)

func TestMain(m *testing.M) {
	os.Exit(bed.Run(m, testbed.AsManager(), testbed.WithManifests(testbed.UserRoles), testbed.WithControllers(func(
		mgr ctrl.Manager,
	) error {
		keepers = newKeepers(mgr.GetClient(), mgr.GetAPIReader(), now)
		retentions = &retention.Reconciler{
			Client: mgr.GetClient(), EventRecorder: &events, APIReader: mgr.GetAPIReader(), Clock: now,
			FieldManager: "cairn-manager", Administrators: testbed.Administrators(),
			ServerTime: func(context.Context) (time.Time, error) { return now.Now(), nil },
			Stopwatch:  func() time.Duration { return 2*time.Hour + time.Since(began) }, // now stands still
		}
		for _, c := range []interface {
			SetupWithManager(ctrl.Manager, controller.Options) error
		}{
			keepers, retentions,
			&retention.PolicyReconciler{
				Client: mgr.GetClient(), EventRecorder: &events, FieldManager: "cairn-manager",
				Administrators: testbed.Administrators(),
			},
			&snapshot.Reconciler{
				Client: mgr.GetClient(), EventRecorder: &events, APIReader: mgr.GetAPIReader(),
				Clock:         clock.RealClock{},
				FieldManager:  "cairn-manager",
				SweepInterval: 2 * time.Second, StuckAfter: 2 * time.Second,
			},
			&repository.Reconciler{
				Client: mgr.GetClient(), EventRecorder: &events, APIReader: mgr.GetAPIReader(), Clock: now,
				MoverImage: "mover:test", ClusterUID: "uid-cluster", FieldManager: "cairn-manager",
			},
		} {
			if err := c.SetupWithManager(mgr, controller.Options{}); err != nil {
				return err
			}
		}
		return nil
	})))
}

// newKeepers returns a reconciler that remembers nothing, like that of a manager that starts.
func newKeepers(c client.Client, live client.Reader, clock clock.PassiveClock) *keeper.Reconciler {
	return &keeper.Reconciler{
		Client: c, EventRecorder: &events, APIReader: live, Clock: clock,
		MoverImage: "mover:test", ClusterUID: "uid-cluster", FieldManager: "cairn-manager",
	}
}

// shop is a namespace with a ready Repository in a storage of another namespace.
type shop struct {
	t          testing.TB
	namespace  string
	storage    *v1alpha1.BackupStorage
	repository *v1alpha1.Repository
}

func newShop(t testing.TB, change ...func(*v1alpha1.Repository)) *shop {
	t.Helper()
	vault := bed.Namespace(t, nil)
	bed.Create(t, testbed.S3Key(vault))
	s := &shop{t: t, namespace: bed.Namespace(t, nil), storage: bed.ReadyStorage(t, vault)}
	bed.Create(t, testbed.Secret(s.namespace, "enc", map[string]string{"password": "p"}))
	s.repository = s.newRepository("web", change...)
	return s
}

// newRepository creates a Repository and lets its init Job make it ready.
func (s *shop) newRepository(name string, change ...func(*v1alpha1.Repository)) *v1alpha1.Repository {
	s.t.Helper()
	r := &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace, Name: name,
			Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn},
		},
		Spec: v1alpha1.RepositorySpec{
			AppRef:           v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: name},
			StorageRef:       v1alpha1.ObjectReference{Namespace: s.storage.Namespace, Name: s.storage.Name},
			Path:             "/shop/" + name,
			EncryptionSecret: v1alpha1.ObjectReference{Name: "enc"},
		},
	}
	for _, f := range change {
		f(r)
	}
	bed.Create(s.t, r)
	job := kubelet.Job(s.t, bed.Client, s.namespace, v1alpha1.LabelRepository)
	kubelet.Finish(s.t, bed.Client, job, kubelet.Report(task.Result{Outcome: task.OutcomeSucceeded}), now.Now())
	bed.ExpectReason(s.t, r, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
	NewWithT(s.t).Eventually(func() bool {
		return apierrors.IsNotFound(bed.Client.Get(s.t.Context(), client.ObjectKeyFromObject(job), job))
	}, testbed.Patience, testbed.Interval).Should(BeTrue(), "the init Job is removed")
	return r
}

// policy names a RetentionPolicy for the Repositories, through a BackupConfiguration of this name.
func (s *shop) policy(
	configuration string, spec v1alpha1.RetentionPolicySpec, repositories ...string,
) *v1alpha1.RetentionPolicy {
	s.t.Helper()
	p := &v1alpha1.RetentionPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "keep-" + configuration},
		Spec:       spec,
	}
	bed.Create(s.t, p)
	s.configuration(configuration, &v1alpha1.ObjectReference{Name: p.Name}, nil, repositories...)
	return p
}

func (s *shop) configuration(
	name string, ref *v1alpha1.ObjectReference, labels map[string]string, repositories ...string,
) {
	s.t.Helper()
	var infos []v1alpha1.RepositoryInfo
	for _, repository := range repositories {
		infos = append(infos, v1alpha1.RepositoryInfo{
			Name: repository, Backend: "main", Directory: "/shop/" + repository,
			EncryptionSecret: &v1alpha1.ObjectReference{Name: "enc"},
		})
	}
	bed.Create(s.t, &v1alpha1.BackupConfiguration{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name, Labels: labels},
		Spec: v1alpha1.BackupConfigurationSpec{
			Target: &v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "web"},
			Backends: []v1alpha1.BackendReference{{
				Name:            "main",
				StorageRef:      &v1alpha1.ObjectReference{Namespace: s.storage.Namespace, Name: s.storage.Name},
				RetentionPolicy: ref,
			}},
			Sessions: []v1alpha1.BackupConfigurationSession{{
				SessionConfig: v1alpha1.SessionConfig{Name: "nightly"},
				Addon: &v1alpha1.AddonInfo{
					Name: "pvc-addon", Tasks: []v1alpha1.TaskReference{{Name: "logical-backup"}},
				},
				Repositories: infos,
			}},
		},
	})
}

// snapshot creates a Snapshot of the Repository that ended some hours ago, as a BackupSession does, and waits until the
// cache has it.
func (s *shop) snapshot(
	repository *v1alpha1.Repository, hours int, phase v1alpha1.SnapshotPhase, change ...func(*v1alpha1.Snapshot),
) *v1alpha1.Snapshot {
	s.t.Helper()
	run := fmt.Sprintf("run-%d", hours)
	when := metav1.NewTime(now.Now().Add(-time.Duration(hours) * time.Hour))
	out := &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace, Name: policy.SnapshotName(repository.Name, run),
			Finalizers: []string{v1alpha1.FinalizerWipe, v1alpha1.FinalizerRecord},
			Labels:     map[string]string{v1alpha1.LabelBackupSession: run},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(repository,
				v1alpha1.GroupVersion.WithKind(v1alpha1.RepositoryKind))},
		},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: fmt.Sprintf("%04d", hours), Repository: repository.Name, Session: "nightly", BackupSession: run,
			Version: "v1",
			AppRef:  repository.Spec.AppRef,
		},
	}
	for _, f := range change {
		f(out)
	}
	bed.Create(s.t, out)
	bed.EditStatus(s.t, out, func() {
		out.Status = v1alpha1.SnapshotStatus{
			Phase: phase, SnapshotTime: &when,
			Components: map[string]v1alpha1.Component{"pvc": {Phase: phase, ID: "id-" + out.Name}},
		}
	})
	bed.Cached(s.t, out)
	return out
}

// session creates a BackupSession that ended, with a Snapshot in each Repository.
func (s *shop) session(hours int, repositories ...*v1alpha1.Repository) *v1alpha1.BackupSession {
	s.t.Helper()
	out := &v1alpha1.BackupSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: fmt.Sprintf("run-%d", hours)},
		Spec: v1alpha1.BackupSessionSpec{
			Invoker: v1alpha1.TypedLocalObjectReference{
				APIGroup: v1alpha1.Group, Kind: v1alpha1.BackupConfigurationKind,
				Name: "c",
			}, Session: "nightly",
		},
	}
	bed.Create(s.t, out)
	bed.EditStatus(s.t, out, func() {
		out.Status.Phase = v1alpha1.BackupSessionSucceeded
		for _, r := range repositories {
			out.Status.Snapshots = append(out.Status.Snapshots,
				v1alpha1.SnapshotStatusInfo{Name: policy.SnapshotName(r.Name, out.Name), Repository: r.Name})
		}
	})
	return out
}

// job waits for the keeper's Job and returns it with its task.
func (s *shop) job(not ...client.Object) (*batchv1.Job, task.Task) {
	s.t.Helper()
	job := kubelet.Job(s.t, bed.Client, s.namespace, v1alpha1.LabelKeeper, not...)
	t, err := task.Decode([]byte(job.Spec.Template.Annotations[v1alpha1.AnnotationTask]), task.KindKeep)
	NewWithT(s.t).Expect(err).NotTo(HaveOccurred())
	return job, t
}

// request returns the request for the keeper of the storage.
func (s *shop) request() ctrl.Request {
	return ctrl.Request{NamespacedName: client.ObjectKey{
		Namespace: s.namespace, Name: client.ObjectKeyFromObject(s.storage).String(),
	}}
}

// restores creates a restore of the Snapshot. The cache knows it afterwards.
func (s *shop) restores(of *v1alpha1.Snapshot) *v1alpha1.RestoreSession {
	s.t.Helper()
	restore := &v1alpha1.RestoreSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "r"},
		Spec: v1alpha1.RestoreSessionSpec{
			Target:     &v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "copy"},
			DataSource: &v1alpha1.RestoreDataSource{Snapshot: of.Name},
		},
	}
	bed.Create(s.t, restore)
	bed.Cached(s.t, restore)
	return restore
}

// did ends the keeper's Job: for each repository with success, or with a reason.
func (s *shop) did(job *batchv1.Job, reasons ...string) {
	s.t.Helper()
	r := task.Result{Outcome: task.OutcomeSucceeded}
	for i, reason := range reasons {
		c := task.ComponentResult{Name: fmt.Sprint(i), Outcome: task.OutcomeSucceeded, SizeBytes: 12 << 20}
		if reason != "" {
			c.Outcome, c.Reason, c.Error = task.OutcomeFailed, reason, "the storage can't be reached"
			r.Outcome, r.Reason, r.Message = c.Outcome, c.Reason, c.Error
		}
		r.Components = append(r.Components, c)
	}
	kubelet.Finish(s.t, bed.Client, job, kubelet.Report(r), now.Now())
}

// found ends the keeper's Job with the result of a check of one repository.
func (s *shop) found(job *batchv1.Job, verified int64, damaged ...int) {
	s.t.Helper()
	kubelet.Finish(s.t, bed.Client, job, kubelet.Report(task.Result{
		Outcome: task.OutcomeSucceeded,
		Components: []task.ComponentResult{{
			Name: "0", Outcome: task.OutcomeSucceeded, SizeBytes: 12 << 20, Verified: verified, Damaged: damaged,
		}},
	}), now.Now())
}

// gone waits until an object no longer exists.
func gone(t testing.TB, o client.Object, why string) {
	t.Helper()
	NewWithT(t).Eventually(func() bool {
		return apierrors.IsNotFound(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(o), o))
	}, testbed.Patience, testbed.Interval).Should(BeTrue(), why)
}

// expectRetention waits for the reason of the Repository's condition.
func (s *shop) expectRetention(r *v1alpha1.Repository, reason, message string) {
	s.t.Helper()
	bed.Eventually(s.t, r, func(g Gomega) {
		g.Expect(conditions.GetReason(r, v1alpha1.ConditionRetentionApplied)).
			To(Equal(reason), "%+v", r.Status.Conditions)
		g.Expect(conditions.GetMessage(r, v1alpha1.ConditionRetentionApplied)).To(ContainSubstring(message))
	}, reason)
}

// released asserts that only the Ledger still holds a Snapshot.
func released(t testing.TB, s *v1alpha1.Snapshot) {
	t.Helper()
	bed.Eventually(t, s, func(g Gomega) {
		g.Expect(s.DeletionTimestamp).NotTo(BeNil())
		g.Expect(s.Finalizers).To(Equal([]string{v1alpha1.FinalizerRecord}))
	}, "its data is removed, and the Snapshot waits for its record")
}

// recorded plays the part of the Ledger.
func recorded(t testing.TB, s *v1alpha1.Snapshot) {
	t.Helper()
	released(t, s)
	bed.Edit(t, s, func() { s.Finalizers = nil })
}

// expectKept asserts that nobody deletes an object.
func expectKept(t testing.TB, o client.Object) {
	t.Helper()
	g := NewWithT(t)
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(o), o)).To(Succeed())
	g.Expect(o.GetDeletionTimestamp()).To(BeNil(), o.GetName())
}

// noJob asserts that no keeper was started in the namespace.
func (s *shop) noJob(why string) {
	s.t.Helper()
	NewWithT(s.t).Consistently(func(g Gomega) {
		var jobs batchv1.JobList
		g.Expect(bed.Client.List(s.t.Context(), &jobs, client.InNamespace(s.namespace),
			client.HasLabels{v1alpha1.LabelKeeper})).To(Succeed())
		g.Expect(jobs.Items).To(BeEmpty())
	}, 2*time.Second, 100*time.Millisecond).Should(Succeed(), why)
}

// terminate begins to delete the namespace, as kubectl does. Nothing completes the deletion here.
func (s *shop) terminate(namespace string) {
	s.t.Helper()
	g := NewWithT(s.t)
	g.Expect(bed.Client.Delete(s.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})).
		To(Succeed())
}

var last = func(n int32) v1alpha1.RetentionPolicySpec {
	return v1alpha1.RetentionPolicySpec{SuccessfulSnapshots: &v1alpha1.SuccessfulSnapshotsKeepPolicy{Last: &n}}
}
