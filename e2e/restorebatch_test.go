package e2e

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// blogCopy is the namespace that the application is restored into.
const blogCopy = "batch-flow-copy"

// restored brings the application back into a namespace where nothing of it runs: from the newest restore point that is
// whole, though there is a newer one, and from the one that a retry healed.
func (a *batchApp) restored(t *testing.T) {
	g := NewWithT(t)
	pages, data := a.tree(t, a.namespace, "pages"), a.tree(t, a.namespace, "data")
	whole := a.newestRun(t)
	_, err := a.bed.Exec(t.Context(), a.namespace, podOf(t, a.bed, a.namespace, "web"), nil, "/bin/sh", "-euc",
		"echo later > /pages/later.html")
	g.Expect(err).NotTo(HaveOccurred())
	rows := a.database.say(t, a.database.look...)
	a.disturbed(t)

	scratchNamespace(t, a.bed, blogCopy)
	pods := strings.Replace(blogPods, "spec:\n  selector", "spec:\n  replicas: 0\n  selector", 1)
	applyTo(t, a.bed, blogCopy, claimManifest("pages")+"---"+claimManifest("data")+"---"+pods)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: blogCopy, Name: "password"},
		Data:       map[string][]byte{v1alpha1.EncryptionPassword: []byte("canary-encryption-password")},
	}
	g.Expect(a.bed.Client.Create(t.Context(), secret)).To(Succeed())
	args := []string{
		"restore", "--batch", "blog", "-n", blogCopy, "--from-namespace", a.namespace, "--encryption-secret",
		"password", "--wait", "--timeout", patience.String(),
	}
	out, err := program(t, a.bed, "", "cairn", append(args, "refused", "--only", "web,files")...)
	g.Expect(err).To(HaveOccurred())
	g.Expect(out).To(ContainSubstring(v1alpha1.ReasonRestoreNotAllowed), "its owner has not consented")
	_, err = kubectl(t, a.bed, "", "annotate", "repository/blog-web", "repository/blog-files", "repository/blog-rows",
		"-n", a.namespace, v1alpha1.AnnotationRestoreTo+"="+blogCopy)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = kubectl(t, a.bed, "", "patch", "backupstorage/s3", "-n", a.namespace, "--type=merge", "-p",
		`{"spec":{"usagePolicy":{"allowedNamespaces":{"from":"All"}}}}`)
	g.Expect(err).NotTo(HaveOccurred())

	database := a.startDatabase(t, blogCopy)
	applyTo(t, a.bed, blogCopy, `
apiVersion: backup.cairn.dev/v1alpha1
kind: RestoreBatch
metadata: {name: back}
spec:
  dataSource: {namespace: `+a.namespace+`, backupBatch: blog, backupSession: latest, encryptionSecret: {name: password}}
  targets:
  - name: web
  - name: files
  - name: rows
    addon: {name: mariadb-addon, tasks: [{name: logical-backup-restore, params: {secretName: server}}]}
`)
	back := a.restoreBatch(t, "back")
	g.Expect(back.Status.RestorePoint).To(Equal(whole), "the newest in which all targets succeeded")
	g.Expect(back.Status.Targets).To(HaveLen(3))
	for _, target := range back.Status.Targets {
		g.Expect(target.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded), target.Message)
		g.Expect(endOfRestore(t, a.bed, blogCopy, target.RestoreSession).Status.Resolved.Snapshot).
			To(Equal(target.Snapshot))
	}
	for claim, original := range map[string]string{"pages": pages, "data": data} {
		_, _, err := testbed.SameTree(original, a.tree(t, blogCopy, claim))
		g.Expect(err).NotTo(HaveOccurred(), claim)
	}
	g.Expect(database.say(t, database.look...)).To(Equal(rows))
	g.Expect(scale(t.Context(), a.bed, client.ObjectKey{Namespace: blogCopy, Name: "web"}, 1)).To(Succeed())
	g.Expect(waitReplicas(t.Context(), a.bed, client.ObjectKey{Namespace: blogCopy, Name: "web"})).To(Succeed())
	a.healedBack(t, database, rows)
	a.managed(t)
}

