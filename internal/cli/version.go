package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cairn-backup/cairn/internal/cli/command"
	"github.com/cairn-backup/cairn/internal/version"
)

// versions are the versions of both sides. Server is the manager's image. It is empty if the cluster does not tell.
type versions struct {
	Client string `json:"client"`
	Server string `json:"server,omitempty"`
}

func newVersion(o command.Options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the version of this program and, if the cluster can be reached, the manager's image",
		Args:  command.ArgsBetween(0, 0, ""),
	}
	c := command.NewCluster(cmd, false)
	command.AddOutput(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := command.CheckOutput(output); err != nil {
			return err
		}
		v := versions{Client: version.Version, Server: c.ManagerImage(cmd.Context())}
		if output != command.OutputTable {
			return command.Encode(o.Out, output, v)
		}
		fmt.Fprintf(o.Out, "client: %s\n", v.Client)
		if v.Server != "" {
			fmt.Fprintf(o.Out, "server: %s\n", v.Server)
		}
		return nil
	}
	return cmd
}
