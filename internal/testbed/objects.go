package testbed

import (
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// S3 returns the storage "s3" with a bucket of the namespace's name, open to all namespaces, with the Secret "key".
func S3(namespace string) *v1alpha1.BackupStorage {
	all := v1alpha1.NamespacesFromAll
	return &v1alpha1.BackupStorage{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "s3"},
		Spec: v1alpha1.BackupStorageSpec{
			Storage: v1alpha1.Storage{
				Provider: v1alpha1.ProviderS3,
				S3:       &v1alpha1.S3Storage{Bucket: namespace, SecretName: "key"},
			},
			UsagePolicy: Usage(&v1alpha1.UsagePolicy{AllowedNamespaces: v1alpha1.AllowedNamespaces{From: &all}}),
		},
	}
}

// Usage returns the usagePolicy of a storage that allows these namespaces, and lets them choose their directories.
func Usage(namespaces *v1alpha1.UsagePolicy) *v1alpha1.StorageUsagePolicy {
	if namespaces == nil {
		return nil
	}
	return &v1alpha1.StorageUsagePolicy{UsagePolicy: *namespaces}
}

// S3Key returns the Secret of S3.
func S3Key(namespace string) *corev1.Secret {
	return Secret(namespace, "key",
		map[string]string{v1alpha1.S3AccessKeyID: "id", v1alpha1.S3SecretAccessKey: "secret"})
}

// Secret returns a Secret with data.
func Secret(namespace, name string, data map[string]string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, StringData: data}
}

// Claim returns a PersistentVolumeClaim.
func Claim(namespace, name string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			},
		},
	}
}

// MarkReady writes the status that the controller of a BackupStorage or Repository writes in real life.
func (b *Bed) MarkReady(t testing.TB, object conditions.Setter) {
	t.Helper()
	b.EditStatus(t, object, func() {
		conditions.MarkTrue(object, meta.ReadyCondition, v1alpha1.ReasonReady, "ready")
		switch o := object.(type) {
		case *v1alpha1.BackupStorage:
			o.Status.Phase, o.Status.ObservedGeneration = v1alpha1.PhaseReady, o.Generation
		case *v1alpha1.Repository:
			o.Status.Phase, o.Status.ObservedGeneration = v1alpha1.PhaseReady, o.Generation
		default:
			t.Fatalf("%T has a controller in the tests that ask for it", object)
		}
	})
}

// ReadyStorage creates a ready S3 storage.
func (b *Bed) ReadyStorage(t testing.TB, namespace string) *v1alpha1.BackupStorage {
	t.Helper()
	storage := S3(namespace)
	b.Create(t, storage)
	b.MarkReady(t, storage)
	return storage
}

// ReadyRepositories waits for Repositories and marks them ready.
func (b *Bed) ReadyRepositories(t testing.TB, namespace string, names ...string) {
	t.Helper()
	for _, name := range names {
		repository := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		b.Eventually(t, repository, func(Gomega) {}, "the controller makes the Repository "+name)
		b.MarkReady(t, repository)
	}
}
