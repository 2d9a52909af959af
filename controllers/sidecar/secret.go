package sidecar

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/sidecar"
)

const (
	// tokenLife is how long a sidecar's token is valid. The sidecar gets another one at half of that time.
	tokenLife = time.Hour
	// olderCredentials is the number of tokens before the current one that can still be valid.
	olderCredentials = 2
)

// secret reads a sidecar's Secret. It returns nil if the Secret does not exist.
func (r *Reconciler) secret(ctx context.Context, key client.ObjectKey) (*corev1.Secret, error) {
	var secret corev1.Secret
	if err := r.Get(ctx, key, &secret); apierrors.IsNotFound(err) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("get Secret %s: %w", key, err)
	}
	return &secret, nil
}

// owned reports whether the Secret belongs to the sidecar of this workload.
func owned(secret *corev1.Secret, w *podOwner) bool {
	return ours(secret) && slices.ContainsFunc(secret.OwnerReferences,
		func(o metav1.OwnerReference) bool { return o.UID == w.GetUID() })
}

// ours reports whether Cairn made the Secret for a sidecar.
func ours(secret *corev1.Secret) bool {
	return secret.Labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedByCairn &&
		secret.Labels[v1alpha1.LabelSidecar] == secret.Name
}

// ensureSecret writes the Secret if it differs from what it should be. It holds keys and token only while the workload
// has the sidecar.
func (r *Reconciler) ensureSecret(ctx context.Context, l *update) error {
	data, credentials := map[string][]byte{}, []string(nil)
	if l.found.Image != "" {
		if l.wanted.unknown && l.secret != nil {
			maps.Copy(data, l.secret.Data)
		}
		if err := r.keys(ctx, l, data); err != nil {
			return err
		}
		if err := r.authority(ctx, l.workload.GetNamespace(), data); err != nil {
			return err
		}
		var err error
		if credentials, err = r.token(ctx, l, data); err != nil {
			return err
		}
	}
	state, err := l.state.Encode()
	if err != nil {
		return err
	}
	annotations := map[string]string{v1alpha1.AnnotationSidecarState: state}
	if len(credentials) > 0 {
		if annotations[v1alpha1.AnnotationSidecarCredentials], err = sidecar.FormatCredentials(
			credentials); err != nil {
			return err
		}
	}
	if l.secret != nil && sameData(l.secret.Data, data) && sameAnnotations(l.secret.Annotations, annotations) {
		return nil
	}
	return r.write(ctx, l, data, annotations)
}

// write makes the Secret, or changes the very Secret that was read: somebody else's that has the name by now stays.
func (r *Reconciler) write(
	ctx context.Context, l *update, data map[string][]byte, annotations map[string]string,
) error {
	w := l.workload
	if l.secret == nil {
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: w.GetNamespace(), Name: w.id, Annotations: annotations,
				Labels: map[string]string{
					v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelSidecar: w.id,
				},
				OwnerReferences: []metav1.OwnerReference{{
					APIVersion: w.gvk.GroupVersion().String(), Kind: w.gvk.Kind, Name: w.GetName(), UID: w.GetUID(),
				}},
			},
			Type: corev1.SecretTypeOpaque, Data: data,
		}
		if err := r.Create(ctx, secret, client.FieldOwner(r.FieldManager)); err != nil {
			return fmt.Errorf("create Secret %s/%s: %w", w.GetNamespace(), w.id, err)
		}
		l.secret = secret
		return nil
	}
	before := l.secret.DeepCopy()
	l.secret.Data = data
	for _, key := range ownAnnotations {
		delete(l.secret.Annotations, key)
	}
	for key, value := range annotations {
		metav1.SetMetaDataAnnotation(&l.secret.ObjectMeta, key, value)
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Patch(ctx, l.secret, patch, client.FieldOwner(r.FieldManager)); err != nil {
		return fmt.Errorf("write Secret %s/%s: %w", w.GetNamespace(), w.id, err)
	}
	return nil
}

// token puts the sidecar's token into data: the current one, or a new one if that has passed half of its life. It
// returns the identities of all tokens that can be in use, the newest last.
func (r *Reconciler) token(ctx context.Context, l *update, data map[string][]byte) ([]string, error) {
	if l.secret == nil {
		return nil, nil // a token is bound to the Secret: the next look makes it
	}
	credentials := sidecar.ParseCredentials(l.secret.Annotations[v1alpha1.AnnotationSidecarCredentials])
	current, now := l.secret.Data[sidecar.KeyToken], r.Clock.Now()
	has, err := sidecar.ReadToken(string(current))
	if err == nil && slices.Contains(credentials, has.Credential) {
		if half := has.IssuedAt.Add(has.Expires.Sub(has.IssuedAt) / 2); now.Before(half) {
			data[sidecar.KeyToken] = current
			l.lookAgain(half.Sub(now))
			return credentials, nil
		}
	}
	w := l.workload
	if err := access.EnsureSidecar(ctx, r.Client, w.GetNamespace()); err != nil {
		return nil, err
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: new(int64(tokenLife.Seconds())),
		BoundObjectRef: &authenticationv1.BoundObjectReference{
			Kind: "Secret", APIVersion: "v1", Name: l.secret.Name,
			UID: l.secret.UID,
		},
	}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Namespace: w.GetNamespace(),
		Name:      v1alpha1.SidecarServiceAccount,
	}}
	err = r.SubResource("token").Create(ctx, account, request)
	if refused(l, r.Account, err) {
		if len(current) > 0 {
			data[sidecar.KeyToken] = current
		}
		return credentials, nil
	} else if err != nil {
		return nil, fmt.Errorf("create token of ServiceAccount %s/%s: %w", w.GetNamespace(),
			v1alpha1.SidecarServiceAccount, err)
	}
	made, err := sidecar.ReadToken(request.Status.Token)
	if err != nil {
		return nil, err
	}
	data[sidecar.KeyToken] = []byte(request.Status.Token)
	l.lookAgain(max(made.Expires.Sub(made.IssuedAt)/2, time.Second))
	return append(credentials[max(len(credentials)-olderCredentials, 0):], made.Credential), nil
}

func sameData(a, b map[string][]byte) bool { return maps.EqualFunc(a, b, bytes.Equal) }

// ownAnnotations are the annotations of a sidecar's Secret that Cairn writes.
var ownAnnotations = []string{v1alpha1.AnnotationSidecarState, v1alpha1.AnnotationSidecarCredentials}

// sameAnnotations reports whether the Secret has exactly these values of our annotations.
func sameAnnotations(has, wanted map[string]string) bool {
	for _, key := range ownAnnotations {
		if has[key] != wanted[key] {
			return false
		}
	}
	return true
}
