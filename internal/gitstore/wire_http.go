package gitstore

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
)

// maxHeader bounds the header of an answer, in bytes.
const maxHeader = 64 << 10

type httpDialer struct {
	client *http.Client
	base   string
	auth   Auth
}

func newHTTPDialer(ep endpoint, auth Auth) (dialer, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone() // for its limits of time
	transport.Proxy, transport.DialContext = auth.Network.Proxy, dialing(auth.Network)
	transport.MaxResponseHeaderBytes = maxHeader
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if len(auth.CAFile) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(auth.CAFile) {
			return nil, fmt.Errorf("%w: the CA file has no certificate", ErrAuth)
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	if len(auth.ClientCert) > 0 {
		pair, err := tls.X509KeyPair(auth.ClientCert, []byte(auth.ClientKey))
		if err != nil {
			return nil, fmt.Errorf("%w: client certificate and key do not match", ErrAuth)
		}
		transport.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	return &httpDialer{
		client: &http.Client{Transport: transport, CheckRedirect: checkRedirect},
		base:   ep.String(), auth: auth,
	}, nil
}

// checkRedirect follows only redirects that keep credentials where they belong: for the listing of refs, on the same
// host and port (or from http to https), and never from https to http. Another port can be the server of another
// owner.
func checkRedirect(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case len(via) > 5, req.Method != http.MethodGet:
		return redirectError("redirected: set the URL to the address to which the server redirects")
	case !strings.EqualFold(req.URL.Hostname(), first.Hostname()):
		return redirectError("redirected to another host: set the URL to it")
	case first.Scheme == "https" && req.URL.Scheme != "https":
		return redirectError("redirected from https to http")
	case first.Scheme == req.URL.Scheme && first.Host != req.URL.Host:
		return redirectError("redirected to another port: set the URL to it")
	}
	return nil
}

func (d *httpDialer) dial(ctx context.Context, svc service) (conversation, error) {
	resp, err := d.do(ctx, http.MethodGet, d.base+"/info/refs?service="+string(svc), nil, svc)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if ct := resp.Header.Get("Content-Type"); ct != "application/x-"+string(svc)+"-advertisement" {
		return nil, fmt.Errorf("%w: the answer is not one of a Git server", ErrNoRepository)
	}
	adv, err := readAdvertisement(resp.Body)
	if err != nil {
		return nil, err
	}
	base := strings.TrimSuffix(resp.Request.URL.Scheme+"://"+resp.Request.URL.Host+resp.Request.URL.EscapedPath(),
		"/info/refs")
	return &httpConversation{d, svc, base, adv}, nil
}

func (d *httpDialer) close() { d.client.CloseIdleConnections() }

func (d *httpDialer) do(ctx context.Context, method, url string, body []byte, svc service) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", agent)
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-"+string(svc)+"-request")
		req.Header.Set("Accept", "application/x-"+string(svc)+"-result")
	}
	switch {
	case d.auth.BearerToken != "":
		req.Header.Set("Authorization", "Bearer "+string(d.auth.BearerToken))
	case d.auth.Username != "" || d.auth.Password != "":
		req.SetBasicAuth(d.auth.Username, string(d.auth.Password))
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, httpError(err)
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return resp, nil
	}
	_ = resp.Body.Close() // it can be the answer of any server, and whoever reads the error can be anybody
	return nil, &httpStatus{resp.StatusCode, retryAfter(resp.Header.Get("Retry-After"))}
}

// retryAfter parses the form in seconds, which forges use. It returns at most one hour.
func retryAfter(v string) time.Duration {
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		return 0
	}
	return min(time.Duration(n)*time.Second, time.Hour)
}

type httpConversation struct {
	d    *httpDialer
	svc  service
	base string
	adv  *packp.AdvRefs
}

func (c *httpConversation) refs() *packp.AdvRefs { return c.adv }
func (c *httpConversation) repeatable() bool     { return true }
func (c *httpConversation) Close() error         { return nil }

func (c *httpConversation) exchange(ctx context.Context, body []byte) (io.ReadCloser, error) {
	resp, err := c.d.do(ctx, http.MethodPost, c.base+"/"+string(c.svc), body, c.svc)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}
