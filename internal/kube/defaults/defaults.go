// Package defaults completes policies from the cluster: it calls complete.Complete with lookups by a client. A
// Completer is safe for concurrent use.
package defaults

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/policy/complete"
)

// shortUID is how many characters of a cluster's UID serve as its name where nobody named it.
const shortUID = 8

// ClusterName returns the name of a cluster that nobody named: the beginning of the UID of its namespace kube-system,
// which never changes.
func ClusterName(uid string) string { return uid[:min(shortUID, len(uid))] }

// Completer completes policies.
type Completer struct {
	// Reader reads from a cache.
	Reader client.Reader
	// Live reads from the API server. It looks for Repositories that the cache lacks, because the existence of a
	// Repository decides where a backup goes.
	Live client.Reader
	// ClusterName is the first element of inferred directories.
	ClusterName string
	// Administrators are the namespaces whose defaults count for others.
	Administrators policy.Administrators
}

// Configuration completes a BackupConfiguration that has no mistakes: see complete.Complete. An error is transient.
func (c Completer) Configuration(
	ctx context.Context, configuration *v1alpha1.BackupConfiguration,
) (complete.Completion, error) {
	l := &lookup{
		Completer: c, ctx: ctx, namespace: configuration.Namespace,
		repositories: map[string]*v1alpha1.Repository{},
	}
	completion := complete.Complete(configuration, complete.Lookups{
		ClusterName: c.ClusterName, Repository: l.repository, DefaultStorage: l.defaultStorage,
		DefaultRetention: l.defaultRetention, Storage: l.storage,
		DatabaseInfo: func() catalog.DatabaseInfo { return l.databaseInfo(*configuration.Spec.Target) },
		Driver:       l.driver,
	})
	return completion, l.err
}

// lookup reads what one policy needs, and remembers the first error.
type lookup struct {
	Completer
	ctx          context.Context
	namespace    string
	repositories map[string]*v1alpha1.Repository
	storages     found
	retention    found
	err          error
}

// found caches the answer to a search for a default.
type found struct {
	asked bool
	ref   *v1alpha1.ObjectReference
}

func (l *lookup) fail(err error) {
	if l.err == nil {
		l.err = err
	}
}

func (l *lookup) repository(name string) *v1alpha1.Repository {
	if found, ok := l.repositories[name]; ok {
		return found
	}
	found, err := Repository(l.ctx, client.ObjectKey{Namespace: l.namespace, Name: name}, l.Reader, l.Live)
	if err != nil {
		l.fail(err)
	}
	l.repositories[name] = found
	return found
}

// Repository returns the Repository that the first of the readers finds, or nil.
func Repository(ctx context.Context, key client.ObjectKey, readers ...client.Reader) (*v1alpha1.Repository, error) {
	for _, reader := range readers {
		found := &v1alpha1.Repository{}
		err := reader.Get(ctx, key, found)
		if err == nil {
			return found, nil
		}
		if !apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("get Repository %s: %w", key, err)
		}
	}
	return nil, nil
}

// driver returns the driver of the task that a session names, or "".
func (l *lookup) driver(info *v1alpha1.AddonInfo) v1alpha1.Driver {
	addon := &v1alpha1.Addon{}
	err := l.Reader.Get(l.ctx, client.ObjectKey{Name: info.Name}, addon)
	if client.IgnoreNotFound(err) != nil {
		l.fail(fmt.Errorf("get Addon %s: %w", info.Name, err))
	}
	if err != nil {
		return ""
	}
	return catalog.TaskDriver(addon, info, false)
}

// databaseInfo returns what the target reveals about its database. Secrets and objects of other systems are read from
// the API server.
func (l *lookup) databaseInfo(target v1alpha1.TypedObjectReference) catalog.DatabaseInfo {
	found, err := read.DatabaseTypeOf(l.ctx, l.Live, l.namespace, target)
	if err != nil {
		l.fail(err)
	}
	return found
}

func (l *lookup) storage(reference v1alpha1.ObjectReference) *v1alpha1.BackupStorage {
	found, err := Storage(l.ctx, l.Reader, l.namespace, reference)
	if err != nil {
		l.fail(err)
	}
	return found
}

// Storage returns the BackupStorage that a reference in a namespace names, or nil.
func Storage(
	ctx context.Context, reader client.Reader, namespace string, reference v1alpha1.ObjectReference,
) (*v1alpha1.BackupStorage, error) {
	key := reference.In(namespace)
	var found v1alpha1.BackupStorage
	if err := reader.Get(ctx, key, &found); apierrors.IsNotFound(err) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("get BackupStorage %s: %w", key, err)
	}
	return &found, nil
}

func (l *lookup) defaultStorage() *v1alpha1.ObjectReference {
	return l.fallback(&l.storages, func() ([]complete.DefaultCandidate, error) { return storages(l.ctx, l.Reader) })
}

func (l *lookup) defaultRetention() *v1alpha1.ObjectReference {
	return l.fallback(&l.retention, func() ([]complete.DefaultCandidate, error) { return policies(l.ctx, l.Reader) })
}

// fallback returns the default among the candidates, which it lists only once.
func (l *lookup) fallback(
	known *found, candidates func() ([]complete.DefaultCandidate, error),
) *v1alpha1.ObjectReference {
	if !known.asked {
		known.asked = true
		var err error
		if known.ref, err = choose(l.ctx, l.Reader, l.Administrators, l.namespace, candidates); err != nil {
			l.fail(err)
		}
	}
	return known.ref
}

// RetentionPolicy returns the default RetentionPolicy for a namespace, or nil.
func RetentionPolicy(
	ctx context.Context, reader client.Reader, administrators policy.Administrators, namespace string,
) (*v1alpha1.ObjectReference, error) {
	return choose(ctx, reader, administrators, namespace,
		func() ([]complete.DefaultCandidate, error) { return policies(ctx, reader) })
}

func choose(
	ctx context.Context, reader client.Reader, administrators policy.Administrators, namespace string,
	candidates func() ([]complete.DefaultCandidate, error),
) (*v1alpha1.ObjectReference, error) {
	all, err := candidates()
	if err != nil || len(all) == 0 {
		return nil, err
	}
	var ns corev1.Namespace
	if err := reader.Get(ctx, client.ObjectKey{Name: namespace}, &ns); err != nil {
		return nil, fmt.Errorf("get Namespace %s: %w", namespace, err)
	}
	return complete.ChooseDefault(all, administrators, namespace, ns.Labels), nil
}

func storages(ctx context.Context, reader client.Reader) ([]complete.DefaultCandidate, error) {
	var list v1alpha1.BackupStorageList
	if err := reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list BackupStorages: %w", err)
	}
	return complete.DefaultStorages(list.Items), nil
}

func policies(ctx context.Context, reader client.Reader) ([]complete.DefaultCandidate, error) {
	var list v1alpha1.RetentionPolicyList
	if err := reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list RetentionPolicies: %w", err)
	}
	return complete.DefaultPolicies(list.Items), nil
}
