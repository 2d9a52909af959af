package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/cairn-backup/cairn/internal/egress"
)

// apiServerEvery is how often the manager looks where the API server is: its nodes can be replaced.
const apiServerEvery = 5 * time.Minute

// rules are the flags about addresses.
func (o *options) rules() egress.Rules { return egress.Rules{Allow: o.egressAllow, Deny: o.egressDeny} }

// apiServer keeps a policy informed of where the API server is.
type apiServer struct {
	policy *egress.Policy
	config *rest.Config
}

// newEgress returns the policy of the flags, which refuses the API server, and keeps it up to date with the manager.
func newEgress(ctx context.Context, o *options, mgr ctrl.Manager) (*egress.Policy, error) {
	policy, err := egress.New(o.rules())
	if err != nil {
		return nil, fmt.Errorf("read the flags: %w", err)
	}
	a := &apiServer{policy: policy, config: mgr.GetConfig()}
	a.look(ctx)
	if err := mgr.Add(a); err != nil {
		return nil, fmt.Errorf("watch where the API server is: %w", err)
	}
	return policy, nil
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (a *apiServer) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable.
func (a *apiServer) Start(ctx context.Context) error {
	tick := time.NewTicker(apiServerEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			a.look(ctx)
		}
	}
}

// look asks for the addresses of the API server: that of the manager's own connection, that of the Service kubernetes,
// and those that the API server names itself. What can't be found out now is left out.
func (a *apiServer) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	places := []string{
		net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")),
	}
	if u, err := url.Parse(a.config.Host); err == nil && u.Host != "" {
		port := u.Port()
		if port == "" {
			port = map[string]string{"http": "80"}[u.Scheme]
		}
		if port == "" {
			port = "443"
		}
		places = append(places, net.JoinHostPort(u.Hostname(), port))
	}
	var found []netip.AddrPort
	for _, place := range append(places, a.named(ctx)...) {
		found = append(found, addressesOf(ctx, place)...)
	}
	slices.SortFunc(found, netip.AddrPort.Compare)
	if found = slices.Compact(found); len(found) > 0 {
		a.policy.SetAPIServer(found)
	}
}

// named returns the addresses that the API server tells its clients.
func (a *apiServer) named(ctx context.Context) (out []string) {
	client, err := discovery.NewDiscoveryClientForConfig(a.config)
	if err != nil {
		return nil
	}
	var versions metav1.APIVersions
	if client.RESTClient().Get().AbsPath("/api").Do(ctx).Into(&versions) != nil {
		return nil
	}
	for _, s := range versions.ServerAddressByClientCIDRs {
		out = append(out, s.ServerAddress)
	}
	return out
}

// addressesOf resolves a host with a port.
func addressesOf(ctx context.Context, place string) (out []netip.AddrPort) {
	host, text, err := net.SplitHostPort(place)
	port, perr := strconv.ParseUint(text, 10, 16)
	if err != nil || perr != nil || host == "" {
		return nil
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil
	}
	for _, addr := range found {
		out = append(out, netip.AddrPortFrom(addr.Unmap().WithZone(""), uint16(port)))
	}
	return out
}