// healedBack restores what one run and its retry backed up together: into new claims, and into a database that lost
// rows.
func (a *batchApp) healedBack(t *testing.T, database *databaseServer, rows string) {
	g := NewWithT(t)
	database.say(t, statement{"shop", "DROP TABLE orders;"}, statement{"archive", "DELETE FROM old;"})
	var service corev1.Service
	g.Expect(a.bed.Client.Get(t.Context(), client.ObjectKey{Namespace: blogCopy, Name: database.Name}, &service)).
		To(Succeed())
	target := func(name string) string {
		return fmt.Sprintf(`
  - name: %s
    addon:
      name: pvc-addon
      tasks:
      - name: logical-backup-restore
        targetVolumes:
          volumeClaimTemplates:
          - metadata: {name: healed-%s}
            spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
`, name, name)
	}
	applyTo(t, a.bed, blogCopy, `
apiVersion: backup.cairn.dev/v1alpha1
kind: RestoreBatch
metadata: {name: healed}
spec:
  dataSource: {namespace: `+a.namespace+`, backupBatch: blog, backupSession: `+a.failed.Name+
		`, encryptionSecret: {name: password}}
  executionOrder: Sequential
  targets:`+target("files")+target("web")+`
  - name: rows
    confirm: `+string(service.UID)+`
    addon: {name: mariadb-addon, tasks: [{name: logical-backup-restore, params: {secretName: server}}]}
`)
	healed := a.restoreBatch(t, "healed")
	g.Expect(healed.Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded), "%+v", healed.Status.Targets)
	g.Expect(healed.Status.Targets[0].Snapshot).To(HaveSuffix(a.failed.Name))
	g.Expect(healed.Status.Targets[1].Snapshot).To(HaveSuffix(a.failed.Name))
	g.Expect(healed.Status.Targets[2].Snapshot).To(HaveSuffix(a.failed.Name + "-r1"))
	g.Expect(database.say(t, database.look...)).To(Equal(rows))
}

// restoreBatch waits for the end of a RestoreBatch.
func (a *batchApp) restoreBatch(t *testing.T, name string) *v1alpha1.RestoreBatch {
	t.Helper()
	b := &v1alpha1.RestoreBatch{}
	NewWithT(t).Expect(testbed.Poll(t.Context(), 2*patience, "RestoreBatch "+name+" to end",
		func(ctx contextT) (bool, error) {
			err := a.bed.Client.Get(ctx, client.ObjectKey{Namespace: blogCopy, Name: name}, b)
			return err == nil && b.Status.Phase.Terminal(), err
		})).To(Succeed())
	return b
}

// tree is the manifest of what a claim holds.
func (a *batchApp) tree(t *testing.T, namespace, claim string) string {
	t.Helper()
	var out string
	pod := testbed.VolumePod{Namespace: namespace, Name: "reader", Claim: claim, User: 65532}
	NewWithT(t).Expect(a.bed.WithVolumePod(t.Context(), pod, func(ctx contextT) error {
		var err error
		out, err = a.bed.Exec(ctx, namespace, pod.Name, nil, "/toolbox", "manifest", "--skip-root", "/data")
		return err
	})).To(Succeed())
	return out
}

// newestRun returns the name of the last run of the batch.
func (a *batchApp) newestRun(t *testing.T) string {
	t.Helper()
	var list v1alpha1.BackupSessionList
	NewWithT(t).Expect(a.bed.Client.List(t.Context(), &list, client.InNamespace(a.namespace))).To(Succeed())
	newest := &list.Items[0]
	for i := range list.Items {
		if s := &list.Items[i]; newest.Status.CompletionTime.Before(s.Status.CompletionTime) {
			newest = s
		}
	}
	return newest.Name
}

// disturbed is a run that does not back the database up, because the password is wrong meanwhile, and that has no
// retry.
func (a *batchApp) disturbed(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	password := func(p string) {
		secret := &corev1.Secret{ObjectMeta: a.meta("server")}
		g.Expect(a.bed.Client.Get(t.Context(), client.ObjectKeyFromObject(secret), secret)).To(Succeed())
		secret.Data["password"] = []byte(p)
		g.Expect(a.bed.Client.Update(t.Context(), secret)).To(Succeed())
	}
	password("canary that opens nothing")
	run := &v1alpha1.BackupSession{ObjectMeta: a.meta("blog-disturbed"), Spec: v1alpha1.BackupSessionSpec{
		Invoker: v1alpha1.TypedLocalObjectReference{
			APIGroup: v1alpha1.Group, Kind: v1alpha1.BackupBatchKind, Name: "blog",
		}, Session: "manual",
	}}
	g.Expect(a.bed.Client.Create(t.Context(), run)).To(Succeed())
	ended := endOf(t, a.bed, a.namespace, run.Name)
	password(databasePassword)
	g.Expect(states(ended)).
		To(Equal([]string{"web: Succeeded/Succeeded", "files: Succeeded/Succeeded", "rows: Failed/DumpFailed"}))
}
