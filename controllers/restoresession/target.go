package restoresession

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/policy/check"
	"github.com/cairn-backup/cairn/internal/workload/destination"
)

// findTarget reads the target, and the users of its namespace's volumes, past the cache: it decides where data is
// written.
func (r *Reconciler) findTarget(ctx context.Context, look *lookup) error {
	namespace := client.InNamespace(look.session.Namespace)
	var claims corev1.PersistentVolumeClaimList
	if err := r.APIReader.List(ctx, &claims, namespace); err != nil {
		return fmt.Errorf("list PersistentVolumeClaims: %w", err)
	}
	var pods corev1.PodList
	if err := r.APIReader.List(ctx, &pods, namespace); err != nil {
		return fmt.Errorf("list Pods: %w", err)
	}
	look.claims = claims.Items
	var err error
	if look.filled, err = read.Filled(ctx, r.APIReader, look.claims, look.identical); err != nil {
		return err
	}
	look.target.Claims, look.target.Pods = claims.Items, pods.Items
	ref := look.session.Spec.Target
	if ref == nil {
		look.target.Templates, look.TargetFound = destination.ClaimTemplates(look.session), true
		return nil
	}
	if !check.OwnNamespace(*ref, look.session.Namespace) {
		look.refuse(0, v1alpha1.ReasonTargetNotFound, "%s", check.OtherNamespaceMessage(*ref))
		return nil
	}
	if ref.IsDatabase() {
		return r.findDatabase(ctx, look)
	}
	object := look.newTarget(ref.Kind)
	err = read.Get(ctx, r.APIReader, client.ObjectKey{Namespace: look.session.Namespace, Name: ref.Name}, object)
	switch {
	case apierrors.IsNotFound(err):
		look.refuse(waitForTarget, v1alpha1.ReasonTargetNotFound, "there is no %s %s", ref.Kind, ref.Name)
		return nil
	case err != nil:
		return fmt.Errorf("get %s: %w", ref, err)
	}
	look.TargetFound, look.Resolved.TargetUID = true, object.GetUID()
	// A claim carries its own stamp. The volumes of a workload are known once the Snapshot is.
	look.AlreadyRestored = look.target.Claim != nil && look.filled.All([]string{ref.Name})
	return nil
}

// newTarget returns the empty object to read a target of this kind into.
func (s *lookup) newTarget(kind string) client.Object {
	switch kind {
	case v1alpha1.KindDeployment:
		s.target.Deployment = &appsv1.Deployment{}
		return s.target.Deployment
	case v1alpha1.KindStatefulSet:
		s.target.StatefulSet = &appsv1.StatefulSet{}
		return s.target.StatefulSet
	case v1alpha1.KindDaemonSet:
		s.target.DaemonSet = &appsv1.DaemonSet{}
		return s.target.DaemonSet
	default:
		s.target.Claim = &corev1.PersistentVolumeClaim{}
		return s.target.Claim
	}
}

// findPaused lists the policies that back up the target: their runs are skipped during the restore.
func (r *Reconciler) findPaused(ctx context.Context, look *lookup) error {
	ref := look.session.Spec.Target
	if ref == nil {
		return nil
	}
	same := func(o *v1alpha1.TypedObjectReference) bool {
		return o != nil && policy.SameTarget(*o, *ref)
	}
	note := func(kind, name string) {
		if len(look.PausedBackups) < maxPaused {
			look.PausedBackups = append(look.PausedBackups,
				v1alpha1.TypedObjectReference{APIGroup: v1alpha1.Group, Kind: kind, Name: name})
		}
	}
	var configurations v1alpha1.BackupConfigurationList
	if err := r.List(ctx, &configurations, client.InNamespace(look.session.Namespace)); err != nil {
		return fmt.Errorf("list BackupConfigurations: %w", err)
	}
	for i := range configurations.Items {
		if c := &configurations.Items[i]; same(c.Spec.Target) && c.Labels[v1alpha1.LabelBatch] == "" {
			note(v1alpha1.BackupConfigurationKind, c.Name)
		}
	}
	var batches v1alpha1.BackupBatchList
	if err := r.List(ctx, &batches, client.InNamespace(look.session.Namespace)); err != nil {
		return fmt.Errorf("list BackupBatches: %w", err)
	}
	for i := range batches.Items {
		for _, target := range policy.KnownTargets(&batches.Items[i]) {
			if same(&target.AppRef) {
				note(v1alpha1.BackupBatchKind, batches.Items[i].Name)
				break
			}
		}
	}
	return nil
}

// maxPaused is the limit of status.pausedBackups in the API.
const maxPaused = 64
