package egress_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/cairn-backup/cairn/internal/egress"
)

// TestEverySpellingIsRefused lists the addresses that nobody reaches through an object, in each form in which a kernel
// or a gateway understands them. Before, only the first eight were refused, and only to hooks.
func TestEverySpellingIsRefused(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "169.254.169.254", "fe80::1",
		"fe80::1%eth0", "::ffff:169.254.169.254", "0.1.2.3", "224.0.0.1", "239.255.255.255", "ff02::1",
		"255.255.255.255",
		"100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
		"fd00:42::42", "169.254.170.2", "169.254.170.23", "169.254.42.42", "169.254.0.23",
		"::169.254.169.254", "::127.0.0.1", // IPv4-compatible
		"::ffff:0:169.254.169.254",                                        // IPv4-translated
		"64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1", "64:ff9b::168.63.129.16", // NAT64
		"64:ff9b:1::a9fe:a9fe", "64:ff9b:1:fffe::a9fe:a9fe", // NAT64 of a network's own, /96
		"64:ff9b:1:a9fe:a9:fe00::", "64:ff9b:1:a9:fe:a9fe::", "64:ff9b:1:0:a9:fea9:fe00:0", // /48, /56, /64
		"2002:a9fe:a9fe::1", "2002:7f00:1::", // 6to4
		"2001:0:a9fe:a9fe::", "2001:0:102:304:0:0:5601:5601", // Teredo: its server, its client
		"2001:db8::5efe:169.254.169.254", "2001:db8::200:5efe:7f00:1", // ISATAP
	} {
		a := netip.MustParseAddr(address)
		err := (*egress.Policy)(nil).Judge(netip.AddrPortFrom(a, 80))
		g := NewWithT(t)
		g.Expect(err).To(HaveOccurred(), address)
		g.Expect(err.Error()).To(And(ContainSubstring(a.String()), ContainSubstring("--egress-allow=")))
	}
}

// TestUsualServersStayPossible: S3 and Git servers inside the cluster are usual.
func TestUsualServersStayPossible(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"10.96.0.20", "172.16.0.1", "192.168.1.1", "100.64.0.1", "100.100.100.201", "8.8.8.8", "198.18.0.1",
		"fd00::1", "fd12:3456:789a::1", "2606:4700::1111", "64:ff9b::808:808", "64:ff9b:1::a01:203",
		"2002:808:808::", "::ffff:10.0.0.1", "2001:0:808:808:0:0:f5f5:f5f5",
	} {
		NewWithT(t).Expect((*egress.Policy)(nil).Judge(netip.AddrPortFrom(netip.MustParseAddr(address), 443))).
			To(Succeed(), address)
	}
}

