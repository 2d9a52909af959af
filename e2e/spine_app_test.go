package e2e

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// spineNamespace allows its movers to run as root: its files have many owners, and its DaemonSet has a host path.
const spineNamespace = "spine"

// spineApp is one of each sort of target.
const spineApp = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: files}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: pages}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: uploads}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: cairn.local/toolbox:dev
        args: [idle]
        securityContext: {runAsUser: 0}
        volumeMounts:
        - {name: pages, mountPath: /pages}
        - {name: uploads, mountPath: /uploads}
      volumes:
      - {name: pages, persistentVolumeClaim: {claimName: pages}}
      - {name: uploads, persistentVolumeClaim: {claimName: uploads}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 2
  serviceName: db
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: db
        image: cairn.local/toolbox:dev
        args: [idle]
        securityContext: {runAsUser: 1001, runAsGroup: 1001}
        volumeMounts:
        - {name: data, mountPath: /data}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec:
      accessModes: [ReadWriteOnce]
      resources: {requests: {storage: 1Gi}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: agent
        image: cairn.local/toolbox:dev
        args: [idle]
        securityContext: {runAsUser: 0}
        volumeMounts:
        - {name: state, mountPath: /state}
      volumes:
      - name: state
        hostPath: {path: /tmp/cairn-e2e-agent, type: DirectoryOrCreate}
`

// deploySpineApp deploys it and puts hard cases for backups into its volumes.
func deploySpineApp(t *testing.T, bed *testbed.Testbed) {
	t.Helper()
	g := NewWithT(t)
	freshNamespace(t, bed, spineNamespace, map[string]string{v1alpha1.AnnotationPrivilegedMovers: "true"})
	applyTo(t, bed, spineNamespace, spineApp)
	filler := testbed.VolumePod{Namespace: spineNamespace, Name: "filler", Claim: "files"}
	g.Expect(bed.WithVolumePod(t.Context(), filler, func(ctx contextT) error {
		_, err := bed.Exec(ctx, spineNamespace, "filler", nil, "/toolbox", "fixture", "/data")
		return err
	})).To(Succeed())
	web, agent := podOf(t, bed, spineNamespace, "web"), podOf(t, bed, spineNamespace, "agent")
	for _, write := range []struct{ pod, file, text string }{
		{web, "/pages/index.html", "pages"},
		{web, "/uploads/picture", "uploads"},
		{"db-0", "/data/rows", "zero"},
		{"db-1", "/data/rows", "one"},
		{agent, "/state/seen", "node"},
	} {
		g.Expect(bed.WaitPod(t.Context(), client.ObjectKey{Namespace: spineNamespace, Name: write.pod})).To(Succeed())
		_, err := bed.Exec(t.Context(), spineNamespace, write.pod, nil, "/toolbox", "write", write.file, write.text)
		g.Expect(err).NotTo(HaveOccurred())
	}
	spineSecrets(t, bed, spineNamespace)
}

// spineSecrets makes the Secrets of the storage's credential, the encryption password and the Git account.
func spineSecrets(t *testing.T, bed *testbed.Testbed, namespace string) {
	t.Helper()
	g := NewWithT(t)
	for name, data := range map[string]map[string][]byte{
		"s3-credentials": {
			v1alpha1.S3AccessKeyID: []byte(bed.S3.AccessKey), v1alpha1.S3SecretAccessKey: []byte(bed.S3.SecretKey),
		},
		"encryption": {v1alpha1.EncryptionPassword: []byte("canary-encryption-password")},
		"git-credentials": {
			"username": []byte(bed.Git.Username), "password": []byte(bed.Git.Password),
			"identity": bed.Git.Identity, "known_hosts": bed.Git.KnownHosts,
		},
	} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: data}
		g.Expect(bed.Client.Create(t.Context(), secret)).To(Succeed())
	}
}

// spineStorage and spineBatch are the policy. The prefix holds the time at which the test started, so that a second run
// on the same cluster does not find the data of the first.
func spineStorage() string {
	return `apiVersion: backup.cairn.dev/v1alpha1
kind: BackupStorage
metadata: {name: s3}
spec:
  storage:
    provider: s3
    s3:
      endpoint: http://s3.cairn-testbed.svc
      bucket: backups
      prefix: spine-` + started + `
      secretName: s3-credentials
`
}

var started = time.Now().UTC().Format("20060102-150405")

const spineBatch = `apiVersion: backup.cairn.dev/v1alpha1
kind: BackupBatch
metadata: {name: app}
spec:
  backends:
  - {name: main, storageRef: {name: s3}}
  targets:
  - {name: files, appRef: {kind: PersistentVolumeClaim, name: files}}
  - {name: web, appRef: {apiGroup: apps, kind: Deployment, name: web}}
  - {name: db, appRef: {apiGroup: apps, kind: StatefulSet, name: db}}
  - {name: agent, appRef: {apiGroup: apps, kind: DaemonSet, name: agent}}
  sessions:
  - name: daily
    scheduler: {schedule: "30 3 29 2 *"}
    backupTimeout: 10m
    sessionHistoryLimit: 20
    targets:
    - name: files
      addon:
        name: pvc-addon
        tasks: [{name: logical-backup}]
        jobTemplate: {spec: {securityContext: {runAsUser: 0}}}
      repositories: [{name: app-files, backend: main, directory: /app/files, encryptionSecret: {name: encryption}}]
    - name: web
      addon: {name: workload-addon, tasks: [{name: logical-backup}]}
      repositories: [{name: app-web, backend: main, directory: /app/web, encryptionSecret: {name: encryption}}]
    - name: db
      addon: {name: workload-addon, tasks: [{name: logical-backup}]}
      repositories: [{name: app-db, backend: main, directory: /app/db, encryptionSecret: {name: encryption}}]
    - name: agent
      addon: {name: workload-addon, tasks: [{name: logical-backup}]}
      repositories: [{name: app-agent, backend: main, directory: /app/agent, encryptionSecret: {name: encryption}}]
`
