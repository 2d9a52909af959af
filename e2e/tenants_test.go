package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// TestTenants lets a tenant attack another one with kubectl, a token of his own and the role that Kubernetes and Cairn
// ship for editors. docs/security.md has the attacks. Meanwhile and afterwards the other one backs up, restores and
// records as if nobody was there.
func TestTenants(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	v := &victim{volumeApp: deployVolumeApp(t, bed, "tenant-shop", 3, 64<<10)}
	m := &mallory{volumeApp: deployVolumeApp(t, bed, "tenant-mallory", 1, 4<<10), victim: v}
	v.begin(t)
	m.login(t)
	t.Run("what is not his is closed", m.trespasses)
	t.Run("nobody gives orders in the manager's name", m.forges)
	t.Run("a default is for his own namespace", m.offersDefaults)
	t.Run("a Ledger records its own namespace", m.records)
	t.Run("a storage of another is closed", m.squats)
	t.Run("a branch of records is no policy", m.silences)
	t.Run("the manager goes to no address of his choice", m.requests)
	t.Run("nobody borrows rights", m.borrows)
	t.Run("the other one is unharmed", v.unharmed)
	t.Run("he has read nothing of the other one", m.readNothing)
}

// victim is a tenant who backs up and records.
type victim struct {
	*volumeApp
	snapshots int
}

func (v *victim) begin(t *testing.T) {
	t.Helper()
	pushPolicy(t, v.bed, v.namespace+"-"+started, map[string]string{"README.md": "Hers.\n"})
	applyTo(t, v.bed, v.namespace, ledgerManifest(v.bed, "records", v.namespace, "git-credentials"))
	v.configure(t, "kept")
	v.backUp(t)
	recorded(t, v.bed, v.namespace, v.namespace+"/records")
}

func (v *victim) backUp(t *testing.T) {
	t.Helper()
	run := endOf(t, v.bed, v.namespace, v.start(t, "kept"))
	NewWithT(t).Expect(run.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", run.Status.Targets)
	v.snapshots++
}

// unharmed backs up, restores and records once more.
func (v *victim) unharmed(t *testing.T) {
	g := NewWithT(t)
	v.backUp(t)
	g.Expect(v.inBackend(t, "kept")).To(HaveLen(v.snapshots), "no backup is missing, and nobody added one")
	applyTo(t, v.bed, v.namespace, claimManifest("restored"))
	out, err := program(t, v.bed, "", "cairn", "restore", "again", "-n", v.namespace, "--repository", "kept",
		"--target", "restored", "--wait")
	g.Expect(err).NotTo(HaveOccurred(), out)
	trees := map[string]string{}
	for _, claim := range []string{"data", "restored"} {
		pod := testbed.VolumePod{Namespace: v.namespace, Name: "reader", Claim: claim, User: 65532}
		g.Expect(v.bed.WithVolumePod(t.Context(), pod, func(ctx contextT) (err error) {
			trees[claim], err = v.bed.Exec(ctx, v.namespace, pod.Name, nil,
				"/toolbox", "manifest", "--skip-root", "/data")
			return err
		})).To(Succeed())
	}
	_, entries, err := testbed.SameTree(trees["data"], trees["restored"])
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entries).To(Equal(v.files))

	names := recorded(t, v.bed, v.namespace, v.namespace+"/records")
	files := recordFiles(t, recordsBranch(t, v.bed, v.namespace+"-"+started), "e2e")
	for _, name := range names {
		g.Expect(files).To(HaveKey(name))
	}
	for name, paths := range files {
		g.Expect(paths).To(HaveLen(1), "%s is recorded once", name)
		g.Expect(paths[0]).To(ContainSubstring(v.namespace), "the records are of this namespace alone")
	}
}

// mallory is a tenant with the role edit in a namespace of his own.
type mallory struct {
	*volumeApp
	victim     *victim
	kubeconfig string
}

