package testbed

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Namespaces of the testbed.
const (
	// Namespace of the Git and the S3 server.
	Namespace = "cairn-testbed"
	// SystemNamespace is where the manager runs.
	SystemNamespace = "cairn-system"
)

// Bucket that Deploy makes on the S3 server.
const Bucket = "backups"

// Testbed is a cluster with Cairn, a Git server and an S3 server in it. Its methods can be called concurrently.
type Testbed struct {
	// Client of an administrator of the cluster.
	Client client.Client
	// Config that the client was made from.
	Config *rest.Config
	// Kubeconfig is the path of the file.
	Kubeconfig string
	// Git and S3 are the servers. They are nil before Deploy.
	Git *GitServer
	// S3 is the object store.
	S3 *S3Server

	provider Provider
	root     string
	out      io.Writer
}

// Connect brings the provider's cluster up and returns a testbed without servers. root is the checkout's directory.
func Connect(ctx context.Context, p Provider, root string, out io.Writer) (*Testbed, error) {
	kubeconfig, err := p.Up(ctx)
	if err != nil {
		return nil, fmt.Errorf("bring the cluster up: %w", err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	config.QPS, config.Burst = 100, 200
	config.WarningHandler = rest.NoWarnings{}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, corev1.AddToScheme, batchv1.AddToScheme, rbacv1.AddToScheme, snapshotv1.AddToScheme,
		v1alpha1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("register kinds: %w", err)
		}
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	return &Testbed{Client: c, Config: config, Kubeconfig: kubeconfig, provider: p, root: root, out: out}, nil
}

// Deploy loads the images, installs Cairn and the servers and waits until all of them are ready. It can be repeated:
// what is there already stays, with its data and its passwords, and only pods of older images are replaced.
func (t *Testbed) Deploy(ctx context.Context) error {
	var archives []string
	for _, name := range Images {
		archives = append(archives, t.archive(name))
	}
	begin := time.Now()
	if err := t.provider.LoadImages(ctx, archives...); err != nil {
		return fmt.Errorf("load the images: %w", err)
	}
	if err := t.ensureSecrets(ctx); err != nil {
		return err
	}
	if err := t.applyDir(ctx, filepath.Join(t.root, "config", "default")); err != nil {
		return fmt.Errorf("install Cairn: %w", err)
	}
	if err := t.applyServers(ctx); err != nil {
		return fmt.Errorf("install the servers: %w", err)
	}
	for _, d := range []client.ObjectKey{
		{Namespace: Namespace, Name: "git"}, {Namespace: Namespace, Name: "s3"}, manager,
	} {
		if err := t.waitDeployment(ctx, d); err != nil {
			return err
		}
	}
	if err := t.findServers(ctx); err != nil {
		return err
	}
	if err := t.waitGit(ctx); err != nil {
		return err
	}
	if err := t.EnsureBucket(ctx, Bucket); err != nil {
		return err
	}
	fmt.Fprintf(t.out, "Cairn, the Git server and the S3 server are ready after %s\n",
		time.Since(begin).Round(100*time.Millisecond))
	return nil
}

// Down removes the provider's cluster.
func (t *Testbed) Down(ctx context.Context) error { return t.provider.Down(ctx) }

func (t *Testbed) manifests() string { return filepath.Join(t.root, "e2e", "testbed", "manifests") }
