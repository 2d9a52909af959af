// Package restore implements "cairn restore": it writes a RestoreSession or RestoreBatch from flags, and follows it.
package restore

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/cli/command"
	"github.com/cairn-backup/cairn/internal/cli/get"
	"github.com/cairn-backup/cairn/internal/text"
)

const restoreExample = `  # Restore the newest Snapshot of a Repository into an empty volume, and wait for its end
  %[1]s restore web-again --repository shop-web --snapshot latest --target web-restored -n shop --wait

  # Restore the state of a given evening into a new volume
  %[1]s restore --repository shop-web --at 2026-11-19T20:00:00Z --new-claim web-evening --size 10Gi -n shop

  # Restore the volume of the second pod from one Snapshot
  %[1]s restore --snapshot shop-db-shop-hourly-1795154820 --component pod-1 --target db-copy -n shop

  # Create new volumes from the VolumeSnapshots of a StatefulSet's pods
  %[1]s restore --repository shop-db --new-claim 'data-db-copy-${POD_ORDINAL}' -n shop

  # Restore one directory into a volume that is in use; --confirm takes the UID of the claim
  %[1]s restore --repository shop-web --target web --include /uploads --confirm 3f1c9f2e-… --overwrite IfNewer -n shop

  # Restore one database of a dump into the server behind the Service db
  %[1]s restore --repository shop-db --component dump-orders --target service/db \
    --addon postgres-addon --param secretName=db -n shop

  # Restore all targets of an application from its newest restore point, into another namespace
  %[1]s restore --batch shop --from-namespace shop --encryption-secret shop-key -n shop-copy --wait

  # Show what a restore would create, with Addons and parameters of the databases taken from the policy
  %[1]s restore --batch shop --param db/secretName=db-copy -n shop --dry-run`

// New returns the command "cairn restore".
func New(o command.Options) *cobra.Command {
	var f restoreFlags
	var batch batchFlags
	var w command.Waiting
	const usage = "[NAME] ((--target TARGET | --new-claim CLAIM [--size SIZE]) (--snapshot SNAPSHOT | --repository " +
		"REPOSITORY [--at TIME]) | --batch BATCH)"
	cmd := &cobra.Command{
		Use:   "restore " + usage,
		Short: "Restore a Snapshot, or a whole application",
		Long: "Restore a Snapshot into a PersistentVolumeClaim, into the volumes of a workload, into a database, " +
			"or into a new\n" +
			"claim. With --batch, restore all targets of a BackupBatch from one run.\n\n" +
			"A volume or database that holds data, and a volume in use, is written to only with --confirm. NAME " +
			"names the\nRestoreSession or RestoreBatch; by default it is made of the target and the time.",
		Example: fmt.Sprintf(restoreExample, o.Name()),
		Args:    command.ArgsBetween(0, 1, usage),
	}
	c := command.NewCluster(cmd, true)
	f.add(cmd)
	batch.add(cmd)
	w.AddFlags(cmd, "restore")
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	for flag, read := range map[string]command.NameReader{
		"target": command.ClaimNames, "snapshot": command.SnapshotNames, "repository": command.RepositoryNames,
		"component": componentNames(&f),
		"batch":     batchNames,
	} {
		c.CompleteFlag(cmd, flag, func([]string) command.NameReader { return read })
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := cmp.Or(batch.check(cmd), w.Check()); err != nil {
			return err
		}
		if f.dryRun && w.Wait {
			return command.Usagef("--dry-run and --wait cannot be used together: a dry run restores nothing")
		}
		if batch.batch != "" {
			return runRestoreBatch(cmd.Context(), o, c, args, &batch, &f, &w)
		}
		return runRestore(cmd, o, c, args, &f, &w)
	}
	return cmd
}

