package egress_test

import (
	"net/netip"
	"net/url"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/egress"
)

func TestAURLIsJudgedWithoutAConnection(t *testing.T) {
	t.Parallel()
	policy, err := egress.New(egress.Rules{
		Allow: []string{"127.0.0.2/32", "10.9.0.0/16"}, Deny: []string{"10.0.0.0/8"},
		APIServer: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:443")},
	})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for name, tt := range map[string]struct {
		url                   string
		name, refused, byFlag bool
	}{
		"a name":                            {url: "https://git.example.com/policy", name: true},
		"a public address":                  {url: "https://198.51.100.7"},
		"a metadata service":                {url: "http://169.254.169.254", refused: true},
		"a metadata service as a number":    {url: "http://2852039166", refused: true},
		"a metadata service through NAT64":  {url: "http://[64:ff9b::a9fe:a9fe]", refused: true},
		"an address that a flag refuses":    {url: "ssh://10.1.2.3", refused: true},
		"an address that a flag allows":     {url: "http://127.0.0.2:9000", byFlag: true},
		"one that both flags name":          {url: "http://10.9.0.1", byFlag: true},
		"the API server":                    {url: "https://192.0.2.1", refused: true},
		"another port of the API server":    {url: "https://192.0.2.1:8443"},
		"the API server by http, port 80":   {url: "http://192.0.2.1"},
		"an allowed address within another": {url: "http://[::ffff:127.0.0.2]", byFlag: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			u, err := url.Parse(tt.url)
			g.Expect(err).NotTo(HaveOccurred())
			v := policy.Verdict(u)
			g.Expect(v.Name).To(Equal(tt.name))
			g.Expect(v.Refused != nil).To(Equal(tt.refused), "%v", v.Refused)
			g.Expect(v.ByFlag).To(Equal(tt.byFlag))
		})
	}
}
