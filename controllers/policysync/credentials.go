package policysync

import (
	"context"
	"fmt"
	"strings"

	"github.com/fluxcd/pkg/runtime/conditions"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/build"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/signature"
	"github.com/cairn-backup/cairn/internal/source"
)

// secret reads the data of the Secret with the credentials, if the spec names one.
func (s *reconciling) secret(ctx context.Context) (map[string][]byte, error) {
	if s.obj.Spec.SecretRef == nil {
		return nil, nil
	}
	data, f := s.readSecret(ctx, s.obj.Spec.SecretRef.Name, "spec.secretRef")
	if f != nil {
		return nil, f
	}
	return data, nil
}

// readSecret reads the data of a Secret that a field names, past the cache. The data is not nil.
func (s *reconciling) readSecret(ctx context.Context, name, field string) (map[string][]byte, *fault) {
	secret := &corev1.Secret{}
	err := s.APIReader.Get(ctx, types.NamespacedName{Namespace: s.obj.Namespace, Name: name}, secret)
	switch {
	case apierrors.IsNotFound(err):
		return nil, &fault{
			reason:  v1alpha1.ReasonSecretNotFound,
			message: s.secretNamed(name) + ": does not exist: create it or correct " + field,
		}
	case err != nil:
		return nil, &fault{
			reason:  v1alpha1.ReasonGitOperationFailed,
			message: s.secretNamed(name) + ": can't be read: " + err.Error(),
		}
	}
	err = access.MayUseSecretAs(ctx, s.Client, secret, s.obj)
	if reason, message, ok := access.ReasonOf(err); ok {
		return nil, &fault{reason: reason, message: field + ": " + message}
	} else if err != nil {
		return nil, applyFault(ctx, err, nil)
	}
	if secret.Data == nil { // nil would mean that the spec names no Secret
		return map[string][]byte{}, nil
	}
	return secret.Data, nil
}

func (s *reconciling) secretNamed(name string) string {
	return fmt.Sprintf("Secret %s/%s", s.obj.Namespace, name)
}

// secretName begins a sentence about the Secret with the credentials, if the spec names one.
func (s *reconciling) secretName() string {
	if s.obj.Spec.SecretRef == nil {
		return ""
	}
	return s.secretNamed(s.obj.Spec.SecretRef.Name) + ": "
}

// verification returns what must be signed, nil if nothing must.
func (s *reconciling) verification(ctx context.Context) (*source.Verify, error) {
	v := s.obj.Spec.Verify
	if v == nil {
		return nil, nil
	}
	data, f := s.readSecret(ctx, v.SecretRef.Name, "spec.verify.secretRef")
	if f != nil {
		f.unverified = true
		return nil, f
	}
	keys, err := signature.ParseKeys(data)
	if err != nil {
		return nil, &fault{
			reason: v1alpha1.ReasonInvalidSecret, unverified: true,
			message: s.secretNamed(v.SecretRef.Name) + " (spec.verify.secretRef): " + err.Error(),
		}
	}
	return &source.Verify{Commit: v.Commit(), Tag: v.Tag(), Keys: keys, Now: s.Clock.Now()}, nil
}

// named adds to a fault about a signature where the trusted keys are.
func (s *reconciling) named(f *fault) *fault {
	switch f.reason {
	case v1alpha1.ReasonInvalidCommitSignature, v1alpha1.ReasonInvalidTagSignature:
		f.message += ". " + s.secretNamed(s.obj.Spec.Verify.SecretRef.Name) + " has the trusted keys"
		f.unverified = true
	case v1alpha1.ReasonInvalidVerificationMode:
		f.unverified = true
	}
	return f
}

// markVerified writes to the conditions who has signed the revision, if that was verified. What comes after, such as a
// mistake in a file, does not change that.
func (s *reconciling) markVerified(o origin) {
	if s.verified == nil {
		return
	}
	var of []string
	if key := s.verified.Tag; key != "" {
		of = append(of, "tag "+o.ref.Tag+" by "+key)
	}
	if key := s.verified.Commit; key != "" {
		of = append(of, "commit "+o.revision.Hash+" by "+key)
	}
	s.obj.Status.SourceVerificationMode = s.obj.Spec.Verify.Mode
	conditions.MarkTrue(s.obj, v1alpha1.ConditionSourceVerified, v1alpha1.ReasonSucceeded,
		"verified the signature of %s", strings.Join(of, ", and of "))
}

// signer names the key that has signed the revision, "" if that was not verified.
func (s *reconciling) signer() string {
	switch {
	case s.verified == nil:
		return ""
	case s.verified.Commit != "":
		return s.verified.Commit
	}
	return s.verified.Tag
}

// guardLabels returns a fault if a revision names a Secret without the label of consent, which spec.secrets demands. A
// Secret of this namespace that does not exist yet is checked when it is used. One of another namespace is not always:
// so it must exist. A password that a namespace shares with others has the consent of its owner.
func (s *reconciling) guardLabels(ctx context.Context, named []build.NamedSecret) *fault {
	for _, n := range named {
		secret := &metav1.PartialObjectMetadata{}
		secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(secretKind))
		err := s.APIReader.Get(ctx, types.NamespacedName{Namespace: n.Namespace, Name: n.Name}, secret)
		switch absent := apierrors.IsNotFound(err); {
		case err != nil && !absent:
			return applyFault(ctx, fmt.Errorf("get Secret %s/%s: %w", n.Namespace, n.Name, err), nil)
		case absent && n.Namespace == s.obj.Namespace, !absent && access.Labelled(secret),
			n.Foreign && secret.Annotations[v1alpha1.AnnotationShared] == "true":
			continue
		}
		// Whether a Secret of another namespace exists is not for the readers of this status.
		place := n.Place
		place.Message = fmt.Sprintf("Secret %s/%s does not carry the label %s: \"true\", and spec.secrets of this "+
			"PolicySync is %s: nothing was applied. %s", n.Namespace, n.Name, v1alpha1.LabelPolicyMayUse,
			v1alpha1.SecretsLabelled, access.HowToLabel(n.Namespace, n.Name))
		return &fault{reason: v1alpha1.ReasonSecretNotLabelled, message: build.Format(place)}
	}
	return nil
}
