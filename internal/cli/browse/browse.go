// Package browse implements "cairn snapshot": it lists, prints, downloads and compares the files of a Snapshot, read
// from the backend itself.
package browse

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-backup/cairn/internal/cli/command"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/text"
)

const snapshotText = `Look into Snapshots: list, print, download and compare their files.

This machine opens the repository, with the storage and encryption Secrets that you are allowed to read in the cluster.
If only the cluster reaches the S3 storage, start a port-forward and pass its address with --endpoint.`

// snapshotCommand holds what the commands that look into Snapshots have in common.
type snapshotCommand struct {
	cluster             *command.Cluster
	component, endpoint string
}

// New returns the command "cairn snapshot".
func New(o command.Options) *cobra.Command {
	cmd := &cobra.Command{
		Use: "snapshot", Aliases: []string{"snap"}, Short: "Look into Snapshots", Long: snapshotText,
		Args: command.NoCommand, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSnapshotLs(o), newSnapshotCat(o), newSnapshotDownload(o), newSnapshotDiff(o))
	return cmd
}

// command completes a command whose first arguments are Snapshots.
func (b *snapshotCommand) command(cmd *cobra.Command, snapshots int) *cobra.Command {
	b.cluster = command.NewCluster(cmd, true)
	cmd.Flags().StringVar(&b.component, "component", "", "the component; required if the Snapshot has several")
	cmd.Flags().StringVar(&b.endpoint, "endpoint", "",
		"the address at which this machine reaches the S3 storage, for example http://localhost:9000")
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, toComplete string) (
		[]cobra.Completion, cobra.ShellCompDirective,
	) {
		if len(args) >= snapshots {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return b.cluster.Complete(cmd, toComplete, command.SnapshotNames)
	}
	return cmd
}

// open connects to the repository of the named Snapshots, and returns the engine's ids of their data.
func (b *snapshotCommand) open(ctx context.Context, names ...string) (repository.Engine, []string, func(), error) {
	api, namespace, err := b.cluster.Both()
	if err != nil {
		return nil, nil, nil, err
	}
	reader := backendReader{api: api, namespace: namespace, endpoint: b.endpoint}
	var ids []string
	repo := ""
	for i, name := range names {
		snap, id, err := reader.snapshot(ctx, name, b.component)
		if err != nil {
			return nil, nil, nil, err
		}
		if i > 0 && snap.Spec.Repository != repo {
			return nil, nil, nil, fmt.Errorf(
				"Snapshot %s is in Repository %s, but %s is in %s: only Snapshots of one Repository can be compared",
				names[0],
				repo, name, snap.Spec.Repository)
		}
		repo = snap.Spec.Repository
		if ids = append(ids, id); i < len(names)-1 {
			continue
		}
		engine, done, err := reader.open(ctx, snap)
		return engine, ids, done, err
	}
	return nil, nil, nil, errors.New("name a Snapshot")
}

func newSnapshotLs(o command.Options) *cobra.Command {
	var b snapshotCommand
	var recursive bool
	cmd := b.command(&cobra.Command{
		Use: "ls SNAPSHOT [PATH]", Short: "List a directory of a Snapshot",
		Example: fmt.Sprintf("  %s snapshot ls photos-photos-hourly-1795154820 /2026 -n photos", o.Name()),
		Args:    command.ArgsBetween(1, 2, "SNAPSHOT [PATH]"),
	}, 1)
	cmd.Flags().BoolVarP(&recursive, "recursive", "R", false, "list subdirectories recursively")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		engine, ids, done, err := b.open(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		defer done()
		dir := ""
		if len(args) > 1 {
			dir = strings.Trim(path.Clean("/"+args[1]), "/")
		}
		return list(cmd.Context(), o, engine, ids[0], dir, "", recursive)
	}
	return cmd
}

// list prints a directory, one entry per line.
func list(
	ctx context.Context, o command.Options, engine repository.Engine, id, dir, shown string, recursive bool,
) error {
	entries, err := engine.ReadDir(ctx, id, dir)
	if err != nil {
		return asStorageError(err)
	}
	for _, e := range entries {
		name := path.Join(shown, e.Name)
		if e.Mode.IsDir() {
			name += "/"
		}
		fmt.Fprintf(o.Out, "%s %5d:%-5d %12d %s %s\n", e.Mode, e.UID, e.GID, e.Size,
			e.ModTime.UTC().Format(time.RFC3339),
			printableName(name))
		if recursive && e.Mode.IsDir() {
			if err := list(ctx, o, engine, id, path.Join(dir, e.Name), path.Join(shown, e.Name), true); err != nil {
				return err
			}
		}
	}
	return nil
}

