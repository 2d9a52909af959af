package e2e

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// TestStorages backs up to and restores from the storages that TestSpine does not use: a volume of the namespace, and a
// bucket whose BackupStorage, key and encryption password are in another namespace.
func TestStorages(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	t.Run("a volume", func(t *testing.T) {
		t.Parallel()
		const namespace = "storage-local"
		freshNamespace(t, bed, namespace, nil)
		applyTo(t, bed, namespace, claimManifest("store")+"---"+`
apiVersion: v1
kind: Secret
metadata: {name: encryption}
stringData: {password: a password for this test}
---
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupStorage
metadata: {name: store}
spec:
  storage:
    provider: local
    local:
      persistentVolumeClaim: {claimName: store}
      subPath: backups
`)
		backUpAndRestore(t, bed, namespace, "{name: store}", "{name: encryption}")
	})
	t.Run("a bucket of another namespace", func(t *testing.T) {
		t.Parallel()
		const namespace, home = "storage-user", "storage-home"
		freshNamespace(t, bed, namespace, map[string]string{})
		freshNamespace(t, bed, home, nil)
		spineSecrets(t, bed, home)
		applyTo(t, bed, home, storageManifest("s3", "storages-"+started, "s3-credentials"))
		refused := configurationOn(t, bed, namespace, "{name: s3, namespace: "+home+"}",
			"{name: encryption, namespace: "+home+"}")
		waitReady(t, bed, refused, metav1.ConditionFalse, v1alpha1.ReasonStorageNotAllowed)

		_, err := kubectl(t, bed, "", "patch", "backupstorage", "s3", "-n", home, "--type=merge", "-p",
			`{"spec":{"usagePolicy":{"allowedNamespaces":{"from":"Selector","selector":{"matchLabels":{"kubernetes.io/metadata.name":"storage-user"}}}}}}`)
		g := NewWithT(t)
		g.Expect(err).NotTo(HaveOccurred())
		_, err = kubectl(t, bed, "", "annotate", "secret", "encryption", "-n", home, v1alpha1.AnnotationShared+"=true")
		g.Expect(err).NotTo(HaveOccurred())
		backUpAndRestore(t, bed, namespace, "{name: s3, namespace: "+home+"}",
			"{name: encryption, namespace: "+home+"}")

		var secrets corev1.SecretList
		g.Expect(bed.Client.List(t.Context(), &secrets, client.InNamespace(namespace))).To(Succeed())
		for _, secret := range secrets.Items {
			g.Expect(secret.OwnerReferences).NotTo(BeEmpty(), "what was copied goes with the session: "+secret.Name)
		}
	})
}

// configurationOn applies a BackupConfiguration of the volume data.
func configurationOn(
	t *testing.T, bed *testbed.Testbed, namespace, storage, encryption string,
) *v1alpha1.BackupConfiguration {
	t.Helper()
	applyTo(t, bed, namespace, claimManifest("data")+`
---
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupConfiguration
metadata: {name: data}
spec:
  target: {kind: PersistentVolumeClaim, name: data}
  backends:
  - {name: main, storageRef: `+storage+`}
  sessions:
  - name: manual
    addon: {name: pvc-addon, tasks: [{name: logical-backup}]}
    repositories:
    - {name: data, backend: main, directory: /`+namespace+`/data, encryptionSecret: `+encryption+`}
`)
	return &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "data"}}
}

// backUpAndRestore fills the volume data, backs it up, restores it into another volume and compares the two.
func backUpAndRestore(t *testing.T, bed *testbed.Testbed, namespace, storage, encryption string) {
	t.Helper()
	g := NewWithT(t)
	configuration := configurationOn(t, bed, namespace, storage, encryption)
	var original, restored string
	pod := testbed.VolumePod{Namespace: namespace, Name: "toolbox", Claim: "data", User: 65532}
	g.Expect(bed.WithVolumePod(t.Context(), pod, func(ctx contextT) error {
		if _, err := bed.Exec(ctx, namespace, pod.Name, nil, "/toolbox", "write", "/data/a file",
			"with text"); err != nil {
			return err
		}
		var err error
		original, err = bed.Exec(ctx, namespace, pod.Name, nil, "/toolbox", "manifest", "--skip-root", "/data")
		return err
	})).To(Succeed())
	waitReady(t, bed, configuration, metav1.ConditionTrue, "")
	out, err := program(t, bed, "", "cairn", "trigger", "bc/data", "--session", "manual", "-n", namespace, "--wait")
	g.Expect(err).NotTo(HaveOccurred(), out)

	applyTo(t, bed, namespace, claimManifest("again"))
	out, err = program(t, bed, "", "cairn", "restore", "again", "-n", namespace, "--repository", "data", "--target",
		"again", "--wait")
	g.Expect(err).NotTo(HaveOccurred(), out)
	pod.Claim = "again"
	g.Expect(bed.WithVolumePod(t.Context(), pod, func(ctx contextT) (err error) {
		restored, err = bed.Exec(ctx, namespace, pod.Name, nil, "/toolbox", "manifest", "--skip-root", "/data")
		return err
	})).To(Succeed())
	_, entries, err := testbed.SameTree(original, restored)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entries).To(BeNumerically(">", 0))
}
