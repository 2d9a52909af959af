package repository

import (
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

// allow opens a storage to the namespaces that have the label tenant with this value.
func allow(t testing.TB, s *v1alpha1.BackupStorage, tenant string) {
	t.Helper()
	bed.Edit(t, s, func() {
		s.Spec.UsagePolicy.AllowedNamespaces = v1alpha1.AllowedNamespaces{
			From:     new(v1alpha1.NamespacesFromSelector),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"tenant": tenant}},
		}
	})
	bed.MarkReady(t, s)
	bed.Cached(t, s)
}

// labelled gives the Namespace of a Repository the label tenant.
func labelled(t testing.TB, r *v1alpha1.Repository, tenant string) {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.Namespace}}
	bed.Edit(t, ns, func() { metav1.SetMetaDataLabel(&ns.ObjectMeta, "tenant", tenant) })
	bed.Cached(t, ns)
}

// A tenant whom the storage does not allow claims the directories of all others there, and is the first to do so.
func TestARepositoryOfAStrangerBlocksNobody(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s := storageOf(t)
	allow(t, s, "friend")
	attacker := bed.Namespace(t, nil)
	tenant := bed.Tenant(t, attacker)
	squat := &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{Namespace: attacker, Name: "squat"},
		Spec: v1alpha1.RepositorySpec{
			StorageRef: v1alpha1.ObjectReference{Namespace: s.Namespace, Name: s.Name}, Path: "/shop",
			EncryptionSecret: v1alpha1.ObjectReference{Name: "enc"},
		},
	}
	g.Expect(tenant.Create(t.Context(), squat)).To(Succeed())
	expect(t, squat, v1alpha1.ReasonStorageNotAllowed)
	testbed.ASecondLater(t, squat)
	victim := repositoryOf(t, s)
	labelled(t, victim, "friend")
	expect(t, victim, v1alpha1.ReasonProgressing)
	finishInit(t, victim)

	g.Expect(tenant.Get(t.Context(), client.ObjectKeyFromObject(squat), squat)).To(Succeed())
	g.Expect(conditions.GetMessage(squat, meta.ReadyCondition)).NotTo(ContainSubstring(victim.Namespace),
		"a stranger learns nothing about the directories of others")

	labelled(t, squat, "friend") // the administrator allows it later
	expect(t, squat, v1alpha1.ReasonDirectoryTaken)
	bed.Edit(t, victim, func() { victim.Labels = map[string]string{"touched": "x"} })
	bed.Quiet(t, victim.Namespace)
	expect(t, victim, v1alpha1.ReasonReady)
}

// finishInit ends the init Job of a Repository with success.
func finishInit(t testing.TB, r *v1alpha1.Repository, not ...client.Object) *batchv1.Job {
	t.Helper()
	job := kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository, not...)
	kubelet.Finish(t, bed.Client, job, kubelet.Report(task.Result{
		Outcome: task.OutcomeSucceeded, Reason: v1alpha1.ReasonSucceeded,
	}), now.Now())
	expect(t, r, v1alpha1.ReasonReady)
	return job
}

// A storage gives each namespace a directory of its own: nobody, however old, holds one outside of his.
func TestAStorageBindsDirectoriesToNamespaces(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s := storageOf(t)
	attacker, home := bed.Namespace(t, nil), bed.Namespace(t, nil)
	tenant := bed.Tenant(t, attacker)
	squat := func(name, directory string) *v1alpha1.Repository {
		r := &v1alpha1.Repository{
			ObjectMeta: metav1.ObjectMeta{Namespace: attacker, Name: name},
			Spec: v1alpha1.RepositorySpec{
				StorageRef: v1alpha1.ObjectReference{Namespace: s.Namespace, Name: s.Name}, Path: directory,
				EncryptionSecret: v1alpha1.ObjectReference{Name: "enc"},
			},
		}
		g.Expect(tenant.Create(t.Context(), r)).To(Succeed())
		return r
	}
	bed.Create(t, testbed.Secret(attacker, "enc", map[string]string{"password": "p"}))
	bed.Edit(t, s, func() { s.Spec.UsagePolicy.DirectoryPrefix = "/{cluster}/{namespace}" })
	bed.MarkReady(t, s)
	bed.Cached(t, s)
	all, one := squat("all", "/eu1"), squat("one", "/eu1/"+home+"/web")
	for _, r := range []*v1alpha1.Repository{all, one} {
		bed.ExpectReason(t, r, v1alpha1.PhaseNotReady, v1alpha1.ReasonDirectoryNotAllowed,
			"allows the namespace "+attacker+" only directories at or below /eu1/"+attacker)
	}
	testbed.ASecondLater(t, one)
	victim := repositoryIn(t, home, s, path("/eu1/"+home+"/web"))
	finishInit(t, victim)
	own := squat("own", "/eu1/"+attacker)
	expect(t, own, v1alpha1.ReasonProgressing)

	// The owner moves the namespaces later. What was made stays, and waits.
	bed.Edit(t, s, func() { s.Spec.UsagePolicy.DirectoryPrefix = "/tenants/{namespace}" })
	bed.MarkReady(t, s)
	expect(t, victim, v1alpha1.ReasonDirectoryNotAllowed)
	g.Expect(victim.Status.InitializedSpec).NotTo(BeEmpty())
	bed.Edit(t, s, func() { s.Spec.UsagePolicy.DirectoryPrefix = "" })
	bed.MarkReady(t, s)
	expect(t, victim, v1alpha1.ReasonReady)
	bed.Quiet(t, attacker)
	expect(t, one, v1alpha1.ReasonDirectoryTaken)
}
