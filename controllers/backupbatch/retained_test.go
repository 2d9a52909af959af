package backupbatch

import (
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// wipingBatch creates a batch of a named volume and of what a selector finds, whose deletion wipes its Repositories.
func wipingBatch(t *testing.T) *v1alpha1.BackupBatch {
	t.Helper()
	namespace := namespaceWith(t, "named")
	bed.Create(t, shopClaim(namespace, "pages"), shopClaim(namespace, "front"),
		shopDeployment(namespace, "web", "front"))
	batch := selecting(namespace)
	session := &batch.Spec.Sessions[0]
	session.Targets[0].Repositories[0].DeletionPolicy = v1alpha1.WipeOutRepository
	session.Repositories[0].DeletionPolicy = v1alpha1.WipeOutRepository
	bed.Create(t, batch)
	bed.ReadyRepositories(t, namespace, wiped...)
	bed.ExpectReason(t, batch, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
	return batch
}

// wiped are the Repositories of wipingBatch.
var wiped = []string{"named", "app-all-persistentvolumeclaim-pages", "app-all-deployment-web"}

// expectKept fails if a Repository of wipingBatch is being deleted or is to be wiped.
func expectKept(t *testing.T, namespace string, names ...string) {
	t.Helper()
	g := NewWithT(t)
	for _, name := range names {
		repository := &v1alpha1.Repository{}
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, repository)).
			To(Succeed(), name)
		g.Expect(repository.DeletionTimestamp).To(BeNil(), "the history of "+name+" is not wiped")
		g.Expect(repository.Spec.DeletionPolicy).NotTo(Equal(v1alpha1.WipeOut), name)
	}
}

// Only the deletion of the policy that says WipeOut wipes: what falls out of a batch stays.
func TestWhatFallsOutOfABatchIsNotWiped(t *testing.T) {
	t.Parallel()
	claim := func(t *testing.T, batch *v1alpha1.BackupBatch, name string) client.Object {
		t.Helper()
		o := shopClaim(batch.Namespace, name)
		NewWithT(t).Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(o), o)).To(Succeed())
		return o
	}
	for name, tt := range map[string]struct {
		change func(*testing.T, *v1alpha1.BackupBatch)
		child  string
	}{
		"a label is edited": {func(t *testing.T, b *v1alpha1.BackupBatch) {
			o := claim(t, b, "pages")
			bed.Edit(t, o, func() { o.SetLabels(nil) })
		}, "all-persistentvolumeclaim-pages"},
		"a claim is deleted": {func(t *testing.T, b *v1alpha1.BackupBatch) {
			NewWithT(t).Expect(bed.Client.Delete(t.Context(), claim(t, b, "pages"))).To(Succeed())
		}, "all-persistentvolumeclaim-pages"},
		"a workload mounts no claim any more": {func(t *testing.T, b *v1alpha1.BackupBatch) {
			o := shopDeployment(b.Namespace, "web")
			bed.Edit(t, o, func() { o.Spec.Template.Spec.Volumes = nil })
		}, "all-deployment-web"},
		"a selector excludes it": {func(t *testing.T, b *v1alpha1.BackupBatch) {
			bed.Edit(t, b, func() {
				b.Spec.Targets[1].Selector.Exclude = &v1alpha1.TargetExclusion{
					Names: []v1alpha1.ExcludedTarget{{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "pages"}},
				}
			})
		}, "all-persistentvolumeclaim-pages"},
		"a target leaves the list": {func(t *testing.T, b *v1alpha1.BackupBatch) {
			bed.Edit(t, b, func() {
				b.Spec.Targets = b.Spec.Targets[1:]
				b.Spec.Sessions[0].Targets = b.Spec.Sessions[0].Targets[1:]
			})
		}, "named"},
		"a target is renamed": {func(t *testing.T, b *v1alpha1.BackupBatch) {
			bed.Edit(t, b, func() {
				b.Spec.Targets[0].Name, b.Spec.Sessions[0].Targets[0].Name = "renamed", "renamed"
				b.Spec.Sessions[0].Targets[0].Repositories[0].Name = "renamed"
				b.Spec.Sessions[0].Targets[0].Repositories[0].Directory = "/shop/renamed"
			})
		}, "named"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			batch := wipingBatch(t)
			tt.change(t, batch)
			child := childOf(batch, tt.child)
			NewWithT(t).Eventually(func() bool {
				return apierrors.IsNotFound(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(child), child))
			}, "20s", "50ms").Should(BeTrue(), "the child goes with its target")
			expectKept(t, batch.Namespace, wiped...)
		})
	}
}

