// Package doctor implements "cairn doctor": it reads what a cluster says about its installation of Cairn, and prints
// what internal/doctor makes of it. It writes nothing, and connects to nothing but the API server.
package doctor

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/internal/cli/command"
	"github.com/cairn-backup/cairn/internal/doctor"
	"github.com/cairn-backup/cairn/internal/text"
)

const doctorText = `Tell what this installation grants and to whom, which servers it reaches, which defaults
apply where, and what deviates from docs/security.md. It reads only, no Secrets, and connects to nothing but the API
server.

Each line begins with one of these:

  ok    as docs/security.md has it
  warn  somebody has decided it, and it widens what can be done or narrows what protects: look whether it was meant
  fail  it deviates from docs/security.md, or could not be read

It needs the rights of an administrator of the cluster. What you are not allowed to read is named, and not judged.
The roles, admission policies and kinds of the cluster are compared with those of this program's own version.

The exit code is 1 if a line begins with fail. Lines that begin with warn leave it at 0.`

// New returns the command "cairn doctor".
func New(o command.Options) *cobra.Command {
	var output, manager string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Show who can do what with this installation, and what deviates from the security page",
		Long:  doctorText,
		Args:  command.ArgsBetween(0, 0, ""),
	}
	c := command.NewCluster(cmd, false)
	command.AddOutput(cmd, &output)
	cmd.Flags().StringVar(&manager, "manager", command.ManagerNamespace+"/cairn-manager",
		"NAMESPACE/NAME of the manager's Deployment")
	_ = cmd.RegisterFlagCompletionFunc("manager", cobra.NoFileCompletions)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := command.CheckOutput(output); err != nil {
			return err
		}
		namespace, name, ok := strings.Cut(manager, "/")
		if !ok || namespace == "" || name == "" {
			return command.Usagef("invalid --manager %q: write NAMESPACE/NAME", manager)
		}
		api, err := c.Client()
		if err != nil {
			return err
		}
		state, err := gather(cmd.Context(), api, types.NamespacedName{Namespace: namespace, Name: name})
		if err != nil {
			return err
		}
		report := doctor.Judge(state)
		if output != command.OutputTable {
			err = command.Encode(o.Out, output, report)
		} else {
			show(o, report)
		}
		if err == nil && report.Count(doctor.Fail) > 0 {
			return &command.CodedError{Code: command.ExitError}
		}
		return err
	}
	return cmd
}

// show writes a line for each finding, and a summary.
func show(o command.Options, report doctor.Report) {
	for _, s := range report.Sections {
		fmt.Fprintf(o.Out, "%s:\n", s.Name)
		for _, f := range s.Findings {
			level, line, _ := strings.Cut(f.Line(), " ")
			fmt.Fprintf(o.Out, "%-5s %s\n", level, command.OneLine(line))
		}
		fmt.Fprintln(o.Out)
	}
	fmt.Fprintf(o.Out, "%s, %s\n", text.Quantity(report.Count(doctor.Fail), "deviation"),
		text.Quantity(report.Count(doctor.Warn), "warning"))
}
