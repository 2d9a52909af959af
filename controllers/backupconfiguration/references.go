package backupconfiguration

import (
	"context"
	"fmt"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/kube/read"
)

// targetKinds maps the kinds of targets to their versions.
var targetKinds = map[schema.GroupKind]schema.GroupVersionKind{
	{Kind: v1alpha1.KindPersistentVolumeClaim}:      {Version: "v1", Kind: v1alpha1.KindPersistentVolumeClaim},
	{Group: "apps", Kind: v1alpha1.KindDeployment}:  {Group: "apps", Version: "v1", Kind: v1alpha1.KindDeployment},
	{Group: "apps", Kind: v1alpha1.KindStatefulSet}: {Group: "apps", Version: "v1", Kind: v1alpha1.KindStatefulSet},
	{Group: "apps", Kind: v1alpha1.KindDaemonSet}:   {Group: "apps", Version: "v1", Kind: v1alpha1.KindDaemonSet},
}

// checkDatabase checks that the object that stands for a database exists. A run checks whether the database is ready.
func (r *Reconciler) checkDatabase(
	ctx context.Context, configuration *v1alpha1.BackupConfiguration, findings *findings,
) error {
	_, refusal, err := read.DatabaseObject(ctx, r.APIReader, configuration.Namespace, *configuration.Spec.Target)
	if err != nil {
		return err
	}
	configuration.Status.TargetFound = new(refusal == nil)
	if refusal != nil {
		findings.notReady(refusal.Reason, refusal.Message)
		findings.lookAgain = true // No watch reports it: objects of other systems are read by name, and not watched.
	}
	return nil
}

// checkTarget checks that the target exists. It reads only the target's metadata: a run checks the rest.
func (r *Reconciler) checkTarget(
	ctx context.Context, configuration *v1alpha1.BackupConfiguration, findings *findings,
) error {
	target := configuration.Spec.Target
	if target.IsDatabase() {
		return r.checkDatabase(ctx, configuration, findings)
	}
	gvk, ok := targetKinds[schema.GroupKind{Group: target.APIGroup, Kind: target.Kind}]
	if !ok {
		findings.invalid(v1alpha1.ReasonTargetNotFound,
			fmt.Sprintf("spec.target: a %s can't be backed up", target.Kind))
		return nil
	}
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(gvk)
	err := r.Get(ctx, types.NamespacedName{Namespace: configuration.Namespace, Name: target.Name}, object)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("get %s: %w", target, err)
	}
	configuration.Status.TargetFound = new(err == nil)
	if err != nil {
		findings.notReady(v1alpha1.ReasonTargetNotFound,
			fmt.Sprintf("the target %s does not exist", describe(target.Kind, configuration.Namespace, target.Name)))
	}
	return nil
}

// checkBackends checks for each backend whether this namespace is allowed to use its storage. It returns the names of
// the backends whose storage exists and is allowed, ready or not.
func (r *Reconciler) checkBackends(
	ctx context.Context, configuration *v1alpha1.BackupConfiguration, findings *findings,
) (map[string]bool, error) {
	usable := map[string]bool{}
	statuses := make([]v1alpha1.BackendStatus, 0, len(configuration.Spec.Backends))
	for _, backend := range configuration.Spec.Backends {
		use, err := r.checkRetention(ctx, configuration.Namespace, backend.RetentionPolicy, findings)
		if err != nil {
			return nil, err
		}
		if backend.StorageRef == nil { // Only VolumeSnapshots use this backend.
			statuses = append(statuses,
				v1alpha1.BackendStatus{Name: backend.Name, Ready: new(true), RetentionPolicy: use})
			continue
		}
		ref := *backend.StorageRef
		if ref.Namespace == "" {
			ref.Namespace = configuration.Namespace
		}
		status := v1alpha1.StorageStatus{Ref: ref}
		found, err := r.checkStorage(ctx, configuration.Namespace, &status)
		if err != nil {
			return nil, err
		}
		if found != nil {
			findings.add(*found)
		}
		switch status.Reason {
		case v1alpha1.ReasonStorageNotFound, v1alpha1.ReasonStorageNotAllowed:
		default:
			usable[backend.Name] = true
		}
		statuses = append(statuses, v1alpha1.BackendStatus{
			Name: backend.Name, Ready: new(found == nil), Storage: &status,
			RetentionPolicy: use,
		})
	}
	configuration.Status.Backends = statuses
	return usable, nil
}

