package e2e

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

func badStorages(t *testing.T, bed *testbed.Testbed) {
	const namespace = "bad-storage"
	g := NewWithT(t)
	scratchNamespace(t, bed, namespace)
	spineSecrets(t, bed, namespace)
	for name, data := range map[string]map[string][]byte{
		"wrong-key": {
			v1alpha1.S3AccessKeyID: []byte("nobody"), v1alpha1.S3SecretAccessKey: []byte(bed.S3.SecretKey),
		},
		"wrong-secret": {
			v1alpha1.S3AccessKeyID: []byte(bed.S3.AccessKey), v1alpha1.S3SecretAccessKey: []byte("canary-wrong-secret"),
		},
		"half": {v1alpha1.S3AccessKeyID: []byte(bed.S3.AccessKey)},
	} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: data}
		g.Expect(bed.Client.Create(t.Context(), secret)).To(Succeed())
	}
	at := func(name, secret, old, new string) string {
		return strings.Replace(storageManifest(name, namespace+"-"+started+"/"+name, secret), old, new, 1)
	}
	rows := []struct{ name, manifest, reason, message string }{
		{"no-bucket", at("no-bucket", "s3-credentials", "bucket: backups",
			"bucket: nowhere"), v1alpha1.ReasonBucketNotFound, "does not exist"},
		{"wrong-key", at("wrong-key", "wrong-key", "",
			""), v1alpha1.ReasonBadCredentials, "the storage refused the credential"},
		{"wrong-secret", at("wrong-secret", "wrong-secret", "",
			""), v1alpha1.ReasonBadCredentials, "the storage refused the credential"},
		{"host-down", at("host-down", "s3-credentials", "s3.cairn-testbed.svc",
			"s3.nowhere.svc.cluster.local"), v1alpha1.ReasonUnreachable, "can't be reached"},
		{"no-secret", at("no-secret", "nowhere", "",
			""), v1alpha1.ReasonBackendSecretNotAvailable, "bad-storage/nowhere"},
		{"half", at("half", "half", "", ""), v1alpha1.ReasonBackendSecretNotAvailable, v1alpha1.S3SecretAccessKey},
	}
	manifests := ""
	for _, row := range rows {
		manifests += "---" + row.manifest
	}
	applyTo(t, bed, namespace, manifests)
	began := time.Now()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			g := NewWithT(t)
			storage := &v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: row.name}}
			waitFault(t, bed, storage, time.Minute-time.Since(began), row.reason, row.message)
			g.Expect(storage.Status.Phase).To(Equal(v1alpha1.PhaseNotReady))
			g.Expect(apimeta.FindStatusCondition(storage.Status.Conditions, "Ready").Message).
				NotTo(ContainSubstring("canary-wrong-secret"))
			t.Logf("said %s after the storage was made", time.Since(storage.CreationTimestamp.Time).Round(time.Second))
		})
	}
	t.Run("mended Secrets are found", func(t *testing.T) {
		setSecret(t, bed, namespace, "wrong-secret", v1alpha1.S3SecretAccessKey, bed.S3.SecretKey)
		setSecret(t, bed, namespace, "half", v1alpha1.S3SecretAccessKey, bed.S3.SecretKey)
		began := time.Now()
		for _, name := range []string{"wrong-secret", "half"} {
			waitReady(t, bed, &v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}},
				metav1.ConditionTrue, "")
			t.Logf("%s is ready %s after it was mended", name, time.Since(began).Round(time.Second))
		}
	})
}

