package repository_test

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
)

// Texts marked * were produced by the real client against the real server. The others come from the clients' sources
// and the services' documentation.
func TestClassify(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want error
	}{
		"wrong secret *": {
			errors.New(
				`error retrieving storage config from bucket "b": The request signature we calculated does not ` +
					`match the signature you provided. Check your key and signing method.`),
			repository.ErrBadCredentials,
		},
		"wrong key, versitygw *": {
			errors.New("No user exists with the provided access key ID."),
			repository.ErrBadCredentials,
		},
		"wrong key, Amazon": {
			errors.New("The AWS Access Key Id you provided does not exist in our records."),
			repository.ErrBadCredentials,
		},
		"old token":     {errors.New("The provided token has expired"), repository.ErrBadCredentials},
		"no bucket *":   {errors.New("The specified bucket does not exist."), repository.ErrNoBucket},
		"access denied": {errors.New("Access Denied."), repository.ErrAccessDenied},
		"archived": {
			errors.New("403 Forbidden: The operation is not valid for the object's storage class"),
			repository.ErrArchived,
		},
		"a file's mode": {fmt.Errorf("open /repo/f: %w", syscall.EACCES), repository.ErrAccessDenied},
		"skewed request": {
			errors.New("The difference between the request time and the server's time is too large."),
			repository.ErrClockSkew,
		},
		"skewed clock": {errors.New("error checking for clock skew: clock skew detected: local clock is out of " +
			"sync with repository timestamp by more than allowed 5m0s"), repository.ErrClockSkew},
		"TLS to a plain server *": {
			errors.New(
				`Get "https://127.0.0.1:35075/bucket/.storageconfig": http: server gave HTTP response to HTTPS client`),
			repository.ErrUnreachable,
		},
		"refused *": {
			errors.New(
				`Get "http://127.0.0.1:1/bucket/.storageconfig": dial tcp 127.0.0.1:1: connect: connection refused`),
			repository.ErrUnreachable,
		},
		"unknown host *": {
			errors.New(
				`Get "http://does-not-exist.invalid:9000/": dial tcp: ` +
					`lookup does-not-exist.invalid on 10.0.0.1:53: no such host`),
			repository.ErrUnreachable,
		},
		"unknown authority": {
			errors.New("tls: failed to verify certificate: x509: certificate signed by unknown authority"),
			repository.ErrUntrusted,
		},
		"another host key *": {errors.New("ssh: handshake failed: knownhosts: key mismatch"), repository.ErrUntrusted},
		"wrong SSH password *": {
			errors.New("ssh: handshake failed: ssh: unable to authenticate, attempted methods [none " +
				"password], no supported methods remain"), repository.ErrBadCredentials,
		},
		"another certificate *": {
			errors.New("the certificate fingerprint is 00, not the one of the BackupStorage"),
			repository.ErrUntrusted,
		},
		"throttled":               {errors.New("Please reduce your request rate."), repository.ErrUnreachable},
		"throttled by a proxy":    {errors.New("unexpected status: 429 Too Many Requests"), repository.ErrUnreachable},
		"throttled, code in text": {errors.New("PutObject: TooManyRequests"), repository.ErrUnreachable},
		"full disk":               {fmt.Errorf("write /repo/p/1: %w", syscall.ENOSPC), repository.ErrStorageFull},
		"full server": {
			errors.New("Storage backend has reached its minimum free drive threshold. XMinioStorageFull"),
			repository.ErrStorageFull,
		},
		"canceled": {fmt.Errorf("restore: %w", context.Canceled), repository.ErrCanceled},
		"an errno has the methods of net.Error, and is none": {fmt.Errorf("file: %w", syscall.EEXIST), nil},
		"something else": {errors.New("something else"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got := repository.Classify("op", c.err)
			var e *repository.Error
			g.Expect(errors.As(got, &e)).To(BeTrue())
			if c.want == nil {
				g.Expect(e.Kind).To(BeNil())
			} else {
				g.Expect(got).To(MatchError(c.want))
			}
			g.Expect(errors.Is(got, c.err)).To(BeTrue(), "the cause stays")
			g.Expect(repository.Classify("again", got)).To(BeIdenticalTo(got), "classified once")
		})
	}
	NewWithT(t).Expect(repository.Classify("op", nil)).To(Succeed())
}

func TestS3Kind(t *testing.T) {
	t.Parallel()
	for code, kind := range map[string]error{
		"NoSuchBucket":       repository.ErrNoBucket,
		"InvalidObjectState": repository.ErrArchived,
		"NoSuchKey":          nil,
		"NotImplemented":     nil,
		// Servers and their proxies say in many ways that they have too much to do.
		"SlowDown":                repository.ErrUnreachable,
		"SlowDownRead":            repository.ErrUnreachable,
		"SlowDownWrite":           repository.ErrUnreachable,
		"TooManyRequests":         repository.ErrUnreachable,
		"Throttling":              repository.ErrUnreachable,
		"ThrottlingException":     repository.ErrUnreachable,
		"RequestThrottled":        repository.ErrUnreachable,
		"RequestLimitExceeded":    repository.ErrUnreachable,
		"RequestTimeout":          repository.ErrUnreachable,
		"429 Too Many Requests":   repository.ErrUnreachable, // The client takes the status where there is no code.
		"503 Service Unavailable": repository.ErrUnreachable,
		"502 Bad Gateway":         repository.ErrUnreachable,
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			if kind == nil {
				NewWithT(t).Expect(repository.S3Kind(code)).To(Succeed())
				return
			}
			NewWithT(t).Expect(repository.S3Kind(code)).To(MatchError(kind))
		})
	}
}

func TestErrorsOfOneCauseAreEqual(t *testing.T) {
	at := func(port int) string {
		return repository.Classify("op",
			fmt.Errorf("read tcp 10.0.0.1:%d->10.0.0.2:22: read: connection reset by peer", port)).Error()
	}
	NewWithT(t).Expect(at(51234)).To(Equal(at(51235)))
	NewWithT(t).Expect(at(51234)).To(ContainSubstring("10.0.0.2:22"))
}

func TestErrorsHideSecrets(t *testing.T) {
	for name, text := range map[string]string{
		"signed URL":       `Get "https://acct.blob.example/c?sv=2020&sig=SECRET%3D&se=1": EOF`,
		"password in URL":  "https://user:SECRET@dav.example/x: 401",
		"signature header": "X-Amz-Signature=SECRET",
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(repository.Classify("op", errors.New(text)).Error()).
				To(And(Not(ContainSubstring("SECRET")), ContainSubstring("***")))
		})
	}
}

// The usual outage of a storage is a name server that does not answer. Its error has a new port each time.
func TestANameServerThatDoesNotAnswerGivesOneMessage(t *testing.T) {
	text := func(pod, port int) string {
		return repository.Redact(fmt.Sprintf("dial tcp: lookup s3.example.com on 10.96.0.10:53: "+
			"read udp 10.244.1.%d:%d->10.96.0.10:53: i/o timeout", pod, port))
	}
	NewWithT(t).Expect(text(5, 49152)).To(Equal(text(6, 50233)))
}
