package backupconfiguration

import (
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

func cronTemplate() corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "i"}},
	}}
}

func TestMissingReferences(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		edit    func(*v1alpha1.BackupConfiguration)
		phase   string
		reason  string
		message string
	}{
		"a missing target": {
			edit:  func(c *v1alpha1.BackupConfiguration) { c.Spec.Target.Name = "upload" },
			phase: v1alpha1.PhaseNotReady, reason: v1alpha1.ReasonTargetNotFound, message: "/upload does not exist",
		},
		"a missing storage": {
			edit:  func(c *v1alpha1.BackupConfiguration) { c.Spec.Backends[0].StorageRef.Name = "s4" },
			phase: v1alpha1.PhaseNotReady, reason: v1alpha1.ReasonStorageNotFound, message: "/s4 does not exist",
		},
		"a storage that is not ready": {
			edit:  func(c *v1alpha1.BackupConfiguration) { c.Spec.Backends[0].StorageRef.Name = "new" },
			phase: v1alpha1.PhaseNotReady, reason: v1alpha1.ReasonStorageNotReady, message: "/new is not ready",
		},
		"a missing addon": {
			edit:  func(c *v1alpha1.BackupConfiguration) { c.Spec.Sessions[0].Addon.Name = "tape-addon" },
			phase: v1alpha1.PhaseNotReady, reason: v1alpha1.ReasonAddonNotFound, message: `"tape-addon" does not exist`,
		},
		"a missing task": {
			edit:  func(c *v1alpha1.BackupConfiguration) { c.Spec.Sessions[0].Addon.Tasks[0].Name = "physical" },
			phase: v1alpha1.PhaseInvalid, reason: v1alpha1.ReasonTaskNotFound, message: "it has logical-backup",
		},
		"an unknown parameter": {
			edit: func(c *v1alpha1.BackupConfiguration) {
				c.Spec.Sessions[0].Addon.Tasks[0].Params = &apiextensionsv1.JSON{Raw: []byte(`{"speed":"11"}`)}
			},
			phase: v1alpha1.PhaseInvalid, reason: v1alpha1.ReasonInvalidParameters, message: `no parameter "speed"`,
		},
		"a target of another namespace": {
			edit:  func(c *v1alpha1.BackupConfiguration) { c.Spec.Target.Namespace = "bank" },
			phase: v1alpha1.PhaseInvalid, reason: v1alpha1.ReasonTargetNotFound, message: "spec.target.namespace",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := bed.Namespace(t, nil)
			bed.ReadyStorage(t, namespace)
			unready := &v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{Name: "new", Namespace: namespace}}
			unready.Spec.Storage = v1alpha1.Storage{
				Provider: v1alpha1.ProviderS3,
				S3:       &v1alpha1.S3Storage{Bucket: "backups", SecretName: "s3"},
			}
			configuration := configurationOf(namespace)
			test.edit(configuration)
			bed.Create(t, unready, testbed.Claim(namespace, "uploads"), configuration)

			bed.ExpectReason(t, configuration, test.phase, test.reason, test.message)
		})
	}
}

