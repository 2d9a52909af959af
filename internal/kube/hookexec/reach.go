package hookexec

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream" //nolint:staticcheck // client-go's spdy.Upgrader still uses it.
	"k8s.io/client-go/transport/spdy"
)

// reach is how long a connection to a pod that terminates is awaited. Its node can be lost.
const reach = 10 * time.Second

// reachOf returns how long a connection to a pod is awaited. 0 means as long as the hook has time.
func reachOf(p *corev1.Pod) time.Duration {
	if p != nil && terminates(p) {
		return reach
	}
	return 0
}

// dialing makes the connection for a command with SPDY, and tells how far it came. The API server answers once the
// kubelet has. Only then the streams are created, without which no command begins.
type dialing struct {
	transport http.RoundTripper
	upgrader  spdy.Upgrader
	// limit is how long an answer is awaited. 0 means as long as the hook has time.
	limit time.Duration
	// failed is why no answer came.
	failed error
	// connected means that there was a connection. From then on the command can have begun.
	connected bool
	// translated means that a WebSocket was used.
	translated bool
}

// RoundTrip asks for a connection. client-go waits for the answer even after the end of the request's context, and an
// API server needs half a minute to give up a node that is lost. A connection that comes later is closed unused.
func (d *dialing) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx := request.Context()
	if d.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, d.limit, fmt.Errorf("no connection came about within %s", d.limit))
		defer cancel()
	}
	type answer struct {
		response *http.Response
		err      error
	}
	answers := make(chan answer)
	go func() {
		response, err := d.transport.RoundTrip(request.WithContext(ctx))
		select {
		case answers <- answer{response, err}:
		case <-ctx.Done():
			if err == nil {
				closeUnused(d.upgrader, response)
			}
		}
	}()
	var got answer
	select {
	case got = <-answers:
	case <-ctx.Done():
		got.err = context.Cause(ctx)
	}
	d.failed = got.err
	return got.response, got.err
}

// closeUnused closes the connection of an answer that nobody awaits any more.
func closeUnused(upgrader spdy.Upgrader, response *http.Response) {
	if conn, err := upgrader.NewConnection(response); err == nil {
		_ = conn.Close()
	}
}

// NewConnection implements spdy.Upgrader. A command of the connection succeeds only if the kubelet says so.
func (d *dialing) NewConnection(response *http.Response) (httpstream.Connection, error) {
	conn, err := Confirmed{d.upgrader}.NewConnection(response)
	d.connected = d.connected || err == nil
	return conn, err
}

// translates reports whether a WebSocket is used after SPDY failed, and notes that: something on the way does not know
// SPDY. A node that the API server does not reach is no such case.
func (d *dialing) translates(err error) bool {
	d.translated = !d.connected && !forbidden(err) && strings.Contains(err.Error(), "unable to upgrade connection") &&
		!strings.Contains(err.Error(), noNode)
	return d.translated
}

// unbegun reports whether a command that failed has not begun. The API server has a WebSocket before it connects to the
// kubelet, so only the text of the error tells, and the time for that has no limit.
func (d *dialing) unbegun(err error) bool {
	return !d.connected && (!d.translated || strings.Contains(err.Error(), noUpgrade) ||
		strings.HasPrefix(err.Error(), noRequest))
}

const (
	// noUpgrade is in the errors of client-go, the API server and the kubelet for a command to which no connection came
	// about, for example because its container has ended.
	noUpgrade = "unable to upgrade"
	// noNode is in the error of an API server that cannot connect to the kubelet.
	noNode = "error dialing backend"
	// noRequest begins the error that such an API server sends through a WebSocket. That of a kubelet differs.
	noRequest = "Internal error occurred: error sending request: "
)
