package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/internal/version"
)

// Where the manager runs, and how long the command waits for an answer.
const (
	managerNamespace = "cairn-system"
	managerName      = "cairn-manager"
	versionTimeout   = 3 * time.Second
)

// versions are the versions of both sides. Server is the manager's image. It is empty if the cluster does not tell.
type versions struct {
	Client string `json:"client"`
	Server string `json:"server,omitempty"`
}

func newVersion(o Options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the version of this program and, if the cluster can be reached, the manager's image",
		Args:  argsBetween(0, 0, ""),
	}
	c := newCluster(cmd, false)
	addOutput(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkOutput(output); err != nil {
			return err
		}
		v := versions{Client: version.Version, Server: c.managerImage(cmd.Context())}
		if output != outputTable {
			return encode(o.Out, output, v)
		}
		fmt.Fprintf(o.Out, "client: %s\n", v.Client)
		if v.Server != "" {
			fmt.Fprintf(o.Out, "server: %s\n", v.Server)
		}
		return nil
	}
	return cmd
}

// managerImage returns the manager's image. It is empty if the cluster can't be asked: the client's version must not
// depend on a cluster.
func (c *cluster) managerImage(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	api, err := c.client()
	if err != nil {
		return ""
	}
	var d appsv1.Deployment
	if err := api.Get(ctx, client.ObjectKey{Namespace: managerNamespace, Name: managerName}, &d); err != nil ||
		len(d.Spec.Template.Spec.Containers) == 0 {
		return ""
	}
	return d.Spec.Template.Spec.Containers[0].Image
}
