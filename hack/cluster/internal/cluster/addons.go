package cluster

import "strings"

// addonsManifest says what snapshots are, for tests that depend on it.
func (c *Cluster) addonsManifest() string {
	kind := "point-in-time"
	if c.copies != "" {
		kind = "copies"
	}
	return strings.ReplaceAll(addons, "SNAPSHOTS", kind)
}

// addons is applied once the API server is ready, after the snapshot CRDs.
const addons = `apiVersion: storage.k8s.io/v1
kind: CSIDriver
metadata:
  name: ` + driverName + `
  annotations: {cairn.local/snapshots: SNAPSHOTS}
spec:
  attachRequired: false
  podInfoOnMount: false
  fsGroupPolicy: File
  volumeLifecycleModes: [Persistent]
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: minihostpath
  annotations: {storageclass.kubernetes.io/is-default-class: "true"}
provisioner: ` + driverName + `
volumeBindingMode: WaitForFirstConsumer
reclaimPolicy: Delete
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: minihostpath-immediate}
provisioner: ` + driverName + `
volumeBindingMode: Immediate
reclaimPolicy: Delete
---
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshotClass
metadata:
  name: minihostpath
  annotations: {snapshot.storage.kubernetes.io/is-default-class: "true"}
driver: ` + driverName + `
deletionPolicy: Delete
---
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshotClass
metadata: {name: minihostpath-retain}
driver: ` + driverName + `
deletionPolicy: Retain
`
