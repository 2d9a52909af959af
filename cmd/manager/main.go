// Command manager runs Cairn's controllers.
package main

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/fluxcd/pkg/runtime/client"
	"github.com/fluxcd/pkg/runtime/jitter"
	"github.com/fluxcd/pkg/runtime/leaderelection"
	"github.com/fluxcd/pkg/runtime/logger"
	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/util/validation"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/pushgateway"
	"github.com/cairn-backup/cairn/internal/repository/memlimit"
	"github.com/cairn-backup/cairn/internal/version"
)

// options holds the flags.
type options struct {
	metricsAddr string
	healthAddr  string
	eventsAddr  string
	moverImage  string
	clusterName string
	gatewayURL  string
	dataDir     string
	concurrent  int
	showVersion bool
	// adminNamespaces are the namespaces of the cluster's administrators. Without one it is the manager's own.
	adminNamespaces []string
	// metricsSecure serves metrics over HTTPS, and only to those whom the API server lets.
	metricsSecure bool
	// metricsCertDir holds the certificate for that. Without it the manager makes one.
	metricsCertDir string
	// egressAllow and egressDeny are prefixes of addresses to which connections that objects ask for can or can't go.
	egressAllow, egressDeny []string
	// kubeStashMetrics also serves the metrics of KubeStash.
	kubeStashMetrics bool
	arguments        []string

	client         client.Options
	log            logger.Options
	leaderElection leaderelection.Options
	jitter         jitter.IntervalOptions
}

func main() {
	var o options
	o.bind(pflag.CommandLine)
	pflag.Parse()
	o.arguments = pflag.Args()
	if o.showVersion {
		fmt.Println(version.Version)
		return
	}
	log, err := newLogger(o.log, zapcore.Lock(os.Stderr))
	if err != nil {
		fmt.Fprintln(os.Stderr, "read the flags:", err)
		os.Exit(1)
	}
	logger.SetLogger(log)
	ctrl.SetLogger(log)
	if _, err := memlimit.Set(); err != nil {
		log.Error(err, "read the container's memory limit: only GOMEMLIMIT bounds the manager's memory now")
	}
	if err := run(ctrl.SetupSignalHandler(), &o); err != nil {
		log.Error(err, "the manager has stopped")
		os.Exit(1)
	}
}

// check refuses flags that the manager can't work with.
func (o *options) check() error {
	switch {
	case len(o.arguments) > 0:
		return fmt.Errorf("unexpected argument %q", o.arguments[0])
	case o.moverImage == "":
		return errors.New("--mover-image is required")
	case o.clusterName != "" && len(validation.IsDNS1123Label(o.clusterName)) > 0:
		return fmt.Errorf("invalid --cluster-name %q: %s", o.clusterName, validation.IsDNS1123Label(o.clusterName)[0])
	case slices.ContainsFunc(o.adminNamespaces, badNamespace):
		bad := o.adminNamespaces[slices.IndexFunc(o.adminNamespaces, badNamespace)]
		return fmt.Errorf("invalid --admin-namespaces: %q is no name of a namespace: %s", bad,
			validation.IsDNS1123Label(bad)[0])
	case o.concurrent < 1:
		return fmt.Errorf("invalid --concurrent %d: it must be 1 or more", o.concurrent)
	}
	if err := o.checkMetrics(); err != nil {
		return err
	}
	if _, err := egress.New(o.rules()); err != nil {
		return err
	}
	if o.gatewayURL != "" {
		if _, err := pushgateway.New(o.gatewayURL); err != nil {
			return fmt.Errorf("--pushgateway-url: %w", err)
		}
	}
	return nil
}

func badNamespace(name string) bool { return len(validation.IsDNS1123Label(name)) > 0 }

func (o *options) bind(fs *pflag.FlagSet) {
	fs.StringVar(&o.metricsAddr, "metrics-addr", ":8080", "address that serves the metrics")
	fs.BoolVar(&o.metricsSecure, "metrics-secure", true, "serve the metrics over HTTPS, and only to those whom the "+
		"API server lets get /metrics; false serves them to everybody over HTTP, and no profiles")
	fs.StringVar(&o.metricsCertDir, "metrics-cert-dir", "", "directory with the files tls.crt and tls.key, with which "+
		"the metrics are served; they can change at any time (default a certificate that the manager makes)")
	fs.StringVar(&o.healthAddr, "health-addr", ":9440", "address that serves the health checks")
	fs.StringVar(&o.eventsAddr, "events-addr", "",
		"address of Flux's notification controller, to which events are sent too")
	fs.StringVar(&o.moverImage, "mover-image", "", "image of the movers (required)")
	fs.StringVar(&o.clusterName, "cluster-name", "", "name of the cluster, with which inferred repository directories "+
		"begin (default the first eight characters of the UID of the namespace kube-system)")
	fs.StringVar(&o.gatewayURL, "pushgateway-url", "",
		"URL of a Prometheus Pushgateway that receives metrics of every "+
			"ended BackupSession and RestoreSession, for example http://localhost:9091")
	fs.BoolVar(&o.kubeStashMetrics, "kubestash-metrics", false,
		"also serve the metrics of KubeStash's exporter, with its names and labels")
	fs.StringVar(&o.dataDir, "data-dir", "/data",
		"directory for what is fetched from Git; its content can be lost at any time")
	fs.StringSliceVar(&o.adminNamespaces, "admin-namespaces", nil, "namespaces of the cluster's administrators, "+
		"separated by commas: their defaults and Ledgers can count for other namespaces (default the manager's own)")
	fs.StringSliceVar(&o.egressAllow, egress.FlagAllow, nil, "CIDRs, separated by commas, of addresses to which the "+
		"manager and movers connect for the URL of an object, although they refuse them by default: loopback, "+
		"link-local, multicast, the metadata services of clouds and the API server. The longest prefix decides; among "+
		"equally long ones --egress-deny comes before --egress-allow, and that before what is refused by default")
	fs.StringSliceVar(&o.egressDeny, egress.FlagDeny, nil, "CIDRs, separated by commas, of more addresses to which "+
		"the manager and movers do not connect for the URL of an object. With 0.0.0.0/0,::/0 only what --egress-allow "+
		"names is left")
	fs.IntVar(&o.concurrent, "concurrent", 4, "number of objects of one kind that are reconciled at the same time")
	fs.BoolVar(&o.showVersion, "version", false, "print the version and exit")
	o.client.BindFlags(fs)
	o.log.BindFlags(fs)
	o.leaderElection.BindFlags(fs)
	o.jitter.BindFlags(fs)
}
