package sessiontest

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// The names of the objects that Storage creates.
const (
	StorageName    = "store"
	storageSecret  = "s3"
	EncryptionName = "enc"
)

// Create creates objects together with their status.
func Create(t testing.TB, c client.Client, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if claim, ok := o.(*corev1.PersistentVolumeClaim); ok {
			createVolume(t, c, claim)
		}
		status := o.DeepCopyObject().(client.Object)
		must(t, c.Create(t.Context(), o))
		status.SetResourceVersion(o.GetResourceVersion())
		status.SetUID(o.GetUID())
		switch o.(type) {
		case *corev1.Secret, *v1alpha1.BackupConfiguration, *v1alpha1.BackupSession, *v1alpha1.RestoreSession:
		default:
			must(t, client.IgnoreNotFound(c.Status().Update(t.Context(), status)))
		}
	}
}

// Storage creates a BackupStorage with its Secret in one namespace, which all namespaces can use, and an encryption
// Secret in another one.
func Storage(t testing.TB, c client.Client, storageNamespace, namespace string) {
	t.Helper()
	Create(t, c,
		&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: storageNamespace, Name: storageSecret},
			Data: map[string][]byte{
				v1alpha1.S3AccessKeyID: []byte("id"), v1alpha1.S3SecretAccessKey: []byte("key"),
				"unrelated": []byte("x"),
			},
		},
		&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: EncryptionName},
			Data:       map[string][]byte{v1alpha1.EncryptionPassword: []byte("secret")},
		},
		&v1alpha1.BackupStorage{
			ObjectMeta: metav1.ObjectMeta{Namespace: storageNamespace, Name: StorageName},
			Spec: v1alpha1.BackupStorageSpec{
				Storage: v1alpha1.Storage{
					Provider: v1alpha1.ProviderS3,
					S3: &v1alpha1.S3Storage{
						// Two tests in one place would wait for each other's init Jobs.
						Bucket: "backups", Prefix: storageNamespace, SecretName: storageSecret,
					},
				},
				UsagePolicy: &v1alpha1.StorageUsagePolicy{UsagePolicy: v1alpha1.UsagePolicy{
					AllowedNamespaces: v1alpha1.AllowedNamespaces{From: new(v1alpha1.NamespacesFromAll)},
				}},
			},
			Status: v1alpha1.BackupStorageStatus{Phase: v1alpha1.PhaseReady},
		},
	)
}

// Repository returns a ready Repository in that BackupStorage.
func Repository(namespace, name, storageNamespace string, app v1alpha1.TypedObjectReference) *v1alpha1.Repository {
	return &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.RepositorySpec{
			AppRef: app, StorageRef: v1alpha1.ObjectReference{Namespace: storageNamespace, Name: StorageName},
			Path: "/" + name, EncryptionSecret: v1alpha1.ObjectReference{Name: EncryptionName},
		},
		Status: v1alpha1.RepositoryStatus{Phase: v1alpha1.PhaseReady},
	}
}

// createVolume creates the PersistentVolume of a bound claim.
func createVolume(t testing.TB, c client.Client, claim *corev1.PersistentVolumeClaim) {
	t.Helper()
	if claim.Status.Phase != corev1.ClaimBound || claim.Spec.VolumeName != "" {
		return
	}
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "pvc-"},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes: claim.Spec.AccessModes, Capacity: claim.Spec.Resources.Requests,
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				CSI: &corev1.CSIPersistentVolumeSource{Driver: "csi.example.com", VolumeHandle: "volume"},
			},
		},
	}
	must(t, c.Create(t.Context(), volume))
	claim.Spec.VolumeName = volume.Name
}

// Bind gives a claim its volume in place of the storage system, unless it has one.
func Bind(t testing.TB, c client.Client, claim *corev1.PersistentVolumeClaim) {
	t.Helper()
	if claim.Spec.VolumeName != "" {
		return
	}
	claim.Status.Phase = corev1.ClaimBound
	createVolume(t, c, claim)
	bound := claim.DeepCopy()
	must(t, c.Update(t.Context(), claim))
	bound.ResourceVersion = claim.ResourceVersion
	must(t, c.Status().Update(t.Context(), bound))
}

// Claim returns a bound PersistentVolumeClaim. Create gives it a volume.
func Claim(namespace, name string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			},
		},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
}

// Pod returns a running pod on a node that mounts a claim at /data.
func Pod(namespace, name, node, claim string, labels map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec:       PodSpec(node, claim),
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
}

// PodSpec returns the spec of a pod on a node that mounts a claim at /data.
func PodSpec(node, claim string) corev1.PodSpec {
	return corev1.PodSpec{
		NodeName: node,
		Containers: []corev1.Container{
			{Name: "app", Image: "app", VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}},
		},
		Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
		}}},
	}
}

// MoreThanItsLimit returns a jobTemplate from which no valid Job can be made.
func MoreThanItsLimit() *v1alpha1.PodTemplateSpec {
	return &v1alpha1.PodTemplateSpec{Spec: v1alpha1.JobPodSpec{Resources: corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("2Gi")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")},
	}}}
}

// HugeTask creates an Addon with a task whose arguments take 2 MiB, and returns a reference to the task. No other test
// must use the name.
func HugeTask(t testing.TB, c client.Client, name string, restore bool) *v1alpha1.AddonInfo {
	t.Helper()
	tasks := []v1alpha1.Task{
		{
			Name: "huge", Function: name, Driver: v1alpha1.DriverKopia,
			Parameters: []v1alpha1.TaskParameter{{Parameter: v1alpha1.Parameter{Name: "p"}}},
		},
	}
	addon := &v1alpha1.Addon{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.AddonSpec{BackupTasks: tasks}}
	if restore {
		addon.Spec = v1alpha1.AddonSpec{RestoreTasks: tasks}
	}
	Create(t, c, addon, &v1alpha1.Function{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.FunctionSpec{Image: "mover", Args: []string{strings.Repeat("${p}", 200)}},
	})
	params := &apiextensionsv1.JSON{Raw: []byte(`{"p":"` + strings.Repeat("x", 10<<10) + `"}`)}
	return &v1alpha1.AddonInfo{Name: name, Tasks: []v1alpha1.TaskReference{{Name: "huge", Params: params}}}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
