package repository

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

var (
	bed    testbed.Bed
	events testbed.Events
	now    = clocktesting.NewFakePassiveClock(time.Now())
)

func TestMain(m *testing.M) {
	os.Exit(bed.Run(m, testbed.AsManager(), testbed.WithManifests(testbed.UserRoles), testbed.WithControllers(func(
		mgr ctrl.Manager,
	) error {
		return (&Reconciler{
			Client: mgr.GetClient(), EventRecorder: &events, APIReader: mgr.GetAPIReader(), Clock: now,
			MoverImage: "mover:test", ClusterUID: "uid-cluster", ClusterName: "eu1", FieldManager: "cairn-manager",
		}).SetupWithManager(mgr, controller.Options{})
	})))
}

// storageOf creates a ready storage in a namespace of its own, open to all namespaces.
func storageOf(t testing.TB) *v1alpha1.BackupStorage {
	t.Helper()
	namespace := bed.Namespace(t, nil)
	bed.Create(t, testbed.S3Key(namespace))
	return bed.ReadyStorage(t, namespace)
}

// repositoryOf returns a Repository in a namespace with the encryption Secret "enc".
func repositoryOf(t testing.TB, s *v1alpha1.BackupStorage, change ...func(*v1alpha1.Repository)) *v1alpha1.Repository {
	t.Helper()
	return repositoryIn(t, bed.Namespace(t, nil), s, change...)
}

// repositoryIn is repositoryOf for a namespace that exists.
func repositoryIn(
	t testing.TB, namespace string, s *v1alpha1.BackupStorage, change ...func(*v1alpha1.Repository),
) *v1alpha1.Repository {
	t.Helper()
	r := &v1alpha1.Repository{
		// as policy creates them
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web", Finalizers: []string{v1alpha1.FinalizerWipe}},
		Spec: v1alpha1.RepositorySpec{
			AppRef:     v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "web"},
			StorageRef: v1alpha1.ObjectReference{Namespace: s.Namespace, Name: s.Name}, Path: "/shop/web",
			EncryptionSecret: v1alpha1.ObjectReference{Name: "enc"},
		},
	}
	for _, f := range change {
		f(r)
	}
	bed.Create(t, testbed.Secret(namespace, "enc", map[string]string{"password": "p"}), r)
	return r
}

func expect(t testing.TB, r *v1alpha1.Repository, reason string) {
	t.Helper()
	phase := v1alpha1.PhaseNotReady
	if reason == v1alpha1.ReasonReady {
		phase = v1alpha1.PhaseReady
	}
	bed.ExpectReason(t, r, phase, reason, "")
}

// initialised creates a Repository whose init Job succeeded.
func initialised(t testing.TB, s *v1alpha1.BackupStorage) (*v1alpha1.Repository, *batchv1.Job) {
	t.Helper()
	r := repositoryOf(t, s)
	job := kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository)
	kubelet.Finish(t, bed.Client, job, kubelet.Report(task.Result{
		Outcome: task.OutcomeSucceeded,
		Reason:  v1alpha1.ReasonSucceeded,
	}), now.Now())
	expect(t, r, v1alpha1.ReasonReady)
	return r, job
}

func taskOf(t testing.TB, job *batchv1.Job) task.Task {
	t.Helper()
	got, err := task.Decode([]byte(job.Spec.Template.Annotations[v1alpha1.AnnotationTask]), task.KindInitRepository)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return got
}

func TestARepositoryIsInitialisedOnceWithACopyOfTheCredential(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s := storageOf(t)
	r := repositoryOf(t, s)
	expect(t, r, v1alpha1.ReasonProgressing)
	job := kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository)
	g.Expect(metav1.IsControlledBy(job, r)).To(BeTrue())
	g.Expect(taskOf(t, job).Repository.Directory).To(Equal("shop/web"))
	g.Expect(taskOf(t, job).Repository.MustExist).To(BeFalse())
	copied := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: job.Name + "-storage"}}
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(copied), copied)).To(Succeed())

	kubelet.Finish(t, bed.Client, job, kubelet.Report(task.Result{
		Outcome: task.OutcomeSucceeded,
		Reason:  v1alpha1.ReasonSucceeded,
	}), now.Now())
	expect(t, r, v1alpha1.ReasonReady)
	g.Eventually(func(g Gomega) {
		var jobs batchv1.JobList
		g.Expect(bed.Client.List(t.Context(), &jobs, client.InNamespace(r.Namespace))).To(Succeed())
		g.Expect(jobs.Items).To(BeEmpty())
		var secrets corev1.SecretList
		g.Expect(bed.Client.List(t.Context(), &secrets, client.InNamespace(r.Namespace))).To(Succeed())
		g.Expect(secrets.Items).To(HaveLen(1))
	}, testbed.Patience, testbed.Interval).Should(Succeed(), "Job and copy go, the user's Secret stays")

	writes := bed.Quiet(t, r.Namespace)
	bed.Edit(t, r, func() { r.Labels = map[string]string{"touched": "x"} })
	bed.StaysQuiet(t, r.Namespace, writes, "no change, no write")
	g.Expect(events.Of(r.Namespace)).To(Equal([]string{"Normal Ready the repository can be used"}))
}

