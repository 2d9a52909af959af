package demo

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// uploadsUser owns the files of the stand-alone volume. Movers run as this user by default.
const uploadsUser = 65532

// clean removes what an earlier run left in the cluster, and its backups, so that each run shows the same.
func (s *show) clean(ctx context.Context) error {
	old := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	err := s.bed.Client.Delete(ctx, old)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove the namespace of an earlier run: %w", err)
	}
	s.say("An earlier demo was here: removing its namespace and its backups")
	why := "the end of namespace " + namespace
	err = testbed.Poll(ctx, testbed.Patience, why, func(ctx context.Context) (bool, error) {
		err := s.bed.Client.Get(ctx, client.ObjectKeyFromObject(old), old)
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	})
	if err != nil {
		return err
	}
	return s.bed.EmptyBucket(ctx, testbed.Bucket)
}

// application deploys the application and fills its volumes with the source code of the Go toolchain.
func (s *show) application(ctx context.Context) error {
	s.say("An application: Deployment web with a volume, StatefulSet db with two replicas, the volume uploads " +
		"by itself")
	if err := s.bed.Apply(ctx, app); err != nil {
		return fmt.Errorf("deploy the application: %w", err)
	}
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("find the Go toolchain: %w", err)
	}
	source := filepath.Join(strings.TrimSpace(string(out)), "src")
	web, err := s.webPod(ctx)
	if err != nil {
		return err
	}
	for _, fill := range []struct{ pod, local, remote string }{
		{web, source, "/var/www"},
		{"db-0", filepath.Join(source, "cmd", "compile"), "/var/lib/db"},
		{"db-1", filepath.Join(source, "runtime"), "/var/lib/db"},
	} {
		if err := s.bed.WaitPod(ctx, client.ObjectKey{Namespace: namespace, Name: fill.pod}); err != nil {
			return err
		}
		if err := s.bed.Fill(ctx, namespace, fill.pod, fill.local, fill.remote); err != nil {
			return fmt.Errorf("fill the volume of %s: %w", fill.pod, err)
		}
	}
	filler := testbed.VolumePod{Namespace: namespace, Name: "filler", Claim: "uploads", User: uploadsUser}
	err = s.bed.WithVolumePod(ctx, filler, func(ctx context.Context) error {
		return s.bed.Fill(ctx, namespace, filler.Name, filepath.Join(source, "crypto"), "/data")
	})
	if err != nil {
		return fmt.Errorf("fill the volume uploads: %w", err)
	}
	s.note("filled with the Go toolchain's source code; web alone holds all of it")
	return s.secrets(ctx)
}

// secrets are never in Git: a person or a secret manager puts them into the cluster.
func (s *show) secrets(ctx context.Context) error {
	git := map[string][]byte{
		"username": []byte(s.bed.Git.Username), "password": []byte(s.bed.Git.Password),
		"identity": s.bed.Git.Identity, "known_hosts": s.bed.Git.KnownHosts,
	}
	for _, secret := range []*corev1.Secret{
		{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "s3-credentials"}, Data: map[string][]byte{
			v1alpha1.S3AccessKeyID: []byte(s.bed.S3.AccessKey), v1alpha1.S3SecretAccessKey: []byte(s.bed.S3.SecretKey),
		}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "encryption"}, Data: map[string][]byte{
			v1alpha1.EncryptionPassword: []byte("correct horse battery staple"),
		}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "git-credentials"}, Data: git},
		{ObjectMeta: metav1.ObjectMeta{Namespace: testbed.SystemNamespace, Name: "git-credentials"}, Data: git},
	} {
		if err := s.bed.Client.Create(ctx, secret); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create Secret %s: %w", secret.Name, err)
		}
	}
	return nil
}

// webPod is the name of the Deployment's pod.
func (s *show) webPod(ctx context.Context) (string, error) {
	var name string
	err := testbed.Poll(ctx, testbed.Patience, "the pod of Deployment web", func(ctx context.Context) (bool, error) {
		var pods corev1.PodList
		if err := s.bed.Client.List(ctx, &pods, client.InNamespace(namespace),
			client.MatchingLabels{"app": "web"}); err != nil {
			return false, err
		}
		if len(pods.Items) == 0 {
			return false, nil
		}
		name = pods.Items[0].Name
		return true, nil
	})
	return name, err
}
