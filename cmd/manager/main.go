// Command manager runs Cairn's controllers.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/fluxcd/pkg/runtime/client"
	"github.com/fluxcd/pkg/runtime/jitter"
	"github.com/fluxcd/pkg/runtime/leaderelection"
	"github.com/fluxcd/pkg/runtime/logger"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/cairn-backup/cairn/internal/pushgateway"
	"github.com/cairn-backup/cairn/internal/repository/memlimit"
	"github.com/cairn-backup/cairn/internal/version"
)

// options are the flags.
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
	// kubeStashMetrics are served too.
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
	log := logger.NewLogger(o.log)
	logger.SetLogger(log)
	ctrl.SetLogger(log)
	if _, err := memlimit.Set(); err != nil {
		log.Error(err, "the memory limit of the container is not known; only its own limit stops the manager from growing")
	}
	if err := run(ctrl.SetupSignalHandler(), &o); err != nil {
		log.Error(err, "the manager has stopped")
		os.Exit(1)
	}
}

// check says which flag can't be worked with.
func (o *options) check() error {
	switch {
	case len(o.arguments) > 0:
		return fmt.Errorf("%q is not a flag, and there are no other arguments", o.arguments[0])
	case o.moverImage == "":
		return errors.New("--mover-image is required")
	case o.clusterName != "" && len(validation.IsDNS1123Label(o.clusterName)) > 0:
		return fmt.Errorf("--cluster-name is %q: %s", o.clusterName, validation.IsDNS1123Label(o.clusterName)[0])
	case o.concurrent < 1:
		return fmt.Errorf("--concurrent is %d: it must be 1 or more", o.concurrent)
	case o.gatewayURL != "":
		if _, err := pushgateway.New(o.gatewayURL); err != nil {
			return fmt.Errorf("--pushgateway-url: %w", err)
		}
	}
	return nil
}

func (o *options) bind(fs *pflag.FlagSet) {
	fs.StringVar(&o.metricsAddr, "metrics-addr", ":8080", "address of the metrics")
	fs.StringVar(&o.healthAddr, "health-addr", ":9440", "address of the health checks")
	fs.StringVar(&o.eventsAddr, "events-addr", "", "address of Flux's notification controller, which gets the events too")
	fs.StringVar(&o.moverImage, "mover-image", "", "image of the movers (required)")
	fs.StringVar(&o.clusterName, "cluster-name", "", "name that begins the directories of repositories for which policy names none; the default is the first eight characters of the UID of the namespace kube-system")
	fs.StringVar(&o.gatewayURL, "pushgateway-url", "", "URL of a Prometheus Pushgateway that is told of every BackupSession and RestoreSession that ends, for example http://localhost:9091; empty is none")
	fs.BoolVar(&o.kubeStashMetrics, "kubestash-metrics", false, "serve the metrics of KubeStash's exporter too, with its names and labels")
	fs.StringVar(&o.dataDir, "data-dir", "/data", "directory for what is fetched from Git; it may be lost at any time")
	fs.IntVar(&o.concurrent, "concurrent", 4, "number of objects of a kind that are reconciled at the same time")
	fs.BoolVar(&o.showVersion, "version", false, "print the version and exit")
	o.client.BindFlags(fs)
	o.log.BindFlags(fs)
	o.leaderElection.BindFlags(fs)
	o.jitter.BindFlags(fs)
}
