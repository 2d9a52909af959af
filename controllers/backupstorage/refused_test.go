package backupstorage

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

// Somebody has revoked the key, or deleted the bucket: the Secret has not changed, and only movers notice.
func TestAStorageThatRepositoriesCannotUseIsProvedAgain(t *testing.T) {
	t.Parallel()
	for blames, reason := range map[string]string{
		v1alpha1.ReasonBadCredentials:     v1alpha1.ReasonBadCredentials,
		v1alpha1.ReasonBucketNotFound:     v1alpha1.ReasonBucketNotFound,
		v1alpha1.ReasonRepositoryNotFound: v1alpha1.ReasonMetadataNotFound,
		v1alpha1.ReasonMetadataNotFound:   v1alpha1.ReasonMetadataNotFound,
	} {
		t.Run(blames, func(t *testing.T) {
			t.Parallel()
			s := storageOf(t)
			g := NewWithT(t)
			first := kubelet.Job(t, bed.Client, s.Namespace, v1alpha1.LabelStorage)
			g.Expect(storageIn(t, first).MustExist).To(BeFalse())
			kubelet.Finish(t, bed.Client, first, kubelet.Report(success()), now.Now())
			expect(t, s, v1alpha1.ReasonReady)
			noJobs(t, s.Namespace)
			bed.EditStatus(t, s, func() {
				for i := range s.Status.Conditions {
					s.Status.Conditions[i].LastTransitionTime = metav1.NewTime(now.Now().Add(-time.Hour))
				}
			})
			r := &v1alpha1.Repository{
				ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: "web"},
				Spec: v1alpha1.RepositorySpec{
					AppRef:     v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "web"},
					StorageRef: v1alpha1.ObjectReference{Name: s.Name}, Path: "/shop/web",
					EncryptionSecret: v1alpha1.ObjectReference{Name: "enc"},
				},
			}
			bed.Create(t, r)
			bed.EditStatus(t, r, func() {
				r.Status.Phase = v1alpha1.PhaseNotReady
				r.Status.InitializedSpec = policy.RepositoryPlace(s.Namespace, s.Spec.Storage, r.Spec.Path)
				conditions.MarkFalse(r, meta.ReadyCondition, blames, "refused")
			})
			past := now.Now().Add(-time.Hour)
			proof := kubelet.Job(t, bed.Client, s.Namespace, v1alpha1.LabelStorage, first)
			expect(t, s, v1alpha1.ReasonReady) // until the result is known
			kubelet.Finish(t, bed.Client, proof, kubelet.Report(failure(v1alpha1.ReasonUnreachable)), past)
			proof = kubelet.Job(t, bed.Client, s.Namespace, v1alpha1.LabelStorage, first, proof)
			expect(t, s, v1alpha1.ReasonReady) // that said nothing of it
			kubelet.Finish(t, bed.Client, proof, kubelet.Report(failure(reason)), past)
			expect(t, s, reason)

			last := kubelet.Job(t, bed.Client, s.Namespace, v1alpha1.LabelStorage, first, proof)
			for _, job := range []*batchv1.Job{proof, last} {
				g.Expect(storageIn(t, job)).To(And(HaveField("MustExist", true),
					HaveField("Directories", Equal([]string{"shop/web"}))), "an empty place is the wrong one")
			}
			kubelet.Finish(t, bed.Client, last, kubelet.Report(success()), now.Now())
			expect(t, s, v1alpha1.ReasonReady) // by itself
		})
	}
}

// storageIn returns what the task of an init Job says of the storage.
func storageIn(t *testing.T, job *batchv1.Job) task.Storage {
	t.Helper()
	in, err := task.Decode([]byte(job.Spec.Template.Annotations[v1alpha1.AnnotationTask]), task.KindInitStorage)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return in.Storage
}

// readyStorage returns a BackupStorage that is Ready, and the init Job that has initialised it and is gone.
func readyStorage(t *testing.T) (*v1alpha1.BackupStorage, *batchv1.Job) {
	t.Helper()
	s := storageOf(t)
	first := kubelet.Job(t, bed.Client, s.Namespace, v1alpha1.LabelStorage)
	kubelet.Finish(t, bed.Client, first, kubelet.Report(success()), now.Now())
	expect(t, s, v1alpha1.ReasonReady)
	noJobs(t, s.Namespace)
	return s, first
}