// login gives mallory the role, and a kubeconfig with a token of his own and nothing else.
func (m *mallory) login(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	for _, args := range [][]string{
		{"create", "serviceaccount", "mallory", "-n", m.namespace},
		{
			"create", "rolebinding", "mallory", "-n", m.namespace, "--clusterrole=edit",
			"--serviceaccount=" + m.namespace + ":mallory",
		},
	} {
		_, err := kubectl(t, m.bed, "", args...)
		g.Expect(err).NotTo(HaveOccurred())
	}
	token, err := kubectl(t, m.bed, "", "create", "token", "mallory", "-n", m.namespace, "--duration=1h")
	g.Expect(err).NotTo(HaveOccurred())
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{
		Server: m.bed.Config.Host, CertificateAuthorityData: m.bed.Config.CAData,
		CertificateAuthority: m.bed.Config.CAFile,
	}
	config.AuthInfos["mallory"] = &clientcmdapi.AuthInfo{Token: strings.TrimSpace(token)}
	config.Contexts["c"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "mallory", Namespace: m.namespace}
	config.CurrentContext = "c"
	m.kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	g.Expect(clientcmd.WriteToFile(*config, m.kubeconfig)).To(Succeed())
	who, err := m.try(t, "", "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(who).To(Equal("system:serviceaccount:" + m.namespace + ":mallory"))
	g.Eventually(func() error { // the role contains that of Cairn a moment after the installation
		_, err := m.try(t, "", "auth", "can-i", "create", "policysyncs.backup.cairn.dev")
		return err
	}, patience).Should(Succeed())
}

// try runs kubectl as mallory.
func (m *mallory) try(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	return kubectl(t, m.bed, stdin, append([]string{"--kubeconfig", m.kubeconfig}, args...)...)
}

// applies is something that mallory may do.
func (m *mallory) applies(t *testing.T, manifests string) {
	t.Helper()
	_, err := m.try(t, manifests, "apply", "--server-side", "-f", "-")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
}

// refused is something that the API server refuses.
func (m *mallory) refused(t *testing.T, message, stdin string, args ...string) {
	t.Helper()
	out, err := m.try(t, stdin, args...)
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring(message)), "%v: %s", args, out)
}

// says waits until a condition of an object says something.
func (m *mallory) says(t *testing.T, object conditioned, name, condition, message string) {
	t.Helper()
	object.SetNamespace(m.namespace)
	object.SetName(name)
	says(t, m.bed, object, condition, message)
}

func says(t *testing.T, bed *testbed.Testbed, object conditioned, condition, message string) {
	t.Helper()
	seen := "nothing"
	err := testbed.Poll(t.Context(), patience, "the condition "+condition+" of "+object.GetName(),
		func(ctx contextT) (bool, error) {
			if err := bed.Client.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
				return false, client.IgnoreNotFound(err)
			}
			c := apimeta.FindStatusCondition(object.GetConditions(), condition)
			if c == nil {
				return false, nil
			}
			seen = string(c.Status) + " " + c.Reason + ": " + c.Message
			return strings.Contains(c.Message, message), nil
		})
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), "want: %s\nlast seen: %s", message, seen)
	t.Logf("%s %s", object.GetName(), seen)
}

func (m *mallory) trespasses(t *testing.T) {
	other := m.victim.namespace
	for _, args := range [][]string{
		{"get", "secrets", "-n", other},
		{"get", "secret", "encryption", "-n", other},
		{"get", "snapshots.backup.cairn.dev", "-n", other},
		{"get", "ledgers.backup.cairn.dev", "-n", other},
		{"get", "configmaps", "-n", other},
		{"get", "pods", "-n", "cairn-system"},
		{"delete", "repositories.backup.cairn.dev", "kept", "-n", other},
		{"annotate", "repositories.backup.cairn.dev", "kept", "-n", other, "backup.cairn.dev/restore-to=*"},
		{"label", "namespace", other, v1alpha1.RecordedByLabel(m.namespace) + "=true"},
		{"annotate", "namespace", m.namespace, v1alpha1.AnnotationPrivilegedMovers + "=true"},
		{"create", "token", "cairn-manager", "-n", "cairn-system"},
		{"create", "token", "cairn-mover", "-n", other},
		{"get", "secrets", "--as=system:serviceaccount:cairn-system:cairn-manager"},
		{"get", "--raw", "/metrics"},
	} {
		m.refused(t, "forbidden", "", args...)
	}
	m.refused(t, `cannot create resource "snapshots"`, `
apiVersion: backup.cairn.dev/v1alpha1
kind: Snapshot
metadata: {name: forged}
spec: {repository: mine, appRef: {kind: PersistentVolumeClaim, name: data}}
`, "create", "-f", "-")
}

// forges makes what movers, sidecars and the manager believe.
func (m *mallory) forges(t *testing.T) {
	restore := strings.Replace(restoreManifest("forged", "data", "mine", "latest"), "metadata: {name: forged}",
		`metadata: {name: forged, annotations: {`+v1alpha1.AnnotationSidecarTask+`: "{}"}}`, 1)
	m.refused(t, "only the manager of Cairn gives orders to movers and sidecars", restore, "create", "-f", "-")
	m.refused(t, "only Cairn makes a ConfigMap with the label app.kubernetes.io/managed-by: cairn", `
apiVersion: v1
kind: ConfigMap
metadata: {name: outbox-forged, labels: {app.kubernetes.io/managed-by: cairn, backup.cairn.dev/ledger: records}}
`, "create", "-f", "-")
	m.refused(t, "only Cairn makes a Job with the label app.kubernetes.io/managed-by: cairn", `
apiVersion: batch/v1
kind: Job
metadata: {name: forged, labels: {app.kubernetes.io/managed-by: cairn, backup.cairn.dev/keeper: mine}}
spec:
  template:
    spec: {restartPolicy: Never, containers: [{name: c, image: cairn.local/shell:dev}]}
`, "create", "-f", "-")
}

