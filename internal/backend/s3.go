package backend

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/cloud"
)

// s3Store keeps files in a bucket.
type s3Store struct {
	client         *minio.Client
	bucket, prefix string
	within         time.Duration
}

func openS3(o repository.S3, prefix string) (*s3Store, error) {
	transport, err := s3Transport(o)
	if err != nil {
		return nil, fmt.Errorf("open storage: %w", err)
	}
	client, err := minio.New(o.Endpoint, &minio.Options{
		Creds:     s3Credentials(o),
		Secure:    !o.Plain,
		Region:    o.Region,
		Transport: transport,
		// The caller tries again later; the client's ten attempts only delay the message.
		MaxRetries: 3,
	})
	if err != nil {
		return nil, repository.Classify("open storage", err)
	}
	return &s3Store{client: client, bucket: o.Bucket, prefix: prefix, within: answerTimeout}, nil
}

func s3Credentials(o repository.S3) *credentials.Credentials {
	if !o.Ambient {
		return credentials.NewStaticV4(o.AccessKey, o.SecretKey, o.SessionToken)
	}
	return credentials.New(&ambient{Chain: credentials.Chain{Providers: []credentials.Provider{
		&credentials.EnvAWS{},
		&credentials.IAM{Client: cloud.Identity(o.Egress)},
	}}})
}

// ambient is the identity that the cloud gives the pod. Without one it returns an error instead of anonymous
// credentials.
type ambient struct{ credentials.Chain }

// RetrieveWithCredContext implements credentials.Provider.
func (a *ambient) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	value, err := a.Chain.RetrieveWithCredContext(cc)
	if err == nil && value.AccessKeyID == "" {
		err = &repository.Error{
			Op: "open storage", Kind: repository.ErrBadCredentials,
			Err: errors.New("the storage names no Secret, and the pod has no identity of a cloud"),
		}
	}
	return value, err
}

// Retrieve implements credentials.Provider.
func (a *ambient) Retrieve() (credentials.Value, error) { return a.RetrieveWithCredContext(nil) }

func s3Transport(o repository.S3) (*http.Transport, error) {
	conf := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: o.InsecureTLS,
	} // the BackupStorage requests it
	if len(o.CA) > 0 {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(o.CA) {
			return nil, errors.New("CA bundle holds no PEM certificate")
		}
	}
	return &http.Transport{
		Proxy:                 o.Egress.Proxy,
		DialContext:           o.Egress.Within(5 * time.Second),
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: 10 * time.Second,
		IdleConnTimeout:       time.Minute,
		MaxIdleConnsPerHost:   4,
		ForceAttemptHTTP2:     true,
		TLSClientConfig:       conf,
	}, nil
}

func (s *s3Store) key(p string) string { return path.Join(s.prefix, p) }

// Get implements Store.
func (s *s3Store) Get(ctx context.Context, p string) ([]byte, error) {
	if err := checkPath(p); err != nil {
		return nil, fmt.Errorf("read %s: %w", p, err)
	}
	ctx, alive := s.deadline(ctx)
	defer alive.stop()
	data, err := s.get(ctx, p)
	return data, alive.classify("read "+p, err)
}

func (s *s3Store) get(ctx context.Context, p string) ([]byte, error) {
	obj, err := s.client.GetObject(ctx, s.bucket, s.key(p), minio.GetObjectOptions{})
	if err != nil {
		return nil, err
	}
	defer func() { _ = obj.Close() }()
	data, err := readAll(obj, p)
	if code(err) == minio.NoSuchKey {
		return nil, fmt.Errorf("%s: %w", p, ErrNotFound)
	}
	return data, err
}

// Put implements Store.
func (s *s3Store) Put(ctx context.Context, p string, data []byte) error {
	if err := checkPut(p, data); err != nil {
		return fmt.Errorf("write %s: %w", p, err)
	}
	ctx, alive := s.deadline(ctx)
	defer alive.stop()
	return alive.classify("write "+p, s.put(ctx, p, data, false))
}

