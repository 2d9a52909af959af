package keeper_test

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

// ci is somebody who can create Jobs in the namespace, and nothing else.
func (s *shop) ci() client.Client {
	s.t.Helper()
	bed.Create(s.t, &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "ci"},
		Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{"batch"}, Resources: []string{"jobs"}, Verbs: []string{"create"},
		}},
	}, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "ci"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "ci"},
		Subjects:   []rbacv1.Subject{{Kind: "User", Name: "ci"}},
	})
	config := rest.CopyConfig(bed.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "ci"}
	c, err := client.New(config, client.Options{Scheme: testbed.Scheme()})
	NewWithT(s.t).Expect(err).NotTo(HaveOccurred())
	return c
}

// foreign is a Job that says it is the keeper of its name, and that no keeper has made.
func (s *shop) foreign(name string, work ...moverjob.KeepWork) *batchv1.Job {
	s.t.Helper()
	job, err := moverjob.KeepJob(moverjob.KeepJobInput{
		Name: name, Namespace: s.namespace, Label: name, Storage: s.storage, StorageSecret: "any", Image: "other",
		ClusterUID: "any", Work: work, Time: new(metav1.NewTime(now.Now())),
	})
	NewWithT(s.t).Expect(err).NotTo(HaveOccurred())
	job.OwnerReferences = nil
	return job
}

// forge lets somebody who can only create Jobs create one.
func (s *shop) forge(job *batchv1.Job) {
	s.t.Helper()
	ci := s.ci()
	NewWithT(s.t).Eventually(func() error { return ci.Create(s.t.Context(), job) }, testbed.Patience, testbed.Interval).
		Should(Succeed(), "the API server knows the right")
}

// keep gives a Job a Lease of its name, as a keeper's has it.
func (s *shop) keep(job *batchv1.Job) {
	s.t.Helper()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Namespace: s.namespace, Name: job.Name,
		Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn},
	}}
	bed.Create(s.t, lease)
	job.OwnerReferences = []metav1.OwnerReference{
		*metav1.NewControllerRef(lease, coordinationv1.SchemeGroupVersion.WithKind("Lease")),
	}
}

// looked lets the keeper look at a Job of its name whose place has no Repository.
func (s *shop) looked(job *batchv1.Job) {
	s.t.Helper()
	g := NewWithT(s.t)
	bed.Cached(s.t, job)
	result, err := keepers.Reconcile(s.t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(job)})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result).To(Equal(ctrl.Result{}), "the Job is not the keeper's to look at")
}

var succeeded = kubelet.Report(task.Result{
	Outcome: task.OutcomeSucceeded, Components: []task.ComponentResult{{Name: "0", Outcome: task.OutcomeSucceeded}},
})

func TestAForeignJobReportsNoWipe(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t, wipeOut)
	job := s.foreign("nightly-report", moverjob.KeepWork{Repository: s.repository, Wipe: true})
	s.forge(job)
	kubelet.Finish(t, bed.Client, job, succeeded, now.Now())
	s.looked(job)
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s.repository), s.repository)).To(Succeed())
	g.Expect(conditions.Has(s.repository, v1alpha1.ConditionWiped)).To(BeFalse())
	del(t, s.repository)
	own, keep := s.job(job)
	g.Expect(keep.Keep[0].Wipe).To(BeTrue(), "a keeper removes the data that WipeOut asks to remove")
	s.did(own, "")
	gone(t, s.repository, "its data is gone")
}

func TestAForeignJobReportsNoCheck(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	s.snapshot(s.repository, 1, good)
	job := s.foreign("nightly-report", moverjob.KeepWork{Repository: s.repository, Maintain: task.MaintainFull})
	s.forge(job)
	kubelet.Finish(t, bed.Client, job, succeeded, now.Now())
	s.looked(job)
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s.repository), s.repository)).To(Succeed())
	g.Expect(conditions.IsTrue(s.repository, v1alpha1.ConditionChecked)).To(BeFalse(), "nobody checked anything")
}

func TestAForeignJobDeletesNoSecret(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	secret := testbed.Secret(s.namespace, "mysql-0-encryption", map[string]string{"password": "the only copy"})
	bed.Create(t, secret)
	job := s.foreign("mysql", moverjob.KeepWork{Repository: s.repository, Scan: "x"})
	s.forge(job)
	kubelet.Finish(t, bed.Client, job, kubelet.Report(task.Result{Outcome: task.OutcomeFailed}), now.Now())
	s.looked(job)
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(secret), &corev1.Secret{})).
		To(Succeed(), "the user ci can delete no Secret")
}

