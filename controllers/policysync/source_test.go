package policysync

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	"github.com/fluxcd/pkg/ssh"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/kube/footprint"
	"github.com/cairn-backup/cairn/internal/testbed"
)

func TestSourceFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		spec         func(*v1alpha1.PolicySync)
		secret       map[string][]byte
		auth         bool
		reason, says string
	}{
		"unknown branch": {
			spec:   func(p *v1alpha1.PolicySync) { p.Spec.Ref = &v1alpha1.GitRef{Branch: "nope"} },
			reason: v1alpha1.ReasonRefNotFound, says: `branch "nope"`,
		},
		"unknown tag": {
			spec:   func(p *v1alpha1.PolicySync) { p.Spec.Ref = &v1alpha1.GitRef{Tag: "v1"} },
			reason: v1alpha1.ReasonRefNotFound, says: `tag "v1"`,
		},
		"host down": {
			spec:   func(p *v1alpha1.PolicySync) { p.Spec.URL = "http://127.0.0.1:1/policy.git" },
			reason: v1alpha1.ReasonUnreachable, says: "127.0.0.1",
		},
		"no Secret": {spec: secretRef, reason: v1alpha1.ReasonSecretNotFound, says: "does not exist"},
		"wrong password": {spec: secretRef, auth: true, secret: map[string][]byte{
			"username": []byte("u"),
			"password": []byte("hunter2"),
		}, reason: v1alpha1.ReasonAuthenticationFailed, says: "did not accept the credentials"},
		"keys of others": {spec: secretRef, auth: true, secret: map[string][]byte{
			"user": []byte("u"),
			"pass": []byte("hunter2"),
		}, reason: v1alpha1.ReasonInvalidSecret, says: "/git-auth: "},
		"no keys": {
			spec: secretRef, secret: map[string][]byte{}, reason: v1alpha1.ReasonInvalidSecret,
			says: "none of the keys",
		},
		"bad authority": {
			spec: secretRef, secret: map[string][]byte{"ca.crt": []byte("hunter2")},
			reason: v1alpha1.ReasonInvalidSecret, says: "git-auth: ",
		},
		"two credentials": {spec: secretRef, secret: map[string][]byte{
			"username": []byte("u"), "password": []byte("hunter2"),
			"bearerToken": []byte("hunter2"),
		}, reason: v1alpha1.ReasonInvalidSecret, says: "git-auth"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t, tc.spec)
			r.push(map[string]string{"policy/s.yaml": storage("local")})
			if tc.auth {
				r.server.Auth("u", "right")
				r.server.StopHTTP()
				r.g.Expect(r.server.StartHTTP()).To(Succeed())
				r.update(func(p *v1alpha1.PolicySync) { p.Spec.URL = r.server.HTTPAddress() + "/policy.git" })
			}
			if tc.secret != nil {
				r.g.Expect(r.Create(t.Context(),
					&corev1.Secret{
						ObjectMeta: metav1.ObjectMeta{Name: "git-auth", Namespace: r.namespace},
						Data:       tc.secret,
					})).To(Succeed())
			}
			r.reconcile()
			r.expectNotReady(tc.reason, tc.says)
			r.g.Expect(conditions.GetMessage(r.sync, meta.ReadyCondition)).NotTo(ContainSubstring("hunter2"))
			r.g.Expect(conditions.GetReason(r.sync, meta.ReconcilingCondition)).
				To(Equal(v1alpha1.ReasonProgressingWithRetry))
			r.g.Expect(r.emitted()).To(ConsistOf(HavePrefix("Warning " + tc.reason)))
			version := r.sync.ResourceVersion
			r.reconcile()
			r.g.Expect(r.sync.ResourceVersion).To(Equal(version), "the same fault is not written again")
			r.g.Expect(r.emitted()).To(BeEmpty())
		})
	}
}

func secretRef(p *v1alpha1.PolicySync) {
	p.Spec.SecretRef = &v1alpha1.LocalObjectReference{Name: "git-auth"}
}

func TestWrongHostKey(t *testing.T) {
	r := newRoom(t)
	r.push(map[string]string{"policy/s.yaml": storage("local")})
	r.server.KeyDir(t.TempDir())
	r.g.Expect(r.server.ListenSSH()).To(Succeed())
	go func() { _ = r.server.StartSSH() }()
	t.Cleanup(func() { _ = r.server.StopSSH() })
	pair, err := ssh.GenerateKeyPair(ssh.ED25519)
	r.g.Expect(err).NotTo(HaveOccurred())
	address := r.server.SSHAddress()
	r.g.Expect(r.Create(t.Context(),
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "git-auth", Namespace: r.namespace}, Data: map[string][]byte{
			"identity": pair.PrivateKey,
			// not the server's key
			"known_hosts": []byte("[127.0.0.1]:" + address[strings.LastIndex(address, ":")+1:] + " " +
				string(pair.PublicKey)),
		}})).To(Succeed())
	r.update(func(p *v1alpha1.PolicySync) {
		secretRef(p)
		p.Spec.URL = strings.Replace(address, "localhost", "127.0.0.1", 1) + "/policy.git"
	})
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonHostKeyMismatch, "known_hosts of the Secret")
}

