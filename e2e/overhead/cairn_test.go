package overhead

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// cairnPolicy backs the namespace's volume up in two sessions, one for each sort of trigger. %[1]s is the endpoint,
// %[2]s the bucket, %[3]s and %[4]s are the schedules.
const cairnPolicy = `
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupStorage
metadata: {name: s3, namespace: overhead-cairn}
spec:
  storage:
    provider: s3
    s3: {endpoint: %[1]s, bucket: %[2]s, prefix: overhead, secretName: s3}
---
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupConfiguration
metadata: {name: uploads, namespace: overhead-cairn}
spec:
  target: {kind: PersistentVolumeClaim, name: uploads}
  backends:
  - {name: main, storageRef: {name: s3}}
  sessions:
  - name: cronjob
    scheduler: {schedule: "%[3]s"}
    addon: {name: pvc-addon, tasks: [{name: logical-backup}]}
    repositories:
    - {name: uploads, backend: main, directory: /uploads, encryptionSecret: {name: encryption}}
  - name: controller
    scheduler: {schedule: "%[4]s", type: Controller}
    addon: {name: pvc-addon, tasks: [{name: logical-backup}]}
    repositories:
    - {name: uploads, backend: main, directory: /uploads, encryptionSecret: {name: encryption}}
`

// cairnRuns returns the runs of one session, by name, and whether each has succeeded.
func cairnRuns(session string) func(context.Context, client.Client) (map[string]bool, error) {
	return func(ctx context.Context, c client.Client) (map[string]bool, error) {
		var list v1alpha1.BackupSessionList
		if err := c.List(ctx, &list, client.InNamespace("overhead-cairn")); err != nil {
			return nil, err
		}
		runs := map[string]bool{}
		for _, s := range list.Items {
			if s.Spec.Session != session {
				continue
			}
			if s.Status.Phase.Terminal() && s.Status.Phase != v1alpha1.BackupSessionSucceeded {
				return nil, fmt.Errorf("BackupSession %s is %s: %s", s.Name, s.Status.Phase, s.Status.Reason)
			}
			runs[s.Name] = s.Status.Phase == v1alpha1.BackupSessionSucceeded
		}
		return runs, nil
	}
}
