package egress

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
)

// Verdict is what a Policy says of the host of a URL without connecting.
type Verdict struct {
	// Name reports that the host is a name: each address that it resolves to is judged when somebody connects.
	Name bool
	// Refused is why nobody connects to the address; nil if somebody may.
	Refused *RefusedError
	// ByFlag reports that the address is allowed because a flag names it.
	ByFlag bool
}

// Verdict judges the host of a URL as a connection would. It resolves no name.
func (p *Policy) Verdict(u *url.URL) Verdict {
	a, ok := literal(u.Hostname())
	if !ok {
		return Verdict{Name: true}
	}
	to := netip.AddrPortFrom(a, portOf(u))
	var out Verdict
	if errors.As(named(p.Judge(to), net.JoinHostPort(u.Hostname(), "0")), &out.Refused) {
		return out
	}
	for _, meant := range spellings(a) {
		if r := decide(p.all(), netip.AddrPortFrom(meant, to.Port())); r != nil && r.verdict == allowed {
			out.ByFlag = true
		}
	}
	return out
}

// portOf returns the port of a URL.
func portOf(u *url.URL) uint16 {
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		port = map[string]uint64{"http": 80, "https": 443, "ssh": 22}[u.Scheme]
	}
	return uint16(port)
}
