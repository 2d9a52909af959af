package cli

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

	"github.com/cairn-backup/cairn/internal/repository"
)

const snapshotText = `Look into snapshots: list their files, print, download and compare them.

The repository is opened from this machine, with the Secrets of storage and encryption that you may read in the cluster.
Where only the cluster reaches an S3 storage, make a port-forward to it and name that with --endpoint.`

// browsing is what the commands that look into snapshots have in common.
type browsing struct {
	cluster             *cluster
	component, endpoint string
}

func newSnapshot(o Options) *cobra.Command {
	cmd := &cobra.Command{
		Use: "snapshot", Aliases: []string{"snap"}, Short: "Look into snapshots", Long: snapshotText,
		Args: noCommand, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSnapshotLs(o), newSnapshotCat(o), newSnapshotDownload(o), newSnapshotDiff(o))
	return cmd
}

// command makes one of them, whose first arguments are Snapshots.
func (b *browsing) command(cmd *cobra.Command, snapshots int) *cobra.Command {
	b.cluster = newCluster(cmd, true)
	cmd.Flags().StringVar(&b.component, "component", "", "the component; needed where the Snapshot has several")
	cmd.Flags().StringVar(&b.endpoint, "endpoint", "", "reach the S3 storage at this address, for example http://localhost:9000")
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= snapshots {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return b.cluster.complete(cmd, toComplete, snapshotNames)
	}
	return cmd
}

// open connects to the repository of the Snapshots that are named, and gives the ids of their data.
func (b *browsing) open(ctx context.Context, names ...string) (repository.Engine, []string, func(), error) {
	api, namespace, err := b.cluster.both()
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
			return nil, nil, nil, fmt.Errorf("the Snapshot %s is in Repository %s and %s in %s: only Snapshots of one Repository can be compared", names[0], repo, name, snap.Spec.Repository)
		}
		repo = snap.Spec.Repository
		if ids = append(ids, id); i < len(names)-1 {
			continue
		}
		engine, done, err := reader.open(ctx, snap)
		return engine, ids, done, err
	}
	return nil, nil, nil, errors.New("no Snapshot is named")
}

func newSnapshotLs(o Options) *cobra.Command {
	var b browsing
	var recursive bool
	cmd := b.command(&cobra.Command{
		Use: "ls SNAPSHOT [PATH]", Short: "List a directory of a snapshot",
		Example: fmt.Sprintf("  %s snapshot ls photos-photos-hourly-1795154820 /2026 -n photos", o.name()),
		Args:    argsBetween(1, 2, "SNAPSHOT [PATH]"),
	}, 1)
	cmd.Flags().BoolVarP(&recursive, "recursive", "R", false, "list what is in directories, too")
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
		return o.list(cmd.Context(), engine, ids[0], dir, "", recursive)
	}
	return cmd
}

// list prints a directory, one entry a line.
func (o Options) list(ctx context.Context, engine repository.Engine, id, dir, shown string, recursive bool) error {
	entries, err := engine.ReadDir(ctx, id, dir)
	if err != nil {
		return ofStorage(err)
	}
	for _, e := range entries {
		name := path.Join(shown, e.Name)
		if e.Mode.IsDir() {
			name += "/"
		}
		fmt.Fprintf(o.Out, "%s %5d:%-5d %12d %s %s\n", e.Mode, e.UID, e.GID, e.Size, e.ModTime.UTC().Format(time.RFC3339), printableName(name))
		if recursive && e.Mode.IsDir() {
			if err := o.list(ctx, engine, id, path.Join(dir, e.Name), path.Join(shown, e.Name), true); err != nil {
				return err
			}
		}
	}
	return nil
}

// printableName shows a name as it is, unless it could steer the terminal: then as Go would quote it.
func printableName(name string) string {
	if quoted := strconv.Quote(name); quoted[1:len(quoted)-1] != name && !strings.ContainsAny(name, `"\`) {
		return quoted
	}
	return name
}

func newSnapshotCat(o Options) *cobra.Command {
	var b browsing
	cmd := b.command(&cobra.Command{
		Use: "cat SNAPSHOT PATH", Short: "Print a file of a snapshot",
		Args: argsBetween(2, 2, "SNAPSHOT PATH"),
	}, 1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		engine, ids, done, err := b.open(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		defer done()
		return ofStorage(engine.ReadFile(cmd.Context(), ids[0], args[1], o.Out))
	}
	return cmd
}

func newSnapshotDownload(o Options) *cobra.Command {
	var b browsing
	var include, exclude []string
	var overwrite bool
	cmd := b.command(&cobra.Command{
		Use: "download SNAPSHOT DIRECTORY", Short: "Download the files of a snapshot",
		Long: "Download the files of a snapshot into a directory of this machine, which is made if it is not there. Owners are not\n" +
			"given back, and devices and set-id bits neither.",
		Args: argsBetween(2, 2, "SNAPSHOT DIRECTORY"),
	}, 1)
	cmd.Flags().StringSliceVar(&include, "include", nil, "patterns, as in a .gitignore file, of what is downloaded alone")
	cmd.Flags().StringSliceVar(&exclude, "exclude", nil, "patterns, as in a .gitignore file, of what is not downloaded")
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "replace files that are there already")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
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
				return fmt.Errorf("%s holds files of these names: choose another directory, or --overwrite", args[1])
			}
			return ofStorage(err)
		}
		fmt.Fprintf(o.Out, "%s in %s downloaded to %s\n", shortSize(float64(got.Bytes)), count(int(got.Files+got.Links), "file"), args[1])
		return nil
	}
	return cmd
}

func newSnapshotDiff(o Options) *cobra.Command {
	var b browsing
	cmd := b.command(&cobra.Command{
		Use: "diff SNAPSHOT SNAPSHOT", Short: "Show what changed from one snapshot to another",
		Long: "Show what changed from one snapshot to another of the same repository:\n\n" +
			"  +  added    -  removed    M  other content    a  same content; mode, owner or time is another",
		Args: argsBetween(2, 2, "SNAPSHOT SNAPSHOT"),
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
			return ofStorage(err)
		}
		fmt.Fprintf(o.Out, "%d added, %d removed, %d changed, %d with other attributes\n", counts[repository.ChangeAdded],
			counts[repository.ChangeRemoved], counts[repository.ChangeContent], counts[repository.ChangeAttributes])
		return nil
	}
	return cmd
}

// difference is one in a line.
func difference(d repository.Difference) string {
	sign := map[repository.Change]string{
		repository.ChangeAdded: "+", repository.ChangeRemoved: "-", repository.ChangeContent: "M", repository.ChangeAttributes: "a",
	}[d.Change]
	name, size := d.Path, ""
	switch {
	case d.After != nil && d.Before != nil && d.Before.Size != d.After.Size:
		size = fmt.Sprintf(" (%s, was %s)", shortSize(float64(d.After.Size)), shortSize(float64(d.Before.Size)))
	case d.After != nil && d.After.Mode.IsRegular():
		size = fmt.Sprintf(" (%s)", shortSize(float64(d.After.Size)))
	case d.After == nil && d.Before.Mode.IsRegular():
		size = fmt.Sprintf(" (%s)", shortSize(float64(d.Before.Size)))
	}
	if d.After != nil && d.After.Mode.IsDir() || d.After == nil && d.Before.Mode.IsDir() {
		name += "/"
	}
	return sign + " " + printableName(name) + size
}
