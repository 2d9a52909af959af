package backupconfiguration

import (
	"context"
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/kube/defaults"
	"github.com/cairn-backup/cairn/internal/kube/index"
	"github.com/cairn-backup/cairn/internal/kube/trigger"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/policy/complete"
)

// The indexes of the cache. BackupConfigurations are indexed by what they refer to, Repositories by their directory.
const (
	indexTarget       = "backupconfiguration.target"
	indexStorage      = "backupconfiguration.storage"
	indexAddon        = "backupconfiguration.addon"
	indexRepository   = "backupconfiguration.repository"
	indexDirectory    = "backupconfiguration.directory"
	indexInfers       = "backupconfiguration.infers"
	directories       = index.Directories("backupconfiguration.directory")
	indexHookTemplate = "backupconfiguration.hooktemplate"
	indexRetention    = "backupconfiguration.retention"
	// users finds by a Repository the configurations that use it, marked by a configuration the Repositories that name
	// it.
	users  = index.Users("backupconfiguration.uses")
	marked = index.Marked("backupconfiguration.marked")
)

// runs indexes BackupSessions by their BackupConfiguration.
var runs = trigger.RunsIndex{Field: "backupconfiguration.runs", Kind: v1alpha1.BackupConfigurationKind}

// SetupWithManager registers the controller, its indexes and its watches.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	ctx := context.Background()
	for field, values := range indexes {
		if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.BackupConfiguration{}, field,
			func(o client.Object) []string {
				return values(o.(*v1alpha1.BackupConfiguration))
			}); err != nil {
			return fmt.Errorf("index BackupConfigurations by %s: %w", field, err)
		}
	}
	for _, register := range []func(context.Context, client.FieldIndexer) error{
		directories.Register, runs.Register, users.Register, marked.Register,
	} {
		if err := register(ctx, mgr.GetFieldIndexer()); err != nil {
			return err
		}
	}

	written := predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{},
		predicate.AnnotationChangedPredicate{})
	b := ctrl.NewControllerManagedBy(mgr).
		Named("backupconfiguration").
		// Watch the configuration's own status too: a reconcile that read the cache before it held the last write can
		// have found that nothing is to be written, and nothing else would make it look again.
		For(&v1alpha1.BackupConfiguration{}).
		Owns(&batchv1.CronJob{}, builder.WithPredicates(written)).
		Watches(&v1alpha1.BackupSession{}, runs.Invoker(), builder.WithPredicates(trigger.RunChanges())).
		Watches(&v1alpha1.BackupStorage{}, handler.EnqueueRequestsFromMapFunc(r.ofStorage)).
		Watches(&v1alpha1.BackupStorage{}, handler.EnqueueRequestsFromMapFunc(r.inferring(infersStorage)),
			builder.WithPredicates(defaults.Changes)).
		Watches(&v1alpha1.RetentionPolicy{}, handler.EnqueueRequestsFromMapFunc(r.inferring(infersRetention)),
			builder.WithPredicates(defaults.Changes)).
		Watches(&v1alpha1.RetentionPolicy{}, handler.EnqueueRequestsFromMapFunc(r.ofRetentionPolicy),
			builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.Repository{}, handler.EnqueueRequestsFromMapFunc(r.ofRepository)).
		Watches(&v1alpha1.HookTemplate{}, handler.EnqueueRequestsFromMapFunc(r.ofHookTemplate)).
		Watches(&v1alpha1.Addon{}, handler.EnqueueRequestsFromMapFunc(r.ofAddon)).
		Watches(&v1alpha1.Function{}, handler.EnqueueRequestsFromMapFunc(r.ofFunction),
			builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(r.ofNamespace),
			builder.WithPredicates(predicate.LabelChangedPredicate{}))
	for _, gvk := range targetKinds {
		target := &metav1.PartialObjectMetadata{}
		target.SetGroupVersionKind(gvk)
		b = b.WatchesMetadata(target, handler.EnqueueRequestsFromMapFunc(r.ofTarget(gvk.Group, gvk.Kind)),
			builder.WithPredicates(createdOrDeleted))
	}
	if r.SidecarsChanged != nil {
		b = b.WatchesRawSource(source.Channel(r.SidecarsChanged, &handler.EnqueueRequestForObject{}))
	}
	return b.WithOptions(opts).Complete(r)
}

