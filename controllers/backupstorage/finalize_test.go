package backupstorage

import (
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// heldStorage creates a storage with its finalizer, and a Repository in another namespace.
func heldStorage(
	t testing.TB, change ...func(*v1alpha1.BackupStorage),
) (*v1alpha1.BackupStorage, *v1alpha1.Repository) {
	t.Helper()
	s := storageOf(t, change...)
	bed.Eventually(t, s, func(g Gomega) { g.Expect(s.Finalizers).To(ContainElement(v1alpha1.FinalizerWipe)) },
		"the storage has its finalizer")
	r := &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: bed.Namespace(t, nil), Name: "web",
			Finalizers: []string{v1alpha1.FinalizerWipe},
		},
		Spec: v1alpha1.RepositorySpec{
			AppRef:     v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "web"},
			StorageRef: v1alpha1.ObjectReference{Namespace: s.Namespace, Name: s.Name}, Path: "/shop/web",
			EncryptionSecret: v1alpha1.ObjectReference{Name: "enc"}, DeletionPolicy: v1alpha1.WipeOut,
		},
	}
	bed.Create(t, r)
	bed.Eventually(t, s, func(g Gomega) {
		g.Expect(s.Status.Repositories).To(HaveLen(1))
		g.Expect(s.Status.Repositories[0].Name).To(Equal("web"))
		g.Expect(*s.Status.Repositories[0].Synced).To(BeFalse())
		g.Expect(s.Status.TotalSize).To(BeEmpty())
	}, "the status lists its Repositories")
	return s, r
}

func begin(t testing.TB, o client.Object) {
	t.Helper()
	NewWithT(t).Expect(bed.Client.Delete(t.Context(), o)).To(Succeed())
}

func gone(t testing.TB, o client.Object) {
	t.Helper()
	NewWithT(t).Eventually(func() bool {
		return apierrors.IsNotFound(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(o), o))
	}, testbed.Patience, testbed.Interval).Should(BeTrue(), "no finalizer holds it")
}

func TestAStorageThatNothingUsesGoes(t *testing.T) {
	t.Parallel()
	s := storageOf(t)
	expect(t, s, v1alpha1.ReasonProgressing)
	begin(t, s)
	gone(t, s)
}

func TestTheSizesOfAStorage(t *testing.T) {
	t.Parallel()
	s, r := heldStorage(t)
	bed.EditStatus(t, r, func() { r.Status.StoredBytes, r.Status.Size = new(int64(3<<20)), "3.000 MiB" })
	bed.Eventually(t, s, func(g Gomega) {
		g.Expect(s.Status.TotalSize).To(Equal("3.000 MiB"))
		g.Expect(s.Status.Repositories[0].Size).To(Equal("3.000 MiB"))
	}, "the status adds up the sizes")
}

func TestAStorageGoesAfterItsRepositories(t *testing.T) {
	t.Parallel()
	for _, policy := range []v1alpha1.DeletionPolicy{v1alpha1.DeleteObjects, v1alpha1.WipeOut} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			s, r := heldStorage(t, func(s *v1alpha1.BackupStorage) { s.Spec.DeletionPolicy = policy })
			begin(t, s)
			bed.Eventually(t, r, func(g Gomega) {
				g.Expect(r.DeletionTimestamp).NotTo(BeNil())
				g.Expect(r.Spec.DeletionPolicy).To(Equal(policy), "the storage's deletionPolicy counts")
			}, "its Repositories go first")
			bed.Eventually(t, s, func(g Gomega) {
				g.Expect(conditions.GetReason(s, meta.ReadyCondition)).To(Equal(v1alpha1.ReasonRemovalPending))
				g.Expect(conditions.GetMessage(s, meta.ReadyCondition)).
					To(Equal("the BackupStorage is released after its Repositories: Repository " + r.Namespace +
						"/web"))
			}, "the condition says what it waits for")
			bed.Edit(t, r, func() { r.Finalizers = nil })
			gone(t, s)
		})
	}
}

