package hookexec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	streaming "k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// command runs the command of an action in a pod. Its output is discarded, except for the end of its standard error.
func command(
	ctx context.Context, config *rest.Config, api kubernetes.Interface, pod *corev1.Pod, action *v1alpha1.HookAction,
) error {
	container, err := containerOf(pod, action.ContainerName)
	if err != nil {
		return err
	}
	dial := &dialing{limit: reachOf(pod)}
	executor, err := executorOf(config, api, pod, container, action.Exec.Command, dial)
	if err != nil {
		return fmt.Errorf("run command in pod %s: %w", pod.Name, err)
	}
	stderr := &tailWriter{}
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: io.Discard, Stderr: stderr})
	if err != nil && dial.failed != nil {
		err = dial.failed // without the address, in which the command is
	}
	var exit exec.CodeExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit):
		return &failure{
			reason: v1alpha1.ReasonCommandFailed,
			message: fmt.Sprintf("the command in pod %s, container %s ended with exit code %d", pod.Name, container,
				exit.Code),
			stderr: stderr.String(),
		}
	case forbidden(err):
		return notPermitted(pod.Namespace)
	default:
		return &failure{
			reason:  v1alpha1.ReasonCommandFailed,
			message: fmt.Sprintf("run command in pod %s, container %s: %v", pod.Name, container, err),
			cut:     errors.Is(err, errCut) || strings.Contains(err.Error(), noStatus),
			unbegun: dial.unbegun(err),
		}
	}
}

// noStatus begins the error of client-go for a connection that broke before the kubelet said how the command ended.
// Only this text says so if a WebSocket was used.
const noStatus = "error reading from error stream"

// executorOf returns an executor that takes a connection that was cut for a failure. That is possible only with SPDY,
// which the API server passes on as it is: for a WebSocket it translates, and itself takes a connection to the kubelet
// that was cut for the end of the command. So a WebSocket is used only where SPDY is refused.
func executorOf(
	config *rest.Config, api kubernetes.Interface, pod *corev1.Pod, container string, args []string,
	dial *dialing,
) (remotecommand.Executor, error) {
	options := &corev1.PodExecOptions{Container: container, Command: args, Stdout: true, Stderr: true}
	request := api.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).
		SubResource("exec").VersionedParams(options, scheme.ParameterCodec)
	socket, err := remotecommand.NewWebSocketExecutor(config, "GET", request.URL().String())
	if err != nil {
		return nil, err
	}
	if dial.transport, dial.upgrader, err = RoundTripperFor(config, pings); err != nil {
		return nil, err
	}
	confirmed, err := remotecommand.NewSPDYExecutorForProtocols(dial, dial, "POST", request.URL(),
		streaming.StreamProtocolV5Name, streaming.StreamProtocolV4Name)
	if err != nil {
		return nil, err
	}
	return remotecommand.NewFallbackExecutor(confirmed, socket, dial.translates)
}

// forbidden reports whether the API server refused the request. Before the connection changes its protocol, only the
// text of the error says so.
func forbidden(err error) bool {
	return apierrors.IsForbidden(err) || strings.Contains(err.Error(), "is forbidden") ||
		strings.Contains(err.Error(), "403 Forbidden")
}

// containerOf returns the container with this name, or the first one if name is empty.
func containerOf(pod *corev1.Pod, name string) (string, error) {
	if name == "" {
		return pod.Spec.Containers[0].Name, nil
	}
	has := func(c corev1.Container) bool { return c.Name == name }
	if !slices.ContainsFunc(pod.Spec.Containers, has) && !slices.ContainsFunc(pod.Spec.InitContainers, has) {
		return "", refused(v1alpha1.ReasonInvalidHook, "pod %s has no container %q", pod.Name, name)
	}
	return name, nil
}

// tailWriter keeps the end of what is written to it.
type tailWriter struct{ kept []byte }

const maxTail = 512

func (t *tailWriter) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p[max(0, len(p)-maxTail):]...)
	t.kept = t.kept[max(0, len(t.kept)-maxTail):]
	return len(p), nil
}

// String returns the kept end as printable text.
func (t *tailWriter) String() string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(string(t.kept), "")))
}
