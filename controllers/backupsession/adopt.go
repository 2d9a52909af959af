package backupsession

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/oneshot"
	"github.com/cairn-backup/cairn/internal/policy"
)

// adopt gives a new session its finalizers, its labels, the note of its UID and, if its invoker exists, its owner. A
// copy keeps the note of another UID. A name that is no valid label value belongs to no invoker and no session: the
// session ends without that label.
func (r *Reconciler) adopt(ctx context.Context, s *v1alpha1.BackupSession, invoker client.Object) error {
	before := s.DeepCopy()
	oneshot.AddFinalizers(s)
	if s.Annotations[v1alpha1.AnnotationRun] == "" {
		metav1.SetMetaDataAnnotation(&s.ObjectMeta, v1alpha1.AnnotationRun, string(s.UID))
	}
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	for label, value := range map[string]string{
		v1alpha1.LabelInvokerKind: s.Spec.Invoker.Kind,
		v1alpha1.LabelInvokerName: policy.LabelValue(s.Spec.Invoker.Name),
		v1alpha1.LabelSession:     s.Spec.Session,
	} {
		if len(validation.IsValidLabelValue(value)) == 0 {
			s.Labels[label] = value
		}
	}
	// A run that another object controls goes with that object.
	if owner := metav1.GetControllerOf(s); invoker != nil && (owner == nil || isInvoker(owner, s)) {
		if err := controllerutil.SetControllerReference(invoker, s, r.Scheme); err != nil {
			return fmt.Errorf("set owner of BackupSession %s: %w", s.Name, err)
		}
	}
	return r.writer().Object(ctx, before, s)
}

func isInvoker(owner *metav1.OwnerReference, s *v1alpha1.BackupSession) bool {
	group, err := schema.ParseGroupVersion(owner.APIVersion)
	return err == nil && group.Group == v1alpha1.Group && owner.Kind == s.Spec.Invoker.Kind &&
		owner.Name == s.Spec.Invoker.Name
}
