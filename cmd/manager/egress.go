package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/go-logr/logr"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
	reader client.Reader
	log    logr.Logger

	// known are the addresses that were found, and failed is what the last look could not find out.
	known  []netip.AddrPort
	failed string
}

// newEgress returns the policy of the flags, which refuses the API server, and keeps it up to date with the manager.
func newEgress(ctx context.Context, o *options, mgr ctrl.Manager) (*egress.Policy, error) {
	policy, err := egress.New(o.rules())
	if err != nil {
		return nil, fmt.Errorf("read the flags: %w", err)
	}
	a := &apiServer{
		policy: policy, config: mgr.GetConfig(), reader: mgr.GetAPIReader(), log: mgr.GetLogger().WithName("egress"),
	}
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
// those behind that Service, and those that the API server names itself. Where a question has no answer now, the
// addresses that were known stay.
func (a *apiServer) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	named, err := a.named(ctx)
	behind, behindErr := a.behind(ctx)
	errs := []error{err, behindErr}
	found := behind
	for _, place := range append(a.places(), named...) {
		addresses, err := addressesOf(ctx, place)
		found, errs = append(found, addresses...), append(errs, err)
	}
	failed := ""
	if err := errors.Join(errs...); err != nil {
		failed, found = err.Error(), append(found, a.known...)
	}
	slices.SortFunc(found, netip.AddrPort.Compare)
	found = slices.Compact(found)
	if failed != a.failed && failed != "" {
		a.log.Info("not all addresses of the API server are known", "reason", failed)
	}
	if a.failed = failed; slices.Equal(found, a.known) {
		return
	}
	a.known = found
	a.policy.SetAPIServer(found)
	a.log.Info("nothing connects to the API server on behalf of policy", "addresses", found)
}

// places returns the hosts and ports by which the manager itself finds the API server.
func (a *apiServer) places() (out []string) {
	if host := os.Getenv("KUBERNETES_SERVICE_HOST"); host != "" {
		out = append(out, net.JoinHostPort(host, os.Getenv("KUBERNETES_SERVICE_PORT")))
	}
	if u, err := url.Parse(a.config.Host); err == nil && u.Host != "" {
		port := u.Port()
		if port == "" {
			port = map[string]string{"http": "80"}[u.Scheme]
		}
		if port == "" {
			port = "443"
		}
		out = append(out, net.JoinHostPort(u.Hostname(), port))
	}
	return out
}

// named returns the addresses that the API server tells its clients.
func (a *apiServer) named(ctx context.Context) (out []string, _ error) {
	api, err := discovery.NewDiscoveryClientForConfig(a.config)
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	var versions metav1.APIVersions
	if err := api.RESTClient().Get().AbsPath("/api").Do(ctx).Into(&versions); err != nil {
		return nil, fmt.Errorf("ask the API server for its address: %w", err)
	}
	for _, s := range versions.ServerAddressByClientCIDRs {
		out = append(out, s.ServerAddress)
	}
	return out, nil
}

// behind returns the addresses of all API servers: each adds its own to the Service kubernetes.
func (a *apiServer) behind(ctx context.Context) (out []netip.AddrPort, _ error) {
	var slice discoveryv1.EndpointSliceList
	if err := a.reader.List(ctx, &slice, client.InNamespace(metav1.NamespaceDefault),
		client.MatchingLabels{discoveryv1.LabelServiceName: "kubernetes"}); err != nil {
		return nil, fmt.Errorf("list the EndpointSlices of Service kubernetes: %w", err)
	}
	for _, s := range slice.Items {
		for _, e := range s.Endpoints {
			for _, address := range e.Addresses {
				addr, err := netip.ParseAddr(address)
				if err != nil {
					continue // a host name
				}
				for _, p := range s.Ports {
					if p.Port != nil {
						out = append(out, netip.AddrPortFrom(addr.Unmap(), uint16(*p.Port)))
					}
				}
			}
		}
	}
	return out, nil
}

// addressesOf resolves a host with a port.
func addressesOf(ctx context.Context, place string) (out []netip.AddrPort, _ error) {
	host, text, err := net.SplitHostPort(place)
	if err != nil {
		return nil, fmt.Errorf("read the address %q of the API server: %w", place, err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("read the port of the API server's address %q: %w", place, err)
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("resolve the address of the API server: %w", err)
	}
	for _, addr := range found {
		out = append(out, netip.AddrPortFrom(addr.Unmap().WithZone(""), uint16(port)))
	}
	return out, nil
}
