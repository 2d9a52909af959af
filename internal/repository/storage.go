package repository

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/cairn-backup/cairn/internal/egress"
)

// Storage is a union: exactly one pointer is set.
type Storage struct {
	Local  *Local
	S3     *S3
	GCS    *GCS
	Azure  *Azure
	SFTP   *SFTP
	WebDAV *WebDAV
	// MaxConnections limits the concurrent requests. 0 means no limit.
	MaxConnections int
}

// place is what the members have in common.
type place interface {
	// prefix returns the prefix as it was given.
	prefix() string
	// at returns the same place with another prefix.
	at(prefix string) Storage
	// validate returns what is missing or contradictory.
	validate() error
}

// place returns the member that is set. Exactly one must be set.
func (s Storage) place() (place, error) {
	var all []place
	if s.Local != nil {
		all = append(all, s.Local)
	}
	if s.S3 != nil {
		all = append(all, s.S3)
	}
	if s.GCS != nil {
		all = append(all, s.GCS)
	}
	if s.Azure != nil {
		all = append(all, s.Azure)
	}
	if s.SFTP != nil {
		all = append(all, s.SFTP)
	}
	if s.WebDAV != nil {
		all = append(all, s.WebDAV)
	}
	if len(all) != 1 {
		return nil, errors.New("exactly one kind of storage must be set")
	}
	return all[0], nil
}

// Sub returns the storage rooted at prefix below s. The prefix must be clean (see backend/layout).
func (s Storage) Sub(prefix string) Storage {
	p, err := s.place()
	if err != nil {
		return s
	}
	sub := p.at(joinPrefix(p.prefix(), prefix))
	sub.MaxConnections = s.MaxConnections
	return sub
}

// Root returns the whole bucket or volume that holds s.
func (s Storage) Root() Storage {
	p, err := s.place()
	if err != nil {
		return s
	}
	root := p.at("")
	root.MaxConnections = s.MaxConnections
	return root
}

// Prefix returns the prefix without slashes at its ends.
func (s Storage) Prefix() string {
	p, err := s.place()
	if err != nil {
		return ""
	}
	return joinPrefix(p.prefix())
}

// Validate returns what is missing or contradictory. It connects to nothing.
func (s Storage) Validate() error {
	p, err := s.place()
	if err != nil {
		return err
	}
	for e := range strings.SplitSeq(s.Prefix(), "/") {
		if e == ".." {
			return fmt.Errorf("prefix %q must not contain \"..\"", s.Prefix())
		}
	}
	return p.validate()
}

// joinPrefix joins clean parts. "" stays "".
func joinPrefix(parts ...string) string {
	return strings.Trim(path.Join(parts...), "/")
}

// Local is a directory, usually the mount point of a volume. Path must exist. Prefix below it need not exist. Files
// are created with mode 0660 and directories with 0770, less the umask of the process.
type Local struct{ Path, Prefix string }

func (l *Local) prefix() string { return l.Prefix }

func (l *Local) at(prefix string) Storage {
	return Storage{Local: &Local{Path: l.Path, Prefix: prefix}}
}

func (l *Local) validate() error {
	if l.Path == "" {
		return errors.New("local storage needs a path")
	}
	return nil
}

// Storages on a server have an Egress, which decides to which addresses their clients connect. Nil has the built-in
// rules.

// S3 is a bucket of an S3 service. Requests are path-style, except for the endpoints of public clouds that need the
// bucket in the host name.
type S3 struct {
	Endpoint, Bucket, Prefix, Region   string // Endpoint is host[:port] without a scheme; see ParseEndpoint
	AccessKey, SecretKey, SessionToken string
	Ambient                            bool   // use the identity that the cloud gives this process instead of keys
	Plain                              bool   // http instead of https
	InsecureTLS                        bool   // any certificate is accepted
	CA                                 []byte // PEM bundle that is trusted instead of the system's
	Egress                             *egress.Policy
}

func (s *S3) prefix() string { return s.Prefix }

func (s *S3) at(prefix string) Storage {
	c := *s
	c.Prefix = prefix
	return Storage{S3: &c}
}

func (s *S3) validate() error {
	keys := s.AccessKey != "" && s.SecretKey != ""
	switch {
	case s.Bucket == "":
		return errors.New("s3 storage needs a bucket")
	case s.Endpoint == "" || strings.Contains(s.Endpoint, "/"):
		return fmt.Errorf("s3 endpoint %q must be host[:port]", Redact(s.Endpoint))
	case !keys && !s.Ambient:
		return errors.New("s3 storage needs an access key and a secret key")
	case s.Ambient && (s.AccessKey != "" || s.SecretKey != ""):
		return errors.New("s3 storage needs either keys or the cloud's identity, not both")
	}
	return nil
}

// defaultEndpoint is the service of an S3 storage without an endpoint.
const defaultEndpoint = "s3.amazonaws.com"

// ParseEndpoint splits an endpoint as users write it, "https://host:port", "http://host:port" or "host:port", into
// the host and whether plain HTTP is meant. An empty endpoint means Amazon's.
func ParseEndpoint(endpoint string) (host string, plain bool, err error) {
	if endpoint == "" {
		return defaultEndpoint, false, nil
	}
	if !strings.Contains(endpoint, "://") {
		endpoint = "https://" + endpoint
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil, u.Host == "": // the parser's own error repeats the text, which can hold a password
		return "", false, errors.New("endpoint is not a URL: want https://host[:port]")
	case u.Scheme != "http" && u.Scheme != "https":
		return "", false, fmt.Errorf("endpoint has scheme %q: want http or https", u.Scheme)
	case u.User != nil:
		return "", false, errors.New("endpoint must not hold a user name or password")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return "", false, fmt.Errorf("endpoint %q must be a scheme and a host only", u.Scheme+"://"+u.Host)
	}
	return u.Host, u.Scheme == "http", nil
}
