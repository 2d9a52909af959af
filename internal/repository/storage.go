package repository

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
)

// Storage is a one-of: exactly one member is set.
type Storage struct {
	Local *Local
	S3    *S3
}

// Local is a directory, usually the mount point of a volume. Path must exist, Prefix below it need not. Files
// are made with mode 0660 and directories with 0770, less the umask of the process.
type Local struct{ Path, Prefix string }

// S3 is a bucket of an S3 service. Path-style requests are used for every endpoint but those of the public
// clouds known to want the bucket in the host name.
type S3 struct {
	Endpoint, Bucket, Prefix, Region   string // Endpoint is host[:port] without a scheme; see ParseEndpoint
	AccessKey, SecretKey, SessionToken string
	Plain                              bool   // http instead of https
	InsecureTLS                        bool   // any certificate is accepted
	CA                                 []byte // PEM bundle trusted in place of the system's
}

// Sub returns the storage rooted at prefix below s. The prefix must be clean (see backend/layout).
func (s Storage) Sub(prefix string) Storage {
	switch {
	case s.Local != nil:
		c := *s.Local
		c.Prefix = joinPrefix(c.Prefix, prefix)
		return Storage{Local: &c}
	case s.S3 != nil:
		c := *s.S3
		c.Prefix = joinPrefix(c.Prefix, prefix)
		return Storage{S3: &c}
	}
	return s
}

// Prefix returns the prefix without slashes at its ends.
func (s Storage) Prefix() string {
	switch {
	case s.Local != nil:
		return joinPrefix(s.Local.Prefix)
	case s.S3 != nil:
		return joinPrefix(s.S3.Prefix)
	}
	return ""
}

// Validate tells what is missing or contradictory, before anything is dialed.
func (s Storage) Validate() error {
	if (s.Local == nil) == (s.S3 == nil) {
		return errors.New("exactly one storage must be given")
	}
	for e := range strings.SplitSeq(s.Prefix(), "/") {
		if e == ".." {
			return fmt.Errorf("prefix %q must not contain \"..\"", s.Prefix())
		}
	}
	if s.Local != nil {
		if s.Local.Path == "" {
			return errors.New("local storage needs a path")
		}
		return nil
	}
	switch {
	case s.S3.Bucket == "":
		return errors.New("s3 storage needs a bucket")
	case s.S3.Endpoint == "" || strings.Contains(s.S3.Endpoint, "/"):
		return fmt.Errorf("s3 endpoint %q must be host[:port]", Redact(s.S3.Endpoint))
	case s.S3.AccessKey == "" || s.S3.SecretKey == "":
		return errors.New("s3 storage needs an access key and a secret key")
	}
	return nil
}

// joinPrefix joins clean parts; "" stays "".
func joinPrefix(parts ...string) string {
	return strings.Trim(path.Join(parts...), "/")
}

// defaultEndpoint is the service meant by an S3 storage without an endpoint.
const defaultEndpoint = "s3.amazonaws.com"

// ParseEndpoint splits what a user writes, "https://host:port", "http://host:port" or "host:port", into the
// host and whether plain HTTP is meant. Empty means Amazon's.
func ParseEndpoint(endpoint string) (host string, plain bool, err error) {
	if endpoint == "" {
		return defaultEndpoint, false, nil
	}
	if !strings.Contains(endpoint, "://") {
		endpoint = "https://" + endpoint
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil, u.Host == "": // the parser's own error repeats the text, which may hold a password
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