// TestTheLongestPrefixDecides tests the order of flags and built-in rules.
func TestTheLongestPrefixDecides(t *testing.T) {
	t.Parallel()
	api := []netip.AddrPort{netip.MustParseAddrPort("10.96.0.1:443")}
	for name, tt := range map[string]struct {
		rules   egress.Rules
		allowed []string
		refused []string
	}{
		"loopback is allowed as a whole": {
			rules:   egress.Rules{Allow: []string{"127.0.0.0/8", "::1/128"}},
			allowed: []string{"127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"},
			refused: []string{"169.254.169.254:80"},
		},
		"a wide allowance opens no metadata service": {
			rules:   egress.Rules{Allow: []string{"0.0.0.0/0", "::/0", "100.64.0.0/10"}},
			refused: []string{"100.100.100.200:80", "127.0.0.1:80", "169.254.169.254:80", "[fd00:ec2::254]:80"},
		},
		"one address of a refused range": {
			rules:   egress.Rules{Allow: []string{"169.254.20.10/32"}},
			allowed: []string{"169.254.20.10:80", "[64:ff9b::a9fe:140a]:80"}, refused: []string{"169.254.20.11:80"},
		},
		"a denied range, but for one of its servers": {
			rules:   egress.Rules{Deny: []string{"10.0.0.0/8"}, Allow: []string{"10.1.2.0/24"}},
			allowed: []string{"10.1.2.3:9000", "8.8.8.8:443"},
			refused: []string{"10.1.3.1:9000", "[::ffff:10.9.9.9]:1", "[64:ff9b::a09:909]:1"},
		},
		"only what is named": {
			rules:   egress.Rules{Deny: []string{"0.0.0.0/0", "::/0"}, Allow: []string{"10.1.2.3/32", "2001:db8::/32"}},
			allowed: []string{"10.1.2.3:443", "[2001:db8::1]:443"}, refused: []string{"8.8.8.8:443", "[2606::1]:443"},
		},
		"denied and allowed alike": {
			rules:   egress.Rules{Deny: []string{"10.0.0.0/8"}, Allow: []string{"10.0.0.0/8"}},
			refused: []string{"10.1.2.3:443"},
		},
		"a prefix of IPv4 in the form of IPv6": {
			rules: egress.Rules{Deny: []string{"::ffff:10.0.0.0/104"}}, refused: []string{"10.1.2.3:443"},
		},
		"the API server, by address and port": {
			rules:   egress.Rules{APIServer: api, Allow: []string{"10.0.0.0/8"}},
			allowed: []string{"10.96.0.1:9000", "10.96.0.2:443"},
			refused: []string{"10.96.0.1:443", "[::ffff:10.96.0.1]:443", "[64:ff9b::a60:1]:443"},
		},
		"the API server, allowed by name": {
			rules: egress.Rules{APIServer: api, Allow: []string{"10.96.0.1/32"}}, allowed: []string{"10.96.0.1:443"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			p, err := egress.New(tt.rules)
			g.Expect(err).NotTo(HaveOccurred())
			again, err := egress.New(p.Rules())
			g.Expect(err).NotTo(HaveOccurred())
			for _, policy := range []*egress.Policy{p, again} { // a mover decides as the manager does
				for _, to := range tt.allowed {
					g.Expect(policy.Judge(netip.MustParseAddrPort(to))).To(Succeed(), to)
				}
				for _, to := range tt.refused {
					g.Expect(policy.Judge(netip.MustParseAddrPort(to))).NotTo(Succeed(), to)
				}
			}
		})
	}
}

func TestAPrefixThatIsNone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "10.0.0.0", "10.0.0.0/33", "::ffff:10.0.0.0/8", "metadata"} {
		_, err := egress.New(egress.Rules{Allow: []string{text}})
		NewWithT(t).Expect(err).To(MatchError(ContainSubstring("invalid --egress-allow: ")), text)
	}
}

// TestOnlyTheIdentityClientReachesIdentities tests that the exception for the software kits of clouds is no other's.
func TestOnlyTheIdentityClientReachesIdentities(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	p, err := egress.New(egress.Rules{Deny: []string{"10.0.0.0/8"}})
	g.Expect(err).NotTo(HaveOccurred())
	imds := netip.MustParseAddrPort("169.254.169.254:80")
	g.Expect(p.WithIdentity().Judge(imds)).To(Succeed())
	g.Expect((*egress.Policy)(nil).WithIdentity().Judge(imds)).To(Succeed())
	g.Expect(p.Judge(imds)).NotTo(Succeed())
	for _, to := range []string{"127.0.0.1:80", "169.254.169.253:80", "10.0.0.1:80"} {
		g.Expect(p.WithIdentity().Judge(netip.MustParseAddrPort(to))).NotTo(Succeed(), to)
	}
}

// local is a server of this machine that counts its requests.
func local(t *testing.T) (address string, asked *atomic.Int32) {
	t.Helper()
	asked = &atomic.Int32{}
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), asked
}

// get sends a request by the rules of p.
func get(p *egress.Policy, url string) error {
	c := http.Client{Transport: &http.Transport{DialContext: p.DialContext, DisableKeepAlives: true}}
	answer, err := c.Get(url)
	if err == nil {
		err = answer.Body.Close()
	}
	return err
}

