package backupconfiguration

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/defaults"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/policy"
)

// bound maintains what binds a configuration to its Repositories. done reports that this reconcile has nothing else to
// do.
func (r *Reconciler) bound(
	ctx context.Context, req ctrl.Request, configuration *v1alpha1.BackupConfiguration,
) (done bool, err error) {
	if err := r.Get(ctx, req.NamespacedName, configuration); err != nil {
		return true, client.IgnoreNotFound(err)
	}
	if logs.LeavesRecord(ctx, configuration) {
		return true, nil
	}
	if !configuration.DeletionTimestamp.IsZero() {
		return true, r.finalize(ctx, configuration)
	}
	version := configuration.ResourceVersion
	err = r.hold(ctx, configuration)
	return configuration.ResourceVersion != version, err // the change triggers another reconcile
}

// hold adds or removes the finalizer. The configuration has it while a Repository is to be deleted with it.
func (r *Reconciler) hold(ctx context.Context, configuration *v1alpha1.BackupConfiguration) error {
	if len(repositoriesToDelete(configuration)) > 0 {
		return r.writer().Hold(ctx, configuration, v1alpha1.FinalizerRepositories)
	}
	_, err := r.writer().Release(ctx, configuration, v1alpha1.FinalizerRepositories)
	return err
}

// repositoriesToDelete returns the repositories that are to be deleted with the configuration.
func repositoriesToDelete(configuration *v1alpha1.BackupConfiguration) []*v1alpha1.RepositoryInfo {
	var out []*v1alpha1.RepositoryInfo
	for i := range configuration.Spec.Sessions {
		for j := range configuration.Spec.Sessions[i].Repositories {
			info := &configuration.Spec.Sessions[i].Repositories[j]
			if info.DeletionPolicy == v1alpha1.DeleteRepository || info.DeletionPolicy == v1alpha1.WipeOutRepository {
				out = append(out, info)
			}
		}
	}
	return out
}

// finalize deletes the Repositories that are to go with a configuration that is being deleted, and removes the
// finalizer. The Repositories carry out their deletionPolicy themselves.
func (r *Reconciler) finalize(ctx context.Context, configuration *v1alpha1.BackupConfiguration) error {
	if !slices.Contains(configuration.Finalizers, v1alpha1.FinalizerRepositories) {
		return nil
	}
	var namespace corev1.Namespace
	err := r.APIReader.Get(ctx, client.ObjectKey{Name: configuration.Namespace}, &namespace)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get Namespace %s: %w", configuration.Namespace, err)
	}
	if err == nil && namespace.DeletionTimestamp.IsZero() {
		for _, info := range repositoriesToDelete(configuration) {
			if err := r.letRepositoryGo(ctx, configuration, info); err != nil {
				return err
			}
		}
	} else if len(repositoriesToDelete(configuration)) > 0 {
		r.Event(configuration, corev1.EventTypeWarning, v1alpha1.ReasonDataKept,
			"Cairn removes no data: the namespace is being deleted")
	}
	_, err = r.writer().Release(ctx, configuration, v1alpha1.FinalizerRepositories)
	return err
}

// letRepositoryGo deletes a Repository that Cairn made for the configuration's target, unless another configuration
// uses it.
func (r *Reconciler) letRepositoryGo(
	ctx context.Context, configuration *v1alpha1.BackupConfiguration, info *v1alpha1.RepositoryInfo,
) error {
	name := cmp.Or(info.Name, configuration.Name)
	actual, err := defaults.Repository(ctx, client.ObjectKey{Namespace: configuration.Namespace, Name: name}, r.Client,
		r.APIReader)
	if err != nil || actual == nil || !actual.DeletionTimestamp.IsZero() ||
		actual.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedByCairn ||
		configuration.Spec.Target == nil || !policy.SameTarget(actual.Spec.AppRef, *configuration.Spec.Target) {
		return err
	}
	var users v1alpha1.BackupConfigurationList
	if err := r.List(ctx, &users, client.InNamespace(configuration.Namespace),
		client.MatchingFields{indexRepository: name}); err != nil {
		return fmt.Errorf("list BackupConfigurations of Repository %s: %w", name, err)
	}
	for i := range users.Items {
		if other := &users.Items[i]; other.UID != configuration.UID && other.DeletionTimestamp.IsZero() &&
			!v1alpha1.HasRecordAnnotation(other.Annotations) {
			return nil
		}
	}
	before := actual.DeepCopy()
	actual.Spec.DeletionPolicy = v1alpha1.DeleteObjects
	if info.DeletionPolicy == v1alpha1.WipeOutRepository {
		actual.Spec.DeletionPolicy = v1alpha1.WipeOut
	}
	if actual.Spec.DeletionPolicy != before.Spec.DeletionPolicy {
		if err := r.writer().Object(ctx, before, actual); err != nil {
			return err
		}
	}
	err = r.Delete(ctx, actual, client.Preconditions{UID: &actual.UID, ResourceVersion: &actual.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete Repository %s: %w", actual.Name, err)
	}
	return nil
}
