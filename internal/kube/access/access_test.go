package access_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/testbed"
)

var bed testbed.Bed

func TestMain(m *testing.M) { os.Exit(bed.Run(m)) }

func namespace(t testing.TB, change ...func(*corev1.Namespace)) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	for _, f := range change {
		f(ns)
	}
	NewWithT(t).Expect(bed.Client.Create(t.Context(), ns)).To(Succeed())
	return ns.Name
}

func secret(t testing.TB, namespace, name string, data map[string]string) {
	t.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, StringData: data}
	NewWithT(t).Expect(bed.Client.Create(t.Context(), s)).To(Succeed())
}

// share makes a Secret that other namespaces may use.
func share(t testing.TB, namespace, name string, data map[string]string) {
	t.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: name, Annotations: map[string]string{v1alpha1.AnnotationShared: "true"},
	}, StringData: data}
	NewWithT(t).Expect(bed.Client.Create(t.Context(), s)).To(Succeed())
}

// s3 makes a storage with its Secret, which holds one key too many.
func s3(t testing.TB, namespace string, usage *v1alpha1.UsagePolicy) *v1alpha1.BackupStorage {
	t.Helper()
	secret(t, namespace, "key", map[string]string{
		v1alpha1.S3AccessKeyID: "id", v1alpha1.S3SecretAccessKey: "secret",
		"OTHER": "not yours",
	})
	return &v1alpha1.BackupStorage{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "s3"},
		Spec: v1alpha1.BackupStorageSpec{
			Storage: v1alpha1.Storage{
				Provider: v1alpha1.ProviderS3, S3: &v1alpha1.S3Storage{Bucket: "bucket", SecretName: "key"},
			},
			UsagePolicy: testbed.Usage(usage),
		},
	}
}

func everybody() *v1alpha1.UsagePolicy {
	all := v1alpha1.NamespacesFromAll
	return &v1alpha1.UsagePolicy{AllowedNamespaces: v1alpha1.AllowedNamespaces{From: &all}}
}

// owner is any object of ours that exists.
func owner(t testing.TB, namespace string) *v1alpha1.BackupSession {
	t.Helper()
	o := &v1alpha1.BackupSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "run"},
		Spec: v1alpha1.BackupSessionSpec{
			Invoker: v1alpha1.TypedLocalObjectReference{
				APIGroup: v1alpha1.Group, Kind: "BackupConfiguration", Name: "c",
			},
			Session: "s",
		},
	}
	NewWithT(t).Expect(bed.Client.Create(t.Context(), o)).To(Succeed())
	return o
}

func TestAccountsAreMadeOnceAndBoundToTheirClusterRole(t *testing.T) {
	g := NewWithT(t)
	ns := namespace(t)
	g.Expect(access.EnsureMover(t.Context(), bed.Client, ns)).To(Succeed())
	g.Expect(access.EnsureTrigger(t.Context(), bed.Client, ns)).To(Succeed())
	g.Expect(access.EnsureSnapshotter(t.Context(), bed.Client, ns)).To(Succeed())
	for _, name := range []string{
		v1alpha1.MoverServiceAccount, v1alpha1.TriggerServiceAccount,
		v1alpha1.SnapshotterServiceAccount,
	} {
		key := client.ObjectKey{Namespace: ns, Name: name}
		var account corev1.ServiceAccount
		g.Expect(bed.Client.Get(t.Context(), key, &account)).To(Succeed())
		var binding rbacv1.RoleBinding
		g.Expect(bed.Client.Get(t.Context(), key, &binding)).To(Succeed())
		g.Expect(binding.RoleRef).To(Equal(rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}))
		g.Expect(binding.Subjects).To(Equal([]rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: ns}}))

		g.Expect(bed.Client.Delete(t.Context(), &account)).To(Succeed())
		g.Expect(access.EnsureMover(t.Context(), bed.Client, ns)).To(Succeed())
		g.Expect(client.IgnoreNotFound(bed.Client.Get(t.Context(), key, &account))).To(Succeed())
	}
	g.Expect(access.EnsureMover(t.Context(), bed.Client, "no-such-namespace")).NotTo(Succeed())
}

