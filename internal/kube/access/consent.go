package access

import (
	"context"
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy/secrets"
)

// MayUseSecret returns an *Error if policy must not use a Secret now: a PolicySync of its namespace, or the one that
// has applied an object of by, says spec.secrets: Labelled, and the Secret lacks the label of consent. Each Secret that
// policy names is checked here when it is used: it can have lost its label since a revision was applied. In the
// namespace of such a PolicySync the rule holds for objects that others made, too: policy from Git can refer to them.
func MayUseSecret(ctx context.Context, c client.Reader, secret metav1.Object, by ...client.Object) error {
	if Labelled(secret) {
		return nil
	}
	narrow, err := narrowed(ctx, c, secret.GetNamespace())
	if err != nil {
		return err
	}
	if narrow == "" {
		return MayUseSecretAs(ctx, c, secret, by...)
	}
	return notLabelled(secret.GetNamespace(), secret.GetName(), narrow)
}

// MayUseSecretAs is MayUseSecret for what only the PolicySync decides that has applied an object of by.
func MayUseSecretAs(ctx context.Context, c client.Reader, secret metav1.Object, by ...client.Object) error {
	if Labelled(secret) {
		return nil
	}
	for _, o := range by {
		narrow, err := narrowedBy(ctx, c, o)
		if err != nil {
			return err
		}
		if narrow != "" {
			return notLabelled(secret.GetNamespace(), secret.GetName(), narrow)
		}
	}
	return nil
}

// Labelled reports whether a Secret carries the label with which its owner lets policy use it.
func Labelled(secret metav1.Object) bool {
	return secret.GetLabels()[v1alpha1.LabelPolicyMayUse] == "true"
}

func notLabelled(namespace, name, narrow string) error {
	return refuse(v1alpha1.ReasonSecretNotLabelled,
		"Secret %s/%s does not carry the label %s: \"true\", and %s says spec.secrets: %s. %s", namespace, name,
		v1alpha1.LabelPolicyMayUse, narrow, v1alpha1.SecretsLabelled, HowToLabel(namespace, name))
}

// HowToLabel says how the owner of a Secret lets policy use it.
func HowToLabel(namespace, name string) string {
	return fmt.Sprintf("If policy from Git may use it, run: kubectl label secret -n %s %s %s=true", namespace, name,
		v1alpha1.LabelPolicyMayUse)
}

// narrowed names a PolicySync of a namespace that lets policy name only labelled Secrets, or returns "".
func narrowed(ctx context.Context, c client.Reader, namespace string) (string, error) {
	var all v1alpha1.PolicySyncList
	if err := c.List(ctx, &all, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return "", fmt.Errorf("list PolicySyncs of namespace %s: %w", namespace, err)
	}
	for i := range all.Items {
		if p := &all.Items[i]; narrows(p) {
			return describe(v1alpha1.PolicySyncKind, p), nil
		}
	}
	return "", nil
}

// narrowedBy names the PolicySync that has applied an object, or the policy of a run, if it lets policy name only
// labelled Secrets.
func narrowedBy(ctx context.Context, c client.Reader, o client.Object) (string, error) {
	key := sourceOf(o)
	if key.Name == "" || key.Namespace == "" {
		return "", nil
	}
	var p v1alpha1.PolicySync
	if err := c.Get(ctx, key, &p); apierrors.IsNotFound(err) {
		return "", nil
	} else if err != nil {
		return "", fmt.Errorf("get PolicySync %s: %w", key, err)
	}
	if !narrows(&p) {
		return "", nil
	}
	return describe(v1alpha1.PolicySyncKind, &p), nil
}

func narrows(p *v1alpha1.PolicySync) bool {
	return p.Spec.Secrets == v1alpha1.SecretsLabelled && v1alpha1.InForce(p)
}

// sourceOf returns the PolicySync that has applied an object, or that had applied the policy of a run when it began.
func sourceOf(o client.Object) client.ObjectKey {
	var source string
	switch o := o.(type) {
	case *v1alpha1.BackupSession:
		if o.Status.Resolved != nil {
			source = o.Status.Resolved.Policy.Source
		}
	case *v1alpha1.RestoreSession:
		if o.Status.Resolved != nil {
			source = o.Status.Resolved.Policy.Source
		}
	}
	if of, ok := strings.CutPrefix(source, v1alpha1.PolicySyncKind+"/"); ok {
		namespace, name, _ := strings.Cut(of, "/")
		return client.ObjectKey{Namespace: namespace, Name: name}
	}
	labels := o.GetLabels()
	return client.ObjectKey{Namespace: labels[v1alpha1.LabelSyncNamespace], Name: labels[v1alpha1.LabelSyncName]}
}

// credentialVolumes are the volumes of a Job with what EnsureCredentials provides. They can hold copies, which have no
// label.
var credentialVolumes = []string{"credentials", "encryption"}

// MayRun returns an *Error if a Job of owner gets a Secret that policy must not use now: see MayUseSecret. The
// credentials of a mover were checked by EnsureCredentials. live reads Secrets, past the cache.
func MayRun(ctx context.Context, c, live client.Reader, owner client.Object, job *batchv1.Job) error {
	_, hook := job.Spec.Template.Labels[v1alpha1.LabelHook]
	names := secrets.OfPod(&job.Spec.Template.Spec, func(volume string) bool {
		return !hook && isCredential(volume)
	})
	if len(names) == 0 {
		return nil
	}
	narrow, err := narrowed(ctx, c, job.Namespace)
	if err == nil && narrow == "" {
		narrow, err = narrowedBy(ctx, c, owner)
	}
	if err != nil || narrow == "" {
		return err
	}
	for _, name := range names {
		secret := &metav1.PartialObjectMetadata{}
		secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
		key := client.ObjectKey{Namespace: job.Namespace, Name: name}
		err := live.Get(ctx, key, secret)
		switch {
		case client.IgnoreNotFound(err) != nil:
			return fmt.Errorf("get Secret %s: %w", key, err)
		case err != nil || !Labelled(secret): // one that is made meanwhile would be read, too
			return notLabelled(job.Namespace, name, narrow)
		}
	}
	return nil
}

func isCredential(volume string) bool {
	for _, name := range credentialVolumes {
		if volume == name || strings.HasPrefix(volume, name+"-") {
			return true
		}
	}
	return false
}