// The values of indexInfers: a configuration has them if it leaves out a storage or a RetentionPolicy.
const (
	infersStorage   = "storage"
	infersRetention = "retention"
)

// createdOrDeleted lets through only that an object appears or disappears.
var createdOrDeleted = predicate.Funcs{UpdateFunc: func(event.UpdateEvent) bool { return false }}

// indexes holds, for each index, the function that returns a configuration's values. A value names the namespace, as in
// "<namespace>/<name>", only where the object can be in another namespace.
var indexes = map[string]func(*v1alpha1.BackupConfiguration) []string{
	indexTarget: func(c *v1alpha1.BackupConfiguration) []string {
		if c.Spec.Target == nil {
			return nil
		}
		return []string{targetKey(c.Spec.Target.APIGroup, c.Spec.Target.Kind, c.Spec.Target.Name)}
	},
	indexStorage: func(c *v1alpha1.BackupConfiguration) []string {
		var keys []string
		for _, backend := range complete.SpecWithResolved(c).Backends {
			if backend.StorageRef != nil {
				keys = append(keys, backend.StorageRef.In(c.Namespace).String())
			}
		}
		return unique(keys)
	},
	indexInfers: func(c *v1alpha1.BackupConfiguration) []string {
		backends := c.Spec.Backends
		if len(backends) == 0 {
			backends = []v1alpha1.BackendReference{{}}
		}
		var what []string
		for _, b := range backends {
			if b.StorageRef == nil {
				what = append(what, infersStorage)
			}
			if b.RetentionPolicy == nil || b.RetentionPolicy.Name == "" {
				what = append(what, infersRetention)
			}
		}
		return unique(what)
	},
	indexRetention: func(c *v1alpha1.BackupConfiguration) []string {
		var keys []string
		for _, backend := range c.Spec.Backends {
			if backend.RetentionPolicy != nil {
				keys = append(keys, backend.RetentionPolicy.In(c.Namespace).String())
			}
		}
		return unique(keys)
	},
	indexAddon: func(c *v1alpha1.BackupConfiguration) []string {
		var names []string
		for _, session := range complete.SpecWithResolved(c).Sessions {
			if session.Addon != nil {
				names = append(names, session.Addon.Name)
			}
		}
		return unique(names)
	},
	indexHookTemplate: hookTemplates,
	indexRepository: func(c *v1alpha1.BackupConfiguration) []string {
		var names []string
		for _, session := range complete.SpecWithResolved(c).Sessions {
			for _, repository := range session.Repositories {
				names = append(names, repository.Name)
			}
		}
		return unique(names)
	},
	indexDirectory: func(c *v1alpha1.BackupConfiguration) []string {
		storages := map[string]v1alpha1.ObjectReference{}
		for _, backend := range complete.SpecWithResolved(c).Backends {
			if backend.StorageRef != nil {
				storages[backend.Name] = *backend.StorageRef
			}
		}
		var keys []string
		for _, session := range complete.SpecWithResolved(c).Sessions {
			for _, repository := range session.Repositories {
				if repository.Directory == "" {
					continue // VolumeSnapshots have no directory; for others it is not known yet.
				}
				keys = append(keys,
					index.DirectoryEntries(policy.DirectoryKeys(c.Namespace, storages[repository.Backend],
						repository.Directory))...)
			}
		}
		return unique(keys)
	},
}

func unique(keys []string) []string {
	slices.Sort(keys)
	return slices.Compact(keys)
}

func targetKey(group, kind, name string) string { return group + "/" + kind + "/" + name }

