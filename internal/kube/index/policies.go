package index

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// Users names an index of the BackupConfigurations by the Repositories that they use.
type Users string

// Register adds the index to a cache. Each name can be registered only once.
func (i Users) Register(ctx context.Context, indexer client.FieldIndexer) error {
	err := indexer.IndexField(ctx, &v1alpha1.BackupConfiguration{}, string(i), func(o client.Object) []string {
		var names []string
		for _, chosen := range policy.ConfigurationRepositories(o.(*v1alpha1.BackupConfiguration)) {
			names = append(names, chosen.Name)
		}
		return names
	})
	if err != nil {
		return fmt.Errorf("index BackupConfigurations by Repository: %w", err)
	}
	return nil
}

// Of lists the BackupConfigurations that use a Repository and are not being deleted, without records. The caller must
// not change them.
func (i Users) Of(
	ctx context.Context, c client.Reader, namespace, repository string,
) ([]*v1alpha1.BackupConfiguration, error) {
	var list v1alpha1.BackupConfigurationList
	if err := c.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{string(i): repository},
		client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list BackupConfigurations of Repository %s: %w", repository, err)
	}
	var out []*v1alpha1.BackupConfiguration
	for j := range list.Items {
		if u := &list.Items[j]; v1alpha1.InForce(u) {
			out = append(out, u)
		}
	}
	return out, nil
}

// Marked names an index of the Repositories by the policy that they name.
type Marked string

// Register adds the index to a cache. Each name can be registered only once.
func (i Marked) Register(ctx context.Context, indexer client.FieldIndexer) error {
	err := indexer.IndexField(ctx, &v1alpha1.Repository{}, string(i), func(o client.Object) []string {
		if kind := o.GetLabels()[v1alpha1.LabelInvokerKind]; kind != "" {
			return []string{kind + "/" + o.GetLabels()[v1alpha1.LabelInvokerName]}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("index Repositories by policy: %w", err)
	}
	return nil
}

// Of lists the Repositories that name a policy, by name. The caller must not change them.
func (i Marked) Of(
	ctx context.Context, c client.Reader, namespace string, invoker policy.Invoker,
) ([]*v1alpha1.Repository, error) {
	var list v1alpha1.RepositoryList
	if err := c.List(ctx, &list, client.InNamespace(namespace),
		client.MatchingFields{string(i): invoker.Kind + "/" + policy.LabelValue(invoker.Name)},
		client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list Repositories of %s %s: %w", invoker.Kind, invoker.Name, err)
	}
	out := make([]*v1alpha1.Repository, len(list.Items))
	for j := range list.Items {
		out[j] = &list.Items[j]
	}
	slices.SortFunc(out, func(a, b *v1alpha1.Repository) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}
