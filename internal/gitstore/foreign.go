package gitstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
)

// A URL can lead to any server of the network, and whoever sees an error can be anybody. So no error shows what a
// server sent that is not Git's: not the body of an answer, and not what net/http and go-git quote from it. What a Git
// server says in words is shown, in one short line.

// dialError is an error of Network. It is shown as it is.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

// redirectError is why a redirect is not followed.
type redirectError string

func (e redirectError) Error() string { return string(e) }

// dialing connects with a Network and marks its errors.
func dialing(n Network) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := n.DialContext(ctx, network, address)
		if err != nil {
			return nil, &dialError{err}
		}
		return conn, nil
	}
}

// httpError returns an error of a request without what the server sent.
func httpError(err error) error {
	if err == nil || ofConnection(err) || errors.As(err, new(redirectError)) ||
		errors.Is(err, http.ErrSchemeMismatch) {
		return err
	}
	return errors.New("the answer is not valid HTTP")
}

// gitError returns an error of go-git, which decodes an answer, without what the server sent, except for its words.
func gitError(what string, err error) error {
	if err == nil {
		return nil
	}
	if ofConnection(err) || errors.Is(err, ErrTooLarge) || errors.Is(err, packp.ErrEmptyInput) ||
		errors.Is(err, pktline.ErrInvalidPktLen) || errors.As(err, new(*pktline.ErrorLine)) ||
		strings.HasPrefix(err.Error(), fatalOfServer) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: the answer is not one of a Git server", what)
}

// fatalOfServer begins go-git's error for the last words of a server in the side band.
const fatalOfServer = "unexpected error: "

// ofConnection reports whether an error is of the connection: its text comes from the machine, from the checks of a
// certificate, or from Network.
func ofConnection(err error) bool {
	var timeout net.Error
	for _, is := range []error{
		context.Canceled, context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, io.ErrClosedPipe,
	} {
		if errors.Is(err, is) {
			return true
		}
	}
	return errors.As(err, new(*dialError)) || errors.As(err, new(*net.OpError)) ||
		errors.As(err, &timeout) && timeout.Timeout() ||
		errors.As(err, new(*tls.CertificateVerificationError)) || errors.As(err, new(tls.RecordHeaderError)) ||
		errors.As(err, new(x509.UnknownAuthorityError)) || errors.As(err, new(x509.HostnameError)) ||
		errors.As(err, new(x509.CertificateInvalidError))
}
