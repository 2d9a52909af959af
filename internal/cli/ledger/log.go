// Package ledger implements "cairn ledger": it reads the history of records from Git.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/cli/command"
	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/gitstore"
	"github.com/cairn-backup/cairn/internal/ledger"
)

// entry is a commit of the records branch as the command shows it.
type entry struct {
	Commit  string    `json:"commit"`
	Time    time.Time `json:"time"`
	Subject string    `json:"subject"`
	Cluster string    `json:"cluster,omitempty"`
	// Revisions are the policy revisions that were in force.
	Revisions []string `json:"revisions,omitempty"`
	// Objects are the objects whose records the commit added: "<kind> <namespace>/<name> <phase> (<reason>)".
	Objects []string `json:"objects"`
}

// ledgerLogFlags select where the records are read and which of them are shown.
type ledgerLogFlags struct {
	dir, branch, path, cluster string
	ledger, url                string
	limit                      int
	verbose                    bool
	output                     string
}

const (
	defaultBranch = "backup-records"
	defaultLimit  = 20
)

const ledgerLogText = `Show the commits of the records branch, newest first.

By default they are read from the clone in the current directory. With --ledger they are read from the remote, with the
URL and the Secret of the Ledger. If that URL works only inside the cluster, pass one that works from here with --url.
The credentials are sent to it.`

// New returns the command "cairn ledger".
func New(o command.Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ledger",
		Short: "Read the records in Git",
		Args:  command.NoCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newLedgerLog(o))
	return cmd
}

func newLedgerLog(o command.Options) *cobra.Command {
	var f ledgerLogFlags
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Show the commits of the records branch",
		Long:  ledgerLogText,
		Args:  command.ArgsBetween(0, 0, ""),
	}
	c := command.NewCluster(cmd, false)
	command.AddOutput(cmd, &f.output)
	flags := cmd.Flags()
	flags.StringVar(&f.dir, "dir", ".", "a clone of the repository, bare or not")
	flags.StringVar(&f.branch, "branch", defaultBranch, "branch that holds the records")
	flags.StringVar(&f.path, "path", "", "spec.path of the Ledger; goes with --dir")
	flags.StringVar(&f.cluster, "cluster", "", "show only the records of this cluster (spec.clusterName of its Ledger)")
	flags.StringVar(&f.ledger, "ledger", "", "NAMESPACE/NAME of a Ledger whose remote is read instead of a clone")
	flags.StringVar(&f.url, "url", "",
		"URL of the remote if the Ledger's own can't be reached from here; goes with --ledger")
	flags.IntVarP(&f.limit, "limit", "n", defaultLimit, "the greatest number of commits to show")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "show a line for each object")
	c.CompleteFlag(cmd, "ledger", func([]string) command.NameReader { return command.LedgerNames })
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.check(cmd); err != nil {
			return err
		}
		entries, err := f.read(cmd, c)
		if err != nil {
			return err
		}
		return f.print(o, entries)
	}
	return cmd
}

func (f *ledgerLogFlags) check(cmd *cobra.Command) error {
	namespace, name, ok := strings.Cut(f.ledger, "/")
	switch {
	case f.limit <= 0:
		return command.Usagef("--limit must be 1 or more")
	case f.ledger != "" && (!ok || namespace == "" || name == "" || strings.Contains(name, "/")):
		return command.Usagef("--ledger %s is not NAMESPACE/NAME", f.ledger)
	case f.ledger != "" && (cmd.Flags().Changed("dir") || cmd.Flags().Changed("path") || cmd.Flags().Changed("branch")):
		return command.Usagef(
			"--ledger cannot be used together with --dir, --branch and --path: the Ledger says its branch and path")
	case f.ledger == "" && f.url != "":
		return command.Usagef("--url needs --ledger; for a clone use --dir")
	}
	return command.CheckOutput(f.output)
}

func (f *ledgerLogFlags) read(cmd *cobra.Command, c *command.Cluster) ([]entry, error) {
	if f.ledger == "" {
		return readClone(cmd.Context(), f)
	}
	api, err := c.Client()
	if err != nil {
		return nil, err
	}
	return f.remote(cmd.Context(), api)
}

// remote reads the branch of a Ledger from its remote.
func (f *ledgerLogFlags) remote(ctx context.Context, api client.Client) ([]entry, error) {
	namespace, name, _ := strings.Cut(f.ledger, "/")
	var l v1alpha1.Ledger
	if err := api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &l); apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("there is no Ledger %s: \"kubectl get ledgers -A\" lists them", f.ledger)
	} else if err != nil {
		return nil, fmt.Errorf("get Ledger %s: %w", f.ledger, err)
	}
	address := l.Spec.URL
	if f.url != "" {
		address = f.url
	}
	u, err := gitstore.ParseURL(address)
	if err != nil {
		return nil, err
	}
	var secret corev1.Secret
	if ref := l.Spec.SecretRef; ref != nil {
		if err := api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, &secret); err != nil {
			return nil, fmt.Errorf("get Secret %s/%s, which holds the Ledger's credentials: %w", namespace,
				ref.Name, err)
		}
	}
	auth, err := gitstore.AuthFromSecretData(u, secret.Data)
	if err != nil {
		return nil, fmt.Errorf("read Secret %s/%s: %w", namespace, secret.Name, err)
	}
	auth.Network = egress.Anywhere() // of the person who calls it
	remote, err := gitstore.NewRemote(address, auth)
	if err != nil {
		return nil, err
	}
	defer remote.Close()
	// With --cluster, the number of commits that hold enough entries of that cluster is not known beforehand.
	limit := f.limit
	if f.cluster != "" {
		limit = max(limit, maxRemoteCommits)
	}
	commits, err := ledger.Log(ctx, remote, l.Spec.Branch, limit)
	if err != nil {
		if errors.Is(err, gitstore.ErrUnreachable) && f.url == "" {
			return nil,
				fmt.Errorf("%w: if the Ledger's URL works only inside the cluster, pass another with --url", err)
		}
		return nil, err
	}
	return f.entries(commits), nil
}

// maxRemoteCommits bounds the search for the commits of one cluster.
const maxRemoteCommits = 10_000

func (f *ledgerLogFlags) entries(commits []ledger.Commit) []entry {
	var out []entry
	for _, c := range commits {
		if len(out) == f.limit || f.cluster != "" && c.Cluster != f.cluster {
			continue
		}
		out = append(out, entryOf(c))
	}
	return out
}

func entryOf(c ledger.Commit) entry {
	e := entry{
		Commit: c.Hash, Time: c.Time, Subject: c.Subject, Cluster: c.Cluster, Revisions: c.Revisions,
		Objects: []string{},
	}
	for _, x := range c.Objects {
		e.Objects = append(e.Objects,
			x.Kind+" "+x.Namespace+"/"+x.Name+" "+x.Phase+command.ReasonText(x.Phase, x.Reason, ""))
	}
	return e
}

func (f *ledgerLogFlags) print(o command.Options, entries []entry) error {
	if f.output != command.OutputTable {
		if entries == nil {
			entries = []entry{}
		}
		return command.Encode(o.Out, f.output, entries)
	}
	if len(entries) == 0 {
		fmt.Fprintln(o.ErrOut, "no records")
		return nil
	}
	for _, e := range entries {
		fmt.Fprintf(o.Out, "%s  %s  %s\n", e.Time.UTC().Format(time.RFC3339), command.ShortCommit(e.Commit),
			command.OneLine(e.Subject))
		if !f.verbose {
			continue
		}
		for _, line := range e.Objects {
			fmt.Fprintln(o.Out, "    "+command.OneLine(line))
		}
	}
	return nil
}