func TestAFailedInitialisationSaysWhy(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r := repositoryOf(t, storageOf(t))
	job := kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository)
	kubelet.Finish(t, bed.Client, job, kubelet.Report(task.Result{
		Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonDirectoryTaken,
		Message: "another cluster's",
	}), now.Now())
	expect(t, r, v1alpha1.ReasonDirectoryTaken)
	g.Expect(conditions.IsFalse(r, v1alpha1.ConditionRepositoryInitialized)).To(BeTrue())

	bed.Edit(t, r, func() { r.Annotations = map[string]string{v1alpha1.AnnotationAdopt: "shop/web@them"} })
	adopting := kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository, job)
	g.Expect(taskOf(t, adopting).Repository.Adopt).To(Equal("shop/web@them"), "a changed annotation is tried at once")
	kubelet.Finish(t, bed.Client, adopting, kubelet.Report(task.Result{
		Outcome: task.OutcomeSucceeded,
		Reason:  v1alpha1.ReasonSucceeded,
	}), now.Now())
	expect(t, r, v1alpha1.ReasonReady)
}

// The user mends what the first Job said, and a quota refuses the next one.
func TestARefusedInitialisationDoesNotHideBehindTheLastFailure(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r := repositoryOf(t, storageOf(t))
	job := kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository)
	kubelet.Finish(t, bed.Client, job, kubelet.Report(task.Result{
		Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonWrongPassword, Message: "wrong",
	}), now.Now())
	expect(t, r, v1alpha1.ReasonWrongPassword)

	extra := job.DeepCopy()
	extra.ObjectMeta = metav1.ObjectMeta{Namespace: job.Namespace, Name: "extra"}
	extra.Spec.Selector, extra.Spec.ManualSelector, extra.Spec.Template.Labels = nil, nil, nil
	bed.Forbid(t, r.Namespace, "jobs", "count/jobs.batch", 1, extra)
	secret := testbed.Secret(r.Namespace, "enc", nil)
	bed.Edit(t, secret, func() { secret.Data = map[string][]byte{"password": []byte("right")} })
	bed.Edit(t, r, func() { r.Labels = map[string]string{"touched": "x"} })
	bed.ExpectReason(t, r, v1alpha1.PhaseNotReady, v1alpha1.ReasonCreationRefused, "exceeded quota")
	g.Expect(conditions.IsUnknown(r, v1alpha1.ConditionRepositoryInitialized)).To(BeTrue())
	events.Eventually(t, r.Namespace, ContainElement(HavePrefix("Warning CreationRefused ")))
	bed.Quiet(t, r.Namespace)
	since := conditions.GetLastTransitionTime(r, v1alpha1.ConditionRepositoryInitialized)
	for lasted, again := range map[time.Duration]time.Duration{
		time.Second: 15 * time.Second, 20 * time.Minute: 5 * time.Minute, 24 * time.Hour: 10 * time.Minute,
	} {
		another := &Reconciler{
			Client: bed.Manager.GetClient(), EventRecorder: &events, APIReader: bed.Manager.GetAPIReader(),
			Clock:      clocktesting.NewFakePassiveClock(since.Add(lasted)),
			MoverImage: "mover:test", ClusterUID: "uid-cluster", FieldManager: "cairn-manager",
		}
		result, err := another.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(r)})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(result.RequeueAfter).To(Equal(again), "refused for "+lasted.String())
	}

	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: "jobs"}}
	g.Expect(bed.Client.Delete(t.Context(), quota)).To(Succeed())
	kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository, job)
	expect(t, r, v1alpha1.ReasonProgressing)
}

func TestARepositoryWhoseStorageMovedIsLookedForAndNotCreated(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s := storageOf(t)
	r, first := initialised(t, s)
	bed.Edit(t, s, func() { s.Spec.Storage.S3.Prefix = "elsewhere" })
	expect(t, r, v1alpha1.ReasonStorageNotReady)
	bed.MarkReady(t, s)
	job := kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository, first)
	g.Expect(taskOf(t, job).Repository.MustExist).To(BeTrue())
}

