package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"
)

func TestFlags(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		says string
	}{
		"no mover image":   {[]string{"--mover-image", ""}, "read the flags: --mover-image is required"},
		"no workers":       {[]string{"--concurrent", "0"}, "read the flags: --concurrent is 0: it must be 1 or more"},
		"another argument": {[]string{"now"}, `read the flags: \"now\" is not a flag`},
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
	t.Run("without the CRDs it says what to do", func(t *testing.T) {
		g := NewWithT(t)
		p := begin(t, kubeconfig(t, true))
		g.Expect(p.code(t)).To(Equal(1))
		g.Expect(p.log.String()).To(ContainSubstring("the cluster lacks Cairn's kinds Addon, BackupBatch, BackupConfiguration, BackupSession, BackupStorage, " +
			"Function, Ledger, PolicySync, Repository, RestoreSession, Snapshot: install the CRDs of this version (kubectl apply -k config/crd)"))
	})
	install(t)
	t.Run("with its own rights it leads, is healthy and shows metrics", func(t *testing.T) {
		g := NewWithT(t)
		p := begin(t, kubeconfig(t, false), "--enable-leader-election")
		g.Eventually(func() (string, error) { return p.get(t.Context(), p.health, "/readyz") }, "60s", "100ms").Should(ContainSubstring("ok"))
		g.Eventually(func() (string, error) { return p.get(t.Context(), p.metrics, "/metrics") }, "60s", "100ms").Should(ContainSubstring(`leader_election_master_status{name="cairn-manager"} 1`))
		g.Expect(p.end(t)).To(Equal(0))
	})
	t.Run("many configurations", manyConfigurations)
	t.Run("what the API refuses", apiRules)
	t.Run("what the manager may do", managerRights)
	t.Run("what a mover may write", moverRights)
	t.Run("what a trigger may create", triggerRights)
}
