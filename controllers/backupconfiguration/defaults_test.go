package backupconfiguration

import (
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// smallestOf returns the smallest policy: a target and a schedule.
func smallestOf(namespace string) *v1alpha1.BackupConfiguration {
	configuration := &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "files", Namespace: namespace}}
	configuration.Spec = v1alpha1.BackupConfigurationSpec{
		Target: &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "uploads"},
		Sessions: []v1alpha1.BackupConfigurationSession{{SessionConfig: v1alpha1.SessionConfig{
			Name: "nightly", Scheduler: &v1alpha1.SchedulerSpec{Schedule: "0 2 * * *"},
		}}},
	}
	return configuration
}

// defaultStorage creates a ready storage with an encryption Secret. It is the default of its namespace, or of the
// namespaces with the labels if there are any.
func defaultStorage(t testing.TB, namespace string, labels map[string]string) *v1alpha1.BackupStorage {
	t.Helper()
	selector := v1alpha1.NamespacesFromSelector
	storage := testbed.S3(namespace)
	storage.Spec.Default = true
	storage.Spec.EncryptionSecret = &v1alpha1.LocalObjectReference{Name: "enc"}
	storage.Spec.UsagePolicy = nil
	if labels != nil {
		storage.Spec.UsagePolicy = testbed.Usage(&v1alpha1.UsagePolicy{AllowedNamespaces: v1alpha1.AllowedNamespaces{
			From: &selector, Selector: &metav1.LabelSelector{MatchLabels: labels},
		}})
	}
	bed.Create(t, storage)
	bed.MarkReady(t, storage)
	return storage
}

func TestTheSmallestPolicyIsEnoughAndStaysWhereItIs(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	labels := map[string]string{"defaults": "smallest"}
	namespace := bed.Namespace(t, labels)
	configuration := smallestOf(namespace)
	bed.Create(t, testbed.Claim(namespace, "uploads"), configuration)
	bed.ExpectReason(t, configuration, v1alpha1.PhaseNotReady, v1alpha1.ReasonStorageNotFound,
		"spec.sessions[0].repositories[0].backend: "+
			"policy names no BackupStorage, and there is no default BackupStorage that the namespace "+namespace+
			" can use")

	backup := bed.Administrator(t)
	defaultStorage(t, backup, labels)
	bed.ReadyRepositories(t, namespace, "files")
	bed.ExpectReason(t, configuration, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
	g.Expect(configuration.Spec.Backends).To(BeEmpty(), "the controller does not write the spec")
	g.Expect(configuration.Spec.Sessions[0].Addon).To(BeNil())
	g.Expect(configuration.Spec.Sessions[0].Repositories).To(BeEmpty())
	directory := "/test/" + namespace + "/persistentvolumeclaim/uploads"
	resolved := &v1alpha1.ResolvedConfiguration{
		Backends: []v1alpha1.ResolvedBackend{{
			Name:       "s3",
			StorageRef: v1alpha1.ObjectReference{Namespace: backup, Name: "s3"},
		}},
		Sessions: []v1alpha1.ResolvedConfigurationSession{{
			Name: "nightly", Addon: "pvc-addon", Task: "logical-backup",
			Repositories: []v1alpha1.ResolvedRepositoryInfo{{
				Name: "files", Backend: "s3", Directory: directory,
				EncryptionSecret: v1alpha1.ObjectReference{Namespace: backup, Name: "enc"},
			}},
		}},
	}
	g.Expect(configuration.Status.Resolved).To(Equal(resolved))
	repository := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Name: "files", Namespace: namespace}}
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(repository), repository)).To(Succeed())
	g.Expect(repository.Spec).To(Equal(v1alpha1.RepositorySpec{
		AppRef: *configuration.Spec.Target, Path: directory, Driver: v1alpha1.DriverKopia,
		StorageRef:       v1alpha1.ObjectReference{Namespace: backup, Name: "s3"},
		EncryptionSecret: v1alpha1.ObjectReference{Namespace: backup, Name: "enc"},
		DeletionPolicy:   v1alpha1.DeleteObjects,
	}))

	own := defaultStorage(t, namespace, nil)
	bed.Eventually(t, configuration, func(g Gomega) {
		g.Expect(conditions.IsTrue(configuration, v1alpha1.ConditionResolvedBackendChanged)).To(BeTrue())
		g.Expect(conditions.GetMessage(configuration, v1alpha1.ConditionResolvedBackendChanged)).To(Equal(
			"Repository files stays in BackupStorage " + backup + "/s3: the default is now " + namespace + "/s3. " +
				"To move, name another repository in policy; existing backups stay where they are"))
		g.Expect(conditions.IsReady(configuration)).To(BeTrue(), "backups work as before")
		g.Expect(configuration.Status.Resolved).To(Equal(resolved))
	}, "a new default moves nothing")

	bed.Edit(t, own, func() { own.Spec.Default = false })
	bed.Eventually(t, configuration, func(g Gomega) {
		g.Expect(conditions.Has(configuration, v1alpha1.ConditionResolvedBackendChanged)).To(BeFalse())
	}, "the old default is the default again")
	bed.NoOp(t, reconciler, &events, configuration)
}