func TestWhatWasMissingIsNoticed(t *testing.T) {
	t.Parallel()
	namespace := bed.Namespace(t, nil)
	configuration := configurationOf(namespace)
	bed.Create(t, configuration)
	bed.ExpectReason(t, configuration, v1alpha1.PhaseNotReady, v1alpha1.ReasonTargetNotFound, "s3 does not exist")

	bed.Create(t, testbed.Claim(namespace, "uploads"))
	bed.ExpectReason(t, configuration, v1alpha1.PhaseNotReady, v1alpha1.ReasonStorageNotFound, "")
	bed.ReadyStorage(t, namespace)
	bed.ReadyRepositories(t, namespace, "uploads")
	bed.ExpectReason(t, configuration, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
}

func TestUsagePolicyDecidesAcrossNamespaces(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	backup := bed.Namespace(t, nil)
	storage := bed.ReadyStorage(t, backup)
	selector := v1alpha1.NamespacesFromSelector
	bed.Edit(t, storage, func() {
		storage.Spec.UsagePolicy.AllowedNamespaces = v1alpha1.AllowedNamespaces{
			From: &selector, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"backup": "yes"}},
		}
	})
	namespace := bed.Namespace(t, map[string]string{"backup": "no"})
	configuration := configurationOf(namespace)
	configuration.Spec.Backends[0].StorageRef.Namespace = backup
	bed.Create(t, testbed.Claim(namespace, "uploads"), configuration)

	bed.ExpectReason(t, configuration, v1alpha1.PhaseInvalid, v1alpha1.ReasonStorageNotAllowed,
		"the usagePolicy of BackupStorage "+backup+"/s3 does not allow the namespace "+namespace)
	var repositories v1alpha1.RepositoryList
	g.Expect(bed.Client.List(t.Context(), &repositories, client.InNamespace(namespace))).To(Succeed())
	g.Expect(repositories.Items).
		To(BeEmpty(), "no Repository is created in a storage that the namespace is not allowed to use")
	var cronJobs batchv1.CronJobList
	g.Expect(bed.Client.List(t.Context(), &cronJobs, client.InNamespace(namespace))).To(Succeed())
	g.Expect(cronJobs.Items).To(BeEmpty())

	labelled := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	bed.Edit(t, labelled, func() { labelled.Labels["backup"] = "yes" })
	bed.ReadyRepositories(t, namespace, "uploads")
	bed.ExpectReason(t, configuration, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
}

func TestRepositoryWithAnotherSpecIsAConflict(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := bed.Namespace(t, nil)
	bed.ReadyStorage(t, namespace)
	existing := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Name: "uploads", Namespace: namespace}}
	existing.Spec = v1alpha1.RepositorySpec{
		AppRef:     v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "other"},
		StorageRef: v1alpha1.ObjectReference{Name: "s3"}, Path: "other",
		EncryptionSecret: v1alpha1.ObjectReference{Name: "enc"},
	}
	configuration := configurationOf(namespace)
	bed.Create(t, testbed.Claim(namespace, "uploads"), existing, configuration)

	bed.ExpectReason(t, configuration, v1alpha1.PhaseInvalid, v1alpha1.ReasonRepositoryConflict,
		"Repository "+namespace+"/uploads has directory \"other\" of BackupStorage "+namespace+"/s3, and the policy "+
			"has directory \"shop/uploads\" of BackupStorage "+namespace+"/s3: these fields never change. "+
			"Correct the policy, or give the repository another name")
	before := existing.ResourceVersion
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(existing), existing)).To(Succeed())
	g.Expect(existing.ResourceVersion).To(Equal(before), "the Repository is not changed")
}

func TestRepositoryOfTheUserIsUsedAsItIs(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := bed.Namespace(t, nil)
	bed.ReadyStorage(t, namespace)
	existing := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Name: "uploads", Namespace: namespace}}
	existing.Spec = v1alpha1.RepositorySpec{ // the same spec, spelled differently
		AppRef: v1alpha1.TypedObjectReference{
			Kind: v1alpha1.KindPersistentVolumeClaim, Name: "uploads",
			Namespace: namespace,
		},
		StorageRef: v1alpha1.ObjectReference{Name: "s3", Namespace: namespace}, Path: "shop//uploads/",
		EncryptionSecret: v1alpha1.ObjectReference{Name: "enc", Namespace: namespace},
	}
	configuration := configurationOf(namespace)
	bed.Create(t, existing)
	bed.MarkReady(t, existing)
	before := existing.ResourceVersion
	bed.Create(t, testbed.Claim(namespace, "uploads"), configuration)

	bed.ExpectReason(t, configuration, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(existing), existing)).To(Succeed())
	g.Expect(existing.ResourceVersion).To(Equal(before), "the Repository is not changed")
}

