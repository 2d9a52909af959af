package policysync

import (
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// password returns a file with the Secret enc.
func password(value string) string {
	return "apiVersion: v1\nkind: Secret\nmetadata: {name: enc}\nstringData: {password: \"" + value + "\"}\n"
}

// encrypts makes a Repository that is encrypted with the Secret enc.
func (r *testNamespace) encrypts() {
	r.t.Helper()
	r.g.Expect(r.Create(r.t.Context(), &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "web"},
		Spec: v1alpha1.RepositorySpec{
			AppRef:     v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "web"},
			StorageRef: v1alpha1.ObjectReference{Name: "a"}, Path: "/web",
			EncryptionSecret: v1alpha1.ObjectReference{Name: "enc"},
		},
	})).To(Succeed())
}

func (r *testNamespace) expectPassword(want string) {
	r.t.Helper()
	secret := &corev1.Secret{}
	r.g.Expect(r.exists(secret, "enc")).To(BeTrue())
	r.g.Expect(string(secret.Data["password"])).To(Equal(want))
}

// The password of a Repository that somebody made by hand is not replaced by a file in Git: without it all backups are
// lost.
func TestAPasswordThatARepositoryNeedsIsNotReplaced(t *testing.T) {
	r := asDeployer(t)
	good := map[string]string{"policy/a.yaml": storage("a")}
	r.begins(good)
	applied := r.sync.Status.LastAppliedRevision
	r.g.Expect(r.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "enc"},
		StringData: map[string]string{"password": "the only copy"},
	})).To(Succeed())
	r.encrypts()
	for range 2 { // a refused revision makes the Secret nobody's
		r.push(map[string]string{
			"policy/a.yaml": storage("a"), "policy/b.yaml": storage("b"), "policy/e.yaml": password("x"),
		})
		r.reconcile()
		r.expectNotReady(v1alpha1.ReasonSecretInUse, "policy/e.yaml: Secret/"+r.namespace+
			"/enc would get another password, but Repository "+r.namespace+"/web uses it")
		r.expectPassword("the only copy")
		r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "b")).To(BeFalse(), "nothing of the revision")
		r.g.Expect(r.sync.Status.LastAppliedRevision).To(Equal(applied))
	}
	revision := r.push(map[string]string{"policy/a.yaml": storage("a"), "policy/e.yaml": password("the only copy")})
	r.reconcile()
	r.expectReady(revision)
}

// A PolicySync replaces a password that it has applied itself only with a consent, which counts once.
func TestAPasswordChangesOnlyWithConsent(t *testing.T) {
	r := asDeployer(t)
	files := func(value string) map[string]string {
		return map[string]string{"policy/a.yaml": storage("a"), "policy/e.yaml": password(value)}
	}
	r.begins(files("one"))
	r.encrypts()
	revision := r.push(files("two"))
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonSecretInUse, v1alpha1.AnnotationAllowDelete+"=sha256:")
	r.expectPassword("one")

	last, ok := r.passes.get(client.ObjectKeyFromObject(r.sync))
	r.g.Expect(ok).To(BeTrue())
	r.consent(last.awaits)
	r.reconcile()
	r.expectReady(revision)
	r.expectPassword("two")

	r.push(files("one"))
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonSecretInUse, "would get another password")
	r.git("reset", "-q", "--hard", revision[len("main@sha1:"):])
	r.git("push", "-q", "-f", "origin", "main")
	secret := &corev1.Secret{}
	r.g.Expect(r.exists(secret, "enc")).To(BeTrue())
	secret.Data["password"] = []byte("by hand")
	r.g.Expect(r.Update(t.Context(), secret)).To(Succeed())
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonSecretInUse, "would get another password")
	r.expectPassword("by hand")
}

// A commit that gives a Secret a label does not make its values those of Git.
func TestALabelDoesNotMakeTheValuesOurs(t *testing.T) {
	r := asDeployer(t)
	files := func(fields string) map[string]string {
		return map[string]string{"policy/a.yaml": storage("a"), "policy/e.yaml": "apiVersion: v1\nkind: Secret\n" +
			"metadata: {name: enc, labels: {team: web}}\n" + fields}
	}
	r.begins(map[string]string{"policy/a.yaml": storage("a")})
	r.g.Expect(r.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "enc"},
		StringData: map[string]string{"password": "the only copy"},
	})).To(Succeed())
	r.encrypts()
	revision := r.push(files(""))
	r.reconcile()
	r.expectReady(revision)
	r.push(files("stringData: {password: x}\n"))
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonSecretInUse, "enc would get another password, but")
	r.expectPassword("the only copy")
}

