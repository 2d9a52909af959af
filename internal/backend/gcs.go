package backend

import (
	"context"
	"errors"
	"net/http"

	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"

	"github.com/cairn-backup/cairn/internal/repository"
)

// gcsBucket is a bucket of Google Cloud Storage.
type gcsBucket struct{ *storage.BucketHandle }

func openGCS(o repository.GCS) (gcsBucket, error) {
	var opts []option.ClientOption
	if !o.Ambient {
		opts = append(opts, option.WithCredentialsJSON(o.Credentials))
	}
	client, err := storage.NewClient(context.Background(), opts...)
	if err != nil {
		return gcsBucket{}, err
	}
	// The caller tries again later; the client's own attempts only delay the message.
	client.SetRetry(storage.WithMaxAttempts(3), storage.WithPolicy(storage.RetryAlways))
	return gcsBucket{client.Bucket(o.Bucket)}, nil
}

func (b gcsBucket) get(ctx context.Context, key string) ([]byte, error) {
	r, err := b.Object(key).NewReader(ctx)
	if errors.Is(err, storage.ErrObjectNotExist) {
		if err := b.there(ctx, key); err != nil {
			return nil, err
		}
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	return readAll(r, key)
}

// there returns the error of a bucket that does not exist. For an object in such a bucket, the server answers as for
// a missing object.
func (b gcsBucket) there(ctx context.Context, key string) error {
	_, err := b.Objects(ctx, &storage.Query{Prefix: key}).Next()
	if errors.Is(err, iterator.Done) {
		return nil
	}
	return err
}

func (b gcsBucket) put(ctx context.Context, key string, data []byte, absent bool) error {
	o := b.Object(key)
	if absent {
		o = o.If(storage.Conditions{DoesNotExist: true})
	}
	w := o.NewWriter(ctx)
	w.ChunkSize, w.ContentType = 0, "application/yaml"
	_, err := w.Write(data)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	var answer *googleapi.Error
	if errors.As(err, &answer) {
		switch {
		case answer.Code == http.StatusPreconditionFailed && absent:
			return ErrExists
		case answer.Code == http.StatusNotFound:
			return storage.ErrBucketNotExist
		}
	}
	return err
}

func (b gcsBucket) list(ctx context.Context, prefix string, each func(key string)) error {
	for it := b.Objects(ctx, &storage.Query{Prefix: prefix}); ; {
		o, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return nil
		}
		if err != nil {
			return err
		}
		each(o.Name)
	}
}

func (b gcsBucket) remove(ctx context.Context, key string) error {
	err := b.Object(key).Delete(ctx)
	if errors.Is(err, storage.ErrObjectNotExist) {
		return b.there(ctx, key)
	}
	return err
}
