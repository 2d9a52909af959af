package command

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// completionTimeout bounds how long a shell waits for names.
const completionTimeout = 3 * time.Second

// NameReader reads the names that a completion offers.
type NameReader func(ctx context.Context, api client.Client, namespace string) ([]string, error)

// Complete returns the names that start with what was typed. It returns none if the cluster does not answer.
func (c *Cluster) Complete(cmd *cobra.Command, toComplete string, read NameReader) (
	[]cobra.Completion, cobra.ShellCompDirective,
) {
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completionTimeout)
	defer cancel()
	api, namespace, err := c.Both()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := read(ctx, api, namespace)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []cobra.Completion
	for _, name := range all {
		if strings.HasPrefix(name, toComplete) {
			out = append(out, name)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// CompleteFirst completes the first argument only.
func (c *Cluster) CompleteFirst(read NameReader) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return c.Complete(cmd, toComplete, read)
	}
}

// CompleteFlag completes a flag's value; args are the command's arguments so far.
func (c *Cluster) CompleteFlag(cmd *cobra.Command, flag string, read func(args []string) NameReader) {
	_ = cmd.RegisterFlagCompletionFunc(
		flag,
		func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return c.Complete(cmd, toComplete, read(args))
		})
}

func (c *Cluster) completeNamespaces(cmd *cobra.Command, _ []string, toComplete string) (
	[]cobra.Completion, cobra.ShellCompDirective,
) {
	return c.Complete(cmd, toComplete, func(ctx context.Context, api client.Client, _ string) ([]string, error) {
		var list corev1.NamespaceList
		return ListNames(ctx, api, "", &list, func() []string { return NamesOf(list.Items) })
	})
}

// ListNames lists objects of a namespace and returns what read finds in the list.
func ListNames(ctx context.Context, api client.Client, namespace string, list client.ObjectList, read func() []string) (
	[]string, error,
) {
	if err := api.List(ctx, list, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	return read(), nil
}

// NamesOf returns the names of objects.
func NamesOf[T any, P interface {
	*T
	client.Object
}](items []T) []string {
	var out []string
	for i := range items {
		out = append(out, P(&items[i]).GetName())
	}
	return out
}

// InvokerNames returns the BackupBatches and BackupConfigurations of a namespace, for completion.
func InvokerNames(ctx context.Context, api client.Client, namespace string) ([]string, error) {
	var batches v1alpha1.BackupBatchList
	if err := api.List(ctx, &batches, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	var configurations v1alpha1.BackupConfigurationList
	if err := api.List(ctx, &configurations, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	var out []string
	for _, name := range NamesOf(batches.Items) {
		out = append(out, PrefixBatch+name)
	}
	for _, name := range NamesOf(configurations.Items) {
		out = append(out, PrefixConfiguration+name)
	}
	return out, nil
}

// SnapshotNames returns the Snapshots of a namespace and "latest", for completion.
func SnapshotNames(ctx context.Context, api client.Client, namespace string) ([]string, error) {
	var list v1alpha1.SnapshotList
	return ListNames(ctx, api, namespace, &list, func() []string {
		return append(NamesOf(list.Items), v1alpha1.LatestSnapshot)
	})
}

// RepositoryNames returns the Repositories of a namespace, for completion.
func RepositoryNames(ctx context.Context, api client.Client, namespace string) ([]string, error) {
	var list v1alpha1.RepositoryList
	return ListNames(ctx, api, namespace, &list, func() []string { return NamesOf(list.Items) })
}

// ClaimNames returns the PersistentVolumeClaims of a namespace, for completion.
func ClaimNames(ctx context.Context, api client.Client, namespace string) ([]string, error) {
	var list corev1.PersistentVolumeClaimList
	return ListNames(ctx, api, namespace, &list, func() []string { return NamesOf(list.Items) })
}

// LedgerNames returns the Ledgers of all namespaces as "<namespace>/<name>", for completion.
func LedgerNames(ctx context.Context, api client.Client, _ string) ([]string, error) {
	var list v1alpha1.LedgerList
	return ListNames(ctx, api, "", &list, func() []string {
		var out []string
		for _, l := range list.Items {
			out = append(out, l.Namespace+"/"+l.Name)
		}
		return out
	})
}