// The owner of a storage does not decide over the data of other namespaces.
func TestAStorageWipesNothingInAnotherNamespace(t *testing.T) {
	t.Parallel()
	for name, same := range map[string]bool{"another": false, "its own": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, r := heldStorage(t, func(s *v1alpha1.BackupStorage) { s.Spec.DeletionPolicy = v1alpha1.WipeOut })
			bed.Edit(t, r, func() { r.Spec.DeletionPolicy = v1alpha1.DeleteObjects })
			want := v1alpha1.DeleteObjects
			if same {
				want = v1alpha1.WipeOut
				own := &v1alpha1.Repository{
					ObjectMeta: metav1.ObjectMeta{
						Namespace: s.Namespace, Name: "own", Finalizers: []string{v1alpha1.FinalizerWipe},
					},
					Spec: *r.Spec.DeepCopy(),
				}
				own.Spec.Path = "/own"
				bed.Create(t, own)
				r = own
				bed.Eventually(t, s, func(g Gomega) { g.Expect(s.Status.Repositories).To(HaveLen(2)) },
					"both are known")
			}
			begin(t, s)
			bed.Eventually(t, r, func(g Gomega) {
				g.Expect(r.DeletionTimestamp).NotTo(BeNil())
				g.Expect(r.Spec.DeletionPolicy).To(Equal(want))
			}, "its Repositories go first")
			events.Eventually(t, s.Namespace, ContainElement(ContainSubstring("its own deletionPolicy is not WipeOut")))
		})
	}
}

func TestAStorageInUseStays(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s, r := heldStorage(t, func(s *v1alpha1.BackupStorage) { s.Spec.DeletionPolicy = v1alpha1.WipeOut })
	user := &v1alpha1.BackupConfiguration{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: "web"},
		Spec: v1alpha1.BackupConfigurationSpec{
			Target:   &v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "web"},
			Backends: []v1alpha1.BackendReference{{Name: "main", StorageRef: &r.Spec.StorageRef}},
			Sessions: []v1alpha1.BackupConfigurationSession{{
				SessionConfig: v1alpha1.SessionConfig{Name: "nightly"},
				Addon: &v1alpha1.AddonInfo{
					Name: "pvc-addon", Tasks: []v1alpha1.TaskReference{{Name: "logical-backup"}},
				},
				Repositories: []v1alpha1.RepositoryInfo{{
					Name: "web", Backend: "main", Directory: "/shop/web",
					EncryptionSecret: &v1alpha1.ObjectReference{Name: "enc"},
				}},
			}},
		},
	}
	bed.Create(t, user)
	g.Eventually(func() error {
		return bed.Manager.GetClient().Get(t.Context(), client.ObjectKeyFromObject(user), user.DeepCopy())
	}, testbed.Patience, testbed.Interval).Should(Succeed(), "the cache has the BackupConfiguration")
	begin(t, s)
	bed.Eventually(t, s, func(g Gomega) {
		g.Expect(conditions.GetReason(s, meta.ReadyCondition)).To(Equal(v1alpha1.ReasonInUse))
		g.Expect(conditions.GetMessage(s, meta.ReadyCondition)).
			To(Equal("the BackupStorage is released once nothing uses it: BackupConfiguration " + r.Namespace +
				"/web. Delete these users first. If the deletion was a mistake, annotate the BackupStorage with " +
				"backup.cairn.dev/give-up=" + string(s.UID) + " and apply it again: its Repositories, their " +
				"Snapshots and the data stay"))
	}, "the condition names the user")
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(r), r)).To(Succeed())
	g.Expect(r.DeletionTimestamp).To(BeNil())

	bed.Edit(t, s, func() { s.Annotations = map[string]string{v1alpha1.AnnotationGiveUp: string(s.UID)} })
	gone(t, s)
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(r), r)).To(Succeed())
	g.Expect(r.DeletionTimestamp).To(BeNil(), "a removal that was given up leaves everything as it is")
	events.Eventually(t, s.Namespace, ContainElement(ContainSubstring("DataKept")))
}

// Deleting a namespace never wipes data.
func TestAStorageWhoseNamespaceGoes(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s, r := heldStorage(t, func(s *v1alpha1.BackupStorage) { s.Spec.DeletionPolicy = v1alpha1.WipeOut })
	bed.Edit(t, r, func() { r.Spec.DeletionPolicy = v1alpha1.DeleteObjects })
	begin(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.Namespace}})
	begin(t, s)
	gone(t, s)
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(r), r)).To(Succeed())
	g.Expect(r.DeletionTimestamp).To(BeNil())
	g.Expect(r.Spec.DeletionPolicy).To(Equal(v1alpha1.DeleteObjects))
}