// Nor the keys of a storage: they change with a consent.
func TestALabelDoesNotMakeTheKeysOurs(t *testing.T) {
	r := asDeployer(t)
	r.g.Expect(r.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "keys"},
		StringData: map[string]string{"AWS_SECRET_ACCESS_KEY": "the only copy"},
	})).To(Succeed())
	files := func(fields string) map[string]string {
		return map[string]string{"policy/a.yaml": storage("a"), "policy/e.yaml": "apiVersion: v1\nkind: Secret\n" +
			"metadata: {name: keys, labels: {team: web}}\n" + fields}
	}
	r.begins(files(""))
	s3 := &v1alpha1.BackupStorage{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "s3"},
		Spec: v1alpha1.BackupStorageSpec{Storage: v1alpha1.Storage{
			Provider: v1alpha1.ProviderS3, S3: &v1alpha1.S3Storage{Bucket: "bucket", SecretName: "keys"},
		}},
	}
	r.g.Expect(r.Create(t.Context(), s3)).To(Succeed())
	revision := r.push(files("stringData: {AWS_SECRET_ACCESS_KEY: x}\n"))
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonSecretInUse, "keys would get another AWS_SECRET_ACCESS_KEY, but")
	last, ok := r.passes.get(client.ObjectKeyFromObject(r.sync))
	r.g.Expect(ok).To(BeTrue())
	r.consent(last.awaits)
	r.reconcile()
	r.expectReady(revision)

	revision = r.push(files("stringData: {AWS_SECRET_ACCESS_KEY: y}\n"))
	r.reconcile()
	r.expectReady(revision) // now they are
}

// Git shares a password that only a person knows, by an annotation on its Secret. One commit drops the application: its
// Repository, whose data stays in the backend, and the Secret.
func TestAPasswordOfAPersonIsNotRemovedUnasked(t *testing.T) {
	person := corev1.Secret{StringData: map[string]string{"password": "the only copy"}}
	for name, tt := range map[string]struct {
		secret  corev1.Secret
		fields  string
		deletes bool // the PolicySync
		goes    bool
	}{
		"by a revision":       {secret: person},
		"with the PolicySync": {secret: person, deletes: true},
		"beside one of Git": {
			secret: corev1.Secret{StringData: map[string]string{"old": "the only copy"}},
			fields: "stringData: {password: x}\n",
		},
		"taken over by Git": {
			secret: corev1.Secret{StringData: map[string]string{"password": "x"}},
			fields: "stringData: {password: x}\n", goes: true,
		},
		"the token of an account": {
			secret: corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{corev1.ServiceAccountNameKey: "deployer"}},
				Type:       corev1.SecretTypeServiceAccountToken, StringData: map[string]string{"token": "x"},
			},
			fields: "type: kubernetes.io/service-account-token\n", goes: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := asDeployer(t, func(p *v1alpha1.PolicySync) { p.Spec.DeletionPolicy = v1alpha1.DeletionPolicyDelete })
			secret := tt.secret.DeepCopy()
			secret.Namespace, secret.Name = r.namespace, "enc"
			r.g.Expect(r.Create(t.Context(), secret)).To(Succeed())
			r.begins(map[string]string{
				"policy/a.yaml": storage("a"),
				"policy/e.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: enc, annotations: " +
					"{backup.cairn.dev/shared: \"true\"}}\n" + tt.fields,
				"policy/r.yaml": "apiVersion: backup.cairn.dev/v1alpha1\nkind: Repository\nmetadata: {name: web}\n" +
					"spec: {appRef: {kind: PersistentVolumeClaim, name: web}, storageRef: {name: a}, path: /web, " +
					"encryptionSecret: {name: enc}}\n",
			})
			r.g.Expect(r.exists(&v1alpha1.Repository{}, "web")).To(BeTrue())
			if tt.deletes {
				r.g.Expect(r.Client.Delete(t.Context(), r.sync)).To(Succeed())
			} else {
				r.push(map[string]string{"policy/a.yaml": storage("a")})
			}
			r.emitted()
			r.reconcile()
			r.g.Expect(r.exists(&v1alpha1.Repository{}, "web")).To(BeFalse())
			r.g.Expect(r.exists(&corev1.Secret{}, "enc")).To(Equal(!tt.goes),
				"the data in the backend stays, and nobody can read it any more: Ready=%v: %s",
				conditions.IsReady(r.sync), conditions.GetMessage(r.sync, meta.ReadyCondition))
			said := conditions.GetMessage(r.sync, meta.ReadyCondition)
			if tt.deletes {
				said = strings.Join(r.emitted(), "\n")
			}
			if !tt.goes {
				r.g.Expect(said).To(ContainSubstring("not deleted: Secret/" + r.namespace + "/enc (no PolicySync has"))
			}
		})
	}
}
