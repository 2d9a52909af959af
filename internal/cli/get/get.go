// Package get implements "cairn get".
package get

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/cairn-backup/cairn/internal/cli/command"
)

// scope selects the objects to show.
type scope struct {
	api       client.Client
	namespace string // empty means all
	name      string // empty means all
	now       time.Time
	// whole holds the objects as the server returned them, with fields that this program does not know.
	whole map[types.UID]*unstructured.Unstructured
}

// list reads the objects of a kind from the namespace and, if named, with the name of the scope.
func (s scope) list(ctx context.Context, into client.ObjectList, named bool) error {
	opts := []client.ListOption{client.InNamespace(s.namespace)}
	if named && s.name != "" {
		opts = append(opts, client.MatchingFields{"metadata.name": s.name})
	}
	gvk, err := apiutil.GVKForObject(into, s.api.Scheme())
	if err != nil {
		return err
	}
	var read unstructured.UnstructuredList
	read.SetGroupVersionKind(gvk)
	if err := s.api.List(ctx, &read, opts...); err != nil {
		return err
	}
	for i := range read.Items {
		s.whole[read.Items[i].GetUID()] = &read.Items[i]
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(read.UnstructuredContent(), into); err != nil {
		return fmt.Errorf("decode the answer of the API server: %w", err)
	}
	return nil
}

// header and cells put the namespace first if all namespaces are shown.
func (s scope) header(columns ...string) []string { return s.cells("NAMESPACE", columns...) }

func (s scope) cells(namespace string, cells ...string) []string {
	if s.namespace == "" {
		return append([]string{namespace}, cells...)
	}
	return cells
}

// resourceView is what get shows of a resource.
type resourceView struct {
	objects []client.Object
	tables  []*command.Table
}

// Resource is a kind of object that get shows.
type Resource struct {
	name    string
	aliases []string
	short   string
	Load    func(ctx context.Context, s scope) (resourceView, error)
}

func resources() []Resource {
	return []Resource{
		{
			"policies",
			[]string{"policy"},
			"Show PolicySyncs, BackupBatches with their targets, and BackupConfigurations",
			loadPolicies,
		},
		{
			"backupsessions",
			[]string{"backupsession", "bsess"},
			"Show runs of backups, newest first",
			loadBackupSessions,
		},
		{"snapshots", []string{"snapshot", "snap"}, "Show backups of targets, newest first", loadSnapshots},
		{
			"repositories",
			[]string{"repository", "repo"},
			"Show where the backups of each target are kept",
			LoadRepositories,
		},
		{
			"restorebatches",
			[]string{"restorebatch", "rb"},
			"Show restores of several targets, newest first",
			loadRestoreBatches,
		},
		{
			"restoresessions",
			[]string{"restoresession", "restores"},
			"Show restores of one target, newest first",
			loadRestoreSessions,
		},
	}
}

// New returns the command "cairn get".
func New(o command.Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "get",
		Short: "Show policies, backups, repositories and restores",
		Args:  command.NoCommand,
		RunE: func(_ *cobra.Command, _ []string) error {
			return command.Usagef(
				"say what to show: policies, backupsessions, snapshots, repositories, restorebatches or " +
					"restoresessions")
		},
	}
	for _, r := range resources() {
		cmd.AddCommand(newGetResource(o, r))
	}
	return cmd
}

func newGetResource(o command.Options, r Resource) *cobra.Command {
	var output string
	var all bool
	cmd := &cobra.Command{
		Use:     r.name + " [NAME]",
		Aliases: r.aliases,
		Short:   r.short,
		Args:    command.ArgsBetween(0, 1, "[NAME]"),
	}
	c := command.NewCluster(cmd, true)
	command.AddOutput(cmd, &output)
	cmd.Flags().BoolVarP(&all, "all-namespaces", "A", false, "show the objects of all namespaces")
	cmd.ValidArgsFunction = c.CompleteFirst(r.Complete)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := command.CheckOutput(output); err != nil {
			return err
		}
		api, namespace, err := c.Both()
		if err != nil {
			return err
		}
		s := scope{
			api: api, namespace: namespace, now: o.Clock.Now(), whole: map[types.UID]*unstructured.Unstructured{},
		}
		if all {
			s.namespace = ""
		}
		if len(args) > 0 {
			s.name = args[0]
		}
		return r.show(cmd.Context(), o, s, output)
	}
	return cmd
}

func (r Resource) show(ctx context.Context, o command.Options, s scope, output string) error {
	f, err := r.Load(ctx, s)
	if err != nil {
		return fmt.Errorf("get %s: %w", r.name, err)
	}
	where := "in namespace " + s.namespace
	if s.namespace == "" {
		where = "in any namespace"
	}
	switch {
	case len(f.objects) == 0 && s.name != "":
		return fmt.Errorf("there is no %s %s %s: leave out the name to list all", r.aliases[0], s.name, where)
	case output != command.OutputTable:
		return s.encode(o.Out, output, f.objects)
	case len(f.objects) == 0:
		fmt.Fprintf(o.ErrOut, "no %s %s\n", r.name, where)
		return nil
	}
	first := true
	for _, t := range f.tables {
		if len(t.Rows) == 0 {
			continue
		}
		if !first {
			fmt.Fprintln(o.Out)
		}
		first = false
		if err := t.Write(o.Out, o.Width); err != nil {
			return fmt.Errorf("write the table: %w", err)
		}
	}
	return nil
}

// encode writes whole objects: the object itself if a name selected exactly one, else a List.
func (s scope) encode(out io.Writer, output string, objects []client.Object) error {
	items := make([]map[string]any, len(objects))
	for i, o := range objects {
		whole := s.whole[o.GetUID()]
		whole.SetManagedFields(nil)
		items[i] = whole.Object
	}
	if s.name != "" && len(items) == 1 {
		return command.Encode(out, output, items[0])
	}
	return command.Encode(out, output, map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
}

// Complete returns the names of the resource's objects.
func (r Resource) Complete(ctx context.Context, api client.Client, namespace string) ([]string, error) {
	f, err := r.Load(ctx, scope{api: api, namespace: namespace, whole: map[types.UID]*unstructured.Unstructured{}})
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(f.objects))
	for _, o := range f.objects {
		names = append(names, o.GetName())
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// newestFirst sorts by creation time. Objects of the same time keep their order, by namespace and name.
func newestFirst[T any, P interface {
	*T
	client.Object
}](items []T) {
	slices.SortStableFunc(items, func(a, b T) int {
		return P(&b).GetCreationTimestamp().Compare(P(&a).GetCreationTimestamp().Time)
	})
}

func objectsOf[T any, P interface {
	*T
	client.Object
}](items []T) []client.Object {
	out := make([]client.Object, len(items))
	for i := range items {
		out[i] = P(&items[i])
	}
	return out
}