// PutIfAbsent implements Store. It reads first, because some servers accept the condition and ignore it.
func (s *s3Store) PutIfAbsent(ctx context.Context, p string, data []byte) error {
	if err := checkPut(p, data); err != nil {
		return fmt.Errorf("write %s: %w", p, err)
	}
	ctx, alive := s.deadline(ctx)
	defer alive.stop()
	_, err := s.get(ctx, p)
	switch {
	case err == nil:
		return fmt.Errorf("%s: %w", p, ErrExists)
	case !errors.Is(err, ErrNotFound):
		return alive.classify("read "+p, err)
	}
	err = s.put(ctx, p, data, true)
	switch code(err) {
	case minio.PreconditionFailed, "ConditionalRequestConflict":
		return fmt.Errorf("%s: %w", p, ErrExists)
	case "NotImplemented":
		err = s.put(ctx, p, data, false)
	}
	return alive.classify("write "+p, err)
}

func (s *s3Store) put(ctx context.Context, p string, data []byte, absent bool) error {
	// Amazon wants a checksum for a bucket whose Object Lock has a default retention.
	o := minio.PutObjectOptions{ContentType: "application/yaml", DisableMultipart: true, SendContentMd5: true}
	if absent {
		o.SetMatchETagExcept("*")
	}
	_, err := s.client.PutObject(ctx, s.bucket, s.key(p), bytes.NewReader(data), int64(len(data)), o)
	return err
}

// List implements Store.
func (s *s3Store) List(ctx context.Context, directory string) ([]string, error) {
	if directory != "" {
		if err := checkPath(directory); err != nil {
			return nil, fmt.Errorf("list %s: %w", directory, err)
		}
	}
	ctx, alive := s.deadline(ctx)
	defer alive.stop()
	start := s.key(directory)
	if start != "" {
		start += "/"
	}
	var found []string
	for o := range s.client.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: start, Recursive: true}) {
		if o.Err != nil {
			return nil, alive.classify("list "+directory, o.Err)
		}
		alive.answered()
		if strings.HasSuffix(o.Key, "/") { // other programs make such keys as markers of directories
			continue
		}
		found = append(found, strings.TrimPrefix(strings.TrimPrefix(o.Key, s.prefix), "/"))
	}
	if err := ctx.Err(); err != nil {
		return nil, alive.classify("list "+directory, err)
	}
	slices.Sort(found)
	return found, nil
}

// Delete implements Store.
func (s *s3Store) Delete(ctx context.Context, p string) error {
	if err := checkPath(p); err != nil {
		return fmt.Errorf("delete %s: %w", p, err)
	}
	ctx, alive := s.deadline(ctx)
	defer alive.stop()
	return alive.classify("delete "+p, s.client.RemoveObject(ctx, s.bucket, s.key(p), minio.RemoveObjectOptions{}))
}

// DeleteAll implements Store. It deletes one object after another: servers differ in how they answer for many at
// once.
func (s *s3Store) DeleteAll(ctx context.Context, directory string) error {
	if err := checkPath(directory); err != nil {
		return fmt.Errorf("delete %s: %w", directory, err)
	}
	ctx, alive := s.deadline(ctx)
	defer alive.stop()
	start := s.key(directory) + "/"
	for o := range s.client.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: start, Recursive: true}) {
		if o.Err != nil {
			return alive.classify("list "+directory, o.Err)
		}
		if err := s.client.RemoveObject(ctx, s.bucket, o.Key, minio.RemoveObjectOptions{}); err != nil {
			return alive.classify("delete "+directory, err)
		}
		alive.answered()
	}
	return alive.classify("delete "+directory, ctx.Err())
}

// code returns the error code of the S3 protocol, "" if there is none.
func code(err error) string {
	var r minio.ErrorResponse
	if errors.As(err, &r) {
		return r.Code
	}
	return ""
}
