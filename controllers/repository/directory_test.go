package repository

import (
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

func path(directory string) func(*v1alpha1.Repository) {
	return func(r *v1alpha1.Repository) { r.Spec.Path = directory }
}

func TestOfRepositoriesInEachOtherTheOlderWins(t *testing.T) {
	t.Parallel()
	s := storageOf(t)
	older := repositoryOf(t, s)
	expect(t, older, v1alpha1.ReasonProgressing)
	testbed.ASecondLater(t, older)

	inside := repositoryOf(t, s, path("shop/web/images"))
	sibling, cousin := repositoryOf(t, s, path("shop/web2")), repositoryOf(t, s, path("shop2"))
	testbed.ASecondLater(t, cousin)
	around := repositoryOf(t, s, path("shop"))

	for _, loser := range []*v1alpha1.Repository{inside, around} {
		g := NewWithT(t)
		expect(t, loser, v1alpha1.ReasonDirectoryTaken)
		g.Expect(conditions.IsStalled(loser)).To(BeTrue())
		g.Expect(conditions.GetMessage(loser, meta.ReadyCondition)).To(ContainSubstring(
			"Repository " + older.Namespace +
				`/web has the directory "/shop/web" already, and one can't lie in another`))
		var jobs batchv1.JobList
		g.Expect(bed.Client.List(t.Context(), &jobs, client.InNamespace(loser.Namespace))).To(Succeed())
		g.Expect(jobs.Items).To(BeEmpty(), "nothing is written into the older one's directory")
	}
	for _, neighbour := range []*v1alpha1.Repository{sibling, cousin} {
		expect(t, neighbour, v1alpha1.ReasonProgressing)
	}
	expect(t, older, v1alpha1.ReasonProgressing)

	g := NewWithT(t)
	g.Expect(bed.Client.Delete(t.Context(), older)).To(Succeed())
	expect(t, inside, v1alpha1.ReasonProgressing)
	expect(t, around, v1alpha1.ReasonDirectoryTaken)
	g.Expect(bed.Client.Delete(t.Context(), inside)).To(Succeed())
	g.Expect(bed.Client.Delete(t.Context(), sibling)).To(Succeed())
	expect(t, around, v1alpha1.ReasonProgressing)
}

func TestAPathThatCanNotBeADirectoryStandsInNobodysWay(t *testing.T) {
	t.Parallel()
	s := storageOf(t)
	invalid := repositoryOf(t, s, path("shop/kopia"))
	expect(t, invalid, v1alpha1.ReasonInvalidPath)
	testbed.ASecondLater(t, invalid)
	expect(t, repositoryOf(t, s, path("shop")), v1alpha1.ReasonProgressing)
}

// Deleting a Repository leaves the pod of its init Job running for a while. A second init would replace the key of the
// first.
func TestAnInitWaitsForThatOfADeletedRepository(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]func(
		t *testing.T, s *v1alpha1.BackupStorage, was *v1alpha1.Repository,
	) *v1alpha1.Repository{
		"of another name in its directory": func(
			t *testing.T, s *v1alpha1.BackupStorage, _ *v1alpha1.Repository,
		) *v1alpha1.Repository {
			return repositoryOf(t, s)
		},
		"of its own name": func(
			t *testing.T, _ *v1alpha1.BackupStorage, was *v1alpha1.Repository,
		) *v1alpha1.Repository {
			NewWithT(t).Eventually(func() bool {
				return apierrors.IsNotFound(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(was),
					was.DeepCopy()))
			}, testbed.Patience, testbed.Interval).Should(BeTrue(), "the first is gone")
			again := &v1alpha1.Repository{
				ObjectMeta: metav1.ObjectMeta{Namespace: was.Namespace, Name: was.Name},
				Spec:       was.Spec,
			}
			bed.Create(t, again)
			return again
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			s := storageOf(t)
			r := repositoryOf(t, s)
			job := kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository)
			pod := kubelet.Start(t, bed.Client, job)
			g.Eventually(func() error {
				return bed.Manager.GetClient().Get(t.Context(), client.ObjectKeyFromObject(pod), pod.DeepCopy())
			}, testbed.Patience, testbed.Interval).Should(Succeed(), "the cache has the Repository")
			g.Expect(bed.Client.Delete(t.Context(), r)).To(Succeed())
			g.Expect(bed.Client.Delete(t.Context(), job, client.PropagationPolicy(metav1.DeletePropagationBackground))).
				To(Succeed())

			second := next(t, s, r)
			expect(t, second, v1alpha1.ReasonProgressing)
			g.Consistently(func(g Gomega) {
				var jobs batchv1.JobList
				g.Expect(bed.Client.List(t.Context(), &jobs, client.InNamespace(second.Namespace))).To(Succeed())
				g.Expect(jobs.Items).To(BeEmpty())
			}, 3*time.Second, 200*time.Millisecond).Should(Succeed(), "the first init's pod still runs")

			g.Expect(bed.Client.Delete(t.Context(), pod, client.GracePeriodSeconds(0))).To(Succeed())
			made := kubelet.Job(t, bed.Client, second.Namespace, v1alpha1.LabelRepository)
			g.Expect(metav1.IsControlledBy(made, second)).To(BeTrue())
		})
	}
}

// A label or a task on a pod is a mark that anybody can set. It must not keep a Repository of others from its
// initialisation.
func TestAForgedMarkHoldsNoRepository(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s := storageOf(t)
	first := repositoryOf(t, s)
	job := kubelet.Job(t, bed.Client, first.Namespace, v1alpha1.LabelRepository)
	genuine := job.Spec.Template.Annotations[v1alpha1.AnnotationTask]
	g.Expect(bed.Client.Delete(t.Context(), first)).To(Succeed())
	g.Expect(bed.Client.Delete(t.Context(), job, client.PropagationPolicy(metav1.DeletePropagationBackground))).
		To(Succeed())

	stranger, tenant, home := bed.Namespace(t, nil), bed.Namespace(t, nil), bed.Namespace(t, nil)
	mark := func(namespace, task string) {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: namespace, Name: "mark", Labels: map[string]string{
					v1alpha1.LabelRepository: "web", v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn,
				},
				Annotations: map[string]string{v1alpha1.AnnotationTask: task},
			},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "sleep", Image: "sleep"}}},
		}
		bed.Create(t, pod)
		g.Eventually(func() error {
			return bed.Manager.GetClient().Get(t.Context(), client.ObjectKeyFromObject(pod), pod.DeepCopy())
		}, testbed.Patience, testbed.Interval).Should(Succeed(), "the cache has the mark")
	}
	mark(stranger, strings.ReplaceAll(genuine, first.Namespace, stranger))
	mark(tenant, strings.ReplaceAll(genuine, first.Namespace, tenant))
	mark(home, "")
	bed.Edit(t, s, func() {
		s.Spec.UsagePolicy.AllowedNamespaces = v1alpha1.AllowedNamespaces{
			From: new(v1alpha1.NamespacesFromSelector), Selector: &metav1.LabelSelector{
				MatchExpressions: []metav1.LabelSelectorRequirement{{
					Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpIn, Values: []string{tenant, home},
				}},
			},
		}
	})
	bed.MarkReady(t, s)
	second := &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: "web"}, Spec: *first.Spec.DeepCopy(),
	}
	bed.Create(t, testbed.Secret(home, "enc", map[string]string{"password": "p"}), second)
	made := kubelet.Job(t, bed.Client, home, v1alpha1.LabelRepository)
	g.Expect(metav1.IsControlledBy(made, second)).To(BeTrue())
}