func TestPrivilegeComesFromTheNamespaceAlone(t *testing.T) {
	g := NewWithT(t)
	for value, want := range map[string]bool{"true": true, "yes": false, "": false} {
		ns := namespace(t, func(n *corev1.Namespace) {
			n.Annotations = map[string]string{v1alpha1.AnnotationPrivilegedMovers: value}
		})
		g.Expect(access.Privileged(t.Context(), bed.Client, ns)).To(Equal(want), value)
	}
	g.Expect(access.Privileged(t.Context(), bed.Client, namespace(t))).To(BeFalse())
}

func TestCredentialsOfTheOwnNamespaceAreUsedAsTheyAre(t *testing.T) {
	g := NewWithT(t)
	ns := namespace(t)
	storage := s3(t, ns, nil)
	secret(t, ns, "enc", map[string]string{"password": "p"})
	got, err := access.EnsureCredentials(t.Context(), bed.Client, owner(t, ns), ns, storage,
		v1alpha1.ObjectReference{Name: "enc"}, "job")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got.StorageSecret).To(Equal("key"))
	g.Expect(got.EncryptionSecret).To(Equal("enc"))
	var secrets corev1.SecretList
	g.Expect(bed.Client.List(t.Context(), &secrets, client.InNamespace(ns))).To(Succeed())
	g.Expect(secrets.Items).To(HaveLen(2), "nothing was copied")
}

func TestCredentialsOfAnotherNamespaceAreCopiedKeyByKey(t *testing.T) {
	g := NewWithT(t)
	ns, home := namespace(t), namespace(t)
	storage := s3(t, home, everybody())
	share(t, home, "enc", map[string]string{"RESTIC_PASSWORD": "p", "OTHER": "not yours"})
	session := owner(t, ns)
	for range 2 {
		got, err := access.EnsureCredentials(t.Context(), bed.Client, session, ns, storage,
			v1alpha1.ObjectReference{Namespace: home, Name: "enc"}, "job")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(got.StorageSecret).To(Equal("job-storage"))
		g.Expect(got.EncryptionSecret).To(Equal("job-encryption"))
	}
	for name, want := range map[string]map[string][]byte{
		"job-storage":    {v1alpha1.S3AccessKeyID: []byte("id"), v1alpha1.S3SecretAccessKey: []byte("secret")},
		"job-encryption": {"RESTIC_PASSWORD": []byte("p")},
	} {
		var s corev1.Secret
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, &s)).To(Succeed())
		g.Expect(s.Data).To(Equal(want))
		g.Expect(metav1.IsControlledBy(&s, session)).To(BeTrue())
	}
}