// requests returns a request for each BackupConfiguration that the options select.
func (r *Reconciler) requests(ctx context.Context, opts ...client.ListOption) []reconcile.Request {
	var list v1alpha1.BackupConfigurationList
	if err := r.List(ctx, &list, opts...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list BackupConfigurations that refer to a changed object")
		return nil
	}
	requests := make([]reconcile.Request, len(list.Items))
	for i := range list.Items {
		requests[i].NamespacedName = client.ObjectKeyFromObject(&list.Items[i])
	}
	return requests
}

func (r *Reconciler) ofTarget(group, kind string) handler.MapFunc {
	return func(ctx context.Context, o client.Object) []reconcile.Request {
		return r.requests(ctx, client.InNamespace(o.GetNamespace()),
			client.MatchingFields{indexTarget: targetKey(group, kind, o.GetName())})
	}
}

func (r *Reconciler) ofStorage(ctx context.Context, o client.Object) []reconcile.Request {
	return r.requests(ctx, client.MatchingFields{indexStorage: o.GetNamespace() + "/" + o.GetName()})
}

// inferring returns a request for each configuration that leaves out what the changed object is a default for.
func (r *Reconciler) inferring(what string) handler.MapFunc {
	return func(ctx context.Context, _ client.Object) []reconcile.Request {
		return r.requests(ctx, client.MatchingFields{indexInfers: what})
	}
}

func (r *Reconciler) ofRetentionPolicy(ctx context.Context, o client.Object) []reconcile.Request {
	return r.requests(ctx, client.MatchingFields{indexRetention: o.GetNamespace() + "/" + o.GetName()})
}

// ofRepository returns a request for each configuration that names the Repository, for each whose directory the
// Repository blocks, and for the one that the Repository names.
func (r *Reconciler) ofRepository(ctx context.Context, o client.Object) []reconcile.Request {
	requests := r.requests(ctx, client.InNamespace(o.GetNamespace()),
		client.MatchingFields{indexRepository: o.GetName()})
	for _, query := range index.DirectoryQueries(index.DirectoryKeys(o.(*v1alpha1.Repository))) {
		for _, request := range r.requests(ctx, client.MatchingFields{indexDirectory: query}) {
			if !slices.Contains(requests, request) {
				requests = append(requests, request)
			}
		}
	}
	if o.GetLabels()[v1alpha1.LabelInvokerKind] == v1alpha1.BackupConfigurationKind {
		// A longer name is cut in the label: then the next reconcile finds out.
		key := client.ObjectKey{Namespace: o.GetNamespace(), Name: o.GetLabels()[v1alpha1.LabelInvokerName]}
		if request := (reconcile.Request{NamespacedName: key}); !slices.Contains(requests, request) {
			requests = append(requests, request)
		}
	}
	return requests
}

func (r *Reconciler) ofAddon(ctx context.Context, o client.Object) []reconcile.Request {
	return r.requests(ctx, client.MatchingFields{indexAddon: o.GetName()})
}

// ofFunction returns a request for each configuration whose Addons or hooks use the Function.
func (r *Reconciler) ofFunction(ctx context.Context, o client.Object) []reconcile.Request {
	var addons v1alpha1.AddonList
	if err := r.List(ctx, &addons); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list Addons by Function")
		return nil
	}
	var requests []reconcile.Request
	for i := range addons.Items {
		if slices.ContainsFunc(addons.Items[i].Spec.BackupTasks,
			func(t v1alpha1.Task) bool { return usesFunction(&t, o.GetName()) }) {
			requests = append(requests, r.ofAddon(ctx, &addons.Items[i])...)
		}
	}
	return append(requests, r.ofHookFunction(ctx, o)...)
}

// usesFunction reports whether a task uses a Function.
func usesFunction(t *v1alpha1.Task, function string) bool {
	return slices.ContainsFunc(catalog.TaskSteps(t), func(s v1alpha1.TaskStep) bool { return s.Name == function })
}

// ofNamespace returns a request for each configuration of the Namespace: the usagePolicy of a storage can judge it by
// the Namespace's labels.
func (r *Reconciler) ofNamespace(ctx context.Context, o client.Object) []reconcile.Request {
	return r.requests(ctx, client.InNamespace(o.GetName()))
}
