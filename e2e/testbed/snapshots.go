package testbed

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// SnapshotDriver is the CSI driver of the local provider's cluster. Its StorageClasses are minihostpath, the default
// one, which binds on first use, and minihostpath-immediate; its VolumeSnapshotClasses are minihostpath, the default
// one, and minihostpath-retain, of deletionPolicy Retain.
const SnapshotDriver = "minihostpath.csi.cairn.local"

// SnapshotClass is a VolumeSnapshotClass of SnapshotDriver that is not the default one.
type SnapshotClass struct {
	Name string
	// Retain keeps the snapshots in the storage system when their VolumeSnapshots are deleted.
	Retain bool
	// Parameters of the driver, which make it fail on purpose: readyAfter with a duration, fail, failTimes with a
	// number of calls for each snapshot, and hang. hack/cluster/README.md says what they do.
	Parameters map[string]string
}

// ApplySnapshotClass makes the class, or changes its parameters. The driver sees them at its next call, also for a
// snapshot that somebody has already asked for.
func (t *Testbed) ApplySnapshotClass(ctx context.Context, c SnapshotClass) error {
	policy := "Delete"
	if c.Retain {
		policy = "Retain"
	}
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass",
		"metadata":       map[string]any{"name": c.Name},
		"driver":         SnapshotDriver,
		"deletionPolicy": policy,
	}}
	if len(c.Parameters) > 0 {
		parameters := map[string]any{}
		for k, v := range c.Parameters {
			parameters[k] = v
		}
		object.Object["parameters"] = parameters
	}
	return t.ApplyObjects(ctx, object)
}

// snapshotsAnnotation of the CSIDriver says what SnapshotDriver's snapshots are: "point-in-time", or "copies" where the
// machine has no btrfs or no loop devices.
const snapshotsAnnotation = "cairn.local/snapshots"

// PointInTime reports whether the cluster's snapshots are points in time, and if not, why not.
func (t *Testbed) PointInTime(ctx context.Context) (bool, string, error) {
	var driver storagev1.CSIDriver
	if err := t.Client.Get(ctx, client.ObjectKey{Name: SnapshotDriver}, &driver); err != nil {
		return false, "", fmt.Errorf("look for the driver of snapshots: %w", err)
	}
	if kind := driver.Annotations[snapshotsAnnotation]; kind != "point-in-time" {
		return false, "snapshots of this cluster are " + kind + ": \"clusterctl up\" says why", nil
	}
	return true, "", nil
}

// StopSnapshotDriver kills the driver of volumes and snapshots and keeps it away: its socket refuses every call, until
// StartSnapshotDriver or the next run of the tests. Volumes stay mounted. Only the local provider can do it.
func (t *Testbed) StopSnapshotDriver(ctx context.Context) error {
	return t.component(ctx, "stop", "minihostpath")
}

// StartSnapshotDriver lets it run again and returns when it takes calls.
func (t *Testbed) StartSnapshotDriver(ctx context.Context) error {
	return t.component(ctx, "start", "minihostpath")
}

func (t *Testbed) component(ctx context.Context, verb, name string) error {
	l, ok := t.provider.(*local)
	if !ok {
		return fmt.Errorf("%s %s: provider %s: %w", verb, name, t.provider.Name(), errors.ErrUnsupported)
	}
	return l.run(ctx, l.clusterctl(), verb, name)
}

// PairsContainer is an application that writes paired files to a volume, mounted at /data, as long as it runs: a number
// to /data/a/<i>, then the same to /data/b/<i>, one pair after the other, each forced to the disk. At any point in time
// b is the same as a or one write behind; in a copy that is made file by file, b can be further behind. The container
// is ready when all pairs are there. It does not start on a volume whose pairs are broken. It runs as user 65532.
func PairsContainer(volume string) corev1.Container {
	return corev1.Container{
		Name: "pairs", Image: "cairn.local/toolbox:dev", Args: []string{"pairs", "/data"},
		// A readiness probe would start a program each second as long as the pod runs.
		StartupProbe: &corev1.Probe{
			PeriodSeconds: 1, TimeoutSeconds: 5, FailureThreshold: 300,
			ProbeHandler: corev1.ProbeHandler{
				Exec: &corev1.ExecAction{Command: []string{"/toolbox", "cat", "/data/a/0000"}},
			},
		},
		// It would take a processor for itself.
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")},
			Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m")},
		},
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false), RunAsNonRoot: new(true), RunAsUser: ptr.To[int64](65532),
			RunAsGroup:     ptr.To[int64](65532),
			Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		VolumeMounts: []corev1.VolumeMount{{Name: volume, MountPath: "/data"}},
	}
}

// CheckPairs returns an error unless the paired files below a directory of a pod that runs the toolbox are of one point
// in time. Nobody must write them meanwhile. It returns a summary of the pairs.
func (t *Testbed) CheckPairs(ctx context.Context, namespace, pod, dir string) (string, error) {
	return t.Exec(ctx, namespace, pod, nil, "/toolbox", "check-pairs", dir)
}
