package testbed

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// snapshotModule is the module with the CRDs of snapshot.storage.k8s.io.
const snapshotModule = "github.com/kubernetes-csi/external-snapshotter/client/v8"

// SnapshotKinds returns the files with the CRDs of VolumeSnapshot, VolumeSnapshotContent and VolumeSnapshotClass. A
// cluster's snapshot controller brings them along. Their version is the one with which Cairn is built.
func SnapshotKinds() ([]string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", snapshotModule).Output()
	if err != nil {
		return nil, fmt.Errorf("find the module %s: %w", snapshotModule, err)
	}
	var files []string
	for _, resource := range []string{"volumesnapshots", "volumesnapshotcontents", "volumesnapshotclasses"} {
		files = append(files, filepath.Join(strings.TrimSpace(string(out)), "config", "crd", "snapshot.storage.k8s.io_"+
			resource+".yaml"))
	}
	return files, nil
}