// The bucket was copied on Monday and named on Wednesday: what was found in the old one says nothing about the copy.
func TestWhatWasFoundInAnotherPlaceIsForgotten(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), storageOf(t)
	r, first := initialised(t, s)
	intact, damaged := snapshotOf(t, r, "intact", true), snapshotOf(t, r, "damaged", false)
	at := metav1.NewTime(now.Now().Add(-time.Hour).Truncate(time.Second))
	bed.EditStatus(t, r, func() {
		r.Status.Integrity, r.Status.StoredBytes = new(true), new(int64(12<<20))
		r.Status.LastMaintenance = &v1alpha1.MaintenanceStatus{Quick: &at, Full: &at}
		conditions.MarkTrue(r, v1alpha1.ConditionChecked, v1alpha1.ReasonChecked, "done")
	})
	bed.Edit(t, s, func() { s.Spec.Storage.S3.Prefix = "copy" })
	expect(t, r, v1alpha1.ReasonStorageNotReady)
	bed.MarkReady(t, s)
	job := kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository, first)
	g.Expect(r.Status.Integrity).To(HaveValue(BeTrue()), "it still has its old place")
	kubelet.Finish(t, bed.Client, job, kubelet.Report(task.Result{
		Outcome: task.OutcomeSucceeded, Reason: v1alpha1.ReasonSucceeded,
	}), now.Now())
	expect(t, r, v1alpha1.ReasonReady)
	g.Expect(r.Status.Integrity).To(BeNil())
	g.Expect(r.Status.StoredBytes).To(BeNil())
	g.Expect(r.Status.LastMaintenance.Full).To(BeNil(), "the next check comes soon")
	g.Expect(r.Status.LastMaintenance.Quick).NotTo(BeNil())
	g.Expect(r.Status.MovedTime.Time).To(BeTemporally(">=", damaged.CreationTimestamp.Time), "whatever the clock says")
	g.Expect(conditions.IsUnknown(r, v1alpha1.ConditionChecked)).To(BeTrue())
	g.Expect(conditions.GetReason(r, v1alpha1.ConditionChecked)).To(Equal(v1alpha1.ReasonNotChecked))
	for _, snapshot := range []*v1alpha1.Snapshot{intact, damaged} {
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(snapshot), snapshot)).To(Succeed())
		g.Expect(snapshot.Status.LastCheckTime).To(BeNil())
	}
	g.Expect(intact.Status.Integrity).To(BeNil())
	g.Expect(intact.Status.Components["pvc"].Integrity).To(BeNil())
	g.Expect(damaged.Status.Integrity).To(HaveValue(BeFalse()), "a copy is damaged, too")
}

// snapshotOf creates a good Snapshot that was checked.
func snapshotOf(t testing.TB, r *v1alpha1.Repository, name string, intact bool) *v1alpha1.Snapshot {
	t.Helper()
	s := &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: name},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: name, Repository: r.Name, Session: "nightly", BackupSession: "b", Version: "v1",
			AppRef: r.Spec.AppRef,
		},
	}
	bed.Create(t, s)
	at := metav1.NewTime(now.Now().Add(-time.Hour).Truncate(time.Second))
	bed.EditStatus(t, s, func() {
		s.Status.Phase, s.Status.SnapshotTime, s.Status.LastCheckTime = v1alpha1.SnapshotSucceeded, &at, &at
		s.Status.Integrity = &intact
		s.Status.Components = map[string]v1alpha1.Component{
			"pvc": {Phase: v1alpha1.SnapshotSucceeded, ID: "id-" + name, Integrity: &intact},
		}
	})
	bed.Eventually(t, r, func(g Gomega) {
		g.Expect(r.Status.RecentSnapshots).To(ContainElement(HaveField("Name", name)))
		g.Expect(r.Status.LastBackupTime).NotTo(BeNil())
	}, "the Repository knows of it")
	return s
}

func TestWhatARepositoryNeedsIsSaid(t *testing.T) {
	t.Parallel()
	s := storageOf(t)
	for name, tc := range map[string]struct {
		change func(*v1alpha1.Repository)
		reason string
	}{
		"its storage": {
			change: func(r *v1alpha1.Repository) { r.Spec.StorageRef.Name = "absent" },
			reason: v1alpha1.ReasonStorageNotFound,
		},
		"its password": {
			change: func(r *v1alpha1.Repository) { r.Spec.Path, r.Spec.EncryptionSecret.Name = "/a", "absent" },
			reason: v1alpha1.ReasonEncryptionSecretNotAvailable,
		},
		"a directory without a reserved name": {
			change: func(r *v1alpha1.Repository) { r.Spec.Path = "/a/kopia" },
			reason: v1alpha1.ReasonInvalidPath,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, repositoryOf(t, s, tc.change), tc.reason)
		})
	}
}

