// Package e2e holds the scenarios that prove Cairn on a real cluster. "make e2e" runs them, "make e2e RUN=TestSpine"
// one.
package e2e

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/cairn-backup/cairn/e2e/testbed"
)

// deploy connects to the cluster that "make e2e" has started and deploys the testbed there, once for all scenarios.
var deploy = sync.OnceValues(func() (*testbed.Testbed, error) {
	log.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	ctx := context.Background()
	root, err := filepath.Abs("..")
	if err != nil {
		return nil, err
	}
	provider, err := testbed.Choose(ctx, root, os.Stderr)
	if err != nil {
		return nil, err
	}
	bed, err := testbed.Connect(ctx, provider, root, os.Stderr)
	if err != nil {
		return nil, err
	}
	return bed, bed.Deploy(ctx)
})

// deployed returns the testbed. Without a cluster the test is skipped: "make e2e" brings one.
func deployed(t *testing.T) *testbed.Testbed {
	t.Helper()
	if os.Getenv("CAIRN_E2E") == "" {
		t.Skip("needs a cluster: run it with \"make e2e\"")
	}
	bed, err := deploy()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return bed
}

// root is the top of the checkout.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("..")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return dir
}

// programs is a PATH with the built programs, and with kubectl where the local cluster has one.
func programs(t *testing.T) string {
	t.Helper()
	return filepath.Join(root(t), "bin") + ":" + os.Getenv("CLUSTER_BIN") + ":" + os.Getenv("PATH")
}
