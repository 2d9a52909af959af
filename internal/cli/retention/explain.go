// Package retention implements "cairn retention": it explains which Snapshots a RetentionPolicy keeps, and why.
package retention

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/cli/command"
	"github.com/cairn-backup/cairn/internal/cli/get"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/retention"
)

// New returns the command "cairn retention".
func New(o command.Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retention",
		Short: "Show which backups are kept, and why",
		Args:  command.NoCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRetentionExplain(o))
	return cmd
}

const retentionExplainText = `Show which retention rules keep each Snapshot of a Repository, or why it is removed.

AT MOST UNTIL (in JSON and YAML: until) is when a Snapshot is too old for the policy. Before that it goes once newer
Snapshots take its place in the rules that count, such as "last: 3".

With --policy, another RetentionPolicy is tried. Nothing is changed. The answer is the one that the cluster would give
now: a Snapshot stays while a restore uses it, even a restore of another namespace. If you are not allowed to list the
RestoreSessions of all namespaces, a warning says that the restores of other namespaces are not known.`

// snapshotVerdict is the verdict on one Snapshot.
type snapshotVerdict struct {
	Name  string                 `json:"name"`
	Time  time.Time              `json:"time"`
	Phase v1alpha1.SnapshotPhase `json:"phase"`
	Stays bool                   `json:"stays"`
	// KeptBy are all rules that keep the Snapshot.
	KeptBy []retention.Keep `json:"keptBy,omitempty"`
	// Reason and Message say why the Snapshot goes.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Until is when the Snapshot goes even if no other Snapshot is made. It goes earlier if newer ones take its place.
	Until *time.Time `json:"until,omitempty"`
}

// explanation is the answer for a Repository.
type explanation struct {
	Repository string `json:"repository"`
	// Policy is the RetentionPolicy that was applied: <namespace>/<name>, or the file.
	Policy string `json:"policy"`
	// RemovesAfter is when a default policy that is new to the Repository begins to remove Snapshots.
	RemovesAfter *time.Time        `json:"removesAfter,omitempty"`
	Snapshots    []snapshotVerdict `json:"snapshots"`
	// unseen says why the restores of other namespaces are not known.
	unseen error
}

func newRetentionExplain(o command.Options) *cobra.Command {
	var file, output string
	cmd := &cobra.Command{
		Use:   "explain REPOSITORY",
		Short: "Show which rule keeps each Snapshot of a Repository",
		Long:  retentionExplainText,
		Args:  command.ArgsBetween(1, 1, "REPOSITORY"),
	}
	c := command.NewCluster(cmd, true)
	command.AddOutput(cmd, &output)
	cmd.Flags().StringVar(&file, "policy", "", "the file of a RetentionPolicy to try instead of the one in force")
	cmd.ValidArgsFunction = c.CompleteFirst(get.Resource{Load: get.LoadRepositories}.Complete)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := command.CheckOutput(output); err != nil {
			return err
		}
		api, namespace, err := c.Both()
		if err != nil {
			return err
		}
		e, err := explainRetention(cmd.Context(), api, client.ObjectKey{Namespace: namespace, Name: args[0]}, file,
			o.Clock.Now())
		if err != nil {
			return err
		}
		if e.unseen != nil {
			fmt.Fprintf(o.ErrOut,
				"warning: the restores of other namespaces are not known, so a Snapshot that only such a "+
					"restore keeps is shown as going: %v\n", e.unseen)
		}
		if output != command.OutputTable {
			return command.Encode(o.Out, output, e)
		}
		return e.table(o)
	}
	return cmd
}

// explainRetention decides as the controller does, from the present state of the API server.
func explainRetention(ctx context.Context, api client.Client, key client.ObjectKey, file string, now time.Time) (
	*explanation, error,
) {
	var repository v1alpha1.Repository
	if err := api.Get(ctx, key, &repository); apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("there is no Repository %s in namespace %s: \"cairn get repositories\" lists them",
			key.Name,
			key.Namespace)
	} else if err != nil {
		return nil, fmt.Errorf("get Repository %s: %w", key.Name, err)
	}
	var configurations v1alpha1.BackupConfigurationList
	if err := api.List(ctx, &configurations, client.InNamespace(key.Namespace)); err != nil {
		return nil, fmt.Errorf("list BackupConfigurations: %w", err)
	}
	fallback := defaultInForce(&repository)
	resolved := retention.Resolve(key.Name, configurations.Items, fallback)
	spec, name, err := retentionSpec(ctx, api, resolved, file)
	if err != nil {
		return nil, err
	}
	p, err := retention.Read(spec)
	if err != nil {
		return nil, fmt.Errorf("RetentionPolicy %s: %w", name, err)
	}
	together, err := siblingsOf(ctx, api, key, resolved, fallback)
	if err != nil {
		return nil, err
	}
	used, unseen, err := restoresUnderWay(ctx, api, key.Namespace)
	if err != nil {
		return nil, err
	}
	snapshots, err := retentionInput(ctx, api, key, together, used)
	if err != nil {
		return nil, err
	}
	out := &explanation{
		Repository: key.Namespace + "/" + key.Name, Policy: name, Snapshots: []snapshotVerdict{}, unseen: unseen,
	}
	if file == "" && resolved.Default {
		out.RemovesAfter = removesAfter(&repository, now)
	}
	for _, v := range p.Decide(snapshots, now) {
		if v.Repository != key.Name {
			continue
		}
		e := snapshotVerdict{
			Name: v.Name, Time: v.Time.UTC(), Phase: v.Phase, Stays: !v.Goes(), KeptBy: v.Kept, Reason: v.Reason,
			Message: v.Message,
		}
		if !v.Until.IsZero() && !v.Goes() {
			e.Until = new(v.Until.UTC())
		}
		out.Snapshots = append(out.Snapshots, e)
	}
	return out, nil
}

