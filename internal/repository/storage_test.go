package repository_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
)

func TestParseEndpoint(t *testing.T) {
	for name, c := range map[string]struct {
		in, host string
		plain    bool
		fails    string
	}{
		"nothing is Amazon's":          {in: "", host: "s3.amazonaws.com"},
		"a host alone means TLS":       {in: "s3.example.com:9000", host: "s3.example.com:9000"},
		"https":                        {in: "https://s3.example.com", host: "s3.example.com"},
		"http is plain":                {in: "http://10.0.0.1:7070/", host: "10.0.0.1:7070", plain: true},
		"IPv6":                         {in: "http://[::1]:7070", host: "[::1]:7070", plain: true},
		"another scheme":               {in: "ftp://x", fails: "http or https"},
		"a bucket in the path":         {in: "https://x/bucket", fails: "a host only"},
		"credentials":                  {in: "https://key:SECRET@x", fails: "user name"},
		"a broken URL does not repeat": {in: "https://key:SECRET@x:port", fails: "not a URL"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			host, plain, err := repository.ParseEndpoint(c.in)
			if c.fails != "" {
				g.Expect(err).To(MatchError(ContainSubstring(c.fails)))
				g.Expect(err.Error()).NotTo(ContainSubstring("SECRET"))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(host).To(Equal(c.host))
			g.Expect(plain).To(Equal(c.plain))
		})
	}
}

func TestSub(t *testing.T) {
	g := NewWithT(t)
	s := repository.Storage{S3: &repository.S3{Bucket: "b", Endpoint: "e", Prefix: "/cairn/"}}
	sub := s.Sub("shop/web/kopia/")
	g.Expect(sub.Prefix()).To(Equal("cairn/shop/web/kopia"))
	g.Expect(s.Prefix()).To(Equal("cairn"), "the original is untouched")
	g.Expect(repository.Storage{Local: &repository.Local{Path: "/x"}}.Sub("a/b").Local).
		To(Equal(&repository.Local{Path: "/x", Prefix: "a/b"}))
}

func TestValidateStorage(t *testing.T) {
	for name, c := range map[string]struct {
		s     repository.Storage
		fails string
	}{
		"none":           {repository.Storage{}, "exactly one"},
		"two":            {repository.Storage{Local: &repository.Local{}, S3: &repository.S3{}}, "exactly one"},
		"local":          {repository.Storage{Local: &repository.Local{Path: "/x"}}, ""},
		"local, no path": {repository.Storage{Local: &repository.Local{}}, "path"},
		"local, upwards": {repository.Storage{Local: &repository.Local{Path: "/x", Prefix: "../y"}}, `".."`},
		"s3": {
			repository.Storage{S3: &repository.S3{Endpoint: "e:1", Bucket: "b", AccessKey: "k", SecretKey: "s"}}, "",
		},
		"s3, no keys":       {repository.Storage{S3: &repository.S3{Endpoint: "e:1", Bucket: "b"}}, "access key"},
		"s3, the pod's own": {repository.Storage{S3: &repository.S3{Endpoint: "e:1", Bucket: "b", Ambient: true}}, ""},
		"s3, both": {
			repository.Storage{
				S3: &repository.S3{Endpoint: "e:1", Bucket: "b", Ambient: true, AccessKey: "k", SecretKey: "s"},
			},
			"not both",
		},
		"s3, no bucket": {repository.Storage{S3: &repository.S3{Endpoint: "e"}}, "bucket"},
		"s3, URL":       {repository.Storage{S3: &repository.S3{Endpoint: "http://e", Bucket: "b"}}, "host[:port]"},
		"s3, prefix climbs": {
			repository.Storage{S3: &repository.S3{Endpoint: "e", Bucket: "b", Prefix: "../a"}}, `".."`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			if err := c.s.Validate(); c.fails == "" {
				g.Expect(err).NotTo(HaveOccurred())
			} else {
				g.Expect(err).To(MatchError(ContainSubstring(c.fails)))
			}
		})
	}
}