func (m *mallory) offersDefaults(t *testing.T) {
	storage := storageManifest("trap", m.prefix()+"/trap", "s3-credentials")
	m.applies(t, strings.Replace(storage, "spec:\n",
		"spec:\n  default: true\n  usagePolicy: {allowedNamespaces: {from: Selector, selector: {}}}\n", 1)+`
---
apiVersion: backup.cairn.dev/v1alpha1
kind: RetentionPolicy
metadata: {name: trap}
spec:
  default: true
  usagePolicy: {allowedNamespaces: {from: All}}
  successfulSnapshots: {last: 1}
`)
	const message = "this is the default of its own namespace alone, because tenant-mallory is not a namespace of " +
		"the administrators"
	m.says(t, &v1alpha1.BackupStorage{}, "trap", v1alpha1.ConditionDefaultIgnored, message)
	m.says(t, &v1alpha1.RetentionPolicy{}, "trap", v1alpha1.ConditionDefaultIgnored, message)
	applyTo(t, m.bed, m.victim.namespace, `
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupConfiguration
metadata: {name: by-default}
spec:
  target: {kind: PersistentVolumeClaim, name: data}
  sessions: [{name: manual, addon: {name: pvc-addon, tasks: [{name: logical-backup}]}}]
`)
	says(t, m.bed, m.victim.configuration("by-default"), "Ready",
		"there is no default BackupStorage that the namespace tenant-shop can use")
}

// records asks for the records of the other one, and has a run of his own recorded, which reveals what came along.
func (m *mallory) records(t *testing.T) {
	pushPolicy(t, m.bed, m.namespace+"-"+started, map[string]string{"policy/nothing.yaml": `
apiVersion: backup.cairn.dev/v1alpha1
kind: RetentionPolicy
metadata: {name: mine}
spec: {successfulSnapshots: {last: 1}}
`})
	ledger := func(name, rest string) string {
		whole := ledgerManifest(m.bed, name, m.namespace, "git-credentials")
		return "---\n" + strings.Split(whole, "  namespaceSelector")[0] + rest
	}
	wrong := ledger("bad", "  namespaceSelector: {matchExpressions: [{key: a, operator: Wrong}]}\n")
	m.refused(t, "namespaceSelector", wrong, "create", "-f", "-")
	m.applies(t, ledger("all", "  namespaceSelector: {}\n"))
	m.says(t, &v1alpha1.Ledger{}, "all", v1alpha1.ConditionConsentMissing,
		"selects namespaces that do not consent, and the Ledger does not record them")
	for _, name := range []string{"b", "c", "d"} {
		m.applies(t, ledger(name, "  branch: "+name+"\n"))
	}
	m.applies(t, ledger("one-too-many", "  branch: e\n"))
	m.says(t, &v1alpha1.Ledger{}, "one-too-many", "Ready", "the namespace has 4 older Ledgers, and no more are served")
}

// squats tries to use, to hold and to restore from what belongs to the other one.
func (m *mallory) squats(t *testing.T) {
	m.applies(t, `
apiVersion: backup.cairn.dev/v1alpha1
kind: Repository
metadata: {name: squat}
spec:
  appRef: {kind: PersistentVolumeClaim, name: data}
  storageRef: {namespace: tenant-shop, name: s3}
  path: kept
  encryptionSecret: {name: encryption}
---
apiVersion: backup.cairn.dev/v1alpha1
kind: RestoreSession
metadata: {name: steal}
spec:
  target: {kind: PersistentVolumeClaim, name: data}
  dataSource: {namespace: tenant-shop, repository: kept, snapshot: latest}
  addon: {name: pvc-addon, tasks: [{name: logical-backup-restore}]}
`+storageWithoutKey(m.victim.prefix()))
	m.says(t, &v1alpha1.Repository{}, "squat", "Ready",
		"the usagePolicy of BackupStorage tenant-shop/s3 does not allow the namespace tenant-mallory")
	stolen := endOfRestore(t, m.bed, m.namespace, "steal")
	g := NewWithT(t)
	g.Expect(stolen.Status.Phase).To(Equal(v1alpha1.RestoreSessionFailed))
	g.Expect(stolen.Status.Reason).To(Equal(v1alpha1.ReasonRestoreNotAllowed))
	m.says(t, &v1alpha1.BackupStorage{}, "without-key", "Ready", "there is no Secret tenant-mallory/none")
	waitReady(t, m.bed, m.victim.storage("s3"), "True", "")
}

