package e2e

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/ssh"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// TestBadInput makes the mistakes that only a cluster can find. Each mistake leads to one error, as a condition and as
// an event; nothing is applied and nothing is lost. Each part makes all its mistakes first and then checks what became
// of them.
//
// It runs before the parallel scenarios: beside them, the cluster can take longer than the time that is promised for an
// error.
func TestBadInput(t *testing.T) {
	bed := deployed(t)
	for name, part := range map[string]func(*testing.T, *testbed.Testbed){
		"where policy comes from":     badSources,
		"a revision after a good one": badRevisions,
		"a branch for records":        badLedgers,
		"storages":                    badStorages,
		"repositories":                badRepositories,
		"configurations":              badConfigurations,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			part(t, bed)
		})
	}
}

// pushPolicy commits files to the branch main of a repository and returns the commit.
func pushPolicy(t *testing.T, bed *testbed.Testbed, repository string, files map[string]string) string {
	t.Helper()
	g := NewWithT(t)
	clone, err := bed.Clone(t.Context(), t.TempDir(), repository, "main")
	g.Expect(err).NotTo(HaveOccurred())
	for path, content := range files {
		g.Expect(clone.Write(path, content)).To(Succeed())
	}
	commit, err := clone.CommitAndPush(t.Context(), "main", "Policy")
	g.Expect(err).NotTo(HaveOccurred())
	return commit
}

func syncManifest(name, url, secret, rest string) string {
	return `
---
apiVersion: backup.cairn.dev/v1alpha1
kind: PolicySync
metadata: {name: ` + name + `}
spec:
  url: ` + url + `
  secretRef: {name: ` + secret + `}
  prune: true
` + rest
}

