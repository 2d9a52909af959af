package cloud

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
	_ "unsafe" // for go:linkname

	// Its variable is used, so it must be linked.
	_ "github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/repository"
)

// The clients of clouds connect to addresses that come from objects: the endpoint of an S3 storage, the address of
// tokens in a key of Google's, the name of an account of Azure's. kopia makes such clients itself, and takes no dialer.
// They begin with a copy of http.DefaultTransport, or with the one client of Azure's library, so these two get one.

// azureClient is the client of Azure's library. The library exports no way to give kopia's another one.
//
//go:linkname azureClient github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime.defaultHTTPClient
var azureClient *http.Client

// ErrUnguarded means that a client of a cloud would connect without the rules for addresses: its library has changed.
var ErrUnguarded = errors.New("the client of the storage can't be given the rules for addresses")

// current is what the last Guard said. All storages of a mover have the same policy.
var current atomic.Pointer[guard]

type guard struct {
	policy *egress.Policy
	// identity also allows the services of identities, for an S3 storage without a Secret.
	identity *egress.Policy
}

// guarded is done once the transports ask for the current policy.
var guarded = sync.OnceValue(func() error {
	standard, ok := http.DefaultTransport.(*http.Transport)
	if !ok || azureClient == nil {
		return ErrUnguarded
	}
	azure, ok := azureClient.Transport.(*http.Transport)
	if !ok {
		return ErrUnguarded
	}
	for _, t := range []*http.Transport{standard, azure} {
		t.DialContext, t.Proxy = dial, proxy
	}
	// A copy of a transport has no registered protocols. So this is for the one client of kopia's that uses the
	// original: it asks the cloud for the identity of the pod, at addresses that it knows itself.
	identity := standard.Clone()
	identity.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		return current.Load().identity.DialContext(ctx, network, address)
	}
	standard.RegisterProtocol("http", asking{identity, standard.Clone()})
	return nil
})

// Guard makes all clients of clouds that are created from now on connect by the rules of the storage's policy.
func Guard(s repository.Storage) error {
	g := guard{}
	switch {
	case s.S3 != nil:
		g.policy = s.S3.Egress
	case s.GCS != nil:
		g.policy = s.GCS.Egress
	case s.Azure != nil:
		g.policy = s.Azure.Egress
	}
	g.identity = g.policy
	if s.S3 != nil && s.S3.Ambient {
		g.identity = g.policy.WithIdentity()
	}
	current.Store(&g)
	return guarded()
}

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	return current.Load().policy.DialContext(ctx, network, address)
}

func proxy(r *http.Request) (*url.URL, error) { return current.Load().policy.Proxy(r) }

// asking makes requests that ask for an identity, and others.
type asking struct{ identity, others http.RoundTripper }

// RoundTrip implements http.RoundTripper. A client that signs in with a key makes a POST, to an address in that key.
func (a asking) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet || r.Method == http.MethodPut {
		return a.identity.RoundTrip(r)
	}
	return a.others.RoundTrip(r)
}

// Identity returns the client that asks a cloud for the identity of the pod, of an S3 storage without a Secret.
func Identity(p *egress.Policy) *http.Client {
	return &http.Client{Timeout: identityTimeout, Transport: &http.Transport{
		DialContext: p.WithIdentity().DialContext, Proxy: p.Proxy, DisableKeepAlives: true,
	}}
}

// identityTimeout is how long the cloud has to answer who the pod is. Outside of a cloud nobody answers.
const identityTimeout = 5 * time.Second
