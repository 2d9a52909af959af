package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/cli/command"
)

const pauseExample = `  # Stop the schedules of the batch shop, for example during a migration
  %[1]s pause batch/shop -n shop

  # Resume them
  %[1]s resume batch/shop -n shop`

func newPause(o command.Options) *cobra.Command {
	return newPausing(o, true, "pause", "Stop the schedules of a policy")
}

func newResume(o command.Options) *cobra.Command {
	return newPausing(o, false, "resume", "Resume the schedules of a paused policy")
}

// newPausing returns a command that sets spec.paused.
func newPausing(o command.Options, paused bool, verb, short string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   verb + " bc/NAME|batch/NAME",
		Short: short,
		Long: short + `: set spec.paused. Runs that have started go on, and "trigger" still starts runs.
If the policy in Git sets spec.paused, the PolicySync sets it back: change it in Git instead.`,
		Example: fmt.Sprintf(pauseExample, o.Name()),
		Args:    command.ArgsBetween(1, 1, "bc/NAME|batch/NAME"),
	}
	c := command.NewCluster(cmd, true)
	cmd.ValidArgsFunction = c.CompleteFirst(command.InvokerNames)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ref, err := parseInvoker(args[0])
		if err != nil {
			return err
		}
		api, namespace, err := c.Both()
		if err != nil {
			return err
		}
		return pause(cmd.Context(), o, api, namespace, ref, paused)
	}
	return cmd
}

// pause sets spec.paused of an invoker. It refuses the child of a batch, whose schedule belongs to the batch. The API
// server knows the writer as "cairn". What kubectl writes a PolicySync reverts, also if Git does not set the field.
func pause(
	ctx context.Context, o command.Options, api client.Client, namespace string, ref v1alpha1.TypedLocalObjectReference,
	paused bool,
) error {
	var invoker client.Object
	var field *bool
	if ref.Kind == v1alpha1.BackupBatchKind {
		batch := &v1alpha1.BackupBatch{}
		invoker, field = batch, &batch.Spec.Paused
	} else {
		configuration := &v1alpha1.BackupConfiguration{}
		invoker, field = configuration, &configuration.Spec.Paused
	}
	err := api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, invoker)
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("there is no %s %s in namespace %s: \"cairn get policies\" lists them",
			ref.Kind, ref.Name, namespace)
	}
	if err != nil {
		return fmt.Errorf("get %s: %w", ref, err)
	}
	if owner := metav1.GetControllerOf(invoker); owner != nil && owner.Kind == v1alpha1.BackupBatchKind {
		return fmt.Errorf("%s has no schedule of its own: pause or resume its batch, batch/%s", ref, owner.Name)
	}
	state := "goes on"
	if paused {
		state = "is paused"
	}
	if *field == paused {
		fmt.Fprintf(o.Out, "%s %s already\n", ref, state)
		return nil
	}
	before, ok := invoker.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("copy %s: unexpected type", ref)
	}
	*field = paused
	if err := api.Patch(ctx, invoker, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("patch %s: %w", ref, err)
	}
	fmt.Fprintf(o.Out, "%s %s\n", ref, state)
	return nil
}
