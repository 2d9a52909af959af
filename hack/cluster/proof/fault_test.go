package proof

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// snapshotOf asks for a snapshot of the volume data, of a class of its own name with these parameters.
func snapshotOf(t *testing.T, name, parameters string) {
	t.Helper()
	class(t, name, parameters)
	apply(t, `
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshot
metadata: {name: `+name+`}
spec: {volumeSnapshotClassName: proof-`+name+`, source: {persistentVolumeClaimName: data}}
`)
}

// class makes a class that goes with the test, or gives it other parameters.
func class(t *testing.T, name, parameters string) {
	t.Helper()
	apply(t, `
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshotClass
metadata: {name: proof-`+name+`}
driver: minihostpath.csi.cairn.local
deletionPolicy: Delete
parameters: {`+parameters+`}
`)
	t.Cleanup(func() { must(t, "", "delete", "volumesnapshotclass", "proof-"+name, "--ignore-not-found") })
}

// errorOf waits for a snapshot's error to hold a text.
func errorOf(t *testing.T, name, want string) {
	t.Helper()
	eventually(t, 60*time.Second, "error of "+name, func() error {
		got, err := kubectl("", "get", "volumesnapshot/"+name, "-o", "jsonpath={.status.error.message}")
		if err == nil && !strings.Contains(got, want) {
			err = fmt.Errorf("is %q", got)
		}
		return err
	})
}

// faultySnapshots shows what a class can ask the driver for, and that all of it can be deleted.
func faultySnapshots(t *testing.T) {
	snapshotOf(t, "late", "readyAfter: 2s")
	snapshotOf(t, "twice", `failTimes: "2"`)
	snapshotOf(t, "never", `fail: "true"`)
	snapshotOf(t, "hangs", `hang: "true"`)
	errorOf(t, "never", "requested by the class parameter fail")
	field(t, 60*time.Second, "volumesnapshot/late", "{.status.readyToUse}", "true")
	field(t, 60*time.Second, "volumesnapshot/twice", "{.status.readyToUse}", "true")
	errorOf(t, "hangs", "DeadlineExceeded")
	equal(t, must(t, "", "get", "volumesnapshot/hangs", "-o", "jsonpath={.status.readyToUse}"), "false")

	// An unanswered call may still create its snapshot. So the sidecar deletes this VolumeSnapshot only after an
	// answer.
	class(t, "hangs", `hang: "false"`)
	field(t, 60*time.Second, "volumesnapshot/hangs", "{.status.readyToUse}", "true")
	must(t, "", "delete", "volumesnapshots", "late", "twice", "never", "hangs", "--timeout=60s")
}

// driverGoesAway shows that a snapshot waits for a driver that is gone, and is taken when it is back.
func driverGoesAway(t *testing.T) {
	component := func(verb string) {
		t.Helper()
		if out, err := exec.Command("clusterctl", verb, "minihostpath").CombinedOutput(); err != nil {
			t.Fatalf("%s the driver: %v: %s", verb, err, out)
		}
	}
	t.Cleanup(func() { component("start") }) // nothing can be unmounted without it
	component("stop")
	snapshotOf(t, "waits", "")
	time.Sleep(5 * time.Second) // as long as snapshots take otherwise, many times over
	equal(t, must(t, "", "get", "volumesnapshot/waits", "-o", "jsonpath={.status.readyToUse}"), "false")
	must(t, "", "exec", "deploy/app", "--", "/toolbox", "cat", "/data/file") // what is mounted stays
	component("start")
	field(t, 60*time.Second, "volumesnapshot/waits", "{.status.readyToUse}", "true")
	must(t, "", "delete", "volumesnapshot", "waits", "--timeout=60s")
}
