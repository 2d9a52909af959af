package policysync

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/signature/signaturetest"
)

// pushTag makes refs/tags/v1 an annotated tag of HEAD that a key has signed, or not, and returns the revision.
func (r *testNamespace) pushTag(keys ...*signaturetest.Key) string {
	r.t.Helper()
	head := r.git("rev-parse", "HEAD")
	raw := fmt.Appendf(nil, "object %s\ntype commit\ntag v1\ntagger A <a@example.com> 1700000000 +0000\n\nx\n", head)
	for _, key := range keys {
		raw = signaturetest.SignTag(raw, key)
	}
	r.git("push", "-q", "-f", "origin", r.store("tag", raw)+":refs/tags/v1")
	return "v1@sha1:" + head
}

func TestATagIsVerified(t *testing.T) {
	release, author := signaturetest.OpenPGP(t, nil), signaturetest.SSH(t)
	r := newVerifiedRoom(t, v1alpha1.VerifyTagAndHEAD, release, author)
	r.pushSigned(good, author)
	first := r.pushTag()
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonInvalidTagSignature, "tag v1 has no signature")
	r.expectVerified("False", v1alpha1.ReasonInvalidTagSignature, "tag v1 ")
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "local")).To(BeFalse())
	r.g.Expect(r.sync.Status.LastAppliedSigner).To(BeEmpty())

	r.pushTag(release) // the revision stays the same
	r.reconcile()
	r.expectReady(first)
	r.expectVerified("True", v1alpha1.ReasonSucceeded, "verified the signature of tag v1 by "+release.Name+
		", and of commit "+r.git("rev-parse", "HEAD")+" by "+author.Name)
	r.g.Expect(r.sync.Status.SourceVerificationMode).To(Equal("TagAndHEAD"))
	r.g.Expect(r.sync.Status.LastAppliedSigner).To(Equal(author.Name))

	r.pushSigned(evil) // a tag of a trusted key, of a commit that nobody has signed
	r.pushTag(release)
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonInvalidCommitSignature, "has no signature")
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "attackers")).To(BeFalse())

	r.update(func(p *v1alpha1.PolicySync) { p.Spec.Verify.Mode = v1alpha1.VerifyTag })
	r.reconcile()
	r.expectReady("v1@sha1:" + r.git("rev-parse", "HEAD"))
	r.g.Expect(r.sync.Status.LastAppliedSigner).To(Equal(release.Name))
}

// The Secret is read at each reconcile: a change of the trusted keys counts at once, without a new revision.
func TestTheTrustedKeysChange(t *testing.T) {
	key, other := signaturetest.SSH(t), signaturetest.SSH(t)
	r := newVerifiedRoom(t, v1alpha1.VerifyHEAD, other)
	revision := r.pushSigned(good, key)
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonInvalidCommitSignature, key.Name+", which is not trusted")
	r.reconcile()
	r.g.Expect(r.gitCalls.Load()).To(Equal(int64(4)), "the second reconcile fetches nothing")

	r.trust(other, key)
	r.reconcile()
	r.expectReady(revision)
	r.expectVerified("True", v1alpha1.ReasonSucceeded, "by "+key.Name)
	r.g.Expect(r.sync.Status.LastAppliedSigner).To(Equal(key.Name))

	r.trust(other)
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonInvalidCommitSignature, "revision "+revision+" stays in force")
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "local")).To(BeTrue(), "nothing that was applied goes")
	r.trust(key)
	r.reconcile()
	r.expectReady(revision)

	secret := &corev1.Secret{}
	r.g.Expect(r.exists(secret, "authors")).To(BeTrue())
	secret.Data = map[string][]byte{"password": []byte("hunter2")}
	r.g.Expect(r.Update(t.Context(), secret)).To(Succeed())
	r.reconcile()
	message := "Secret " + r.namespace + `/authors (spec.verify.secretRef): key "password" has a line that is no ` +
		"public key"
	r.expectNotReady(v1alpha1.ReasonInvalidSecret, message)
	r.expectVerified("False", v1alpha1.ReasonInvalidSecret, message)
	r.g.Expect(conditions.GetMessage(r.sync, "Ready")).NotTo(ContainSubstring("hunter2"))

	r.g.Expect(r.Delete(t.Context(), secret)).To(Succeed())
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonSecretNotFound, "does not exist: create it or correct spec.verify.secretRef")
	r.expectVerified("False", v1alpha1.ReasonSecretNotFound, "/authors")
	r.trust(key)
	r.reconcile()
	r.expectReady(revision)
	r.expectVerified("True", v1alpha1.ReasonSucceeded, "by "+key.Name)

	r.update(func(p *v1alpha1.PolicySync) { p.Spec.Verify = nil })
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(conditions.Get(r.sync, v1alpha1.ConditionSourceVerified)).To(BeNil())
	r.g.Expect(r.sync.Status.SourceVerificationMode).To(BeEmpty())
	r.g.Expect(r.sync.Status.LastAppliedSigner).To(BeEmpty())
}

