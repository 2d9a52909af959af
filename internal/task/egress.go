package task

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"github.com/cairn-backup/cairn/internal/egress"
)

// Policy returns the rules for the addresses to which a mover connects. It also knows the API server by what the
// kubelet tells every pod.
func (t Task) Policy() (*egress.Policy, error) {
	rules := t.Egress
	addr, err := netip.ParseAddr(os.Getenv("KUBERNETES_SERVICE_HOST"))
	port, perr := strconv.ParseUint(os.Getenv("KUBERNETES_SERVICE_PORT"), 10, 16)
	if err == nil && perr == nil {
		rules.APIServer = append(slices.Clip(rules.APIServer),
			netip.AddrPortFrom(addr, uint16(port)))
	}
	policy, err := egress.New(rules)
	if err != nil {
		return nil, fmt.Errorf("read the rules for addresses: %w", err)
	}
	return policy, nil
}
