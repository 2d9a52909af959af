package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fluxcd/pkg/runtime/pprof"
	corev1 "k8s.io/api/core/v1"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/cairn-backup/cairn/internal/kube/scrape"
)

// metricsOptions says who can read the metrics. The profiles of pprof hold what is in the manager's memory, credentials
// too, so they are only served to those whom the API server lets.
func metricsOptions(o *options) metricsserver.Options {
	out := metricsserver.Options{BindAddress: o.metricsAddr}
	if !o.metricsSecure {
		return out
	}
	out.SecureServing, out.FilterProvider, out.ExtraHandlers = true, scrape.Filter, pprof.GetHandlers()
	out.CertDir = o.metricsCertDir
	// HTTP/2 lets one connection send many requests at once, which a scrape does not need.
	out.TLSOpts = []func(*tls.Config){func(c *tls.Config) {
		c.NextProtos, c.MinVersion = []string{"http/1.1"}, tls.VersionTLS12
	}}
	return out
}

// checkMetrics refuses flags about metrics that don't suit each other. Without the files, the server would use a
// certificate of its own and say nothing.
func (o *options) checkMetrics() error {
	if o.metricsCertDir == "" {
		return nil
	}
	if !o.metricsSecure {
		return errors.New("--metrics-cert-dir needs --metrics-secure")
	}
	for _, name := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
		if _, err := os.Stat(filepath.Join(o.metricsCertDir, name)); err != nil {
			return fmt.Errorf("invalid --metrics-cert-dir %q: it must hold the files %s and %s: %w", o.metricsCertDir,
				corev1.TLSCertKey, corev1.TLSPrivateKeyKey, err)
		}
	}
	return nil
}
