package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// volumeApp is a namespace with the filled volume "data", the credentials of spineSecrets and the ready BackupStorage
// "s3".
type volumeApp struct {
	bed       *testbed.Testbed
	namespace string
	files     int // in the volume
}

// deployVolumeApp makes a volumeApp with files of this many bytes each. Nothing can compress or deduplicate their
// content.
func deployVolumeApp(t *testing.T, bed *testbed.Testbed, namespace string, files, bytes int) *volumeApp {
	t.Helper()
	a := &volumeApp{bed: bed, namespace: namespace, files: files}
	scratchNamespace(t, bed, namespace)
	spineSecrets(t, bed, namespace)
	applyTo(t, bed, namespace, claimManifest("data")+"---\n"+storageManifest("s3", a.prefix(), "s3-credentials"))
	a.fill(t, "data", files, bytes)
	waitReady(t, bed, a.storage("s3"), metav1.ConditionTrue, "")
	return a
}

// fill writes such files into a volume, as user 65532.
func (a *volumeApp) fill(t *testing.T, claim string, files, bytes int) {
	t.Helper()
	g, local := NewWithT(t), t.TempDir()
	random := rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32.32s", a.namespace))))
	content := make([]byte, bytes)
	for i := range files {
		_, _ = random.Read(content) // never fails
		g.Expect(os.WriteFile(filepath.Join(local, fmt.Sprintf("file-%04d", i)), content, 0o644)).To(Succeed())
	}
	filler := testbed.VolumePod{Namespace: a.namespace, Name: "filler", Claim: claim, User: 65532}
	g.Expect(a.bed.WithVolumePod(t.Context(), filler, func(ctx contextT) error {
		return a.bed.Fill(ctx, a.namespace, filler.Name, local, "/data")
	})).To(Succeed())
}

// scratchNamespace makes a namespace anew. It is deleted with the test, unless the test failed.
func scratchNamespace(t *testing.T, bed *testbed.Testbed, name string) {
	t.Helper()
	freshNamespace(t, bed, name, nil)
	t.Cleanup(func() {
		if t.Failed() {
			return
		}
		err := bed.Client.Delete(afterTest(t), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
		NewWithT(t).Expect(client.IgnoreNotFound(err)).To(Succeed())
	})
}

// prefix in the bucket. It holds the time at which the test started, so that a second run on the same cluster does not
// find the data of the first.
func (a *volumeApp) prefix() string { return a.namespace + "-" + started }

func (a *volumeApp) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: a.namespace, Name: name}
}

func (a *volumeApp) storage(name string) *v1alpha1.BackupStorage {
	return &v1alpha1.BackupStorage{ObjectMeta: a.meta(name)}
}

func (a *volumeApp) repository(name string) *v1alpha1.Repository {
	return &v1alpha1.Repository{ObjectMeta: a.meta(name)}
}

func (a *volumeApp) configuration(name string) *v1alpha1.BackupConfiguration {
	return &v1alpha1.BackupConfiguration{ObjectMeta: a.meta(name)}
}

// configure makes a BackupConfiguration with a repository of its own name, which it waits for.
func (a *volumeApp) configure(t *testing.T, name string) {
	t.Helper()
	applyTo(t, a.bed, a.namespace, configurationManifest(name))
	waitReady(t, a.bed, a.configuration(name), metav1.ConditionTrue, "")
}

// configureSlow is configure with a mover that has a quarter of a processor, so that there is time to disturb it.
func (a *volumeApp) configureSlow(t *testing.T, name string) {
	t.Helper()
	applyTo(t, a.bed, a.namespace, strings.Replace(configurationManifest(name), wholeVolume, slowly("250m"), 1))
	waitReady(t, a.bed, a.configuration(name), metav1.ConditionTrue, "")
}

// start creates a BackupSession of a configuration by hand and returns its name.
func (a *volumeApp) start(t *testing.T, configuration string) string {
	t.Helper()
	now := metav1.Now()
	session := &v1alpha1.BackupSession{
		ObjectMeta: a.meta(fmt.Sprintf("%s-%d", configuration, now.UnixNano())),
		Spec: v1alpha1.BackupSessionSpec{
			Invoker: v1alpha1.TypedLocalObjectReference{
				APIGroup: v1alpha1.Group, Kind: v1alpha1.BackupConfigurationKind, Name: configuration,
			},
			Session: "manual", ScheduledTime: &now,
		},
	}
	NewWithT(t).Expect(a.bed.Client.Create(t.Context(), session)).To(Succeed())
	return session.Name
}