// checkStorage completes the status of a storage as a namespace sees it, and returns what is wrong with the storage.
func (r *Reconciler) checkStorage(ctx context.Context, user string, status *v1alpha1.StorageStatus) (*finding, error) {
	name := describe(v1alpha1.BackupStorageKind, status.Ref.Namespace, status.Ref.Name)
	storage := &v1alpha1.BackupStorage{}
	if err := r.Get(ctx, types.NamespacedName{Namespace: status.Ref.Namespace, Name: status.Ref.Name},
		storage); apierrors.IsNotFound(err) {
		status.Reason = v1alpha1.ReasonStorageNotFound
		return &finding{reason: status.Reason, message: name + " does not exist"}, nil
	} else if err != nil {
		return nil, fmt.Errorf("get %s: %w", name, err)
	}
	// The status hides the phase of a storage that the namespace is not allowed to use.
	err := access.Allowed(ctx, r.Client, storage, user)
	if reason, message, ok := access.ReasonOf(err); ok {
		status.Reason = reason
		return &finding{reason: reason, invalid: true, message: message}, nil
	} else if err != nil {
		return nil, err
	}
	status.Phase = storage.Status.Phase
	if conditions.IsReady(storage) {
		return nil, nil
	}
	status.Reason = v1alpha1.ReasonStorageNotReady
	if reason := conditions.GetReason(storage, meta.ReadyCondition); reason != "" {
		status.Reason = reason
	}
	return &finding{
		reason:  v1alpha1.ReasonStorageNotReady,
		message: name + " is not ready: " + whyNotReady(storage, v1alpha1.BackupStorageKind),
	}, nil
}

// checkAddons checks for each session that Addon, task and Functions exist and that the parameters fit.
func (r *Reconciler) checkAddons(
	ctx context.Context, configuration *v1alpha1.BackupConfiguration, findings *findings,
) error {
	for i := range configuration.Spec.Sessions {
		info := configuration.Spec.Sessions[i].Addon
		if info.Name == "" {
			continue // The completion has already reported the missing Addon.
		}
		addon := &v1alpha1.Addon{}
		err := r.Get(ctx, types.NamespacedName{Name: info.Name}, addon)
		findings.depends(v1alpha1.AddonKind, info.Name, err == nil)
		if apierrors.IsNotFound(err) {
			findings.notReady(v1alpha1.ReasonAddonNotFound, fmt.Sprintf(
				"the Addon %q does not exist: correct the name, or install the Addon", info.Name))
			continue
		} else if err != nil {
			return fmt.Errorf("get Addon %s: %w", info.Name, err)
		}
		field := fmt.Sprintf("spec.sessions[%d].addon", i)
		functions, err := r.functions(ctx, addon, info, findings)
		for _, name := range catalog.TaskFunctions(addon, info, false) {
			findings.depends(v1alpha1.FunctionKind, name, functions[name] != nil)
		}
		if err != nil {
			return err
		}
		builtin := catalog.PlaceholdersOfBackup(configuration.Spec.Target,
			len(configuration.Spec.Sessions[i].Repositories))
		for _, m := range catalog.MistakesOfUse(field, addon, info, false, configuration.Spec.Target, builtin,
			func(name string) *v1alpha1.Function { return functions[name] }) {
			findings.invalid(m.Reason, m.Field+": "+m.Message)
		}
	}
	return nil
}

// functions reads the Functions of the tasks that info names.
func (r *Reconciler) functions(
	ctx context.Context, addon *v1alpha1.Addon, info *v1alpha1.AddonInfo, findings *findings,
) (map[string]*v1alpha1.Function, error) {
	out := map[string]*v1alpha1.Function{}
	for _, name := range catalog.TaskFunctions(addon, info, false) {
		function := &v1alpha1.Function{}
		if err := r.Get(ctx, types.NamespacedName{Name: name}, function); apierrors.IsNotFound(err) {
			findings.notReady(v1alpha1.ReasonFunctionNotFound,
				fmt.Sprintf("the Function %q of the Addon %q does not exist", name, info.Name))
			continue
		} else if err != nil {
			return nil, fmt.Errorf("get Function %s: %w", name, err)
		}
		out[name] = function
	}
	return out, nil
}
