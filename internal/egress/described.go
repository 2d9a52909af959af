package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
)

// errNoHTTP stands for all that net/http quotes from an answer that it does not understand.
var errNoHTTP = errors.New("the answer is not valid HTTP")

// Described returns an error of an HTTP request that shows nothing of what the server sent: an address can lead to any
// server of the network, and whoever sees the error can be anybody.
func Described(err error) error {
	if err == nil || errors.As(err, new(*RefusedError)) || ofConnection(err) ||
		errors.Is(err, http.ErrSchemeMismatch) {
		return err
	}
	return errNoHTTP
}

// ofConnection reports whether the text of an error comes from this machine or from the check of a certificate.
func ofConnection(err error) bool {
	for _, is := range []error{
		context.Canceled, context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed,
	} {
		if errors.Is(err, is) {
			return true
		}
	}
	var timeout net.Error
	return errors.As(err, new(*net.OpError)) || errors.As(err, &timeout) && timeout.Timeout() ||
		errors.As(err, new(*net.DNSError)) ||
		errors.As(err, new(*tls.CertificateVerificationError)) || errors.As(err, new(tls.RecordHeaderError)) ||
		errors.As(err, new(x509.UnknownAuthorityError)) || errors.As(err, new(x509.HostnameError)) ||
		errors.As(err, new(x509.CertificateInvalidError))
}
