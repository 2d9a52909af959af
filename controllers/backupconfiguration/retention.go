package backupconfiguration

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
)

// checkRetention checks whether a RetentionPolicy that a backend names exists and whether the namespace is allowed to
// use it. Backups run without it: Cairn then keeps every snapshot.
func (r *Reconciler) checkRetention(
	ctx context.Context, user string, ref *v1alpha1.ObjectReference, findings *findings,
) (*v1alpha1.RetentionPolicyUse, error) {
	if ref == nil || ref.Name == "" {
		return nil, nil
	}
	use := &v1alpha1.RetentionPolicyUse{Ref: *ref}
	if use.Ref.Namespace == "" {
		use.Ref.Namespace = user
	}
	name := describe(v1alpha1.RetentionPolicyKind, use.Ref.Namespace, use.Ref.Name)
	policy := &v1alpha1.RetentionPolicy{}
	err := r.Get(ctx, types.NamespacedName{Namespace: use.Ref.Namespace, Name: use.Ref.Name}, policy)
	if apierrors.IsNotFound(err) {
		use.Found, use.Reason = new(false), v1alpha1.ReasonRetentionPolicyNotFound
		findings.notReady(use.Reason, name+" does not exist: backups go on, and everything is kept")
		return use, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", name, err)
	}
	use.Found = new(true)
	err = access.MayUse(ctx, r.Client, v1alpha1.RetentionPolicyKind, policy, policy.Spec.UsagePolicy, user,
		v1alpha1.ReasonRetentionPolicyNotAllowed)
	if reason, message, ok := access.ReasonOf(err); ok {
		use.Reason = reason
		findings.invalid(reason, message)
		return use, nil
	}
	return use, err
}