func TestOlderRepositoryKeepsTheDirectory(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	first := working(t)
	namespace := bed.Namespace(t, nil)
	second := configurationOf(namespace)
	second.Spec.Backends[0].StorageRef.Namespace = first.Namespace
	second.Spec.Sessions[0].Repositories[0].Directory = "shop/uploads/"
	bed.Create(t, testbed.Claim(namespace, "uploads"), second)

	bed.ExpectReason(t, second, v1alpha1.PhaseInvalid, v1alpha1.ReasonDirectoryTaken,
		"Repository "+first.Namespace+"/uploads has th")
	g.Expect(second.Status.Repositories).To(Equal([]v1alpha1.RepoStatus{{
		Name: "uploads", Phase: v1alpha1.PhaseNotReady, Reason: v1alpha1.ReasonDirectoryTaken,
	}}))
	var repositories v1alpha1.RepositoryList
	g.Expect(bed.Client.List(t.Context(), &repositories, client.InNamespace(namespace))).To(Succeed())
	g.Expect(repositories.Items).To(BeEmpty(), "the loser's Repository is not created")
	bed.ExpectReason(t, first, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")

	repository := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: first.Namespace, Name: "uploads"}}
	g.Expect(bed.Client.Delete(t.Context(), first)).To(Succeed())
	g.Eventually(func() bool {
		return apierrors.IsNotFound(bed.Manager.GetClient().Get(t.Context(), client.ObjectKeyFromObject(first),
			first.DeepCopy()))
	}, testbed.Patience).Should(BeTrue(), "the controller has seen the deletion: otherwise it can create the "+
		"Repository again")
	bed.Remove(t, repository)
	bed.ReadyRepositories(t, namespace, "uploads")
	bed.ExpectReason(t, second, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
}

func TestDirectoriesInEachOtherAreRefused(t *testing.T) {
	t.Parallel()
	first := working(t) // in /shop/uploads
	repository := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: first.Namespace, Name: "uploads"}}
	NewWithT(t).Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(repository), repository)).To(Succeed())
	// Otherwise the name order can make another Repository the elder of the directory that encloses both.
	testbed.ASecondLater(t, repository)
	for name, test := range map[string]struct{ directory, reason string }{
		"inside another one":                   {"/shop/uploads/old", v1alpha1.ReasonDirectoryTaken},
		"around another one":                   {"shop/", v1alpha1.ReasonDirectoryTaken},
		"beside another one":                   {"/shop/uploads-old", v1alpha1.ReasonRepositoryNotReady},
		"beside a name that it is a prefix of": {"/shopping/uploads", v1alpha1.ReasonRepositoryNotReady},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			namespace := bed.Namespace(t, nil)
			second := configurationOf(namespace)
			second.Spec.Backends[0].StorageRef.Namespace = first.Namespace
			second.Spec.Sessions[0].Repositories[0].Directory = test.directory
			bed.Create(t, testbed.Claim(namespace, "uploads"), second)
			if test.reason != v1alpha1.ReasonDirectoryTaken {
				bed.ExpectReason(t, second, v1alpha1.PhaseNotReady, test.reason, "")
				return
			}
			bed.ExpectReason(t, second, v1alpha1.PhaseInvalid, test.reason,
				"Repository "+first.Namespace+"/uploads has th")
			var repositories v1alpha1.RepositoryList
			g.Expect(bed.Client.List(t.Context(), &repositories, client.InNamespace(namespace))).To(Succeed())
			g.Expect(repositories.Items).To(BeEmpty(), "the loser's Repository is not created")
		})
	}
	NewWithT(t).Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(repository), repository)).To(Succeed())
}

// A Repository that blocks a directory can go away. The configurations that wait for the directory must notice it.
func TestADirectoryAroundIsUsedWhenTheInnerOneIsGone(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	first := working(t)
	namespace := bed.Namespace(t, nil)
	second := configurationOf(namespace)
	second.Spec.Backends[0].StorageRef.Namespace = first.Namespace
	second.Spec.Sessions[0].Repositories[0].Directory = "/shop"
	bed.Create(t, testbed.Claim(namespace, "uploads"), second)
	bed.ExpectReason(t, second, v1alpha1.PhaseInvalid, v1alpha1.ReasonDirectoryTaken, "one can't lie in another")

	g.Expect(bed.Client.Delete(t.Context(), first)).To(Succeed())
	g.Eventually(func() bool {
		return apierrors.IsNotFound(bed.Manager.GetClient().Get(t.Context(), client.ObjectKeyFromObject(first),
			first.DeepCopy()))
	}, testbed.Patience).Should(BeTrue(), "the controller has seen the deletion: otherwise it can create the "+
		"Repository again")
	bed.Remove(t, &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: first.Namespace, Name: "uploads"}})
	bed.ReadyRepositories(t, namespace, "uploads")
	bed.ExpectReason(t, second, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
}