func TestCredentialsAreRefusedWithAReason(t *testing.T) {
	for name, tc := range map[string]struct {
		usage      *v1alpha1.UsagePolicy
		encryption func(home, other string) v1alpha1.ObjectReference
		change     func(*v1alpha1.BackupStorage)
		// own means that the storage is in the namespace that uses it.
		own    bool
		reason string
	}{
		"the namespace is not allowed": {reason: v1alpha1.ReasonStorageNotAllowed},
		"a volume of another namespace": {
			usage: everybody(),
			change: func(s *v1alpha1.BackupStorage) {
				s.Spec.Storage = v1alpha1.Storage{Provider: v1alpha1.ProviderLocal, Local: &v1alpha1.LocalStorage{}}
			},
			reason: v1alpha1.ReasonStorageNotAllowed,
		},
		"an NFS share": {
			change: func(s *v1alpha1.BackupStorage) {
				s.Spec.Storage = v1alpha1.Storage{Provider: v1alpha1.ProviderLocal, Local: &v1alpha1.LocalStorage{
					NFS: &v1alpha1.NFSVolumeSource{Server: "nfs.example.com", Path: "/"},
				}}
			},
			own: true, reason: v1alpha1.ReasonPrivilegeRequired,
		},
		"a hostPath": {
			change: func(s *v1alpha1.BackupStorage) {
				s.Spec.Storage = v1alpha1.Storage{Provider: v1alpha1.ProviderLocal, Local: &v1alpha1.LocalStorage{
					HostPath: &v1alpha1.HostPathVolumeSource{Path: "/"},
				}}
			},
			own: true, reason: v1alpha1.ReasonPrivilegeRequired,
		},
		"the storage's Secret is absent": {
			usage: everybody(), change: func(s *v1alpha1.BackupStorage) { s.Spec.Storage.S3.SecretName = "absent" },
			reason: v1alpha1.ReasonBackendSecretNotAvailable,
		},
		"the storage's Secret lacks its keys": {
			usage: everybody(), change: func(s *v1alpha1.BackupStorage) { s.Spec.Storage.S3.SecretName = "empty" },
			reason: v1alpha1.ReasonBackendSecretNotAvailable,
		},
		"the encryption Secret is absent": {
			usage: everybody(),
			encryption: func(string,
				string,
			) v1alpha1.ObjectReference {
				return v1alpha1.ObjectReference{Name: "absent"}
			},
			reason: v1alpha1.ReasonEncryptionSecretNotAvailable,
		},
		"the encryption Secret has no password": {
			usage: everybody(),
			encryption: func(home, _ string) v1alpha1.ObjectReference {
				return v1alpha1.ObjectReference{Namespace: home, Name: "empty"}
			},
			reason: v1alpha1.ReasonEncryptionSecretNotAvailable,
		},
		"the password of the encryption Secret is a newline": {
			usage: everybody(),
			encryption: func(home, _ string) v1alpha1.ObjectReference {
				return v1alpha1.ObjectReference{Namespace: home, Name: "blank"}
			},
			reason: v1alpha1.ReasonEncryptionSecretNotAvailable,
		},
		"the encryption Secret of the storage's namespace is not shared": {
			usage: everybody(),
			encryption: func(home, _ string) v1alpha1.ObjectReference {
				return v1alpha1.ObjectReference{Namespace: home, Name: "private"}
			},
			reason: v1alpha1.ReasonEncryptionSecretNotAvailable,
		},
		"the encryption Secret is in a third namespace": {
			usage: everybody(),
			encryption: func(_, other string) v1alpha1.ObjectReference {
				return v1alpha1.ObjectReference{Namespace: other, Name: "enc"}
			},
			reason: v1alpha1.ReasonEncryptionSecretNotAvailable,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			ns, home, other := namespace(t), namespace(t), namespace(t)
			storage := s3(t, home, tc.usage)
			if tc.own {
				storage.Namespace = ns
			}
			share(t, home, "empty", map[string]string{"OTHER": "x"})
			share(t, home, "blank", map[string]string{"password": "\n"})
			secret(t, home, "private", map[string]string{"password": "p"})
			share(t, other, "enc", map[string]string{"password": "p"})
			if tc.change != nil {
				tc.change(storage)
			}
			var encryption v1alpha1.ObjectReference
			if tc.encryption != nil {
				encryption = tc.encryption(home, other)
			}
			_, err := access.EnsureCredentials(t.Context(), bed.Client, owner(t, ns), ns, storage, encryption, "job")
			reason, _, ok := access.ReasonOf(err)
			g.Expect(ok).To(BeTrue(), "%v", err)
			g.Expect(reason).To(Equal(tc.reason))
			var secrets corev1.SecretList
			g.Expect(bed.Client.List(t.Context(), &secrets, client.InNamespace(ns))).To(Succeed())
			g.Expect(secrets.Items).To(BeEmpty(), "what is refused is not copied")
		})
	}
}

