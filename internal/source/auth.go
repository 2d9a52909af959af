package source

import (
	"net/url"

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

// AuthFromSecretData reads the data of a Secret with the keys of Flux (see
// gitstore.AuthFromSecretData). Give it what ParseURL returned. Its errors are
// ErrAuth and ErrHostKey.
func AuthFromSecretData(u *url.URL, data map[string][]byte) (Auth, error) {
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
		return fail(ErrHostKey, "%s", err)
	}
	return fail(ErrAuth, "%s", err)
}
