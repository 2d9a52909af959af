package gitstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/fluxcd/pkg/git"
)

// Secret is a text that no formatting verb, logger or encoder shows. Convert it with string(s) to get the value.
type Secret string

// Format writes three stars for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// String returns three stars, or "" for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "***"
}

// MarshalText keeps the value out of JSON, YAML and structured logs.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Auth says how to log in to a remote. The zero value is anonymous access over HTTP. No value in it appears in an
// error.
type Auth struct {
	Username    string // HTTP basic; the user of an SSH URL is in the URL
	Password    Secret // HTTP basic (a token for forges); for SSH the passphrase of Identity
	BearerToken Secret
	CAFile      []byte // PEM, in addition to the system's roots
	ClientCert  []byte // PEM, with ClientKey
	ClientKey   Secret

	Identity   Secret // SSH private key, PEM
	KnownHosts []byte // required for SSH: no host key is ever trusted on first use

	// AllowPlainHTTP permits credentials over http://. Without it they are refused.
	AllowPlainHTTP bool

	// Network connects to the server. It is required: the URL can be that of somebody who may not reach every server.
	Network Network
}

// Network decides to which addresses connections go. Its errors are shown as they are.
type Network interface {
	// DialContext connects to an address.
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	// Proxy returns the proxy for a request; nil means none.
	Proxy(request *http.Request) (*url.URL, error)
}

// errNoNetwork is a mistake of the caller.
var errNoNetwork = errors.New("no network was given to connect with")

// AuthFromSecretData reads the data of a Secret with the keys and rules of Flux: username and password, or
// bearerToken, with ca.crt, tls.crt and tls.key; for an ssh URL identity, known_hosts and, as passphrase, password.
// It ignores other keys (identity.pub). Data can be empty for an http or https URL. The error is ErrHostKey if
// known_hosts is missing, else ErrAuth, and says which key to correct.
//
// It sets no Network. Credentials are allowed over plain HTTP, because Git servers inside a cluster use it. Whoever
// writes http:// in a URL decides that.
func AuthFromSecretData(u *url.URL, data map[string][]byte) (Auth, error) {
	ssh := u.Scheme == string(git.SSH)
	switch {
	case ssh && len(data["identity"]) == 0:
		return Auth{}, fmt.Errorf("%w: the Secret has no key identity with the SSH private key", ErrAuth)
	case ssh && len(data["known_hosts"]) == 0:
		return Auth{}, fmt.Errorf("%w: the Secret has no key known_hosts with the host key of %s", ErrHostKey, u.Host)
	case !ssh && len(data["bearerToken"]) > 0 && len(data["username"])+len(data["password"]) > 0:
		return Auth{}, fmt.Errorf("%w: the Secret has bearerToken and username or password: keep one of them", ErrAuth)
	case !ssh && len(data["password"]) > 0 && len(data["username"]) == 0:
		return Auth{}, fmt.Errorf("%w: the Secret has password but no username", ErrAuth)
	case (len(data["tls.crt"]) == 0) != (len(data["tls.key"]) == 0):
		return Auth{}, fmt.Errorf("%w: the Secret has only one of tls.crt and tls.key", ErrAuth)
	}
	// The remaining errors do not depend on a value, so their text is not worth the risk.
	o, err := git.NewAuthOptions(*u, data)
	if err != nil {
		return Auth{}, fmt.Errorf("%w: the Secret does not fit a URL with scheme %q", ErrAuth, u.Scheme)
	}
	auth := Auth{
		Password: Secret(o.Password), BearerToken: Secret(o.BearerToken),
		CAFile: o.CAFile, ClientCert: o.ClientCert, ClientKey: Secret(o.ClientKey),
		Identity: Secret(o.Identity), KnownHosts: o.KnownHosts, AllowPlainHTTP: true,
	}
	if !ssh {
		auth.Username = o.Username
	}
	return auth, nil
}

// fits returns why auth can't be used with the endpoint.
func (a Auth) fits(e endpoint) error {
	switch {
	case a.Network == nil:
		return errNoNetwork
	case a.BearerToken != "" && (a.Username != "" || a.Password != ""):
		return fmt.Errorf("%w: basic and bearer credentials together; keep one of them", ErrAuth)
	case e.scheme == "http" && !a.AllowPlainHTTP && (a.Password != "" || a.BearerToken != ""):
		return errors.New("credentials are not sent over plain HTTP")
	}
	return nil
}
