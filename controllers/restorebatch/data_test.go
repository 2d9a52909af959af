package restorebatch

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// ready makes the Repository of a target ready, or not, for a reason.
func (w *world) ready(target, reason string) {
	w.T.Helper()
	repo := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "shop-" + target}}
	bed.EditStatus(w.T, repo, func() {
		repo.Status.Phase = v1alpha1.PhaseReady
		conditions.MarkTrue(repo, meta.ReadyCondition, v1alpha1.ReasonReady, "ready")
		if reason != "" {
			repo.Status.Phase = v1alpha1.PhaseNotReady
			conditions.MarkFalse(repo, meta.ReadyCondition, reason, "it says no")
		}
	})
}

// sharesStorage lets all namespaces use the BackupStorage, or none but its own.
func (w *world) sharesStorage(shares bool) {
	w.T.Helper()
	storage := &v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{
		Namespace: w.Storage, Name: sessiontest.StorageName,
	}}
	bed.Edit(w.T, storage, func() {
		storage.Spec.UsagePolicy = nil
		if shares {
			storage.Spec.UsagePolicy = testbed.Usage(&v1alpha1.UsagePolicy{
				AllowedNamespaces: v1alpha1.AllowedNamespaces{From: new(v1alpha1.NamespacesFromAll)},
			})
		}
	})
}

// The data of one target can't be read. Nothing is touched before it can be.
func TestARestoreBatchWaitsForTheDataOfAllTargets(t *testing.T) {
	t.Parallel()
	secret := func(b *v1alpha1.RestoreBatch) {
		b.Spec.Targets[2].EncryptionSecret = &v1alpha1.ObjectReference{Name: "late"}
	}
	for name, tt := range map[string]struct {
		edit         func(*v1alpha1.RestoreBatch)
		change, mend func(w *world)
		wait         time.Duration
		reason, says string
	}{
		"a Repository is not ready": {
			change: func(w *world) { w.ready("db", v1alpha1.ReasonStorageNotReady) },
			mend:   func(w *world) { w.ready("db", "") },
			wait:   run.WaitForRepository, reason: v1alpha1.ReasonRepositoryNotReady,
			says: "target db: Repository shop-db is not ready: it says no. No target is restored",
		},
		"a Secret is missing": {
			edit: secret, change: func(*world) {},
			mend: func(w *world) {
				sessiontest.Create(w.T, w.Client, &corev1.Secret{
					ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "late"},
					Data:       map[string][]byte{v1alpha1.EncryptionPassword: []byte("secret")},
				})
			},
			wait: run.WaitForChild, reason: v1alpha1.ReasonEncryptionSecretNotAvailable,
			says: "target db: there is no encryption Secret ",
		},
		"the storage does not allow it": {
			change: func(w *world) { w.sharesStorage(false) }, mend: func(w *world) { w.sharesStorage(true) },
			wait: run.WaitForChild, reason: v1alpha1.ReasonStorageNotAllowed, says: "target web: the usagePolicy of ",
		},
	} {
		for end, comes := range map[string]bool{"it comes": true, "it stays away": false} {
			t.Run(name+", "+end, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.gone(w.deployment("kubectl"))
				tt.change(w)
				l, before := sessiontest.Listen(t), w.generation()
				edits := []func(*v1alpha1.RestoreBatch){scalesWeb}
				if tt.edit != nil {
					edits = append(edits, tt.edit)
				}
				w.hooked(l, edits...)
				for range 3 {
					w.Reconcile("back")
					w.Cluster()
				}
				w.Expect(summary(w.batch("back"))).To(Equal([]string{"Pending/" + tt.reason + " of "}))
				if comes {
					tt.mend(w)
					w.Expect(w.drive().Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded))
					return
				}
				w.Clock.SetTime(w.Clock.Now().Add(tt.wait + time.Second))
				b := w.drive()
				w.Expect(summary(b)).To(Equal([]string{"Failed/" + tt.reason + " of "}))
				w.Expect(conditions.GetMessage(b, meta.ReadyCondition)).To(HavePrefix(tt.says))
				w.Expect(l.Heard()).To(BeEmpty(), "no hook runs")
				w.Expect(w.generation()).To(Equal(before), "nothing is scaled")
				w.Expect(w.children()).To(BeEmpty(), "no target is overwritten")
			})
		}
	}
}

// Somebody has to mend it, so a RestoreBatch does not wait. It touches nothing, with hooks or without.
func TestARestoreBatchOfDataThatNobodyCanReadEndsAtOnce(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		edit   func(*v1alpha1.RestoreBatch)
		change func(w *world)
		want   string
	}{
		"a Repository is stalled": {
			change: func(w *world) {
				w.ready("db", v1alpha1.ReasonPasswordChanged)
				repo := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "shop-db"}}
				bed.EditStatus(w.T, repo, func() { conditions.MarkStalled(repo, v1alpha1.ReasonPasswordChanged, "no") })
			},
			want: "Failed/PasswordChanged of ",
		},
		"a component is missing": {
			edit: func(b *v1alpha1.RestoreBatch) { b.Spec.Targets[2].Components = []string{"pod-9"} },
			want: "Invalid/ComponentNotFound of ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var edits []func(*v1alpha1.RestoreBatch)
			if tt.change != nil {
				tt.change(w)
			}
			if tt.edit != nil {
				edits = append(edits, tt.edit)
			}
			w.restore("back", edits...)
			w.Expect(summary(w.settle("back"))).To(Equal([]string{tt.want}))
			w.Expect(w.children()).To(BeEmpty())
		})
	}
}

// Another cluster has adopted the directory. The data is still there, so a RestoreSession reads it.
func TestARestoreBatchReadsARepositoryWhoseDirectoryIsTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	storage, repo := &v1alpha1.BackupStorage{}, &v1alpha1.Repository{}
	w.Expect(w.Client.Get(t.Context(), client.ObjectKey{Namespace: w.Storage, Name: sessiontest.StorageName}, storage)).
		To(Succeed())
	w.Get("shop-db", repo)
	bed.EditStatus(t, repo, func() {
		repo.Status.InitializedSpec = policy.RepositoryPlace(w.Storage, storage.Spec.Storage, repo.Spec.Path)
		repo.Status.TakenTime = &metav1.Time{Time: w.Clock.Now()}
	})
	w.ready("db", v1alpha1.ReasonDirectoryTaken)
	w.restore("back")
	w.Expect(summary(w.settle("back"))).To(Equal(whole("second")))
}

// A target that has what was restored is skipped, whatever became of its Repository since.
func TestATargetThatHasItsDataNeedsNoRepository(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	targets := of(w.mounting(), v1alpha1.RestoreBatchTarget{Name: "uploads"})
	w.restore("back", targets, scalesWeb)
	b := w.settle("back")
	w.Expect(b.Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded), "%v", summary(b))
	w.ready("web", v1alpha1.ReasonStorageNotReady)
	w.ready("uploads", v1alpha1.ReasonStorageNotReady)
	w.again(b)
	b = w.settle("back")
	w.Expect(summary(b)[0]).To(Equal("Skipped/AlreadyRestored of "))
	w.ready("uploads", "")
	w.anew("uploads")
	w.again(b)
	w.Expect(summary(w.settle("back"))[1:]).To(Equal([]string{
		"web: Skipped/AlreadyRestored of ", "uploads: Succeeded/Succeeded of third",
	}))
}
