package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// The flags of the manager that change the rules.
const (
	FlagAllow = "egress-allow"
	FlagDeny  = "egress-deny"
)

// Policy decides about addresses. Nil has the built-in rules.
type Policy struct {
	rules []rule
	given Rules
	// apiServer holds the rules about the API server, whose addresses can change.
	apiServer atomic.Pointer[[]rule]
	// Resolver resolves names; nil means that of the machine.
	Resolver *net.Resolver
}

// New returns the policy with more rules than the built-in ones.
func New(r Rules) (*Policy, error) {
	own, err := r.parse()
	if err != nil {
		return nil, err
	}
	p := &Policy{rules: append(slices.Clone(refusedByDefault), own...), given: r}
	p.SetAPIServer(r.APIServer)
	return p, nil
}

// Anywhere returns a policy that allows every address. It is for a person's own machine, where the person could
// connect as well.
func Anywhere() *Policy { return &Policy{} }

// SetAPIServer replaces the addresses of the API server.
func (p *Policy) SetAPIServer(all []netip.AddrPort) {
	list := apiServerRules(all)
	p.apiServer.Store(&list)
}

// Rules returns what a mover needs to decide alike.
func (p *Policy) Rules() Rules {
	if p == nil {
		return Rules{}
	}
	out := p.given
	out.APIServer = nil
	if list := p.apiServer.Load(); list != nil {
		for _, r := range *list {
			out.APIServer = append(out.APIServer, netip.AddrPortFrom(r.prefix.Addr(), r.port))
		}
	}
	slices.SortFunc(out.APIServer, netip.AddrPort.Compare)
	return out
}

// WithIdentity returns a policy that also allows the services from which the software kits of clouds fetch the
// identity of a pod. It is for the client of such a kit alone, which asks for nothing else, and whose address is in no
// object.
func (p *Policy) WithIdentity() *Policy {
	if p != nil && len(p.rules) == 0 { // it allows every address
		return p
	}
	r := p.Rules()
	r.Allow = slices.Concat(r.Allow, identityServices)
	out, err := New(r)
	if err != nil { // its own rules were parsed before
		return p
	}
	return out
}

// Judge returns a *RefusedError if nobody may connect to an address.
func (p *Policy) Judge(to netip.AddrPort) error {
	list := p.all()
	for _, a := range spellings(to.Addr()) {
		r := decide(list, netip.AddrPortFrom(a, to.Port()))
		if r == nil || r.verdict == allowed {
			continue
		}
		return &RefusedError{Address: to.Addr(), Meant: a, Port: to.Port(), what: r.what, denied: r.verdict == denied}
	}
	return nil
}

func (p *Policy) all() []rule {
	if p == nil {
		return refusedByDefault
	}
	if list := p.apiServer.Load(); list != nil {
		return slices.Concat(p.rules, *list)
	}
	return p.rules
}

// DialContext connects to an address if the policy allows it.
func (p *Policy) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return p.Within(0)(ctx, network, address)
}

// Within returns DialContext with a limit of time. 0 means none.
func (p *Policy) Within(limit time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: limit, ControlContext: func(
		_ context.Context, network, address string, _ syscall.RawConn,
	) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil || !strings.HasPrefix(network, "tcp") {
			return fmt.Errorf("%s is no address of TCP", network)
		}
		return p.Judge(to)
	}}
	if p != nil {
		dialer.Resolver = p.Resolver
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		return conn, named(err, address)
	}
}

// named adds the name that an object gives to a refusal.
func named(err error, address string) error {
	var refused *RefusedError
	if !errors.As(err, &refused) {
		return err
	}
	out := *refused
	if host, _, err := net.SplitHostPort(address); err == nil {
		out.Host = host
	}
	return &out
}

// Proxy is http.ProxyFromEnvironment for requests to hosts of objects. Nobody may send a proxy to an address to which
// nobody may connect.
func (p *Policy) Proxy(r *http.Request) (*url.URL, error) {
	proxy, err := http.ProxyFromEnvironment(r)
	if err != nil || proxy == nil {
		return proxy, err
	}
	return proxy, p.judgeHost(r.URL)
}

// judgeHost judges a host that is an address. A name is the proxy's to resolve.
func (p *Policy) judgeHost(u *url.URL) error {
	a, ok := literal(u.Hostname())
	if !ok {
		return nil
	}
	return named(p.Judge(netip.AddrPortFrom(a, portOf(u))), net.JoinHostPort(u.Hostname(), "0"))
}

// RefusedError is the error of a connection that the rules refuse.
type RefusedError struct {
	// Host is the name or address that an object gives.
	Host string
	// Address is what Host resolved to, and Meant the address that it embeds, or the same.
	Address, Meant netip.Addr
	Port           uint16
	what           string
	denied         bool
}

// Error names host and address, and the flag that decides.
func (e *RefusedError) Error() string {
	var b strings.Builder
	if e.Host != "" && e.Host != e.Address.String() {
		fmt.Fprintf(&b, "%s is %s", e.Host, e.Address)
	} else {
		b.WriteString(e.Address.String())
	}
	if e.Meant != e.Address {
		fmt.Fprintf(&b, ", which means %s", e.Meant)
	}
	fmt.Fprintf(&b, ": Cairn does not connect there, because it is %s", e.what)
	if e.denied {
		fmt.Fprintf(&b, ", which the manager's flag --%s refuses", FlagDeny)
	} else {
		fmt.Fprintf(&b, "; the manager's flag --%s=%s/%d allows it", FlagAllow, e.Meant, e.Meant.BitLen())
	}
	return b.String()
}