// printableName returns a name as it is. A name that could steer the terminal is quoted as in Go.
func printableName(name string) string {
	if quoted := strconv.Quote(name); quoted[1:len(quoted)-1] != name && !strings.ContainsAny(name, `"\`) {
		return quoted
	}
	return name
}

func newSnapshotCat(o command.Options) *cobra.Command {
	var b snapshotCommand
	cmd := b.command(&cobra.Command{
		Use: "cat SNAPSHOT PATH", Short: "Print a file of a Snapshot",
		Args: command.ArgsBetween(2, 2, "SNAPSHOT PATH"),
	}, 1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		engine, ids, done, err := b.open(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		defer done()
		return asStorageError(engine.ReadFile(cmd.Context(), ids[0], args[1], o.Out))
	}
	return cmd
}

func newSnapshotDownload(o command.Options) *cobra.Command {
	var b snapshotCommand
	var include, exclude []string
	var overwrite bool
	cmd := b.command(&cobra.Command{
		Use: "download SNAPSHOT DIRECTORY", Short: "Download the files of a Snapshot",
		Long: "Download the files of a Snapshot into a directory of this machine. The directory is created if it " +
			"does not exist.\n" +
			"Owners, devices and set-id bits are not restored.",
		Args: command.ArgsBetween(2, 2, "SNAPSHOT DIRECTORY"),
	}, 1)
	cmd.Flags().StringSliceVar(&include, "include", nil,
		"download only what matches these patterns (see the guide on restores)")
	cmd.Flags().StringSliceVar(&exclude, "exclude", nil,
		"leave out what matches these patterns (see the guide on restores)")
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "replace files that exist already")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for name, patterns := range map[string][]string{"include": include, "exclude": exclude} {
			if err := repository.CheckPatterns(patterns); err != nil {
				return command.Usagef("invalid --%s: %v", name, err)
			}
		}
		engine, ids, done, err := b.open(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		defer done()
		if err := os.MkdirAll(args[1], 0o755); err != nil {
			return err
		}
		options := repository.RestoreOptions{Include: include, Exclude: exclude}
		if overwrite {
			options.OnConflict = repository.ConflictReplace
		}
		got, err := engine.Restore(cmd.Context(), ids[0], args[1], options)
		if err != nil {
			if errors.Is(err, os.ErrExist) && !overwrite {
				return fmt.Errorf(
					"%s already holds files of the same names: choose another directory, or pass --overwrite",
					args[1])
			}
			return asStorageError(err)
		}
		if len(got.Unmatched) > 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "warning: nothing matches %s\n", strings.Join(got.Unmatched, ", "))
		}
		if len(include) > 0 && got.Files+got.Links+got.Special == 0 {
			return errors.New("nothing in the Snapshot matches --include, so nothing was downloaded")
		}
		fmt.Fprintf(o.Out, "%s in %s downloaded to %s\n", command.ShortSize(float64(got.Bytes)),
			text.Quantity(got.Files+got.Links, "file"), args[1])
		return nil
	}
	return cmd
}

func newSnapshotDiff(o command.Options) *cobra.Command {
	var b snapshotCommand
	cmd := b.command(&cobra.Command{
		Use: "diff SNAPSHOT SNAPSHOT", Short: "Show what changed from one Snapshot to another",
		Long: "Show what changed from one Snapshot to another of the same Repository:\n\n" +
			"  +  added    -  removed    M  content changed    a  only mode, owner or time changed",
		Args: command.ArgsBetween(2, 2, "SNAPSHOT SNAPSHOT"),
	}, 2)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		engine, ids, done, err := b.open(cmd.Context(), args...)
		if err != nil {
			return err
		}
		defer done()
		counts := map[repository.Change]int{}
		err = repository.Diff(cmd.Context(), engine, ids[0], ids[1], func(d repository.Difference) error {
			counts[d.Change]++
			fmt.Fprintln(o.Out, difference(d))
			return nil
		})
		if err != nil {
			return asStorageError(err)
		}
		fmt.Fprintf(o.Out, "%d added, %d removed, %d changed, %d with other attributes\n",
			counts[repository.ChangeAdded],
			counts[repository.ChangeRemoved], counts[repository.ChangeContent], counts[repository.ChangeAttributes])
		return nil
	}
	return cmd
}

// difference formats one difference as a line.
func difference(d repository.Difference) string {
	sign := map[repository.Change]string{
		repository.ChangeAdded: "+", repository.ChangeRemoved: "-", repository.ChangeContent: "M",
		repository.ChangeAttributes: "a",
	}[d.Change]
	name, size := d.Path, ""
	switch {
	case d.After != nil && d.Before != nil && d.Before.Size != d.After.Size:
		size = fmt.Sprintf(" (%s, was %s)", command.ShortSize(float64(d.After.Size)),
			command.ShortSize(float64(d.Before.Size)))
	case d.After != nil && d.After.Mode.IsRegular():
		size = fmt.Sprintf(" (%s)", command.ShortSize(float64(d.After.Size)))
	case d.After == nil && d.Before.Mode.IsRegular():
		size = fmt.Sprintf(" (%s)", command.ShortSize(float64(d.Before.Size)))
	}
	if d.After != nil && d.After.Mode.IsDir() || d.After == nil && d.Before.Mode.IsDir() {
		name += "/"
	}
	return sign + " " + printableName(name) + size
}