func TestAPolicyWithoutAnEncryptionSecretSaysWhereToNameOne(t *testing.T) {
	t.Parallel()
	namespace := bed.Namespace(t, nil)
	storage := defaultStorage(t, namespace, nil)
	bed.Edit(t, storage, func() { storage.Spec.EncryptionSecret = nil })
	configuration := smallestOf(namespace)
	bed.Create(t, testbed.Claim(namespace, "uploads"), configuration)
	bed.ExpectReason(t, configuration, v1alpha1.PhaseNotReady, v1alpha1.ReasonEncryptionSecretNotAvailable,
		"policy names no encryption Secret for the repository files, and BackupStorage "+namespace+
			"/s3 has no default: name a Secret here, or in the storage's spec.encryptionSecret")
	bed.Edit(t, storage, func() { storage.Spec.EncryptionSecret = &v1alpha1.LocalObjectReference{Name: "enc"} })
	bed.ReadyRepositories(t, namespace, "files")
	bed.ExpectReason(t, configuration, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
}

func TestADefaultThatMayNotBeUsedIsNone(t *testing.T) {
	t.Parallel()
	namespace := bed.Namespace(t, map[string]string{"defaults": "other"})
	defaultStorage(t, bed.Administrator(t), map[string]string{"defaults": "forbidden"})
	configuration := smallestOf(namespace)
	bed.Create(t, testbed.Claim(namespace, "uploads"), configuration)
	bed.ExpectReason(t, configuration, v1alpha1.PhaseNotReady, v1alpha1.ReasonStorageNotFound,
		"there is no default BackupStorage that the namespace "+namespace+" can use")
}

func TestARepositoryOfTheUserTakesTheTargetOfItsFirstPolicy(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := bed.Namespace(t, nil)
	bed.ReadyStorage(t, namespace)
	repository := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Name: "mine", Namespace: namespace}}
	repository.Spec = v1alpha1.RepositorySpec{
		StorageRef: v1alpha1.ObjectReference{Name: "s3"}, Path: "/by/hand",
		EncryptionSecret: v1alpha1.ObjectReference{Name: "enc"},
	}
	bed.Create(t, testbed.Claim(namespace, "uploads"), testbed.Claim(namespace, "other"), repository)
	bed.MarkReady(t, repository)

	configuration := smallestOf(namespace)
	configuration.Spec.Sessions[0].Repositories = []v1alpha1.RepositoryInfo{{Name: "mine"}}
	bed.Create(t, configuration)
	bed.ExpectReason(t, configuration, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
	g.Expect(configuration.Status.Resolved.Sessions[0].Repositories).To(Equal([]v1alpha1.ResolvedRepositoryInfo{{
		Name: "mine", Backend: "s3", Directory: "/by/hand",
		EncryptionSecret: v1alpha1.ObjectReference{Namespace: namespace, Name: "enc"},
	}}))
	g.Expect(conditions.Has(configuration, v1alpha1.ConditionResolvedBackendChanged)).
		To(BeFalse(), "the user chose the repository")
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(repository), repository)).To(Succeed())
	g.Expect(repository.Spec.AppRef).To(Equal(*configuration.Spec.Target))
	repository.Spec.AppRef.Name = "other"
	g.Expect(bed.Client.Update(t.Context(), repository)).
		To(MatchError(ContainSubstring("a Repository's spec never changes")))

	second := configuration.DeepCopy()
	second.ObjectMeta = metav1.ObjectMeta{Name: "second", Namespace: namespace}
	second.Spec.Target.Name = "other"
	bed.Create(t, second)
	bed.ExpectReason(t, second, v1alpha1.PhaseInvalid, v1alpha1.ReasonRepositoryConflict, "Repository "+namespace+
		"/mine has target PersistentVolumeClaim "+namespace+"/uploads, and the policy has target "+
		"PersistentVolumeClaim "+namespace+"/other: these fields never change. Correct the policy, or "+
		"give the repository another name")
}