func badSources(t *testing.T, bed *testbed.Testbed) {
	const namespace = "bad-source"
	g := NewWithT(t)
	scratchNamespace(t, bed, namespace)
	spineSecrets(t, bed, namespace)
	other, err := ssh.GenerateKeyPair(ssh.ED25519)
	g.Expect(err).NotTo(HaveOccurred())
	for name, data := range map[string]map[string][]byte{
		"wrong-password": {"username": []byte(bed.Git.Username), "password": []byte("canary-wrong-password")},
		"wrong-host-key": {
			"identity":    bed.Git.Identity,
			"known_hosts": append([]byte("git."+testbed.Namespace+".svc "), other.PublicKey...),
		},
		"no-username": {"password": []byte("canary-wrong-password")},
	} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: data}
		g.Expect(bed.Client.Create(t.Context(), secret)).To(Succeed())
	}
	repository := "bad-source-" + started
	pushPolicy(t, bed, repository, map[string]string{"policy/storage.yaml": storageManifest("never", "never", "never")})
	http, secure := bed.Git.URL+"/"+repository+".git", bed.Git.SSHURL+"/"+repository+".git"
	// The cluster itself knows that this host does not exist. The answer of an outside network can change.
	rows := []struct{ name, manifest, reason, message string }{
		{
			"unknown-branch", syncManifest("unknown-branch", http, "git-credentials", "  ref: {branch: nowhere}\n"),
			v1alpha1.ReasonRefNotFound, `branch "nowhere" does not exist`,
		},
		{
			"unknown-tag", syncManifest("unknown-tag", http, "git-credentials", "  ref: {tag: v9}\n"),
			v1alpha1.ReasonRefNotFound, `tag "v9" does not exist`,
		},
		{
			"wrong-password", syncManifest("wrong-password", http, "wrong-password", ""),
			v1alpha1.ReasonAuthenticationFailed, "did not accept the credentials",
		},
		{
			"wrong-host-key", syncManifest("wrong-host-key", secure, "wrong-host-key", ""),
			v1alpha1.ReasonHostKeyMismatch, "put the server's present key into known_hosts",
		},
		{
			"host-down",
			syncManifest("host-down", "http://git.nowhere.svc.cluster.local/policy.git", "git-credentials", ""),
			v1alpha1.ReasonUnreachable, "git.nowhere.svc.cluster.local",
		},
		{
			"no-repository", syncManifest("no-repository", bed.Git.URL+"/nothing-here.git", "git-credentials", ""),
			v1alpha1.ReasonRepositoryNotFound, "no repository at",
		},
		{
			"no-repository-ssh",
			syncManifest("no-repository-ssh", bed.Git.SSHURL+"/nothing-here.git", "git-credentials", ""),
			v1alpha1.ReasonRepositoryNotFound, "no repository at",
		},
		{
			"no-secret", syncManifest("no-secret", http, "nowhere", ""),
			v1alpha1.ReasonSecretNotFound, "Secret bad-source/nowhere: does not exist",
		},
		{
			"no-username", syncManifest("no-username", http, "no-username", ""),
			v1alpha1.ReasonInvalidSecret, "the Secret has password but no username",
		},
		{
			"no-path", syncManifest("no-path", http, "git-credentials", "  path: nowhere\n"),
			v1alpha1.ReasonInvalidPath, "nowhere: path does not exist",
		},
	}
	manifests := ""
	for _, row := range rows {
		manifests += row.manifest + "  retryInterval: 5s\n" // each attempt reports the same
	}
	applyTo(t, bed, namespace, manifests)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			g := NewWithT(t)
			sync := &v1alpha1.PolicySync{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: row.name}}
			waitFault(t, bed, sync, 30*time.Second, row.reason, row.message)
			g.Expect(sync.Status.LastAppliedRevision).To(BeEmpty())
			g.Expect(sync.Status.Inventory).To(BeNil())
			warned, err := warnings(t.Context(), bed, sync, row.reason)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(warned).To(HaveLen(1), "one clear error, not several")
			for _, c := range sync.Status.Conditions {
				g.Expect(c.Message).NotTo(ContainSubstring("canary-wrong-password"))
			}
		})
	}
	var storages v1alpha1.BackupStorageList
	g.Expect(bed.Client.List(t.Context(), &storages, client.InNamespace(namespace))).To(Succeed())
	g.Expect(storages.Items).To(BeEmpty(), "nothing was applied")
}

