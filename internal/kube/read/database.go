package read

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/database"
)

// Database is a target that is a database, as it was found.
type Database struct {
	database.Binding
	// Location is where the database was found.
	Location database.Location
	// Target is the object that the policy names.
	Target client.Object
}

// FindDatabase finds, past the cache, the database behind a target. params are those of the task. A refusal with the
// reason TargetNotReady can go away by itself.
func FindDatabase(
	ctx context.Context, live client.Reader, namespace string, ref v1alpha1.TypedObjectReference,
	params map[string]string, pods []corev1.Pod,
) (*Database, *v1alpha1.ResolvedError, error) {
	target, refusal, err := DatabaseObject(ctx, live, namespace, ref)
	if refusal != nil || err != nil {
		return nil, refusal, err
	}
	out := &Database{Target: target}
	binding, refusal := bindingOf(target, params)
	if refusal != nil {
		return nil, refusal, nil
	}
	out.Binding = binding.With(params)
	if out.Secret == "" {
		return nil, NoSecret(ref), nil
	}
	around := database.Surroundings{Namespace: namespace, Pods: pods}
	if out.Service != "" {
		service, isService := out.Target.(*corev1.Service)
		if !isService {
			service = &corev1.Service{}
			err := Get(ctx, live, client.ObjectKey{Namespace: namespace, Name: out.Service}, service)
			if err != nil && !apierrors.IsNotFound(err) {
				return nil, nil, fmt.Errorf("get Service %s: %w", out.Service, err)
			}
			if err != nil {
				service = nil
			}
		}
		around.Service = service
		var slices discoveryv1.EndpointSliceList
		selector := client.MatchingLabels{discoveryv1.LabelServiceName: out.Service}
		if err := live.List(ctx, &slices, client.InNamespace(namespace), selector); err != nil {
			return nil, nil, fmt.Errorf("list EndpointSlices of Service %s: %w", out.Service, err)
		}
		around.Slices = slices.Items
	}
	out.Location, refusal = database.Locate(out.Binding, around)
	if refusal != nil {
		return nil, refusal, nil
	}
	return out, nil, nil
}

// NoSecret refuses a database of which nothing names the Secret with its credentials.
func NoSecret(ref v1alpha1.TypedObjectReference) *v1alpha1.ResolvedError {
	return &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonInvalidParameters, Message: fmt.Sprintf(
		"%s names no Secret with the credentials of its database: set the parameter %s to the name of the Secret",
		ref, catalog.ParamSecretName)}
}

// DatabaseObject reads, past the cache, the object that stands for a database.
func DatabaseObject(
	ctx context.Context, live client.Reader, namespace string, ref v1alpha1.TypedObjectReference,
) (client.Object, *v1alpha1.ResolvedError, error) {
	var o client.Object
	switch ref.Kind {
	case v1alpha1.KindService:
		o = &corev1.Service{}
	case v1alpha1.KindSecret:
		o = &corev1.Secret{}
	default:
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(foreignKinds[schema.GroupKind{Group: ref.APIGroup, Kind: ref.Kind}])
		o = u
	}
	err := Get(ctx, live, client.ObjectKey{Namespace: namespace, Name: ref.Name}, o)
	switch {
	case apierrors.IsNotFound(err):
		return nil, &v1alpha1.ResolvedError{
			Reason:  v1alpha1.ReasonTargetNotFound,
			Message: fmt.Sprintf("there is no %s", ref),
		}, nil
	case apimeta.IsNoMatchError(err):
		return nil, &v1alpha1.ResolvedError{
			Reason: v1alpha1.ReasonTargetNotFound,
			Message: fmt.Sprintf("the cluster has no kind %s of %s: its CustomResourceDefinition is not installed",
				ref.Kind, ref.APIGroup),
		}, nil
	case err != nil:
		return nil, nil, fmt.Errorf("get %s: %w", ref, err)
	}
	return o, nil, nil
}

// DatabaseTypeOf reads, past the cache, which type of database an object stands for.
func DatabaseTypeOf(
	ctx context.Context, live client.Reader, namespace string, ref v1alpha1.TypedObjectReference,
) (catalog.DatabaseInfo, error) {
	object, refusal, err := DatabaseObject(ctx, live, namespace, ref)
	if refusal != nil || err != nil {
		return catalog.DatabaseInfo{}, err
	}
	return catalog.DatabaseInfo{Found: true, Type: database.TypeOf(object)}, nil
}

// bindingOf returns what the object that stands for a database says about it.
func bindingOf(o client.Object, params map[string]string) (database.Binding, *v1alpha1.ResolvedError) {
	switch o := o.(type) {
	case *corev1.Service:
		return database.OfService(o.Name), nil
	case *corev1.Secret:
		return database.OfSecret(o)
	case *unstructured.Unstructured:
		if o.GetKind() == v1alpha1.KindAppBinding {
			return database.OfAppBinding(o, params)
		}
		return database.OfCluster(o)
	}
	return database.Binding{}, nil
}

// foreignKinds holds the kinds of other systems, with the version to read.
var foreignKinds = map[schema.GroupKind]schema.GroupVersionKind{
	{Group: v1alpha1.GroupAppBinding, Kind: v1alpha1.KindAppBinding}: {
		Group: v1alpha1.GroupAppBinding, Version: "v1alpha1", Kind: v1alpha1.KindAppBinding,
	},
	{Group: v1alpha1.GroupCluster, Kind: v1alpha1.KindCluster}: {
		Group: v1alpha1.GroupCluster, Version: "v1", Kind: v1alpha1.KindCluster,
	},
}

// UID returns the UID of the target, which a restore confirms.
func (d *Database) UID() types.UID { return d.Target.GetUID() }

// fill adds what is known about the database to the variables of a task.
func (d *Database) fill(vars *catalog.Variables) {
	vars.TargetHost, vars.TargetPort, vars.TargetImage = d.Location.Host, d.Location.Port, d.Location.Image
	vars.DatabaseVersion, vars.TargetDatabase = d.Location.Version, d.Database
}

// DatabaseTask is Task for a database. The returned task says how its mover runs in the database's image. The streams
// are the components that a backup makes, or those of the given components that a restore takes.
func DatabaseTask(
	ctx context.Context, c client.Reader, info v1alpha1.AddonInfo, restore bool, vars catalog.Variables, d *Database,
	components []string,
) (v1alpha1.ResolvedTask, []catalog.ComponentStream, *v1alpha1.ResolvedError, error) {
	addon, err := readAddon(ctx, c, info)
	if err != nil {
		return v1alpha1.ResolvedTask{}, nil, nil, err
	}
	d.fill(&vars)
	resolved, _, refusal := catalog.Resolve(addon.addon, addon.function, info, restore, vars)
	if refusal != nil || addon.err != nil {
		return resolved, nil, refusal, addon.err
	}
	resolved.Database = &v1alpha1.ResolvedDatabase{
		MoverImage: vars.MoverImage, Server: d.Location.Server(),
		SecretName: d.Secret, UsernameKey: d.UsernameKey, PasswordKey: d.PasswordKey, TLSSecretName: d.TLSSecret,
		ImagePullSecrets: d.Location.PullSecrets,
	}
	streams, refusal := catalog.Streams(addon.addon, addon.function, info, restore, vars, components)
	return resolved, streams, refusal, nil
}
