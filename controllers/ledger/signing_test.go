package ledger

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// signingKey makes a key of SSH, and returns a file with which git knows whom to trust.
func signingKey(t *testing.T) (identity, allowed string) {
	t.Helper()
	g := NewWithT(t)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	block, err := ssh.MarshalPrivateKey(private, "")
	g.Expect(err).NotTo(HaveOccurred())
	key, err := ssh.NewPublicKey(public)
	g.Expect(err).NotTo(HaveOccurred())
	allowed = filepath.Join(t.TempDir(), "allowed")
	g.Expect(os.WriteFile(allowed, append([]byte("cairn@localhost "), ssh.MarshalAuthorizedKey(key)...), 0o600)).
		To(Succeed())
	return string(pem.EncodeToMemory(block)), allowed
}

// verify lets git verify the tip of the branch.
func (w *world) verify(allowed string) error {
	out, err := exec.Command("git", "-C", w.repo, "-c", "gpg.format=ssh", "-c", "gpg.ssh.allowedSignersFile="+allowed,
		"verify-commit", branch).CombinedOutput()
	w.t.Logf("git verify-commit: %s", out)
	return err
}

func signing(secret string) func(*v1alpha1.Ledger) {
	return func(l *v1alpha1.Ledger) {
		l.Spec.Signing = &v1alpha1.LedgerSigning{SecretRef: v1alpha1.LocalObjectReference{Name: secret}}
	}
}

// TestASignedLedger lets git verify each commit, also after the key was replaced.
func TestASignedLedger(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	identity, allowed := signingKey(t)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "signer"},
		StringData: map[string]string{"identity": identity},
	}
	w.create(secret)
	l := w.ledger("ledger", signing("signer"))
	for _, name := range []string{"a", "b"} {
		w.session(name)
		w.settle(l)
		g.Expect(w.verify(allowed)).To(Succeed())
	}
	next, allowedNext := signingKey(t)
	g.Expect(w.verify(allowedNext)).NotTo(Succeed())
	get(w, secret)
	secret.Data["identity"] = []byte(next)
	g.Expect(bed.Client.Update(t.Context(), secret)).To(Succeed())
	w.session("c")
	w.settle(l)
	g.Expect(w.verify(allowedNext)).To(Succeed())
	g.Expect(w.verify(allowed)).NotTo(Succeed())
}

// TestNothingIsPushedWithoutASignature checks what happens to a Ledger that shall sign and can't.
func TestNothingIsPushedWithoutASignature(t *testing.T) {
	t.Parallel()
	identity, allowed := signingKey(t)
	for name, tt := range map[string]struct {
		data         map[string]string // nil means that there is no Secret
		reason, says string
	}{
		"no Secret":  {nil, v1alpha1.ReasonSecretNotFound, "create the Secret signer with the key for signatures"},
		"another":    {map[string]string{"password": "hunter2"}, v1alpha1.ReasonInvalidSigningKey, "neither the key"},
		"no key":     {map[string]string{"identity": "hunter2"}, v1alpha1.ReasonInvalidSigningKey, "can't be read"},
		"no OpenPGP": {map[string]string{"git.asc": "hunter2"}, v1alpha1.ReasonInvalidSigningKey, "can't be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			secret := &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "signer"}, StringData: tt.data,
			}
			if tt.data != nil {
				w.create(secret)
			}
			l := w.ledger("ledger", signing("signer"))
			w.session("a")
			w.pass(11 * time.Second)
			g.Expect(w.collect()).Error().NotTo(HaveOccurred())
			g.Expect(w.push(l)).Error().NotTo(HaveOccurred())
			g.Expect(get(w, l)).To(beReady(metav1.ConditionFalse, tt.reason))
			g.Expect(ready(l).Message).To(And(ContainSubstring(tt.says), Not(ContainSubstring("hunter2"))))
			g.Expect(w.tip()).To(BeEmpty(), "nothing is pushed without a signature")
			g.Expect(w.parcels()).To(HaveLen(1), "and nothing is lost")

			if tt.data == nil {
				secret.StringData = map[string]string{"identity": identity}
				w.create(secret)
			} else {
				get(w, secret)
				secret.StringData, secret.Data = map[string]string{"identity": identity}, nil
				g.Expect(bed.Client.Update(t.Context(), secret)).To(Succeed())
			}
			w.pass(11 * time.Minute) // nobody tells the Ledger that a Secret has changed
			w.work(l)
			g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
			g.Expect(w.verify(allowed)).To(Succeed())
			g.Expect(strings.Count(w.files("clusters/production/records")[0], "/")).To(BeNumerically(">", 1))
		})
	}
}
