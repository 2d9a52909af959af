package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/cli/command"
	"github.com/cairn-backup/cairn/internal/managedfields"
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

// pauser is the field manager of "cairn pause". A PolicySync leaves alone what it owns.
const pauser = "cairn"

// newPausing returns a command that sets spec.paused.
func newPausing(o command.Options, paused bool, verb, short string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   verb + " bc/NAME|batch/NAME",
		Short: short,
		Long: short + `: set spec.paused. Runs that have started go on, and "trigger" still starts runs.
A PolicySync leaves alone what "pause" sets.
If the policy in Git sets spec.paused, the PolicySync sets it back: change it in Git instead.
Where the policy in Git has paused already, "pause" changes nothing.`,
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

// pause sets spec.paused of an invoker. It refuses the child of a batch, whose schedule belongs to the batch.
func pause(
	ctx context.Context, o command.Options, api client.Client, namespace string, ref v1alpha1.TypedLocalObjectReference,
	paused bool,
) error {
	invoker, field := invokerOf(ref)
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
	done, by := *field == paused, ""
	if done && paused {
		if done, by, err = pausedBy(invoker); err != nil {
			return err
		}
	}
	if done {
		fmt.Fprintf(o.Out, "%s %s already%s\n", ref, state, by)
		return nil
	}
	if err := setPaused(ctx, api, invoker, field, paused); err != nil {
		return fmt.Errorf("patch %s: %w", ref, err)
	}
	fmt.Fprintf(o.Out, "%s %s\n", ref, state)
	return nil
}

// invokerOf returns an empty invoker of a kind, and its spec.paused.
func invokerOf(ref v1alpha1.TypedLocalObjectReference) (client.Object, *bool) {
	if ref.Kind == v1alpha1.BackupBatchKind {
		batch := &v1alpha1.BackupBatch{}
		return batch, &batch.Spec.Paused
	}
	configuration := &v1alpha1.BackupConfiguration{}
	return configuration, &configuration.Spec.Paused
}

var pausedField = fieldpath.MakePathOrDie("spec", "paused")

// pausedBy reports whether spec.paused needs no other owner: "cairn pause" has set it, or a source of policy, such as a
// PolicySync, applies it. by names that source, because its pause ends when Git drops it. What kubectl has set can go
// when somebody applies again.
func pausedBy(invoker client.Object) (done bool, by string, err error) {
	fields, err := managedfields.OwnedBy(pauser, invoker)
	if err != nil || fields.Has(pausedField) {
		return true, "", err
	}
	applier, err := managedfields.Applier(pausedField, invoker)
	if err != nil || applier == "" {
		return false, "", err
	}
	return true, fmt.Sprintf(", by the policy that %s applies", applier), nil
}

// setPaused writes spec.paused. A pause is applied, so that it is Cairn's also where somebody has paused already. To
// resume removes the field, and so takes it from all who have set it.
func setPaused(ctx context.Context, api client.Client, invoker client.Object, field *bool, paused bool) error {
	if !paused {
		before, ok := invoker.DeepCopyObject().(client.Object)
		if !ok {
			return fmt.Errorf("unexpected type %T", invoker)
		}
		*field = false
		return api.Patch(ctx, invoker, client.MergeFrom(before), client.FieldOwner(pauser))
	}
	gvk, err := api.GroupVersionKindFor(invoker)
	if err != nil {
		return err
	}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"paused": true}}}
	u.SetGroupVersionKind(gvk)
	u.SetNamespace(invoker.GetNamespace())
	u.SetName(invoker.GetName())
	u.SetUID(invoker.GetUID()) // an object that is gone does not come back
	return api.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(pauser),
		client.ForceOwnership)
}
