package e2e

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// userFunctions are Functions as a user writes them, in an image without anything of Cairn's. The last one has a
// mistake.
const userFunctions = `
apiVersion: backup.cairn.dev/v1alpha1
kind: Function
metadata: {name: e2e-export}
spec:
  image: cairn.local/shell:dev
  command: [/bin/sh, -euc]
  args:
  - |
    cd "/cairn/volumes/$COMPONENT_NAME"
    echo "${mode} export of ${targetName}, opened with $(PASSWORD) in ${region}" > "${file}"
    cat file-0000 >> "${file}"
    echo prepared > /cairn/scratch/note
---
apiVersion: backup.cairn.dev/v1alpha1
kind: Function
metadata: {name: e2e-check}
spec:
  image: cairn.local/shell:dev
  command: [/bin/sh, -euc]
  args:
  - |
    [ "$(cat /cairn/scratch/note)" = prepared ]
    for secret in /cairn/credentials /cairn/encryption /cairn/task /var/run/secrets/kubernetes.io; do
      if [ -e "$secret" ]; then echo "a step sees $secret"; exit 3; fi
    done
    if echo x 2>/dev/null > "/cairn/volumes/$COMPONENT_NAME/x"; then echo "a step can write"; exit 4; fi
---
apiVersion: backup.cairn.dev/v1alpha1
kind: Function
metadata: {name: e2e-clear}
spec:
  image: cairn.local/shell:dev
  command: [/bin/sh, -euc]
  args:
  - |
    cd "/cairn/volumes/$COMPONENT_NAME"
    [ -e broken ]
    rm -rf ./*
---
apiVersion: backup.cairn.dev/v1alpha1
kind: Function
metadata: {name: e2e-fail}
spec: {image: cairn.local/shell:dev, command: [/bin/sh, -c, "exit 3"]}
---
apiVersion: backup.cairn.dev/v1alpha1
kind: Function
metadata: {name: e2e-mistake}
spec: {image: cairn.local/shell:dev, args: ["${pasword}"]}
`

const userAddon = `
apiVersion: backup.cairn.dev/v1alpha1
kind: Addon
metadata: {name: e2e-addon}
spec:
  backupTasks:
  - name: logical-backup
    parameters:
    - {name: mode, default: full}
    - {name: file, required: true}
    steps:
    - {name: e2e-export, targetAccess: ReadWrite}
    - {name: e2e-check}
    - {name: pvc-backup, params: [{name: exclude, value: "${mode}.tmp"}]}
  - name: failing
    steps: [{name: e2e-fail}, {name: pvc-backup}]
  - name: mistaken
    steps: [{name: e2e-mistake}, {name: pvc-backup}]
  restoreTasks:
  - name: logical-backup-restore
    steps: [{name: e2e-clear}, {name: pvc-restore}]
`

// addonConfiguration backs data up with a task of the user's Addon.
func addonConfiguration(name, task string) string {
	return strings.Replace(configurationManifest(name), wholeVolume, "addon: {name: e2e-addon, tasks: ["+task+"]}", 1)
}

