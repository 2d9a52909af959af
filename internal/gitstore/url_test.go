package gitstore

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestNormalizeURL(t *testing.T) {
	for name, tc := range map[string]struct{ url, want string }{
		"plain":                      {"https://git.example/team/policy", "git.example/team/policy"},
		"ends in .git":               {"https://git.example/team/policy.git", "git.example/team/policy"},
		"ends in a slash":            {"https://git.example/team/policy.git/", "git.example/team/policy"},
		"user in it":                 {"http://user@git.example/team/policy.git", "git.example/team/policy"},
		"user and password":          {"https://u:p@git.example/team/policy/", "git.example/team/policy"},
		"default port of https":      {"https://git.example:443/team/policy", "git.example/team/policy"},
		"default port of http":       {"http://git.example:80/team/policy", "git.example/team/policy"},
		"default port of ssh":        {"ssh://git.example:22/team/policy", "git.example/team/policy"},
		"another port":               {"ssh://git@git.example:2222/team/policy", "git.example/team/policy"},
		"ssh":                        {"ssh://git@git.example/team/policy.git", "git.example/team/policy"},
		"scp form":                   {"git@git.example:team/policy.git", "git.example/team/policy"},
		"scp form without a user":    {"git.example:team/policy.git", "git.example/team/policy"},
		"scp form, absolute":         {"git@git.example:/team/policy.git", "git.example/team/policy"},
		"other letters":              {"HTTPS://GIT.Example/Team/Policy", "git.example/team/policy"},
		"escaped":                    {"https://git.example/team/%70olicy", "git.example/team/policy"},
		"root of the name system":    {"https://git.example./team/policy", "git.example/team/policy"},
		"doubled slash and dots":     {"https://git.example//team/x/../policy", "git.example/team/policy"},
		"service of a cluster":       {"http://git.infra.svc.cluster.local:3000/a/b.git", "git.infra/a/b"},
		"its shorter name":           {"http://git.infra.svc:3000/a/b", "git.infra/a/b"},
		"its shortest name":          {"ssh://git@git.infra/a/b", "git.infra/a/b"},
		"IPv6":                       {"http://[fd00::1]:3000/a/b", "fd00::1/a/b"},
		"IPv6 with the default port": {"http://[fd00::1]:80/a/b", "fd00::1/a/b"},
		"another repository":         {"https://git.example/team/other", "git.example/team/other"},
		"another host":               {"https://git2.example/team/policy", "git2.example/team/policy"},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(NormalizeURL(tc.url)).To(Equal(tc.want))
		})
	}
}

func TestParseURL(t *testing.T) {
	for name, tc := range map[string]struct{ url, want, refused string }{
		"https":              {"https://git.example/a/b.git/", "https://git.example/a/b.git", ""},
		"default port":       {"HTTPS://Git.example:443/a/b", "https://git.example/a/b", ""},
		"IPv6, default port": {"http://[fd00::1]:80/a/b", "http://[fd00::1]/a/b", ""},
		"ssh":                {"ssh://me@git.example:2222/a/b", "ssh://me@git.example:2222/a/b", ""},
		"ssh without a user": {"ssh://git.example/a/b", "ssh://git@git.example/a/b", ""},
		"scp form":           {"me@git.example:a/b.git", "ssh://me@git.example/a/b.git", ""},
		"file": {
			"file:///etc/x", "", `scheme "file" is not supported; use https://, ssh:// or http://`,
		},
		"local path":               {"/srv/x.git", "", "has no scheme"},
		"git protocol":             {"git://h/x", "", `scheme "git" is not supported`},
		"program":                  {"ext::sh -c x", "", `scheme "ext" is not supported`},
		"empty":                    {"", "", "has no scheme"},
		"no path":                  {"https://git.example/", "", "host or path is missing"},
		"no host":                  {"https:///a", "", "host or path is missing"},
		"query":                    {"https://git.example/a?token=CANARY", "", "query"},
		"password":                 {"https://u:CANARY@git.example/a", "", "move them to a Secret"},
		"user that may be a token": {"https://CANARY@git.example/a", "", "move them to a Secret"},
		"password of ssh":          {"ssh://u:CANARY@git.example/a", "", "move them to a Secret"},
		"malformed with password":  {"https://u:CANARY@git.example:x/a", "", "malformed"},
		"option as host":           {"ssh://-oProxyCommand=x/a", "", "hyphen"},
		"option as path":           {"h:-x", "", "hyphen"},
		"newline":                  {"https://git.example/a%0ab\n", "", "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			u, err := ParseURL(tc.url)
			if tc.refused == "" {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(u.String()).To(Equal(tc.want))
				return
			}
			g.Expect(err).To(MatchError(ErrURL))
			g.Expect(err.Error()).To(ContainSubstring(tc.refused))
			g.Expect(err.Error()).NotTo(ContainSubstring("CANARY"))
		})
	}
}