func badRepositories(t *testing.T, bed *testbed.Testbed) {
	a := deployVolumeApp(t, bed, "bad-repository", 3, 1000)
	setup := func(name, path, secret string) string {
		return `
---
apiVersion: backup.cairn.dev/v1alpha1
kind: Repository
metadata: {name: ` + name + `}
spec:
  appRef: {kind: PersistentVolumeClaim, name: data}
  storageRef: {name: s3}
  path: ` + path + `
  encryptionSecret: {name: ` + secret + `}
`
	}
	other := &corev1.Secret{
		ObjectMeta: a.meta("other"),
		Data:       map[string][]byte{v1alpha1.EncryptionPassword: []byte("canary-other-password")},
	}
	NewWithT(t).Expect(bed.Client.Create(t.Context(), other)).To(Succeed())
	applyTo(t, bed, a.namespace, setup("existing", "existing", "encryption")+setup("elder", "/a", "encryption")+"---"+
		configurationManifest("run"))
	for _, name := range []string{"existing", "elder", "run"} {
		waitReady(t, bed, a.repository(name), metav1.ConditionTrue, "")
	}

	t.Run("two repositories on one directory", func(t *testing.T) {
		applyTo(t, bed, a.namespace, setup("younger", "a/", "encryption"))
		waitFault(t, bed, a.repository("younger"), 30*time.Second, v1alpha1.ReasonDirectoryTaken,
			"Repository bad-repository/elder has this directory already")
		waitReady(t, bed, a.repository("elder"), metav1.ConditionTrue, "")
	})
	t.Run("an existing repository has another password", func(t *testing.T) {
		g := NewWithT(t)
		g.Expect(bed.Client.Delete(t.Context(), a.repository("existing"))).To(Succeed())
		// a new Repository made before that would go with the old one
		waitGone(t.Context(), t, bed, a.repository("existing"), patience)
		applyTo(t, bed, a.namespace, setup("existing", "existing", "other"))
		waitFault(t, bed, a.repository("existing"), patience, v1alpha1.ReasonWrongPassword,
			"does not open the repository")
		setSecret(t, bed, a.namespace, "other", v1alpha1.EncryptionPassword, "canary-encryption-password")
		waitReady(t, bed, a.repository("existing"), metav1.ConditionTrue, "")
	})
	t.Run("the password changes below a repository in use", func(t *testing.T) {
		g := NewWithT(t)
		setSecret(t, bed, a.namespace, "encryption", v1alpha1.EncryptionPassword, "canary-other-password")
		failed := endOf(t, bed, a.namespace, a.start(t, "run"))
		g.Expect([]string{string(failed.Status.Phase), failed.Status.Reason}).
			To(Equal([]string{"Failed", v1alpha1.ReasonPasswordChanged}))
		waitFault(t, bed, failed, 10*time.Second, v1alpha1.ReasonPasswordChanged, "restore that password")
		waitFault(t, bed, a.repository("run"), patience, v1alpha1.ReasonPasswordChanged, "restore that password")
		g.Expect(a.snapshot(t, failed.Name).Status.Phase).To(Equal(v1alpha1.SnapshotFailed))
		setSecret(t, bed, a.namespace, "encryption", v1alpha1.EncryptionPassword, "canary-encryption-password")
		again := endOf(t, bed, a.namespace, a.start(t, "run"))
		g.Expect(again.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", again.Status.Targets)
		g.Expect(a.inBackend(t, "run")).To(HaveLen(1))
	})
}

func badConfigurations(t *testing.T, bed *testbed.Testbed) {
	a := deployVolumeApp(t, bed, "bad-configuration", 3, 1000)
	with := func(name, old, new string) string { return strings.Replace(configurationManifest(name), old, new, 1) }
	rows := []struct{ name, old, new, reason, message string }{
		{
			"no-storage", "storageRef: {name: s3}", "storageRef: {name: nowhere}", v1alpha1.ReasonStorageNotFound,
			"BackupStorage bad-configuration/nowhere does not exist",
		},
		{"no-addon", "pvc-addon", "pcv-addon", v1alpha1.ReasonAddonNotFound, `the Addon "pcv-addon" does not exist`},
		{"no-task", "logical-backup", "physical-backup", v1alpha1.ReasonTaskNotFound, "it has logical-backup"},
		{
			"no-claim", "Claim, name: data", "Claim, name: nowhere", v1alpha1.ReasonTargetNotFound,
			"PersistentVolumeClaim bad-configuration/nowhere does not exist",
		},
		{
			"never-fires", "- name: manual", "- name: manual\n    scheduler: {schedule: \"0 0 30 2 *\"}",
			v1alpha1.ReasonInvalidSchedule, "never fires",
		},
		{
			"no-cron", "- name: manual", "- name: manual\n    scheduler: {schedule: \"every day\"}",
			v1alpha1.ReasonInvalidSchedule, "invalid schedule",
		},
	}
	manifests := ""
	for _, row := range rows {
		manifests += "---" + with(row.name, row.old, row.new)
	}
	applyTo(t, bed, a.namespace, manifests)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			waitFault(t, bed, a.configuration(row.name), 30*time.Second, row.reason, row.message)
		})
	}
	t.Run("no CronJob was made", func(t *testing.T) {
		var cronJobs batchv1.CronJobList
		g := NewWithT(t)
		g.Expect(bed.Client.List(t.Context(), &cronJobs, client.InNamespace(a.namespace))).To(Succeed())
		g.Expect(cronJobs.Items).To(BeEmpty())
	})
	t.Run("the API server refuses what contradicts itself", func(t *testing.T) {
		for name, tc := range map[string]struct{ manifest, message string }{
			"no backend": {
				with("no-backend", "backend: main", "backend: nowhere"),
				"sessions[*].repositories[*].backend must be a name of spec.backends",
			},
			"a batch with two targets of one name": {
				strings.Replace(spineBatch, "{name: web, appRef", "{name: files, appRef", 1),
				`name="files"`,
			},
		} {
			t.Run(name, func(t *testing.T) {
				_, err := kubectl(t, bed, tc.manifest, "apply", "--server-side", "-n", a.namespace, "-f", "-")
				NewWithT(t).Expect(err).To(MatchError(ContainSubstring(tc.message)))
			})
		}
	})
	t.Run("sessions of them", func(t *testing.T) {
		ends := map[string]string{
			"no-addon": v1alpha1.ReasonAddonNotFound, "no-task": v1alpha1.ReasonTaskNotFound,
			"no-claim": v1alpha1.ReasonTargetNotFound,
		}
		sessions := map[string]string{}
		for name := range ends {
			sessions[name] = a.start(t, name)
		}
		waiting := &v1alpha1.BackupSession{ObjectMeta: a.meta(a.start(t, "no-storage"))}
		for name, reason := range ends {
			t.Run(name, func(t *testing.T) {
				g := NewWithT(t)
				ended := endOf(t, bed, a.namespace, sessions[name])
				g.Expect([]string{string(ended.Status.Phase), ended.Status.Reason}).
					To(Equal([]string{"Failed", reason}))
				waitFault(t, bed, ended, 10*time.Second, reason, "")
				g.Expect(ended.Status.Snapshots).To(BeEmpty())
			})
		}
		t.Run("no-storage", func(t *testing.T) {
			waitReady(t, bed, waiting, metav1.ConditionUnknown, v1alpha1.ReasonRepositoryNotReady,
				func() bool { return waiting.Status.Phase == v1alpha1.BackupSessionPending })
			g := NewWithT(t)
			g.Expect(apimeta.FindStatusCondition(waiting.Status.Conditions, "Ready").Message).To(
				ContainSubstring("waiting for target no-storage: there is no Repository no-storage: BackupStorage " +
					"bad-configuration/nowhere does not exist"))
		})
	})
}
