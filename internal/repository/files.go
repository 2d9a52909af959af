package repository

import (
	"errors"
	"net/url"
	"strings"

	"github.com/cairn-backup/cairn/internal/egress"
)

// SFTP is a directory on an SSH server. Path must exist. Prefix below it need not exist.
type SFTP struct {
	Host, Username string
	Port           int
	Path           string // empty means the directory of the login
	Prefix         string
	Password       string
	Identity       []byte // private key in PEM, without a passphrase
	KnownHosts     []byte // lines as in ~/.ssh/known_hosts
	Egress         *egress.Policy
}

func (s *SFTP) prefix() string { return s.Prefix }

func (s *SFTP) at(prefix string) Storage {
	c := *s
	c.Prefix = prefix
	return Storage{SFTP: &c}
}

func (s *SFTP) validate() error {
	switch {
	case s.Host == "" || s.Port <= 0:
		return errors.New("sftp storage needs a host and a port")
	case s.Username == "":
		return errors.New("sftp storage needs a user name")
	case s.Password == "" && len(s.Identity) == 0:
		return errors.New("sftp storage needs a password or a private key")
	case len(s.KnownHosts) == 0:
		return errors.New("sftp storage needs the server's host key")
	}
	return nil
}

// WebDAV is a collection on a WebDAV server. URL must exist. Prefix below it need not exist.
type WebDAV struct {
	URL, Prefix        string
	Username, Password string
	CA                 []byte // PEM bundle that is trusted instead of the system's
	Fingerprint        string // SHA-256 of the only trusted certificate, in hex
	Egress             *egress.Policy
}

func (w *WebDAV) prefix() string { return w.Prefix }

func (w *WebDAV) at(prefix string) Storage {
	c := *w
	c.Prefix = prefix
	return Storage{WebDAV: &c}
}

func (w *WebDAV) validate() error {
	u, err := url.Parse(w.URL)
	switch { // the parser's own error repeats the text, which can hold a password
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return errors.New("webdav storage needs a URL: https://host/path")
	case u.User != nil:
		return errors.New("the URL of a webdav storage must not hold a user name or password")
	case u.RawQuery != "" || u.Fragment != "":
		return errors.New("the URL of a webdav storage must not have a query or a fragment")
	case w.Fingerprint != "" && len(strings.ReplaceAll(w.Fingerprint, ":", "")) != 64:
		return errors.New("the TLS fingerprint of a webdav storage must have 64 hexadecimal digits")
	}
	return nil
}
