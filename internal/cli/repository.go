package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/cli/command"
	"github.com/cairn-backup/cairn/internal/cli/get"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/text"
)

func newRepository(o command.Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "repository",
		Short: "Work with the repositories in a backend",
		Args:  command.NoCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newScan(o))
	return cmd
}

const (
	scanText = `Make the Snapshots again that lie in a backend but are missing in the cluster.

Use it after a Repository was deleted and created again, after a directory was adopted from another cluster, or
after a Snapshot was deleted whose data stays. A keeper looks into the backend. A Snapshot is only Succeeded again if
the repository has the data of all its components. Retention keeps a new Snapshot until a check has looked at it, for
about eight days at most: set spec.paused of the Repository before if you need more time to look at them.`
	scanExample = `  # Make the Snapshots of the Repository shop-web again, and wait for the result
  %[1]s repository scan shop-web -n shop --wait`
)

func newScan(o command.Options) *cobra.Command {
	var w command.Waiting
	cmd := &cobra.Command{
		Use:     "scan NAME",
		Short:   "Make the Snapshots of a Repository again from what lies in the backend",
		Long:    scanText,
		Example: fmt.Sprintf(scanExample, o.Name()),
		Args:    command.ArgsBetween(1, 1, "NAME"),
	}
	c := command.NewCluster(cmd, true)
	w.AddFlags(cmd, "scan")
	cmd.ValidArgsFunction = c.CompleteFirst(func(
		ctx context.Context, api client.Client, namespace string,
	) ([]string, error) {
		var list v1alpha1.RepositoryList
		return command.ListNames(ctx, api, namespace, &list, func() []string { return command.NamesOf(list.Items) })
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := w.Check(); err != nil {
			return err
		}
		api, namespace, err := c.Both()
		if err != nil {
			return err
		}
		key := client.ObjectKey{Namespace: namespace, Name: args[0]}
		request, err := askForScan(cmd.Context(), o, api, key)
		if err != nil || !w.Wait {
			return err
		}
		return followScan(cmd.Context(), o, api, key, request, w.Timeout)
	}
	return cmd
}

// askForScan annotates the Repository and returns the value of the annotation.
func askForScan(ctx context.Context, o command.Options, api client.Client, key client.ObjectKey) (string, error) {
	var r v1alpha1.Repository
	err := api.Get(ctx, key, &r)
	switch {
	case apierrors.IsNotFound(err):
		return "", fmt.Errorf("there is no Repository %s in namespace %s: create it first, with the storageRef, path "+
			"and encryptionSecret that the repository in the backend has", key.Name, key.Namespace)
	case err != nil:
		return "", fmt.Errorf("get Repository %s: %w", key.Name, err)
	case policy.HoldsVolumeSnapshots(&r):
		return "", fmt.Errorf("Repository %s keeps VolumeSnapshots: they have no backend that could be scanned",
			key.Name)
	}
	request := o.Clock.Now().UTC().Format(time.RFC3339Nano)
	before := r.DeepCopy()
	metav1.SetMetaDataAnnotation(&r.ObjectMeta, v1alpha1.AnnotationScan, request)
	if err := api.Patch(ctx, &r, client.MergeFrom(before)); err != nil {
		return "", fmt.Errorf("patch Repository %s: %w", key.Name, err)
	}
	fmt.Fprintf(o.Out, "repository/%s: a scan is asked for\n", key.Name)
	return request, nil
}

// followScan waits until a scan is handled.
func followScan(
	ctx context.Context, o command.Options, api client.Client, key client.ObjectKey, request string,
	timeout time.Duration,
) error {
	what := "scan of repository/" + key.Name
	return command.Follow(ctx, o, what, timeout, func(ctx context.Context) (command.Progress, error) {
		var r v1alpha1.Repository
		if err := api.Get(ctx, key, &r); err != nil {
			return command.Progress{}, err
		}
		if s := r.Status.LastScan; s != nil && s.Requested == request {
			return command.Progress{Phase: "Succeeded", Ended: true, End: ": " + scanResult(s)}, nil
		}
		return command.Progress{Parts: []command.Part{{Text: scanState(&r)}}}, nil
	})
}

// scanState says what a scan waits for.
func scanState(r *v1alpha1.Repository) string {
	if r.Status.InitializedSpec == "" {
		return command.WaitingState("Pending", "the Repository is not initialised: "+
			get.ReadyMessage(r.Status.Conditions))
	}
	if c := conditions.Get(r, v1alpha1.ConditionScanned); c != nil && c.Status == metav1.ConditionFalse {
		return command.WaitingState("Pending", "the last try failed: "+c.Reason+": "+c.Message)
	}
	return command.WaitingState("Pending", "a keeper looks into the backend")
}

// scanResult describes the result of a scan.
func scanResult(s *v1alpha1.ScanStatus) string {
	parts := []string{
		fmt.Sprintf("%s in the backend, %d rebuilt", text.Quantity(s.Found, "Snapshot"), s.Rebuilt),
	}
	for _, x := range []struct {
		n    int32
		text string
	}{
		{s.Incomplete, "of these Failed, because they had failed before or data is missing"},
		{s.Refused, "left out: the log of the manager says why, of the first three"},
		{s.Unreadable, "result files could not be understood"},
		{s.Unknown, "backups in the repository belong to no Snapshot"},
	} {
		if x.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", x.n, x.text))
		}
	}
	return strings.Join(parts, "; ")
}
