package egress

import (
	"net/netip"
	"strconv"
	"strings"
)

// literal returns the address that a host is, also in the old forms that many programs read: 2130706433, 0x7f.1 and
// 017700000001 are all 127.0.0.1.
func literal(host string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(host); err == nil {
		return a, true
	}
	parts := strings.Split(strings.TrimSuffix(host, "."), ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var whole uint64
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 0, 32)
		if err != nil {
			return netip.Addr{}, false
		}
		if last := i == len(parts)-1; last {
			whole += n // it fills the bytes that are left
		} else {
			whole += n << (24 - 8*i)
		}
	}
	return netip.AddrFrom4([4]byte{byte(whole >> 24), byte(whole >> 16), byte(whole >> 8), byte(whole)}), true
}