// TestUserAddons backs up and restores with Functions and an Addon that a user wrote, in a namespace that enforces the
// restricted Pod Security profile: a step prepares the application's volume before a backup, a step clears what is
// broken before a restore, the message of a step that fails names the step, and a mistake is reported before any pod
// starts.
func TestUserAddons(t *testing.T) {
	t.Parallel()
	const namespace = "user-addons"
	bed := deployed(t)
	a := deployVolumeApp(t, bed, namespace, 3, 1024)
	_, err := kubectl(t, bed, "", "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	applyToCluster(t, bed, userFunctions+"---"+userAddon)
	applyTo(t, bed, namespace, "apiVersion: v1\nkind: Secret\nmetadata: {name: app}\nstringData: {password: sesame}\n")
	t.Run("a step prepares the application", a.preparedBackup)
	t.Run("a step clears what is broken", a.clearedRestore)
	t.Run("a step that fails names itself", a.failingStep)
	t.Run("an unknown variable is reported before any pod starts", a.unknownVariable)
}

func (a *volumeApp) preparedBackup(t *testing.T) {
	g := NewWithT(t)
	applyTo(t, a.bed, a.namespace,
		addonConfiguration("own", `{name: LogicalBackup, params: {file: export.sql}, variables: [
      {name: region, value: eu}, {name: PASSWORD, valueFrom: {secretKeyRef: {name: app, key: password}}}]}`))
	waitReady(t, a.bed, a.configuration("own"), metav1.ConditionTrue, "")
	ended := endOf(t, a.bed, a.namespace, a.start(t, "own"))
	g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", ended.Status.Targets)
	steps := ended.Status.Resolved.Targets[0].Task.Steps
	g.Expect(steps).To(HaveLen(2), "what ran stands in status")
	g.Expect(steps[0].Function).To(Equal("e2e-export"))
	component := a.snapshot(t, ended.Name).Status.Components["pvc"]
	g.Expect(component.Files).To(BeEquivalentTo(a.files+1), "the export is in the backup")
}

func (a *volumeApp) clearedRestore(t *testing.T) {
	g := NewWithT(t)
	read := func(ctx contextT, pod string, args ...string) (string, error) {
		return a.bed.Exec(ctx, a.namespace, pod, nil, append([]string{"/toolbox"}, args...)...)
	}
	pod := testbed.VolumePod{Namespace: a.namespace, Name: "breaker", Claim: "data", User: 65532}
	g.Expect(a.bed.WithVolumePod(t.Context(), pod, func(ctx contextT) error {
		if _, err := read(ctx, pod.Name, "write", "/data/broken", "x"); err != nil {
			return err
		}
		_, err := read(ctx, pod.Name, "write", "/data/file-0001", "garbage")
		return err
	})).To(Succeed())
	claim := &corev1.PersistentVolumeClaim{}
	g.Expect(a.bed.Client.Get(t.Context(), types.NamespacedName{Namespace: a.namespace, Name: "data"}, claim)).
		To(Succeed())
	mended := `
apiVersion: backup.cairn.dev/v1alpha1
kind: RestoreSession
metadata: {name: mended}
spec:
  target: {kind: PersistentVolumeClaim, name: data}
  confirm: ` + string(claim.UID) + `
  dataSource: {repository: own, snapshot: latest}
  addon: {name: e2e-addon, tasks: [{name: logical-backup-restore}]}
`
	unasked := strings.NewReplacer("mended", "unasked", "confirm: "+string(claim.UID), "restoreTimeout: 5m").
		Replace(mended)
	applyTo(t, a.bed, a.namespace, unasked)
	waitReady(t, a.bed, &v1alpha1.RestoreSession{ObjectMeta: a.meta("unasked")}, metav1.ConditionFalse,
		v1alpha1.ReasonConfirmationMissing)
	applyTo(t, a.bed, a.namespace, mended)
	waitReady(t, a.bed, &v1alpha1.RestoreSession{ObjectMeta: a.meta("mended")}, metav1.ConditionTrue, "")
	pod.Name = "looker"
	var export, list string
	g.Expect(a.bed.WithVolumePod(t.Context(), pod, func(ctx contextT) (err error) {
		if export, err = read(ctx, pod.Name, "cat", "/data/export.sql"); err != nil {
			return err
		}
		list, err = read(ctx, pod.Name, "manifest", "--skip-root", "/data")
		return err
	})).To(Succeed())
	g.Expect(export).To(HavePrefix("full export of data, opened with sesame in eu\n"), "variables were filled in")
	g.Expect(list).NotTo(ContainSubstring("broken"))
	g.Expect(list).To(ContainSubstring("file-0001"))
}

func (a *volumeApp) failingStep(t *testing.T) {
	g := NewWithT(t)
	applyTo(t, a.bed, a.namespace, addonConfiguration("fails", `{name: failing}`))
	waitReady(t, a.bed, a.configuration("fails"), metav1.ConditionTrue, "")
	ended := endOf(t, a.bed, a.namespace, a.start(t, "fails"))
	g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionFailed))
	g.Expect(ended.Status.Reason).To(Equal(v1alpha1.ReasonStepFailed))
	g.Expect(ended.Status.Targets[0].Message).
		To(ContainSubstring("step e2e-fail-0 of the task failed with exit code 3; the mover did not run"))
	var jobs batchv1.JobList
	g.Expect(a.bed.Client.List(t.Context(), &jobs, a.ofSession(ended.Name)...)).To(Succeed())
	g.Expect(jobs.Items).To(HaveLen(1), "a step that failed is not repeated")
	g.Expect(a.inBackend(t, "fails")).To(BeEmpty(), "the mover did not run")
}

func (a *volumeApp) unknownVariable(t *testing.T) {
	g := NewWithT(t)
	applyTo(t, a.bed, a.namespace, addonConfiguration("mistaken", `{name: mistaken}`))
	configuration := a.configuration("mistaken")
	waitReady(t, a.bed, configuration, metav1.ConditionFalse, v1alpha1.ReasonInvalidParameters)
	ended := endOf(t, a.bed, a.namespace, a.start(t, "mistaken"))
	g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionFailed))
	g.Expect(ended.Status.Reason).To(Equal(v1alpha1.ReasonInvalidParameters))
	g.Expect(ended.Status.Targets[0].Message).
		To(ContainSubstring(`Function "e2e-mistake": ${pasword} is neither a built-in variable`))
	var pods corev1.PodList
	g.Expect(a.bed.Client.List(t.Context(), &pods, a.ofSession(ended.Name)...)).To(Succeed())
	g.Expect(pods.Items).To(BeEmpty())
}
