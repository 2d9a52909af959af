package testbed

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"github.com/fluxcd/pkg/ssh"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// GitServer is the Git server in the cluster.
type GitServer struct {
	// URL that pods use, over HTTP.
	URL string
	// SSHURL that pods use, over SSH.
	SSHURL string
	// HostURL that this machine uses, over HTTP.
	HostURL string
	// Username and Password of its only user.
	Username string
	// Password of the user.
	Password string
	// Identity is the private key of its only user.
	Identity []byte
	// KnownHosts line of the server, for SSHURL.
	KnownHosts []byte
}

// S3Server is the object store in the cluster.
type S3Server struct {
	// URL that pods use.
	URL string
	// HostURL that this machine uses.
	HostURL string
	// AccessKey and SecretKey of its only user.
	AccessKey string
	// SecretKey of the user.
	SecretKey string
}

// Names of the Secrets that hold the servers' credentials.
const (
	gitSecret = "git-server"
	s3Secret  = "s3-server"
)

// ensureSecrets makes passwords and keys once. Only the cluster and this process have them.
func (t *Testbed) ensureSecrets(ctx context.Context) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace}}
	if err := t.Client.Create(ctx, namespace); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create namespace %s: %w", Namespace, err)
	}
	client, err := ssh.GenerateKeyPair(ssh.ED25519)
	if err != nil {
		return fmt.Errorf("make a key pair: %w", err)
	}
	host, err := ssh.GenerateKeyPair(ssh.ED25519)
	if err != nil {
		return fmt.Errorf("make a host key: %w", err)
	}
	for name, data := range map[string]map[string][]byte{
		gitSecret: {
			"username": []byte("cairn"), "password": []byte(randomText()),
			"identity": client.PrivateKey, "authorized_keys": client.PublicKey, "host_key": host.PrivateKey,
			"known_hosts": append([]byte("git."+Namespace+".svc "), host.PublicKey...),
		},
		s3Secret: {"AWS_ACCESS_KEY_ID": []byte("cairn-testbed"), "AWS_SECRET_ACCESS_KEY": []byte(randomText())},
	} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name}, Data: data}
		if err := t.Client.Create(ctx, secret); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create Secret %s: %w", name, err)
		}
	}
	return nil
}

func randomText() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// findServers reads the addresses and credentials of the servers.
func (t *Testbed) findServers(ctx context.Context) error {
	var git, s3 corev1.Secret
	if err := t.Client.Get(ctx, client.ObjectKey{Namespace: Namespace, Name: gitSecret}, &git); err != nil {
		return fmt.Errorf("read the Git server's Secret: %w", err)
	}
	if err := t.Client.Get(ctx, client.ObjectKey{Namespace: Namespace, Name: s3Secret}, &s3); err != nil {
		return fmt.Errorf("read the S3 server's Secret: %w", err)
	}
	gitAddress, err := t.nodeAddress(ctx, "git", "http")
	if err != nil {
		return err
	}
	s3Address, err := t.nodeAddress(ctx, "s3", "http")
	if err != nil {
		return err
	}
	t.Git = &GitServer{
		URL: "http://git." + Namespace + ".svc", SSHURL: "ssh://git@git." + Namespace + ".svc",
		HostURL:  "http://" + gitAddress,
		Username: string(git.Data["username"]), Password: string(git.Data["password"]),
		Identity: git.Data["identity"], KnownHosts: git.Data["known_hosts"],
	}
	t.S3 = &S3Server{
		URL: "http://s3." + Namespace + ".svc", HostURL: "http://" + s3Address,
		AccessKey: string(s3.Data["AWS_ACCESS_KEY_ID"]), SecretKey: string(s3.Data["AWS_SECRET_ACCESS_KEY"]),
	}
	return nil
}

// nodeAddress is host:port of a Service's node port, which this machine reaches with every provider.
func (t *Testbed) nodeAddress(ctx context.Context, service, port string) (string, error) {
	var nodes corev1.NodeList
	if err := t.Client.List(ctx, &nodes); err != nil {
		return "", fmt.Errorf("list nodes: %w", err)
	}
	var s corev1.Service
	if err := t.Client.Get(ctx, client.ObjectKey{Namespace: Namespace, Name: service}, &s); err != nil {
		return "", fmt.Errorf("read Service %s: %w", service, err)
	}
	for _, p := range s.Spec.Ports {
		if p.Name != port || len(nodes.Items) == 0 {
			continue
		}
		for _, a := range nodes.Items[0].Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				return net.JoinHostPort(a.Address, strconv.Itoa(int(p.NodePort))), nil
			}
		}
	}
	return "", fmt.Errorf("find the address of Service %s: no node with an internal address, or no port %s",
		service, port)
}

// waitGit waits until the Git server answers on the node's port, which happens some time after its pod is ready.
func (t *Testbed) waitGit(ctx context.Context) error {
	return Poll(ctx, Patience, "the Git server at "+t.Git.HostURL, func(ctx context.Context) (bool, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.Git.HostURL+"/healthz", nil)
		if err != nil {
			return false, err
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return false, err
		}
		return answer.StatusCode == http.StatusOK, answer.Body.Close()
	})
}

// EnsureBucket makes a bucket unless it exists.
func (t *Testbed) EnsureBucket(ctx context.Context, bucket string) error {
	c, err := t.S3Client()
	if err != nil {
		return err
	}
	return Poll(ctx, Patience, "bucket "+bucket, func(ctx context.Context) (bool, error) {
		ok, err := c.BucketExists(ctx, bucket)
		if err != nil || ok {
			return ok, err
		}
		return false, c.MakeBucket(ctx, bucket, minio.MakeBucketOptions{})
	})
}

// S3Client is a client of the object store for this machine.
func (t *Testbed) S3Client() (*minio.Client, error) {
	address := t.S3.HostURL[len("http://"):]
	c, err := minio.New(address, &minio.Options{Creds: credentials.NewStaticV4(t.S3.AccessKey, t.S3.SecretKey, "")})
	if err != nil {
		return nil, fmt.Errorf("connect to the S3 server: %w", err)
	}
	return c, nil
}

// EmptyBucket removes every object of a bucket.
func (t *Testbed) EmptyBucket(ctx context.Context, bucket string) error {
	c, err := t.S3Client()
	if err != nil {
		return err
	}
	ok, err := c.BucketExists(ctx, bucket)
	if err != nil || !ok {
		return err
	}
	for object := range c.ListObjects(ctx, bucket, minio.ListObjectsOptions{Recursive: true}) {
		if object.Err != nil {
			return fmt.Errorf("list bucket %s: %w", bucket, object.Err)
		}
		if err := c.RemoveObject(ctx, bucket, object.Key, minio.RemoveObjectOptions{}); err != nil {
			return fmt.Errorf("remove %s from bucket %s: %w", object.Key, bucket, err)
		}
	}
	return nil
}

// ObjectCount returns the number of objects of a bucket below a prefix.
func (t *Testbed) ObjectCount(ctx context.Context, bucket, prefix string) (int, error) {
	c, err := t.S3Client()
	if err != nil {
		return 0, err
	}
	n := 0
	for object := range c.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if object.Err != nil {
			return 0, fmt.Errorf("list bucket %s: %w", bucket, object.Err)
		}
		n++
	}
	return n, nil
}
