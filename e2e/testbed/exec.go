package testbed

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	streaming "k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/cairn-backup/cairn/internal/kube/hookexec"
)

// Exec runs a program in a pod's first container, with stdin where it is not nil, and returns what it printed.
func (t *Testbed) Exec(ctx context.Context, namespace, pod string, stdin io.Reader, command ...string) (string, error) {
	set, err := kubernetes.NewForConfig(t.Config)
	if err != nil {
		return "", fmt.Errorf("connect to the cluster: %w", err)
	}
	request := set.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: command, Stdin: stdin != nil, Stdout: true, Stderr: true},
			scheme.ParameterCodec)
	executor, err := confirmed(t.Config, request.URL())
	if err != nil {
		return "", fmt.Errorf("exec in %s/%s: %w", namespace, pod, err)
	}
	var stdout, stderr bytes.Buffer
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: stdin, Stdout: &stdout, Stderr: &stderr})
	if err != nil {
		return "", fmt.Errorf("exec %s in %s/%s: %w: %s", command[0], namespace, pod, err, stderr.String())
	}
	return stdout.String(), nil
}

// confirmed returns an executor that fails if the connection is cut. client-go's own takes that for success, and the
// output for all there is. It sends no pings: see hookexec.RoundTripperFor.
func confirmed(config *rest.Config, url *url.URL) (remotecommand.Executor, error) {
	transport, upgrader, err := hookexec.RoundTripperFor(config, 0)
	if err != nil {
		return nil, err
	}
	return remotecommand.NewSPDYExecutorForProtocols(transport, hookexec.Confirmed{Upgrader: upgrader}, "POST", url,
		streaming.StreamProtocolV5Name, streaming.StreamProtocolV4Name)
}
