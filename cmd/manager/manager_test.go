package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

func TestFlags(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		says string
	}{
		"no mover image": {[]string{"--mover-image", ""}, "read the flags: --mover-image is required"},
		"no workers": {
			[]string{"--concurrent", "0"}, "read the flags: invalid --concurrent 0: it must be 1 or more",
		},
		"no namespace of administrators": {
			[]string{"--admin-namespaces", "backup,Ops"},
			`read the flags: invalid --admin-namespaces: \"Ops\" is no name of a namespace`,
		},
		"an address that is none": {
			[]string{"--egress-deny", "10.0.0.0/8,10.1"},
			`read the flags: invalid --egress-deny: \"10.1\" is no CIDR`,
		},
		"no level of the log": {
			[]string{"--log-level", "trcae"},
			`read the flags: invalid --log-level "trcae": it must be one of debug, error, info, trace`,
		},
		"no encoding of the log": {
			[]string{"--log-encoding", "yaml"},
			`read the flags: invalid --log-encoding "yaml": it must be one of console, json`,
		},
		"a cluster's name": {[]string{"--cluster-name", "a/b"}, `read the flags: invalid --cluster-name`},
		"a gateway's key": {
			[]string{"--pushgateway-url", "http://u:hunter2@gateway:9091"},
			"read the flags: --pushgateway-url: the URL of the Pushgateway at gateway:9091 must not contain a " +
				"credential",
		},
		"a certificate for plain metrics": {
			[]string{"--metrics-secure=false", "--metrics-cert-dir", "/certs"},
			"read the flags: --metrics-cert-dir needs --metrics-secure",
		},
		"a certificate that is missing": {
			[]string{"--metrics-cert-dir", "/does-not-exist"},
			`read the flags: invalid --metrics-cert-dir \"/does-not-exist\": ` +
				"it must hold the files tls.crt and tls.key",
		},
		"another argument": {[]string{"now"}, `read the flags: unexpected argument \"now\"`},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			p := begin(t, kubeconfig(t, true), tt.args...)
			g.Expect(p.code(t)).To(Equal(1))
			g.Expect(p.log.String()).To(ContainSubstring(tt.says))
		})
	}
}