func TestAStorageThatForbidsANamespaceIsNotUsed(t *testing.T) {
	t.Parallel()
	s := storageOf(t)
	r, _ := initialised(t, s)
	bed.Edit(t, s, func() { s.Spec.UsagePolicy = nil })
	bed.MarkReady(t, s)
	bed.ExpectReason(t, r, v1alpha1.PhaseNotReady, v1alpha1.ReasonStorageNotAllowed,
		fmt.Sprintf("the usagePolicy of BackupStorage %s/%s does not allow the namespace %s", s.Namespace, s.Name,
			r.Namespace))
}

func TestOfTwoRepositoriesOfOneDirectoryTheOlderWins(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s := storageOf(t)
	older := repositoryOf(t, s)
	expect(t, older, v1alpha1.ReasonProgressing)
	testbed.ASecondLater(t, older)
	younger := repositoryOf(t, s, func(r *v1alpha1.Repository) { r.Spec.Path = "shop/web/" })
	expect(t, younger, v1alpha1.ReasonDirectoryTaken)
	g.Expect(conditions.IsStalled(younger)).To(BeTrue())
	g.Expect(bed.Client.Delete(t.Context(), older)).To(Succeed())
	expect(t, younger, v1alpha1.ReasonProgressing)
}

func TestARepositoryOfARecordIsLeftAlone(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r := repositoryOf(t, storageOf(t), func(r *v1alpha1.Repository) {
		r.Annotations, r.Finalizers = map[string]string{v1alpha1.AnnotationRecord: "c"}, nil
	})
	bed.Quiet(t, r.Namespace)
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(r), r)).To(Succeed())
	g.Expect(r.Finalizers).To(BeEmpty())
	g.Expect(r.Status.Conditions).To(BeEmpty())
	var jobs batchv1.JobList
	g.Expect(bed.Client.List(t.Context(), &jobs, client.InNamespace(r.Namespace))).To(Succeed())
	g.Expect(jobs.Items).To(BeEmpty())
}

func TestTheStatusCountsSnapshots(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r, _ := initialised(t, storageOf(t))
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 7 {
		s := &v1alpha1.Snapshot{
			ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: fmt.Sprintf("s-%d", i)},
			Spec: v1alpha1.SnapshotSpec{
				SnapshotID: fmt.Sprintf("0%d", i), Repository: r.Name, Session: "nightly",
				BackupSession: "b", Version: "v1", AppRef: r.Spec.AppRef,
			},
		}
		bed.Create(t, s)
		bed.EditStatus(t, s, func() {
			s.Status.Phase, s.Status.Size = v1alpha1.SnapshotSucceeded, fmt.Sprintf("%d MiB", i)
			s.Status.SnapshotTime = new(metav1.NewTime(at.Add(time.Duration(i) * time.Hour)))
			if i == 6 {
				s.Status.Phase, s.Status.Size, s.Status.SnapshotTime = v1alpha1.SnapshotFailed, "", nil
			}
		})
	}
	bed.Create(t, &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: r.Namespace, Name: "record",
			Annotations: map[string]string{v1alpha1.AnnotationRecord: "c"},
		},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: "99", Repository: r.Name, Session: "nightly", BackupSession: "b",
			Version: "v1", AppRef: r.Spec.AppRef,
		},
	})
	bed.Eventually(t, r, func(g Gomega) {
		g.Expect(r.Status.SnapshotCount).To(HaveValue(Equal(int32(6))))
		g.Expect(r.Status.LastBackupTime.Time).To(BeTemporally("==", at.Add(5*time.Hour)))
		g.Expect(r.Status.Size).To(Equal("5 MiB"))
		g.Expect(r.Status.RecentSnapshots).To(HaveLen(5))
		g.Expect(r.Status.RecentSnapshots[0].Name).To(Equal("s-6"))
		g.Expect(r.Status.RecentSnapshots[0].Phase).To(Equal(v1alpha1.SnapshotFailed))
	}, "the status follows the Snapshots")

	var s v1alpha1.Snapshot
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: r.Namespace, Name: "s-6"}, &s)).To(Succeed())
	writes := bed.Quiet(t, r.Namespace)
	bed.EditStatus(t, &s, func() {
		s.Status.Components = map[string]v1alpha1.Component{
			"pvc": {Progress: &v1alpha1.ComponentProgress{FilesDone: 3}},
		}
	})
	bed.StaysQuiet(t, r.Namespace, writes, "progress of a Snapshot changes nothing in the Repository")

	s.Name = "s-5"
	for _, mark := range []string{"r/u/c", ""} {
		bed.Edit(t, &s, func() { s.Annotations = map[string]string{v1alpha1.AnnotationHalfRestored: mark} })
		bed.Eventually(t, r, func(g Gomega) {
			g.Expect(r.Status.HalfRestoredCount == 1).To(Equal(mark != ""))
		}, "a mark that somebody sets or removes counts")
	}
}
