package command

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/version"
)

// Cluster connects to the API server as the flags of a command say.
type Cluster struct {
	flags *genericclioptions.ConfigFlags
}

// NewCluster adds kubectl's connection flags to a command, and the namespace flag if namespaced. It leaves out flags
// that hold a credential: everybody on the machine can see arguments.
func NewCluster(cmd *cobra.Command, namespaced bool) *Cluster {
	f := genericclioptions.NewConfigFlags(true)
	f.CacheDir, f.ClusterName, f.AuthInfoName, f.APIServer, f.TLSServerName, f.Insecure = nil, nil, nil, nil, nil, nil
	f.CertFile, f.KeyFile, f.CAFile, f.BearerToken, f.ImpersonateUID, f.DisableCompression = nil, nil, nil, nil,
		nil, nil
	f.ImpersonateUserExtra, f.ProxyURL = nil, nil
	f.WrapConfigFn = func(c *rest.Config) *rest.Config {
		c.UserAgent = "cairn/" + version.Version
		c.WarningHandler = rest.NoWarnings{}
		c.QPS = -1 // the API server limits clients itself; a limit here could end a wait with an error
		return c
	}
	if !namespaced {
		f.Namespace = nil
	}
	f.AddFlags(cmd.Flags())
	c := &Cluster{flags: f}
	if namespaced {
		_ = cmd.RegisterFlagCompletionFunc("namespace", c.completeNamespaces)
	}
	return c
}

// namespace returns the namespace of the flag, else that of the kubeconfig's context.
func (c *Cluster) namespace() (string, error) {
	ns, _, err := c.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "", fmt.Errorf("read the kubeconfig: %w", err)
	}
	return ns, nil
}

// Client connects to the cluster that the flags and the kubeconfig name.
func (c *Cluster) Client() (client.Client, error) {
	config, err := c.flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	// Without a configured cluster the library connects to this machine, and its error would not tell the reason.
	if raw, err := c.flags.ToRawKubeConfigLoader().RawConfig(); err == nil && len(raw.Clusters) == 0 &&
		strings.HasSuffix(config.Host, unconfiguredHost) {
		if paths := os.Getenv(clientcmd.RecommendedConfigPathEnvVar); paths != "" && *c.flags.KubeConfig == "" {
			return nil, fmt.Errorf("KUBECONFIG=%s names no cluster: correct it or set --kubeconfig", paths)
		}
		return nil, errors.New("no cluster is configured: set --kubeconfig or KUBECONFIG")
	}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, err
	}
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	return client.New(config, client.Options{Scheme: scheme})
}

// unconfiguredHost is the server that kubectl's libraries use if none is configured.
const unconfiguredHost = "localhost:8080"

// Both returns the client and the namespace.
func (c *Cluster) Both() (client.Client, string, error) {
	ns, err := c.namespace()
	if err != nil {
		return nil, "", err
	}
	api, err := c.Client()
	return api, ns, err
}

// explain returns the text of an error. For an error of the connection to the API server it adds what to do.
func explain(err error) string {
	var noKind *apimeta.NoKindMatchError
	var network *url.Error
	switch {
	case errors.As(err, &noKind):
		return fmt.Sprintf(
			"the cluster does not know the kind %s: install Cairn in it, or choose another cluster with --context",
			noKind.GroupKind.Kind)
	case apierrors.IsUnauthorized(err):
		return "the API server refused the credentials of the kubeconfig: log in again, or choose another --context"
	case apierrors.IsForbidden(err):
		return err.Error() + ": ask for this permission, or choose another --context"
	case errors.As(err, &network):
		return fmt.Sprintf("reach the cluster: %s: check --kubeconfig and --context", network.Err)
	}
	return err.Error()
}

// ManagerImage returns the manager's image. It is empty if the cluster can't be asked: the client's version must not
// depend on a cluster.
func (c *Cluster) ManagerImage(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	api, err := c.Client()
	if err != nil {
		return ""
	}
	var d appsv1.Deployment
	if err := api.Get(ctx, client.ObjectKey{Namespace: ManagerNamespace, Name: managerName}, &d); err != nil ||
		len(d.Spec.Template.Spec.Containers) == 0 {
		return ""
	}
	return d.Spec.Template.Spec.Containers[0].Image
}

// ManagerNamespace is where the command line looks for the manager.
const ManagerNamespace = "cairn-system"

// The name of the manager, and how long the command waits for an answer.
const (
	managerName    = "cairn-manager"
	versionTimeout = 3 * time.Second
)