// ofSession selects what was made for a BackupSession.
func (a *volumeApp) ofSession(session string) []client.ListOption {
	return []client.ListOption{
		client.InNamespace(a.namespace), client.MatchingLabels{v1alpha1.LabelBackupSession: session},
	}
}

// snapshot is the only Snapshot of a session.
func (a *volumeApp) snapshot(t *testing.T, session string) *v1alpha1.Snapshot {
	t.Helper()
	g := NewWithT(t)
	var list v1alpha1.SnapshotList
	g.Expect(a.bed.Client.List(t.Context(), &list, a.ofSession(session)...)).To(Succeed())
	g.Expect(list.Items).To(HaveLen(1), "one Snapshot for the only target and repository")
	return &list.Items[0]
}

// waitReading waits until the mover of a session reads the volume.
func (a *volumeApp) waitReading(t *testing.T, session string) {
	t.Helper()
	NewWithT(t).Expect(testbed.Poll(t.Context(), patience, "the mover of "+session+" to read",
		func(ctx contextT) (bool, error) {
			var list v1alpha1.SnapshotList
			if err := a.bed.Client.List(ctx, &list, a.ofSession(session)...); err != nil || len(list.Items) == 0 {
				return false, err
			}
			for _, c := range list.Items[0].Status.Components {
				if c.Phase == v1alpha1.SnapshotRunning {
					return true, nil
				}
			}
			return false, nil
		})).To(Succeed())
}

// inBackend lists what kopia itself has in the repository of a configuration, read past Cairn's objects.
func (a *volumeApp) inBackend(t *testing.T, configuration string) []repository.Snapshot {
	t.Helper()
	g := NewWithT(t)
	engine, err := kopia.Driver{}.Open(t.Context(), repository.Repository{
		Storage:  a.backend(t).Sub(strings.TrimSuffix(layout.EnginePath(configuration), "/")),
		Password: "canary-encryption-password", WorkDir: t.TempDir(), ReadOnly: true,
	})
	g.Expect(err).NotTo(HaveOccurred())
	snapshots, err := engine.List(t.Context(), "")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(engine.Close(t.Context())).To(Succeed())
	return snapshots
}

// backend is the storage "s3" as this machine reaches it.
func (a *volumeApp) backend(t *testing.T) repository.Storage {
	t.Helper()
	host, plain, err := repository.ParseEndpoint(a.bed.S3.HostURL)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return repository.Storage{S3: &repository.S3{
		Endpoint: host, Plain: plain, Bucket: testbed.Bucket, Prefix: a.prefix(), AccessKey: a.bed.S3.AccessKey,
		SecretKey: a.bed.S3.SecretKey, Egress: egress.Anywhere(),
	}}
}

func storageManifest(name, prefix, secret string) string {
	return `
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupStorage
metadata: {name: ` + name + `}
spec:
  storage:
    provider: s3
    s3:
      endpoint: http://s3.cairn-testbed.svc
      bucket: backups
      prefix: ` + prefix + `
      secretName: ` + secret + `
`
}

// wholeVolume is how configurationManifest backs up.
const wholeVolume = "addon: {name: pvc-addon, tasks: [{name: logical-backup}]}"

// slowly is wholeVolume with this limit on the mover's processor time. With a quarter it reads about 40 MiB a second.
func slowly(cpu string) string {
	return "addon: {name: pvc-addon, tasks: [{name: logical-backup}], jobTemplate: {spec: {resources: {limits: {cpu: " +
		cpu + "}}}}}"
}

// configurationManifest backs the volume data up into the repository and directory of the configuration's own name.
func configurationManifest(name string) string {
	return `
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupConfiguration
metadata: {name: ` + name + `}
spec:
  target: {kind: PersistentVolumeClaim, name: data}
  backends:
  - {name: main, storageRef: {name: s3}}
  sessions:
  - name: manual
    ` + wholeVolume + `
    repositories: [{name: ` + name + `, backend: main, directory: ` + name + `, encryptionSecret: {name: encryption}}]
`
}

// ledgerManifest records the runs and restores of one namespace, in a repository of its name.
func ledgerManifest(bed *testbed.Testbed, name, namespace, secret string) string {
	return `
apiVersion: backup.cairn.dev/v1alpha1
kind: Ledger
metadata: {name: ` + name + `}
spec:
  url: ` + bed.Git.URL + `/` + namespace + `-` + started + `.git
  clusterName: e2e
  secretRef: {name: ` + secret + `}
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ` + namespace + `}}
`
}
