package testbed

import (
	"bytes"
	"context"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
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
	executor, err := remotecommand.NewSPDYExecutor(t.Config, "POST", request.URL())
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