func TestTwoPoliciesDoNotShareADirectory(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := bed.Namespace(t, nil)
	defaultStorage(t, namespace, nil)
	first, second := smallestOf(namespace), smallestOf(namespace)
	second.Name = "again"
	bed.Create(t, testbed.Claim(namespace, "uploads"), first)
	bed.ReadyRepositories(t, namespace, "files")
	bed.Create(t, second)
	bed.ExpectReason(t, second, v1alpha1.PhaseInvalid, v1alpha1.ReasonDirectoryTaken,
		`the directory "/test/`+namespace+`/persistentvolumeclaim/uploads" can't be used: Repository `+namespace+
			`/files has this directory already. Choose another directory`)
	g.Expect(conditions.GetReason(second, meta.StalledCondition)).To(Equal(v1alpha1.ReasonDirectoryTaken))
	bed.ExpectReason(t, first, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
}

func TestTheDefaultRetentionPolicyIsShown(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	labels := map[string]string{"defaults": "retention"}
	namespace, backup := bed.Namespace(t, labels), bed.Administrator(t)
	defaultStorage(t, namespace, nil)
	configuration := smallestOf(namespace)
	bed.Create(t, testbed.Claim(namespace, "uploads"), configuration)
	bed.ReadyRepositories(t, namespace, "files")
	bed.ExpectReason(t, configuration, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
	g.Expect(configuration.Status.Backends[0].RetentionPolicy).To(BeNil(), "everything is kept")

	selector := v1alpha1.NamespacesFromSelector
	keep := &v1alpha1.RetentionPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: backup, Name: "keep"},
		Spec: v1alpha1.RetentionPolicySpec{
			MaxRetentionPeriod: "1y", Default: true, UsagePolicy: &v1alpha1.UsagePolicy{
				AllowedNamespaces: v1alpha1.AllowedNamespaces{
					From:     &selector,
					Selector: &metav1.LabelSelector{MatchLabels: labels},
				},
			},
		},
	}
	bed.Create(t, keep)
	expect := func(want *v1alpha1.ObjectReference, why string) {
		t.Helper()
		bed.Eventually(t, configuration, func(g Gomega) {
			g.Expect(configuration.Status.Resolved.Backends).To(Equal([]v1alpha1.ResolvedBackend{{
				Name: "s3", StorageRef: v1alpha1.ObjectReference{Namespace: namespace, Name: "s3"},
				RetentionPolicy: want,
			}}))
			if want == nil {
				g.Expect(configuration.Status.Backends[0].RetentionPolicy).To(BeNil())
			} else {
				found := true
				g.Expect(configuration.Status.Backends[0].RetentionPolicy).
					To(Equal(&v1alpha1.RetentionPolicyUse{Ref: *want, Found: &found}))
			}
			g.Expect(conditions.IsReady(configuration)).To(BeTrue())
			g.Expect(conditions.Has(configuration, v1alpha1.ConditionResolvedBackendChanged)).
				To(BeFalse(), "no data moves")
		}, why)
	}
	expect(&v1alpha1.ObjectReference{Namespace: backup, Name: "keep"}, "the cluster's default")
	own := keep.DeepCopy()
	own.ObjectMeta, own.Spec.UsagePolicy = metav1.ObjectMeta{Namespace: namespace, Name: "own"}, nil
	bed.Create(t, own)
	expect(&v1alpha1.ObjectReference{Namespace: namespace, Name: "own"}, "the namespace's own")
	bed.NoOp(t, reconciler, &events, configuration)
	bed.Edit(t, own, func() { own.Spec.Default = false })
	expect(&v1alpha1.ObjectReference{Namespace: backup, Name: "keep"}, "the cluster's again")
	bed.Edit(t, keep, func() { keep.Spec.UsagePolicy = nil })
	expect(nil, "the cluster's default no longer allows this namespace")
	bed.Edit(t, own, func() { own.Spec.Default = true })
	expect(&v1alpha1.ObjectReference{Namespace: namespace, Name: "own"}, "the namespace's own again")
	g.Expect(bed.Client.Delete(t.Context(), own)).To(Succeed())
	expect(nil, "no default is left")
	g.Expect(configuration.Spec.Backends).To(BeEmpty(), "the controller does not write the spec")
}