// A Job's label alone makes nobody try again and again to read a task.
func TestAForeignJobWithoutATaskIsNoError(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	job := s.foreign("nightly-report")
	job.Spec.Template.Annotations = nil
	s.forge(job)
	kubelet.Finish(t, bed.Client, job, succeeded, now.Now())
	s.looked(job)
}

// Somebody guessed the name of the keeper's Job.
func TestAForeignJobHoldsUpNoKeeper(t *testing.T) {
	t.Parallel()
	t.Run("with the keeper's label", func(t *testing.T) {
		t.Parallel()
		s := newShop(t)
		job := s.foreign(s.keeper(), moverjob.KeepWork{Repository: s.repository, Scan: "x"})
		s.forge(job)
		o := s.snapshot(s.repository, 1, good, wipeOutSnapshot)
		del(t, o)
		own, _ := s.job(job)
		s.did(own, "")
		released(t, o)
	})
	t.Run("without it", func(t *testing.T) {
		t.Parallel()
		s := newShop(t)
		job := s.foreign(s.keeper(), moverjob.KeepWork{Repository: s.repository, Scan: "x"})
		job.Labels = map[string]string{"app": "report"}
		s.forge(job)
		o := s.snapshot(s.repository, 1, good, wipeOutSnapshot)
		del(t, o)
		bed.Eventually(t, o, func(g Gomega) {
			g.Expect(conditions.GetReason(o, v1alpha1.ConditionWiped)).To(Equal(v1alpha1.ReasonNameConflict))
			g.Expect(conditions.GetMessage(o, v1alpha1.ConditionWiped)).To(ContainSubstring("delete the Job"))
			g.Expect(conditions.Has(o, v1alpha1.ConditionRemovalBegan)).To(BeFalse(), "no keeper was started")
		}, "the condition says what it waits for")
		expectKept(t, job)
	})
}

// keeper returns the name of the keeper's Job.
func (s *shop) keeper() string { return policy.JobName("keeper", s.storage.Namespace, s.storage.Name) }

// A Repository that is deleted without its data waits for keepers that remove it, and for nobody else's Job.
func TestAForeignJobHoldsNoRepository(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	job := s.foreign("nightly-report", moverjob.KeepWork{Repository: s.repository, Wipe: true})
	s.forge(job)
	kubelet.Start(t, bed.Client, job)
	bed.Cached(t, job)
	del(t, s.repository)
	gone(t, s.repository, "no keeper works")
	expectKept(t, job)
}

// Even a keeper's word does not make the data of a Repository that stays removed.
func TestOnlyADeletedRepositoryIsWiped(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t, wipeOut)
	job := s.foreign("keeper-of-another-place", moverjob.KeepWork{Repository: s.repository, Wipe: true})
	s.keep(job)
	bed.Create(t, job)
	kubelet.Finish(t, bed.Client, job, succeeded, now.Now())
	gone(t, job, "its result is written")
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s.repository), s.repository)).To(Succeed())
	g.Expect(conditions.Has(s.repository, v1alpha1.ConditionWiped)).To(BeFalse())
}

func TestAJobThatDoesNotGoIsNamed(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t, wipeOut)
	del(t, s.repository)
	job, _ := s.job()
	bed.Edit(t, job, func() { job.Finalizers = append(job.Finalizers, "example.com/held") })
	g.Expect(bed.Client.Delete(t.Context(), job)).To(Succeed())
	later := newKeepers(bed.Manager.GetClient(), bed.Manager.GetAPIReader(),
		clocktesting.NewFakePassiveClock(time.Now().Add(time.Hour)))
	request := s.request()
	g.Eventually(func(g Gomega) {
		_, err := later.Reconcile(t.Context(), request)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s.repository), s.repository)).To(Succeed())
		g.Expect(conditions.GetReason(s.repository, v1alpha1.ConditionWiped)).To(Equal(v1alpha1.ReasonJobNotDeleted))
		g.Expect(conditions.GetMessage(s.repository, v1alpha1.ConditionWiped)).To(ContainSubstring(
			"Job " + job.Name + " of an earlier keeper is being deleted and does not go: see what its finalizers " +
				"(example.com/held"))
	}, testbed.Patience, testbed.Interval).Should(Succeed(), "the Repository names the Job that holds up its removal")
	bed.Edit(t, job, func() { job.Finalizers = nil })
	s.job(job)
}
