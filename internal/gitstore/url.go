package gitstore

import (
	"fmt"
	"net"
	"net/url"
	"path"
	"regexp"
	"strings"
)

// endpoint is a parsed URL without credentials.
type endpoint struct {
	scheme string // http, https or ssh
	user   string // SSH only
	host   string // lower case, with the port unless it is the default
	path   string // HTTP: escaped, starts with a slash. SSH: as the server expects it
}

var (
	scpLike     = regexp.MustCompile(`^(?:([^@/:\s]+)@)?([A-Za-z0-9._-]+):([^:\s][^\s]*)$`)
	defaultPort = map[string]string{"http": "80", "https": "443", "ssh": "22"}
)

func urlError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrURL, fmt.Sprintf(format, args...))
}

// ParseURL accepts https://, http://, ssh:// and user@host:path (which becomes ssh://). Anything else is ErrURL.
// Local paths and file:// are refused because they would let a policy object read the manager's disk. User names and
// passwords are refused because everybody who is allowed to read the object sees the URL. The name of an SSH user is
// no credential.
func ParseURL(raw string) (*url.URL, error) {
	ep, err := parseStrict(raw)
	if err != nil {
		return nil, err
	}
	return url.Parse(ep.String())
}

func parseStrict(raw string) (endpoint, error) {
	ep, secret, err := parseURL(raw)
	if err == nil && secret {
		return endpoint{},
			urlError("it contains a user name or password; move them to a Secret and remove them from the URL")
	}
	return ep, err
}

// parseURL also reports whether the URL carries something that can be a credential. Its errors quote only the scheme
// of the URL.
func parseURL(raw string) (ep endpoint, secret bool, err error) {
	if m := scpLike.FindStringSubmatch(raw); m != nil && !strings.Contains(raw, "://") {
		ep, err = endpoint{scheme: "ssh", user: m[1], host: strings.ToLower(m[2]), path: m[3]}.checked()
		return ep, false, err
	}
	u, err := url.Parse(raw)
	if err != nil {
		return ep, false, urlError("it is malformed") // url.Error would quote a password
	}
	ep = endpoint{scheme: strings.ToLower(u.Scheme), host: strings.ToLower(u.Host)}
	switch _, known := defaultPort[ep.scheme]; {
	case ep.scheme == "":
		return ep, false, urlError("it has no scheme; use https://, ssh:// or http://")
	case !known:
		return ep, false, urlError("scheme %q is not supported; use https://, ssh:// or http://", ep.scheme)
	case u.RawQuery != "" || u.Fragment != "":
		return ep, false, urlError("a query or fragment is not supported")
	case u.Hostname() == "" || strings.Trim(u.Path, "/") == "":
		return ep, false, urlError("host or path is missing")
	}
	if host, port, err := net.SplitHostPort(ep.host); err == nil && port == defaultPort[ep.scheme] {
		ep.host = host
		if strings.Contains(host, ":") {
			ep.host = "[" + host + "]"
		}
	}
	_, password := u.User.Password()
	if ep.scheme == "ssh" {
		ep.user, ep.path = u.User.Username(), strings.TrimRight(u.Path, "/")
		ep, err = ep.checked()
		return ep, password, err
	}
	ep.path = strings.TrimRight(u.EscapedPath(), "/")
	ep, err = ep.checked()
	return ep, u.User != nil, err
}

func (e endpoint) checked() (endpoint, error) {
	switch {
	case e.host == "" || strings.Trim(e.path, "/") == "":
		return e, urlError("host or path is missing")
	case strings.ContainsFunc(e.path+e.user, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return e, urlError("it contains a control character")
	case strings.HasPrefix(e.path, "-"), strings.HasPrefix(e.host, "-"), strings.HasPrefix(e.user, "-"):
		return e, urlError("a part of it starts with a hyphen") // a program on the way could take it for an option
	}
	if e.scheme == "ssh" && e.user == "" {
		e.user = "git"
	}
	return e, nil
}

// String returns the URL in one spelling, without credentials.
func (e endpoint) String() string {
	if e.scheme == "ssh" {
		return (&url.URL{
			Scheme: "ssh", User: url.User(e.user), Host: e.host, Path: "/" + strings.TrimLeft(e.path, "/"),
		}).
			String()
	}
	return e.scheme + "://" + e.host + e.path
}

// NormalizeURL reduces a URL to host and path, so that the spellings of one repository compare equal. It ignores
// scheme, user, port, letter case, escapes, trailing slash, .git, and a cluster's .svc and .svc.cluster.local. It
// errs towards "same": use it to refuse a writer on a watched branch and to count pushes to one server, never to
// connect to a repository.
func NormalizeURL(raw string) (string, error) {
	ep, _, err := parseURL(raw)
	if err != nil {
		return "", err
	}
	host, _ := ep.server()
	p, err := url.PathUnescape(ep.path)
	if err != nil || ep.scheme == "ssh" {
		p = ep.path
	}
	p = strings.ToLower(path.Clean("/" + p))
	return host + strings.TrimSuffix(p, ".git"), nil
}

// Endpoint returns the host and port of a URL in one spelling. The default ports of all schemes count as one. Two URLs
// with one endpoint lead to servers of the same operator; another port of a host can be anybody's.
func Endpoint(raw string) (string, error) {
	ep, _, err := parseURL(raw)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(ep.server()), nil
}

// server returns the host in one spelling, and the port unless it is the default of the scheme.
func (e endpoint) server() (host, port string) {
	host = e.host
	if h, p, err := net.SplitHostPort(host); err == nil {
		host, port = h, p
	}
	host = strings.TrimSuffix(strings.Trim(host, "[]"), ".")
	return strings.TrimSuffix(strings.TrimSuffix(host, ".cluster.local"), ".svc"), port
}
