package backupstorage

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/initjob"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/task/observe"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

// listing is a client whose lists of Jobs come from list.
type listing struct {
	client.Client
	list func(*batchv1.JobList) error
}

func (l listing) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if jobs, ok := list.(*batchv1.JobList); ok {
		return l.list(jobs)
	}
	return l.Client.List(ctx, list, opts...)
}

// jobsOf returns the names of the Jobs of a namespace.
func jobsOf(t testing.TB, namespace string) func() ([]string, error) {
	return func() ([]string, error) {
		var jobs batchv1.JobList
		err := bed.Client.List(t.Context(), &jobs, client.InNamespace(namespace))
		var out []string
		for _, job := range jobs.Items {
			out = append(out, job.Name)
		}
		return out, err
	}
}

func TestAHostPathNeedsTheNamespacesConsent(t *testing.T) {
	t.Parallel()
	s := &v1alpha1.BackupStorage{
		ObjectMeta: metav1.ObjectMeta{Namespace: bed.Namespace(t, nil), Name: "host"},
		Spec: v1alpha1.BackupStorageSpec{Storage: v1alpha1.Storage{
			Provider: v1alpha1.ProviderLocal,
			Local: &v1alpha1.LocalStorage{
				HostPath: &v1alpha1.HostPathVolumeSource{Path: "/srv/backups-" + t.Name()},
			},
		}},
	}
	bed.Create(t, s)
	bed.ExpectReason(t, s, v1alpha1.PhaseNotReady, v1alpha1.ReasonPrivilegeRequired,
		v1alpha1.AnnotationPrivilegedMovers)

	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.Namespace}}
	bed.Edit(t, ns, func() { ns.Annotations = map[string]string{v1alpha1.AnnotationPrivilegedMovers: "true"} })
	bed.Cached(t, ns)
	touch(t, s)
	job := kubelet.Job(t, bed.Client, s.Namespace, v1alpha1.LabelStorage)
	NewWithT(t).Expect(job.Spec.Template.Spec.Volumes).
		To(ContainElement(HaveField("VolumeSource.HostPath", HaveField("Path", s.Spec.Storage.Local.HostPath.Path))))
}

func TestRuntimeSettingsThatNeedConsentAreRefused(t *testing.T) {
	t.Parallel()
	s := storageOf(t, func(s *v1alpha1.BackupStorage) {
		s.Spec.RuntimeSettings = &v1alpha1.RuntimeSettings{
			Pod: &v1alpha1.PodRuntimeSettings{
				SecurityContext: &v1alpha1.MoverSecurityContext{RunAsUser: new(int64(0))},
			},
		}
	})
	bed.ExpectReason(t, s, v1alpha1.PhaseNotReady, v1alpha1.ReasonPrivilegeRequired, "runAsUser 0")
}

// A generation that was not judged yet must not look ready.
func TestAnErrorLeavesTheGenerationUnobserved(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s := &v1alpha1.BackupStorage{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "local", Generation: 2, UID: "u"},
		Spec: v1alpha1.BackupStorageSpec{Storage: v1alpha1.Storage{
			Provider: v1alpha1.ProviderLocal,
			Local:    &v1alpha1.LocalStorage{PersistentVolumeClaim: &v1alpha1.ClaimVolumeSource{ClaimName: "b"}},
		}},
	}
	status.Ready(s, "the backend can be used")
	s.Status.Phase, s.Status.ObservedGeneration = v1alpha1.PhaseReady, 1
	before := s.Status.DeepCopy()
	down := listing{
		Client: bed.Manager.GetClient(),
		list:   func(*batchv1.JobList) error { return errors.New("the API server is down") },
	}

	_, err := (&Reconciler{Client: down, APIReader: bed.Manager.GetAPIReader(), Clock: now}).reconcile(t.Context(), s)

	g.Expect(err).To(MatchError(ContainSubstring("the API server is down")))
	g.Expect(&s.Status).To(Equal(before))
}

func TestAJobThatTheCacheDoesNotHaveIsNotJoinedByAnother(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s := storageOf(t)
	first := kubelet.Job(t, bed.Client, s.Namespace, v1alpha1.LabelStorage)
	behind := listing{Client: bed.Client, list: func(*batchv1.JobList) error { return nil }}
	runner := initjob.Runner{Client: behind, Reader: bed.Client, Clock: now, FieldManager: "cairn-manager"}

	progress, err := runner.Run(t.Context(), initjob.Request{
		Owner: s, Label: v1alpha1.LabelStorage, Name: "another",
		Build: func(context.Context) (*batchv1.Job, error) {
			t.Error("a second Job is made while the first one runs")
			return nil, errors.New("no")
		},
	})

	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(progress.State).To(Equal(observe.StateRunning))
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(first), first)).To(Succeed())
	g.Expect(first.DeletionTimestamp).NotTo(BeNil(), "the first Job goes: its spec is outdated")
}

