package egress

import (
	"encoding/binary"
	"net/netip"
)

// spellings returns an address in its plain form, and the addresses of IPv4 that it embeds: a gateway or the kernel
// sends what is meant for the one to the other.
func spellings(a netip.Addr) []netip.Addr {
	a = a.WithZone("").Unmap()
	out := []netip.Addr{a}
	if a.Is4() {
		return out
	}
	for _, e := range embeddings {
		if !e.prefix.Contains(a) {
			continue
		}
		for _, read := range e.read {
			// Nobody sends to an address of 0.0.0.0/8, and the zeros of another form look like one.
			if v4 := netip.AddrFrom4(read(a.As16())); v4.As4()[0] != 0 {
				out = append(out, v4)
			}
		}
	}
	if b := a.As16(); binary.BigEndian.Uint32(b[8:])&^0x03000000 == 0x5efe { // ISATAP, below any prefix
		out = append(out, netip.AddrFrom4(at(12)(b)))
	}
	return out
}

// reader returns an address of IPv4 from an address of IPv6.
type reader func([16]byte) [4]byte

// embeddings are the prefixes below which addresses embed those of IPv4.
var embeddings = []struct {
	prefix netip.Prefix
	read   []reader
}{
	{netip.MustParsePrefix("::/96"), []reader{at(12)}},           // IPv4-compatible
	{netip.MustParsePrefix("::ffff:0:0:0/96"), []reader{at(12)}}, // IPv4-translated
	{netip.MustParsePrefix("64:ff9b::/96"), []reader{at(12)}},    // NAT64
	// NAT64 of a network's own, whose prefix can be longer than this one.
	{netip.MustParsePrefix("64:ff9b:1::/48"), []reader{split(6), split(7), split(8), at(12)}},
	{netip.MustParsePrefix("2002::/16"), []reader{at(2)}},              // 6to4
	{netip.MustParsePrefix("2001::/32"), []reader{at(4), inverse(12)}}, // Teredo: its server and its client
}

// at reads four bytes from a position.
func at(i int) reader { return func(b [16]byte) [4]byte { return [4]byte(b[i : i+4]) } }

// split reads four bytes from a position, without the ninth byte, which is always zero in such an address.
func split(from int) reader {
	return func(b [16]byte) (out [4]byte) {
		for n, i := 0, from; n < len(out); i++ {
			if i != 8 {
				out[n] = b[i]
				n++
			}
		}
		return out
	}
}

// inverse reads four bytes whose bits are turned round.
func inverse(i int) reader {
	return func(b [16]byte) (out [4]byte) {
		for n := range out {
			out[n] = ^b[i+n]
		}
		return out
	}
}