// TestMoversPassPodSecurity asks the API server's own admission about the Jobs in the golden files of the package task.
func TestMoversPassPodSecurity(t *testing.T) {
	g := NewWithT(t)
	ns := namespace(t, func(n *corev1.Namespace) {
		n.Labels = map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}
	})
	g.Expect(bed.Client.Create(t.Context(), &schedulingv1.PriorityClass{
		ObjectMeta: metav1.ObjectMeta{Name: "low"},
		Value:      -1,
	})).To(Succeed(), "which some of them name")
	for _, name := range []string{"small", "gvisor"} {
		g.Expect(bed.Client.Create(t.Context(), &nodev1.RuntimeClass{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Handler:    name,
		})).To(Succeed())
	}
	files, err := filepath.Glob(filepath.Join("..", "..", "task", "moverjob", "testdata", "*.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).NotTo(BeEmpty())
	for _, file := range files {
		text, err := os.ReadFile(file)
		g.Expect(err).NotTo(HaveOccurred())
		var job batchv1.Job
		g.Expect(yaml.Unmarshal(text, &job)).To(Succeed())
		if job.Kind != "Job" {
			continue
		}
		// The API server's admission learns of the classes above a moment later.
		admitted := g.Eventually(func() error {
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "mover"},
				Spec:       *job.Spec.Template.Spec.DeepCopy(),
			}
			return bed.Client.Create(t.Context(), pod, client.DryRunAll)
		}).WithTimeout(testbed.Patience)
		if strings.Contains(file, "as root") || strings.Contains(file, "host path") || strings.Contains(file, "NFS") {
			admitted.Should(MatchError(ContainSubstring("violates PodSecurity")), file)
			continue
		}
		admitted.Should(Succeed(), file)
	}
}

func TestTheDigestFollowsTheSecretsAndTellsNothingOfThem(t *testing.T) {
	g := NewWithT(t)
	ns := namespace(t)
	storage := s3(t, ns, nil)
	secret(t, ns, "enc", map[string]string{"password": "p"})
	digest := func() string {
		d, err := access.Digest(t.Context(), bed.Client, ns, storage, v1alpha1.ObjectReference{Name: "enc"})
		g.Expect(err).NotTo(HaveOccurred())
		return d
	}
	first := digest()
	g.Expect(digest()).To(Equal(first))
	var s corev1.Secret
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "enc"}, &s)).To(Succeed())
	s.Data["password"] = []byte("q")
	g.Expect(bed.Client.Update(t.Context(), &s)).To(Succeed())
	g.Expect(digest()).NotTo(Equal(first))
}

func TestCopiesAreRemovedWithTheirJob(t *testing.T) {
	g := NewWithT(t)
	ns, home := namespace(t), namespace(t)
	storage := s3(t, home, everybody())
	secret(t, ns, "enc", map[string]string{"password": "p"})
	run := owner(t, ns)
	_, err := access.EnsureCredentials(t.Context(), bed.Client, run, ns, storage,
		v1alpha1.ObjectReference{Name: "enc"}, "job")
	g.Expect(err).NotTo(HaveOccurred())
	secret(t, ns, "job-encryption", map[string]string{"password": "somebody's own"})
	of := *metav1.NewControllerRef(run, v1alpha1.GroupVersion.WithKind(v1alpha1.BackupSessionKind))
	left := func() []string {
		var secrets corev1.SecretList
		g.Expect(bed.Client.List(t.Context(), &secrets, client.InNamespace(ns))).To(Succeed())
		var names []string
		for i := range secrets.Items {
			names = append(names, secrets.Items[i].Name)
		}
		return names
	}
	other := of
	other.UID = "uid-other"
	g.Expect(access.RemoveCopies(t.Context(), bed.Client, other, ns, "job")).To(Succeed())
	g.Expect(left()).To(ConsistOf("enc", "job-storage", "job-encryption"), "another run made the copy")
	for range 2 {
		g.Expect(access.RemoveCopies(t.Context(), bed.Client, of, ns, "job")).To(Succeed())
	}
	g.Expect(left()).To(ConsistOf("enc", "job-encryption"), "what the user made stays")
}