// runRestore restores one target.
func runRestore(
	cmd *cobra.Command, o command.Options, c *command.Cluster, args []string, f *restoreFlags, w *command.Waiting,
) error {
	withUser := cmd.Flags().Changed("run-as-user")
	if err := f.check(withUser); err != nil {
		return err
	}
	api, namespace, err := c.Both()
	if err != nil {
		return err
	}
	if err := f.askVolumes(cmd.Context(), api, namespace); err != nil {
		return err
	}
	spec, err := f.spec(withUser)
	if err != nil {
		return err
	}
	key := client.ObjectKey{Namespace: namespace, Name: restoreName(f.into(), o.Clock.Now())}
	if len(args) > 0 {
		key.Name = args[0]
	}
	if err := restore(cmd.Context(), o, api, key, spec, f.dryRun); err != nil || !w.Wait {
		return err
	}
	return followRestore(cmd.Context(), o, api, key, w.Timeout)
}

// runRestoreBatch restores the targets of a BackupBatch.
func runRestoreBatch(
	ctx context.Context, o command.Options, c *command.Cluster, args []string, f *batchFlags, common *restoreFlags,
	w *command.Waiting,
) error {
	api, namespace, err := c.Both()
	if err != nil {
		return err
	}
	spec, err := f.spec(ctx, api, namespace, common)
	if err != nil {
		return err
	}
	key := client.ObjectKey{Namespace: namespace, Name: restoreName(f.batch, o.Clock.Now())}
	if len(args) > 0 {
		key.Name = args[0]
	}
	if err := restoreBatch(ctx, o, api, key, spec, common.dryRun); err != nil || !w.Wait {
		return err
	}
	return followRestoreBatch(ctx, o, api, key, w.Timeout)
}

// maxRestoreName is the longest name that the API allows.
const maxRestoreName = 63

// restoreName returns <target>-<unix seconds>. It cuts the target if the name would be too long.
func restoreName(target string, now time.Time) string {
	tail := "-" + strconv.FormatInt(now.Unix(), 10)
	if limit := maxRestoreName - len(tail); len(target) > limit {
		target = strings.TrimRight(target[:limit], "-.")
	}
	return target + tail
}

// restore creates the RestoreSession, or finds an existing one with the same spec.
func restore(
	ctx context.Context, o command.Options, api client.Client, key client.ObjectKey, spec v1alpha1.RestoreSessionSpec,
	dryRun bool,
) error {
	var existing v1alpha1.RestoreSession
	object := &v1alpha1.RestoreSession{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.RestoreSessionKind},
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Spec: spec,
	}
	return createRestore(ctx, o, api, object, &existing, dryRun, func() bool {
		spec.RestoreTimeout = existing.Spec.RestoreTimeout // it changes nothing of what is restored
		return sameRestore(spec, existing.Spec)
	})
}

// createRestore creates an object, or with dryRun only prints it. If an object of that name exists, createRestore
// reads it into existing and accepts it if same reports that both are alike.
func createRestore(
	ctx context.Context, o command.Options, api client.Client, object, existing client.Object, dryRun bool,
	same func() bool,
) error {
	kind := object.GetObjectKind().GroupVersionKind().Kind
	name := strings.ToLower(kind) + "/" + object.GetName()
	asked, options := object.DeepCopyObject(), []client.CreateOption{}
	if dryRun {
		options = append(options, client.DryRunAll)
	}
	err := api.Create(ctx, object, options...)
	switch {
	case err == nil && dryRun:
		return showManifest(o, asked)
	case err == nil:
		fmt.Fprintf(o.Out, "%s created\n", name)
		return nil
	case !apierrors.IsAlreadyExists(err):
		return fmt.Errorf("create %s: %w", kind, err)
	}
	if err := api.Get(ctx, client.ObjectKeyFromObject(object), existing); err != nil {
		return fmt.Errorf("get %s %s: %w", kind, object.GetName(), err)
	}
	if !same() {
		return fmt.Errorf("%s exists already and restores something else: choose another name", name)
	}
	fmt.Fprintf(o.Out, "%s exists already: nothing is restored again. Choose another name for another restore\n", name)
	return nil
}