func TestThePodsGraceIsLongerThanTheShutdown(t *testing.T) {
	g := NewWithT(t)
	text, err := os.ReadFile(filepath.Join("..", "..", "config", "manager", "deployment.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	var d appsv1.Deployment
	g.Expect(yaml.Unmarshal(text, &d)).To(Succeed())
	grace := time.Duration(*d.Spec.Template.Spec.TerminationGracePeriodSeconds) * time.Second
	g.Expect(grace - shutdownTimeout).To(BeNumerically(">=", 5*time.Second))
}

func TestManager(t *testing.T) {
	// as the log quotes it
	const advice = `install all of this version with \"kubectl apply --server-side -k config/crd\" and then ` +
		`\"kubectl apply --server-side -k config/default\", or your own kustomization of it`
	t.Run("without the CRDs it says what to do", func(t *testing.T) {
		g := NewWithT(t)
		p := begin(t, kubeconfig(t, true))
		g.Expect(p.code(t)).To(Equal(1))
		g.Expect(p.log.String()).
			To(
				ContainSubstring(
					"the cluster lacks the kinds Addon, BackupBatch, BackupConfiguration, BackupSession, " +
						"BackupStorage, " +
						"Function, HookTemplate, Ledger, PolicySync, Repository, RestoreBatch, RestoreSession, " +
						"RetentionPolicy, " +
						"Snapshot: " + advice))
	})
	install(t)
	t.Run("with CRDs of an older version it says what to do", func(t *testing.T) {
		g := NewWithT(t)
		crd := &apiextensionsv1.CustomResourceDefinition{}
		key := client.ObjectKey{Name: "backupsessions." + v1alpha1.Group}
		g.Expect(bed.Client.Get(t.Context(), key, crd)).To(Succeed())
		older := crd.DeepCopy()
		hooks := older.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["status"].Properties["hooks"]
		delete(hooks.Properties["preHooks"].Items.Schema.Properties, "pod")
		g.Expect(bed.Client.Patch(t.Context(), older, client.MergeFrom(crd))).To(Succeed())
		api, err := discovery.NewDiscoveryClientForConfig(bed.Config)
		g.Expect(err).NotTo(HaveOccurred())
		want, err := ownSchemas()
		g.Expect(err).NotTo(HaveOccurred())
		g.Eventually(func() error { return checkFields(api, want) }, testbed.Patience).ShouldNot(Succeed(),
			"the API server tells of the CRD")
		p := begin(t, kubeconfig(t, false), "--enable-leader-election")
		g.Expect(p.code(t)).To(Equal(1))
		g.Expect(p.log.String()).To(ContainSubstring("are of an older version and lack the fields " +
			"BackupSession.status.hooks.preHooks.pod: " +
			advice))
		whole := older.DeepCopy()
		whole.Spec = crd.Spec
		g.Expect(bed.Client.Patch(t.Context(), whole, client.MergeFrom(older))).To(Succeed())
		g.Eventually(func() error { return checkFields(api, want) }, testbed.Patience).Should(Succeed(),
			"the API server tells of the CRD")
	})
	t.Run("with its own rights it leads, is healthy and shows metrics", func(t *testing.T) {
		g := NewWithT(t)
		p := begin(t, kubeconfig(t, false), "--enable-leader-election", "--kubestash-metrics")
		p.reader = readsAll(t)
		g.Eventually(func() (string, error) { return p.get(t.Context(), p.health, "/readyz") }).
			WithTimeout(testbed.Patience).WithPolling(100 * time.Millisecond).
			Should(ContainSubstring("ok"))
		g.Eventually(func() (string, error) { return p.get(t.Context(), p.metrics, "/metrics") }).
			WithTimeout(testbed.Patience).WithPolling(100 * time.Millisecond).
			Should(ContainSubstring(`leader_election_master_status{name="cairn-manager"} 1`))
		run := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "alone"}}
		run.Spec.Invoker = v1alpha1.TypedLocalObjectReference{
			APIGroup: v1alpha1.Group,
			Kind:     v1alpha1.BackupConfigurationKind, Name: "none",
		}
		run.Spec.Session = "nightly"
		g.Expect(bed.Client.Create(t.Context(), run)).To(Succeed())
		g.Eventually(func() (string, error) { return p.get(t.Context(), p.metrics, "/metrics") }).
			WithTimeout(testbed.Patience).WithPolling(100 * time.Millisecond).
			Should(ContainSubstring(
				`cairn_backup_sessions{kind="BackupConfiguration",name="none",namespace="default",phase="Failed",reason="InvokerNotFound",session="nightly"} 1`))
		g.Expect(p.get(t.Context(), p.metrics, "/metrics")).To(ContainSubstring(
			`core_kubestash_com_backupsession_phase{backup_invoker_kind="BackupConfiguration",backup_invoker_name="none",invoker_kind="BackupSession",invoker_name="alone",namespace="default",phase="Failed"} 1`))
		g.Expect(bed.Client.Delete(t.Context(), run)).To(Succeed())
		g.Expect(p.end(t)).To(Equal(0))
	})
	t.Run("who can read its metrics", metricsDoors)
	t.Run("its metrics without authentication", plainMetrics)
	t.Run("many configurations", func(t *testing.T) { manyConfigurations(t, *configurations) })
	t.Run("what the API refuses", apiRules)
	t.Run("what the manager may do", managerRights)
	t.Run("which claims the manager may delete", claimRights)
	t.Run("which contents of VolumeSnapshots the manager may make and delete", contentRights)
	t.Run("which VolumeSnapshots the manager may delete", volumeSnapshotRights)
	t.Run("what the manager may write", managerWrites)
	t.Run("no API server is reached", noAPIServerIsReached)
	t.Run("what a mover may write", moverRights)
	t.Run("what a sidecar may write", sidecarRights)
	t.Run("what a trigger may create", triggerRights)
	t.Run("who may give orders to movers and sidecars", orderRights)
	t.Run("who may make what the manager believes", markRights)
	t.Run("the deletion of its kinds removes no data", uninstall)
}
