package hookexec

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"                 //nolint:staticcheck // spdy.Upgrader still uses it.
	streamspdy "k8s.io/apimachinery/pkg/util/httpstream/spdy" //nolint:staticcheck // As above.
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport/spdy"
)

// pings is how often a connection sends something while a command runs, so that nothing on the way takes it for idle:
// balancers do after 20 seconds or more. client-go does each five seconds. The API server and the kubelet pass bytes
// on, and once one of them can't pass on what comes from here, because the other side has ended well, it drops what
// that has said last: the end of the command. So the fewer pings, the better.
const pings = 15 * time.Second

// RoundTripperFor returns what client-go's spdy.RoundTripperFor does, but with a ping each period; 0 means none.
func RoundTripperFor(config *rest.Config, period time.Duration) (http.RoundTripper, spdy.Upgrader, error) {
	tls, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, nil, fmt.Errorf("read the credentials of the cluster: %w", err)
	}
	proxy := config.Proxy
	if proxy == nil {
		proxy = http.ProxyFromEnvironment
	}
	upgrader, err := streamspdy.NewRoundTripperWithConfig(streamspdy.RoundTripperConfig{
		TLS: tls, Proxier: proxy, PingPeriod: period,
	})
	if err != nil {
		return nil, nil, err
	}
	transport, err := rest.HTTPWrappersForConfig(config, upgrader)
	return transport, upgrader, err
}

// errCut means that nobody knows how a command ended, or whether it did: the kubelet and the container runtime do not
// end a command whose connection is cut.
var errCut = errors.New("the connection was cut before the command ended")

// Confirmed is an Upgrader whose connections take a command for ended only if the kubelet says so.
type Confirmed struct{ spdy.Upgrader }

// NewConnection implements spdy.Upgrader.
func (c Confirmed) NewConnection(response *http.Response) (httpstream.Connection, error) {
	conn, err := c.Upgrader.NewConnection(response)
	if err != nil {
		return nil, err
	}
	return confirmedConnection{conn}, nil
}

// confirmedConnection is a connection whose command succeeds only if the kubelet says so. Without it, a connection that
// is cut looks like the end of a command without an error: all streams end.
type confirmedConnection struct{ httpstream.Connection }

// CreateStream watches the stream on which the kubelet says how the command ended. The command begins once all streams
// are there, of which that of its standard error is the last.
func (c confirmedConnection) CreateStream(headers http.Header) (httpstream.Stream, error) {
	stream, err := c.Connection.CreateStream(headers)
	if err != nil && headers.Get(corev1.StreamType) == corev1.StreamTypeStderr {
		return nil, fmt.Errorf("%w: %w", errCut, err)
	}
	if err != nil || headers.Get(corev1.StreamType) != corev1.StreamTypeError {
		return stream, err
	}
	return &statusStream{Stream: stream}, nil
}

// RemoveStreams implements httpstream.Connection.
func (c confirmedConnection) RemoveStreams(streams ...httpstream.Stream) {
	for i, s := range streams {
		if status, ok := s.(*statusStream); ok {
			streams[i] = status.Stream
		}
	}
	c.Connection.RemoveStreams(streams...)
}

// statusStream is the stream of the command's status. Since version 4 of the protocol the kubelet always writes one.
type statusStream struct {
	httpstream.Stream
	some bool
}

// Read fails at the end of a stream that carried no status.
func (s *statusStream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	s.some = s.some || n > 0
	if errors.Is(err, io.EOF) && !s.some {
		return n, errCut
	}
	return n, err
}