func TestAPodThatOutlivesItsJobIsWaitedFor(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s := storageOf(t)
	first := kubelet.Job(t, bed.Client, s.Namespace, v1alpha1.LabelStorage)
	pod := kubelet.Start(t, bed.Client, first)
	g.Expect(bed.Client.Delete(t.Context(), first, client.PropagationPolicy(metav1.DeletePropagationBackground))).
		To(Succeed())
	touch(t, s)
	g.Consistently(jobsOf(t, s.Namespace), 3*time.Second, 200*time.Millisecond).
		ShouldNot(ContainElement(Not(Equal(first.Name))), "its pod still runs")
	var jobs batchv1.JobList
	g.Expect(bed.Client.List(t.Context(), &jobs, client.InNamespace(s.Namespace))).To(Succeed())
	g.Expect(jobs.Items).To(BeEmpty())

	g.Expect(bed.Client.Delete(t.Context(), pod, client.GracePeriodSeconds(0))).To(Succeed())
	kubelet.Job(t, bed.Client, s.Namespace, v1alpha1.LabelStorage, first)
}

func TestASecretThatAppearsIsNoLongerSaidToBeMissing(t *testing.T) {
	t.Parallel()
	s := storageOf(t, func(s *v1alpha1.BackupStorage) { s.Spec.Storage.S3.SecretName = "late" })
	expect(t, s, v1alpha1.ReasonBackendSecretNotAvailable)
	late := testbed.S3Key(s.Namespace)
	late.Name = "late"
	bed.Create(t, late)
	touch(t, s)
	expect(t, s, v1alpha1.ReasonProgressing)
	NewWithT(t).Expect(conditions.IsTrue(s, v1alpha1.ConditionBackendSecretFound)).To(BeTrue())
}

func TestAChangedSpecTakesTheLastFailureAway(t *testing.T) {
	t.Parallel()
	s := storageOf(t)
	job := kubelet.Job(t, bed.Client, s.Namespace, v1alpha1.LabelStorage)
	kubelet.Finish(t, bed.Client, job, kubelet.Report(failure(v1alpha1.ReasonBucketNotFound)), now.Now())
	expect(t, s, v1alpha1.ReasonBucketNotFound)
	bed.Edit(t, s, func() { s.Spec.Storage.S3.Prefix = "elsewhere" })
	expect(t, s, v1alpha1.ReasonProgressing)
	NewWithT(t).Expect(conditions.GetMessage(s, meta.ReadyCondition)).NotTo(ContainSubstring("it went wrong"))
}

// A condition needs a reason, and a mover can leave it out.
func TestAFailureWithoutAReasonIsReported(t *testing.T) {
	t.Parallel()
	s := storageOf(t)
	job := kubelet.Job(t, bed.Client, s.Namespace, v1alpha1.LabelStorage)
	kubelet.Finish(t, bed.Client, job, kubelet.Report(failure("")), now.Now())
	expect(t, s, v1alpha1.ReasonFailed)
	NewWithT(t).Expect(conditions.GetMessage(s, meta.ReadyCondition)).To(ContainSubstring("it went wrong"))
}

func TestPlaceOf(t *testing.T) {
	s3 := func(endpoint, prefix string) *v1alpha1.BackupStorage {
		return &v1alpha1.BackupStorage{Spec: v1alpha1.BackupStorageSpec{Storage: v1alpha1.Storage{
			S3: &v1alpha1.S3Storage{Endpoint: endpoint, Bucket: "b", Prefix: prefix},
		}}}
	}
	local := func(namespace, path string) *v1alpha1.BackupStorage {
		return &v1alpha1.BackupStorage{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace},
			Spec: v1alpha1.BackupStorageSpec{Storage: v1alpha1.Storage{
				Local: &v1alpha1.LocalStorage{
					PersistentVolumeClaim: &v1alpha1.ClaimVolumeSource{ClaimName: "c"}, SubPath: path,
				},
			}},
		}
	}
	g := NewWithT(t)
	g.Expect(placeOf(s3("https://S3.example.com/", "/a//b/"))).To(Equal(placeOf(s3("https://s3.example.com", "a/b"))))
	g.Expect(placeOf(s3("https://s3.example.com", "a"))).NotTo(Equal(placeOf(s3("https://s3.example.com", "b"))))
	g.Expect(placeOf(local("n", "./a/"))).To(Equal(placeOf(local("n", "a"))))
	g.Expect(placeOf(local("n", "a"))).NotTo(Equal(placeOf(local("m", "a"))),
		"the name of a volume depends on its namespace")
}