// TestANameThatLeadsHome tests that the address counts, not the name, also if it changes between two moments.
func TestANameThatLeadsHome(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	address, asked := local(t)
	_, port, err := net.SplitHostPort(address)
	g.Expect(err).NotTo(HaveOccurred())
	p, err := egress.New(egress.Rules{})
	g.Expect(err).NotTo(HaveOccurred())
	p.Resolver = resolver(t, "127.0.0.1")
	for _, host := range []string{"rebound.example.com", "127.0.0.1", "[::ffff:127.0.0.1]"} {
		err := get(p, "http://"+host+":"+port)
		var refused *egress.RefusedError
		g.Expect(errors.As(err, &refused)).To(BeTrue(), "%s: %v", host, err)
		g.Expect(refused.Error()).To(And(ContainSubstring(strings.Trim(host, "[]")), ContainSubstring("127.0.0.1"),
			ContainSubstring("loopback"), ContainSubstring("--egress-allow=127.0.0.1/32")))
	}
	g.Expect(asked.Load()).To(BeZero())
	_, err = p.DialContext(t.Context(), "unix", "/run/containerd.sock")
	g.Expect(err).To(HaveOccurred())
}

// TestARedirectHomeIsRefused tests that a server that is allowed can't send a client to one that is not.
func TestARedirectHomeIsRefused(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	address, asked := local(t)
	l, err := net.Listen("tcp", "127.0.0.2:0")
	g.Expect(err).NotTo(HaveOccurred())
	s := &httptest.Server{Listener: l, Config: &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+address+"/latest/meta-data", http.StatusTemporaryRedirect)
		}),
	}}
	s.Start()
	t.Cleanup(s.Close)
	p, err := egress.New(egress.Rules{Allow: []string{"127.0.0.2/32"}})
	g.Expect(err).NotTo(HaveOccurred())
	err = get(p, s.URL)
	g.Expect(err).To(MatchError(ContainSubstring("127.0.0.1: Cairn does not connect there")))
	g.Expect(asked.Load()).To(BeZero())
}

// resolver is a resolver for which every name has one address.
func resolver(t *testing.T, address string) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = server.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return // closed
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) == 0 {
				continue
			}
			m.Response, m.Additionals = true, nil
			if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
					Body:   &dnsmessage.AResource{A: netip.MustParseAddr(address).As4()},
				}}
			}
			if answer, err := m.Pack(); err == nil {
				_, _ = server.WriteTo(answer, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

// TestAProxyIsNoWayAround can't be parallel: it sets the environment, which net/http reads once.
func TestAProxyIsNoWayAround(t *testing.T) {
	g := NewWithT(t)
	t.Setenv("HTTP_PROXY", "http://proxy.example.com:3128")
	for host, refused := range map[string]bool{
		"git.example.com": false, "8.8.8.8": false, "169.254.169.254": true, "[64:ff9b::a9fe:a9fe]": true,
		"2852039166": true, "0xa9fea9fe": true, "0251.0376.0251.0376": true, "169.254.43518": true,
	} {
		proxy, err := (*egress.Policy)(nil).Proxy(&http.Request{URL: &url.URL{Scheme: "http", Host: host}})
		if proxy == nil && err == nil {
			t.Skip("another test has used the environment before")
		}
		g.Expect(err != nil).To(Equal(refused), host)
	}
}

// TestNothingOfAnAnswerIsDescribed tests that errors of net/http lose what they quote.
func TestNothingOfAnAnswerIsDescribed(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			_, _ = io.WriteString(conn, "SSH-2.0-TOPSECRET\r\n")
			_ = conn.Close()
		}
	}()
	err = get(egress.Anywhere(), "http://"+l.Addr().String())
	g.Expect(err).To(MatchError(ContainSubstring("TOPSECRET")))
	g.Expect(egress.Described(err)).To(MatchError("the answer is not valid HTTP"))
	g.Expect(egress.Described(nil)).To(Succeed())
	refused := (*egress.Policy)(nil).Judge(netip.MustParseAddrPort("127.0.0.1:1"))
	g.Expect(egress.Described(refused)).To(BeIdenticalTo(refused))
}