func repositoryOf(t *testing.T, namespace, name string) *v1alpha1.Repository {
	t.Helper()
	repository := &v1alpha1.Repository{}
	NewWithT(t).Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, repository)).
		To(Succeed(), name)
	return repository
}

// expectRetained waits until the status lists exactly these Repositories.
func expectRetained(t *testing.T, batch *v1alpha1.BackupBatch, why string, want ...v1alpha1.RetainedRepository) {
	t.Helper()
	bed.Eventually(t, batch, func(g Gomega) {
		g.Expect(batch.Status.Retained).To(BeEquivalentTo(want))
		g.Expect(batch.Status.RetainedCount).To(BeEquivalentTo(len(want)))
		g.Expect(conditions.IsTrue(batch, v1alpha1.ConditionRepositoriesRetained)).To(Equal(len(want) > 0))
	}, why)
}

func TestABatchListsWhatFellOutOfIt(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	batch := wipingBatch(t)
	g.Expect(batch.Status.Retained).To(BeEmpty())
	pages := shopClaim(batch.Namespace, "pages")
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(pages), pages)).To(Succeed())
	entry := v1alpha1.RetainedRepository{
		Name:   "app-all-persistentvolumeclaim-pages",
		AppRef: v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "pages"},
		Reason: v1alpha1.ReasonTargetLeft,
	}

	bed.Edit(t, pages, func() { pages.Labels = nil })
	expectRetained(t, batch, "the target fell out", entry)
	const message = "Cairn keeps these Repositories and the backups in them, if any, although this policy no longer " +
		"uses them: " +
		"app-all-persistentvolumeclaim-pages. Delete a Repository to decide"
	g.Expect(conditions.GetMessage(batch, v1alpha1.ConditionRepositoriesRetained)).To(HavePrefix(message))
	events.Eventually(t, batch.Namespace, ContainElement(HavePrefix("Warning TargetLeft "+message)))
	bed.ExpectReason(t, batch, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
	bed.NoOp(t, reconciler, &events, batch)

	bed.Edit(t, pages, func() { pages.Labels = shop })
	expectRetained(t, batch, "the target is back")

	bed.Edit(t, pages, func() { pages.Labels = nil })
	expectRetained(t, batch, "and out again", entry)
	g.Expect(bed.Client.Delete(t.Context(), repositoryOf(t, batch.Namespace, entry.Name))).To(Succeed())
	expectRetained(t, batch, "somebody decided")
}

// A Repository that policy no longer names stays, although its target does.
func TestABatchListsRepositoriesThatItNoLongerNames(t *testing.T) {
	t.Parallel()
	pages := v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "pages"}
	web := v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: "Deployment", Name: "web"}
	left := []v1alpha1.RetainedRepository{
		{Name: "app-all-deployment-web", AppRef: web, Reason: v1alpha1.ReasonRepositoryLeft},
		{Name: "app-all-persistentvolumeclaim-pages", AppRef: pages, Reason: v1alpha1.ReasonRepositoryLeft},
	}
	for name, edit := range map[string]func(*v1alpha1.BackupBatch){
		"another template": func(b *v1alpha1.BackupBatch) {
			b.Spec.Sessions[0].Repositories[0].Name, b.Spec.Sessions[0].Repositories[0].Directory = "new", "/new"
		},
		"another template that retains": func(b *v1alpha1.BackupBatch) {
			b.Spec.Sessions[0].Repositories[0] = v1alpha1.RepositoryInfo{
				Name: "new", Backend: "main", Directory: "/new",
				EncryptionSecret: &v1alpha1.ObjectReference{Name: "enc"},
			}
		},
		"another backend": func(b *v1alpha1.BackupBatch) {
			b.Spec.Backends = append(b.Spec.Backends, v1alpha1.BackendReference{
				Name: "away", StorageRef: &v1alpha1.ObjectReference{Name: "s3"},
			})
			b.Spec.Sessions[0].Repositories[0].Backend = "away"
			b.Spec.Sessions[0].Repositories[0].Name, b.Spec.Sessions[0].Repositories[0].Directory = "away", "/away"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			batch := wipingBatch(t)
			bed.Edit(t, batch, func() { edit(batch) })
			expectRetained(t, batch, "policy names others", left...)
			expectKept(t, batch.Namespace, wiped...)
		})
	}
	t.Run("a session leaves", func(t *testing.T) {
		t.Parallel()
		batch := wipingBatch(t)
		bed.Edit(t, batch, func() {
			more := *batch.Spec.Sessions[0].DeepCopy()
			more.Name = "nightly"
			more.Targets = more.Targets[:1]
			batch.Spec.Sessions = append(batch.Spec.Sessions, more)
		})
		bed.ExpectReason(t, batch, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
		bed.Edit(t, batch, func() {
			batch.Spec.Sessions = batch.Spec.Sessions[1:]
			batch.Spec.Targets = batch.Spec.Targets[:1]
		})
		gone := []v1alpha1.RetainedRepository{left[0], left[1]}
		gone[0].Reason, gone[1].Reason = v1alpha1.ReasonTargetLeft, v1alpha1.ReasonTargetLeft
		expectRetained(t, batch, "the session and its targets left", gone...)
		expectKept(t, batch.Namespace, wiped...)
	})
}

