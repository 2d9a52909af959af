package proof

import (
	"os/exec"
	"strings"
	"testing"
	"time"
)

func takeSnapshot(t *testing.T) {
	apply(t, `
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshot
metadata: {name: snap}
spec: {volumeSnapshotClassName: minihostpath, source: {persistentVolumeClaimName: data}}
`)
	field(t, 60*time.Second, "volumesnapshot/snap", "{.status.readyToUse}", "true")
}

func restoreFromSnapshot(t *testing.T) {
	// What changes after the snapshot must not show up in the restored volume.
	toolbox(t, "write", "/data/file", "spoiled")
	apply(t, `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: restored}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 64Mi}}
  dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: snap}
`+"---"+job("reader", "restored", "cat /data/file"))
	field(t, 60*time.Second, "job/reader", "{.status.succeeded}", "1")
	equal(t, must(t, "", "logs", "job/reader"), "precious")
}

func preProvisionedSnapshot(t *testing.T) {
	handle := must(t, "", "get", "volumesnapshotcontent", "-o",
		`jsonpath={.items[?(@.spec.volumeSnapshotRef.name=="snap")].status.snapshotHandle}`)
	apply(t, `
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshotContent
metadata: {name: proof-imported}
spec:
  deletionPolicy: Retain
  driver: minihostpath.csi.cairn.local
  volumeSnapshotClassName: minihostpath
  source: {snapshotHandle: `+handle+`}
  volumeSnapshotRef: {name: imported, namespace: `+ns+`}
---
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshot
metadata: {name: imported}
spec: {volumeSnapshotClassName: minihostpath, source: {volumeSnapshotContentName: proof-imported}}
`)
	field(t, 60*time.Second, "volumesnapshot/imported", "{.status.readyToUse}", "true")
	must(t, "", "delete", "volumesnapshot/imported", "volumesnapshotcontent/proof-imported")
}

func cloneVolume(t *testing.T) {
	apply(t, `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: clone}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 64Mi}}
  dataSource: {kind: PersistentVolumeClaim, name: data}
`+"---"+job("clone-reader", "clone", "cat /data/file"))
	field(t, 60*time.Second, "job/clone-reader", "{.status.succeeded}", "1")
	equal(t, must(t, "", "logs", "job/clone-reader"), "spoiled")
}

// pointInTime takes snapshots and a clone from under an application that writes
// paired files. Only a point in time has whole pairs.
func pointInTime(t *testing.T) {
	if kind := must(t, "", "get", "csidriver", "minihostpath.csi.cairn.local", "-o",
		`jsonpath={.metadata.annotations.cairn\.local/snapshots}`); kind != "point-in-time" {
		t.Skipf("snapshots of this cluster are %s: clusterctl up says why", kind)
	}
	apply(t, strings.Replace(rootPod("pairs", "pairs", ""), "args: [idle]", "args: [pairs, /data]", 1))
	eventually(t, 60*time.Second, "pairs", func() error {
		_, err := kubectl("", "exec", "pairs", "--", "/toolbox", "cat", "/data/a/0000")
		return err
	})
	sources := map[string]string{"pairs-clone": "dataSource: {kind: PersistentVolumeClaim, name: pairs}"}
	for _, name := range []string{"pairs-1", "pairs-2"} {
		apply(t, `
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshot
metadata: {name: `+name+`}
spec: {volumeSnapshotClassName: minihostpath, source: {persistentVolumeClaimName: pairs}}
`)
		field(t, 60*time.Second, "volumesnapshot/"+name, "{.status.readyToUse}", "true")
		sources[name] = "dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: " + name + "}"
	}
	for name, source := range sources {
		apply(t, rootPod(name, name, source))
	}
	for name := range sources {
		field(t, 60*time.Second, "pod/"+name, "{.status.phase}", "Running")
		t.Log(name, must(t, "", "exec", name, "--", "/toolbox", "check-pairs", "/data"))
	}
	must(t, "", "delete", "pod", "pairs", "--now")
}

// hardCases compares a volume with what comes back from its snapshot, in all
// that a backup has to keep.
func hardCases(t *testing.T) {
	apply(t, rootPod("hard", "hard", ""))
	field(t, 60*time.Second, "pod/hard", "{.status.phase}", "Running")
	must(t, "", "exec", "hard", "--", "/toolbox", "fixture", "/data/fixture")
	want := must(t, "", "exec", "hard", "--", "/toolbox", "manifest", "/data/fixture")
	apply(t, `
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshot
metadata: {name: hard}
spec: {volumeSnapshotClassName: minihostpath, source: {persistentVolumeClaimName: hard}}
`)
	field(t, 60*time.Second, "volumesnapshot/hard", "{.status.readyToUse}", "true")
	apply(t, rootPod("restored-hard", "restored-hard",
		"dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: hard}"))
	field(t, 60*time.Second, "pod/restored-hard", "{.status.phase}", "Running")
	equal(t, must(t, "", "exec", "restored-hard", "--", "/toolbox", "manifest", "/data/fixture"), want)

	// The same by a stream through the API server.
	apply(t, rootPod("copy", "copy", ""))
	field(t, 60*time.Second, "pod/copy", "{.status.phase}", "Running")
	pipe := exec.CommandContext(t.Context(), "sh", "-c", `kubectl -n "$1" exec hard -- /toolbox tar /data/fixture |
		kubectl -n "$1" exec -i copy -- /toolbox untar /data`, "sh", ns)
	if out, err := pipe.CombinedOutput(); err != nil {
		t.Fatalf("copy by a tar stream: %v: %s", err, out)
	}
	equal(t, must(t, "", "exec", "copy", "--", "/toolbox", "manifest", "/data"), want)
}

// rootPod is a claim and an idle pod that runs as root with it.
func rootPod(name, claim, source string) string {
	return `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: ` + claim + `}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 64Mi}}
  ` + source + `
---
apiVersion: v1
kind: Pod
metadata: {name: ` + name + `}
spec:
  containers: [{name: c, image: IMAGE, args: [idle], volumeMounts: [{name: data, mountPath: /data}]}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: ` + claim + `}}]
`
}
