package cluster

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"time"

	"github.com/cairn-backup/cairn/hack/cluster/internal/loop"
)

// Down stops the cluster of a state directory and undoes what it did outside
// of it (save for some empty directories at paths fixed in the components);
// with purge, that directory goes too. It works the same whether the cluster
// runs, crashed, or was half started, and can be repeated. Without a cluster it
// succeeds and says so on out.
func Down(out io.Writer, state string, purge bool) error {
	c, err := Load(state)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintln(out, "nothing to do:", err)
		return nil
	} else if err != nil {
		return err
	}
	unlock, err := lock(state)
	if err != nil {
		return err
	}
	defer unlock()
	return c.down(out, purge)
}

func (c *Cluster) down(out io.Writer, purge bool) error {
	begin := time.Now()
	step := func(what string) {
		fmt.Fprintf(out, "%6.1fs  %s\n", time.Since(begin).Seconds(), what)
	}
	c.endProcesses()
	step("components have ended")

	var errs []error
	try := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	try("remove pods", c.removePods())
	step("pods are removed")
	try("release the devices of volumes", c.releaseDevices())
	try("unmount volumes", c.unmountAll())
	try("release the volumes' file system", loop.Release(c.volumesImage()))
	for _, family := range []string{"ip", "ip6"} {
		for _, table := range []string{"kube-proxy", "cni_hostport"} {
			_ = exec.Command("nft", "delete", "table", family, table).Run() // may not exist
		}
	}
	if exec.Command("ip", "link", "show", c.Bridge).Run() == nil {
		try("remove the bridge", run("ip", "link", "del", c.Bridge))
	}
	removeCgroups()
	try("remove links to logs", c.removeLogLinks())
	if c.SavedIPForward != "" {
		try("restore ip_forward", os.WriteFile(ipForward, []byte(c.SavedIPForward), 0o644))
	}
	if purge && len(errs) == 0 { // never delete below a mount that is still there
		try("delete the state directory", os.RemoveAll(c.State))
	}
	step("mounts, network and files are removed")
	return errors.Join(errs...)
}

// endProcesses stops the supervisor, then what a killed supervisor left
// behind, newest first.
func (c *Cluster) endProcesses() {
	terminate(c.supervisorPID(), time.Minute)
	comps := c.components()
	for i := len(comps) - 1; i >= 0; i-- {
		terminate(c.pidOf(comps[i].name, comps[i].path), comps[i].grace)
	}
}
