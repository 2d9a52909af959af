package source

import (
	"errors"
	"net/url"
	"slices"

	"github.com/cairn-backup/cairn/internal/gitstore"
)

// Auth says how to log in to a server. The zero value is anonymous access.
type Auth = gitstore.Auth

// ParseURL parses an http, https, ssh or user@host:path URL. Any other URL, or one with credentials, is ErrURL.
func ParseURL(raw string) (*url.URL, error) {
	u, err := gitstore.ParseURL(raw)
	return u, explain("", err)
}

// httpKeys are the keys of a Secret that describe an HTTP server.
var httpKeys = []string{"username", "password", "bearerToken", "ca.crt", "caFile", "tls.crt", "tls.key"}

// AuthFromSecretData reads the data of a Secret with the keys of Flux (see gitstore.AuthFromSecretData), all but the
// Network. u must come
// from ParseURL. Pass nil data only if there is no Secret: a Secret without any relevant key is an error, because
// nobody makes a Secret for anonymous access. Its errors are ErrSecret, and ErrAuth or ErrHostKey.
func AuthFromSecretData(u *url.URL, data map[string][]byte) (Auth, error) {
	has := func(key string) bool { return len(data[key]) > 0 }
	if data != nil && u.Scheme != "ssh" && !slices.ContainsFunc(httpKeys, has) {
		return Auth{}, secretError(
			errors.New("the Secret has none of the keys that an " + u.Scheme +
				" URL needs: add username and password, or bearerToken, or only ca.crt"))
	}
	auth, err := gitstore.AuthFromSecretData(u, data)
	return auth, secretError(err)
}

// secretError keeps the text of an error about a Secret: it says already what to do, and no server was asked.
func secretError(err error) error {
	switch gitstore.Reason(err) {
	case "ok":
		return nil
	case gitstore.Reason(gitstore.ErrHostKey):
		return &Error{Kind: ErrHostKey, Message: err.Error(), secret: true}
	}
	return &Error{Kind: ErrAuth, Message: err.Error(), secret: true}
}
