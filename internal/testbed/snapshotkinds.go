package testbed

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// snapshotModule is the module whose CRDs the kinds of snapshot.storage.k8s.io are.
const snapshotModule = "github.com/kubernetes-csi/external-snapshotter/client/v8"

// SnapshotKinds are the files with the CRDs of VolumeSnapshot, VolumeSnapshotContent and VolumeSnapshotClass: those that a cluster's
// snapshot controller brings along, of the version that Cairn is built with.
func SnapshotKinds() ([]string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", snapshotModule).Output()
	if err != nil {
		return nil, fmt.Errorf("find the module %s: %w", snapshotModule, err)
	}
	var files []string
	for _, resource := range []string{"volumesnapshots", "volumesnapshotcontents", "volumesnapshotclasses"} {
		files = append(files, filepath.Join(strings.TrimSpace(string(out)), "config", "crd", "snapshot.storage.k8s.io_"+resource+".yaml"))
	}
	return files, nil
}
