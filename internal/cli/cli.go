package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"
)

// Options are the program's inputs other than its arguments. Every zero field except the streams has a default.
type Options struct {
	genericiooptions.IOStreams
	// Program is the name by which the program was called. With kubectl-cairn, the help says "kubectl cairn".
	Program string
	// Clock gives ages and the slots of triggered runs. The default is the system's clock.
	Clock clock.PassiveClock
	// Poll is the interval at which --wait looks again. The default is one second.
	Poll time.Duration
	// Width is the width of the terminal in characters. The default is that of Out, or 120 if Out is no terminal.
	Width int
}

// Run runs the program and returns its exit code. The arguments do not include the program's name. Run prints errors
// itself.
func Run(ctx context.Context, o Options, args []string) int {
	root := newRoot(o.withDefaults())
	root.SetArgs(args)
	code, line := exitCode(root.ExecuteContext(ctx))
	if line != "" {
		fmt.Fprintln(o.ErrOut, "error: "+line)
	}
	return code
}

func (o Options) withDefaults() Options {
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Poll == 0 {
		o.Poll = time.Second
	}
	if o.Width == 0 {
		o.Width = terminalWidth(o.Out)
	}
	return o
}

// name returns the command as the user types it.
func (o Options) name() string {
	if strings.HasPrefix(filepath.Base(o.Program), "kubectl-") {
		return "kubectl cairn"
	}
	return "cairn"
}

const defaultWidth = 120

func terminalWidth(out io.Writer) int {
	if f, ok := out.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return defaultWidth
}

const rootText = `Cairn keeps backup policy in Git, runs it in Kubernetes and commits what happened back to Git.

cairn checks policy before it is merged, shows what a cluster made of it, and starts backups and restores.
Run "%s help exit-codes" to see what the exit codes mean.`

func newRoot(o Options) *cobra.Command {
	name := o.name()
	root := &cobra.Command{
		Use:           "cairn",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: name},
		Short:         "Declarative backups from Git",
		Long:          fmt.Sprintf(rootText, name),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(o.In)
	root.SetOut(o.Out)
	root.SetErr(o.ErrOut)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%s: see %q", err, cmd.CommandPath()+" --help")
	})
	root.AddCommand(newValidate(o), newGet(o), newTrigger(o), newPause(o), newResume(o), newRestore(o), newSnapshot(o),
		newLedger(o), newRetention(o), newVersion(o), exitCodesTopic())
	root.SetHelpCommand(newHelp(root))
	root.InitDefaultCompletionCmd()
	// cobra's own command ignores an unknown shell
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		completion.Args = noCommand
		completion.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	return root
}

// newHelp returns cobra's help command, except that an unknown topic is an error.
func newHelp(root *cobra.Command) *cobra.Command {
	find := func(args []string) (*cobra.Command, error) {
		cmd, rest, err := root.Find(args)
		if err != nil || len(rest) > 0 {
			return nil, usagef("unknown help topic %q: %q lists the commands", strings.Join(args, " "), root.CommandPath()+
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
			[]cobra.Completion, cobra.ShellCompDirective) {
			cmd, err := find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var out []cobra.Completion
			for _, c := range cmd.Commands() {
				if (c.IsAvailableCommand() || c.IsAdditionalHelpTopicCommand()) && strings.HasPrefix(c.Name(), toComplete) {
					out = append(out, cobra.CompletionWithDesc(c.Name(), c.Short))
				}
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		},
	}
}

// noCommand refuses the arguments of a command that only groups other commands.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var known []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			known = append(known, c.Name())
		}
	}
	return usagef("unknown command %q for %q: it has %s", args[0], cmd.CommandPath(), strings.Join(known, ", "))
}

// argsBetween accepts between least and most arguments, without upper limit if most is negative. usage names them.
func argsBetween(least, most int, usage string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || most >= 0 && len(args) > most {
			return usagef("wrong number of arguments: usage is %q", cmd.CommandPath()+" "+usage)
		}
		return nil
	}
}
