package egress

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// verdict is what a rule says. Of rules that are equally exact, the later verdict counts.
type verdict int

const (
	builtIn verdict = iota // refused unless a flag allows it
	allowed
	denied
)

// rule says what happens with the addresses of a prefix.
type rule struct {
	prefix  netip.Prefix
	port    uint16 // 0 means all
	verdict verdict
	// what the addresses are, for messages.
	what string
}

// refusedByDefault are the addresses that belong to the machine, to its network interface or to its cloud.
var refusedByDefault = rules("loopback", "127.0.0.0/8", "::1/128").
	and("an unspecified address, which means this machine", "0.0.0.0/8", "::/128").
	and("link-local, where clouds serve metadata and identities", "169.254.0.0/16", "fe80::/10").
	and("multicast", "224.0.0.0/4", "ff00::/8").
	and("broadcast", "255.255.255.255/32").
	and("a metadata or platform service of Amazon", "fd00:ec2::/32").
	and("a metadata service of Alibaba", "100.100.100.200/32").
	and("a platform service of Azure", "168.63.129.16/32").
	and("a metadata service of Oracle", "192.0.0.192/32").
	and("a metadata service of Google", "fd20:ce::254/128").
	and("a metadata service of Scaleway", "fd00:42::42/128").
	and("a metadata service of Linode", "fd00:a9fe:a9fe::1/128")

// ruleList is a list that is built by chained calls.
type ruleList []rule

func rules(what string, prefixes ...string) ruleList { return ruleList{}.and(what, prefixes...) }

func (l ruleList) and(what string, prefixes ...string) ruleList {
	for _, p := range prefixes {
		l = append(l, rule{prefix: netip.MustParsePrefix(p), what: what})
	}
	return l
}

// identityServices are where the software kits of clouds fetch the identity of a pod.
var identityServices = []string{
	"169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32", "fd00:ec2::254/128", "fd00:ec2::23/128",
}

// Rules are what administrators and the cluster add to the built-in rules. They are part of the work order of a mover.
type Rules struct {
	// Allow and Deny are prefixes in CIDR notation.
	Allow []string `json:"allow,omitempty"`
	Deny  []string `json:"deny,omitempty"`
	// APIServer are addresses and ports of the API server.
	APIServer []netip.AddrPort `json:"apiServer,omitempty"`
}

// parse returns the rules of the flags.
func (r Rules) parse() ([]rule, error) {
	var out []rule
	for _, list := range []struct {
		flag     string
		prefixes []string
		verdict  verdict
	}{{FlagAllow, r.Allow, allowed}, {FlagDeny, r.Deny, denied}} {
		for _, text := range list.prefixes {
			p, err := parsePrefix(text)
			if err != nil {
				return nil, fmt.Errorf("invalid --%s: %q is no CIDR: write for example 10.1.0.0/16 or 10.1.2.3/32",
					list.flag, text)
			}
			out = append(out, rule{prefix: p, verdict: list.verdict, what: "in " + p.String()})
		}
	}
	return out, nil
}

// parsePrefix parses a prefix. One of IPv4 that is written as IPv6 becomes one of IPv4, as all addresses do.
func parsePrefix(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(strings.TrimSpace(text))
	if err != nil {
		return p, err
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return p, fmt.Errorf("%s is shorter than the part of IPv4", p)
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// decide returns the rule for an address, or nil. The longest prefix counts. Of equally long ones --egress-deny counts
// before --egress-allow, and that before the built-in rules.
func decide(all []rule, to netip.AddrPort) *rule {
	var best *rule
	for i := range all {
		r := &all[i]
		if r.port != 0 && r.port != to.Port() || !r.prefix.Contains(to.Addr()) {
			continue
		}
		if best == nil || cmp.Or(cmp.Compare(r.prefix.Bits(), best.prefix.Bits()),
			cmp.Compare(r.verdict, best.verdict)) > 0 {
			best = r
		}
	}
	return best
}

// apiServerRules refuses the addresses of the API server, each for its port alone: other servers can have its address.
func apiServerRules(all []netip.AddrPort) []rule {
	out := make([]rule, 0, len(all))
	for _, a := range all {
		addr := a.Addr().Unmap().WithZone("")
		out = append(out, rule{
			prefix: netip.PrefixFrom(addr, addr.BitLen()), port: a.Port(), what: "the API server of the cluster",
		})
	}
	return slices.Clip(out)
}