// retentionSpec returns the policy of the file, else the one in force.
func retentionSpec(ctx context.Context, api client.Client, resolved retention.Resolved, file string) (
	*v1alpha1.RetentionPolicySpec, string, error,
) {
	if file != "" {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, "", fmt.Errorf("read --policy: %w", err)
		}
		var p v1alpha1.RetentionPolicy
		if err := yaml.UnmarshalStrict(raw, &p); err != nil {
			return nil, "", fmt.Errorf("read --policy %s: %w", file, err)
		}
		if p.Kind != v1alpha1.RetentionPolicyKind || p.APIVersion != v1alpha1.GroupVersion.String() {
			return nil, "",
				fmt.Errorf("read --policy %s: the file holds no RetentionPolicy of %s", file, v1alpha1.GroupVersion)
		}
		return &p.Spec, file, nil
	}
	switch {
	case resolved.Conflict != "":
		return nil, "", errors.New("nothing is removed, because " + resolved.Conflict + ": try one with --policy")
	case resolved.Ref == nil:
		return nil, "",
			errors.New("no BackupConfiguration names a RetentionPolicy for this Repository, and no default is " +
				"in force: everything is kept. Try one with --policy")
	}
	name := resolved.Ref.Namespace + "/" + resolved.Ref.Name
	var p v1alpha1.RetentionPolicy
	if err := api.Get(ctx, client.ObjectKey{Namespace: resolved.Ref.Namespace, Name: resolved.Ref.Name},
		&p); err != nil {
		return nil, "", fmt.Errorf("get RetentionPolicy %s: %w", name, err)
	}
	return &p.Spec, name, nil
}

// siblingsOf returns the Repositories whose restore points are kept or removed as a whole with those of this
// Repository. If no policy is in force, they are those of its batch without one: the policy of --policy is tried for
// all of them.
func siblingsOf(
	ctx context.Context, api client.Client, key client.ObjectKey, resolved retention.Resolved,
	fallback *v1alpha1.ObjectReference,
) ([]string, error) {
	if resolved.Child == nil || resolved.Conflict != "" {
		return nil, nil
	}
	owner := metav1.GetControllerOf(resolved.Child)
	if owner == nil {
		return nil, nil
	}
	var batch v1alpha1.BackupBatch
	if err := api.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: owner.Name}, &batch); err != nil {
		return nil, fmt.Errorf("get BackupBatch %s: %w", owner.Name, err)
	}
	children, err := policy.KnownChildren(&batch)
	if err != nil {
		return nil, fmt.Errorf("expand BackupBatch %s: %w", owner.Name, err)
	}
	return retention.SiblingRepositories(children, key.Name, ptr.Deref(resolved.Ref, v1alpha1.ObjectReference{}),
		fallback), nil
}

// restoresUnderWay returns the Snapshots that restores of all namespaces use. If the user is allowed to see only this
// namespace, unseen says so.
func restoresUnderWay(ctx context.Context, api client.Client, namespace string) (used retention.InUse, unseen,
	err error,
) {
	var restores v1alpha1.RestoreSessionList
	var batches v1alpha1.RestoreBatchList
	for _, list := range []client.ObjectList{&batches, &restores} {
		err = api.List(ctx, list)
		if apierrors.IsForbidden(err) {
			unseen, err = err, api.List(ctx, list, client.InNamespace(namespace))
		}
		if err != nil {
			return used, nil, fmt.Errorf("list restores: %w", err)
		}
	}
	return retention.NewInUse(restores.Items, batches.Items), unseen, nil
}

// retentionInput returns the Snapshots to decide on.
func retentionInput(
	ctx context.Context, api client.Client, key client.ObjectKey, together []string,
	used retention.InUse,
) ([]retention.Snapshot, error) {
	var list v1alpha1.SnapshotList
	if err := api.List(ctx, &list, client.InNamespace(key.Namespace)); err != nil {
		return nil, fmt.Errorf("list Snapshots: %w", err)
	}
	var out []retention.Snapshot
	for i := range list.Items {
		s := &list.Items[i]
		if !v1alpha1.InForce(s) ||
			s.Spec.Repository != key.Name && !slices.Contains(together, s.Spec.Repository) {
			continue
		}
		out = append(out, retention.FromSnapshot(s, used.By(s)))
	}
	return out, nil
}

func (e *explanation) table(o command.Options) error {
	if len(e.Snapshots) == 0 {
		fmt.Fprintf(o.ErrOut, "no Snapshots in Repository %s\n", e.Repository)
		return nil
	}
	if e.RemovesAfter != nil {
		fmt.Fprintf(o.ErrOut,
			"RetentionPolicy %s is a default that is new here or was changed: Snapshots that it does not "+
				"keep are removed after %s\n",
			e.Policy, e.RemovesAfter.Format("2006-01-02 15:04"))
	}
	t := &command.Table{
		Header:   []string{"NAME", "TIME", "PHASE", "STAYS", "AT MOST UNTIL", "BECAUSE"},
		Optional: []string{"AT MOST UNTIL"},
	}
	for _, s := range e.Snapshots {
		stays, because, until := "yes", s.Message, command.None
		if s.Stays {
			reasons := make([]string, len(s.KeptBy))
			for i, k := range s.KeptBy {
				reasons[i] = k.String()
			}
			because = strings.Join(reasons, ", ")
		} else {
			stays = "no"
		}
		if s.Until != nil {
			until = s.Until.Format("2006-01-02 15:04")
		}
		t.Add(s.Name, s.Time.Format("2006-01-02 15:04"), command.Phase(string(s.Phase)), stays, until, because)
	}
	if err := t.Write(o.Out, o.Width); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}
