// Package command holds what every command of the CLI is built from: options, the connection to the cluster, tables,
// formats, completion, waiting and exit codes.
package command

import (
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

// WithDefaults fills in what the caller left out.
func (o Options) WithDefaults() Options {
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

// Name returns the command as the user types it.
func (o Options) Name() string {
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

// NoCommand refuses the arguments of a command that only groups other commands.
func NoCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var known []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			known = append(known, c.Name())
		}
	}
	return Usagef("unknown command %q for %q: it has %s", args[0], cmd.CommandPath(), strings.Join(known, ", "))
}

// ArgsBetween accepts between least and most arguments, without upper limit if most is negative. usage names them.
func ArgsBetween(least, most int, usage string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || most >= 0 && len(args) > most {
			return Usagef("wrong number of arguments: usage is %q", cmd.CommandPath()+" "+usage)
		}
		return nil
	}
}