func badRevisions(t *testing.T, bed *testbed.Testbed) {
	g := NewWithT(t)
	rows := []struct{ name, file, reason, message string }{
		{
			"broken-yaml", "apiVersion: backup.cairn.dev/v1alpha1\nkind: [\n", v1alpha1.ReasonBuildFailed,
			"broken-yaml/zz.yaml:",
		},
		{"unknown-field", storageManifest("zz", "zz",
			"none\n      bukket: yes"), v1alpha1.ReasonValidationFailed, "spec.storage.s3.bukket: unknown field"},
		{
			"not-policy", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: zz}\n",
			v1alpha1.ReasonValidationFailed, "Deployment of apps/v1 is not policy",
		},
		{
			"kubestash", "apiVersion: core.kubestash.com/v1alpha1\nkind: BackupConfiguration\nmetadata: {name: zz}\n",
			v1alpha1.ReasonValidationFailed,
			"is an apiVersion of KubeStash: set it to backup.cairn.dev/v1alpha1",
		},
		{"duplicate", storageManifest("good", "good",
			"none"), v1alpha1.ReasonValidationFailed, "duplicate/storage.yaml"},
	}
	repository, good, bad := "bad-revision-"+started, map[string]string{}, map[string]string{}
	for _, row := range rows {
		namespace := "bad-revision-" + row.name
		scratchNamespace(t, bed, namespace)
		spineSecrets(t, bed, namespace)
		good[row.name+"/storage.yaml"] = storageManifest("good", "good", "none")
		bad[row.name+"/storage.yaml"] = storageManifest("good", "changed", "none")
		bad[row.name+"/aa.yaml"] = storageManifest("another", "another", "none")
		bad[row.name+"/zz.yaml"] = row.file
	}
	first := "main@sha1:" + pushPolicy(t, bed, repository, good)
	syncs := map[string]*v1alpha1.PolicySync{}
	for _, row := range rows {
		namespace := "bad-revision-" + row.name
		syncs[row.name] = &v1alpha1.PolicySync{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "policy"}}
		applyTo(t, bed, namespace, syncManifest("policy", bed.Git.URL+"/"+repository+".git", "git-credentials",
			"  path: "+row.name+"\n  interval: 2s\n"))
	}
	for _, sync := range syncs {
		waitReady(t, bed, sync, metav1.ConditionTrue, v1alpha1.ReasonReconcileSucceeded)
	}
	second := "main@sha1:" + pushPolicy(t, bed, repository, bad)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			g := NewWithT(t)
			sync := syncs[row.name]
			waitFault(t, bed, sync, 30*time.Second, row.reason, row.message)
			g.Expect(sync.Status.LastAttemptedRevision).To(Equal(second))
			g.Expect(sync.Status.LastAppliedRevision).To(Equal(first))
			warned, err := warnings(t.Context(), bed, sync, row.reason)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(warned).To(ConsistOf(ContainSubstring(first + " stays in force")))
			var storages v1alpha1.BackupStorageList
			g.Expect(bed.Client.List(t.Context(), &storages, client.InNamespace(sync.Namespace))).To(Succeed())
			g.Expect(storages.Items).To(HaveLen(1), "nothing of the bad revision was applied, and nothing was pruned")
			g.Expect(storages.Items[0].Spec.Storage.S3.Prefix).
				To(Equal("good"), "the last good revision stays in force")
		})
	}
	for _, row := range rows { // without its mistake, each is ready again
		bad[row.name+"/zz.yaml"] = ""
	}
	third := "main@sha1:" + pushPolicy(t, bed, repository, bad)
	for _, sync := range syncs {
		waitReady(t, bed, sync, metav1.ConditionTrue, v1alpha1.ReasonReconcileSucceeded)
		g.Expect(testbed.Poll(t.Context(), 30*time.Second, "the mended revision in "+sync.Namespace,
			func(ctx contextT) (bool, error) {
				err := bed.Client.Get(ctx, client.ObjectKeyFromObject(sync), sync)
				return err == nil && sync.Status.LastAppliedRevision == third, err
			})).To(Succeed())
	}
}

func badLedgers(t *testing.T, bed *testbed.Testbed) {
	const namespace = "bad-ledger"
	g := NewWithT(t)
	scratchNamespace(t, bed, namespace)
	spineSecrets(t, bed, namespace)
	repository := namespace + "-" + started
	commit := pushPolicy(t, bed, repository,
		map[string]string{"policy/storage.yaml": storageManifest("s3", repository, "s3-credentials")})
	applyTo(t, bed, namespace,
		syncManifest("policy", bed.Git.SSHURL+"/"+repository+".git", "git-credentials", "  path: policy\n"))
	waitReady(t, bed, &v1alpha1.PolicySync{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "policy"}},
		metav1.ConditionTrue, "")
	// The same repository by another protocol, and below another path, is still watched.
	applyTo(t, bed, namespace,
		ledgerManifest(bed, "watched", namespace, "git-credentials")+"  branch: main\n  path: records\n")
	ledger := &v1alpha1.Ledger{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "watched"}}
	waitFault(t, bed, ledger, 30*time.Second, v1alpha1.ReasonWatchedBranch,
		"PolicySync/bad-ledger/policy follows the branch main")
	clone, err := bed.Clone(t.Context(), t.TempDir(), repository, "main")
	g.Expect(err).NotTo(HaveOccurred())
	log, err := clone.Git(t.Context(), "log", "--format=%H")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(log).To(Equal(commit), "nothing was written to the watched branch")
}
