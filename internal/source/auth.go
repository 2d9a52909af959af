package source

import (
	"errors"
	"net/url"
	"slices"

	"github.com/cairn-backup/cairn/internal/gitstore"
)

// Auth is how to reach a server; the zero value is anonymous access.
type Auth = gitstore.Auth

// ParseURL reads an http, https, ssh or user@host:path URL. Anything else, and
// credentials in it, are ErrURL.
func ParseURL(raw string) (*url.URL, error) {
	u, err := gitstore.ParseURL(raw)
	return u, explain("", err)
}

// httpKeys are what a Secret can say about an HTTP server.
var httpKeys = []string{"username", "password", "bearerToken", "ca.crt", "caFile", "tls.crt", "tls.key"}

// AuthFromSecretData reads the data of a Secret with the keys of Flux (see
// gitstore.AuthFromSecretData). Give it what ParseURL returned, and nil data only
// where there is no Secret: one without any key that counts is an error, because
// anonymous access is not what it was made for. Its errors are ErrSecret, and
// ErrAuth or ErrHostKey.
func AuthFromSecretData(u *url.URL, data map[string][]byte) (Auth, error) {
	has := func(key string) bool { return len(data[key]) > 0 }
	if data != nil && u.Scheme != "ssh" && !slices.ContainsFunc(httpKeys, has) {
		return Auth{}, secretError(errors.New("the Secret has none of the keys that an " + u.Scheme + " URL needs: give it username and password, or bearerToken, or only ca.crt"))
	}
	auth, err := gitstore.AuthFromSecretData(u, data)
	return auth, secretError(err)
}

// secretError keeps the words of an error that is about a Secret: it says
// already what is to be done, and no server was asked.
func secretError(err error) error {
	switch gitstore.Reason(err) {
	case "ok":
		return nil
	case gitstore.Reason(gitstore.ErrHostKey):
		return &Error{Kind: ErrHostKey, Message: err.Error(), secret: true}
	}
	return &Error{Kind: ErrAuth, Message: err.Error(), secret: true}
}
