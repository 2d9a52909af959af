package gitstore

import (
	"encoding/json"
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
)

func TestAuthFromSecretData(t *testing.T) {
	type data = map[string][]byte
	b := func(s string) []byte { return []byte(s) }
	for name, tc := range map[string]struct {
		url    string
		data   data
		want   Auth
		kind   error
		reason string
	}{
		"anonymous": {"https://h/x", nil, Auth{}, nil, ""},
		"basic": {
			"https://h/x",
			data{"username": b("u"), "password": b("p")},
			Auth{Username: "u", Password: "p"},
			nil,
			"",
		},
		"bearer": {"https://h/x", data{"bearerToken": b("t")}, Auth{BearerToken: "t"}, nil, ""},
		"plain HTTP": {
			"http://h/x",
			data{"username": b("u"), "password": b("p")},
			Auth{Username: "u", Password: "p"},
			nil,
			"",
		},
		"private CA": {"https://h/x", data{"ca.crt": b("c"), "caFile": b("old")}, Auth{CAFile: b("c")}, nil, ""},
		"old CA key": {"https://h/x", data{"caFile": b("c")}, Auth{CAFile: b("c")}, nil, ""},
		"client certificate": {
			"https://h/x",
			data{"tls.crt": b("c"), "tls.key": b("k")},
			Auth{ClientCert: b("c"), ClientKey: "k"},
			nil, "",
		},
		"ssh": {
			"ssh://git@h/x",
			data{"identity": b("i"), "identity.pub": b("i"), "known_hosts": b("k"), "password": b("p")},
			Auth{Identity: "i", KnownHosts: b("k"), Password: "p"},
			nil, "",
		},
		"ssh without key":      {"ssh://git@h/x", data{"known_hosts": b("k")}, Auth{}, ErrAuth, "no key identity"},
		"ssh without a Secret": {"ssh://git@h/x", nil, Auth{}, ErrAuth, "no key identity"},
		"ssh without known_hosts": {
			"ssh://git@h/x",
			data{"identity": b("CANARY")},
			Auth{},
			ErrHostKey,
			"no key known_hosts with the host key of h",
		},
		"basic and bearer": {
			"https://h/x",
			data{"bearerToken": b("CANARY"), "username": b("CANARY")},
			Auth{},
			ErrAuth,
			"keep one",
		},
		"password without user": {"https://h/x", data{"password": b("CANARY")}, Auth{}, ErrAuth, "no username"},
		"half a certificate":    {"https://h/x", data{"tls.crt": b("c")}, Auth{}, ErrAuth, "only one of"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			u, err := ParseURL(tc.url)
			g.Expect(err).NotTo(HaveOccurred())
			got, err := AuthFromSecretData(u, tc.data)
			if tc.kind != nil {
				g.Expect(err).To(MatchError(tc.kind))
				g.Expect(err.Error()).To(ContainSubstring(tc.reason))
				g.Expect(err.Error()).NotTo(ContainSubstring("CANARY"))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			tc.want.AllowPlainHTTP = true
			g.Expect(got).To(BeComparableTo(tc.want))
		})
	}
}

// Whatever a program does with an Auth, no secret is printed.
func TestSecretsAreNotPrinted(t *testing.T) {
	g := NewWithT(t)
	auth := Auth{Username: "u", Password: "CANARY", BearerToken: "CANARY", Identity: "CANARY", ClientKey: "CANARY"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, text := range []string{
			fmt.Sprintf(verb, auth), fmt.Sprintf(verb, &auth), fmt.Sprintf(verb, auth.Password),
		} {
			g.Expect(text).NotTo(ContainSubstring("CANARY"), verb)
			g.Expect(text).NotTo(MatchRegexp("(?i)43414e415259|67 65 78"), verb)
		}
	}
	raw, err := json.Marshal(auth)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(raw)).NotTo(ContainSubstring("CANARY"))
	g.Expect(string(auth.Password)).To(Equal("CANARY"))
}
