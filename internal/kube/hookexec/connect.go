package hookexec

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/egress"
)

// maxAnswer is how much of an answer is read. The content is discarded.
const maxAnswer = 64 << 10

// wasRefused reports whether the rules for addresses refuse a connection. They will also refuse the next one.
func wasRefused(err error) bool { return errors.As(err, new(*egress.RefusedError)) }

// connect makes a request or opens a connection. If the action names no host, it goes to the pod. Messages use the
// words of the template, because filled-in values can be secret.
func (e *Executor) connect(ctx context.Context, action, template *v1alpha1.HookAction, pod *corev1.Pod) error {
	switch {
	case action.HTTPGet != nil:
		return e.request(ctx, http.MethodGet, action, action.HTTPGet, template.HTTPGet, pod)
	case action.HTTPPost != nil:
		return e.request(ctx, http.MethodPost, action, &action.HTTPPost.HookHTTPGetAction,
			&template.HTTPPost.HookHTTPGetAction, pod)
	case action.TCPSocket != nil:
		host, port, err := address(action.TCPSocket.Host, action.TCPSocket.Port, action.ContainerName, pod)
		if err != nil {
			return err
		}
		conn, err := e.Egress.Within(reachOf(pod))(ctx, "tcp", net.JoinHostPort(host, port))
		if err != nil {
			return &failure{
				reason: v1alpha1.ReasonRequestFailed, message: fmt.Sprintf("connect to %s: %v",
					serverName(template.TCPSocket.Host, port, pod), withoutAddress(err)),
				unbegun: !wasRefused(err),
			}
		}
		_ = conn.Close()
		return nil
	default:
		return refused(v1alpha1.ReasonInvalidHook, "the action needs httpGet, httpPost or tcpSocket")
	}
}

// request makes one request. Any status from 200 to 299 is success. A redirect that is not followed is none: whoever
// redirects has done nothing.
func (e *Executor) request(
	ctx context.Context, method string, action *v1alpha1.HookAction, r, template *v1alpha1.HookHTTPGetAction,
	pod *corev1.Pod,
) error {
	host, port, err := address(r.Host, r.Port, action.ContainerName, pod)
	if err != nil {
		return err
	}
	at := method + " " + serverName(template.Host, port, pod)
	scheme := strings.ToLower(string(r.Scheme))
	if scheme == "" {
		scheme = "http"
	}
	target, err := url.Parse("/" + strings.TrimPrefix(r.Path, "/"))
	if err != nil {
		return refused(v1alpha1.ReasonInvalidHook, "%s: the path is not valid", at)
	}
	target.Scheme, target.Host = scheme, net.JoinHostPort(host, port)
	body, kind := bodyOf(action.HTTPPost)
	var connected atomic.Bool // from then on the server can have got the request
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	request, err := http.NewRequestWithContext(ctx, method, target.String(), strings.NewReader(body))
	if err != nil {
		return refused(v1alpha1.ReasonInvalidHook, "%s: the request is not valid", at)
	}
	request.Header.Set("User-Agent", "cairn-hook")
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	for _, h := range r.HTTPHeaders {
		if http.CanonicalHeaderKey(h.Name) == "Host" {
			request.Host = h.Value
			continue
		}
		request.Header.Set(h.Name, h.Value)
	}
	answer, err := e.httpClient(pod, r.Host == "").Do(request)
	if err != nil {
		return &failure{
			reason: v1alpha1.ReasonRequestFailed, message: fmt.Sprintf("%s: %v", at, withoutAddress(err)),
			cut: connected.Load(), unbegun: !connected.Load() && !wasRefused(err),
		}
	}
	defer func() { _ = answer.Body.Close() }()
	_, _ = io.CopyN(io.Discard, answer.Body, maxAnswer)
	return judge(at, answer.StatusCode)
}

// judge returns why an answer is no success. A gateway that got no answer in time knows no more than whoever was cut
// off from the server.
func judge(at string, code int) error {
	advice := ""
	switch {
	case code >= 200 && code < 300:
		return nil
	case code >= 300 && code < 400:
		advice = ": a redirect is followed only on the same server, and for a POST only with status 307 or 308; name " +
			"the scheme, host and path that answer"
	}
	return &failure{
		reason:  v1alpha1.ReasonRequestFailed,
		message: fmt.Sprintf("%s: the answer is %d %s%s", at, code, http.StatusText(code), advice),
		cut:     code == http.StatusGatewayTimeout,
	}
}

// httpClient returns a client for one request. It follows redirects only on the same server and with the same method,
// and does not check the certificate of a pod that it is for, which has no name.
func (e *Executor) httpClient(pod *corev1.Pod, toPod bool) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: e.Egress.Within(reachOf(pod)), DisableKeepAlives: true, MaxResponseHeaderBytes: maxAnswer,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: toPod},
			Proxy:           e.Egress.Proxy,
		},
		CheckRedirect: func(next *http.Request, before []*http.Request) error {
			first := before[0].URL
			if next.URL.Scheme != first.Scheme || next.URL.Host != first.Host || len(before) > 5 ||
				next.Method != before[0].Method { // a POST that became a GET asks for nothing
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
}

// bodyOf returns the body of a POST and its content type.
func bodyOf(p *v1alpha1.HookHTTPPostAction) (body, kind string) {
	switch {
	case p == nil:
		return "", ""
	case len(p.Form) > 0:
		form := url.Values{}
		for _, f := range p.Form {
			form[f.Key] = append(form[f.Key], f.Values...)
		}
		return form.Encode(), "application/x-www-form-urlencoded"
	default:
		return p.Body, "application/json"
	}
}

// address returns the host and port of a server. If no host is given, it is that of the pod.
func address(host string, port intstr.IntOrString, container string, pod *corev1.Pod) (string, string, error) {
	if pod == nil {
		if port.Type == intstr.String {
			return "", "", refused(v1alpha1.ReasonInvalidHook,
				"the port %q is a name, which only works for a port of a pod's container: use a number", port.StrVal)
		}
		return host, strconv.Itoa(int(port.IntVal)), nil
	}
	if host == "" {
		host = pod.Status.PodIP
	}
	if host == "" {
		return "", "", unreached(v1alpha1.ReasonNoRunningPod, "pod %s has no address", pod.Name)
	}
	if port.Type == intstr.Int {
		return host, strconv.Itoa(int(port.IntVal)), nil
	}
	for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
		for _, p := range c.Ports {
			if c.Name == container && p.Name == port.StrVal {
				return host, strconv.Itoa(int(p.ContainerPort)), nil
			}
		}
	}
	return "", "", refused(v1alpha1.ReasonInvalidHook, "pod %s has no port %q in container %q", pod.Name, port.StrVal,
		container)
}

// serverName names a server in the words of the template.
func serverName(host, port string, pod *corev1.Pod) string {
	if host == "" && pod != nil {
		host = "pod " + pod.Name
	}
	return host + ":" + port
}

// withoutAddress returns a network error without the address of the request, because the path of the address can
// contain a secret, and without what the server sent: it can be any server.
func withoutAddress(err error) error {
	if refused := (*egress.RefusedError)(nil); errors.As(err, &refused) {
		return refused
	}
	err = egress.Described(err)
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
