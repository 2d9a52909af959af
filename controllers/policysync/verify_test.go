package policysync

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/signature/signaturetest"
)

// newVerifiedRoom returns a room whose PolicySync applies only what one of the keys has signed.
func newVerifiedRoom(t *testing.T, mode string, keys ...*signaturetest.Key) *testNamespace {
	t.Helper()
	r := newRoom(t, func(p *v1alpha1.PolicySync) {
		p.Spec.Verify = &v1alpha1.GitVerification{
			Mode: mode, SecretRef: v1alpha1.LocalObjectReference{Name: "authors"},
		}
		if mode != v1alpha1.VerifyHEAD {
			p.Spec.Ref = &v1alpha1.GitRef{Tag: "v1"}
		}
	})
	r.trust(keys...)
	return r
}

// trust makes the Secret hold these keys.
func (r *testNamespace) trust(keys ...*signaturetest.Key) {
	r.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "authors", Namespace: r.namespace}}
	data := map[string][]byte{}
	for i, k := range keys {
		data[string(rune('a'+i))+".pub"] = []byte(k.Public)
	}
	if r.exists(secret, "authors") {
		secret.Data = data
		r.g.Expect(r.Update(r.t.Context(), secret)).To(Succeed())
		return
	}
	secret.Data = data
	r.g.Expect(r.Create(r.t.Context(), secret)).To(Succeed())
}

// raw returns an object of Git.
func (r *testNamespace) raw(kind, name string) []byte {
	r.t.Helper()
	cmd := exec.Command("git", "cat-file", kind, name)
	cmd.Dir = r.work
	out, err := cmd.Output()
	r.g.Expect(err).NotTo(HaveOccurred())
	return out
}

// store stores an object of Git and returns its hash.
func (r *testNamespace) store(kind string, raw []byte) string {
	r.t.Helper()
	file := filepath.Join(r.t.TempDir(), "object")
	r.g.Expect(os.WriteFile(file, raw, 0o600)).To(Succeed())
	return r.git("hash-object", "--literally", "-t", kind, "-w", file)
}

// pushSigned pushes files in a commit that keys have signed, and returns the revision.
func (r *testNamespace) pushSigned(files map[string]string, keys ...*signaturetest.Key) string {
	r.t.Helper()
	r.commit(files)
	return r.pushRaw(signaturetest.SignCommit(r.raw("commit", "HEAD"), keys...))
}

// pushRaw makes main this commit.
func (r *testNamespace) pushRaw(commit []byte) string {
	r.t.Helper()
	r.git("reset", "-q", "--soft", r.store("commit", commit))
	return r.pushHead()
}

func (r *testNamespace) expectVerified(status metav1.ConditionStatus, reason, message string) {
	r.t.Helper()
	c := conditions.Get(r.sync, v1alpha1.ConditionSourceVerified)
	r.g.Expect(c).NotTo(BeNil())
	r.g.Expect(string(c.Status)+" "+c.Reason).To(Equal(string(status)+" "+reason), c.Message)
	r.g.Expect(c.Message).To(ContainSubstring(message))
}

var (
	good = map[string]string{"policy/s.yaml": storage("local")}
	evil = map[string]string{"policy/s.yaml": storage("local"), "policy/t.yaml": storage("attackers")}
)

// An account of the forge is stolen: whoever has it can push what he likes, but has no trusted key.
func TestAStolenForgeAccountAppliesNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		attack  func(r *testNamespace, trusted, other *signaturetest.Key) (revision string)
		message string // without the hash of the commit
	}{
		"an unsigned commit": {
			func(r *testNamespace, _, _ *signaturetest.Key) string { return r.pushSigned(evil) },
			"has no signature: sign it with a trusted key",
		},
		"a commit that an unknown key has signed": {
			func(r *testNamespace, _, other *signaturetest.Key) string { return r.pushSigned(evil, other) },
			"which is not trusted: sign it with a trusted key",
		},
		"a commit with the signature of another one": {
			func(r *testNamespace, trusted, _ *signaturetest.Key) string {
				of := trusted.Sign(r.raw("commit", "HEAD"))
				r.commit(evil)
				return r.pushRaw(signaturetest.Commit(r.raw("commit", "HEAD"), of))
			},
			"does not fit the content",
		},
		"a good commit whose tree was replaced": {
			func(r *testNamespace, _, _ *signaturetest.Key) string {
				signed := r.raw("commit", "HEAD")
				tree := r.git("rev-parse", "HEAD^{tree}")
				r.commit(evil)
				return r.pushRaw(bytes.Replace(signed, []byte(tree), []byte(r.git("rev-parse", "HEAD^{tree}")), 1))
			},
			"does not fit the content",
		},
		"two signatures, the first of a trusted key": {
			func(r *testNamespace, trusted, other *signaturetest.Key) string {
				of := trusted.Sign(r.raw("commit", "HEAD"))
				r.commit(evil)
				raw := r.raw("commit", "HEAD")
				return r.pushRaw(signaturetest.Commit(raw, of, other.Sign(raw)))
			},
			"has more than one signature",
		},
	} {
		for kind, key := range map[string]func(testing.TB) *signaturetest.Key{
			"SSH":     signaturetest.SSH,
			"OpenPGP": func(t testing.TB) *signaturetest.Key { return signaturetest.OpenPGP(t, nil) },
		} {
			t.Run(kind+", "+name, func(t *testing.T) {
				trusted, other := key(t), key(t)
				r := newVerifiedRoom(t, v1alpha1.VerifyHEAD, trusted)
				first := r.pushSigned(good, trusted)
				r.reconcile()
				r.expectReady(first)
				r.emitted()

				bad := tc.attack(r, trusted, other)
				r.reconcile()
				r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "attackers")).To(BeFalse(), "the attack")
				r.expectNotReady(v1alpha1.ReasonInvalidCommitSignature, tc.message)
				commit := strings.TrimPrefix(bad, "main@sha1:")
				r.expectVerified("False", v1alpha1.ReasonInvalidCommitSignature, "commit "+commit+" ")
				r.g.Expect(conditions.GetMessage(r.sync, meta.ReadyCondition)).To(And(
					ContainSubstring("Secret "+r.namespace+"/authors"),
					HaveSuffix("revision "+first+" stays in force")))
				r.g.Expect(r.sync.Status.LastAppliedRevision).To(Equal(first))
				r.g.Expect(r.sync.Status.LastAttemptedRevision).To(Equal(bad))
				r.clock.Step(driftInterval)
				r.reconcile()
				r.g.Expect(r.emitted()).To(ConsistOf(ContainSubstring(tc.message)), "one event")
				r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "attackers")).To(BeFalse())
			})
		}
	}
}
