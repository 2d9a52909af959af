package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairn-backup/cairn/internal/cli/browse"
	"github.com/cairn-backup/cairn/internal/cli/command"
	"github.com/cairn-backup/cairn/internal/cli/doctor"
	"github.com/cairn-backup/cairn/internal/cli/get"
	"github.com/cairn-backup/cairn/internal/cli/ledger"
	"github.com/cairn-backup/cairn/internal/cli/restore"
	"github.com/cairn-backup/cairn/internal/cli/retention"
	"github.com/cairn-backup/cairn/internal/cli/validate"
)

// Run runs the program and returns its exit code. The arguments do not include the program's name. Run prints errors
// itself.
func Run(ctx context.Context, o command.Options, args []string) int {
	root := newRoot(o.WithDefaults())
	root.SetArgs(args)
	code, line := command.ExitCode(root.ExecuteContext(ctx))
	if line != "" {
		fmt.Fprintln(o.ErrOut, "error: "+line)
	}
	return code
}

const rootText = `Cairn keeps backup policy in Git, runs it in Kubernetes and commits what happened back to Git.

cairn checks policy before it is merged, shows what a cluster made of it, and starts backups and restores.
Run "%s help exit-codes" to see what the exit codes mean.`

func newRoot(o command.Options) *cobra.Command {
	name := o.Name()
	root := &cobra.Command{
		Use:           "cairn",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: name},
		Short:         "Declarative backups from Git",
		Long:          fmt.Sprintf(rootText, name),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          command.NoCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(o.In)
	root.SetOut(o.Out)
	root.SetErr(o.ErrOut)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if err := command.NoCommand(cmd, cmd.Flags().Args()); cmd.HasSubCommands() && err != nil {
			return err // A flag of a command that does not exist is not what is wrong.
		}
		return command.Usagef("%s: see %q", err, cmd.CommandPath()+" --help")
	})
	root.AddCommand(validate.New(o), get.New(o), newTrigger(o), newPause(o), newResume(o), restore.New(o),
		browse.New(o), ledger.New(o), retention.New(o), newRepository(o), doctor.New(o), newVersion(o),
		command.ExitCodesTopic())
	root.SetHelpCommand(newHelp(root))
	root.InitDefaultCompletionCmd()
	// cobra's own command ignores an unknown shell
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		completion.Args = command.NoCommand
		completion.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	return root
}

// newHelp returns cobra's help command, except that an unknown topic is an error.
func newHelp(root *cobra.Command) *cobra.Command {
	find := func(args []string) (*cobra.Command, error) {
		cmd, rest, err := root.Find(args)
		if err != nil || len(rest) > 0 {
			return nil, command.Usagef("unknown help topic %q: %q lists the commands", strings.Join(args, " "),
				root.CommandPath()+
					" help")
		}
		return cmd, nil
	}
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about a command",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, err := find(args)
			if err != nil {
				return err
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, toComplete string) (
			[]cobra.Completion, cobra.ShellCompDirective,
		) {
			cmd, err := find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var out []cobra.Completion
			for _, c := range cmd.Commands() {
				if (c.IsAvailableCommand() || c.IsAdditionalHelpTopicCommand()) &&
					strings.HasPrefix(c.Name(), toComplete) {
					out = append(out, cobra.CompletionWithDesc(c.Name(), c.Short))
				}
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		},
	}
}