func storageWithoutKey(prefix string) string {
	return "---\n" + storageManifest("without-key", prefix, "none")
}

func (m *mallory) silences(t *testing.T) {
	m.applies(t, syncManifest("silencer", m.bed.Git.URL+"/"+m.victim.namespace+"-"+started+".git", "git-credentials",
		"  path: .\n  ref: {branch: backup-records}\n"))
	m.says(t, &v1alpha1.PolicySync{}, "silencer", "Ready",
		"a Ledger of this cluster pushes to the branch backup-records of this repository, and records are no policy")
	ledger := &v1alpha1.Ledger{ObjectMeta: m.victim.meta("records")}
	waitReady(t, m.bed, ledger, "True", "")
}

// requests makes the manager ask for credentials of the cloud, and look at its own machine.
func (m *mallory) requests(t *testing.T) {
	for name, host := range map[string]string{
		"metadata": "169.254.169.254", "azure": "168.63.129.16", "alibaba": "100.100.100.200", "own": "127.0.0.1:8081",
		"ipv6": "[fd00:ec2::254]", "nat64": "[64:ff9b::a9fe:a9fe]",
	} {
		m.applies(t, syncManifest("to-"+name, "http://"+host+"/policy.git", "git-credentials", "  path: .\n"))
		m.says(t, &v1alpha1.PolicySync{}, "to-"+name, "Ready", "Cairn does not connect there, because it is")
	}
	m.applies(t, `
apiVersion: backup.cairn.dev/v1alpha1
kind: HookTemplate
metadata: {name: metadata}
spec:
  action: {httpGet: {host: 169.254.169.254, port: 80, path: /latest/meta-data/}}
  executor: {type: Operator}
---
`+strings.Replace(configurationManifest("hooked"), wholeVolume,
		wholeVolume+"\n    hooks: "+pre(use("look", "metadata", "")), 1))
	waitReady(t, m.bed, m.configuration("hooked"), "True", "")
	run := endOf(t, m.bed, m.namespace, m.start(t, "hooked"))
	g := NewWithT(t)
	g.Expect(run.Status.Phase).To(Equal(v1alpha1.BackupSessionFailed))
	g.Expect(run.Status.Hooks.PreHooks).To(ContainElement(
		HaveField("Message", ContainSubstring("Cairn does not connect there, because it is"))))
}

// borrows tries to act with rights that are not his.
func (m *mallory) borrows(t *testing.T) {
	url := m.bed.Git.URL + "/" + m.namespace + "-" + started + ".git"
	m.applies(t, syncManifest("as-another", url, "git-credentials",
		"  path: policy\n  serviceAccountName: default\n"))
	m.says(t, &v1alpha1.PolicySync{}, "as-another", "Ready", "Cairn is not allowed to act as")
	m.applies(t, `
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupStorage
metadata: {name: host}
spec:
  storage:
    provider: local
    local: {mountPath: /backups, hostPath: {path: /}}
---
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupStorage
metadata: {name: nfs}
spec:
  storage:
    provider: local
    local: {mountPath: /backups, nfs: {server: 10.0.0.1, path: /}}
`)
	const needs = `which needs the annotation backup.cairn.dev/privileged-movers: "true" on the Namespace`
	m.says(t, &v1alpha1.BackupStorage{}, "host", "Ready", needs)
	m.says(t, &v1alpha1.BackupStorage{}, "nfs", "Ready", needs)
}

// readNothing looks at all that mallory can read: his objects and events, and the records of his Ledger.
func (m *mallory) readNothing(t *testing.T) {
	g := NewWithT(t)
	recorded(t, m.bed, m.namespace, m.namespace+"/all")
	clone := recordsBranch(t, m.bed, m.namespace+"-"+started)
	g.Expect(recordFiles(t, clone, "e2e")).NotTo(BeEmpty(), "his own runs are there")
	out, err := clone.Git(t.Context(), "grep", "-l", "by-default", "HEAD")
	g.Expect(err).To(HaveOccurred(), "git grep finds nothing: %s", out)
	files, err := clone.Git(t.Context(), "ls-files")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).NotTo(ContainSubstring(m.victim.namespace))
	objects, err := m.try(t, "", "get", "backupstorages,repositories,backupconfigurations,backupsessions,"+
		"restoresessions,snapshots,ledgers,policysyncs,events,configmaps", "-o", "yaml")
	g.Expect(err).NotTo(HaveOccurred())
	var run v1alpha1.BackupSessionList
	g.Expect(m.bed.Client.List(t.Context(), &run, client.InNamespace(m.victim.namespace))).To(Succeed())
	for _, s := range run.Items {
		g.Expect(objects).NotTo(ContainSubstring(s.Name), "the name of a run of the other one")
	}
}