func TestAGitServerThatComesBackCostsNoPass(t *testing.T) {
	r := newRoom(t)
	revision := r.push(map[string]string{"policy/s.yaml": storage("local")})
	r.reconcile()
	r.down.Store(true)
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonUnreachable, "does not answer")
	r.g.Expect(r.sync.Status.LastAppliedRevision).To(Equal(revision))
	r.down.Store(false)
	git, dry := r.gitCalls.Load(), r.api.count["DRY"]
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.gitCalls.Load() - git).To(Equal(int64(1)))
	r.g.Expect(r.api.count["DRY"]).To(Equal(dry))
}

func TestTheManagerWatchesRequests(t *testing.T) {
	r := newRoom(t)
	first := r.push(map[string]string{"policy/s.yaml": storage("local")})
	no := false
	kept := footprint.Cache()
	kept.DefaultNamespaces = map[string]cache.Config{r.namespace: {}}
	mgr, err := ctrl.NewManager(r.RESTConfig, ctrl.Options{
		Scheme: scheme, Metrics: server.Options{BindAddress: "0"}, Cache: kept, Client: footprint.Client(),
	})
	r.g.Expect(err).NotTo(HaveOccurred())
	reconciler := &Reconciler{
		Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), Scheme: scheme,
		EventRecorder: r.events, Clock: r.clock, Egress: egress.Anywhere(),
	}
	skip := !no
	r.g.Expect(reconciler.SetupWithManager(mgr, controller.Options{SkipNameValidation: &skip})).To(Succeed())
	go func() { _ = mgr.Start(t.Context()) }()
	applied := func() string {
		_ = r.exists(r.sync, "policy")
		return r.sync.Status.LastAppliedRevision
	}
	r.g.Eventually(applied, testbed.Patience).Should(Equal(first), "the manager sees the new PolicySync")
	second := r.push(map[string]string{"policy/s.yaml": storage("local"), "policy/t.yaml": storage("second")})
	r.g.Eventually(func() error {
		_ = r.exists(r.sync, "policy")
		r.sync.Annotations = map[string]string{meta.ReconcileRequestAnnotation: "now"}
		return r.Update(t.Context(), r.sync)
	}, testbed.Patience).Should(Succeed(), "no status write is under way")
	r.g.Eventually(applied, testbed.Patience).Should(Equal(second), "the request is seen before the interval")
}

// A part of the policy that Git hands out as something else is no removal.
func TestWhatIsNotThereIsNotRemoved(t *testing.T) {
	commit := func(r *testNamespace) {
		r.git("commit", "-q", "-m", "change")
		r.git("push", "-q", "origin", "main")
	}
	file := func(r *testNamespace, name, content string) {
		r.g.Expect(os.WriteFile(filepath.Join(r.work, name), []byte(content), 0o644)).To(Succeed())
		r.git("add", "-A")
	}
	for name, tt := range map[string]struct {
		change func(*testNamespace)
		says   string
	}{
		"submodule": {func(r *testNamespace) {
			r.git("rm", "-q", "-r", "policy/sub")
			r.git("update-index", "--add", "--cacheinfo", "160000,"+r.git("rev-parse", "HEAD")+",policy/sub")
		}, "policy/sub: is a Git submodule"},
		"submodule in a kustomization": {func(r *testNamespace) {
			r.git("rm", "-q", "-r", "policy/sub")
			file(r, "policy/kustomization.yaml", "resources: [a.yaml, sub]\n")
			r.git("update-index", "--add", "--cacheinfo", "160000,"+r.git("rev-parse", "HEAD")+",policy/sub")
		}, "policy/sub: is a Git submodule"},
		"submodule in place of the path": {func(r *testNamespace) {
			r.git("rm", "-q", "-r", "policy")
			r.git("update-index", "--add", "--cacheinfo", "160000,"+r.git("rev-parse", "HEAD")+",policy")
		}, "holds no object"},
		"link to a directory": {func(r *testNamespace) {
			r.git("mv", "policy/sub", "elsewhere")
			r.g.Expect(os.Symlink("../elsewhere", filepath.Join(r.work, "policy/sub"))).To(Succeed())
			r.git("add", "-A")
		}, "policy/sub: symbolic link to a directory is not followed"},
		"link to nothing": {func(r *testNamespace) {
			r.git("rm", "-q", "-r", "policy/sub")
			r.g.Expect(os.Symlink("../nothing", filepath.Join(r.work, "policy/sub"))).To(Succeed())
			r.git("add", "-A")
		}, "policy/sub: symbolic link does not exist"},
		"pointer of LFS": {func(r *testNamespace) {
			file(r, "policy/sub/b.yaml", "version https://git-lfs.github.com/spec/v1\noid sha256:"+
				strings.Repeat("4d7a2146", 8)+"\nsize 12345\n")
		}, "policy/sub/b.yaml:1: file is a pointer of Git LFS"},
		"the path is gone": {func(r *testNamespace) {
			r.git("mv", "policy", "moved")
		}, "policy: path does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			good := r.push(map[string]string{"policy/a.yaml": storage("a"), "policy/sub/b.yaml": storage("b")})
			r.reconcile()
			tt.change(r)
			commit(r)
			r.reconcile()
			r.g.Expect(r.there()).To(Equal("ab"))
			r.g.Expect(conditions.IsStalled(r.sync)).To(BeTrue(), "%v", r.sync.Status.Conditions)
			r.g.Expect(conditions.GetMessage(r.sync, meta.ReadyCondition)).To(ContainSubstring(tt.says))
			r.g.Expect(r.sync.Status.LastAppliedRevision).To(Equal(good))
		})
	}
}