// Who names another place in the BackupStorage begins anew there.
func TestAStorageInAnotherPlaceIsInitialised(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s, first := readyStorage(t)
	bed.Edit(t, s, func() { s.Spec.Storage.S3.Prefix += "-other" })
	g.Expect(storageIn(t, kubelet.Job(t, bed.Client, s.Namespace, v1alpha1.LabelStorage, first)).MustExist).
		To(BeFalse())
}

// Who changes a BackupStorage back, as its Repositories advise, finds the place that is lost as empty as before.
func TestAStorageThatIsChangedBackMustExist(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s, first := readyStorage(t)
	repository := func(name string) *v1alpha1.Repository {
		r := &v1alpha1.Repository{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: name},
			Spec: v1alpha1.RepositorySpec{
				AppRef:     v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: name},
				StorageRef: v1alpha1.ObjectReference{Name: s.Name}, Path: "/shop/" + name,
				EncryptionSecret: v1alpha1.ObjectReference{Name: "enc"},
			},
		}
		bed.Create(t, r)
		return r
	}
	for name, ready := range map[string]bool{"db": false, "web": true} {
		r := repository(name)
		bed.EditStatus(t, r, func() {
			r.Status.InitializedSpec = policy.RepositoryPlace(s.Namespace, s.Spec.Storage, r.Spec.Path)
			if ready {
				conditions.MarkTrue(r, meta.ReadyCondition, v1alpha1.ReasonReady, "it is")
			}
		})
		bed.Cached(t, r)
	}
	bed.Cached(t, repository("fresh")) // was never initialised

	was := s.Spec.Storage.S3.Prefix
	bed.Edit(t, s, func() { s.Spec.Storage.S3.Prefix = was + "-other" })
	second := kubelet.Job(t, bed.Client, s.Namespace, v1alpha1.LabelStorage, first)
	g.Expect(storageIn(t, second)).To(And(HaveField("MustExist", false), HaveField("Directories", BeEmpty())),
		"no Repository keeps anything there: it begins anew")
	kubelet.Finish(t, bed.Client, second, kubelet.Report(success()), now.Now())
	expect(t, s, v1alpha1.ReasonReady)
	noJobs(t, s.Namespace)

	bed.Edit(t, s, func() { s.Spec.Storage.S3.Prefix = was })
	third := kubelet.Job(t, bed.Client, s.Namespace, v1alpha1.LabelStorage, first, second)
	g.Expect(storageIn(t, third)).To(And(HaveField("MustExist", true),
		HaveField("Directories", Equal([]string{"shop/web", "shop/db"}))), "two keep their data there, one is Ready")
}

// A Repository can lack a right that the storage itself has. It must not have the storage proved without end.
func TestWhenAStorageIsDoubted(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 5, 7, 10, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		status  metav1.ConditionStatus
		blamed  time.Time
		now     time.Duration // since it was proved
		doubted bool
		again   time.Duration
	}{
		"nobody blames it": {status: metav1.ConditionTrue, now: time.Hour},
		"blamed before":    {status: metav1.ConditionTrue, blamed: at, now: time.Hour},
		"blamed since": {
			status: metav1.ConditionTrue, blamed: at.Add(time.Second), now: time.Hour, doubted: true,
		},
		"proved a moment ago": {
			status: metav1.ConditionTrue, blamed: at.Add(time.Second), now: time.Minute, again: 9 * time.Minute,
		},
		"it is being proved": {status: metav1.ConditionUnknown, blamed: at.Add(time.Second), now: time.Hour},
		"proved by a wrong clock": {
			status: metav1.ConditionTrue, blamed: at.Add(time.Second), now: -time.Hour, doubted: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			s := &v1alpha1.BackupStorage{}
			s.Status.Conditions = []metav1.Condition{{
				Type: v1alpha1.ConditionBackendInitialized, Status: tt.status, LastTransitionTime: metav1.NewTime(at),
			}}
			r := &Reconciler{Clock: clocktesting.NewFakePassiveClock(at.Add(tt.now))}
			doubted, again := r.doubted(s, tt.blamed)
			g.Expect(doubted).To(Equal(tt.doubted))
			g.Expect(again).To(Equal(tt.again))
		})
	}
}