// A mistake in a file says nothing about the signature, and edits by hand are reverted to the signed revision only.
func TestASignedRevisionWithAMistake(t *testing.T) {
	key := signaturetest.SSH(t)
	r := newVerifiedRoom(t, v1alpha1.VerifyHEAD, key)
	first := r.pushSigned(good, key)
	r.reconcile()
	r.expectReady(first)
	r.pushSigned(map[string]string{"policy/s.yaml": storage("local") + "  broken: [\n"}, key)
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonBuildFailed, "policy/s.yaml")
	r.expectVerified("True", v1alpha1.ReasonSucceeded, "commit "+r.git("rev-parse", "HEAD"))

	r.pushSigned(evil)
	r.reconcile()
	r.expectVerified("False", v1alpha1.ReasonInvalidCommitSignature, "commit "+r.git("rev-parse", "HEAD"))
	s := &v1alpha1.BackupStorage{}
	r.g.Expect(r.exists(s, "local")).To(BeTrue())
	r.g.Expect(r.Delete(t.Context(), s)).To(Succeed())
	r.clock.Step(driftInterval)
	r.reconcile()
	r.g.Expect(r.exists(s, "local")).To(BeTrue(), "the signed revision stays in force")
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "attackers")).To(BeFalse())
	r.expectVerified("False", v1alpha1.ReasonInvalidCommitSignature, "commit "+r.git("rev-parse", "HEAD"))

	r.trust(signaturetest.SSH(t)) // and not if its key is trusted no more
	r.g.Expect(r.Delete(t.Context(), s)).To(Succeed())
	r.clock.Step(driftInterval)
	r.reconcile()
	r.g.Expect(r.exists(s, "local")).To(BeFalse())
}

func TestVerifyNeedsWhatItsModeVerifies(t *testing.T) {
	r := newRoom(t)
	for name, tc := range map[string]struct {
		mode string
		ref  *v1alpha1.GitRef
		want string
	}{
		"HEAD of the default branch": {"", nil, ""},
		"HEAD of a commit":           {"HEAD", &v1alpha1.GitRef{Commit: strings.Repeat("1234567890", 4)}, ""},
		"HEAD of a tag":              {"HEAD", &v1alpha1.GitRef{Tag: "v1"}, ""},
		"Tag":                        {"Tag", &v1alpha1.GitRef{Tag: "v1"}, ""},
		"Tag of nothing":             {"Tag", nil, "need spec.ref.tag"},
		"Tag of a branch":            {"TagAndHEAD", &v1alpha1.GitRef{Branch: "main"}, "need spec.ref.tag"},
		"another mode":               {"head", nil, "spec.verify.mode"},
	} {
		p := &v1alpha1.PolicySync{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "p-", Namespace: r.namespace},
			Spec:       *r.sync.Spec.DeepCopy(),
		}
		p.Spec.Ref = tc.ref
		p.Spec.Verify = &v1alpha1.GitVerification{
			Mode: tc.mode, SecretRef: v1alpha1.LocalObjectReference{Name: "authors"},
		}
		err := r.Create(t.Context(), p)
		if tc.want != "" {
			r.g.Expect(err).To(MatchError(ContainSubstring(tc.want)), name)
			continue
		}
		r.g.Expect(err).NotTo(HaveOccurred(), name)
		r.g.Expect(p.Spec.Verify.Mode).NotTo(BeEmpty(), name)
	}
}
