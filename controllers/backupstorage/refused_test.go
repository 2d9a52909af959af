package backupstorage

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

// Somebody has revoked the key, or deleted the bucket: the Secret has not changed, and only movers notice.
func TestAStorageThatRepositoriesCannotUseIsProvedAgain(t *testing.T) {
	t.Parallel()
	for _, reason := range []string{v1alpha1.ReasonBadCredentials, v1alpha1.ReasonBucketNotFound} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			s := storageOf(t)
			first := kubelet.Job(t, bed.Client, s.Namespace, v1alpha1.LabelStorage)
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
				conditions.MarkFalse(r, meta.ReadyCondition, reason, "refused")
			})
			past := now.Now().Add(-time.Hour)
			proof := kubelet.Job(t, bed.Client, s.Namespace, v1alpha1.LabelStorage, first)
			expect(t, s, v1alpha1.ReasonReady) // until the result is known
			kubelet.Finish(t, bed.Client, proof, kubelet.Report(failure(v1alpha1.ReasonUnreachable)), past)
			proof = kubelet.Job(t, bed.Client, s.Namespace, v1alpha1.LabelStorage, first, proof)
			expect(t, s, v1alpha1.ReasonReady) // that said nothing of it
			kubelet.Finish(t, bed.Client, proof, kubelet.Report(failure(reason)), past)
			expect(t, s, reason)

			kubelet.Finish(t, bed.Client, kubelet.Job(t, bed.Client, s.Namespace, v1alpha1.LabelStorage, first, proof),
				kubelet.Report(success()), now.Now())
			expect(t, s, v1alpha1.ReasonReady) // by itself
		})
	}
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