// expectGone waits until an object is gone.
func expectGone(t *testing.T, o client.Object) {
	t.Helper()
	NewWithT(t).Eventually(func() bool {
		return apierrors.IsNotFound(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(o), o))
	}, testbed.Patience, testbed.Interval).Should(BeTrue(), "it is gone")
}

// The deletion of the batch is the deletion of the policy that says WipeOut. What fell out before stays, and is said.
func TestOnlyTheDeletionOfTheBatchWipes(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	batch := wipingBatch(t)
	pages := shopClaim(batch.Namespace, "pages")
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(pages), pages)).To(Succeed())
	bed.Edit(t, pages, func() { pages.Labels = nil })
	bed.Eventually(t, batch, func(g Gomega) { g.Expect(batch.Status.RetainedCount).To(BeEquivalentTo(1)) }, "it is out")
	g.Expect(batch.Finalizers).To(ContainElement(v1alpha1.FinalizerRepositories))

	g.Expect(bed.Client.Delete(t.Context(), batch)).To(Succeed())
	expectGone(t, batch)
	for _, name := range []string{"named", "app-all-deployment-web"} {
		repository := repositoryOf(t, batch.Namespace, name)
		g.Expect(repository.DeletionTimestamp).NotTo(BeNil(), name)
		g.Expect(repository.Spec.DeletionPolicy).To(Equal(v1alpha1.WipeOut), name)
	}
	expectKept(t, batch.Namespace, "app-all-persistentvolumeclaim-pages")
	events.Eventually(t, batch.Namespace, ContainElement(And(HavePrefix("Warning DataKept "),
		ContainSubstring("no longer uses them: app-all-persistentvolumeclaim-pages."))))
	g.Expect(childrenOf(t, batch)).To(BeEmpty(), "the children went before the Repositories")
}

// A label that changes while the batch does not look, and then the deletion of the batch.
func TestATargetThatLeavesRightBeforeTheBatchStays(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	batch := wipingBatch(t)
	bed.EditStatus(t, batch, func() {
		batch.Status.Targets = append(batch.Status.Targets, v1alpha1.BatchTargetStatus{
			Name: "all-persistentvolumeclaim-left", FoundBy: "all", Configuration: "shop-left",
			AppRef: v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "left"},
		})
	})
	targets, err := reconciler.present(t.Context(), batch)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(targets).To(HaveLen(3), "the claim does not exist")
}

