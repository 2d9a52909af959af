package hookexec

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream" //nolint:staticcheck // client-go's spdy.Upgrader still uses it.
)

// errCut means that nobody knows how a command ended, or whether it did: the kubelet and the container runtime do not
// end a command whose connection is cut.
var errCut = errors.New("the connection was cut before the command ended")

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