// showManifest prints an object so that it can be applied.
func showManifest(o command.Options, object runtime.Object) error {
	manifest, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return fmt.Errorf("write YAML: %w", err)
	}
	delete(manifest, "status")
	unstructured.RemoveNestedField(manifest, "metadata", "creationTimestamp")
	return command.Encode(o.Out, command.OutputYAML, manifest)
}

// followRestore waits for the end of a RestoreSession.
func followRestore(
	ctx context.Context, o command.Options, api client.Client, key client.ObjectKey,
	timeout time.Duration,
) error {
	took := newTaken(api, o.Clock.Now())
	return command.Follow(ctx, o, "restoresession/"+key.Name, timeout,
		func(ctx context.Context) (command.Progress, error) {
			var s v1alpha1.RestoreSession
			if err := api.Get(ctx, key, &s); err != nil {
				return command.Progress{}, err
			}
			p := command.Progress{Phase: string(s.Status.Phase), Ended: s.Status.Phase.Terminal()}
			p.AddWait(len(s.Status.Components) > 0, get.ReadyMessage(s.Status.Conditions))
			for _, name := range slices.Sorted(maps.Keys(s.Status.Components)) {
				p.Parts = append(p.Parts,
					command.Part{
						Name: "component " + name + ": ", Text: command.RestoredState(s.Status.Components[name]),
					})
			}
			p.Parts = append(p.Parts, command.RestoreHookErrors(s.Status.Hooks)...)
			if p.Ended {
				p.End = command.Ending(p.Phase, s.Status.Reason, s.Status.Duration, get.NotReady(s.Status.Conditions)) +
					took.bySession(ctx, &s)
				p.Warning = restoreWarning(&s)
			}
			return p, nil
		})
}

// restoreWarning returns what is to be known of a restore that has ended well: what it lacks, such as data of which
// another Snapshot holds more or newer, and that files do not belong to their owners.
func restoreWarning(s *v1alpha1.RestoreSession) string {
	var warnings []string
	wrong := s.WrongOwners()
	if lack := s.Lack(); lack != nil && (lack.Reason != v1alpha1.ReasonPartial || wrong == 0 ||
		s.LosesBesideOwners()) {
		warnings = append(warnings, lack.Message)
	}
	if wrong > 0 {
		warnings = append(warnings, ownersWarning(wrong, "again"))
	}
	return strings.Join(warnings, "; ")
}

// ownersWarning warns of files that do not belong to their owners. again says what to restore once more.
func ownersWarning(wrong int64, again string) string {
	if wrong == 0 {
		return ""
	}
	return fmt.Sprintf("%s of files and directories not restored: they belong to the user that the restore ran as. "+
		"If a program needs them as another user, restore %s with --run-as-user", text.Quantity(wrong, "owner"), again)
}

// componentNames returns the components of the chosen Snapshot, else of all Snapshots of the chosen Repository.
func componentNames(f *restoreFlags) command.NameReader {
	return func(ctx context.Context, api client.Client, namespace string) ([]string, error) {
		var list v1alpha1.SnapshotList
		if err := api.List(ctx, &list, client.InNamespace(namespace)); err != nil {
			return nil, err
		}
		found := map[string]bool{}
		for i := range list.Items {
			s := &list.Items[i]
			if s.Name != f.snapshot && (f.snapshot != "" && f.snapshot != v1alpha1.LatestSnapshot ||
				s.Spec.Repository != f.repository) {
				continue
			}
			for name := range s.Status.Components {
				found[name] = true
			}
		}
		return slices.Sorted(maps.Keys(found)), nil
	}
}

// sameRestore reports whether two restores are the same. It compares JSON because the parameters of tasks can be
// written in two ways.
func sameRestore(a, b v1alpha1.RestoreSessionSpec) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}