func TestDeletionsThatWipeNothing(t *testing.T) {
	t.Parallel()
	t.Run("a child is deleted by hand", func(t *testing.T) {
		t.Parallel()
		g := NewWithT(t)
		batch := wipingBatch(t)
		child := childOf(batch, "named")
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(child), child)).To(Succeed())
		gone := child.UID
		g.Expect(bed.Client.Delete(t.Context(), child)).To(Succeed())
		bed.Eventually(t, child, func(g Gomega) { g.Expect(child.UID).NotTo(Equal(gone)) }, "the child comes back")
		expectKept(t, batch.Namespace, wiped...)
	})
	t.Run("the namespace goes", func(t *testing.T) {
		t.Parallel()
		g := NewWithT(t)
		batch := wipingBatch(t)
		g.Expect(bed.Client.Delete(t.Context(),
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: batch.Namespace}})).To(Succeed())
		g.Expect(bed.Client.Delete(t.Context(), batch)).To(Succeed())
		expectGone(t, batch)
		expectKept(t, batch.Namespace, wiped...)
		events.Eventually(t, batch.Namespace,
			ContainElement("Warning DataKept Cairn removes no data: the namespace is being deleted"))
	})
	t.Run("the deletion orphans the children", func(t *testing.T) {
		t.Parallel()
		g := NewWithT(t)
		batch := wipingBatch(t)
		g.Expect(bed.Client.Delete(t.Context(), batch,
			client.PropagationPolicy(metav1.DeletePropagationOrphan))).To(Succeed())
		bed.Eventually(t, batch, func(g Gomega) {
			g.Expect(batch.Finalizers).NotTo(ContainElement(v1alpha1.FinalizerRepositories))
		}, "the batch is released")
		expectKept(t, batch.Namespace, wiped...)
		g.Expect(childrenOf(t, batch)).To(HaveLen(3))
		events.Eventually(t, batch.Namespace,
			ContainElement(ContainSubstring("the deletion keeps the dependents of the policy")))
	})
	t.Run("another batch uses the Repository", func(t *testing.T) {
		t.Parallel()
		g := NewWithT(t)
		batch := wipingBatch(t)
		renamed := batch.DeepCopy()
		renamed.ObjectMeta = metav1.ObjectMeta{Namespace: batch.Namespace, Name: "renamed"}
		bed.Create(t, renamed)
		g.Expect(bed.Client.Delete(t.Context(), batch)).To(Succeed())
		expectGone(t, batch)
		expectKept(t, batch.Namespace, wiped...)
		bed.Eventually(t, renamed, func(g Gomega) {
			g.Expect(repositoryOf(t, batch.Namespace, "named").Labels).
				To(HaveKeyWithValue(v1alpha1.LabelInvokerName, "renamed"))
		}, "the Repository names the policy that uses it")
	})
	t.Run("the policy is flipped as the target leaves", func(t *testing.T) {
		t.Parallel()
		batch := wipingBatch(t)
		bed.Edit(t, batch, func() {
			batch.Spec.Sessions[0].Targets[0].Repositories[0].DeletionPolicy = v1alpha1.RetainRepository
			batch.Spec.Sessions[0].Repositories[0].DeletionPolicy = v1alpha1.RetainRepository
		})
		bed.Eventually(t, batch, func(g Gomega) {
			g.Expect(batch.Finalizers).NotTo(ContainElement(v1alpha1.FinalizerRepositories))
		}, "nothing goes with the batch")
		bed.Edit(t, batch, func() {
			batch.Spec.Sessions[0].Repositories[0].DeletionPolicy = v1alpha1.WipeOutRepository
			batch.Spec.Targets[1].Selector.Exclude = &v1alpha1.TargetExclusion{
				Names: []v1alpha1.ExcludedTarget{{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "pages"}},
			}
		})
		expectGone(t, childOf(batch, "all-persistentvolumeclaim-pages"))
		expectKept(t, batch.Namespace, wiped...)
	})
}

// A namespace can have many large batches: the deletion of one reads the others once, not once for each Repository.
func TestADeletedBatchReadsTheOthersOnce(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	batch := wipingBatch(t)
	other := batchOf(batch.Namespace, "extra")
	other.Name = "other"
	bed.Create(t, testbed.Claim(batch.Namespace, "extra"), other)
	bed.ReadyRepositories(t, batch.Namespace, "extra")
	bed.ExpectReason(t, other, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
	before := lists.of(batch.Namespace)
	g.Expect(bed.Client.Delete(t.Context(), batch)).To(Succeed())
	g.Eventually(func() bool {
		return apierrors.IsNotFound(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(batch), batch))
	}).WithTimeout(testbed.Patience).Should(BeTrue(), "the batch lets its Repositories go")
	for _, name := range wiped {
		repository := &v1alpha1.Repository{}
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: batch.Namespace, Name: name}, repository)).
			To(Succeed())
		g.Expect(repository.DeletionTimestamp).NotTo(BeNil(), name)
	}
	g.Expect(lists.of(batch.Namespace)-before).To(BeNumerically("<", len(wiped)), "the other batch did not change")
}
